"""One worker of a cluster: its process, and what its keeper has told it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from redtask import process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A worker told to stop at once gets this long, in seconds.
_HURRY: Final = 5.0
#: A worker that dies sooner than this is started with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
#: Enough to double the first delay up to the longest.
_MOST_DEATHS: Final = 16


@dataclass(slots=True)
class Crew:
    """One worker: its process, if there is one."""

    name: str
    engines: int
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    born: float = 0.0
    #: When to start it, and when to press it harder; s of the monotonic clock.
    start_at: float | None = None
    press_at: float | None = None
    #: How often it was told to stop.
    told: int = 0
    young_deaths: int = 0
    #: How its process ended last.
    code: int | None = None
    #: Have its engines joined once?
    joined: bool = False
    #: What the log held when it started.
    log_begin: int = 0

    @property
    def how(self) -> str:
        """How its process ended, in words."""
        if self.code is not None and self.code < 0:
            return f"was killed by signal {-self.code}"
        return f"ended with exit code {self.code}"

    def spawn(self, options: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start its process. It dies with us."""
        self.start_at = None
        command = [sys.executable, "-P", "-m", "redtask", "worker"]
        command += ["-n", str(self.engines), "--name", self.name, *options]
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            # Ctrl-C in a terminal is for us, who pass it on.
            start_new_session=True,
            # This process has one thread, so it may.
            preexec_fn=partial(process.die_with, os.getpid()),  # noqa: PLW1509
        )
        self.born = time.monotonic()
        self.pidfd = os.pidfd_open(self.process.pid)

    def tell(self, drain: float | None) -> None:
        """Let it drain; it is pressed after so many seconds."""
        if self.process is None:
            return
        if not self.told:
            self.process.terminate()
            self.told = 1
        if drain is not None:
            self.press_at = time.monotonic() + drain

    def press(self) -> None:
        """It has had its time: let it stop at once, and if it does not, kill it."""
        self.press_at = None
        if self.process is None:
            return
        if self.told < 2:  # noqa: PLR2004 - not twice yet
            # Another signal than the first: two alike may be taken for one.
            self.process.send_signal(signal.SIGINT)
            self.told, self.press_at = 2, time.monotonic() + _HURRY
        else:
            self.process.kill()

    def reap(self) -> None:
        """Take leave of its dead process."""
        assert self.process is not None  # noqa: S101 - it had a pidfd
        os.close(self.pidfd)
        self.code = self.process.wait()
        self.process, self.press_at = None, None

    def start_again(self) -> None:
        """Have it started again; later if it dies young and often."""
        now = time.monotonic()
        if now - self.born > _YOUNG:
            self.young_deaths = 0
        delay = 0.0
        if self.young_deaths:
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**self.young_deaths)
        self.young_deaths = min(self.young_deaths + 1, _MOST_DEATHS)
        self.start_at = now + delay

    def kill(self) -> None:
        """End its process, if there is one, and wait for that."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
