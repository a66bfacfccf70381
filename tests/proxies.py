"""A proxy in front of Redis that loses replies after the command ran."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 16


class LossyProxy:
    """Passes bytes on between a unix socket of its own and a server's.

    With probability ``loss`` a piece of reply is swallowed, and the connection cut:
    the command ran, and nobody knows. Its choices follow from ``seed``.
    """

    def __init__(
        self, path: Path, upstream: Path, *, loss: float, seed: int = 1
    ) -> None:
        self.url = f"unix://{path}"
        self.loss = loss
        #: How many replies it lost.
        self.lost = 0
        self._upstream = str(upstream)
        self._random = random.Random(seed)  # noqa: S311 - a plan, no secret
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._wake, waker = socket.socketpair()
        self._waker = waker
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut everything and end."""
        self._waker.close()
        self._thread.join()
        for one in list(self._peers):
            if one in self._peers:
                self._cut(one)
        self._listener.close()
        self._wake.close()
        self._selector.close()

    def _loop(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._peers:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._upstream)
        except OSError:
            client.close()
            server.close()
            return
        self._peers[client] = server, False
        self._peers[server] = client, True
        for one in (client, server):
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        target, is_reply = self._peers[source]
        try:
            data = source.recv(_CHUNK)
            if is_reply and data and self._random.random() < self.loss:
                self.lost += 1
                data = b""
            if not data:
                self._cut(source)
                return
            target.sendall(data)
        except OSError:
            self._cut(source)

    def _cut(self, one: socket.socket) -> None:
        other, _ = self._peers.pop(one)
        self._peers.pop(other, None)
        for end in (one, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            # Also releases whoever reads from it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
