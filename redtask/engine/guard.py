"""Interrupt the running task, and never another.

The supervisor decides that a task must stop, marks it in the shared block and sends a
signal. The engine then checks whether that task is still running, and raises an
exception only within the user's code. If a task catches that and goes on, the
supervisor kills it together with its engine.
"""

from __future__ import annotations

import signal
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn

from redtask import error
from redtask.engine.block import BY_ABORT, BY_LIMIT, BY_STOP
from redtask.engine.coroutines import whereabouts

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from redtask.engine.block import Block
    from redtask.engine.output import Output

#: The signal, one that tasks do not use, unlike SIGALRM and SIGUSR1.
SIGNAL: Final = signal.SIGRTMIN + 5
#: Maximum time limit, ms: 30 years.
_LONGEST: Final = 10**12


class Aborted(KeyboardInterrupt):
    """The task was aborted.

    Not an ``Exception``, so that usually only cleanup code catches it.
    """


class WorkerStops(KeyboardInterrupt):
    """The worker is stopping: a task with retries goes back, and runs elsewhere.

    Not an ``Exception``, so that usually only cleanup code catches it.
    """


class TimeLimitExceeded(error.TimeLimitExceeded, KeyboardInterrupt):
    """The task ran longer than its time limit.

    For event loops, which log what is only an ``Exception`` and go on.
    """

    # Users see, and catch, that one.
    __module__ = error.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return error.TimeLimitExceeded, super().__reduce__()[1]


class Dismissed(BaseException):
    """The engine runs nothing, and is to end.

    Nothing begins there any more, and what has ended is in its log. Not to be handled.
    """


def exceeded(milliseconds: int) -> str:
    """Return the message of an exceeded time limit."""
    return f"time limit of {milliseconds / 1000:g} s exceeded"


class Guard:
    """The interface, which interrupts nothing."""

    def __init__(self) -> None:
        #: Did a signal arrive outside the user's code? Then call ``check``.
        self.pending = False
        # Weak, because its traceback keeps the task's frames alive.
        self._raised: weakref.ref[BaseException] | None = None

    def limit(self, milliseconds: int) -> None:
        """Limit the time of the running task, from now on."""

    def check(self) -> None:
        """Raise if the running task must stop."""
        self.pending = False

    def _interrupt(self, problem: BaseException) -> NoReturn:
        self._raised = weakref.ref(problem)
        raise problem

    def found(self, problem: BaseException) -> BaseException:
        """Return the exception raised here, if a task group has wrapped it."""
        raised = self._raised and self._raised()
        if raised and isinstance(problem, BaseExceptionGroup):
            return raised if problem.subgroup(lambda one: one is raised) else problem
        return problem

    def kind(self, problem: BaseException) -> str:
        """Return the kind of outcome of a task that raised this.

        ``late``, ``aborted``, ``unbegun`` (it is returned, if it may begin again), or
        ``error``.
        """
        raised, self._raised = self._raised, None
        if raised is None or raised() is not problem:
            return "error"
        if isinstance(problem, WorkerStops):
            return "unbegun"
        return "aborted" if isinstance(problem, Aborted) else "late"


class BlockGuard(Guard):
    """Interrupts the task that the supervisor marks in the shared block."""

    def __init__(self, block: Block, output: Output, tell: Callable[[], None]) -> None:
        super().__init__()
        self._block = block
        self._output = output
        self._tell = tell
        self._limit = 0
        #: Does the engine wait for something? Elsewhere its dismissal might be lost in
        #: a destructor, and it will soon look by itself.
        self.waits = False

    def install(self) -> None:
        """Install the signal handler, in the main thread."""
        signal.signal(SIGNAL, self._hear)

    def check_dismissal(self) -> None:
        """Raise if the engine runs nothing and is to end."""
        if self._block.draining and not self._block.inside:
            self.waits = False
            raise Dismissed

    def _hear(self, *_: object) -> None:
        loop = _running_loop()
        if not self._output.inside:
            self.pending = True
            if self.waits:
                self.check_dismissal()
        elif loop is None or _runs_coroutine(loop):
            self.check()
        else:
            # Not in the midst of the loop's own code: that would lose a coroutine's
            # wakeup, and the loop would then wait for that coroutine forever.
            loop.call_soon_threadsafe(self._check_loop, loop)

    def limit(self, milliseconds: int) -> None:
        """Limit the time of the running task, from now on."""
        self._limit = min(milliseconds, _LONGEST)
        if self._block.limit(self._limit, time.monotonic_ns()):
            self._tell()

    def check(self) -> None:
        """Raise if the running task must stop."""
        self._check(error.TimeLimitExceeded)

    def _check_loop(self, loop: AbstractEventLoop) -> None:
        """Raise if the running task must stop, and tell where its coroutines are.

        The traceback has only the loop.
        """
        try:
            self._check(TimeLimitExceeded)
        except TimeLimitExceeded as problem:
            if places := whereabouts(loop).rstrip():
                problem.add_note(places)
            raise

    def _check(self, late: type[error.TimeLimitExceeded]) -> None:
        self.pending = False
        why = self._block.stopped_by
        if why == BY_LIMIT:
            self._interrupt(late(exceeded(self._limit)))
        elif why == BY_ABORT:
            self._interrupt(Aborted())
        elif why == BY_STOP:
            self._interrupt(WorkerStops())


def _running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if any."""
    try:
        return sys.modules["asyncio"].get_running_loop()  # type: ignore[no-any-return]
    except (KeyError, AttributeError, RuntimeError):
        # It is not imported, is just being imported, or runs no loop.
        return None


def _runs_coroutine(loop: AbstractEventLoop) -> bool:
    """Is a coroutine's code executing, rather than the loop's?"""
    task = sys.modules["asyncio"].current_task(loop)
    return task is not None and getattr(task.get_coro(), "cr_running", True)


__all__ = [
    "SIGNAL",
    "Aborted",
    "BlockGuard",
    "Dismissed",
    "Guard",
    "WorkerStops",
    "exceeded",
]
