"""Capture of tasks' output: per task and bounded, not on the worker's terminal."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from collections import deque
from typing import IO, TYPE_CHECKING, Any, Final

from redtask.engine.slate import STREAMS

if TYPE_CHECKING:
    from redtask.engine.slate import Slate
    from redtask.hub.records import Work

#: How much of the beginning and of the end of each stream is kept, in characters and in
#: bytes: 1 MiB in all for two streams.
_HALF: Final = 256 * 1024


class Output:
    """Replaces ``sys.stdout`` and ``sys.stderr`` of an engine.

    While ``inside`` is set, output is captured; otherwise it goes to the real streams.
    """

    def __init__(
        self, stdout: IO[str], stderr: IO[str], slate: Slate | None = None
    ) -> None:
        #: Is a task running?
        self.inside = False
        #: Has one just ended, and is what it has left in other streams written?
        self.ending = False
        #: The current or latest task.
        self.work: Work | None = None
        #: Has it printed anything, or reported progress?
        self.printed = False
        #: Live copy of its output, for the supervisor.
        self.slate = slate
        self.stdout = Stream(self, stdout, STREAMS.index("stdout"))
        self.stderr = Stream(self, stderr, STREAMS.index("stderr"))
        self._progress = ""

    def install(self) -> None:
        """Set ``sys.stdout`` and ``sys.stderr``, again if a task changed them."""
        sys.stdout = self.stdout
        sys.stderr = self.stderr

    def restore(self) -> None:
        """Set them after a task, and capture what it has left in streams of its own.

        Whatever those raise is not the task's error any more.
        """
        self.ending = True
        for name in STREAMS:
            stream = getattr(sys, name, None)
            if stream is not self.stdout and stream is not self.stderr:
                with contextlib.suppress(BaseException):
                    stream.flush()  # type: ignore[union-attr]
        self.ending = False
        self.install()

    def current(self) -> Work | None:
        """Return the running task, if any."""
        return self.work if self.inside else None

    def progress(self, text: str, work: Work) -> None:
        """Record a task's progress."""
        self.printed = True
        self._progress = text
        if self.slate is not None:
            self.slate.progress(text, work)

    def collect(self) -> list[Any]:
        """Return and clear the captured output, as fields of a record."""
        self.printed = False
        fields: list[Any] = []
        if self._progress:
            fields += ("progress", self._progress)
            self._progress = ""
        for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text := stream.collect():
                fields += (name, text)
        return fields


class Stream(io.TextIOBase):
    """One stream, of which the beginning and the end are kept."""

    def __init__(self, output: Output, real: IO[str], number: int) -> None:
        self._output = output
        self._real = real
        self._number = number
        self._bytes = _Bytes(self)
        self._forget()

    def _forget(self) -> None:
        self._first: list[str] = []
        self._room = _HALF
        self._last: deque[str] = deque()
        self._last_size = 0
        self._left_out = 0

    # -- the interface of a text file

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Printing never fails."""
        return "backslashreplace"

    @property
    def name(self) -> str:
        """The real stream's name."""
        return str(getattr(self._real, "name", "<redtask>"))

    @property
    def mode(self) -> str:
        """For writing."""
        return "w"

    @property
    def line_buffering(self) -> bool:
        """Nothing waits for the end of a line."""
        return False

    @property
    def write_through(self) -> bool:
        """Nothing waits in a buffer."""
        return True

    def reconfigure(self, **_: object) -> None:
        """Accept what ``TextIOWrapper`` does; the text is captured as it is."""

    @property
    def buffer(self) -> io.RawIOBase:
        """The binary layer."""
        return self._bytes

    def detach(self) -> io.RawIOBase:  # type: ignore[override]
        """Return the binary layer, and stay usable: the next task needs the stream."""
        return self._bytes

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the real stream's descriptor; output to that is not captured."""
        return self._real.fileno()

    def flush(self) -> None:
        """Flush the real stream."""
        self._real.flush()

    def close(self) -> None:
        """Do nothing: the next task needs the stream."""

    def write(self, text: str) -> int:
        """Capture text, or pass it on if no task is running."""
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"write() argument must be str, not {kind}")
        if self._bytes.has_rest:
            # It came first.
            self._write(self._bytes.rest())
        return self._write(text)

    def _write(self, text: str) -> int:
        output = self._output
        if not (output.inside or output.ending):
            return self._real.write(text)
        size = len(text)
        # Also by bytes of which only half a character has come.
        output.printed = True
        if size:
            if output.slate is not None and output.work is not None:
                output.slate.write(self._number, text, output.work)
            room = self._room
            if size <= room:
                self._first.append(text)
                self._room = room - size
            else:
                self._keep_last(text, room)
        return size

    def _keep_last(self, text: str, room: int) -> None:
        if room:
            self._first.append(text[:room])
            self._room = 0
        rest = text[max(room, len(text) - _HALF) :]
        self._left_out += len(text) - room - len(rest)
        self._last.append(rest)
        self._last_size += len(rest)
        while self._last_size - len(self._last[0]) >= _HALF:
            gone = len(self._last.popleft())
            self._last_size -= gone
            self._left_out += gone

    def collect(self) -> bytes:
        """Return and clear what was kept, with a mark where something was dropped."""
        # Half a character must not become part of the next task's output.
        if rest := self._bytes.rest():
            (self._last or self._first).append(rest)
        first = "".join(self._first).encode("utf-8", "backslashreplace")
        if not self._last:
            if first:
                self._forget()
            return _cut(first, len(first) - 2 * _HALF)
        last = "".join(self._last).encode("utf-8", "backslashreplace")
        missing = self._left_out
        self._forget()
        if missing == 0 and len(first) + len(last) <= 2 * _HALF:
            return first + last
        mark = f"\n[... more than {missing} characters left out ...]\n".encode()
        return first[:_HALF] + mark + last[-_HALF:]


def _cut(text: bytes, excess: int) -> bytes:
    if excess <= 0:
        return text
    mark = f"\n[... {excess} bytes left out ...]\n".encode()
    return text[:_HALF] + mark + text[-_HALF:]


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``: decodes bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        #: Has only half a character come?
        self.has_rest = False

    @property
    def name(self) -> str:
        """The real stream's name."""
        return self._stream.name

    @property
    def mode(self) -> str:
        """For writing."""
        return "wb"

    def fileno(self) -> int:
        """Return the real stream's descriptor; output to that is not captured."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Do nothing: the next task needs it, and a wrapper closes it when it goes."""

    def write(self, data: Any) -> int:
        """Write bytes."""
        data = bytes(data)
        text, self.has_rest = self._decoder.decode(data), False
        self._stream.write(text)
        self.has_rest = self._decoder.getstate()[0] != b""
        return len(data)

    def rest(self) -> str:
        """Return and forget what is left of a character that is not whole."""
        self.has_rest = False
        return self._decoder.decode(b"", final=True)
