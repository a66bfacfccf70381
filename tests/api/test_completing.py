"""Results as they complete, as futures of the standard library, and elsewhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import redtask
from redtask import aio, error, link
from redtask import client as module
from redtask.aio import client as aio_client
from redtask.flows import waiting
from redtask.outcomes import of_face
from redtask.result import AsyncHubResult, AsyncMapResult
from tests import tasks
from tests.processes import until

NAN = float("nan")


@pytest.fixture
def view(client):
    """Return a view of the blocking face."""
    return client.load_balanced_view()


def _helpers():
    """Return the threads that wait for futures or callbacks."""
    return [one for one in threading.enumerate() if one.name == "redtask callbacks"]


@pytest.fixture(autouse=True)
def _no_clients_left(monkeypatch):
    """Close the clients of results from elsewhere."""
    made, begin = [], module.Client._begin

    def begin_noted(client, *args, **options):
        begin(client, *args, **options)
        made.append(client)

    monkeypatch.setattr(module.Client, "_begin", begin_noted)
    # As if those in use were in another process.
    for each in (module, aio_client):
        monkeypatch.setattr(each, "_in_use", lambda _place: None)
    yield
    module._own_client.cache_clear()
    for one in made:
        one.close()
    until(lambda: not _helpers(), "the end of their threads")


# -- as they complete


def test_results_come_as_they_are_done(view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate), 1)
    quick = [view.apply_async(tasks.double, n) for n in range(5)]

    arriving = redtask.as_completed([slow, *quick, quick[0]])
    first = [next(arriving) for _ in quick]

    assert set(first) == set(quick)
    gate.touch()
    assert list(arriving) == [slow]


def test_the_parts_of_a_map_come_as_they_are_done(view):
    result = view.map_async(tasks.double, range(10), chunksize=2)

    parts = list(redtask.as_completed(result))

    values = sorted(part.get() for part in parts)
    assert values == [[0, 2], [4, 6], [8, 10], [12, 14], [16, 18]]
    assert list(redtask.as_completed([])) == []


def test_completing_has_an_end(view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate), 1)
    quick = view.apply_async(tasks.double, 1)
    quick.wait()

    arriving = redtask.as_completed([slow, quick], timeout=0.01)

    assert next(arriving) is quick
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) results unfinished"):
        next(arriving)
    assert slow._tasks.wakers == []


def test_completing_does_not_wait_for_less_than_no_time(place, view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate), 1)

    with pytest.raises(TimeoutError, match=r"1 \(of 1\) results unfinished"):
        next(redtask.as_completed([slow], timeout=-1))
    with pytest.raises(TimeoutError):
        next(view.executor.map(tasks.pass_gate, [str(gate)], [1], timeout=-1))

    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            theirs = await rc.get_result(slow.msg_ids[0])
            with pytest.raises(TimeoutError, match=r"1 \(of 1\) results unfinished"):
                await anext(aio.as_completed([theirs], timeout=-1))

    asyncio.run(main())


def test_results_of_several_clients_come_as_they_are_done(place, view, gate):
    other = place.client().load_balanced_view()
    slow = view.apply_async(tasks.pass_gate, str(gate), 1)
    quick = other.apply_async(tasks.double, 1)

    arriving = redtask.as_completed([slow, quick])

    assert next(arriving) is quick
    gate.touch()
    assert list(arriving) == [slow]


def test_failed_results_are_done_too(view):
    (found,) = redtask.as_completed([view.apply_async(tasks.fail, 1)])

    with pytest.raises(error.RemoteError):
        found.get()


def test_only_results_complete():
    with pytest.raises(TypeError, match="expected results, not str"):
        next(redtask.as_completed(["c-1"]))  # type: ignore[list-item]


def test_only_results_of_the_same_face_complete(place, view):
    future = view.executor.submit(tasks.double, 1)
    for one in (future, [future], [future.task], future.task):
        found: Any = of_face(one, "redtask")
        assert found == one
        with pytest.raises(TypeError, match=r"of redtask: use redtask\.as_completed"):
            of_face(one, "redtask.aio")

    async def ask():
        async with aio.Client(place.url, key=place.key) as rc:
            theirs: Any = await rc.load_balanced_view().map_async(tasks.double, [1, 2])
            for some in (theirs, theirs.split()):
                assert of_face(some, "redtask.aio")
                with pytest.raises(TypeError, match=r"use redtask\.aio\.as_completed"):
                    next(redtask.as_completed(some))

    asyncio.run(ask())


# -- executor


def test_the_executor_is_one_of_the_standard_library(view):
    with view.executor as executor:
        futures = [executor.submit(tasks.double, n) for n in range(5)]
        done, pending = concurrent.futures.wait(futures, timeout=30)

        assert not pending
        assert {one.result() for one in done} == {0, 2, 4, 6, 8}
        assert list(executor.map(tasks.add, range(4), range(4))) == [0, 2, 4, 6]
        assert list(executor.map(tasks.double, range(5), chunksize=2)) == [
            0,
            2,
            4,
            6,
            8,
        ]
        assert set(concurrent.futures.as_completed(futures)) == set(futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.double, 1)


def test_its_futures_are_results_as_well(view):
    future = view.executor.submit(tasks.double, 4)

    assert future.get() == 8
    assert future.msg_ids == [view.history[-1]]
    assert future.metadata["status"] == "ok"
    with pytest.raises(AttributeError):
        _ = future.nothing


def test_its_futures_may_stand_where_results_do(view):
    rc, call = view.client, view.apply_async(tasks.double, 4)
    future = view.executor.submit(tasks.double, 5)
    mapped = view.map_async(tasks.double, range(3), chunksize=2)

    assert set(redtask.as_completed([future, future.task, call])) == {
        future,
        future.task,
        call,
    }
    assert list(redtask.as_completed(future)) == [future]
    assert redtask.AsyncResult.join(future, call).get(30) == [10, 8]
    assert redtask.AsyncResult.join(mapped.split()[0], call, future).get(30) == [
        [0, 2],
        8,
        10,
    ]
    assert rc.get_result(future).get(30) == 10
    assert rc.get_result([future]).get(30) == [10]
    assert rc.purge_results(future).purged == 1
    assert view.apply_sync(tasks.add, redtask.Ref(view.executor.submit(int))) == 1


def test_only_results_are_joined(view):
    future = concurrent.futures.Future[int]()

    with pytest.raises(TypeError, match="expected results, not Future"):
        redtask.AsyncResult.join(future)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected results, not str"):
        aio.AsyncResult.join("c-1")  # type: ignore[arg-type]


def test_its_futures_raise_what_the_task_raised(view):
    future = view.executor.submit(tasks.fail, 4)

    assert isinstance(future.exception(30), error.RemoteError)
    with pytest.raises(error.RemoteError, match="no 4"):
        future.result(30)
    with pytest.raises(error.RemoteError, match="no 4"):
        list(view.executor.map(tasks.fail, [4]))


def test_its_futures_can_be_cancelled(place, gate):
    view = place.client().load_balanced_view()
    executor = view.executor
    first, second = (executor.submit(tasks.double, n) for n in range(2))

    assert first.cancel()
    assert first.cancel()
    assert first.cancelled()
    executor.shutdown(cancel_futures=True)

    assert second.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        second.result(0)


def test_its_futures_are_not_cancelled_while_redis_is_away(place, monkeypatch):
    executor = place.client().load_balanced_view().executor
    futures = [executor.submit(tasks.double, n) for n in range(2)]
    limits = []

    def lost(_flow, _since=None, until=None):
        limits.append(until - time.monotonic())
        raise error.ConnectionLost

    with monkeypatch.context() as patch:
        patch.setattr(executor.view.client._driver, "run", lost)
        cancelled = futures[0].cancel()
        executor.shutdown(wait=False, cancel_futures=True)

    assert not cancelled
    assert len(limits) == 2
    assert max(limits) <= link.PARTING
    assert all(future.cancel() for future in futures)


def test_cancelling_asyncio_s_wait_for_a_future_does_not_hold_up_the_loop(
    place, monkeypatch
):
    executor = place.client().load_balanced_view().executor
    driver = executor.view.client._driver
    futures = [executor.submit(tasks.double, n) for n in range(3)]
    run, threads = driver.run, []

    def noted(*args):
        threads.append(threading.current_thread())
        return run(*args)

    async def leave():
        waiting = [asyncio.wrap_future(future) for future in futures]
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        await asyncio.to_thread(
            until, lambda: all(one.cancelled() for one in futures), "the aborts"
        )

    monkeypatch.setattr(driver, "run", noted)

    asyncio.run(leave())

    assert threads
    assert threading.current_thread() not in threads


def test_what_cannot_be_aborted_for_asyncio_is_logged(place, monkeypatch, caplog):
    view = place.client().load_balanced_view()
    first, second = (view.executor.submit(tasks.double, n) for n in range(2))
    session = view.client._session

    def refused(_ids):
        raise error.HubError

    async def leave(future):
        waiting = asyncio.wrap_future(future)
        waiting.cancel()
        await asyncio.wait([waiting])

    with monkeypatch.context() as patch:
        patch.setattr(session, "abort", refused)
        asyncio.run(leave(first))
        until(lambda: caplog.messages, "the word of it")
    asyncio.run(leave(second))
    until(second.cancelled, "the next abort")

    assert caplog.messages[0].startswith("what was cancelled is not aborted: ")
    assert not first.cancelled()


def test_a_child_forked_meanwhile_can_abort_for_asyncio(place):
    client = place.client()
    future = client.load_balanced_view().executor.submit(tasks.double, 1)
    held, go = threading.Event(), threading.Event()

    def hold():
        with client._aborts._lock:
            held.set()
            go.wait(30)

    async def leave():
        waiting = asyncio.wrap_future(future)
        waiting.cancel()
        await asyncio.wait([waiting])

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(leave())
            until(future.cancelled, "the abort")
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    go.set()
    holder.join()

    assert status == 0


def test_what_runs_cannot_be_cancelled(view, gate):
    future = view.executor.submit(tasks.pass_gate, str(gate), 3)
    while future.metadata["started"] is None:
        future.task.wait(0.01)

    assert not future.cancel()
    gate.touch()
    assert future.result(30) == 3


def test_a_future_and_a_result_run_while_an_engine_runs_them(view, gate):
    future = view.executor.submit(tasks.pass_gate, str(gate), 3)
    many = view.map_async(tasks.pass_gate, [str(gate)] * 3)
    later = view.with_flags(after=future.msg_ids).executor.submit(tasks.double, 1)

    until(future.running, "its beginning")
    until(many.running, "the beginning of the first")
    assert not later.running()
    gate.touch()
    assert (future.result(30), later.result(30)) == (3, 2)
    assert many.get(30) == [None] * 3
    assert not future.running()
    assert not many.running()


def test_what_ended_elsewhere_does_not_run(view):
    future = view.executor.submit(tasks.double, 4)

    until(lambda: view.client.db_query({"state": "completed"}), "its end")

    assert not future.running()


def test_nothing_is_said_to_run_while_redis_is_away(view, gate, monkeypatch):
    future = view.executor.submit(tasks.pass_gate, str(gate))
    until(future.running, "its beginning")

    def lose(*_):
        raise error.ConnectionLost("gone")

    with monkeypatch.context() as patch:
        patch.setattr("redtask.flows.waiting.runs", lose)
        assert not future.running()
    assert future.running()
    gate.touch()


def test_who_asks_a_future_for_its_result_waits_for_it_in_its_own_thread(view):
    executor = view.executor

    futures = [executor.submit(tasks.double, n) for n in range(5)]
    found = [future.result(30) for future in futures]

    assert found == [0, 2, 4, 6, 8]
    assert all(future.done() for future in futures)
    assert _helpers() == []


def test_a_future_is_waited_for_as_long_as_was_said(view, gate):
    future = view.executor.submit(tasks.pass_gate, str(gate), 3)

    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        future.result("5")
    for limit in (0, 0.01, -1):
        with pytest.raises(TimeoutError):
            future.result(limit)
        with pytest.raises(TimeoutError):
            future.exception(limit)
    assert not future.done()
    gate.touch()
    assert future.result() == 3
    assert future.exception() is None


def test_a_future_that_was_interrupted_can_be_asked_again(view, monkeypatch):
    session, interrupts = view.client._session, [KeyboardInterrupt]
    decode = session.decode

    def decode_slowly(*outcome):
        for interrupt in interrupts:
            interrupts.clear()
            raise interrupt
        return decode(*outcome)

    monkeypatch.setattr(session, "decode", decode_slowly)
    future = view.executor.submit(tasks.double, 4)
    with pytest.raises(KeyboardInterrupt):
        future.result(30)

    assert future.result(5) == 8


def test_a_forked_child_may_ask_the_futures_of_its_parent(view, gate):
    """Also those that a thread of the parent waits for; callbacks are the parent's."""
    called = queue.SimpleQueue[Any]()
    executor = view.executor
    future = executor.submit(tasks.pass_gate, str(gate), 1)
    future.add_done_callback(called.put)

    if (child := os.fork()) == 0:
        code = 1
        try:
            gate.touch()
            found = future.result(20), executor.submit(tasks.double, 2).result(20)
            code = int(found != (1, 4) or not called.empty())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert called.get(timeout=30) is future


def test_futures_that_nobody_asks_for_do_not_pile_up(view, monkeypatch):
    monkeypatch.setattr("redtask.executor._MANY", 3)
    executor = view.executor

    for number in range(4):
        executor.submit(tasks.double, number)

    until(lambda: len(executor._pending) == 1, "the end of the first three")


@pytest.fixture
def troubles(monkeypatch):
    """Return the exceptions that the next fetches of a large value meet."""
    troubles, fetch = list[Exception](), waiting._fetch

    def fetch_or_not(*args):
        if troubles:
            raise troubles.pop()
        return (yield from fetch(*args))

    monkeypatch.setattr(waiting, "_fetch", fetch_or_not)
    monkeypatch.setattr("redtask.result._PAUSE", 0.01)
    return troubles


@pytest.mark.parametrize("trouble", [error.ConnectionLost, error.StillAway])
def test_a_future_outlives_what_happens_while_its_value_is_fetched(
    view, troubles, trouble
):
    troubles += [trouble("gone"), trouble("gone")]
    called = queue.SimpleQueue[Any]()

    future = view.executor.submit(tasks.double, bytes(500_000))
    future.add_done_callback(called.put)

    assert called.get(timeout=30) is future
    assert len(future.result(0)) == 1_000_000
    assert not troubles


@pytest.mark.parametrize("trouble", [error.ConnectionLost, error.StillAway])
def test_who_asks_a_future_gets_its_value_after_all(view, troubles, trouble):
    future = view.executor.submit(tasks.double, bytes(500_000))
    future.task.wait(30)
    troubles += [trouble("gone"), trouble("gone"), trouble("gone")]

    assert not future.done()
    assert len(future.result(30)) == 1_000_000
    assert not troubles


def test_a_future_whose_task_runs_again_waits_for_it(view, troubles):
    future = view.executor.submit(tasks.double, bytes(500_000))
    future.task.wait(30)
    troubles.append(error.ConnectionLost("gone"))
    assert not future.done()
    (name,) = future.msg_ids

    outcome = future.task._tasks.outcomes[name]
    future.task._tasks.reopen(name)
    future.task._tasks.deliver(name, outcome)

    assert len(future.result(30)) == 1_000_000


def test_a_future_without_its_value_hears_that_its_client_is_closed(
    place, troubles, monkeypatch
):
    place.engine()
    monkeypatch.setattr("redtask.result._PAUSE", 1000.0)
    client = place.client()
    future = client.load_balanced_view().executor.submit(tasks.double, bytes(500_000))
    future.task.wait(30)
    troubles.append(error.ConnectionLost("gone"))
    assert not future.done()

    client.close()

    assert isinstance(future.exception(30), error.ConfigurationError)


def test_the_thread_for_callbacks_ends_when_it_is_idle(view, monkeypatch):
    monkeypatch.setattr("redtask.result._IDLE", 0.01)
    called = queue.SimpleQueue[Any]()

    for number in range(2):
        view.apply_async(tasks.double, number).add_done_callback(called.put)

        assert called.get(timeout=30).get() == 2 * number
        until(lambda: not _helpers(), "the end of the thread")


def test_a_callback_that_wants_to_exit_does_not_take_others_along(view, gate, caplog):
    called = queue.SimpleQueue[Any]()
    first = view.apply_async(tasks.pass_gate, str(gate), 1)
    first.add_done_callback(lambda _: sys.exit(3))
    gate.touch()
    until(lambda: "SystemExit: 3" in caplog.text, "the end of the first")

    second = view.apply_async(tasks.double, 1)
    second.add_done_callback(called.put)

    assert called.get(timeout=30) is second


def test_an_event_loop_can_use_the_executor(view):
    async def main():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(view.executor, tasks.double, 21)

    assert asyncio.run(main()) == 42


def test_the_iterator_of_the_executor_has_an_end(view, gate):
    values = view.executor.map(tasks.pass_gate, [str(gate)], [1], timeout=0.01)

    with pytest.raises(TimeoutError):
        next(values)


@pytest.fixture
def begun(view, gate):
    """Return the iterator of a map whose first task has ended, and the others' results.

    The second runs, and the third and others have not begun.
    """
    paths = [str(gate.parent), *[str(gate)] * 99]
    values = view.executor.map(tasks.pass_gate, paths, range(100))
    assert next(values) == 0
    results = view.client.get_result(view.history).split()[1:]
    until(lambda: results[0].metadata["started"], "the beginning of the second")
    return values, results


def test_who_leaves_the_map_of_an_executor_aborts_only_what_has_not_begun(gate, begun):
    values, results = begun

    values.close()

    with pytest.raises(error.TaskAborted):
        results[-1].get(30)
    gate.touch()
    assert results[0].get(30) == [1]


def test_a_forked_child_that_leaves_the_map_of_its_parent_aborts_nothing(gate, begun):
    values, _ = begun

    if (child := os.fork()) == 0:
        try:
            values.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    gate.touch()
    assert list(values) == list(range(1, 100))


def test_the_map_of_a_closed_client_can_be_left(view, begun):
    values, _ = begun
    view.client.close()

    values.close()

    with pytest.raises(StopIteration):
        next(values)


def test_an_executor_waits_for_maps_as_well(view):
    with view.executor as executor:
        executor.map(tasks.double, range(200))
        executor.map(tasks.double, [])

    found = view.client.result_status(view.history)
    assert found["pending"] == []
    assert len(found["completed"]) == 200


def test_an_executor_cancels_maps_as_well(place):
    view = place.client().load_balanced_view()
    executor = view.executor
    values = executor.map(tasks.double, range(3))

    executor.shutdown(cancel_futures=True)

    assert view.outstanding == set()
    with pytest.raises(error.TaskAborted):
        next(values)


def test_an_executor_forgets_maps_that_have_ended(view, monkeypatch):
    monkeypatch.setattr("redtask.executor._MANY", 3)
    executor = view.executor

    assert list(executor.map(tasks.double, range(3))) == [0, 2, 4]
    assert executor._pending == set()
    for _ in range(3):
        executor.map(tasks.double, range(3))

    until(lambda: not executor._pending, "the end of those that nobody asks for")


def test_an_executor_waits_for_maps_until_its_client_is_closed(place):
    client = place.client()
    executor = client.load_balanced_view().executor
    executor.map(tasks.double, range(3))

    client.close()

    executor.shutdown()


@pytest.mark.parametrize(("timeout", "kind"), [("5", TypeError), (NAN, ValueError)])
def test_a_map_with_a_wrong_timeout_submits_nothing(view, timeout, kind):
    with pytest.raises(kind, match="timeout must be a number of seconds"):
        view.executor.map(tasks.double, range(3), timeout=timeout)

    assert view.history == []


# -- elsewhere


@pytest.fixture
def here(place, monkeypatch):
    """Let this process know the key, as a profile would."""
    monkeypatch.setenv("REDTASK_KEY", place.key)


def travelled(result):
    return pickle.loads(pickle.dumps(result))


def test_a_result_travels(here, view):
    before = view.apply_async(tasks.double, 4)

    after = travelled(before)

    assert repr(after) == "<AsyncResult(double): not known to have ended>"
    assert after.msg_ids == before.msg_ids
    assert after.get(30) == 8
    assert after.elapsed >= 0
    assert travelled(after).get(30) == 8
    assert copy.copy(before).get(30) == 8


def test_the_shape_of_a_result_travels(here, client, view):
    mapped = view.map_async(tasks.double, range(5), chunksize=2, ordered=False)
    piece = mapped.split()[0]
    found = client.get_result(mapped.msg_ids)
    joined = view.parallel(dist="r")(tasks.total)(range(4))

    assert type(travelled(mapped)) is AsyncMapResult
    assert travelled(mapped).get(30) == [0, 2, 4, 6, 8]
    assert sorted(travelled(mapped)) == [0, 2, 4, 6, 8]
    assert len(travelled(mapped)) == 5
    assert travelled(piece).get(30) == [0, 2]
    assert type(travelled(found)) is AsyncHubResult
    assert travelled(found).get(30) == [[0, 2], [4, 6], [8]]
    assert travelled(joined).get(30) == [0, 1, 2, 3]


def test_results_from_elsewhere_share_a_client(here, place, view):
    results = [travelled(view.apply_async(tasks.double, n)) for n in range(3)]

    assert {result.get(30) for result in redtask.as_completed(results)} == {0, 2, 4}
    assert len({id(result._session) for result in results}) == 1


def test_a_result_that_is_pending_travels(here, view, gate):
    before = view.apply_async(tasks.pass_gate, str(gate), 3)
    after = travelled(before)
    called: list[Any] = []

    assert not after.wait(0.01)
    after.add_done_callback(called.append)
    gate.touch()

    assert after.get(30) == 3
    while not called:
        after.wait(0.01)
    assert called == [after]


def test_a_result_resolves_in_another_process(place, view, monkeypatch):
    data = pickle.dumps(view.map_async(tasks.double, range(3)))
    program = "import pickle, sys\nprint(pickle.load(sys.stdin.buffer).get(30))"

    told = subprocess.run(
        [sys.executable, "-c", program],
        input=data,
        env={"REDTASK_KEY": place.key, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )

    assert told.stdout.strip() == b"[0, 2, 4]"


def test_no_secret_travels(place):
    with_login = redtask.Client.__new__(redtask.Client)
    with_login._profile = redtask.profile.Profile.load(
        url="redis://me:hush@host:1/0?hub=h", key=place.key
    )

    data = pickle.dumps(with_login._place)

    assert b"hush" not in data
    assert place.key.encode() not in data


def test_without_the_key_it_says_what_is_missing(place, view, monkeypatch):
    result = travelled(view.apply_async(tasks.double, 4))

    with pytest.raises(error.ConfigurationError, match="there is no key here"):
        result.get(1)


def test_results_of_both_faces_have_an_aio_twin(place, here):
    place.engine()

    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            first = await rc.load_balanced_view().apply_async(tasks.double, 4)
            second = await rc.load_balanced_view().map_async(tasks.double, range(3))
            there = [travelled(one) for one in (first, second)]
            with pytest.raises(error.ConfigurationError, match="another process"):
                there[1].split()
            again = [travelled(one) for one in there]
            values = [await one async for one in aio.as_completed(again)]
            values.sort(key=str)
            assert values == [8, [0, 2, 4]]
            values = [await one for one in there]
            called: list[Any] = []
            there[0].add_done_callback(called.append)
            sessions = {id(one._session) for one in there}
            await (await aio_client._client_of(there[0]._client._place)).close()
            return values, called == [there[0]], len(sessions)

    assert asyncio.run(main()) == ([8, [0, 2, 4]], True, 1)


def test_an_executor_that_is_shut_down_has_called_the_callbacks(view):
    called = []

    def call(future):
        time.sleep(0.05)
        called.append(future.result())

    with view.executor as executor:
        for number in range(5):
            executor.submit(abs, -number).add_done_callback(call)

    assert sorted(called) == list(range(5))


def test_a_callback_may_shut_its_executor_down(view):
    done = threading.Event()
    executor = view.executor

    def end(_):
        executor.shutdown()
        done.set()

    executor.submit(abs, -1).add_done_callback(end)

    assert done.wait(20)
