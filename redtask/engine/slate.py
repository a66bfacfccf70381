"""The slate: a task's live output and progress, for its supervisor.

Memory that an engine shares with its supervisor, beside the block. It has a ring buffer
with the latest output of each stream, and the progress that the task reports. The
engine writes without an interprocess lock and never blocks; the supervisor reads at any
time, detects what was overwritten meanwhile, and can still read when the engine is
dead. A task that prints nothing never touches it.
"""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.hub.records import Work

#: The streams, by number.
STREAMS: Final = ("stdout", "stderr")
#: Size of each ring buffer, in bytes.
RING: Final = 32 * 1024
#: Maximum length of a progress report, in bytes.
PROGRESS: Final = 64

# The fields, 64 bits each. Written by the engine:
_TURN: Final = 0  # odd while it switches to another task
_NAME_SIZE: Final = 1
_PROGRESS_TURN: Final = 2  # odd while it is being written
_PROGRESS_SIZE: Final = 3
# ... and for each stream, in bytes since the slate was created:
_FROM: Final = (4, 7)  # start of the task's output
_CLAIMED: Final = (5, 8)  # end of what may be being written
_END: Final = (6, 9)  # end of what is written
# Written by both:
_TOLD: Final = 10  # the engine has announced something new
# Written by the supervisor:
_HEARD: Final = 11  # somebody listens to output
_FIELDS: Final = 16

_NAME: Final = 8 * _FIELDS
_NAME_BYTES: Final = 256
_PROGRESS: Final = _NAME + _NAME_BYTES
_RINGS: Final = 512
_SIZE: Final = _RINGS + RING * len(STREAMS)


class Piece(NamedTuple):
    """The part of a stream that is available from some position on."""

    #: Its offset, in bytes of the task's output; after the requested one if some was
    #: overwritten.
    at: int
    #: What was printed.
    data: bytes


class Slate:
    """One engine's slate."""

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._text = memoryview(self._memory)
        self._fields = self._text[: 8 * _FIELDS].cast("Q")
        #: Notifies the supervisor of new output.
        self.tell = tell
        # A task's threads may print, and so may signal handlers in the middle of that.
        self._lock = threading.RLock()
        self._task: Work | None = None

    # -- the engine

    def _turn_to(self, work: Work) -> None:
        """Switch to another task."""
        fields = self._fields
        # Not += 1, because an earlier call may have been interrupted in here.
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
        """Write a task's output; only the last ``RING`` bytes are kept."""
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
        """Write a task's progress."""
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
        """Say whether anybody listens to the output of tasks."""
        self._fields[_HEARD] = heard

    def take_told(self) -> bool:
        """Return whether there is anything new since the last call."""
        told = self._fields[_TOLD] != 0
        self._fields[_TOLD] = 0
        return told

    def task(self, *, dead: bool = False) -> tuple[str, str] | None:
        """Return id and token of the latest task that wrote; None if unavailable now.

        ``dead``: the engine is dead, so that no write will be completed.
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
        """Return the task's progress; "" if there is none, or it is unavailable now."""
        fields = self._fields
        turn = fields[_PROGRESS_TURN]
        size = min(PROGRESS, fields[_PROGRESS_SIZE])
        data = bytes(self._text[_PROGRESS : _PROGRESS + size])
        if turn % 2 or fields[_PROGRESS_TURN] != turn:
            return ""
        return data.decode("utf-8", "replace")

    def read(self, stream: int, at: int = 0, most: int = RING) -> Piece:
        """Return output from offset ``at`` on, at most the last ``most`` bytes."""
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
        # Some of it may have been overwritten while it was read.
        lost = max(0, fields[_CLAIMED[stream]] - RING - start)
        return Piece(start + lost - begins, data[lost:])


__all__ = ["PROGRESS", "RING", "STREAMS", "Piece", "Slate"]
