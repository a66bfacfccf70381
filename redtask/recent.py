"""What Redis may forget although it acknowledged it. No I/O here.

A Redis that syncs its log every second loses, when it is killed, what it acknowledged
in the last moments. A client that survives still has the slices it submitted then,
and submits them again: that is safe at any time, because tasks are known by the ids
the client gave them.
"""

from __future__ import annotations

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

#: A server that has lived on for so many seconds has its log on disk: it syncs each
#: second, and at the latest after two.
WINDOW: Final = 3.0
#: No more is kept, in bytes of arguments; the oldest is dropped first.
MOST_BYTES: Final = 64 << 20
#: What was submitted longer than this before the loss was noticed is not submitted
#: again, in seconds: its tasks may have ended and their records expired since.
OLDEST: Final = 60.0


class Contact:
    """What a store learns of its server by talking to it."""

    __slots__ = ("epoch", "heard", "lost", "opened", "server")

    def __init__(self) -> None:
        #: Id of the server's process; "" when it is not known.
        self.server = ""
        #: How many connections have been opened.
        self.opened = 0
        #: How often the server was heard and then lost.
        self.epoch = 0
        #: When the latest reply came, ``time.monotonic()``.
        self.heard = 0.0
        #: When it was last lost.
        self.lost = 0.0

    def opens(self) -> None:
        """Note a new connection."""
        self.opened += 1

    def hears(self) -> None:
        """Note a reply."""
        self.heard = time.monotonic()

    @property
    def away_since(self) -> float:
        """When the server was lost; infinite when it was heard since."""
        return self.lost if self.lost > self.heard else math.inf

    def loses(self) -> None:
        """Note a lost connection. Many lost at once are one loss."""
        if self.heard > self.lost:
            self.epoch += 1
            self.lost = time.monotonic()


@dataclass(slots=True, eq=False)
class Slice:
    """One slice that was submitted, or what was said of its tasks."""

    #: Its groups, with their functions; or the call.
    piece: Sequence[Group] | Call[Any]
    #: Bytes of arguments.
    size: int
    #: When, ``time.monotonic()``.
    at: float
    #: How many connections there had been before.
    opened: int
    #: The gate that its tasks stand behind; "": none.
    gate: str
    #: When in the order in which slices were submitted, and submitted again.
    turn: int

    def holds(self, task_id: str) -> bool:
        """Is this task in the slice?"""
        if isinstance(self.piece, Call):
            return False
        return any(task_id in group.tasks[::2] for group in self.piece)


def _is_short_lived(piece: Sequence[Group] | Call[Any]) -> bool:
    """May the records be gone so soon that "unknown" does not mean "forgotten"?"""
    if isinstance(piece, Call):
        return False
    return any(
        "ttl" in group.flags and int(group.flags["ttl"]) < OLDEST * 1000
        for group in piece
    )


def _size_of(piece: Sequence[Group] | Call[Any]) -> int:
    if isinstance(piece, Call):
        return sum(len(str(one)) for one in piece.args)
    return sum(sum(map(len, group.tasks[1::2])) for group in piece)


def _nowhere(task_id: str) -> bool:  # noqa: ARG001 - as a rule
    return False


class Recent:
    """The slices of one client that a restarted Redis may not know any more.

    ``lock`` keeps threads that submit apart.
    """

    def __init__(
        self, contact: Contact, lock: AbstractContextManager[Any] | None = None
    ) -> None:
        self._contact = contact
        self._lock = lock or nullcontext()
        self._epoch = contact.epoch
        self._slices: deque[Slice] = deque()
        #: Those that somebody is submitting again.
        self._saying: set[Slice] = set()
        #: How often something was submitted, or submitted again.
        self.turn = 0
        self._bytes = 0
        #: Is another process to submit this task, so that nobody knows it yet?
        self.elsewhere: Callable[[str], bool] = _nowhere

    def __len__(self) -> int:
        return len(self._slices)

    def opened(self) -> int:
        """Return what ``add`` wants to know from before the submit."""
        return self._contact.opened

    def add(
        self, piece: Sequence[Group] | Call[Any], opened: int, gate: str = ""
    ) -> None:
        """Keep a slice whose submit returned, or a call that was made for one."""
        self.prune()
        if _is_short_lived(piece):
            return
        size = _size_of(piece)
        with self._lock:
            self.turn += 1
            now = time.monotonic()
            self._slices.append(Slice(piece, size, now, opened, gate, self.turn))
            self._bytes += size
            while self._bytes > MOST_BYTES:
                self._drop()

    def _drop(self) -> None:
        self._bytes -= self._slices.popleft().size

    def prune(self) -> None:
        """Drop what is surely on disk; nothing while a loss is to be made good."""
        safe = self._contact.heard - WINDOW
        slices = self._slices
        if not slices or slices[0].at >= safe or self.is_due or self._saying:
            return
        with self._lock:
            while self._slices and self._slices[0].at < safe:
                self._drop()

    @property
    def is_due(self) -> bool:
        """Was the server lost since the slices were submitted?"""
        return self._contact.epoch != self._epoch

    @property
    def server(self) -> str:
        """Id of the process that the slices were told to; "" when not known."""
        return self._contact.server

    @server.setter
    def server(self, server: str) -> None:
        self._contact.server = server

    def take_due(self) -> list[Slice] | None:
        """Return what is to be submitted again; None: another sees to it, or nobody.

        However many ask at the same time, one of them is told, once per loss.
        """
        with self._lock:
            if not self.is_due:
                return None
            self._epoch = self._contact.epoch
        since = self._contact.lost - OLDEST
        return [one for one in list(self._slices) if one.at >= since]

    @contextmanager
    def saying(self, slices: Iterable[Slice]) -> Iterator[None]:
        """Let others know meanwhile that slices are being submitted again."""
        mine = set(slices)
        with self._lock:
            self._saying |= mine
        try:
            yield
        finally:
            with self._lock:
                self._saying -= mine

    def put_back(self) -> None:
        """What is due could not be submitted: it still is."""
        self._epoch = -1

    def renew(self, one: Slice) -> None:
        """A slice was submitted again just now."""
        with self._lock:
            self.turn += 1
            one.turn = self.turn
        one.at, one.opened = time.monotonic(), self._contact.opened

    def was_said_since(self, turn: int, task_id: str) -> bool:
        """Was a task submitted, or submitted again, since then, or will it be?"""
        if self.elsewhere(task_id):
            return True
        with self._lock:
            known = [*self._saying, *(one for one in self._slices if one.turn > turn)]
        return any(one.holds(task_id) for one in known)

    def find(self, task_id: str) -> list[Slice]:
        """Return the slice of a task that the server may have forgotten.

        Behind a gate all that was said of it belongs together. [] when the server
        cannot have been another process since: it has been heard for long enough, or
        no connection is younger than the slice.
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
