"""A reader of replies from a socket that copies large strings only once.

A parser first buffers what arrives, and then makes strings of it: twice the memory, and
twice the time. Here a large string is read to its final place. Only replies to plain
reads are supported: strings, numbers and lists of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from redtask.link import redis

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of a large string so much is copied twice.
_CHUNK: Final = 16384


class Socket(Protocol):
    """A socket to read from."""

    def recv_into(self, buffer: memoryview, nbytes: int = 0, /) -> int:
        """Read some bytes; 0 at the end of the stream."""


class Haul:
    """Reads the expected replies from a socket, and not a byte more.

    ``error`` makes an exception from the text of an error reply.
    """

    def __init__(self, socket: Socket, error: Callable[[str], Exception]) -> None:
        self._socket = socket
        self._error = error
        self._chunk = memoryview(bytearray(_CHUNK))
        #: Bounds of the unread part of the chunk.
        self._at = self._end = 0

    def _receive(self, into: memoryview) -> int:
        count = self._socket.recv_into(into)
        if count == 0:
            raise redis.ConnectionError("Redis closed the connection")
        return count

    def _more(self) -> None:
        """Read more of a line, appending to what is buffered."""
        rest = bytes(self._chunk[self._at : self._end])
        self._at, self._end = 0, len(rest)
        self._chunk[: len(rest)] = rest
        self._end += self._receive(self._chunk[self._end :])

    def _line(self) -> bytes:
        chunk: bytearray = self._chunk.obj  # type: ignore[assignment]
        while (found := chunk.find(b"\r\n", self._at, self._end)) < 0:
            self._more()
        line = bytes(chunk[self._at : found])
        self._at = found + 2
        return line

    def reply(self) -> Any:
        """Return the next reply; an error reply as an exception, not raised.

        A large string is a bytearray.
        """
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self._string(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return self._error(rest.decode("utf-8", "replace"))
        raise redis.ConnectionError(f"no reply of Redis begins with {kind!r}")

    def _string(self, size: int) -> bytes | bytearray:
        while size < _CHUNK // 2 and self._end - self._at < size + 2:
            self._more()
        there = min(size, self._end - self._at)
        if size < _CHUNK // 2:
            value: bytes | bytearray = bytes(self._chunk[self._at : self._at + size])
        else:
            value = bytearray(size)
            with memoryview(value) as view:
                view[:there] = self._chunk[self._at : self._at + there]
                have = there
                while have < size:
                    have += self._receive(view[have:])
        self._at += there
        while self._end - self._at < 2:  # noqa: PLR2004 - a line's end
            self._more()
        self._at += 2
        return value
