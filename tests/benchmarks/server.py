"""The Redis of a contestant, as users get it.

Other queues' environments import this, so no more than the standard library is needed
to ask a server what it did; ``connect`` and ``running`` are for our own.
"""

from __future__ import annotations

import contextlib
import socket
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis


def connect(url: str) -> redis.Redis:
    """Return a bare client that waits as long as it is told, and tries once."""
    import redis  # noqa: PLC0415 - where installed
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    return redis.Redis.from_url(
        url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None
    )


class Server:
    """A Redis that runs already, whoever started it."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    @cached_property
    def redis(self) -> redis.Redis:
        """A client of it, where redis-py is installed."""
        return connect(self.url)

    @property
    def path(self) -> str:
        """Its socket."""
        return unquote(urlsplit(self.url).path)

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of INFO: numbers by name, or such by name."""
        with contextlib.ExitStack() as things:
            connection = things.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(self.path)
            connection.sendall(f"INFO {section}\r\n".encode())
            reply = things.enter_context(connection.makefile("rb"))
            text = reply.read(int(reply.readline()[1:])).decode()
        return dict(_read(line) for line in text.splitlines() if ":" in line)

    def close(self) -> None:
        """Leave it."""
        if "redis" in vars(self):
            self.redis.close()


def _read(line: str) -> tuple[str, Any]:
    name, _, told = line.partition(":")
    if "=" not in told:
        return name, told
    parts = (part.partition("=") for part in told.split(","))
    return name, {part: _number(value) for part, _, value in parts}


def _number(text: str) -> Any:
    return int(text) if text.isdecimal() else text


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a server in a folder of its own until the end of the block."""
    from redtask.server.embedded import EmbeddedServer  # noqa: PLC0415 - ours only

    embedded = EmbeddedServer(folder, mortal=True)
    url = embedded.start()
    found = embedded.running()
    assert found is not None
    server = Server(url, found.pid)
    try:
        yield server
    finally:
        server.close()
        embedded.stop()
