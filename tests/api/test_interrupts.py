"""A Ctrl-C anywhere in redtask's own code: the next call works all the same.

Python looks for signals when a function begins and when a call has returned. So a
profile function raises ``KeyboardInterrupt`` at the n-th of these moments, for many n,
evenly spread over each call. The handler of a signal may use a client at all of them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

import redtask
from redtask.flows import QUIET
from tests import tasks
from tests.processes import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = str(Path(redtask.__file__).parent)
#: How often each call is interrupted.
POINTS = 40


#: Who took longer than this was not told, and has read the records.
SOON = QUIET / 2


def press() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


class Interrupter:
    """Acts at a moment of this thread in redtask; counts these if there is none."""

    def __init__(
        self, at: int | None = None, act: Callable[[], object] = press
    ) -> None:
        self.at = at
        self.act = act
        self.moments = 0
        # Python 3.11 holds it loosely: one that takes itself away would be freed while
        # it is being called, and what then lies there "is not callable".
        self._hook = self._happened

    def __enter__(self) -> Self:
        sys.setprofile(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _happened(self, frame, event, _arg):
        if event != "c_call" and frame.f_code.co_filename.startswith(OWN):
            self.moments += 1
            if self.moments == self.at:
                sys.setprofile(None)
                self.act()


def apply(view):
    assert view.apply_sync(tasks.double, 1) == 2


def submit_and_get(view):
    assert view.apply_async(tasks.double, 1).get(DEADLINE) == 2


def map_all(view):
    assert view.map_sync(tasks.double, range(4)) == [0, 2, 4, 6]


def iterate(view):
    assert sorted(view.map_async(tasks.double, range(4), ordered=False)) == [0, 2, 4, 6]


def map_lazily(view):
    assert list(view.imap(tasks.double, range(4), max_outstanding=2)) == [0, 2, 4, 6]


def graph(view):
    results = view.submit_graph({"a": [], "b": ["a"]}, {"a": int, "b": int})
    assert [one.get(DEADLINE) for one in results.values()] == [0, 0]


def complete(view):
    results = [view.apply_async(tasks.double, number) for number in range(3)]
    assert {one.get() for one in redtask.as_completed(results)} == {0, 2, 4}


def call_back(view):
    done = threading.Event()
    result = view.apply_async(tasks.double, 1)
    result.add_done_callback(lambda _: done.set())
    assert result.get(DEADLINE) == 2
    assert done.wait(DEADLINE)


def execute(view):
    assert view.executor.submit(tasks.double, 1).result(DEADLINE) == 2


def batch(view):
    with view.batch():
        results = [view.apply_async(tasks.double, number) for number in range(3)]
    assert [one.get(DEADLINE) for one in results] == [0, 2, 4]


def abort(view):
    result = view.with_flags(delay=1000).apply_async(tasks.double, 1)
    result.abort()
    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)


CALLS = (
    *(apply, submit_and_get, map_all, iterate, map_lazily, graph, complete),
    *(call_back, execute, batch, abort),
)


# Some hit a generator that is just being thrown away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("act", CALLS)
def test_whoever_is_interrupted_anywhere_can_go_on(client, act):
    view = client.load_balanced_view()
    # The first call of each kind is longer than others.
    act(view)
    with Interrupter() as counted:
        act(view)
    assert counted.moments > POINTS

    # Locks are re-entrant: only another thread notices one that was left locked.
    with ThreadPoolExecutor(1) as elsewhere:
        for number in range(POINTS):
            at = 1 + counted.moments * number // POINTS
            # What waits for its own result returns that when it is interrupted.
            with (
                contextlib.suppress(KeyboardInterrupt, AssertionError),
                Interrupter(at),
            ):
                act(view)
            act(view)
            elsewhere.submit(act, view).result(DEADLINE)
        for other in CALLS:
            elsewhere.submit(other, view).result(DEADLINE)


@pytest.fixture
def on_signal():
    """Set what the main thread does when it gets a signal; return how to send one."""
    before = signal.getsignal(signal.SIGUSR1)

    def set_handler(act):
        signal.signal(signal.SIGUSR1, lambda *_: act())
        return lambda: os.kill(os.getpid(), signal.SIGUSR1)

    yield set_handler
    signal.signal(signal.SIGUSR1, before)


def soon(call, *args):
    """Call something, which must not have to wait for the records."""
    begun = time.monotonic()
    value = call(*args)
    assert time.monotonic() - begun < SOON
    return value


def waits_in_redis(place):
    return any(
        one["cmd"] == "xread" and "b" in one["flags"] for one in place.connections()
    )


def get(client, result):
    return result.get(DEADLINE)


def wait_for_all(client, result):
    client.wait([result], DEADLINE)
    return result.get()


def get_first(client, result):
    return next(redtask.as_completed([result], timeout=DEADLINE)).get()


@pytest.mark.parametrize("wait", [get, wait_for_all, get_first])
def test_a_handler_has_its_result_at_once_whatever_its_thread_waits_for(
    place, client, gate, on_signal, wait
):
    view = client.load_balanced_view()
    held, found = view.apply_async(tasks.pass_gate, str(gate), 5), []
    place.engine()

    def handle():
        found.append(soon(view.apply_sync, tasks.double, 1))
        gate.touch()

    send = on_signal(handle)

    def interrupt():
        until(lambda: waits_in_redis(place), "the blocking read")
        send()

    with ThreadPoolExecutor(1) as elsewhere:
        sent = elsewhere.submit(interrupt)
        assert wait(client, held) == 5
    sent.result()

    assert found == [2]


@pytest.mark.parametrize("act", [submit_and_get, complete, batch])
def test_a_handler_and_its_thread_both_have_their_results_soon(client, act):
    view, own = client.load_balanced_view(), []
    act(view)
    with Interrupter() as counted:
        act(view)

    def handle():
        own.append(soon(view.apply_sync, tasks.double, 2))

    for number in range(counted.moments):
        with Interrupter(number + 1, handle):
            soon(act, view)

    assert len(own) >= counted.moments // 2
    assert set(own) == {4}


def test_a_handler_may_wait_for_what_its_thread_is_just_hearing_of(client):
    view = client.load_balanced_view()
    submit_and_get(view)
    with Interrupter() as counted:
        submit_and_get(view)
    own = []

    for number in range(counted.moments):
        result = view.apply_async(tasks.double, 3)
        act = functools.partial(lambda one: own.append(soon(one.get)), result)
        with Interrupter(number + 1, act):
            assert soon(result.get) == 6

    assert set(own) == {6}


def test_a_handler_that_reads_wakes_the_other_threads(place, client, gate, on_signal):
    view = client.load_balanced_view()
    gates = [gate, gate.with_name("another")]
    results = [view.apply_async(tasks.pass_gate, str(one), 5) for one in gates]
    got, found = threading.Event(), []

    def handle():
        gates[1].touch()
        results[1].get(DEADLINE)
        found.append(got.wait(SOON))
        gates[0].touch()

    def get_elsewhere():
        results[1].get(DEADLINE)
        got.set()

    send = on_signal(handle)

    def interrupt():
        until(lambda: client._driver._others, "who waits for the reader")
        send()

    with ThreadPoolExecutor(2) as elsewhere:
        second = elsewhere.submit(
            lambda: (until(lambda: waits_in_redis(place)), get_elsewhere())
        )
        sent = elsewhere.submit(interrupt)
        results[0].get(DEADLINE)
    sent.result()
    second.result()

    assert found == [True]
