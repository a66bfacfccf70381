"""Who has what they wanted may go."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

import redtask
from redtask import aio, error
from redtask.outcomes import FIRST_EXCEPTION
from redtask.recent import Contact
from tests import tasks
from tests.processes import until

ROUNDS = 5
DEADLINE = 30
#: Less than a connection waits by itself.
SOON = 10


def test_an_asyncio_client_closes_at_once_right_after_a_result(tmp_path, monkeypatch):
    """The reader has just sent its next read, which may swallow a cancellation."""

    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))

    async def closing():
        async with aio.Client() as rc:
            assert await rc.load_balanced_view().map(abs, [-1, -2]) == [1, 2]
            got = time.monotonic()
        return time.monotonic() - got

    with redtask.Cluster(n=1):
        waits = [asyncio.run(closing()) for _ in range(ROUNDS)]

    assert max(waits) < 5


WAITS = {
    "get": lambda rc, result: result.get(),
    "wait": lambda rc, result: result.wait(),
    "wait with a timeout": lambda rc, result: result.wait(DEADLINE),
    "iteration": lambda rc, result: list(result),
    "wait of the client": lambda rc, result: rc.wait(),
    "wait for engines": lambda rc, result: rc.wait_for_engines(99),
    "output": lambda rc, result: list(result.stream_output()),
}


class Caller(threading.Thread):
    """Calls something in a thread; has what was raised."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self._function = function
        self._args = args
        self.problem = None
        self.start()

    def run(self):
        try:
            self._function(*self._args)
        except Exception as problem:  # noqa: BLE001 - the test looks at it
            self.problem = problem


def blocked(place):
    return place.redis.info("clients")["blocked_clients"]


def ours(place):
    return [one for one in place.connections() if one["name"].startswith("redtask-")]


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_whoever_waits_hears_that_the_client_is_closed(place, face, wait):
    rc = place.client(face)
    result = rc.load_balanced_view().map_async(tasks.double, range(2))
    caller = Caller(wait, rc, result)
    until(lambda: blocked(place) == 1)

    rc.close()
    caller.join(SOON)

    assert isinstance(caller.problem, error.ConfigurationError)
    assert str(caller.problem) == "this client is closed"
    until(lambda: not ours(place))


def test_a_client_is_closed_as_in_ipython_parallel(rc):
    rc.close(linger=0)

    with pytest.raises(error.ConfigurationError, match="closed"):
        rc.hub_history()


def test_all_threads_that_wait_hear_that_the_client_is_closed(place):
    rc = place.client()
    view = rc.load_balanced_view()
    results = [view.apply_async(tasks.double, n) for n in range(5)]
    callers = [Caller(result.get) for result in results]
    until(lambda: rc._driver._others == 4 and blocked(place) == 1)

    rc.close()
    for caller in callers:
        caller.join(SOON)

    told = [str(caller.problem) for caller in callers]
    assert told == ["this client is closed"] * 5


def test_what_waits_for_a_callback_ends_when_the_client_is_closed(place, caplog):
    rc = place.client()
    result = rc.load_balanced_view().apply_async(tasks.double, 1)
    result.add_done_callback(pytest.fail)
    thread = rc._callbacks._thread
    until(lambda: blocked(place) == 1)

    rc.close()
    thread.join(SOON)

    assert not thread.is_alive()
    assert caplog.records == []


def test_what_has_arrived_can_be_read_after_the_client_was_closed(place, face):
    rc = place.client(face)
    place.engine()
    view = rc.load_balanced_view()
    good, bad = view.map_async(tasks.double, range(3)), view.apply_async(tasks.fail, 1)
    # `wait` may hear from records that they have ended, without what they returned.
    assert good.get(DEADLINE) == [0, 2, 4]
    assert isinstance(bad.exception(DEADLINE), error.RemoteError)

    rc.close()

    assert good.get() == [0, 2, 4]
    with pytest.raises(error.RemoteError, match="no 1"):
        bad.get(0)
    with pytest.raises(TypeError, match="timeout must be a number"):
        good.get("soon")
    with pytest.raises(ValueError, match="return_when must be one of"):
        good.get(return_when="soon")
    assert good.get(0, return_when=FIRST_EXCEPTION) == [0, 2, 4]


def test_a_closed_client_cannot_be_entered(place):
    blocking = place.client()
    blocking.close()

    async def enter(client):
        with pytest.raises(error.ConfigurationError, match="this client is closed"):
            async with client:
                pytest.fail("it was entered")
        with pytest.raises(error.ConfigurationError, match="this client is closed"):
            await client

    async def main():
        never = aio.Client(place.url, key=place.key)
        once = await aio.Client(place.url, key=place.key)
        for client in (never, once):
            await client.close()
            await enter(client)

    with pytest.raises(error.ConfigurationError, match="this client is closed"):
        blocking.__enter__()
    asyncio.run(main())
    assert not ours(place)


def test_a_map_submits_nothing_through_a_closed_client(place, face):
    rc = place.client(face)
    under_way = threading.Event()

    def inputs():
        for number in range(100_000):
            if number == 2000:
                under_way.set()
            yield number

    caller = Caller(rc.load_balanced_view().map_async, tasks.double, inputs())
    under_way.wait(DEADLINE)

    rc.close()
    caller.join(DEADLINE)

    assert isinstance(caller.problem, error.ConfigurationError)
    assert "this client is closed" in str(caller.problem)


def test_a_connection_in_use_is_closed_when_it_comes_back(place):
    async def main():
        rc: Any = await aio.Client.connect(place.url, key=place.key)
        store = rc._driver.store
        call = asyncio.ensure_future(store.command("PING"))
        await asyncio.sleep(0)
        await rc.close()
        return await call, store._free

    assert asyncio.run(main()) == (b"PONG", [])


def test_nobody_waits_on_a_connection_that_is_made_too_late_to_be_woken(place, face):
    rc = place.client(face)
    store = rc._driver.store

    class Closing(Contact):
        def opens(self):
            store._closed = True

    store.contact = Closing()
    place.redis.config_resetstat()

    with pytest.raises(error.ConfigurationError, match="this client is closed"):
        rc.wait_for_engines(99)

    assert "cmdstat_xread" not in place.redis.info("commandstats")


def test_a_forked_child_that_closes_its_client_disturbs_nobody(place):
    rc = place.client()
    result = rc.load_balanced_view().apply_async(tasks.double, 4)
    caller = Caller(result.wait)
    until(lambda: blocked(place) == 1)
    before = {one["id"] for one in ours(place)}

    if (child := os.fork()) == 0:
        rc.close()
        os._exit(0)
    os.waitpid(child, 0)

    assert {one["id"] for one in ours(place)} == before
    place.engine()
    assert result.get(DEADLINE) == 8
    caller.join(DEADLINE)


def test_futures_hear_that_their_client_is_closed(place):
    client = place.client("blocking")
    future = client.load_balanced_view().executor.submit(tasks.double, 1)

    client.close()

    assert isinstance(future.exception(DEADLINE), error.ConfigurationError)
