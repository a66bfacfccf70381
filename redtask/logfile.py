"""Logs of processes that we start: kept from growing, and quoted when one fails."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: A log of more bytes is put aside before the next one begins.
_KEPT: Final = 1 << 20
_LINES_SHOWN: Final = 8
_BYTES_SHOWN: Final = 8192


def rotate(path: Path) -> int:
    """Put a long log aside, in the place of an older one.

    Returns where the next words will begin.
    """
    with contextlib.suppress(FileNotFoundError):
        size = path.stat().st_size
        if size <= _KEPT:
            return size
        path.replace(path.with_name(f"{path.name}.old"))
    return 0


def tail(path: Path, begin: int) -> str:
    """Quote the last lines behind so many bytes, as the end of a sentence."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(begin, end - _BYTES_SHOWN))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = "".join(f"\n  {line}" for line in lines[-_LINES_SHOWN:])
    return f"; {path} ends with:{shown}" if shown else f"; {path} says nothing"
