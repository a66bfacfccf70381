"""What results do in an event loop: call back, and be iterated."""

from __future__ import annotations

import asyncio
import logging
import pickle

import pytest

from tests import tasks


class Trouble(logging.Handler):
    """Notes that a callback waits because there is trouble with the hub."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.noted = asyncio.Event()

    def emit(self, record):
        if record.getMessage().startswith("a callback waits: "):
            self.noted.set()


@pytest.fixture
def trouble(caplog):
    caplog.set_level(logging.DEBUG, logger="redtask")
    trouble, log = Trouble(), logging.getLogger("redtask")
    log.addHandler(trouble)
    yield trouble
    log.removeHandler(trouble)


class Hidden:
    """The hub is gone, as when Redis was emptied, and comes back."""

    def __init__(self, place):
        self.redis, self.name = place.redis, f"{place.keys.root}:hub"
        self.redis.rename(self.name, self.name + ":aside")

    def end(self):
        self.redis.rename(self.name + ":aside", self.name)


def test_a_callback_outlives_the_moment_without_a_hub(place, run, trouble, monkeypatch):
    monkeypatch.setattr("redtask.aio.result._PAUSE", 0.01)
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.1)

    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 4)
        hidden, called = Hidden(place), asyncio.Event()
        result.add_done_callback(lambda _: called.set())
        await trouble.noted.wait()
        hidden.end()
        await asyncio.to_thread(place.engine)
        await called.wait()
        return await result

    assert found == 8


def test_a_callback_hears_of_the_outcome_from_whoever_awaits_it(
    place, run, trouble, monkeypatch
):
    monkeypatch.setattr("redtask.aio.result._PAUSE", 3600)
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.1)

    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 4)
        hidden, called = Hidden(place), asyncio.Event()
        result.add_done_callback(lambda _: called.set())
        await trouble.noted.wait()
        hidden.end()
        await asyncio.to_thread(place.engine)
        value = await result
        await called.wait()
        return value

    assert found == 8


def test_a_callback_of_a_closed_client_is_not_waited_for(place, run):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        await rc.close()
        result.add_done_callback(pytest.fail)
        await asyncio.wait(rc._callbacks._listening)
        return result.done(), result._tasks.wakers

    assert found == (False, [])


def test_a_callback_of_a_result_from_elsewhere_is_called(place, run, monkeypatch):
    monkeypatch.setenv("REDTASK_URL", place.url)
    monkeypatch.setenv("REDTASK_KEY", place.key)
    place.engine()

    @run
    async def sent(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 4)
        return pickle.dumps(result)

    async def elsewhere():
        called = asyncio.Event()
        result = pickle.loads(sent)
        result.add_done_callback(lambda _: called.set())
        async with asyncio.timeout(20):
            await called.wait()
        return await result

    assert asyncio.run(elsewhere()) == 8
