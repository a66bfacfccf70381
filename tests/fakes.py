"""A fakeredis that real clients reach by a socket."""

from __future__ import annotations

import contextlib
import shutil
import socketserver
import tempfile
import threading
from pathlib import Path

import fakeredis
import hiredis
import redis

from tests.servers import Server


class SocketFakeServer(Server):
    """A fresh fakeredis on a unix socket; the connections are threads of ours.

    ``fakeredis.TcpFakeServer`` drops connections on which commands are pipelined.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="redtask-")
        path = Path(self._folder) / "fake.sock"
        self.url = f"unix://{path}"
        self.inner = fakeredis.FakeServer(version=(7, 0))
        self._server = _Sockets(str(path), _Handler)
        self._server.fake = self.inner
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def redis(self, **options):
        """Return a new client of this fake."""
        return redis.Redis.from_url(str(self.url), **{"protocol": 2, **options})

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Sockets(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # Some may be in a blocking read until its time is over.
    block_on_close = False
    fake: fakeredis.FakeServer


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        commands = hiredis.Reader()
        fake = fakeredis.FakeRedisConnection(
            server=self.server.fake,  # type: ignore[attr-defined]
            protocol=2,
        )
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(1 << 16):
                commands.feed(data)
                while (words := commands.gets()) is not False:
                    self.request.sendall(_encoded(self._perform(fake, words)))

    @staticmethod
    def _perform(fake, words):
        try:
            fake.send_command(*words)
            return fake.read_response()
        except redis.ResponseError as problem:
            return problem


def _encoded(value) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, redis.ResponseError):
        text = str(value)
        if isinstance(value, redis.exceptions.NoScriptError):
            text = f"NOSCRIPT {text}"
        elif not text.startswith(("REDTASK_", "WRONGTYPE", "ERR")):
            text = f"ERR {text}"
        return f"-{text}\r\n".encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(_encoded, value))
