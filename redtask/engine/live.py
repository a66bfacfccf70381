"""Live progress and output of running tasks, passed on to the hub.

The supervisor does this, because the engine is busy with the task. It looks only after
an engine announced something new, and at most a few times a second. Progress is always
passed on; output only while somebody listens, who must renew that now and then. If the
hub cannot be reached it is sent later: it stays in the engine's slate until it is
overwritten.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from redtask.engine.slate import STREAMS
from redtask.error import RedtaskError
from redtask.hub import calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.engine.seat import Seat
    from redtask.store import Store

#: Delay after the first announcement, and between two looks, in seconds.
_SOON: Final = 0.02
_PAUSE: Final = 0.2
#: Delay while the hub cannot be reached, in seconds.
_AWAY: Final = 1.0
#: A listener expires after this, unless renewed, in seconds.
_LISTENS: Final = 40.0
#: Most tasks that are listened to, and most bytes of a stream in one look.
_MOST: Final = 1000
_PIECE: Final = 16 * 1024
_NEVER: Final = float("inf")
#: The heading of where a task was.
_WHERE: Final = "Where it was when it was ended, most recent call first:\n"

_log = logging.getLogger("redtask.worker")


@dataclass(slots=True)
class _Told:
    """What was passed on of one engine's task."""

    key: tuple[str, str]
    progress: str = ""
    #: Offset up to which each stream was passed on.
    at: list[int] = field(default_factory=lambda: [0] * len(STREAMS))


class Live:
    """Passes on what the tasks of one worker report and print."""

    def __init__(self, store: Store, seats: Sequence[Seat]) -> None:
        self._store = store
        self._seats = seats
        #: Attempts that somebody listens to, by id and token; until when.
        self._heard: dict[tuple[str, str], float] = {}
        self._told: dict[int, _Told] = {}
        self._at = _NEVER
        self._looked = 0.0
        #: Look at all engines, even if they announced nothing.
        self._anew = False

    @property
    def due(self) -> float:
        """When to look next, s of the monotonic clock."""
        return self._at

    def wake(self) -> None:
        """Schedule a look: an engine may have something new."""
        if self._at == _NEVER:
            self._at = max(time.monotonic() + _SOON, self._looked + _PAUSE)

    def listen(self, task_id: str, token: str) -> None:
        """Add or renew a listener to an attempt."""
        if len(self._heard) < _MOST or (task_id, token) in self._heard:
            if (task_id, token) not in self._heard:
                self._anew = True
                # A new listener starts from the beginning.
                self._forget((task_id, token))
            self._heard[task_id, token] = time.monotonic() + _LISTENS
        self._at = time.monotonic()

    def _forget(self, key: tuple[str, str]) -> None:
        for told in self._told.values():
            if told.key == key:
                told.progress, told.at = "", [0] * len(STREAMS)

    def look(self) -> None:
        """Pass on what is new."""
        now = time.monotonic()
        self._at, self._looked = _NEVER, now
        anew, self._anew = self._anew, False
        for key in [key for key, until in self._heard.items() if until < now]:
            del self._heard[key]
        said = []
        for seat in self._seats:
            seat.block.slate.listen(bool(self._heard))
            if (seat.block.slate.take_told() or anew) and seat.pid:
                said += self._new_of(seat)
        if said:
            self._tell(said)

    def _new_of(self, seat: Seat) -> list[tuple[_Told, calls.Said, list[int]]]:
        """Return what is new of an engine's task."""
        slate = seat.block.slate
        key = slate.task()
        if key is None:
            # It is just switching to another task.
            self._at = time.monotonic() + _PAUSE
            return []
        told = self._told.get(seat.number)
        if told is None or told.key != key:
            told = self._told[seat.number] = _Told(key)
        fields: list[Any] = []
        progress = slate.read_progress()
        if progress and progress != told.progress:
            fields += ("progress", progress)
        ends = list(told.at)
        if key in self._heard:
            for number, name in enumerate(STREAMS):
                piece = slate.read(number, told.at[number], _PIECE)
                ends[number] = piece.at + len(piece.data)
                if piece.data:
                    fields += (name, b"%d " % piece.at + piece.data)
        # If it has switched to another task meanwhile, this may be a mixture.
        if not fields or slate.task() != key:
            return []
        return [(told, (*key, fields), ends)]

    def _tell(self, said: Sequence[tuple[_Told, calls.Said, list[int]]]) -> None:
        try:
            heard = self._store.do(calls.say([one for _, one, _ in said]))
        except RedtaskError as problem:
            # The herald logs it if Redis is unreachable.
            _log.debug("what tasks say is not told: %s", problem)
            self._at, self._anew = time.monotonic() + _AWAY, True
            return
        for (told, (*_, fields), ends), counts in zip(said, heard, strict=True):
            if counts:
                told.at = ends
                if fields[0] == "progress":
                    told.progress = str(fields[1])
            else:
                self._heard.pop(told.key, None)


def last_words(seat: Seat, task_id: str) -> list[Any]:
    """Return the last output of a dead engine's task, for the beat that reports it.

    And where it was when it was killed. Id and token, then names and values; empty if
    there is none.
    """
    slate = seat.block.slate
    key = slate.task(dead=True)
    said: dict[str, Any] = {}
    if key is not None and key[0] == task_id:
        for number, name in enumerate(STREAMS):
            piece = slate.read(number)
            if piece.data:
                mark = b"[... %d bytes left out ...]\n" % piece.at if piece.at else b""
                said[name] = mark + piece.data
        if progress := slate.read_progress():
            said["progress"] = progress
    elif seat.stack:
        picture = seat.block.look()
        key = picture.attempt if picture else None
    if key is not None and seat.stack:
        said["stderr"] = _with_stack(said.get("stderr", b""), seat.stack)
    return [*key, *chain(*said.items())] if key is not None and said else []


def _with_stack(printed: bytes, stack: str) -> bytes:
    if printed and not printed.endswith(b"\n"):
        printed += b"\n"
    return printed + f"{_WHERE}{stack}".encode()


__all__ = ["Live", "last_words"]
