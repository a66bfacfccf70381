"""The slot of one engine in its worker: its process, and the shared memory."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Final

from redtask.engine.block import Block
from redtask.engine.guard import SIGNAL

#: An engine that dies before this age is restarted with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 30.0
#: What was left for an engine's end may take so long, in seconds.
PARTING: Final = 2.0
_NEVER: Final = float("inf")
#: KiB, the kernel's unit of ``ru_maxrss``, per MiB.
_IN_MIB: Final = 1024
#: Enough doublings to get from the first delay to the longest.
_MOST_DEATHS: Final = 16


@dataclass(frozen=True, slots=True)
class Stop:
    """A task that was interrupted, and is killed with its engine if it goes on."""

    #: When it started, which identifies it, ns of the monotonic clock.
    begun_at: int
    #: When to kill its engine, ns of the monotonic clock.
    kill_at: int
    #: The reason.
    reason: str
    #: Did it exceed its time limit?
    late: bool
    #: Is it interrupted because its worker stops?
    parting: bool = False
    #: Was its engine asked where it is?
    asked: bool = False


@dataclass(slots=True)
class Seat:
    """The slot of one engine."""

    #: 0, 1, ...
    number: int
    #: The block of the current engine, or of the last one.
    block: Block = field(default_factory=Block)
    #: Its process; 0 if there is none.
    pid: int = 0
    pidfd: int = -1
    #: When it was forked, s of the monotonic clock.
    born: float = 0.0
    #: When to start the next one; None if there is one, or none is wanted.
    start_at: float | None = 0.0
    #: How many in a row died young, without any task ended, or could not be started.
    young_deaths: int = 0
    #: Why we killed it, if we did.
    ended_for: str = ""
    #: Where its task was then, most recent call first; "" if that is not known.
    stack: str = ""
    #: When to kill it if it is about to end, s of the monotonic clock.
    end_by: float = _NEVER
    #: The task that it must stop.
    stop: Stop | None = None
    #: Must it still be told to start nothing new?
    to_drain: bool = False
    #: Is the seat to remain empty?
    closed: bool = False
    #: Descriptor to which the engine writes its stacks on request.
    sheet: int = -1
    #: Its loop counter, and for how long that has not advanced, s.
    loops: int = 0
    still: float = 0.0
    #: When the last answered beat for it was sent, s of the monotonic clock.
    beaten: float = 0.0

    def sit(self, pid: int, block: Block, sheet: int = -1) -> None:
        """Assign a new engine to this seat.

        Raises ``OSError`` if its end cannot be watched for; then it is ended.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self.pid, self.pidfd, self.block, self.sheet = pid, pidfd, block, sheet
        self.born, self.start_at = time.monotonic(), None
        self.ended_for, self.stack, self.stop = "", "", None
        self.end_by = _NEVER
        self.loops, self.still, self.beaten = 0, 0.0, self.born

    def kill(self, reason: str) -> None:
        """Kill the engine now."""
        self.ended_for = reason
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def dismiss(self, reason: str) -> None:
        """Let the engine end, which runs nothing and is to begin nothing any more.

        It is killed if that takes too long.
        """
        self.ended_for = reason
        self.expect_end()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, SIGNAL)

    def expect_end(self) -> None:
        """Note that the engine is about to end."""
        self.end_by = min(self.end_by, time.monotonic() + PARTING)

    @property
    def is_leaving(self) -> bool:
        """Is the engine about to end?"""
        return self.end_by < _NEVER

    def interrupt(self, stop: Stop) -> None:
        """Interrupt the engine's running task."""
        self.stop = stop
        # It may be dead but not yet reaped.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, SIGNAL)

    @property
    def called(self) -> str:
        """The engine's name in messages, with its label if that is known."""
        picture = self.block.look()
        if picture is None or picture.engine_id is None:
            return f"the engine of seat {self.number}"
        return f"engine {picture.engine_id} (seat {self.number})"

    @property
    def stopped(self) -> Stop | None:
        """What a dead engine had to stop, if it died while still running that."""
        stop = self.stop
        return stop if stop and self.block.inside_since == stop.begun_at else None

    def reap(self) -> tuple[int, int]:
        """Reap a dead engine.

        Processes that its tasks started are killed, unless in a session of their own.
        Returns its exit code, or the negative signal, and its peak memory in MiB.
        """
        # Until it is waited for, its pid cannot be reused.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.let_go()
        self.pid, self.pidfd, self.sheet, self.to_drain = 0, -1, -1, False
        self.end_by = _NEVER
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss // _IN_MIB

    def let_go(self) -> None:
        """Close our descriptors of the engine."""
        os.close(self.pidfd)
        if self.sheet >= 0:
            os.close(self.sheet)

    def delay(self) -> float:
        """Return how long to wait after a crash before starting another engine, s."""
        if time.monotonic() - self.born > _YOUNG:
            self.young_deaths = 0
            return 0.0
        if self.block.has_worked:
            # It works; a single task killed it.
            self.young_deaths = 0
        return self._next_delay()

    def put_off(self) -> None:
        """Start an engine later, because it cannot be done now."""
        self.start_at = time.monotonic() + self._next_delay()

    def _next_delay(self) -> float:
        delay: float = min(_LONGEST_DELAY, _FIRST_DELAY * 2**self.young_deaths)
        self.young_deaths = min(self.young_deaths + 1, _MOST_DEATHS)
        return delay
