"""Who waits, and what may come in between; the blocking face."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import redtask
from redtask import error
from tests import tasks

DEADLINE = 20


@pytest.fixture
def view(client):
    return client.load_balanced_view()


def test_an_interrupt_stops_the_waiting_only(client, gate, monkeypatch):
    view = client.load_balanced_view(block=True)
    result = None

    def read(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(client._driver, "_read", read)
    result = view.apply(tasks.pass_gate, str(gate), 5)
    several = view.map(tasks.pass_gate, [str(gate)] * 2, [1, 2])
    monkeypatch.undo()

    assert isinstance(result, redtask.AsyncResult)
    assert isinstance(several, redtask.AsyncMapResult)
    gate.touch()
    assert result.get(DEADLINE) == 5
    assert several.get(DEADLINE) == [1, 2]


def names_of(caught):
    """Return the names of the functions in a traceback."""
    return [frame.name for frame in traceback.extract_tb(caught.tb)]


def test_an_interrupt_does_not_show_where_we_waited(client, gate, monkeypatch):
    ours: dict[str, Any] = {"__name__": "redtask.store"}
    exec("def read(*_): raise KeyboardInterrupt", ours)  # noqa: S102
    result = client.load_balanced_view().apply_async(tasks.pass_gate, str(gate))
    monkeypatch.setattr(client._driver, "_read", ours["read"])

    with pytest.raises(KeyboardInterrupt) as caught:
        result.get()

    assert "get" in names_of(caught)
    assert "read" not in names_of(caught)


def test_an_interrupt_of_a_user_s_code_shows_where_it_was(view):
    def numbers():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        view.map_async(tasks.double, numbers())

    assert names_of(caught)[-1] == "numbers"


def test_callbacks_are_called_once_each(view, gate):
    called: list[Any] = []
    both = threading.Semaphore(0)
    result = view.apply_async(tasks.pass_gate, str(gate), 5)

    def later(found):
        called.append((found, found.get(), threading.current_thread().name))
        both.release()

    result.add_done_callback(later)
    result.add_done_callback(lambda found: 1 / 0)
    result.add_done_callback(later)
    gate.touch()

    for _ in range(2):
        assert both.acquire(timeout=DEADLINE)
    assert [(found, value) for found, value, _ in called] == [(result, 5)] * 2
    assert {name for *_, name in called} == {"redtask callbacks"}
    result.add_done_callback(later)
    assert len(called) == 3
    assert called[-1][2] == threading.current_thread().name


def test_what_is_no_callback_is_refused_at_once(view):
    result = view.apply_async(tasks.double, 1)

    with pytest.raises(TypeError, match="callback must be callable, not int"):
        result.add_done_callback(5)


def test_a_callback_may_submit_and_wait(view):
    found: list[int] = []
    over = threading.Event()

    def again(result):
        found.append(view.apply_sync(tasks.double, result.get()))
        over.set()

    view.apply_async(tasks.double, 1).add_done_callback(again)

    assert over.wait(DEADLINE)
    assert found == [4]


def test_callbacks_of_a_closed_client_cost_nothing(place):
    client = place.client()
    view = client.load_balanced_view()
    result = view.apply_async(tasks.double, 1)
    result.add_done_callback(print)
    thread = client._callbacks._thread
    client.close()

    place.client().load_balanced_view()
    client._session.inbox.deliver(result.msg_ids[0], redtask_outcome())
    thread.join(DEADLINE)

    assert not thread.is_alive()


def redtask_outcome():
    """Return an outcome that nobody will look at."""
    from redtask.hub.records import Outcome  # noqa: PLC0415 - only here

    return Outcome("completed", "", "v", b"")


def test_futures_of_the_standard_library_can_wait_for_us(view):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda n: view.apply_sync(tasks.double, n), range(20))

        assert list(found) == list(range(0, 40, 2))


def test_many_threads_share_a_client(client):
    wrong: list[Any] = []

    def work(number):
        try:
            view = client.load_balanced_view()
            for turn in range(200):
                given = number * 1000 + turn
                found = view.apply_async(tasks.double, given).get(DEADLINE)
                if found != 2 * given:
                    wrong.append((given, found))
        except Exception as problem:  # noqa: BLE001 - told below
            wrong.append(problem)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert wrong == []
    assert len(client.history) == 1600
    assert client.outstanding == set()


def test_a_waiter_is_right_without_the_stream(place, client, view, monkeypatch):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.05)
    over = threading.Event()

    def delete():
        while not over.wait(0.002):
            for key in place.redis.scan_iter(f"{place.keys.root}:done:*"):
                place.redis.delete(key)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for turn in range(10):
            assert view.map_sync(tasks.double, range(5)) == [0, 2, 4, 6, 8], turn
            assert sorted(view.map(tasks.double, range(3), ordered=False)) == [0, 2, 4]
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("value", [b"?", b"", b"c\xff\0rbody"])
def test_what_cannot_be_read_in_the_stream_is_asked_for(place, face, gate, value):
    client = place.client(face)
    place.engine()
    view = client.load_balanced_view()
    results = [view.apply_async(tasks.pass_gate, str(gate), one) for one in range(2)]
    forged, other = (one.msg_ids[0] for one in results)
    key = place.keys.done(forged.partition("-")[0])

    place.redis.xadd(key, {forged: value, other + "?": b"?", b"\xff": b"?"})
    gate.touch()

    assert [one.get(DEADLINE) for one in results] == [0, 1]
    assert view.apply_async(tasks.double, 2).get(DEADLINE) == 4


def test_a_trimmed_stream_costs_time_and_no_result(place, view, gate, monkeypatch):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.05)
    results = view.map_async(tasks.pass_gate, [str(gate)] * 10, range(10))
    monkeypatch.setattr(view.client._driver, "_read", lambda *_: True)
    gate.touch()
    while place.redis.hget(place.keys.root + ":hub", "completed") != b"10":
        pass
    place.redis.xtrim(place.keys.done(view.client._session.client), maxlen=0)
    monkeypatch.setattr(
        view.client._driver,
        "_read",
        type(view.client._driver)._read.__get__(view.client._driver),
    )

    assert results.get(DEADLINE) == list(range(10))


@pytest.mark.parametrize("face", ["blocking", "aio"])
def test_what_left_the_stream_before_it_was_read_is_asked_for(place, face, monkeypatch):
    """Ten thousand tasks are submitted one by one before their results are read."""
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 1000.0)
    client = place.client(face)
    place.engine()
    view = client.load_balanced_view()
    results = [view.apply_async(tasks.double, n) for n in range(50)]
    done = place.keys.done(client._session.client)
    while place.redis.hget(place.keys.root + ":hub", "completed") != b"50":
        pass
    with place.redis.pipeline() as pipe:
        for _ in range(300):
            pipe.xadd(done, {"": ""})
        pipe.xtrim(done, maxlen=300, approximate=False)
        pipe.execute()
    before = calls_of(place.redis)

    assert [one.get(DEADLINE) for one in results] == list(range(0, 100, 2))

    # All were asked for in one call.
    assert calls_of(place.redis) - before < 10


def calls_of(connection):
    """Return how many scripts were called."""
    return connection.info("commandstats")["cmdstat_evalsha"]["calls"]


def test_scripts_may_be_forgotten_at_any_time(place, view):
    for turn in range(5):
        place.redis.script_flush()
        result = view.map_async(tasks.double, range(5))
        place.redis.script_flush()
        assert result.get(DEADLINE) == [0, 2, 4, 6, 8], turn


def test_functions_may_be_forgotten(place, client, view):
    assert view.apply_sync(tasks.double, 1) == 2
    place.redis.delete(place.keys.function(next(iter(client._session.sent))))
    for key in place.redis.scan_iter(f"{place.keys.root}:task:*"):
        place.redis.delete(key)
    place.redis.delete(
        place.keys.root + ":ended:completed", place.keys.root + ":functions:idle"
    )
    place.redis.hset(place.keys.root + ":hub", mapping={"completed": 0, "submitted": 0})

    assert view.apply_sync(tasks.double, 2) == 4


def test_connections_may_be_cut_at_any_time(place, view, gate):
    over = threading.Event()

    def cut():
        while not over.wait(0.01):
            for one in place.redis.client_list():
                if one["name"].startswith("redtask-"):
                    place.redis.execute_command("CLIENT", "KILL", "ID", one["id"])

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for turn in range(10):
            assert view.map_sync(tasks.double, range(20)) == list(range(0, 40, 2)), turn
    finally:
        over.set()
        thread.join()


def test_a_forked_child_is_a_client_of_its_own(place, client, view, gate):
    """Also while another thread of the parent is waiting."""
    parents = view.apply_async(tasks.pass_gate, str(gate), 5)
    waiter = threading.Thread(target=parents.wait)
    waiter.start()
    while not client._driver._reading:
        pass
    there, here = os.pipe()

    if (child := os.fork()) == 0:
        code = 1
        try:
            own = view.apply_async(tasks.double, 4)
            gate.touch()
            words = [
                own.get(DEADLINE),
                parents.get(DEADLINE),
                client.history == own.msg_ids,
                view.map_sync(tasks.double, [1, 2]),
            ]
            os.write(here, repr(words).encode())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    waiter.join(DEADLINE)
    os.close(here)

    assert status == 0
    assert os.read(there, 1000).decode() == "[8, 5, True, [2, 4]]"
    os.close(there)
    assert parents.get(DEADLINE) == 5
    assert view.apply_sync(tasks.double, 1) == 2
    assert len({name.partition("-")[0] for name in client.history}) == 1


def test_in_a_forked_child_a_result_that_travelled_uses_the_client_there(client, view):
    """It alone knows the key."""
    data = pickle.dumps(view.apply_async(tasks.double, 4))

    if (child := os.fork()) == 0:
        code = 1
        try:
            signal.alarm(DEADLINE)
            result = pickle.loads(data)
            code = int(result.get(DEADLINE) != 8 or result._session != client._session)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert status == 0


def test_threads_of_a_forked_child_may_begin_at_once(view):
    """As in a server that forks its workers, each of which has several threads."""
    assert view.apply_sync(tasks.double, 1) == 2

    for turn in range(4):
        if (child := os.fork()) == 0:
            code = 1
            try:
                signal.alarm(DEADLINE)
                code = int(not _use_in_threads(view, 8))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0, turn


def _use_in_threads(view, count):
    """Submit and wait in many threads at once; return whether all got their own."""
    together = threading.Barrier(count)
    called = threading.Semaphore(0)

    def use(number):
        together.wait()
        result = view.apply_async(tasks.double, number)
        result.add_done_callback(lambda _: called.release())
        return result.get(DEADLINE) == 2 * number and called.acquire(timeout=DEADLINE)

    with ThreadPoolExecutor(count) as threads:
        return all(threads.map(use, range(count)))


def test_a_hub_that_vanishes_is_told(place):
    client = place.client()
    result = client.load_balanced_view().apply_async(tasks.double, 1)
    place.redis.flushdb()

    with pytest.raises(error.HubError):
        result.get(0)


def test_a_task_whose_record_is_deleted_is_lost(place, face):
    client = place.client(face)
    result = client.load_balanced_view().apply_async(tasks.double, 1)
    (name,) = result.msg_ids
    place.redis.delete(place.keys.task(name))

    with pytest.raises(error.TaskLost, match="the hub has no such task"):
        result.get(0)
    with pytest.raises(KeyError):
        client.get_result(name)

    # What is left is no hub any more.
    place.redis.flushdb()


@pytest.mark.parametrize("how", ["altered", "moved", "unsigned", "bare"])
def test_a_result_that_no_engine_signed_is_refused(place, face, how):
    client = place.client(face)
    place.engine()
    view = client.load_balanced_view()
    # Either brings its function along, so it has a record of its own.
    result, other = view.apply_async(tasks.double, 1), view.apply_async(abs, 2)
    other.wait(DEADLINE)
    result.wait(DEADLINE)
    key = place.keys.task(result.msg_ids[0])
    envelope = place.redis.hget(key, "result")
    value = {
        "altered": envelope[:-2] + bytes([envelope[-2] ^ 1]) + envelope[-1:],
        "moved": place.redis.hget(place.keys.task(other.msg_ids[0]), "result"),
        "unsigned": bytes(20) + envelope[20:],
        "bare": envelope[20:],
    }[how]
    place.redis.hset(key, "result", value)

    found = place.client(face).get_result(result.msg_ids[0])

    with pytest.raises(error.SignatureError, match=f"outcome of {result.msg_ids[0]}"):
        found.get(DEADLINE)
    assert isinstance(found.exception(), error.SignatureError)


def test_a_timeout_that_is_not_a_number_is_refused_by_name(rc, view):
    result = view.apply_async(tasks.double, 1)

    for wait in (rc.wait, result.wait, result.get, rc.wait_for_engines):
        with pytest.raises(ValueError, match="timeout must be a number"):
            wait(timeout=float("nan"))


def test_a_closed_client_says_so(place, face):
    client = place.client(face)
    result = client.load_balanced_view().apply_async(tasks.double, 1)

    client.close()

    with pytest.raises(error.ConfigurationError, match="closed"):
        result.get(0)
    with pytest.raises(error.ConfigurationError, match="closed"):
        client.load_balanced_view().apply_async(tasks.double, 1)


def test_a_stream_that_cannot_be_read_makes_nobody_spin(place, face, monkeypatch):
    client = place.client(face)
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    store, asked = client._driver.store, []
    do = store.do

    def counted(call, *options, **named):
        asked.append(call)
        return do(call, *options, **named)

    def fail(*_, **__):
        raise error.ConnectionLost("away")

    monkeypatch.setattr(store, "do", counted)
    monkeypatch.setattr(store, "block", fail)

    assert not result.wait(0.5)
    assert len(asked) < 30
    place.engine()
    assert result.get(DEADLINE) == 8


def test_nothing_stays_open_when_a_client_is_closed_while_one_waits(place):
    client = place.client()
    result = client.load_balanced_view().apply_async(tasks.double, 4)

    def wait():
        with pytest.raises(error.ConfigurationError, match="closed"):
            result.wait(DEADLINE)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not client._driver._reading:
        pass

    client.close()
    place.engine()
    waiter.join(DEADLINE)

    assert client._store._free_blocking == []
    assert client._store._free == []
