"""Limits on memory, lifetime and idle time of engines and their worker.

Checked once a second, and only if any is set.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redtask.engine.block import IDLE
from redtask.error import RedtaskError
from redtask.hub import calls
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.engine.seat import Seat
    from redtask.store import Store

#: How often to check, in seconds.
_LOOK: Final = 1.0
#: ... for a worker in burst mode.
_LOOK_BURST: Final = 0.2
#: How many checks in a row must find nothing to do.
_NOTHING: Final = 2
_NEVER: Final = float("inf")
#: What a process has for itself, in KiB, as the kernel tells it.
_PRIVATE: Final = re.compile(rb"^Private_(?:Clean|Dirty):\s*(\d+)", re.MULTILINE)

_log = logging.getLogger("redtask.worker")


@dataclass(frozen=True, slots=True)
class Limits:
    """When engines and their worker end; 0 means never, but for ``drain``."""

    #: An engine that uses more memory is replaced, in bytes.
    memory: int = 0
    #: An engine is replaced after this many seconds, ...
    lifetime: float = 0.0
    #: ... give or take up to this many, so that not all are at once.
    jitter: float = 0.0
    #: The worker stops after no engine has run anything for this many seconds.
    idle: float = 0.0
    #: The worker stops as soon as its queues are empty.
    burst: bool = False
    #: Seconds that running tasks have to finish when the worker stops; None: no limit.
    drain: float | None = None

    @property
    def any(self) -> bool:
        """Is there anything to check?"""
        return bool(self.memory or self.lifetime or self.idle or self.burst)


class Terms:
    """Enforces the limits of one worker."""

    def __init__(
        self,
        limits: Limits,
        store: Store,
        queues: Sequence[str],
        seats: Sequence[Seat],
        stop: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._store = store
        self._queues = set(queues)
        self._seats = seats
        self._stop = stop
        self._at = time.monotonic() if limits.any else _NEVER
        #: When each engine must end, by seat and start time.
        self._ends: dict[tuple[int, float], float] = {}
        #: What the engines had done at the last check, and since when.
        self._done: list[tuple[int, str | None]] = []
        self._idle_since = time.monotonic()
        #: How many checks in a row found nothing to do.
        self._nothing = 0
        #: What was left in the hub then.
        self._left = ""
        self._stopping = False

    @property
    def due(self) -> float:
        """When to look next, s of the monotonic clock."""
        return _NEVER if self._stopping else self._at

    def look(self) -> None:
        """Check all limits, and end what exceeds them."""
        limits = self._limits
        self._at = time.monotonic() + (_LOOK_BURST if limits.burst else _LOOK)
        for seat in self._seats:
            if seat.pid and not seat.to_drain and not seat.block.draining:
                why = self._is_over(seat)
                if why:
                    _log.info("%s is replaced: %s", seat.called, why)
                    seat.to_drain = True
        if limits.idle and self._idle_for() >= limits.idle:
            self._end(f"nothing to do for {limits.idle:g} s")
        elif limits.burst and self._is_nothing_left():
            self._end(self._left)

    def _end(self, why: str) -> None:
        self._stopping = True
        self._stop(why)

    def _is_over(self, seat: Seat) -> str:
        """Return why an engine must be replaced; "" if it need not."""
        limits = self._limits
        most = limits.memory
        if most and (used := memory_of(seat.pid, most)) > most:
            return f"it takes {used >> 20} MiB"
        if limits.lifetime:
            key = seat.number, seat.born
            if key not in self._ends:
                spread = random.uniform(-limits.jitter, limits.jitter)  # noqa: S311
                self._ends = {
                    one: end for one, end in self._ends.items() if one[0] != key[0]
                }
                self._ends[key] = seat.born + max(0.0, limits.lifetime + spread)
            if time.monotonic() >= self._ends[key]:
                return f"its lifetime of {limits.lifetime:g} s is over"
        return ""

    def _idle_for(self) -> float:
        """Return for how long no engine has run anything, in seconds."""
        done = []
        for seat in self._seats:
            picture = seat.block.look() if seat.pid else None
            running = picture.running if picture else None
            done.append((seat.block.ended, running))
        if done != self._done or any(running for _, running in done):
            self._done, self._idle_since = done, time.monotonic()
        return time.monotonic() - self._idle_since

    def _is_nothing_left(self) -> bool:
        """Are all engines idle, and their queues empty?"""
        waiting = all(
            seat.block.registered
            and (picture := seat.block.look()) is not None
            and picture.state == IDLE
            for seat in self._seats
            if seat.pid
        )
        self._nothing = self._nothing + 1 if waiting and self._are_empty() else 0
        return self._nothing >= _NOTHING

    def _are_empty(self) -> bool:
        try:
            status = self._store.do(calls.status(0))
        except RedtaskError:
            return False
        ours = [queue for queue in status.queues if queue.name in self._queues]
        self._left = _told(
            status.states.get("waiting", 0),
            sum(queue.ready for queue in ours if queue.paused),
        )
        return not any(queue.ready and not queue.paused for queue in ours)


def _told(waiting: int, paused: int) -> str:
    """Say what is left in the hub when the queues are empty."""
    parts = []
    if waiting:
        wait = "waits for its" if waiting == 1 else "wait for their"
        tasks = count(waiting, "task")
        parts.append(f"{tasks} of the hub that {wait} time or for others")
    if paused:
        parts.append(f"{count(paused, 'task')} in paused queues")
    if not parts:
        return "nothing is left to do"
    return f"the queues are empty (left: {', and '.join(parts)})"


def memory_of(pid: int, most: int = 0) -> int:
    """Return the private memory of a process in bytes; 0 if it is gone.

    Memory still shared with its supervisor since the fork does not count, which takes
    the kernel some ms for each GiB to find out. So what takes at most ``most`` without
    a look at that is told as it is.
    """
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return 0
    # 4 KiB each as a rule, and up to 64 on ARM.
    used = (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    return used if used <= most else min(used, _unshared(pid, used))


def _unshared(pid: int, otherwise: int) -> int:
    """Return how much memory no other process has; ``otherwise`` if nobody says."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return otherwise
    return sum(int(one) for one in _PRIVATE.findall(text)) << 10


__all__ = ["Limits", "Terms", "memory_of"]
