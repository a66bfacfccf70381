"""Where threads wait for a ferry: each returns once its own task is in Redis."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from redtask import ferry
from redtask.ferry import Ferry, Passenger
from redtask.interrupt import let_through

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.slices import Task


#: A thread that sends letters ends when there was none for so long, in seconds.
_IDLE: Final = 1.0


class _Gate:
    """Closed until it is set, for good.

    Not an event: that is Python code, in which a Ctrl-C could leave its lock locked, or
    released by somebody else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let all through; may be repeated."""
        with suppress(RuntimeError):
            self._lock.release()

    def wait(self) -> None:
        """Wait until it is set."""
        # It may be set once more just when we are through.
        with suppress(RuntimeError), self._lock:
            pass


class Letter(ferry.Letter):
    """A passenger whose owner, a thread, does not wait at the pier."""

    __slots__ = ("_gate", "_pid")

    def __init__(
        self, task: Task, send: Callable[[Letter], None], landed: Callable[[], object]
    ) -> None:
        """``send`` is to lead its trip; ``landed`` is called when that is over."""
        self._gate = _Gate()
        super().__init__(task, send, landed, self._gate)
        self._pid = os.getpid()

    def wait(self) -> None:
        """Return once the outcome is known."""
        if os.getpid() == self._pid:
            self._gate.wait()
        # After a fork: it is the parent's.
        self.over = True


class Pier:
    """Lets threads submit single tasks, several in one call.

    ``cross`` sends tasks and records the outcome with each; what it raises concerns
    all. ``patience`` is how long it tries, in seconds.
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
        self._courier = _Courier(self._lead, self._ferry, self._lock)
        #: The last one, before which all others arrive.
        self._latest: Letter | None = None
        #: Threads inside ``submit`` and ``post``. A signal handler must not wait for
        #: the submit that it interrupted.
        self._here: set[int] = set()
        self._pid = os.getpid()

    def renew(self) -> None:
        """Begin anew after a fork: the waiting threads stayed behind."""
        if os.getpid() != self._pid:
            self._begin()

    def submit(self, task: Task) -> None:
        """Submit one task; raise if that failed."""
        self.renew()
        here, thread = self._here, threading.get_ident()
        if thread in here or len(task.envelope) > ferry.MOST_BYTES:
            self._alone(task)
            return
        try:
            here.add(thread)
            self._submit(task)
        finally:
            here.discard(thread)

    def post(self, task: Task, landed: Callable[[], object]) -> Letter | None:
        """Submit one task from another thread, soon; ``landed`` is called then.

        Returns None if it was submitted here.
        """
        self.renew()
        here, thread = self._here, threading.get_ident()
        if thread in here:
            self._alone(task)
            landed()
            return None
        letter = Letter(task, self._courier.send, landed)
        try:
            here.add(thread)
            with self._lock:
                self._courier.begin()
                if self._ferry.board(letter):
                    self._courier.send(letter)
                self._latest = letter
        except BaseException:
            # Most likely a Ctrl-C. If its trip has begun, it goes on.
            with self._lock:
                if self._ferry.has_waiting(letter):
                    self._ferry.leave(letter)
                    letter.wake()
            raise
        finally:
            here.discard(thread)
        return letter

    def settle(self) -> None:
        """Wait until the outcome of all that was posted is known."""
        if threading.get_ident() in self._here:
            return
        if os.getpid() == self._pid and self._latest is not None:
            self._latest.wait()

    def _alone(self, task: Task) -> None:
        one = Passenger(task)
        self._cross([one])
        if one.problem is not None:
            raise one.problem

    def _submit(self, task: Task) -> None:
        me = Passenger(task)
        gate: _Gate | None = None
        try:
            with self._lock:
                if self._ferry.leader is not None:
                    gate = _Gate()
                    me.wake = gate.set
                self._ferry.board(me)
            if gate is not None:
                gate.wait()
            if not me.over:
                self._lead(me)
        except BaseException:
            # Most likely a Ctrl-C.
            with self._lock:
                self._ferry.leave(me)
            raise
        if me.problem is not None:
            raise me.problem

    def _lead(self, leader: Passenger) -> None:
        with self._lock:
            if self._ferry.leader is not leader:
                return
            aboard = self._ferry.load()
        try:
            self._cross(aboard)
        except Exception as problem:  # noqa: BLE001 - it is raised by each of them
            let_through(problem)
            with self._lock:
                self._ferry.fail(problem, self._patience)
        with self._lock:
            self._ferry.land()


class _Courier:
    """Leads the trips of letters; one thread, on demand.

    ``lock`` is the pier's: whoever begins or sends holds it.
    """

    def __init__(
        self, lead: Callable[[Passenger], None], ferry: Ferry, lock: threading.Lock
    ) -> None:
        self._lead = lead
        self._ferry = ferry
        self._lock = lock
        self._leaders: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Be ready to send, for as long as anybody waits.

        Raises ``RuntimeError`` if no thread can be started.
        """
        if self._thread is None:
            thread = threading.Thread(
                target=self._loop, name="redtask letters", daemon=True
            )
            thread.start()
            self._thread = thread

    def send(self, letter: Letter) -> None:
        """Lead a trip for a letter, which is the ferry's leader now."""
        self._leaders.put(letter)

    def _loop(self) -> None:
        while True:
            try:
                letter = self._leaders.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._ferry.leader is None and self._leaders.empty():
                        self._thread = None
                        return
                continue
            try:
                self._lead(letter)
            except BaseException as problem:  # noqa: BLE001 - its owner hears of it
                # Some libraries raise such in other threads. Without this one, nothing
                # would leave any more.
                self._interrupted(letter, problem)
            letter.wake()

    def _interrupted(self, letter: Letter, problem: BaseException) -> None:
        words = f"the submit was interrupted by {type(problem).__name__}"
        told = RuntimeError(f"{words}: it may have reached Redis, or not")
        told.__cause__ = problem
        with self._lock:
            letter.ends(told)
            self._ferry.leave(letter)
