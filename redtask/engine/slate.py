"""The slate: where a task writes what it says while it runs, for its supervisor.

Memory that an engine shares with its supervisor, beside the block. Of each stream it
holds the end of what the task printed so far, in a ring, and besides how far the task
says it is. The engine writes without a lock between the processes and without waiting;
the supervisor reads when it likes, sees what was overwritten meanwhile, and can still
read when the engine is dead. A task that prints nothing never touches it.
"""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.hub.records import Work

#: The streams, by their numbers.
STREAMS: Final = ("stdout", "stderr")
#: So much of the end of each stream is there, in bytes.
RING: Final = 32 * 1024
#: The longest that a record can say of its progress, in bytes.
PROGRESS: Final = 64

# The fields, in 64 bits each. Of the engine:
_TURN: Final = 0  # odd while it turns to another task
_NAME_SIZE: Final = 1
_PROGRESS_TURN: Final = 2  # odd while it is being written
_PROGRESS_SIZE: Final = 3
# ... and of each stream, in bytes since the slate was made:
_FROM: Final = (4, 7)  # where the task's begins
_CLAIMED: Final = (5, 8)  # up to where may be written
_END: Final = (6, 9)  # up to where it was
# Of both:
_TOLD: Final = 10  # the engine has told that there is something new
# Of the supervisor:
_HEARD: Final = 11  # somebody wants to hear what tasks print
_FIELDS: Final = 16

_NAME: Final = 8 * _FIELDS
_NAME_BYTES: Final = 256
_PROGRESS: Final = _NAME + _NAME_BYTES
_RINGS: Final = 512
_SIZE: Final = _RINGS + RING * len(STREAMS)


class Piece(NamedTuple):
    """What there is of a stream from some position on."""

    #: Where it begins, in bytes of what the task printed; later than was asked for if
    #: some was overwritten.
    at: int
    #: What was printed.
    data: bytes


class Slate:
    """One engine's slate."""

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._text = memoryview(self._memory)
        self._fields = self._text[: 8 * _FIELDS].cast("Q")
        #: Tells the supervisor that there is something new.
        self.tell = tell
        # Threads of a task may print, and what a signal calls in the midst of that.
        self._lock = threading.RLock()
        self._task: Work | None = None

    # -- the engine

    def _turn_to(self, work: Work) -> None:
        """Begin with what another task says."""
        fields = self._fields
        # In two steps, as it may have been interrupted in here.
        fields[_TURN] |= 1
        name = f"{work.task_id}\n{work.token}".encode()[:_NAME_BYTES]
        self._text[_NAME : _NAME + len(name)] = name
        fields[_NAME_SIZE] = len(name)
        fields[_PROGRESS_SIZE] = 0
        for begins, ends in zip(_FROM, _END, strict=True):
            fields[begins] = fields[ends]
        fields[_TURN] += 1
        self._task = work

    def write(self, stream: int, text: str, work: Work) -> None:
        """A task prints. Of more than a ring holds only the end is looked at."""
        skipped = 0
        if len(text) > RING:
            head, text = text[:-RING], text[-RING:]
            skipped = len(head.encode("utf-8", "backslashreplace"))
        data = text.encode("utf-8", "backslashreplace")
        fields = self._fields
        with self._lock:
            if work is not self._task:
                self._turn_to(work)
            end = fields[_END[stream]] + skipped
            after = end + len(data)
            if len(data) > RING:
                end = after - RING
                data = data[-RING:]
            fields[_CLAIMED[stream]] = after
            begins = _RINGS + stream * RING
            at = end % RING
            first = min(len(data), RING - at)
            self._text[begins + at : begins + at + first] = data[:first]
            if first < len(data):
                self._text[begins : begins + len(data) - first] = data[first:]
            fields[_END[stream]] = after
        if fields[_HEARD] and not fields[_TOLD]:
            self._wake()

    def progress(self, text: str, work: Work) -> None:
        """A task says how far it is."""
        data = text.encode("utf-8", "replace")[:PROGRESS]
        data = data.decode("utf-8", "ignore").encode()
        fields = self._fields
        with self._lock:
            if work is not self._task:
                self._turn_to(work)
            fields[_PROGRESS_TURN] |= 1
            self._text[_PROGRESS : _PROGRESS + len(data)] = data
            fields[_PROGRESS_SIZE] = len(data)
            fields[_PROGRESS_TURN] += 1
        if not fields[_TOLD]:
            self._wake()

    def _wake(self) -> None:
        self._fields[_TOLD] = 1
        if self.tell is not None:
            self.tell()

    # -- the supervisor

    def listen(self, heard: bool) -> None:
        """Does anybody want to hear what tasks print?"""
        self._fields[_HEARD] = heard

    def take_told(self) -> bool:
        """Was there something new since the last look?"""
        told = self._fields[_TOLD] != 0
        self._fields[_TOLD] = 0
        return told

    def task(self, *, dead: bool = False) -> tuple[str, str] | None:
        """Return id and token of the task that said something last; None: not now.

        ``dead``: the engine will not go on with what it is about.
        """
        fields = self._fields
        turn = fields[_TURN]
        size = fields[_NAME_SIZE]
        name = bytes(self._text[_NAME : _NAME + size])
        if not size or (not dead and (turn % 2 or fields[_TURN] != turn)):
            return None
        task_id, _, token = name.decode("utf-8", "replace").partition("\n")
        return task_id, token

    def read_progress(self) -> str:
        """Return how far the task says it is; "": it did not say, or not now."""
        fields = self._fields
        turn = fields[_PROGRESS_TURN]
        size = min(PROGRESS, fields[_PROGRESS_SIZE])
        data = bytes(self._text[_PROGRESS : _PROGRESS + size])
        if turn % 2 or fields[_PROGRESS_TURN] != turn:
            return ""
        return data.decode("utf-8", "replace")

    def read(self, stream: int, at: int = 0, most: int = RING) -> Piece:
        """Return what it printed from a position on, at most the last of it."""
        fields = self._fields
        begins, end = fields[_FROM[stream]], fields[_END[stream]]
        start = max(begins + at, end - min(most, RING))
        if start >= end:
            return Piece(end - begins, b"")
        ring = _RINGS + stream * RING
        first = start % RING
        data = bytes(self._text[ring + first : ring + RING])[: end - start]
        if len(data) < end - start:
            data += bytes(self._text[ring : ring + end - start - len(data)])
        # While it was read some of it may have been overwritten.
        lost = max(0, fields[_CLAIMED[stream]] - RING - start)
        return Piece(start + lost - begins, data[lost:])


__all__ = ["PROGRESS", "RING", "STREAMS", "Piece", "Slate"]
