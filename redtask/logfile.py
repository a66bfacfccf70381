"""Logs of processes that we start: bounded, and quoted when a process fails."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: A log larger than this is rotated before it is written to, in bytes.
_KEPT: Final = 1 << 20
#: ... and one larger than this while it is written to.
_LONGEST: Final = 16 << 20
_LINES_SHOWN: Final = 8
_BYTES_SHOWN: Final = 8192


def rotate(path: Path) -> int:
    """Rotate a long log, replacing the previous one.

    Returns the offset at which new lines will begin.
    """
    with contextlib.suppress(FileNotFoundError):
        size = path.stat().st_size
        if size <= _KEPT:
            return size
        path.replace(_old(path))
    return 0


def bound(path: Path) -> None:
    """Rotate a very long log under the processes that append to it.

    Lines written at this moment may be lost.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LONGEST:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            old = os.open(_old(path), flags, 0o600)
            with path.open("rb") as source, os.fdopen(old, "wb") as target:
                shutil.copyfileobj(source, target)
            os.truncate(path, 0)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def tail(path: Path, begin: int) -> str:
    """Quote the last lines after an offset, as the end of a sentence."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            # If it was rotated meanwhile, it begins anew.
            begin = begin if begin <= end else 0
            file.seek(max(begin, end - _BYTES_SHOWN))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = "".join(f"\n  {line}" for line in lines[-_LINES_SHOWN:])
    return f"; {path} ends with:{shown}" if shown else f"; {path} says nothing"
