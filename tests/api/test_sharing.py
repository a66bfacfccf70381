"""Single calls of many threads or coroutines share trips; ``batch`` is for one."""

from __future__ import annotations

import threading

import pytest

from redtask import error
from tests import tasks
from tests.processes import until

DEADLINE = 30


def submits(place):
    return place.redis.info("commandstats")["cmdstat_evalsha"]["calls"]


class Crowd:
    """Threads that submit together: while the server pauses, all but one wait."""

    def __init__(self, place, client):
        self.place = place
        self.pier = client._pier
        self.heard = {}

    def submit(self, **functions):
        """Call each in a thread of its own; return how many script calls that took."""
        before, threads = submits(self.place), []
        self.place.redis.execute_command("CLIENT", "PAUSE", DEADLINE * 1000, "WRITE")
        try:
            for name, function in functions.items():
                thread = threading.Thread(target=self._call, args=(name, function))
                threads.append(thread)
                thread.start()
                # The first is on its way, the others wait for it.
                until(self._is_leading)
                until(lambda: len(self.pier._ferry._waiting) == len(threads) - 1)
        finally:
            self.place.redis.execute_command("CLIENT", "UNPAUSE")
        for thread in threads:
            thread.join(DEADLINE)
        return submits(self.place) - before

    def _is_leading(self):
        return self.pier._ferry._aboard

    def _call(self, name, function):
        try:
            self.heard[name] = function()
        except error.RedtaskError as problem:
            self.heard[name] = problem


@pytest.fixture
def lone(place, face):
    """Return a client of a hub without engines, through each face."""
    client = place.client(face)
    client.load_balanced_view().apply_async(tasks.noop)
    client.load_balanced_view().apply_async(tasks.double, 1)
    return client


def test_calls_of_eight_threads_take_two_trips(place, lone):
    crowd, view = Crowd(place, lone), lone.load_balanced_view()

    calls = crowd.submit(
        **{f"t{n}": lambda n=n: view.apply_async(tasks.double, n) for n in range(8)}
    )

    assert calls == 2
    records = [place.record(one.msg_ids[0]) for one in crowd.heard.values()]
    assert [record["state"] for record in records] == ["ready"] * 8
    assert len({name for one in crowd.heard.values() for name in one.msg_ids}) == 8


def test_each_gets_the_result_of_its_own_call(place, rc):
    crowd, view = Crowd(place, rc), rc.load_balanced_view()
    view.apply(tasks.double, 1)

    crowd.submit(
        **{f"t{n}": lambda n=n: view.apply_async(tasks.double, n) for n in range(8)}
    )

    values = {name: result.get(DEADLINE) for name, result in crowd.heard.items()}
    assert values == {f"t{n}": 2 * n for n in range(8)}


def test_a_refused_task_fails_none_of_its_neighbours(place, lone):
    place.redis.hset(place.keys.root + ":hub", "max_payload", 65536)
    crowd, view = Crowd(place, lone), lone.load_balanced_view()
    ballast = bytes(100_000)

    crowd.submit(
        first=lambda: view.apply_async(tasks.noop),
        good=lambda: view.apply_async(tasks.double, 1),
        bad=lambda: view.apply_async(lambda: ballast),
        also_good=lambda: view.apply_async(tasks.double, 2),
    )

    assert isinstance(crowd.heard.pop("bad"), error.PayloadTooLarge)
    states = [place.record(one.msg_ids[0])["state"] for one in crowd.heard.values()]
    assert states == ["ready"] * 3


def test_a_full_hub_refuses_each_of_them(place, lone):
    crowd, view = Crowd(place, lone), lone.load_balanced_view()

    place.redis.config_set("maxmemory", 1)
    try:
        crowd.submit(
            **{f"t{n}": lambda: view.apply_async(tasks.noop) for n in range(4)}
        )
    finally:
        place.redis.config_set("maxmemory", 0)

    assert [type(one) for one in crowd.heard.values()] == [error.HubFull] * 4
    assert len(lone.history) == 2
