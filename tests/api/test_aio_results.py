"""What results do in an event loop: call back, and be iterated."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import pytest

from redtask import aio, error
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


async def listening_through_trouble(rc, place, trouble):
    """Return a result, and what its callback sets: that has met a hub that was gone.

    By now the hub is back, and an engine works.
    """
    result = await rc.load_balanced_view().apply_async(tasks.double, 4)
    hidden, called = Hidden(place), asyncio.Event()
    result.add_done_callback(lambda _: called.set())
    await trouble.noted.wait()
    hidden.end()
    await asyncio.to_thread(place.engine)
    return result, called


def test_a_callback_outlives_the_moment_without_a_hub(place, run, trouble, monkeypatch):
    monkeypatch.setattr("redtask.aio.result._PAUSE", 0.01)
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.1)

    @run
    async def found(rc):
        result, called = await listening_through_trouble(rc, place, trouble)
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
        result, called = await listening_through_trouble(rc, place, trouble)
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


def test_callbacks_are_added_in_the_event_loop_only(place, run):
    async def other(result):
        result.add_done_callback(pytest.fail)

    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        with pytest.raises(error.ConfigurationError, match="call_soon_threadsafe"):
            await asyncio.to_thread(result.add_done_callback, pytest.fail)
        with pytest.raises(error.ConfigurationError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, other(result))
        return result._tasks.wakers

    assert found == []


# -- iteration


async def give_up(reader):
    """Wait for the next value, but not for long: there is none yet."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(reader), 0.01)


async def rest(reader):
    return [value async for value in reader]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_reader_of_a_map_that_gave_up_goes_on_where_it_was(place, run, gate, ordered):
    @run
    async def found(rc):
        view = rc.load_balanced_view()
        items = range(3)
        gates = [str(gate)] * 3
        result = await view.map_async(tasks.pass_gate, gates, items, ordered=ordered)
        reader = aiter(result)
        await give_up(reader)
        await asyncio.to_thread(place.engine)
        await give_up(reader)
        gate.touch()
        first = await anext(reader)
        return first, await rest(reader), await rest(reader)

    assert found == (0, [1, 2], [])


def test_a_reader_goes_on_after_what_failed(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        reader = aiter(await view.map_async(lambda x: 6 // x, [1, 0, 2]))
        values = [await anext(reader)]
        with pytest.raises(error.CompositeError, match="ZeroDivisionError"):
            await anext(reader)
        return values + await rest(reader)

    assert found == [6, 3]


def test_what_cannot_be_read_is_met_where_it_is(place, run, monkeypatch):
    place.engine()

    @run
    async def found(rc):
        result = await rc.load_balanced_view().map_async(tasks.double, [1, 2])
        await result.wait()
        broken, decode = result.msg_ids[1], rc._session.decode

        def decoded(name, outcome):
            if name == broken:
                return False, error.SerializationError("broken")
            return decode(name, outcome)

        monkeypatch.setattr(rc._session, "decode", decoded)
        reader = aiter(result)
        value = await anext(reader)
        with pytest.raises(error.CompositeError, match="broken"):
            await anext(reader)
        return value, await rest(reader)

    assert found == (2, [])


def test_several_readers_share_what_is_read(place, run, gate):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        result = await view.map_async(tasks.pass_gate, [str(gate)] * 8, range(8))
        many: list[list[Any]] = []
        for source in (aiter(result), aio.as_completed(result)):
            readers = [asyncio.create_task(rest(source)) for _ in range(3)]
            await asyncio.sleep(0)
            gate.touch()
            read = [value for reader in readers for value in await reader]
            many.append(read)
        values, parts = many
        return sorted(values), sorted([(await part)[0] for part in parts])

    assert found == ([*range(8)], [*range(8)])


def test_who_gave_up_waiting_for_the_next_result_goes_on(place, run, gate):
    place.engine()
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        slow = await view.apply_async(tasks.pass_gate, str(gate), 1)
        quick = await view.apply_async(tasks.double, 4)
        reader = aio.as_completed([slow, quick])
        first = await anext(reader)
        await give_up(reader)
        gate.touch()
        return first is quick, await rest(reader) == [slow], await rest(reader)

    assert found == (True, True, [])


def test_a_timeout_of_the_next_result_remains_one(place, run):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 4)
        reader = aio.as_completed([result], timeout=0)
        for _ in range(2):
            with pytest.raises(TimeoutError, match=r"1 \(of 1\) results unfinished"):
                await anext(reader)
        before = len(result._tasks.wakers)
        del reader
        return before, len(result._tasks.wakers)

    assert found == (1, 0)


def test_results_of_the_blocking_client_are_none_to_be_awaited(place, run, client):
    one = client.load_balanced_view().apply_async(tasks.double, 4)
    future = client.load_balanced_view().executor.submit(tasks.double, 4)

    for given in (one, [one], [future]):
        with pytest.raises(TypeError, match=r"of redtask: use redtask\.as_completed"):
            aio.as_completed(given)
    with pytest.raises(TypeError, match="expected results, not int"):
        aio.as_completed([1])  # type: ignore[list-item]


def test_who_gave_up_waiting_for_engines_sees_them_all(place, run, monkeypatch):
    place.engine()

    @run
    async def found(rc):
        reader = aiter(rc)
        reading = asyncio.create_task(anext(reader))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        return reading.cancelled(), len(await rest(reader))

    assert found == (True, 1)


def test_who_gave_up_waiting_for_a_direct_map_goes_on(place, run, gate):
    place.engine()

    @run
    async def found(rc):
        reader = rc[:].imap(tasks.pass_gate, [str(gate)] * 2, iter(range(2)))
        reading = asyncio.create_task(anext(reader))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await give_up(reader)
        gate.touch()
        return reading.cancelled(), await rest(reader)

    assert found == (True, [0, 1])


def test_why_a_direct_map_was_not_submitted_is_told_again(place, run):
    place.client()

    @run
    async def found(rc):
        reader = rc[:].imap(tasks.double, range(2))
        for _ in range(2):
            with pytest.raises(error.NoEnginesRegistered):
                await anext(reader)
        return True

    assert found
