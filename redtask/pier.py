"""Where threads wait for a ferry: each returns once its own task is in Redis."""

from __future__ import annotations

import functools
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from redtask import ferry
from redtask.error import ConnectionLost
from redtask.ferry import Ferry, Passenger

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.slices import Task


class Pier:
    """Lets threads submit single tasks, several in one call.

    ``cross`` sends tasks and records the outcome with each; its ``ConnectionLost`` and
    other exceptions concern all. ``patience`` is how long it tries, in seconds.
    """

    def __init__(
        self, cross: Callable[[list[Passenger]], None], patience: float | None
    ) -> None:
        self._cross = cross
        self._patience = patience
        self._begin()

    def _begin(self) -> None:
        self._ferry = Ferry()
        self._lock = threading.Lock()
        #: Threads inside ``submit``.
        self._here: set[int] = set()
        self._pid = os.getpid()

    def submit(self, task: Task) -> None:
        """Submit one task; raise if that failed."""
        if os.getpid() != self._pid:
            # After a fork: the waiting threads stayed behind in the parent.
            self._begin()
        here, thread = self._here, threading.get_ident()
        if thread in here or len(task.envelope) > ferry.MOST_BYTES:
            # A signal handler must not wait for the submit it interrupted.
            self._alone(task)
            return
        here.add(thread)
        try:
            self._submit(task)
        finally:
            here.discard(thread)

    def _alone(self, task: Task) -> None:
        one = Passenger(task, _nothing)
        self._cross([one])
        if one.problem is not None:
            raise one.problem

    def _submit(self, task: Task) -> None:
        me = Passenger(task, _nothing)
        gate: threading.Lock | None = None
        try:
            with self._lock:
                if self._ferry.leader is not None:
                    gate = _closed()
                    me.wake = functools.partial(_open, gate)
                self._ferry.board(me)
            if gate is not None:
                gate.acquire()
            if not me.over:
                self._lead()
        except BaseException:
            # Most likely a Ctrl-C.
            with self._lock:
                self._ferry.leave(me)
            raise
        if me.problem is not None:
            raise me.problem

    def _lead(self) -> None:
        with self._lock:
            aboard = self._ferry.load()
        try:
            self._cross(aboard)
        except ConnectionLost as problem:
            ferry.fail(aboard, problem, self._patience)
        except Exception as problem:  # noqa: BLE001 - it is raised by each of them
            ferry.end_all(aboard, problem)
        with self._lock:
            self._ferry.land()


def _closed() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate


def _open(gate: threading.Lock) -> None:
    with suppress(RuntimeError):
        gate.release()


def _nothing() -> None:
    """Wake nobody."""
