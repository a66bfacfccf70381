"""A Ctrl-C anywhere in redtask's own code: the next call works all the same.

Python looks for signals when a function begins and when a call has returned. So a
profile function raises ``KeyboardInterrupt`` at the n-th of these moments, for many n,
evenly spread over each call.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

import redtask
from tests import tasks
from tests.processes import DEADLINE

OWN = str(Path(redtask.__file__).parent)
#: How often each call is interrupted.
POINTS = 40


class Interrupter:
    """Raises at a moment of this thread in redtask; counts these if there is none."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
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
                raise KeyboardInterrupt


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
