"""The place of one engine at its worker: its process, and the memory they share."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Final

from redtask.engine.block import Block

#: An engine that dies sooner than this is started again with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 30.0
#: Enough to double the first delay up to the longest.
_MOST_DEATHS: Final = 16


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
    #: Is it still to be told that nothing new is to begin?
    to_drain: bool = False
    #: Its loop counter, and for how long that has not moved, s.
    loops: int = 0
    still: float = 0.0

    def sit(self, pid: int, block: Block) -> None:
        """A new engine sits here."""
        self.pid, self.block = pid, block
        self.pidfd = os.pidfd_open(pid)
        self.born, self.start_at = time.monotonic(), None
        self.ended_for = ""
        self.loops, self.still = 0, 0.0

    def kill(self, reason: str) -> None:
        """End the engine now."""
        self.ended_for = reason
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> int:
        """Take leave of a dead engine; return its exit code, or minus its signal.

        What its tasks started dies with it, unless that began a session of its own.
        """
        # As long as it is not waited for, its number means nobody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid, self.pidfd, self.to_drain = 0, -1, False
        return os.waitstatus_to_exitcode(status)

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
