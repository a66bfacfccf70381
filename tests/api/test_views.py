"""Views, decorated functions and lazy maps of the blocking face."""

from __future__ import annotations

import concurrent.futures
import copy
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import redtask
from redtask import aio, error
from redtask.current import CurrentTask
from redtask.ferry import Passenger
from tests import tasks
from tests.alarms import LateError, be_late
from tests.processes import until

DEADLINE = 20


@pytest.fixture
def view(client):
    return client.load_balanced_view()


def test_a_view_that_blocks_returns_values(client):
    view = client.load_balanced_view(block=True)

    assert view.apply(tasks.double, 2) == 4
    assert view.map(tasks.double, [1, 2]) == [2, 4]
    assert view.apply_async(tasks.double, 3).get() == 6
    assert view.map_async(tasks.double, [3]).get() == [6]
    with pytest.raises(error.RemoteError):
        view.apply(tasks.fail)


def test_a_view_that_does_not_block_returns_results(view):
    assert view.apply(tasks.double, 2).get() == 4
    assert view.map(tasks.double, [1, 2]).get() == [2, 4]
    assert view.apply_sync(tasks.double, 3) == 6
    assert view.map_sync(tasks.double, [3]) == [6]
    assert view.map(tasks.double, [1], block=True) == [2]


@pytest.mark.parametrize("whose", ["history", "inbox", "recent", "callbacks"])
def test_a_signal_handler_may_submit_whatever_it_interrupts(client, view, whose):
    session = client._session
    lock = {
        "history": session._lock,
        "inbox": session.inbox._lock,
        "recent": session.inbox.recent._lock,
        "callbacks": client._callbacks._lock,
    }[whose]
    found = queue.SimpleQueue[int]()

    def interrupted():
        with lock:
            result = view.apply_async(tasks.double, 2)
            result.add_done_callback(lambda _: None)
            redtask.AsyncResult.join(result, *result.split())
            client.history  # noqa: B018 - it is asked for
            found.put(result.get())

    threading.Thread(target=interrupted, daemon=True).start()

    assert found.get(timeout=DEADLINE) == 4


def test_the_clients_choice_is_the_views_default(client):
    client.block = True
    view = client.load_balanced_view()
    client.block = False

    assert view.block is True
    assert client.load_balanced_view().block is False
    assert client.load_balanced_view(block=True).block is True


def test_flags_are_read_when_a_task_is_submitted(place, view):
    with view.temp_flags(label="now", priority=3, retries=1):
        result = view.apply_async(tasks.double, 1)
    result.wait()

    record = place.record(result.msg_ids[0])
    assert (record["label"], record["retries"]) == ("now", "1")
    assert view.label is None


def test_another_view_has_flags_of_its_own(view):
    other = view.with_flags(label="other")

    assert (view.label, other.label) == (None, "other")
    assert other.client is view.client
    with pytest.raises(KeyError, match="no such flag"):
        view.with_flags(nothing=1)
    with pytest.raises(ValueError, match="retries"):
        view.client.load_balanced_view(retries=-1)


def test_only_engines_of_the_queue_run_a_task(place, view):
    result = view.with_flags(queue="special").apply_async(tasks.double, 1)
    assert not result.wait(0.05)

    place.engine(queues=("special",))

    assert result.get(10) == 2


def test_a_failed_task_is_tried_again(tmp_path, view):
    counter = tmp_path / "count"

    def sometimes(path):
        with open(path, "a+") as file:  # noqa: PTH123 - travels by value
            file.write("x")
            file.seek(0)
            if len(file.read()) < 3:
                raise ValueError("not yet")
        return "done"

    assert (
        view.with_flags(retries=2).apply_async(sometimes, str(counter)).get(10)
        == "done"
    )
    counter.unlink()
    with pytest.raises(error.RemoteError, match="not yet"):
        view.with_flags(retries=1).apply_async(sometimes, str(counter)).get(10)


def test_a_view_says_which_flags_are_set(rc, view):
    also = view.with_flags(retries=2, label="nightly", targets=[1], block=True)

    told = "[1], block=True, retries=2, label='nightly'"
    assert repr(also) == f"<LoadBalancedView {told}>"
    assert repr(view) == "<LoadBalancedView None>"


def test_what_a_view_makes_says_what_it_is(client):
    view = client.load_balanced_view(retries=1)

    assert repr(view.executor) == f"<ViewExecutor of {view!r}>"
    assert repr(view.imap(tasks.double, range(3))) == "<LazyMap(double)>"


def test_views_say_what_they_are(client, view):
    assert repr(view) == "<LoadBalancedView None>"
    assert len(view) == len(client) == 2
    assert bool(view)
    assert [one.targets for one in client] == client.ids == [0, 1]
    assert repr(client).startswith("<Client ")
    assert "unix://" in repr(client)


def test_a_view_finds_its_own_results(view):
    other = view.client.load_balanced_view()
    first = view.apply_async(tasks.double, 1)
    other.apply_async(tasks.double, 2)

    assert view.get_result().get() == 2
    assert view.get_result(0).get() == 2
    assert view.get_result([0]).get() == [2]
    assert view.get_result(first).get() == 2
    assert view.get_result(first.msg_ids).get() == [2]
    assert view.wait(timeout=5)
    view.abort()


# -- decorated functions


def test_a_remote_function_runs_when_it_is_called(view):
    @view.remote(block=True, label="far")
    def add(x, y=1):
        """Add two."""
        return x + y

    assert add(1) == 2
    assert add(1, y=5) == 6
    assert add.__name__ == "add"
    assert "Add two." in add.__doc__
    assert list(view.history) == view.client.history
    assert view.get_result().metadata["label"] == "far"
    assert add.func(1) == 2
    assert repr(add) == "<RemoteFunction add>"


def test_a_remote_function_does_as_the_view(view):
    add = redtask.remote(view)(tasks.add)

    assert add(1).get() == 2
    view.block = True
    assert add(1) == 2
    with pytest.raises(KeyError, match="no such flag"):
        redtask.remote(view, nothing=1)(tasks.add)


@pytest.mark.parametrize("name", ["remote", "parallel"])
def test_a_decorator_without_parentheses_is_refused(view, name):
    with pytest.raises(TypeError, match=rf"write @view\.{name}\(\)$"):
        getattr(view, name)(tasks.double)
    with pytest.raises(TypeError, match=rf"write @{name}\(view\)$"):
        getattr(redtask, name)(tasks.double)
    with pytest.raises(TypeError, match=rf"write @{name}\(view\)$"):
        getattr(aio, name)(tasks.double)


def test_a_parallel_function_maps(view):
    @view.parallel(block=True, label="many")
    def square(x):
        return x * x

    assert square.map(range(10)) == [x * x for x in range(10)]
    assert view.get_result().metadata["label"] == "many"
    assert len(view.history) == 10

    later = view.parallel()(tasks.double)
    assert later.map(range(3)).get() == [0, 2, 4]


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("chunksize", [None, 1, 2, 3, 100])
def test_a_parallel_function_called_directly_gets_pieces(view, dist, chunksize):
    @view.parallel(dist=dist, block=True, chunksize=chunksize)
    def double_all(values):
        return [2 * value for value in values]

    assert double_all(range(7)) == [0, 2, 4, 6, 8, 10, 12]
    assert double_all([]) == []


def test_pieces_may_come_back_in_other_sizes(view):
    piece = view.parallel(block=True, chunksize=3)
    assert piece(tasks.total)(range(7)) == [3, 7, 11]
    striped = view.parallel(dist="r", block=True, chunksize=3)
    assert striped(lambda values: [*values][1:])(range(7)) == [3, 4, 5, 6]
    assert piece(sum)(range(7)) == [3, 7, 11]


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("waits", [False, True])
def test_iterating_over_pieces_yields_items_whether_they_are_there(
    view, gate, dist, waits
):
    @view.parallel(dist=dist, block=False, chunksize=3)
    def double_all(values):
        tasks.pass_gate(str(gate))
        return [2 * value for value in values]

    result = double_all(range(7))
    if waits:
        threading.Timer(0.2, gate.touch).start()
    else:
        gate.touch()
        result.wait()

    assert list(result) == [0, 2, 4, 6, 8, 10, 12]


class Table:
    """As in pandas: the length and slices are of rows, iteration is by columns."""

    def __init__(self, *rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        return Table(*self.rows[rows])

    def __iter__(self):
        return iter(["a", "b"])


def test_the_pieces_of_a_table_are_rows(view):
    size = view.parallel(block=True, chunksize=2)(len)

    assert size(Table(1, 2, 3)) == [2, 1]


def test_a_parallel_function_refuses_what_it_cannot_part(view):
    double = view.parallel()(tasks.double)

    with pytest.raises(ValueError, match="equal length"):
        double([1], [1, 2])
    with pytest.raises(TypeError):
        double(x=[1])
    with pytest.raises(ValueError, match="dist must be"):
        view.parallel(dist="x")(tasks.double)


def test_a_parallel_function_refuses_pieces_that_cannot_be(view):
    double = view.parallel(block=True, chunksize=1.5)(tasks.double)

    with pytest.raises(TypeError, match="chunksize must be a whole number"):
        double([1, 2])
    with pytest.raises(TypeError, match="chunksize must be a whole number"):
        double.map([1, 2])


def test_a_parallel_function_may_give_errors(view):
    odd = redtask.parallel(view, block=True, return_exceptions=True)(tasks.fail_odd)

    found = odd.map(range(3))

    assert found[0::2] == [0, 2]
    assert isinstance(found[1], error.RemoteError)


# -- lazy maps


def test_imap_reads_an_endless_input_as_needed(view):
    read = []

    def numbers():
        for number in itertools.count():
            read.append(number)
            yield number

    found = view.imap(tasks.double, numbers(), max_outstanding=3)

    assert list(itertools.islice(found, 10)) == list(range(0, 20, 2))
    assert len(read) <= 14
    found.cancel()
    rest = list(found)
    assert rest == list(range(20, 20 + 2 * len(rest), 2))


def test_imap_takes_several_inputs_and_ends_with_the_shortest(view):
    assert list(view.imap(tasks.add, "abc", itertools.repeat("x"))) == [
        "ax",
        "bx",
        "cx",
    ]
    assert list(view.imap(tasks.double, [])) == []
    assert list(view.imap(tasks.double, range(20), max_outstanding=0)) == list(
        range(0, 40, 2)
    )


def test_imap_need_not_be_in_order(view, gate):
    paths = [str(gate), __file__, __file__]

    found = view.imap(tasks.pass_gate, paths, range(3), ordered=False)

    assert {next(found), next(found)} == {1, 2}
    gate.touch()
    assert list(found) == [0]


def test_imap_tells_an_error_of_its_input_after_what_came_before(view):
    def numbers():
        yield 1
        yield 2
        raise RuntimeError("no more")

    found = view.imap(tasks.double, numbers())

    assert [next(found), next(found)] == [2, 4]
    with pytest.raises(RuntimeError, match="no more"):
        next(found)
    assert list(found) == []


class Punctual:
    """The numbers to three; before the second a signal handler raises."""

    def __init__(self):
        self.late = iter([False, True])
        self.numbers = iter(range(3))

    def __iter__(self):
        return self

    def __next__(self):
        if next(self.late, False):
            be_late()
        return next(self.numbers)


def test_the_input_of_imap_does_not_end_when_a_signal_handler_raises(view):
    found = view.imap(tasks.double, Punctual(), max_outstanding=1)

    with pytest.raises(LateError):
        next(found)

    assert list(found) == [0, 2, 4]


def test_what_imap_submits_is_its_views(place, view):
    waiting = view.with_flags(delay=1000)

    waiting.imap(tasks.double, range(4), max_outstanding=4)

    assert len(waiting.history) == 4
    assert waiting.outstanding == set(waiting.history)
    waiting.abort()
    assert {place.record(name)["state"] for name in waiting.history} == {"aborted"}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, SystemExit])
def test_a_map_that_is_interrupted_while_it_reads_takes_back_what_it_sent(
    place, view, problem
):
    def numbers():
        yield from range(600)
        raise problem

    with pytest.raises(problem):
        view.with_flags(delay=1000).map_async(tasks.double, numbers())

    sent = view.client.history
    assert len(sent) >= 500
    assert {place.record(name)["state"] for name in sent} == {"aborted"}


def test_an_interrupt_inside_of_a_task_is_not_taken_for_one_of_the_wait(
    view, gate, monkeypatch
):
    def interrupt(_result):
        raise KeyboardInterrupt

    task = CurrentTask(id="c-1")
    monkeypatch.setattr("redtask.view.current_task", lambda: task)
    result = view.apply_async(tasks.pass_gate, str(gate))
    monkeypatch.setattr(type(result), "get", interrupt)

    with pytest.raises(KeyboardInterrupt):
        view._maybe_wait(result, wait=True)
    gate.touch()


def test_a_position_that_the_history_does_not_have_is_named(view):
    view.map_sync(tasks.double, range(3))

    assert len(view.history[-2:]) == 2
    with pytest.raises(IndexError, match="history has 3 ids, and no position 99"):
        view.get_result(99)


def test_imap_tells_what_it_cannot_submit_after_what_came_before(view):
    found = view.imap(tasks.double, [1, threading.Lock(), 3])

    assert next(found) == 2
    with pytest.raises(TypeError, match="cannot pickle"):
        next(found)
    assert list(found) == []


def test_imap_raises_where_the_error_is_and_goes_on(view):
    found = view.imap(tasks.fail_odd, range(4))

    assert next(found) == 0
    with pytest.raises(error.RemoteError, match="odd 1"):
        next(found)
    assert next(found) == 2
    with pytest.raises(error.RemoteError, match="odd 3"):
        next(found)
    assert list(found) == []


def test_imap_may_give_errors(view):
    found = list(view.imap(tasks.fail_odd, range(3), return_exceptions=True))

    assert found[0::2] == [0, 2]
    assert isinstance(found[1], error.RemoteError)


def test_imap_keeps_the_flags_of_its_moment(place, view):
    with view.temp_flags(label="then"):
        found = view.imap(tasks.double, range(6), max_outstanding=1)
    list(found)

    labels = {place.record(name).get("label") for name in view.client.history}
    assert labels == {"then"}


def test_imap_refuses_what_it_does_not_understand(view):
    with pytest.raises(TypeError, match="at least one sequence"):
        view.imap(tasks.double)
    with pytest.raises(TypeError):
        view.imap(tasks.double, 5)
    with pytest.raises(TypeError, match="f must be callable, not NoneType"):
        view.imap(None, [1])
    for wrong in (-1, "many", 1.5):
        with pytest.raises(ValueError, match="max_outstanding"):
            view.imap(tasks.double, [1], max_outstanding=wrong)


def test_imap_works_before_there_are_engines(place):
    view = place.client().load_balanced_view()
    found = view.imap(tasks.double, itertools.count())

    place.engine()

    assert [next(found), next(found)] == [0, 2]


def test_at_home_a_result_that_travelled_uses_the_client_there(view, monkeypatch):
    monkeypatch.delenv("REDTASK_KEY", raising=False)
    before = view.apply_async(tasks.double, 4)

    again = [pickle.loads(pickle.dumps(before)), copy.copy(before)]

    assert [one.get(DEADLINE) for one in again] == [8, 8]
    assert again[0]._session is before._session


def test_a_map_that_is_interrupted_while_it_sends_takes_back_what_it_sent(
    place, view, monkeypatch
):
    perform, performed = view.client._driver._perform, []

    def third_is_interrupted(*step):
        performed.append(step)
        if len(performed) == 3:
            raise KeyboardInterrupt
        return perform(*step)

    monkeypatch.setattr(view.client._driver, "_perform", third_is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        view.with_flags(delay=1000).map_async(tasks.double, range(3000))

    monkeypatch.undo()
    sent = view.client.history
    assert {place.record(name)["state"] for name in sent[:500]} == {"aborted"}


def test_a_map_that_is_interrupted_just_after_it_sent_takes_that_back_as_well(
    place, view, monkeypatch
):
    perform, performed = view.client._driver._perform, []

    def third_is_interrupted(*step):
        performed.append(step)
        value = perform(*step)
        if len(performed) == 3:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(view.client._driver, "_perform", third_is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        view.with_flags(delay=1000).map_async(tasks.double, range(3000))

    own = [f"{view.client._session.client}-0{number}" for number in range(1000)]
    records = [found for name in own if (found := place.record(name))]
    assert len(records) > len(view.client.history)
    assert {one["state"] for one in records} == {"aborted"}


def test_an_interrupted_imap_loses_nothing(view, gate, monkeypatch):
    found = view.imap(tasks.pass_gate, [str(gate)] * 2, range(2))
    monkeypatch.setattr(view.client._driver, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(found)
    monkeypatch.undo()
    gate.touch()

    assert list(found) == [0, 1]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("large", [False, True])
def test_threads_that_share_an_imap_get_each_result_once(view, ordered, large):
    pad = b"x" * 100_000 if large else b""
    shared = view.imap(
        tasks.first_of, range(100), itertools.repeat(pad), ordered=ordered
    )
    together = threading.Barrier(4)

    def read():
        together.wait(DEADLINE)
        return list(shared)

    with ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read) for _ in range(4)]
        found = [one.result(DEADLINE) for one in reading]

    assert sorted(itertools.chain(*found)) == list(range(100))


def test_a_signal_handler_may_read_the_last_result_of_an_imap(view, monkeypatch):
    found = view.imap(tasks.double, [21])
    perform, told = view.client._driver._perform, []

    def with_a_signal(*step):
        monkeypatch.undo()
        told.extend(found)
        return perform(*step)

    monkeypatch.setattr(view.client._driver, "_perform", with_a_signal)

    assert ([*found], told) == ([], [42])


def test_a_child_forked_while_a_thread_reads_an_imap_may_ask_it(view):
    found = view.imap(tasks.double, [])
    held, go = threading.Event(), threading.Event()

    def hold():
        with found._lock:
            held.set()
            go.wait(DEADLINE)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(DEADLINE)
    child = os.fork()
    if child == 0:
        os._exit(0 if list(found) == [] else 1)
    _, status = os.waitpid(child, 0)
    go.set()
    holder.join()

    assert status == 0


@pytest.mark.parametrize("ordered", [True, False])
def test_calls_of_an_imap_share_trips(place, view, monkeypatch, ordered):
    read = threading.Event()
    trips = []
    cross = view.client._pier._cross

    def numbers():
        yield from range(100)
        read.set()

    def when_all_is_read(aboard):
        assert read.wait(DEADLINE)
        trips.append(len(aboard))
        cross(aboard)

    monkeypatch.setattr(view.client._pier, "_cross", when_all_is_read)

    found = list(view.imap(tasks.double, numbers(), ordered=ordered, max_outstanding=0))

    assert sorted(found) == list(range(0, 200, 2))
    assert sum(trips) == 100
    assert len(trips) <= 2


def test_imap_does_not_hold_back_what_a_slow_input_has_given(place, view):
    client = view.client

    def numbers():
        yield 1
        until(lambda: client.history, "the first task in Redis")
        yield 2

    assert list(view.imap(tasks.double, numbers())) == [2, 4]


@pytest.mark.parametrize("ordered", [True, False])
def test_results_of_an_imap_do_not_wait_for_many_slow_inputs(
    place, view, monkeypatch, ordered
):
    monkeypatch.setattr("redtask.lazy.SLOW", -1.0)
    read: list[int] = []

    def is_done(number):
        return place.record(view.history[number]).get("state") == "completed"

    def numbers():
        for number in range(9):
            if number == 2:
                until(lambda: is_done(0), "a result")
            read.append(number)
            yield number

    arriving = view.imap(tasks.double, numbers(), max_outstanding=8, ordered=ordered)
    made = len(read)
    first = next(arriving)

    assert made <= 3
    assert len(read) == made + 1
    assert sorted([first, *arriving]) == list(range(0, 18, 2))


def test_imap_tells_what_the_hub_refused_after_what_it_took(view, monkeypatch):
    cross = view.client._pier._cross

    def full_with_two(aboard):
        if len(view.client.history) >= 2:
            raise error.HubFull
        cross(aboard[:2])

    monkeypatch.setattr(view.client._pier, "_cross", full_with_two)
    found = view.imap(tasks.double, itertools.count(), max_outstanding=2)

    assert [next(found), next(found)] == [0, 2]
    with pytest.raises(error.HubFull):
        next(found)
    assert list(found) == []


def test_imap_reads_what_came_in_spite_of_a_lost_connection(view, monkeypatch):
    cross = view.client._pier._cross

    def take_and_lose(aboard):
        cross([Passenger(one.task) for one in aboard])
        view.client._session.arrived([one.task.task_id for one in aboard])
        session = view.client._session
        until(lambda: not view.client._run(session.outstanding()), "the end of it")
        raise error.ConnectionLost("gone")

    monkeypatch.setattr(view.client._pier, "_cross", take_and_lose)
    found = view.imap(tasks.double, [1], ordered=False)

    assert next(found) == 2
    with pytest.raises(error.ConnectionLost):
        next(found)


def test_calls_of_an_imap_may_be_in_a_batch(view):
    with view.batch():
        assert list(view.imap(tasks.double, range(3))) == [0, 2, 4]


def test_calls_of_an_imap_may_have_to_be_durable(view):
    found = view.with_flags(durability="replica").imap(tasks.double, range(3))

    with pytest.raises(error.ConfigurationError, match="no replica"):
        next(found)


def test_an_imap_interrupted_while_it_reads_loses_no_result(view):
    def numbers():
        yield 1
        raise KeyboardInterrupt

    found = view.imap(tasks.double, numbers(), max_outstanding=1)

    with pytest.raises(KeyboardInterrupt):
        next(found)
    assert list(found) == [2]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("when", ["packed", "before", "after"])
def test_an_imap_interrupted_while_it_calls_loses_no_input(
    place, view, monkeypatch, when, ordered
):
    place.engine()
    client = view.client
    owner, name = (client._session, "call") if when == "packed" else (client, "_post")
    act, calls = getattr(owner, name), []

    def third_is_interrupted(*args):
        calls.append(args)
        if len(calls) != 3:
            return act(*args)
        if when == "after":
            act(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, third_is_interrupted)
    arriving = view.imap(tasks.double, range(6), ordered=ordered, max_outstanding=2)
    found: list[int] = []
    interrupts = 0
    while len(found) < 6:
        try:
            found.append(next(arriving))
        except KeyboardInterrupt:
            interrupts += 1

    assert (sorted(found), interrupts) == ([0, 2, 4, 6, 8, 10], 1)
    assert list(arriving) == []
    assert len(set(view.history)) == len(view.history) == 6


@pytest.mark.parametrize("whose", ["client", "view"])
def test_what_an_interrupted_imap_had_posted_can_be_aborted(place, whose):
    client = place.client()
    view = client.load_balanced_view()
    held = threading.Event()
    cross = client._pier._cross
    client._pier._cross = lambda aboard: held.wait(DEADLINE) and cross(aboard)

    def numbers():
        yield from range(5)
        held.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view.imap(tasks.double, numbers(), max_outstanding=0)
    (client if whose == "client" else view).abort()

    assert client.outstanding == set()
    assert {place.record(name)["state"] for name in client.history} == {"aborted"}
    assert len(client.history) == 5


def test_a_forked_child_does_not_wait_for_what_its_parent_has_posted(view, monkeypatch):
    forked = threading.Event()
    cross = view.client._pier._cross
    monkeypatch.setattr(
        view.client._pier, "_cross", lambda aboard: forked.wait() and cross(aboard)
    )
    letter = view._post(view._prepare(tasks.double, (1,))[1])

    child = os.fork()
    if child == 0:
        letter.wait()
        os._exit(0 if letter.over else 1)
    _, status = os.waitpid(child, 0)
    forked.set()
    letter.wait()

    assert status == 0


def test_a_forked_child_reads_at_once_what_its_parent_called_ahead(
    view, gate, monkeypatch
):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 3600)
    values = view.imap(tasks.pass_gate, [str(gate)] * 4, range(4), max_outstanding=4)

    if (child := os.fork()) == 0:
        code = 1
        try:
            signal.alarm(DEADLINE)
            gate.touch()
            code = int(list(values) != [0, 1, 2, 3])
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert status == 0


def interrupted(flow, *_):
    """Be a driver that Ctrl-C interrupts."""
    flow.close()
    raise KeyboardInterrupt


# -- what a result can be asked besides


def test_a_result_is_indexed_like_its_value(view):
    many = view.map_async(lambda x: x, range(5))
    many.wait(10)

    assert (many[1], many[1:3], many[-1]) == (1, [1, 2], 4)
    assert many["status"] == many.status == ["ok"] * 5
    assert many.r == many.result() == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        _ = many[5]
    with pytest.raises(KeyError):
        _ = many["nothing"]
    with pytest.raises(TypeError, match="key type float"):
        _ = many[1.5]


def test_metadata_are_attributes_of_a_result(view):
    single = view.apply_async(lambda: [7, 8])
    single.wait(10)

    assert single[0] == 7
    assert single["status"] == single.status == "ok"
    assert single.engine_id in {0, 1}
    assert "engine_id" in dir(single)
    assert "get" in dir(single)
    assert not single.running()
    assert list(single.result_dict.values()) == [[7, 8]]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = single.nothing


def test_a_result_that_is_not_ready_cannot_be_indexed(view, gate):
    result = view.map_async(tasks.pass_gate, [str(gate)])

    with pytest.raises(TimeoutError):
        _ = result[0]
    assert result.status == [None]


# -- targets


def test_targets_are_looked_up_when_they_are_set(client):
    view = client.load_balanced_view(targets=-1)

    assert view.targets == [1]
    assert len(view) == 1
    assert repr(view) == "<LoadBalancedView [1]>"
    view.targets = slice(None)
    assert view.targets == [0, 1]
    view.targets = "all"
    assert view.targets is None
    assert len(view) == 2
    assert client.load_balanced_view([0]).targets == [0]


@pytest.mark.parametrize(
    ("targets", "kind"), [(9, IndexError), ([0, 9], IndexError), ("x", TypeError)]
)
def test_targets_that_are_not_there_are_refused(client, targets, kind):
    view = client.load_balanced_view(targets=0)

    with pytest.raises(kind, match="flag targets"):
        client.load_balanced_view(targets=targets)
    with pytest.raises(kind, match="flag targets"):
        view.set_flags(targets=targets, retries=3)
    with pytest.raises(kind, match="flag targets"), view.temp_flags(targets=targets):
        pytest.fail("never entered")

    assert (view.targets, view.retries) == ([0], 0)


def test_without_engines_there_are_no_targets(place):
    with pytest.raises(error.NoEnginesRegistered, match="targets"):
        place.client().load_balanced_view(targets=0)


# -- scripts of IPython.parallel


def test_balanced_means_nothing(client):
    view = client.load_balanced_view(balanced=True)

    @view.parallel(balanced=True, block=True)
    def double(x):
        return 2 * x

    assert double.map(range(3)) == [0, 2, 4]
    assert view.map_sync(abs, [-1], balanced=True) == [1]


def test_the_client_has_an_executor(client):
    with client.executor() as executor:
        assert executor.submit(abs, -1).result(10) == 1


def test_what_was_submitted_has_been_sent(view):
    result = view.apply_async(print, "hello")

    assert result.sent
    assert result.wait_for_send(0)
    assert result.wait_for_output(10)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("broadcast_view", r"rc\.direct_view\(\) or rc\[:\]"),
        ("push", r"a direct view: rc\.direct_view\(\)"),
        ("metadata", r"rc\.get_result\(ids\)\.metadata"),
        ("spin_thread", "results come by themselves"),
        ("stop_dask", r"view\.executor"),
        ("apply", r"rc\.load_balanced_view\(\)\.apply"),
        ("map_async", r"rc\.load_balanced_view\(\)\.map_async"),
    ],
)
def test_what_is_not_there_says_what_is(client, view, name, instead):
    owner = client if name != "push" else view

    assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=instead):
        getattr(owner, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        _ = owner.nothing
    with pytest.raises(AttributeError, match="always used"):
        _ = redtask.use_dill  # type: ignore[attr-defined]


def test_a_function_of_a_module_that_engines_do_not_have_is_made_interactive(
    view, monkeypatch
):
    lonely: Any = types.ModuleType("lonely")
    code = "def scaled(x, *, by=1):\n    'Scale.'\n    return x * by * FACTOR\n"
    exec(code, vars(lonely))  # noqa: S102 - as importing it does
    monkeypatch.setitem(sys.modules, "lonely", lonely)
    monkeypatch.setattr(sys.modules["__main__"], "FACTOR", 5, raising=False)

    scaled = redtask.interactive(lonely.scaled)

    assert view.apply_sync(scaled, 2, by=3) == 30
    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Scale.")
    with pytest.raises(TypeError, match=r"not <built-in function abs>"):
        redtask.interactive(abs)


def test_concurrent_futures_refers_to_what_is_there_for_results(client, view):
    results = [view.apply_async(tasks.double, number) for number in range(3)]
    futures: list[Any] = [view.executor.submit(tasks.double, 4), *results]

    with pytest.raises(AttributeError, match=r"use redtask\.as_completed\(results\)"):
        concurrent.futures.wait(futures[1:])

    assert concurrent.futures.wait(futures[:1]).done == set(futures[:1])
    assert sorted(one.get() for one in redtask.as_completed(results)) == [0, 2, 4]
