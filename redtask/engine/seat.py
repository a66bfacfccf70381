"""The place of one engine at its worker: its process, and the memory they share."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Final

from redtask.engine.block import Block
from redtask.engine.guard import SIGNAL

#: An engine that dies sooner than this is started again with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 30.0
#: What the kernel counts memory in, KiB.
_IN_MIB: Final = 1024
#: Enough to double the first delay up to the longest.
_MOST_DEATHS: Final = 16


@dataclass(frozen=True, slots=True)
class Stop:
    """A task that was interrupted, and is ended with its engine if it goes on."""

    #: When it began, ns of the monotonic clock: it is known by that.
    begun_at: int
    #: When its engine is ended, ns of the monotonic clock.
    kill_at: int
    #: Why, in words.
    reason: str
    #: Did it run for longer than it may?
    late: bool


@dataclass(slots=True)
class Seat:
    """The place of one engine."""

    #: 0, 1, ...
    number: int
    #: Of the engine that sits here, or of the last one.
    block: Block = field(default_factory=Block)
    #: Its process; 0: there is none.
    pid: int = 0
    pidfd: int = -1
    #: When it was forked, s of the monotonic clock.
    born: float = 0.0
    #: When the next one is to be; None: there is one, or shall be none.
    start_at: float | None = 0.0
    #: How many in a row died young, and without having ended a task.
    young_deaths: int = 0
    #: Why we ended it, if we did.
    ended_for: str = ""
    #: The task that it is to stop.
    stop: Stop | None = None
    #: Is it still to be told that nothing new is to begin?
    to_drain: bool = False
    #: Shall nobody sit here any more?
    closed: bool = False
    #: Where the engine writes its stack when it is asked; a descriptor.
    sheet: int = -1
    #: Its loop counter, and for how long that has not moved, s.
    loops: int = 0
    still: float = 0.0

    def sit(self, pid: int, block: Block, sheet: int = -1) -> None:
        """A new engine sits here."""
        self.pid, self.block, self.sheet = pid, block, sheet
        self.pidfd = os.pidfd_open(pid)
        self.born, self.start_at = time.monotonic(), None
        self.ended_for, self.stop = "", None
        self.loops, self.still = 0, 0.0

    def kill(self, reason: str) -> None:
        """End the engine now."""
        self.ended_for = reason
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def interrupt(self, stop: Stop) -> None:
        """Interrupt the task that the engine is inside of."""
        self.stop = stop
        # It may be dead already, and not buried.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, SIGNAL)

    @property
    def called(self) -> str:
        """The engine's name, as the hub calls it if that is known."""
        picture = self.block.look()
        if picture is None or picture.engine_id is None:
            return f"the engine of seat {self.number}"
        return f"engine {picture.engine_id} (seat {self.number})"

    @property
    def stopped(self) -> Stop | None:
        """What a dead engine was to stop, if it died in the midst of it."""
        stop = self.stop
        return stop if stop and self.block.inside_since == stop.begun_at else None

    def reap(self) -> tuple[int, int]:
        """Take leave of a dead engine.

        What its tasks started dies with it, unless that began a session of its own.
        Returns its exit code, or minus its signal, and the most memory it had, in MiB.
        """
        # As long as it is not waited for, its number means nobody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.let_go()
        self.pid, self.pidfd, self.sheet, self.to_drain = 0, -1, -1, False
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss // _IN_MIB

    def let_go(self) -> None:
        """Close what leads to the engine."""
        os.close(self.pidfd)
        if self.sheet >= 0:
            os.close(self.sheet)

    def delay(self) -> float:
        """How long to wait after a bad end before the next engine starts, s."""
        if time.monotonic() - self.born > _YOUNG:
            self.young_deaths = 0
            return 0.0
        if self.block.has_worked:
            # It can live; one task in between killed it.
            self.young_deaths = 0
        delay: float = min(_LONGEST_DELAY, _FIRST_DELAY * 2**self.young_deaths)
        self.young_deaths = min(self.young_deaths + 1, _MOST_DEATHS)
        return delay
