"""One worker of a cluster: its process, and how far it has been told to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from redtask import process
from redtask.signals import END_NOW, END_WITH_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A worker told to stop at once is killed after this, in seconds.
_HURRY: Final = 5.0
#: A worker that dies before this age is restarted with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
#: Enough doublings to get from the first delay to the longest.
_MOST_DEATHS: Final = 16


@dataclass(slots=True)
class Crew:
    """One worker: its process, if there is one."""

    name: str
    engines: int
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    born: float = 0.0
    #: When to start it, and when to stop it harder; s of the monotonic clock.
    start_at: float | None = None
    press_at: float | None = None
    #: How many times it was told to stop.
    told: int = 0
    young_deaths: int = 0
    #: Exit code of its last process; None while one runs.
    code: int | None = None
    #: Have its engines ever joined?
    joined: bool = False
    #: Size of the log when it started.
    log_begin: int = 0

    @property
    def how(self) -> str:
        """How its process ended, for messages."""
        if self.code is not None and self.code < 0:
            return f"was killed by signal {-self.code}"
        return f"ended with exit code {self.code}"

    def spawn(self, options: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start its process, which dies with us."""
        self.start_at = self.code = None
        command = [sys.executable, "-P", "-m", "redtask", "worker"]
        command += ["-n", str(self.engines), "--name", self.name, *options]
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            # Only we must get a terminal's Ctrl-C, and pass it on.
            start_new_session=True,
            # Safe, because this process has a single thread.
            preexec_fn=partial(process.die_with, os.getpid()),  # noqa: PLW1509
        )
        self.born = time.monotonic()
        self.pidfd = os.pidfd_open(self.process.pid)

    def tell(self, drain: float | None) -> None:
        """Tell it to drain, and to stop harder after ``drain`` seconds."""
        if self.process is None:
            return
        if not self.told:
            self.process.send_signal(END_WITH_CLUSTER)
            self.told = 1
        if drain is not None and self.told == 1:
            self.press_at = time.monotonic() + drain

    def press(self) -> None:
        """Its time is up: tell it to stop at once, or the second time kill it."""
        self.press_at = None
        if self.process is None:
            return
        if self.told < 2:  # noqa: PLR2004 - not twice yet
            self.process.send_signal(END_NOW)
            self.told, self.press_at = 2, time.monotonic() + _HURRY
        else:
            self.process.kill()

    def reap(self) -> None:
        """Reap its dead process."""
        assert self.process is not None  # noqa: S101 - it had a pidfd
        os.close(self.pidfd)
        self.code = self.process.wait()
        self.process, self.press_at = None, None

    def start_again(self) -> None:
        """Schedule a restart, with exponential backoff if it keeps dying young."""
        now = time.monotonic()
        if now - self.born > _YOUNG:
            self.young_deaths = 0
        delay = 0.0
        if self.young_deaths:
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**self.young_deaths)
        self.young_deaths = min(self.young_deaths + 1, _MOST_DEATHS)
        self.start_at = now + delay

    def kill(self) -> None:
        """Kill its process, if there is one, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
