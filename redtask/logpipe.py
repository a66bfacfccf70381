"""A log handler that does not wait for ever for who reads the log.

A full pipe, a stopped terminal or a hanging log service would stop a process in the
midst of its work. There is no thread that writes: a worker has only one, so that it may
fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

#: So much goes into a pipe, or to a terminal, that has room at all.
_ROOM: Final = {True: select.PIPE_BUF, False: 256}
#: How long lines may wait for room, all together, in seconds; and what part of the time
#: that passes is added to that, up to as much.
_PATIENCE: Final = 1.0
_REFILL: Final = 0.05


class PipeHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream; lines that nobody reads are dropped, and counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        #: What the stream's descriptor is, and how to write to that without waiting;
        #: None: it never makes us wait, as a file does not.
        self._known: tuple[int, int] | None = None
        self._writer: Callable[[bytes], int] | None = None
        #: The descriptor that we opened, -1 if none, and its socket, if it is one.
        self._own = -1
        self._line: socket.socket | None = None
        self._poll = select.poll()
        #: The end of a line of which the beginning is written.
        self._rest = b""
        self._dropped = 0
        #: Whose these are: a forked child has neither to finish nor to tell of.
        self._pid = os.getpid()
        self._patience = _PATIENCE
        self._at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or drop it."""
        try:
            if os.getpid() != self._pid:
                self._pid, self._rest, self._dropped = os.getpid(), b"", 0
            write = self._find_writer()
            if write is None:
                super().emit(record)
            elif not (self._push(write) and self._tell(write, record)):
                self._dropped += 1
        except Exception:  # noqa: BLE001 - as all handlers do
            self.handleError(record)

    def close(self) -> None:
        """Close what we opened; the stream stays open."""
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        if self._line is not None:
            self._line.detach()
        if self._is_ours():
            os.close(self._own)
        self._known, self._writer, self._own, self._line = None, None, -1, None

    def _is_ours(self) -> bool:
        """Is it still open? A task may have closed all that it did not know.

        And the number may be that of something else now.
        """
        try:
            about = os.fstat(self._own)
        except OSError:
            return False
        return (about.st_dev, about.st_ino) == self._known

    def _tell(self, write: Callable[[bytes], int], record: logging.LogRecord) -> bool:
        """Write a line, before it how many were dropped; return False if dropped."""
        if self._dropped:
            told = logging.makeLogRecord(
                {
                    "name": record.name,
                    "levelno": logging.WARNING,
                    "levelname": "WARNING",
                    "msg": "the log was not read: %d of its lines are missing here",
                    "args": (self._dropped,),
                }
            )
            if not self._put(write, told):
                return False
            self._dropped = 0
        return self._put(write, record)

    def _put(self, write: Callable[[bytes], int], record: logging.LogRecord) -> bool:
        """Write a line; return False if there is no room even for its beginning."""
        if self._rest:
            return False
        text = self.format(record) + self.terminator
        self._rest = line = text.encode(errors="backslashreplace")
        if not self._push(write) and len(self._rest) == len(line):
            self._rest = b""
            return False
        return True

    def _push(self, write: Callable[[bytes], int]) -> bool:
        """Write the rest of the last line; return False if there is no room for it."""
        now = time.monotonic()
        most = min(_PATIENCE, self._patience + _REFILL * (now - self._at))
        end = now + most
        while self._rest:
            try:
                self._rest = self._rest[write(self._rest) :]
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._poll.poll(left * 1000)
            except OSError:
                # Nobody is left who could read it.
                self._rest = b""
        self._at = time.monotonic()
        self._patience = max(0.0, end - self._at)
        return not self._rest

    def _find_writer(self) -> Callable[[bytes], int] | None:
        try:
            number = self.stream.fileno()
            about = os.fstat(number)
        except (OSError, ValueError):
            return None
        kept = self._own < 0 or self._is_ours()
        if self._known != (about.st_dev, about.st_ino) or not kept:
            self._let_go()
            self._known, self._poll = (about.st_dev, about.st_ino), select.poll()
            with contextlib.suppress(OSError):
                self._writer = self._writer_of(number, about.st_mode)
        return self._writer

    def _writer_of(self, number: int, mode: int) -> Callable[[bytes], int] | None:
        """Return how to write without waiting, which others that write need not."""
        if stat.S_ISSOCK(mode):
            self._own = os.dup(number)
            self._line = line = socket.socket(fileno=self._own)
            self._poll.register(self._own, select.POLLOUT)
            return lambda data: line.send(data, socket.MSG_DONTWAIT)
        if stat.S_ISFIFO(mode) or os.isatty(number):
            # Opened anew: a flag of the descriptor that we have is that of all who
            # have it, such as the shell.
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._own = os.open(f"/proc/self/fd/{number}", flags)
            except PermissionError:
                # Another user's, as after su: as much as fits in any case.
                self._poll.register(number, select.POLLOUT)
                return partial(self._write_some, number, _ROOM[stat.S_ISFIFO(mode)])
            self._poll.register(self._own, select.POLLOUT)
            return partial(os.write, self._own)
        return None

    def _write_some(self, number: int, most: int, data: bytes) -> int:
        """Write a part for which there is room; raises ``BlockingIOError``."""
        if not self._poll.poll(0):
            raise BlockingIOError
        return os.write(number, data[:most])


__all__ = ["PipeHandler"]
