"""The log of a cluster: on its terminal, or in a file of its profile."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Final, TextIO

from redtask import logfile
from redtask.logpipe import PipeHandler

if TYPE_CHECKING:
    from pathlib import Path


#: How often to check the size of the file, in seconds.
_LOOK: Final = 60.0


class ClusterLog:
    """The log of a cluster and its workers, if it is a file."""

    def __init__(self) -> None:
        #: The file; None for our original standard error.
        self.path: Path | None = None
        #: When to check its size, s of the monotonic clock; None: there is no file.
        self.look_at: float | None = None

    def open(self, folder: Path) -> None:
        """Redirect standard error to a log file in this folder."""
        path = folder / "cluster.log"
        logfile.rotate(path)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        os.close(log)
        self.path = path
        self.look_at = time.monotonic() + _LOOK

    def look_if_due(self, now: float) -> None:
        """Rotate the file if it has become very long, and it is time to check."""
        if self.path is not None and self.look_at is not None and now >= self.look_at:
            self.look_at = now + _LOOK
            logfile.bound(self.path)

    @property
    def name(self) -> str:
        """Path of the file; "" if there is none."""
        return "" if self.path is None else str(self.path)

    @property
    def size(self) -> int:
        """Its size in bytes; 0 if somebody has removed it."""
        with contextlib.suppress(FileNotFoundError):
            return 0 if self.path is None else self.path.stat().st_size
        return 0

    def tail(self, begin: int) -> str:
        """Quote the end of the log after offset ``begin``, to append to a message."""
        return "" if self.path is None else logfile.tail(self.path, begin)


def configure_log(stream: TextIO, form: str) -> None:
    """Send the keeper's log to a stream."""
    log = logging.getLogger("redtask.cluster")
    handler = PipeHandler(stream)
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
