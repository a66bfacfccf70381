"""What interrupts the task that runs, and no other.

The supervisor decides that a task is to stop, marks it in the shared block and sends a
signal. Whether the task still runs then is looked up by the engine, and only while the
user's code runs is anything raised. A task that catches what is raised and goes on is
ended by the supervisor, together with its engine.
"""

from __future__ import annotations

import signal
import time
import weakref
from typing import TYPE_CHECKING, Final, NoReturn

from redtask.engine.block import BY_ABORT, BY_LIMIT, BY_STOP
from redtask.error import TimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.engine.block import Block
    from redtask.engine.output import Output

#: The signal. One that tasks have no use for: alarms and SIGUSR1 are theirs.
SIGNAL: Final = signal.SIGRTMIN + 5
#: No limit is longer than this, ms: 30 years.
_LONGEST: Final = 10**12


class Aborted(KeyboardInterrupt):
    """The task is not wanted any more.

    No ``Exception``, so that only those catch it who clean up.
    """


class WorkerStops(KeyboardInterrupt):
    """The worker stops now: the task goes back, and runs again elsewhere.

    No ``Exception``, so that only those catch it who clean up.
    """


def exceeded(milliseconds: int) -> str:
    """Say that a time limit is exceeded."""
    return f"time limit of {milliseconds / 1000:g} s exceeded"


class Guard:
    """Interrupts nothing."""

    def __init__(self) -> None:
        #: Was there a signal outside of the user's code? Then ``check``.
        self.pending = False
        # Not to keep alive what it has of the task's frames.
        self._raised: weakref.ref[BaseException] | None = None

    def limit(self, milliseconds: int) -> None:
        """The task that runs may run for so long from now on."""

    def check(self) -> None:
        """Raise if the task that runs is to stop."""
        self.pending = False

    def _interrupt(self, problem: BaseException) -> NoReturn:
        self._raised = weakref.ref(problem)
        raise problem

    def kind(self, problem: BaseException) -> str:
        """Return what a task ended as that raised this.

        ``late``, ``aborted``, ``unbegun`` (it goes back), or ``error``.
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

    def install(self) -> None:
        """Listen to the supervisor, in the main thread."""
        signal.signal(SIGNAL, self._hear)

    def _hear(self, *_: object) -> None:
        if self._output.inside:
            self.check()
        else:
            self.pending = True

    def limit(self, milliseconds: int) -> None:
        """The task that runs may run for so long from now on."""
        self._limit = min(milliseconds, _LONGEST)
        if self._block.limit(self._limit, time.monotonic_ns()):
            self._tell()

    def check(self) -> None:
        """Raise if the task that runs is to stop."""
        self.pending = False
        why = self._block.stopped_by
        if why == BY_LIMIT:
            self._interrupt(TimeLimitExceeded(exceeded(self._limit)))
        elif why == BY_ABORT:
            self._interrupt(Aborted())
        elif why == BY_STOP:
            self._interrupt(WorkerStops())


__all__ = ["SIGNAL", "Aborted", "BlockGuard", "Guard", "WorkerStops", "exceeded"]
