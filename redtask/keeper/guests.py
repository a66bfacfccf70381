"""Workers that others have started for a cluster: ``redtask cluster engines``.

Each holds the lock of a pid file in the profile's folder. So they can be told to stop
with the cluster, while there is a Redis to which they can report what they have done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redtask.signals import END_NOW, END_WITH_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BEGIN: Final = "cluster.engines."
_END: Final = ".pid"
_FILES: Final = f"{_BEGIN}*{_END}"
#: ``struct flock``: kind, whence, start, length, process.
_FLOCK: Final = "hhlli0l"
#: One that was told to stop at once is waited for so long, in seconds.
HURRY: Final = 5.0


@dataclass(slots=True)
class Guest:
    """One such worker. It is never killed: it is somebody else's process."""

    name: str
    pidfd: int
    #: When to stop it harder; s of the monotonic clock.
    press_at: float | None = None
    pressed: bool = False

    def tell(self, drain: float | None) -> None:
        """Tell it to drain, and to stop harder after ``drain`` seconds.

        Raises ``PermissionError`` if it is another user's.
        """
        # Its user may have asked before: a SIGTERM would then mean at once.
        self._send(END_WITH_CLUSTER)
        if drain is not None:
            self.press_at = time.monotonic() + drain

    def press(self) -> None:
        """Its time is up: tell it to stop at once. The next time leave it alone."""
        self.pressed, self.press_at = True, time.monotonic() + HURRY
        self._send(END_NOW)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


def file_of(folder: Path, name: str) -> Path:
    """Return the file of the worker of this name."""
    return folder / f"{_BEGIN}{name}{_END}"


def names(folder: Path) -> list[str]:
    """Return the names of those that live."""
    return [_name(file) for file in folder.glob(_FILES) if _holder(file)]


def left(folder: Path) -> list[Path]:
    """Return the files of those that died."""
    return [file for file in folder.glob(_FILES) if not _holder(file)]


def find(folder: Path) -> Iterator[Guest]:
    """Yield those that live; whoever gets one closes its pidfd."""
    for file in folder.glob(_FILES):
        with contextlib.suppress(ProcessLookupError):
            if pid := _holder(file):
                pidfd = os.pidfd_open(pid)
                if _holder(file) == pid:
                    yield Guest(_name(file), pidfd)
                else:
                    os.close(pidfd)


def _name(file: Path) -> str:
    return file.name.removeprefix(_BEGIN).removesuffix(_END)


def _holder(file: Path) -> int:
    """Return the process that has the lock on a file; 0 if there is none to be seen.

    It is asked of the kernel: the id in the file may be that of another container.
    """
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(_FLOCK, fcntl.fcntl(opened, fcntl.F_GETLK, asked))
    finally:
        os.close(opened)
    return 0 if kind == fcntl.F_UNLCK else max(0, pid)


__all__ = ["HURRY", "Guest", "file_of", "find", "left", "names"]
