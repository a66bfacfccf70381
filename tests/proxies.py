"""A proxy in front of Redis that does to connections whatever networks do."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 16


class LossyProxy:
    """Passes bytes on between a unix socket of its own and a server's.

    With probability ``loss`` a piece of reply is swallowed, and the connection cut:
    the command ran, and nobody knows. With probability ``tear`` half of a piece,
    request or reply, is passed on before the cut. Its choices follow from ``seed``.
    """

    def __init__(
        self, path: Path, upstream: Path, *, loss: float = 0.0, seed: int = 1
    ) -> None:
        self.url = f"unix://{path}"
        self.loss = loss
        self.tear = 0.0
        #: How long each piece is under way, in seconds.
        self.delay = 0.0
        #: Is everything swallowed, ends of connections as well, and nobody told?
        self.hole = False
        #: The next request with these bytes in it loses its reply.
        self.loses_reply_to = b""
        #: How many replies it lost, how many pieces it tore, and how many
        #: connections it has seen.
        self.lost = 0
        self.torn = 0
        self.accepted = 0
        self._upstream = str(upstream)
        self._random = random.Random(seed)  # noqa: S311 - a plan, no secret
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(512)
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, tuple[socket.socket, bool]] = {}
        #: What is under way: when it arrives, where from, and what.
        self._late: deque[tuple[float, socket.socket, bytes]] = deque()
        #: Connections whose end nobody was told of.
        self._mute: set[socket.socket] = set()
        #: Whose next reply is to be lost.
        self._doomed: set[socket.socket] = set()
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
        self._cut_all()
        self._listener.close()
        self._wake.close()
        self._selector.close()

    def cut(self) -> None:
        """Cut all connections there are."""
        self._waker.send(b".")

    def lead_to(self, upstream: Path) -> None:
        """Lead to another server from here on, as a name does after a fail-over."""
        self._upstream = str(upstream)
        self.cut()

    def heal(self) -> None:
        """Be an ordinary proxy again. What fell into a hole is cut off only now."""
        self.loss = self.tear = self.delay = 0.0
        if self.hole:
            self.hole = False
            self.cut()

    def _loop(self) -> None:
        while True:
            pause = None
            if self._late:
                pause = max(0.0, self._late[0][0] - time.monotonic())
            for key, _ in self._selector.select(pause):
                if key.fileobj is self._wake:
                    if not self._wake.recv(_CHUNK):
                        return
                    self._cut_all()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._peers:
                    self._read(key.fileobj)
            self._deliver()

    def _deliver(self) -> None:
        """Pass on what was under way for long enough."""
        while self._late and self._late[0][0] <= time.monotonic():
            _, source, data = self._late.popleft()
            if source in self._peers:
                self._pass_on(source, data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
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

    def _read(self, source: socket.socket) -> None:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        if self.hole:
            if not data:
                # Also that it has ended falls into the hole.
                self._selector.unregister(source)
                self._mute.add(source)
        elif self.delay or self._late:
            self._late.append((time.monotonic() + self.delay, source, data))
        else:
            self._pass_on(source, data)

    def _pass_on(self, source: socket.socket, data: bytes) -> None:
        target, is_reply = self._peers[source]
        if is_reply and data and self._is_to_lose(source):
            self.lost += 1
            data = b""
        elif self.loses_reply_to and self.loses_reply_to in data:
            self.loses_reply_to = b""
            self._doomed.add(target)
        torn = len(data) > 1 and self._random.random() < self.tear
        if torn:
            self.torn += 1
            data = data[: len(data) // 2]
        try:
            if data:
                target.sendall(data)
        except OSError:
            data = b""
        if torn or not data:
            self._cut(source)

    def _is_to_lose(self, source: socket.socket) -> bool:
        if source in self._doomed:
            self._doomed.discard(source)
            return True
        return self._random.random() < self.loss

    def _cut_all(self) -> None:
        self._late.clear()
        for one in list(self._peers):
            if one in self._peers:
                self._cut(one)

    def _cut(self, one: socket.socket) -> None:
        other, _ = self._peers.pop(one)
        self._peers.pop(other, None)
        for end in (one, other):
            self._mute.discard(end)
            self._doomed.discard(end)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            # Also releases whoever reads from it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
