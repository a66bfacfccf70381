"""A Redis with workers as real processes, as a user would start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import redtask
from redtask.connect import connect
from redtask.hub import calls, sheet
from redtask.hub.keys import Keys
from redtask.hub.records import groups
from redtask.profile import Profile
from tests import invariants
from tests.processes import DEADLINE, until

KEYS = Keys("default")
ROOT = KEYS.root


def is_dead(pid):
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        )
    except FileNotFoundError:
        return True


class WorkerProcess:
    """One ``redtask worker``."""

    def __init__(self, folder, *words):
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        program = "from redtask.cli import main; main()"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "worker", *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def told(self):
        return self.log.read_text()

    def wait_for(self, text):
        def seen():
            if text in self.told:
                return True
            assert self.process.poll() is None, self.told
            return False

        until(seen, text)
        return self

    def engines(self):
        """Process ids of its living engines."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split() if not is_dead(pid)]

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(DEADLINE)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Site:
    """A Redis, a user's folder, a client, and workers."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        self.workers = []
        self.redis = server.redis()
        self.client = redtask.Client(server.url)
        self.view = self.client.load_balanced_view()
        self.ledger = folder / "ledger"
        self.ledger.touch()

    def configure(self, **settings):
        store, _ = connect(Profile.load(url=self.server.url))
        store.do(calls.configure(settings))
        store.close()

    def worker(self, *words, ready=True):
        found = WorkerProcess(self.folder, *words)
        self.workers.append(found)
        return found.wait_for("ready") if ready else found

    def executions(self):
        """How often each task wrote into the ledger."""
        return Counter(self.ledger.read_text().split())

    def story(self, event):
        """Return what the hub told of such events."""
        return [
            {name.decode(): value.decode() for name, value in entry.items()}
            for _, entry in self.redis.xrange(f"{ROOT}:story")
            if entry[b"event"] == event.encode()
        ]

    def record(self, task_id):
        return f"{ROOT}:task:{task_id}"

    def state(self, task_id):
        return self.states_of([task_id])[0]

    def states(self, result):
        return self.states_of(result.msg_ids)

    def states_of(self, ids):
        """Return the states of tasks, None where there is none."""
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in ids:
                for words in sheet.words(KEYS, task_id):
                    pipe.execute_command(*words)
                pipe.hmget(self.record(task_id), "state")
            found = [sheet.pick(["state"], *one) for one in groups(pipe.execute(), 3)]
        return [state.decode() if state else None for (state,) in found]

    def close(self):
        try:
            for worker in self.workers:
                if worker.process.poll() is None:
                    worker.signal(signal.SIGTERM)
            for worker in self.workers:
                try:
                    worker.wait()
                except subprocess.TimeoutExpired:
                    worker.kill()
                    raise AssertionError(worker.told) from None
                assert "Traceback" not in worker.told, worker.told
            self.client.close()
            invariants.check(self.redis, ROOT)
        finally:
            for worker in self.workers:
                worker.kill()
            self.redis.close()


def writer(path):
    """Return a function that notes in the ledger that a task runs."""

    def note(task):
        ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, f"{task}\n".encode())
        os.close(ledger)

    return note


def begun(path):
    """Return the file that is there once the function of a gate has begun."""
    return path.with_suffix(".begun")


def gate(path):
    """Return a function that waits until a file is there.

    That it has begun says another: who has ``begun``. On the hub a task runs as soon as
    an engine is given it, which may still give it back.
    """

    def wait():
        begun(path).touch()
        end = time.monotonic() + 30
        while not path.exists():
            if time.monotonic() > end:
                raise TimeoutError(path)
            time.sleep(0.002)

    return wait
