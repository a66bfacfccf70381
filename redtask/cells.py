"""Notebooks and prompts: are we in one, and what was typed there.

An engine has no file to quote that from, so it is added here to what it tells.
"""

from __future__ import annotations

import linecache
import re
import sys
import traceback
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: A frame of a traceback that lacks its source line.
_FRAME: Final = re.compile(
    r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?P<rest>.*)\n(?!    )',
    re.MULTILINE,
)

#: What names of code begin with, and how much of it is kept.
_TYPED: Final = "<execute "
_MOST_TYPED: Final = 100
#: Packages between a cell and redtask: magics are called by IPython.
_OURS: Final = frozenset({"redtask", "IPython"})
#: Packages in which one waits for Redis.
_WAITERS: Final = frozenset({"redtask", "redis", "hiredis", "threading", "socket"})


def quoted(text: str) -> str:
    """Return a traceback from an engine, with the lines that were typed here.

    Files are left alone: they may differ over there.
    """
    return _FRAME.sub(_with_line, text)


def _with_line(frame: re.Match[str]) -> str:
    file, number = frame["file"], int(frame["line"])
    line = _typed(file, number)
    return frame[0] if line is None else _frame(file, number, frame["rest"], line)


def _frame(file: str, number: int, rest: str, line: str) -> str:
    place = _cell(file) or f'File "{file}"'
    source = f"    {line}\n" if line else ""
    return f"  {place}, line {number}{rest}\n{source}"


def _typed(file: str, number: int) -> str | None:
    """Return a line of what was typed; None if it is in a file, or unknown."""
    entry = linecache.cache.get(file)
    # What has a time of change is a file.
    if entry is None or len(entry) == 1 or entry[1] is not None:
        return None
    lines = entry[2]
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def typed(code: str) -> str:
    """Return a name for code that is no file, by which tracebacks quote it here."""
    name = f"{_TYPED}{zlib.crc32(code.encode()):08x}>"
    cache = linecache.cache
    cache.pop(name, None)
    cache[name] = len(code), None, code.splitlines(keepends=True), name
    known = [one for one in list(cache) if one.startswith(_TYPED)]
    for one in known[:-_MOST_TYPED]:
        cache.pop(one, None)
    return name


def in_notebook() -> bool:
    """Do we run in a notebook's kernel?"""
    return getattr(shell(), "kernel", None) is not None


def shell() -> Any:
    """Return the IPython that runs here, if any."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _cell(file: str) -> str | None:
    """Return IPython's name for a cell, ``Cell In[4]``; None: it is not one."""
    name = getattr(getattr(shell(), "compile", None), "format_code_name", None)
    found = name and name(file)
    return " ".join(found) if found else None


def without_ours(problem: BaseException) -> BaseException:
    """Return an interrupt without frames that tell nobody anything.

    Those below redtask are kept: they are the user's.
    """
    frame: FrameType | None = None
    for frame, _ in traceback.walk_tb(problem.__traceback__):  # noqa: B007
        pass
    is_ours = frame is not None and _package(frame) in _WAITERS
    return problem.with_traceback(None) if is_ours else problem


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def way_to(frames: TracebackType | None) -> str:
    """Return how cells, and what they called, led to redtask; "" without cells."""
    found = ""
    for frame, number in traceback.walk_tb(frames):
        file = frame.f_code.co_filename
        if _package(frame) in _OURS or not (found or _cell(file)):
            continue
        name = frame.f_code.co_name
        rest = "" if name == "<module>" else f", in {name}"
        found += _frame(file, number, rest, linecache.getline(file, number).strip())
    return found
