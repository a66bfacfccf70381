"""Stack traces of engines, written by Python's faulthandler.

It does so in C upon a signal, whatever holds the interpreter, into memory that the
engine shares with its supervisor.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import logging
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redtask.engine.seat import Seat

_log = logging.getLogger("redtask.worker")

#: The signal, which tasks do not use.
SIGNAL: Final = signal.SIGRTMIN + 6
#: Maximum size of a stack trace, in bytes.
_LONGEST: Final = 32 * 1024
#: How often to check whether the engines have answered, and for how long, in seconds.
_LOOK: Final = 0.03
_PATIENCE: Final = 1.0
#: High enough not to clash with descriptors that tasks open.
_HIGH: Final = 65_000
#: How many calls of a task's own code are told.
_MOST_LINES: Final = 50
#: How lines of our code below that of a task begin, and of what calls its function.
_HERE: Final = Path(__file__).parent
_OURS: Final = tuple(
    f'  File "{_HERE / name}"' for name in ("task.py", "coroutines.py")
)
_CALLS: Final = f'  File "{_HERE.parent / "payload.py"}"'


def listen(sheet: int) -> None:
    """Write this engine's stacks to ``sheet`` on every signal.

    A task may close the descriptor; its high number keeps it from being reused for
    another file.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(sheet, fcntl.F_DUPFD_CLOEXEC, min(most, _HIGH) - 16)
    os.close(sheet)
    faulthandler.register(SIGNAL, file=high, all_threads=True, chain=False)


@dataclass(slots=True)
class _Asked:
    """A pending request for the stacks of engines."""

    #: The seats, and what they were doing.
    seats: list[tuple[Seat, dict[str, Any]]]
    until: float
    tell: Callable[[dict[str, dict[str, Any]]], None]
    #: Total size at the last look.
    size: int = -1


class Stacks:
    """Requests stacks from engines, and waits for them without blocking."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []
        self._at = float("inf")

    @property
    def due(self) -> float:
        """When to look, s of the monotonic clock."""
        return self._at

    def ask(
        self,
        seats: Sequence[Seat],
        tell: Callable[[dict[str, dict[str, Any]]], None],
    ) -> None:
        """Request the stacks of engines; ``tell`` gets them by uuid."""
        now = time.monotonic()
        asked = _Asked([], now + _PATIENCE, tell)
        for seat in seats:
            if seat.pid and seat.sheet >= 0:
                asked.seats.append((seat, about(seat)))
                request(seat)
        self._asked.append(asked)
        self._at = now + _LOOK

    def look(self) -> None:
        """Deliver what is complete."""
        now = time.monotonic()
        for asked in list(self._asked):
            sizes = [
                os.fstat(seat.sheet).st_size for seat, _ in asked.seats if seat.pid
            ]
            # Complete means that nothing was added since the last look.
            if (0 in sizes or sum(sizes) != asked.size) and now < asked.until:
                asked.size = sum(sizes)
                continue
            self._asked.remove(asked)
            asked.tell(
                {seat.block.uuid: found | _read(seat) for seat, found in asked.seats}
            )
        self._at = now + _LOOK if self._asked else float("inf")


def request(seat: Seat) -> None:
    """Have an engine write its stacks."""
    os.ftruncate(seat.sheet, 0)
    os.lseek(seat.sheet, 0, os.SEEK_SET)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(seat.pidfd, SIGNAL)


def stack_of_task(seat: Seat) -> str:
    """Return what was written of the task's own code, most recent call first."""
    if seat.sheet < 0:
        return ""
    told = os.pread(seat.sheet, _LONGEST, 0).decode("utf-8", "replace")
    # The engine has one thread of its own, which is in the task.
    _, _, stack = told.rpartition("Current thread ")
    lines: list[str] = []
    for line in stack.splitlines(keepends=True)[1:]:
        if not line.startswith("  File ") or line.startswith(_OURS):
            break
        lines.append(line)
    while lines and lines[-1].startswith(_CALLS):
        lines.pop()
    return "".join(lines[:_MOST_LINES])


def about(seat: Seat) -> dict[str, Any]:
    """Return what an engine is doing: its label, the running task, and for how long."""
    picture = seat.block.look()
    if picture is None:
        return {"engine": None, "pid": seat.pid, "task": None, "for": None}
    runs = picture.since > 0
    return {
        "engine": picture.engine_id,
        "pid": seat.pid,
        "task": picture.running if runs else None,
        "for": (time.monotonic_ns() - picture.since) / 1e9 if runs else None,
    }


def _read(seat: Seat) -> dict[str, Any]:
    if not seat.pid:
        return {"stack": None}
    text = os.pread(seat.sheet, _LONGEST, 0).decode("utf-8", "replace")
    return {"stack": text or None}


def log_stacks(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Log the stacks of engines."""
    for told in found.values():
        task = told["task"]
        what = "runs no task" if task is None else f"task {task}, {told['for']:.1f} s"
        _log.info(
            "engine %s: %s\n%s", told["engine"], what, told["stack"] or "no answer"
        )


__all__ = [
    "SIGNAL",
    "Stacks",
    "about",
    "listen",
    "log_stacks",
    "request",
    "stack_of_task",
]
