"""``view.batch()``, through both faces: as without it, but in fewer calls."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import threading
from typing import Any

import pytest

import redtask
from redtask import aio, error
from redtask.batch import Batch
from redtask.slices import MOST_TASKS
from tests import tasks

DEADLINE = 30


class Awaited:
    """An object of the blocking face, seen as if it were the asyncio one."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if name == "batch":
            return self._batch
        if name in {"with_flags", "temp_flags"} or not callable(value):
            return lambda **flags: Awaited(value(**flags))

        async def call(*args, **kwargs):
            return value(*args, **kwargs)

        return call

    @contextlib.asynccontextmanager
    async def _batch(self):
        with self._inner.batch() as batch:
            yield batch


async def value_of(result):
    """Return a result's value, of either face."""
    value = result.get(DEADLINE)
    return await value if inspect.isawaitable(value) else value


async def failure_of(result):
    """Return the exception of a result, of either face."""
    problem = result.exception(DEADLINE)
    return await problem if inspect.isawaitable(problem) else problem


@pytest.fixture
def run(place, face):
    """Run a coroutine function with a view, through each face."""

    def run(test):
        async def main():
            async with asyncio.timeout(60):
                if face == "blocking":
                    with redtask.Client(place.url, key=place.key) as rc:
                        return await test(Awaited(rc.load_balanced_view()))
                async with aio.Client(place.url, key=place.key) as rc:
                    return await test(rc.load_balanced_view())

        return asyncio.run(main())

    return run


def submits(place):
    return place.redis.info("commandstats")["cmdstat_evalsha"]["calls"]


async def warm(view):
    """Load the scripts, and make the functions known."""
    await view.apply_async(tasks.double, 0)
    await view.apply_async(tasks.add, 0)


async def in_a_block(view, calls, results, *, fail=False):
    """Apply calls in a block, which fails after them."""
    async with view.batch():
        for function, *args in calls:
            results.append(await view.apply_async(function, *args))
        if fail:
            raise ZeroDivisionError


def states(place, results):
    return [place.record(one.msg_ids[0]).get("state", "none") for one in results]


def test_what_a_block_applies_is_sent_when_it_ends(place, run):
    @run
    async def found(view):
        await warm(view)
        before = submits(place)
        async with view.batch() as batch:
            results = [await view.apply_async(tasks.double, n) for n in range(50)]
            inside = submits(place) - before, len(batch), states(place, results[:1])
        return inside, submits(place) - before, states(place, results)

    assert found == ((0, 50, ["none"]), 1, ["ready"] * 50)


def test_results_are_dependencies_inside_the_block(place, run):
    place.engine()

    @run
    async def found(view):
        async with view.batch():
            first = await view.apply_async(tasks.double, 1)
            after = view.with_flags(after=[first])
            second = await after.apply_async(tasks.add, redtask.Ref(first), 10)
        return await value_of(second), place.record(second.msg_ids[0])["after"]

    value, after = found
    assert value == 12
    assert after.startswith("as ")


def test_a_full_slice_goes_at_once(place, run):
    @run
    async def found(view):
        await warm(view)
        async with view.batch() as batch:
            results = [
                await view.apply_async(tasks.double, n) for n in range(MOST_TASKS + 5)
            ]
            inside = len(batch), states(place, results)
        return inside, states(place, results)

    (left, inside), outside = found
    assert left == 5
    assert inside == ["ready"] * MOST_TASKS + ["none"] * 5
    assert outside == ["ready"] * (MOST_TASKS + 5)


def test_who_asks_inside_the_block_gets_an_answer(place, run):
    place.engine()

    @run
    async def found(view):
        async with view.batch():
            result = await view.apply_async(tasks.double, 4)
            return await value_of(result)

    assert found == 8


def test_a_map_inside_the_block_comes_after_what_was_applied(place, run):
    place.engine()

    @run
    async def found(view):
        async with view.batch():
            first = await view.apply_async(tasks.double, 1)
            after = view.with_flags(after=[first])
            mapped = await after.map_async(tasks.double, range(3))
        return await value_of(mapped)

    assert found == [0, 2, 4]


def test_when_the_block_raises_what_was_applied_is_sent(place, run):
    @run
    async def found(view):
        results = []
        with contextlib.suppress(ZeroDivisionError):
            async with view.batch():
                results.append(await view.apply_async(tasks.double, 1))
                results.append(await view.apply_async(tasks.double, 1 // 0))
        return states(place, results)

    assert found == ["ready"]


def test_a_refused_task_is_left_out_and_told_of(place, run):
    ballast = bytes(100_000)

    @run
    async def found(view):
        await warm(view)
        place.redis.hset(place.keys.root + ":hub", "max_payload", 65536)
        calls = (tasks.double, 1), (lambda: ballast,), (tasks.double, 2)
        results: list[Any] = []
        with pytest.raises(error.PayloadTooLarge, match="<lambda>"):
            await in_a_block(view, calls, results)
        return states(place, results), await failure_of(results[1])

    assert found[0] == ["ready", "none", "ready"]
    assert isinstance(found[1], error.TaskLost)
    assert "was not submitted" in str(found[1])


def test_several_refusals_are_counted(place, run):
    ballast = bytes(100_000)

    @run
    async def found(view):
        await warm(view)
        place.redis.hset(place.keys.root + ":hub", "max_payload", 65536)
        calls = (lambda: ballast,), (lambda: ballast[1:],)
        with pytest.raises(error.PayloadTooLarge) as caught:
            await in_a_block(view, calls, [])
        return caught.value.__notes__

    assert found == ["2 tasks of the batch were refused"]


def test_a_full_hub_is_told_at_once_and_by_each_result(place, run):
    @run
    async def found(view):
        await warm(view)
        results: list[Any] = []
        place.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(error.HubFull):
                await in_a_block(view, [(tasks.noop,)] * 2, results)
        finally:
            place.redis.config_set("maxmemory", 0)
        return [type(await failure_of(one)) for one in results]

    assert found == [error.TaskLost] * 2


def test_trouble_at_the_end_does_not_hide_what_the_block_raised(place, run):
    @run
    async def found(view):
        await warm(view)
        place.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(ZeroDivisionError) as caught:
                await in_a_block(view, [(tasks.noop,)], [], fail=True)
        finally:
            place.redis.config_set("maxmemory", 0)
        return caught.value.__notes__

    assert "the batch could not be sent" in found[0]


def test_a_block_in_a_block_may_wait_for_the_outer_ones_tasks(place, run):
    place.engine()

    @run
    async def found(view):
        async with view.batch() as outer:
            first = await view.apply_async(tasks.double, 3)
            async with view.with_flags(after=[first]).batch():
                inner = view.with_flags(after=[first])
                second = await inner.apply_async(tasks.add, redtask.Ref(first), 0)
            left = len(outer)
        return left, await value_of(second)

    assert found == (0, 6)


def test_a_client_knows_its_own_batch_only(place, run):
    @run
    async def found(view):
        await warm(view)
        with redtask.Client(place.url, key=place.key) as other:
            async with view.batch():
                there = other.load_balanced_view().apply_async(tasks.double, 1)
                here = await view.apply_async(tasks.double, 2)
                return states(place, [there, here])

    assert found == ["ready", "none"]


def test_a_batch_is_open_once(place, run):
    @run
    async def found(view):
        async with view.batch() as batch:
            with pytest.raises(RuntimeError, match="open already"):
                batch._open()
        return repr(batch), bool(batch)

    assert found == ("<Batch of 0>", True)


def test_a_block_may_end_in_another_context_than_it_began_in(place, run):
    async def begin(view, block):
        await block.__aenter__()
        return await view.apply_async(tasks.double, 1)

    @run
    async def found(view):
        block = view.batch()
        result = await asyncio.create_task(begin(view, block))
        inside = states(place, [result])
        await asyncio.create_task(block.__aexit__(None, None, None))
        return inside + states(place, [result])

    assert found == ["none", "ready"]


def test_blocks_that_ended_elsewhere_do_not_pile_up(place, client):
    view = client.load_balanced_view()
    blocks = [view.batch() for _ in range(3)]

    for block in blocks:
        block.__enter__()
        contextvars.Context().run(block.__exit__, None, None, None)

    assert Batch.of(client) is None
    assert [block._outer for block in blocks] == [None] * 3


def test_other_threads_are_not_of_the_block(place, client):
    view, results = client.load_balanced_view(), []

    with view.batch() as batch:
        inside = view.apply_async(tasks.double, 1)
        thread = threading.Thread(
            target=lambda: results.append(view.apply_async(tasks.double, 2))
        )
        thread.start()
        thread.join(DEADLINE)
        assert "state" in place.record(results[0].msg_ids[0])
        assert len(batch) == 1

    assert inside.get(DEADLINE) == 2


def test_a_thread_may_wait_for_what_is_not_sent_yet(place, client):
    view, values = client.load_balanced_view(), []

    with view.batch():
        result = view.apply_async(tasks.double, 1)
        thread = threading.Thread(target=lambda: values.append(result.get(DEADLINE)))
        thread.start()
        assert result._tasks.outcomes == {}
        ready = threading.Thread(target=lambda: values.append(result.wait(0)))
        ready.start()
        ready.join(DEADLINE)

    thread.join(DEADLINE)
    assert values == [False, 2]


def test_a_forked_child_leaves_the_block_to_its_parent(place, client):
    view = client.load_balanced_view()

    with view.batch():
        result = view.apply_async(tasks.double, 1)
        if (child := os.fork()) == 0:
            os._exit(0 if Batch.of(client) is None else 1)
        _, status = os.waitpid(child, 0)

    assert status == 0
    assert result.get(DEADLINE) == 2


def test_a_forked_child_waits_for_what_its_parent_is_to_send(
    place, client, monkeypatch
):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.1)
    view = client.load_balanced_view()
    there, here = os.pipe()

    with view.batch():
        result = view.apply_async(tasks.double, 1)
        if (child := os.fork()) == 0:
            with contextlib.suppress(error.RedtaskError):
                os.write(here, b"%d" % result.wait(0))
                os.write(here, b"%d" % result.get(DEADLINE))
            os._exit(0)
        os.close(here)
        before = os.read(there, 10)
    os.waitpid(child, 0)

    assert before == b"0"
    assert os.read(there, 10) == b"2"
    os.close(there)


def test_coroutines_that_a_block_starts_are_of_it(place):
    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            view = rc.load_balanced_view()
            await warm(view)
            before = submits(place)
            async with view.batch():
                coroutines = [view.apply_async(tasks.double, n) for n in range(20)]
                results = await asyncio.gather(*coroutines)
            assert submits(place) - before == 1
            late = asyncio.create_task(view.apply_async(tasks.double, 1))
            results.append(await late)
            return [name for one in results for name in one.msg_ids]

    ids = asyncio.run(main())

    assert all(isinstance(name, str) for name in ids)
    assert [place.record(name)["state"] for name in ids] == ["ready"] * 21


def test_a_batch_of_coroutines_is_sent_in_order_while_it_goes_on(place):
    place.engine()

    async def chain(view, length):
        result = await view.apply_async(tasks.double, 1)
        for _ in range(length):
            view = view.with_flags(after=[result])
            result = await view.apply_async(tasks.add, redtask.Ref(result), 0)
        return result

    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            view = rc.load_balanced_view()
            async with view.batch():
                ends = await asyncio.gather(*(chain(view, 30) for _ in range(10)))
            return [await one for one in ends]

    assert asyncio.run(main()) == [2] * 10
