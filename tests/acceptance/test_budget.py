"""How many round trips client and engines make for each task, counted by the server.

Fewer, where tasks share them. A worker's own, so many a second, come on top.
"""

import time

import pytest

from tests.benchmarks.usage import Commands

pytestmark = pytest.mark.acceptance

#: Calls of scripts (submit, turn), and commands in all (beside those the pops of
#: engines and the reads of clients), for each task.
BUDGET = {
    "trip": (2, 4.5),
    "single": (2, 4),
    "bulk": (0.2, 0.4),
    "chain": (0.3, 0.8),
    "fan": (0.5, 1.2),
}
#: What a worker and its clients say all the while, in a second, and at once.
EACH_SECOND = 15
AT_ONCE = 20

CHAIN = {node: [node - 1] if node else [] for node in range(150)}
FAN = {0: [], **{node: [0] for node in range(1, 200)}, 200: list(range(1, 200))}


def trip(view):
    return [view.apply_async(abs, number).get(30) for number in range(60)]


def single(view):
    return [one.get(30) for one in [view.apply_async(abs, n) for n in range(200)]]


def bulk(view):
    return view.map_async(abs, range(2000)).get(60)


def graph(view, nodes):
    jobs = {node: (abs, (node,)) for node in nodes}
    return [one.get(60) for one in view.submit_graph(nodes, jobs).values()]


@pytest.mark.alone
def test_no_path_makes_more_round_trips_than_its_budget(site):
    site.worker("-n", "2")
    view = site.view
    paths = {
        "trip": lambda: trip(view),
        "single": lambda: single(view),
        "bulk": lambda: bulk(view),
        "chain": lambda: graph(view, CHAIN),
        "fan": lambda: graph(view, FAN),
    }
    trip(view)

    over = {}
    for path, act in paths.items():
        site.redis.config_resetstat()
        begun = time.monotonic()
        tasks = len(act())
        extra = AT_ONCE + EACH_SECOND * (time.monotonic() - begun)
        found = Commands.read(site.redis)
        scripts, every = BUDGET[path]
        costs = found.calls["evalsha"], found.total
        if costs[0] > scripts * tasks + extra or costs[1] > every * tasks + extra:
            over[path] = [cost / tasks for cost in costs]

    assert not over
