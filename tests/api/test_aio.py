"""What only the asyncio face can do, or only it can get wrong."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import pickle
import socket
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import UnixDomainSocketConnection

from redtask import aio, error
from redtask.aio import client
from redtask.aio.pier import Pier
from redtask.aio.store import MOST, Driver
from redtask.hub import scripts
from tests import processes, tasks

DEADLINE = 20


def readers(place):
    return [one for one in place.connections() if one["cmd"].startswith("xread")]


async def until(true):
    """Wait until something is true that only the server knows."""
    deadline = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline


def ours(place):
    return [one for one in place.connections() if one["name"].startswith("redtask-")]


def test_the_beginning_as_written(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        return await view.map(lambda x: x**10, range(32))

    assert found == [x**10 for x in range(32)]


def test_a_result_can_be_awaited_again(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        result = await view.apply_async(tasks.double, 4)
        return [await result, await result, await view.apply(tasks.double, 5)]

    assert found == [8, 8, 10]


def test_a_client_can_be_connected_by_hand(place):
    place.engine()

    async def main():
        rc = await aio.Client.connect(place.url, key=place.key)
        try:
            return repr(rc), await rc.load_balanced_view().apply(tasks.double, 4)
        finally:
            await rc.close()

    shown, found = asyncio.run(main())
    assert found == 8
    assert shown.startswith("<Client ")


def test_a_client_can_be_awaited(place):
    place.engine()

    async def main():
        rc = await aio.Client(place.url, key=place.key)
        driver = rc._driver
        async with rc:
            same = rc._driver is driver
            return same, await rc.load_balanced_view().apply(tasks.double, 4)

    assert asyncio.run(main()) == (True, 8)


def test_those_who_connect_a_client_at_once_share_its_connection(place):
    async def use(rc):
        return await (await rc).ids()

    async def main():
        rc = aio.Client(place.url, key=place.key)
        found = await asyncio.gather(*(use(rc) for _ in range(30)))
        await rc.close()
        return found

    place.client()
    before = opened(place)

    assert asyncio.run(main()) == [[]] * 30
    assert opened(place) - before <= MOST


def opened(place):
    return place.redis.info("stats")["total_connections_received"]


def test_who_gives_up_connecting_does_not_stop_the_others(place):
    async def connect(rc):
        return await rc

    async def main():
        rc = aio.Client(place.url, key=place.key)
        callers = [asyncio.create_task(connect(rc)) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        told = await asyncio.gather(*callers, return_exceptions=True)
        found = await rc.ids()
        await rc.close()
        return type(told[0]), told[1:] == [rc, rc], found

    assert asyncio.run(main()) == (asyncio.CancelledError, True, [])


def test_when_all_give_up_connecting_nothing_is_left():
    async def main(server):
        rc = aio.Client(f"redis://127.0.0.1:{server.getsockname()[1]}", key="off")
        callers = [asyncio.create_task(rc._connect()) for _ in range(2)]
        there, _ = await asyncio.get_running_loop().sock_accept(server)
        with there:
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
            return asyncio.all_tasks() - {asyncio.current_task()}

    before = open_files()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        left = asyncio.run(main(server))

    assert left == set()
    assert open_files() == before


def test_who_connects_when_all_others_just_gave_up_is_connected(place):
    async def main():
        rc = aio.Client(place.url, key=place.key)
        first = asyncio.create_task(rc._connect())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        async with rc:
            return await rc.ids()

    assert asyncio.run(main()) == []


def test_those_who_connect_at_once_all_hear_why_that_failed(tmp_path):
    url = f"unix://{tmp_path}/none.sock"

    async def connect(rc):
        return await rc

    async def main():
        rc = aio.Client(url, key="off")
        return await asyncio.gather(
            *(connect(rc) for _ in range(3)), return_exceptions=True
        ), await asyncio.gather(connect(rc), return_exceptions=True)

    first, again = asyncio.run(main())

    assert [type(one) for one in first + again] == [error.ConnectionLost] * 4


def test_a_client_closed_while_it_connects_has_no_connections(place):
    async def main():
        rc = aio.Client(place.url, key=place.key)
        connecting = asyncio.create_task(rc._connect())
        await asyncio.sleep(0)
        await rc.close()
        with pytest.raises(error.ConfigurationError, match="this client is closed"):
            await connecting

    before = open_files()
    asyncio.run(main())

    assert open_files() == before


def test_what_the_blocking_face_has_is_told_by_its_name_here():
    view = aio.Client("redis://nowhere").load_balanced_view()

    with pytest.raises(AttributeError, match=r"use 'await view\.map"):
        view.map_sync  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'push'; instead of"):
        view.push  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"view.executor of the blocking redtask"):
        view.executor  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'mop'$"):
        view.mop  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("spin", "results come by themselves"),
        ("executor", "view.executor of the blocking redtask.Client"),
        ("map_sync", r"await rc.load_balanced_view\(\).map\(...\)"),
        ("metadata", r"\(await rc.get_result\(ids\)\).metadata\(\)"),
        ("mop", r"'Client' object has no attribute 'mop'$"),
    ],
)
def test_what_a_client_has_instead_is_told(name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(aio.Client("redis://nowhere"), name)


def test_a_result_says_where_the_fields_of_its_metadata_are():
    result = aio.AsyncResult.__new__(aio.AsyncResult)

    with pytest.raises(AttributeError, match=r"use '\(await ar.metadata\(\)\).stdout'"):
        result.stdout  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(
        AttributeError, match=r"use redtask.aio.as_completed\(results\)$"
    ):
        result._condition  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'mop'$"):
        result.mop  # type: ignore[attr-defined]  # noqa: B018


def test_who_is_not_connected_hears_how_to():
    client = aio.Client("redis://nowhere")

    with pytest.raises(error.ConfigurationError, match="async with"):
        asyncio.run(client.load_balanced_view().apply(tasks.double, 1))


def test_a_thousand_waiters_cost_one_connection(place, run, gate):
    @run
    async def found(rc):
        view = rc.load_balanced_view()
        results = await asyncio.gather(
            *(view.apply_async(tasks.pass_gate, str(gate), n) for n in range(1000))
        )
        waiters = [asyncio.ensure_future(result.get()) for result in results]
        await until(lambda: readers(place))
        before = await asyncio.to_thread(ours, place)
        gate.touch()
        engine = await asyncio.to_thread(place.engine, want=200)
        values = await asyncio.gather(*waiters)
        after = await asyncio.to_thread(ours, place)
        return values, before, after, engine

    values, before, after, engine = found
    assert values == list(range(1000))
    assert len([one for one in before if one["cmd"].startswith("xread")]) == 1
    assert len(before) <= MOST + 1
    # The engine and its keeper have two each.
    assert len(after) <= MOST + 1 + 4
    assert engine.problem is None


def test_nothing_polls_while_nothing_comes(place, run):
    @run
    async def asked(rc):
        view = rc.load_balanced_view()
        results = [await view.apply_async(tasks.double, n) for n in range(100)]
        waiters = [asyncio.ensure_future(result.get()) for result in results]
        await until(lambda: readers(place))
        before = place.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        await asyncio.sleep(0.2)
        after = place.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return after - before

    assert asked == 0


def test_quiet_waiters_ask_together(place, run, monkeypatch):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.2)

    @run
    async def asked(rc):
        view = rc.load_balanced_view()
        results = await asyncio.gather(
            *(view.apply_async(tasks.double, n) for n in range(1000))
        )
        calls = []
        do = rc._driver.store.do

        async def counted(call, *options, **named):
            calls.append(len(call.args) - 3)
            return await do(call, *options, **named)

        monkeypatch.setattr(rc._driver.store, "do", counted)
        waiters = [asyncio.ensure_future(result.get()) for result in results]
        await until(lambda: sum(calls) >= 1000)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return calls

    assert len(asked) < 20


def test_whoever_is_cancelled_hurts_nobody(place, run, gate):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        result = await view.apply_async(tasks.pass_gate, str(gate), 5)
        waiters = [asyncio.ensure_future(result.get()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiters[0]
        gate.touch()
        return [await waiters[1], await waiters[2], await result]

    assert found == [5, 5, 5]


def test_a_call_that_is_cancelled_leaves_no_reply_to_the_next(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        for pause in range(50):
            call = asyncio.ensure_future(view.map(tasks.double, range(10)))
            for _ in range(pause):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        return await view.map(tasks.double, range(20))

    assert found == list(range(0, 40, 2))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_map_that_is_cancelled_while_it_is_sent_takes_back_what_it_sent(
    place, run, monkeypatch, when
):
    @run
    async def sent(rc):
        perform, performed = rc._driver._perform, []

        async def third_is_cancelled(*step):
            performed.append(step)
            if len(performed) != 3:
                return await perform(*step)
            if when == "after":
                await perform(*step)
            raise asyncio.CancelledError

        monkeypatch.setattr(rc._driver, "_perform", third_is_cancelled)
        view = rc.load_balanced_view().with_flags(delay=1000)
        with pytest.raises(asyncio.CancelledError):
            await view.map_async(tasks.double, range(3000))
        own = [f"{rc._session.client}-0{number}" for number in range(1000)]
        there = [name for name in own if place.record(name)]
        assert (len(there) > len(rc.history) > 0) == (when == "after")
        return there

    assert {place.record(name)["state"] for name in sent} == {"aborted"}


def test_a_timeout_of_asyncio_is_one_of_ours(place, run):
    @run
    async def _(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(result.get(), 0.02)
        with pytest.raises(TimeoutError, match="not ready"):
            await result.get(0.02)


def test_temporary_flags_are_those_of_one_coroutine(place, run):
    @run
    async def found(rc):
        view = rc.load_balanced_view(retries=1)
        both = asyncio.Barrier(2)

        async def submit(label):
            with view.temp_flags(label=label):
                await both.wait()
                inner = asyncio.create_task(view.apply_async(tasks.double, 1))
                with view.temp_flags(priority=1):
                    view.retries = 2
                    other = view.with_flags(delay=9)
                result = await inner
                await both.wait()
            return result.msg_ids[0], label, other

        submitted = await asyncio.gather(submit("a"), submit("b"))
        assert (view.label, view.priority, view.retries) == (None, 0, 1)
        view.label = "c"
        assert view.label == "c"
        return submitted

    for name, label, other in found:
        record = place.record(name)
        assert (record["label"], record["retries"]) == (label, "1")
        assert (other.label, other.priority, other.retries) == (label, 1, 2)


def test_results_are_iterated_as_they_arrive(place, run, gate):
    place.engine()
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        paths = [str(gate), __file__, __file__]
        result = await view.map_async(tasks.pass_gate, paths, range(3), ordered=False)
        values = []
        async for value in result:
            values.append(value)
            if len(values) == 2:
                gate.touch()
        return values, [value async for value in result]

    assert set(found[0][:2]) == {1, 2}
    assert found[0][2] == 0
    assert found[1] == [0, 1, 2]


def test_closing_wakes_those_who_wait(place, run):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        waiter = asyncio.ensure_future(result.get())
        await until(lambda: readers(place))
        await rc.close()
        return await asyncio.gather(waiter, return_exceptions=True)

    assert isinstance(found[0], error.ConfigurationError)
    assert "closed" in str(found[0])
    # The server sees the end of a connection when it looks.
    processes.until(lambda: not ours(place))


def test_what_cannot_be_read_is_told_to_those_who_wait(place, run, monkeypatch):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)

        async def refuse(*_):
            raise error.ConfigurationError("the Redis user lacks a right")

        monkeypatch.setattr(rc._driver.store, "block", refuse)
        return await asyncio.gather(result, result, return_exceptions=True)

    assert [type(one) for one in found] == [error.ConfigurationError] * 2


def test_connections_may_be_cut_at_any_time(place, run):
    place.engine()

    @run
    async def found(rc):
        async def cut():
            while True:
                for one in await asyncio.to_thread(place.redis.client_list):
                    if one["name"].startswith("redtask-"):
                        await asyncio.to_thread(
                            place.redis.execute_command,
                            "CLIENT",
                            "KILL",
                            "ID",
                            one["id"],
                        )
                await asyncio.sleep(0.01)

        cutter = asyncio.ensure_future(cut())
        view = rc.load_balanced_view()
        values = [await view.map(tasks.double, range(20)) for _ in range(10)]
        cutter.cancel()
        return values

    assert found == [list(range(0, 40, 2))] * 10


def test_a_waiter_is_right_without_the_stream(place, run, monkeypatch):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.05)
    place.engine()

    @run
    async def found(rc):
        async def delete():
            while True:
                place.redis.delete(place.keys.done(rc._session.client))
                await asyncio.sleep(0.002)

        deleter = asyncio.ensure_future(delete())
        view = rc.load_balanced_view()
        values = [await view.map(tasks.double, range(5)) for _ in range(10)]
        deleter.cancel()
        return values

    assert found == [[0, 2, 4, 6, 8]] * 10


def test_scripts_may_be_forgotten_at_any_time(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        values = []
        for _ in range(5):
            place.redis.script_flush()
            values.append(await view.map(tasks.double, range(5)))
        return values

    assert found == [[0, 2, 4, 6, 8]] * 5


def test_a_wrong_key_is_told_when_connecting(place):
    place.client()

    async def main():
        async with aio.Client(place.url, key=KEY):
            pytest.fail("it is the wrong key")

    with pytest.raises(error.ConfigurationError, match="is not the key of hub"):
        asyncio.run(main())
    assert len(ours(place)) == 1


KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def test_imap_reads_an_endless_input_as_needed(place, run):
    place.engine()
    read = []

    def numbers():
        for number in itertools.count():
            read.append(number)
            yield number

    @run
    async def found(rc):
        values = []
        async for value in rc.load_balanced_view().imap(tasks.double, numbers()):
            values.append(value)
            if len(values) == 10:
                return values
        return None

    assert found == [2 * number for number in range(10)]
    assert len(read) < 20


def test_what_imap_submits_is_its_views(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view(delay=1000)
        lazy = view.imap(tasks.double, range(4), max_outstanding=4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lazy), 0.2)
        first = len(view.history), await view.outstanding() == set(view.history)
        await view.abort()
        return *first, {place.record(name)["state"] for name in view.history}

    assert found == (4, True, {"aborted"})


def test_at_home_a_result_that_travelled_uses_the_client_there(place, run):
    place.engine()

    @run
    async def found(rc):
        before = await rc.load_balanced_view().apply_async(tasks.double, 4)
        again = copy.copy(before)
        return await again, again._session is rc._session

    assert found == (8, True)


def test_imap_need_not_be_in_order(place, run, gate):
    place.engine()
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        names = [str(gate), *("/" for _ in range(3))]
        arriving = view.imap(
            tasks.pass_gate, names, range(4), ordered=False, max_outstanding=0
        )
        first = [await anext(arriving) for _ in range(3)]
        gate.touch()
        return first, [value async for value in arriving]

    assert (sorted(found[0]), found[1]) == ([1, 2, 3], [0])


def test_imap_tells_errors_where_they_are(place, run):
    place.engine()

    def broken():
        yield 0
        yield 1
        raise RuntimeError("the input broke")

    @run
    async def found(rc):
        arriving = rc.load_balanced_view().imap(tasks.fail_odd, broken())
        told = [await anext(arriving)]
        for _ in range(2):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - told below
                await anext(arriving)
            told.append(type(caught.value))
        with pytest.raises(StopAsyncIteration):
            await anext(arriving)
        return told

    assert found == [0, error.RemoteError, RuntimeError]


def test_imap_may_give_errors_and_be_cancelled(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        arriving = view.imap(tasks.fail_odd, range(9), return_exceptions=True)
        first = [await anext(arriving), await anext(arriving)]
        arriving.cancel()
        with pytest.raises(TypeError, match="at least one sequence"):
            view.imap(tasks.double)
        with pytest.raises(ValueError, match="max_outstanding"):
            view.imap(tasks.double, [1], max_outstanding=-1)
        with pytest.raises(TypeError, match="f must be callable, not NoneType"):
            view.imap(None, [1])
        return first, len([value async for value in arriving])

    first, rest = found
    assert first[0] == 0
    assert isinstance(first[1], error.RemoteError)
    assert rest < 7


def test_what_imap_cannot_submit_is_told_after_what_came_before(place, run):
    place.engine()

    @run
    async def found(rc):
        arriving = rc.load_balanced_view().imap(tasks.double, [1, threading.Lock(), 3])
        told = [await anext(arriving)]
        with pytest.raises(error.SerializationError):
            await anext(arriving)
        return [*told, *[value async for value in arriving]]

    assert found == [2]


@pytest.mark.parametrize("ordered", [True, False])
def test_calls_of_an_imap_share_trips(place, run, monkeypatch, ordered):
    place.engine()
    trips = []

    @run
    async def found(rc):
        cross = rc._pier._cross

        async def counted(aboard):
            trips.append(len(aboard))
            await cross(aboard)

        monkeypatch.setattr(rc._pier, "_cross", counted)
        # A stall of the machine must not make an input seem slow.
        monkeypatch.setattr("redtask.aio.lazy._TRIP", DEADLINE)
        view = rc.load_balanced_view()
        arriving = view.imap(
            tasks.double, range(100), ordered=ordered, max_outstanding=0
        )
        return [value async for value in arriving]

    assert sorted(found) == list(range(0, 200, 2))
    assert trips == [100]


def test_imap_does_not_hold_back_what_a_slow_input_has_given(place, run, monkeypatch):
    place.engine()
    monkeypatch.setattr("redtask.aio.lazy._TRIP", 0.0)

    @run
    async def found(rc):
        told = []

        def numbers():
            for number in range(3):
                told.append(len(rc.history))
                yield number

        arriving = rc.load_balanced_view().imap(tasks.double, numbers())
        return told, [value async for value in arriving]

    assert found == ([0, 1, 2], [0, 2, 4])


def test_results_of_an_imap_do_not_wait_for_many_slow_inputs(place, run, monkeypatch):
    monkeypatch.setattr("redtask.aio.lazy.SLOW", -1.0)
    monkeypatch.setattr("redtask.aio.lazy._TRIP", -1.0)
    place.engine()
    read: list[int] = []

    @run
    async def found(rc):
        view = rc.load_balanced_view()

        def is_done(number):
            return place.record(view.history[number]).get("state") == "completed"

        def numbers():
            for number in range(9):
                if number == 2:
                    processes.until(lambda: is_done(0))
                read.append(number)
                yield number

        arriving = view.imap(tasks.double, numbers(), max_outstanding=8)
        first = await anext(arriving)
        return len(read), [first, *[value async for value in arriving]]

    assert found[0] <= 4
    assert found[1] == list(range(0, 18, 2))


def test_what_the_hub_refuses_of_an_imap_is_told_after_what_it_took(
    place, run, monkeypatch
):
    place.engine()

    @run
    async def found(rc):
        cross = rc._pier._cross

        async def full_with_two(aboard):
            if len(rc.history) >= 2:
                raise error.HubFull
            await cross(aboard)

        monkeypatch.setattr(rc._pier, "_cross", full_with_two)
        arriving = rc.load_balanced_view().imap(
            tasks.double, itertools.count(), max_outstanding=2
        )
        told = [await anext(arriving), await anext(arriving)]
        with pytest.raises(error.HubFull):
            await anext(arriving)
        return [*told, *[value async for value in arriving]]

    assert found == [0, 2]


def test_a_cancelled_reader_of_an_imap_loses_no_result(place, run, monkeypatch):
    place.engine()

    @run
    async def found(rc):
        arriving = rc.load_balanced_view().imap(tasks.double, range(3))
        get = aio.AsyncResult.get

        async def stuck(self, *args, **kwargs):
            await asyncio.Event().wait()

        monkeypatch.setattr(aio.AsyncResult, "get", stuck)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(arriving)
        monkeypatch.setattr(aio.AsyncResult, "get", get)
        return [value async for value in arriving]

    assert found == [0, 2, 4]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("large", [False, True])
def test_coroutines_that_share_an_imap_get_each_result_once(place, run, ordered, large):
    place.engine()
    pad = b"x" * 100_000 if large else b""

    @run
    async def found(rc):
        shared = rc.load_balanced_view().imap(
            tasks.first_of, range(100), itertools.repeat(pad), ordered=ordered
        )
        told: list[int] = []

        async def read():
            while (value := await anext(shared, None)) is not None:
                told.append(value)

        async def read_a_little():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await read()

        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(read(), read_a_little(), read(), read_a_little())
        return told

    assert sorted(found) == list(range(100))


def test_an_imap_may_be_read_on_after_its_loop_has_ended():
    lazy: Any = aio.LoadBalancedView(aio.Client("redis://nowhere")).imap(abs, [])
    lazy._ahead.most = 1

    async def leave():
        await lazy._turn().acquire()

    async def read():
        return [value async for value in lazy]

    asyncio.run(leave())

    assert asyncio.run(read()) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_imap_cancelled_while_it_calls_loses_no_input(place, run, monkeypatch, when):
    place.engine()

    @run
    async def found(rc):
        post, calls = rc._post, []

        async def third_is_cancelled(task):
            calls.append(task)
            if len(calls) != 3:
                return await post(task)
            if when == "after":
                await post(task)
            raise asyncio.CancelledError

        monkeypatch.setattr(rc, "_post", third_is_cancelled)
        view = rc.load_balanced_view()
        arriving = view.imap(tasks.double, range(6), max_outstanding=2)
        told: list[int] = []
        while len(told) < 6:
            with contextlib.suppress(asyncio.CancelledError):
                told.append(await anext(arriving))
        assert len(set(view.history)) == len(view.history) == 6
        return told, [value async for value in arriving]

    assert found == ([0, 2, 4, 6, 8, 10], [])


def test_calls_of_an_imap_may_be_in_a_batch(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        async with view.batch():
            return [value async for value in view.imap(tasks.double, range(3))]

    assert found == [0, 2, 4]


def test_calls_of_an_imap_may_have_to_be_durable(place, run):
    @run
    async def found(rc):
        view = rc.load_balanced_view(durability="replica")
        with pytest.raises(error.ConfigurationError, match="no replica"):
            await anext(view.imap(tasks.double, range(3)))
        return True

    assert found


def test_an_imap_may_be_cancelled_before_it_began(place, run):
    @run
    async def found(rc):
        arriving = rc.load_balanced_view().imap(tasks.double, range(3))
        arriving.cancel()
        return [value async for value in arriving]

    assert found == []


def test_what_an_imap_has_posted_can_be_aborted(place, run):
    @run
    async def found(rc):
        view = rc.load_balanced_view()
        calls = [await view._prepare(tasks.double, (n,)) for n in range(5)]
        letters = [await view._post(task) for _, task in calls]
        await rc.abort()
        return [letter.over for letter in letters], await rc.outstanding(), rc.history

    over, outstanding, history = found
    assert (over, outstanding) == ([True] * 5, set())
    assert {place.record(name)["state"] for name in history} == {"aborted"}


def test_letters_of_a_loop_that_ends_are_left(place):
    async def main():
        async with aio.Client(place.url, key=place.key) as rc:

            async def cross(_):
                await asyncio.Event().wait()

            rc._pier._cross = cross
            view = rc.load_balanced_view()
            _, task = await view._prepare(tasks.double, (1,))
            letter = await view._post(task)
            await asyncio.sleep(0)
            return letter

    assert asyncio.run(main()).over


def test_a_remote_function_is_awaited(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        plain = view.remote(label="one")(tasks.double)
        later = aio.remote(view, block=False)(tasks.double)
        result = await later(4)
        with pytest.raises(KeyError, match="no such flag: lable"):
            view.remote(lable="x")(tasks.double)
        return await plain(3), await result, list(view.history) == rc.history

    assert found == (6, 8, True)


def test_a_parallel_function_is_awaited(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        square = view.parallel()(lambda x: x * x)
        total = aio.parallel(view, dist="r", block=False)(tasks.total)
        return await square.map(range(4)), await (await total(range(4)))

    assert found == ([0, 1, 4, 9], [0, 1, 2, 3])


def test_callbacks_are_called_in_the_loop(place, run, gate):
    place.engine()

    @run
    async def found(rc):
        view, called = rc.load_balanced_view(), []
        loop = asyncio.get_running_loop()
        result = await view.apply_async(tasks.pass_gate, str(gate), 1)
        told = asyncio.Event()

        def note(one):
            called.append((one is result, asyncio.get_running_loop() is loop))
            told.set()

        def fail(_):
            raise RuntimeError

        result.add_done_callback(fail)
        result.add_done_callback(note)
        before = list(called)
        gate.touch()
        await told.wait()
        result.add_done_callback(note)
        return before, called

    assert found == ([], [(True, True)] * 2)


def test_what_is_no_callback_is_refused_at_once(place, run):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        with pytest.raises(TypeError) as refused:
            result.add_done_callback(5)
        return str(refused.value)

    assert found == "callback must be callable, not int"


def test_a_callback_that_waits_does_not_keep_a_client(place, run):
    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 1)
        result.add_done_callback(pytest.fail)
        await rc.close()
        return result.done()

    assert found is False


def test_results_come_as_they_are_done(place, run, gate):
    place.engine()
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        slow = await view.apply_async(tasks.pass_gate, str(gate), 1)
        quick = await view.map_async(tasks.double, range(3))
        order = []
        async for result in aio.as_completed([slow, *quick.split()]):
            order.append(result)
            if len(order) == 3:
                with pytest.raises(TimeoutError, match="1 \\(of 1\\)"):
                    _ = [one async for one in aio.as_completed([slow], timeout=0.01)]
                gate.touch()
        return order[-1] is slow, len(order)

    assert found == (True, 4)


def test_waiting_under_a_bar_can_be_awaited(place, run, gate):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        result = await view.map_async(tasks.pass_gate, [str(gate)] * 2, range(2))
        await result.wait_interactive(interval=0.01, timeout=0.03)
        pending = not result.done()
        gate.touch()
        await result.wait_interactive()
        with pytest.raises(ValueError, match="return_when"):
            await result.wait_interactive(return_when="never")
        return pending, result.done()

    assert found == (True, True)


def test_targets_are_looked_up_by_the_first_submit(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view(targets=[7])
        before = view.targets
        with pytest.raises(IndexError, match="no such engine: 7"):
            await view.apply_async(tasks.double, 1)
        view.targets = -1
        await view._resolved()
        return before, view.targets

    assert found == ([7], [0])


def test_the_latest_of_a_view_can_be_had(place, run):
    place.engine()

    @run
    async def found(rc):
        view = rc.load_balanced_view()
        await view.apply(tasks.double, 1)
        await rc.load_balanced_view().apply(tasks.double, 9)
        return await (await view.get_result()), await (await view.get_result([0]))

    assert found == (2, [2])


#: What a web framework sets for each request.
REQUEST: ContextVar[str] = ContextVar("request", default="none")


def test_what_serves_all_has_the_context_of_nobody(place, run, monkeypatch):
    seen = set()

    def watch(owner, name):
        method = getattr(owner, name)

        async def watched(*args):
            seen.add((name, REQUEST.get()))
            return await method(*args)

        monkeypatch.setattr(owner, name, watched)

    async def first(rc, result):
        REQUEST.set("first")
        made = await result
        await rc
        view = rc.load_balanced_view()
        return made, *[one async for one in view.imap(tasks.double, range(2))]

    async def main():
        rc = aio.Client(place.url, key=place.key)
        found = await first(rc, pickle.loads(sent))
        await rc.close()
        return found

    place.engine()
    monkeypatch.setenv("REDTASK_URL", place.url)
    monkeypatch.setenv("REDTASK_KEY", place.key)

    @run
    async def sent(rc):
        return pickle.dumps(await rc.load_balanced_view().apply_async(abs, -5))

    watch(client, "_connect")
    watch(aio.Client, "_begin")
    watch(Driver, "_read")
    watch(Pier, "_lead_for")
    watch(UnixDomainSocketConnection, "_connect")

    assert asyncio.run(main()) == (5, 0, 2)
    names = {"_begin", "_read", "_lead_for", "_connect"}
    assert seen == {(name, "none") for name in names}


def test_scripts_are_not_put_together_in_the_event_loop(place, run, monkeypatch):
    bundle = scripts.bundle
    first: dict[str, threading.Thread] = {}

    def bundling(name, scheme):
        first.setdefault(name, threading.current_thread())
        return bundle(name, scheme)

    place.engine()
    monkeypatch.setattr(scripts, "bundle", bundling)

    @run
    async def found(rc):
        result = await rc.load_balanced_view().apply_async(tasks.double, 4)
        return await result, (await rc.why(result.msg_ids[0])).state

    assert found == (8, "completed")
    assert {"submit", "why"} <= set(first)
    assert threading.current_thread() not in first.values()


def test_another_event_loop_has_to_have_a_client_of_its_own(place):
    place.engine()

    async def begin():
        rc = await aio.Client.connect(place.url, key=place.key)
        return rc, await rc.load_balanced_view().apply_async(tasks.double, 4)

    async def go_on(rc, result):
        for ask in (
            result.get,
            lambda: rc.load_balanced_view().apply_async(tasks.double, 4),
            rc.ids,
            rc.close,
            rc.__aenter__,
        ):
            with pytest.raises(error.ConfigurationError, match="another event loop"):
                await asyncio.wait_for(ask(), 5)

    loop = asyncio.new_event_loop()
    rc, result = loop.run_until_complete(begin())
    asyncio.run(go_on(rc, result))
    assert loop.run_until_complete(result.get(10)) == 8
    loop.run_until_complete(rc.close())
    loop.close()


def test_an_event_loop_that_is_shut_down_closes_the_connections_of_its_clients(place):
    async def leave_open():
        rc = await aio.Client(place.url, key=place.key)
        assert await rc.ids() == []
        return rc

    before = open_files()
    kept = [asyncio.run(leave_open()) for _ in range(3)]

    assert open_files() == before
    asyncio.run(kept[0].close())
    assert kept[0].closed


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_client_whose_event_loop_is_closed_can_be_closed(place):
    rc = aio.Client(place.url, key=place.key)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(rc._connect())
    loop.run_until_complete(rc._driver.close())  # type: ignore[union-attr]
    loop.close()

    asyncio.run(rc.close())

    assert rc.closed
