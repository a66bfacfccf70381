"""Submits that Redis may lose although it acknowledged them. No I/O here.

A Redis that syncs its log every second loses the last moments of what it acknowledged
when it is killed. A client that survives still has the slices it submitted then, and
submits them again: that is always safe, because the client chooses the tasks' ids.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redtask.hub.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from redtask.hub.calls import Group

_log = logging.getLogger("redtask")

#: A server that is still alive after this many seconds has its log on disk: it syncs
#: every second, and after two at the latest.
WINDOW: Final = 3.0
#: The most that is kept, in bytes of arguments; the oldest is dropped first.
MOST_BYTES: Final = 64 << 20
#: Slices submitted longer than this before the loss was noticed are not submitted
#: again, in seconds: their tasks may have ended and their records expired since.
OLDEST: Final = 60.0


class Contact:
    """What a store knows of its server from talking to it."""

    __slots__ = (
        "epoch",
        "heard",
        "lost",
        "opened",
        "server",
        "silent",
        "told",
        "waiting",
    )

    def __init__(self) -> None:
        #: Id of the server's process; "" if unknown.
        self.server = ""
        #: The number of connections opened so far.
        self.opened = 0
        #: How often the server was lost after it had been heard.
        self.epoch = 0
        #: When the latest reply arrived, ``time.monotonic()``.
        self.heard = 0.0
        #: When it was last lost, ``time.monotonic()``.
        self.lost = 0.0
        #: When it last fell silent, ``time.monotonic()``.
        self.silent = 0.0
        #: When it was logged that the server is away, ``time.monotonic()``; 0: it is
        #: not; None: others log that.
        self.told: float | None = None
        #: Calls that wait for the server. Threads add and discard: both are atomic.
        self.waiting: set[object] = set()

    def opens(self) -> None:
        """Note a new connection."""
        self.opened += 1

    def hears(self) -> None:
        """Note a reply."""
        self.heard = time.monotonic()
        # An error may be a reply as well: of one that has become a replica, say.
        if self.told and not self.waiting:
            _log.info("Redis is back after %.1f s", self.heard - self.told)
            self.told = 0.0

    @property
    def away_since(self) -> float:
        """When the server was lost; infinite if it has been heard since."""
        return self.lost if self.lost > self.heard else math.inf

    def falls_silent(self) -> bool:
        """Note that a reply did not come in time; return whether that is new."""
        if self.heard < self.silent:
            return False
        self.silent = time.monotonic()
        return True

    def loses(self) -> None:
        """Note a lost connection. Several lost at once count as one loss."""
        if self.heard > self.lost:
            self.epoch += 1
            self.lost = time.monotonic()

    def finds(self, call: object) -> None:
        """Note that a call that waited for the server has its reply."""
        self.waiting.discard(call)
        self.hears()

    def waits(self, call: object, problem: Exception) -> None:
        """Note that a call waits for the server; log the first one."""
        self.waiting.add(call)
        if self.told == 0:
            self.told = time.monotonic()
            _log.warning("%s; trying on", str(problem).rstrip("."))


@dataclass(slots=True, eq=False)
class Slice:
    """A submitted slice, or a call that adds to its tasks."""

    #: Its groups, with their functions; or the call.
    piece: Sequence[Group] | Call[Any]
    #: Bytes of arguments.
    size: int
    #: When it was submitted, ``time.monotonic()``.
    at: float
    #: How many connections had been opened before.
    opened: int
    #: The gate in front of its tasks; "": none.
    gate: str
    #: Its position in the order of submits and resubmits.
    turn: int

    def holds(self, task_id: str) -> bool:
        """Is this task in the slice?"""
        if isinstance(self.piece, Call):
            return False
        return any(task_id in group.tasks[::2] for group in self.piece)


def _size_of(piece: Sequence[Group] | Call[Any]) -> int | None:
    """Return the bytes of a slice's arguments.

    None if records may expire so soon that an unknown task need not have been lost.
    """
    if isinstance(piece, Call):
        return sum(len(str(one)) for one in piece.args)
    size = 0
    for group in piece:
        if "ttl" in group.flags and int(group.flags["ttl"]) < OLDEST * 1000:
            return None
        size += sum(map(len, group.tasks[1::2]))
    return size


def _nowhere(task_id: str) -> bool:  # noqa: ARG001 - as a rule
    return False


class Recent:
    """The slices of one client that a restarted Redis may have lost.

    ``lock`` serialises threads that submit.
    """

    def __init__(
        self, contact: Contact, lock: AbstractContextManager[Any] | None = None
    ) -> None:
        self._contact = contact
        self._lock = lock or nullcontext()
        self._epoch = contact.epoch
        self._slices: deque[Slice] = deque()
        #: Slices that are being submitted again.
        self._saying: set[Slice] = set()
        #: The number of submits and resubmits.
        self.turn = 0
        self._bytes = 0
        #: Will another process submit this task, so that it is not yet known?
        self.elsewhere: Callable[[str], bool] = _nowhere

    def __len__(self) -> int:
        return len(self._slices)

    def opened(self) -> int:
        """Return what to pass to ``add``; call it before the submit."""
        return self._contact.opened

    def add(
        self, piece: Sequence[Group] | Call[Any], opened: int, gate: str = ""
    ) -> None:
        """Record a slice whose submit returned, or a call made for one."""
        self.prune()
        size = _size_of(piece)
        if size is None:
            return
        with self._lock:
            self.turn += 1
            now = time.monotonic()
            self._slices.append(Slice(piece, size, now, opened, gate, self.turn))
            self._bytes += size
            while self._bytes > MOST_BYTES:
                self._drop()

    def _drop(self) -> None:
        # In two steps: a signal handler may add some in between.
        dropped = self._slices.popleft()
        self._bytes -= dropped.size

    def prune(self) -> None:
        """Drop what is surely on disk; nothing while a loss is to be repaired."""
        safe = self._contact.heard - WINDOW
        slices = self._slices
        if not slices or slices[0].at >= safe or self.is_due or self._saying:
            return
        with self._lock:
            while self._slices and self._slices[0].at < safe:
                self._drop()

    @property
    def is_due(self) -> bool:
        """Has the server been lost since the slices were submitted?"""
        return self._contact.epoch != self._epoch

    @property
    def server(self) -> str:
        """Id of the server process that got the slices; "" if unknown."""
        return self._contact.server

    @server.setter
    def server(self, server: str) -> None:
        self._contact.server = server

    def take_due(self) -> list[Slice] | None:
        """Return the slices to submit again; None: others do, or none are due.

        Of concurrent callers, one gets them, once per loss.
        """
        with self._lock:
            if not self.is_due:
                return None
            self._epoch = self._contact.epoch
        since = self._contact.lost - OLDEST
        return [one for one in list(self._slices) if one.at >= since]

    @contextmanager
    def saying(self, slices: Iterable[Slice]) -> Iterator[None]:
        """Mark slices as being submitted again, for the duration of the block."""
        mine = set(slices)
        with self._lock:
            self._saying |= mine
        try:
            yield
        finally:
            with self._lock:
                self._saying -= mine

    def put_back(self) -> None:
        """Note that the due slices could not be submitted, and are still due."""
        self._epoch = -1

    def renew(self, one: Slice) -> None:
        """Note that a slice has just been submitted again."""
        with self._lock:
            self.turn += 1
            one.turn = self.turn
        one.at, one.opened = time.monotonic(), self._contact.opened

    def was_said_since(self, turn: int, task_id: str) -> bool:
        """Was a task submitted, or resubmitted, after this turn, or will it be?"""
        if self.elsewhere(task_id):
            return True
        with self._lock:
            known = [*self._saying, *(one for one in self._slices if one.turn > turn)]
        return any(one.holds(task_id) for one in known)

    def find(self, task_id: str) -> list[Slice]:
        """Return the slice of a task that the server may have lost.

        Behind a gate, with all slices and calls of that gate. [] if the server cannot
        have been restarted since: it has been heard for long enough, or no connection
        is younger than the slice.
        """
        self.prune()
        since = self._contact.lost - OLDEST
        known = list(self._slices)
        for one in reversed(known):
            doubtful = one.opened != self._contact.opened and one.at >= since
            if doubtful and one.holds(task_id):
                if one.gate:
                    return [other for other in known if other.gate == one.gate]
                return [one]
        return []
