"""What tasks have started, and what remains of it when their worker is killed.

A supervisor kills the process group of a dead engine. If it dies itself, the kernel
kills its engines, but not what they have started: the next worker does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Final

from redtask import process

#: The variable by which programs started by a task know their supervisor, its start
#: time, and their engine.
_MARK: Final = "REDTASK_ENGINE_PROCESS"
_MARKED: Final = re.compile(rb"(?:^|\0)%b=(\d+) (\d+) (\d+)\0" % _MARK.encode())
#: The name of engines, and of processes that they fork.
_NAME: Final = "redtask-"
_NAMED: Final = re.compile(rb"%b\d+" % _NAME.encode())


def mark(supervisor: int, number: int) -> None:
    """Mark this process, an engine, and what its tasks will start."""
    process.set_name(f"{_NAME}{number}")
    born = process.birth(supervisor)
    os.environ[_MARK] = f"{supervisor} {born} {os.getpid()}"


def end_remains() -> int:
    """Kill what is left of engines whose supervisors are dead; return how many.

    What is in a session of its own is left alone, as it is when an engine ends.
    """
    ended = 0
    for group in _groups():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
            ended += 1
    return ended


def _groups() -> set[int]:
    """Return the process groups of dead engines that are not empty."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        # It may be gone meanwhile, or be another user's.
        with contextlib.suppress(OSError):
            head, _, rest = (folder / "stat").read_bytes().rpartition(b")")
            state, _, group, session, *_ = rest.split()
            if group == session and group != b"0" and state not in {b"Z", b"X"}:
                named = _NAMED.fullmatch(head.partition(b"(")[2]) is not None
                if _is_left(folder, int(group), named=named):
                    found.add(int(group))
    return found


def _is_left(folder: Path, group: int, *, named: bool) -> bool:
    """Is a process of this group what a dead engine has left?"""
    if named and int(folder.name) != group:
        # Living supervisors do the same.
        return process.birth(group) is None and not process.is_hidden(group)
    marked = _MARKED.search((folder / "environ").read_bytes())
    if marked is None or int(marked[3]) != group:
        return False
    supervisor = int(marked[1])
    dead = process.birth(supervisor) != marked[2].decode()
    return dead and not process.is_hidden(supervisor)


__all__ = ["end_remains", "mark"]
