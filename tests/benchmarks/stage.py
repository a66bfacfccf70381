"""A Redis as users get it, and the processes that work on it, for one contestant."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redtask.server.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOUSE: Final = Path(__file__).parents[2]
#: How long starting and stopping may take, in seconds.
PATIENCE: Final = 30.0


def connect(url: str) -> redis.Redis:
    """Return a bare client that waits as long as it is told, and tries once."""
    return redis.Redis.from_url(
        url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None
    )


class Server:
    """An embedded Redis in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._embedded = EmbeddedServer(folder)
        self.url = self._embedded.start()
        running = self._embedded.running()
        assert running is not None
        self.pid = running.pid
        self.version = running.version
        self.redis = connect(self.url)

    def close(self) -> None:
        """Stop it."""
        self.redis.close()
        self._embedded.stop()


def environment() -> dict[str, str]:
    """Return the environment of a process that can import what tasks call."""
    paths = [str(HOUSE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def processes(
    commands: Sequence[Sequence[str]], log: Path, **variables: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run Python with these arguments, once for each, until the end of the block."""
    with contextlib.ExitStack() as things:
        output = things.enter_context(log.open("ab"))
        yield [
            things.enter_context(_process(command, output, variables))
            for command in commands
        ]


@contextlib.contextmanager
def _process(
    arguments: Sequence[str], output: IO[bytes], variables: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=HOUSE,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
