"""The wire: push messages to a supervisor, which never blocks on it.

A dedicated connection with a pending blocking pop, whose socket the supervisor's event
loop watches.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis

from redtask import link
from redtask.error import ConnectionLost

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from redtask.store import Store

_PIECE: Final = 65536


class Wire:
    """Pops elements off Redis lists, one after another.

    Raises ``ConnectionLost`` if the connection fails.
    """

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self._connection: Any = store.connection()
        self._reader = hiredis.Reader()
        try:
            self._connection.connect()
            self._connection.send_command("TIME")
            told = self._connection.read_response()
            self._pop = self._connection.pack_command(
                "BLPOP", *keys, str(int(link.LONGEST_BLOCK))
            )
            sock: Any = self._connection._sock  # noqa: SLF001
            #: For a selector.
            self.socket: socket.socket = sock
            self.socket.setblocking(False)
            self._ask()
        except link.TROUBLE as problem:
            self.close()
            raise link.translate(problem) from problem
        #: How far the server's clock is ahead of ours, in ms.
        self.ahead = link.clock_ahead(told)

    def _ask(self) -> None:
        for piece in self._pop:
            self.socket.sendall(piece)
        #: When to consider the other side dead, s of the monotonic clock.
        self.dead_at = time.monotonic() + link.limit(link.LONGEST_BLOCK)

    def read(self) -> list[tuple[bytes, bytes]]:
        """Return what has arrived: pairs of a list's key and an element.

        Raises ``ConnectionLost`` if the connection is dead, and ``ConfigurationError``
        if Redis refuses.
        """
        came = []
        try:
            self._receive()
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, Exception):
                    raise link.refusal(str(reply))
                if reply is not None:
                    came.append((reply[0], reply[1]))
                self._ask()
        except link.LOST as problem:
            raise link.translate(problem) from problem
        return came

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while data := self.socket.recv(_PIECE):
                self._reader.feed(data)
            raise ConnectionLost("Redis has closed the wire")

    def close(self) -> None:
        """Close the connection in this process only."""
        self._connection.disconnect()
