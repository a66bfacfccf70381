"""What each path may cost, counted in calls and in commands that scripts perform.

Counts do not depend on how fast a machine is. A change that makes a path cost more
fails here, and says why in docs/costs.rst; one that makes it cost less lowers it.
"""

import uuid

import pytest

from tests.benchmarks.paths import FAN, LAYER, LINKS, SLICE, TURN, Paths, Stand

#: By path: script calls and commands in them for each task.
BUDGET = {
    "round trip": (2, 30),
    "submit of one": (1, 9),
    "submit of a slice": (1 / SLICE, 0.026),
    "turn in bulk": (1 / TURN, 0.126),
    "turn with one": (1, 17),
    "submit of a chain": (1 / LINKS, 3.3),
    "turn in a chain": (1, 24),
    "end of a fan": (1 / 64, 3.3),
    "links taken along": (0.04, 8.9),
    "submit of a fan": (1 / FAN, 1.4),
    "release of a fan": (1 / FAN, 3.3),
    "submit of a graph": (1 / LAYER, 6.4),
    "turns of a graph": (0.07, 9.3),
    "link": (0.01, 9.2),
    "abort": (0.01, 9),
    "resubmit": (0.025, 9.3),
    "purge": (0.01, 9),
}
#: Calls that are no commands of scripts.
OWN = {"evalsha", "info", "lpop", "config", "config|resetstat"}


@pytest.fixture
def redis(server):
    if not server.real:
        pytest.skip("a fake server does not count")
    with server.redis() as client:
        yield client


def counts(client):
    """Return how many scripts were called, and how many commands in them."""
    stats = {
        name.removeprefix("cmdstat_"): about["calls"]
        for name, about in client.info("commandstats").items()
    }
    inner = sum(calls for name, calls in stats.items() if name not in OWN)
    return stats["evalsha"], inner


def test_no_path_costs_more_than_its_budget(redis):
    found = {}

    for step in Paths(Stand(redis, uuid.uuid4().hex)):
        redis.config_resetstat()
        step.act()
        found[step.path] = [count / step.tasks for count in counts(redis)]

    over = {
        path: (cost, BUDGET[path])
        for path, cost in found.items()
        if any(a > b for a, b in zip(cost, BUDGET[path], strict=True))
    }
    assert not over
    assert found.keys() == BUDGET.keys()
