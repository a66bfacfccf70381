"""Engines in threads of the test's own process: quick to start, quick to stop.

They take real turns with signed work and results; what they leave out is what a worker
adds: leases, captured output, limits, and a process to kill.
"""

from __future__ import annotations

import secrets
import threading
import time
import traceback

from redtask import payload
from redtask.error import RedtaskError
from redtask.hub import calls
from redtask.hub.calls import Life, Report
from redtask.store import Store

DEADLINE = 30


class Engine:
    """One engine; a context manager."""

    def __init__(self, url, hub, keyring, queues=("default",), want=1):
        self.store = Store(url, hub, patience=DEADLINE)
        self.keyring = self.store.keyring = keyring
        self.queues = queues
        self.want = want
        self.uuid = secrets.token_hex(8)
        self.worker = f"w{self.uuid}"
        self.number = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"engine {self.uuid}")
        self.problem: BaseException | None = None

    def __enter__(self):
        self.id = self.store.do(
            calls.register(self.uuid, self.worker, self.queues)
        ).engine_id
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Let it finish what it has, and leave."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.store.command("LPUSH", self.store.keys.bell(self.uuid), "1")
        self.thread.join(DEADLINE)
        self.store.do(
            calls.beat(self.worker, [Life(self.uuid, self.number, (), "left")])
        )
        self.store.close()
        if self.problem is not None:
            raise self.problem

    def _work(self):
        try:
            reports: list[Report] = []
            while True:
                work = self._turn(0 if self.stopping.is_set() else self.want, reports)
                reports = [self._run(one) for one in work]
                if not work:
                    if self.stopping.is_set():
                        return
                    self._listen()
        except BaseException as problem:  # noqa: BLE001 - told by stop()
            self.problem = problem

    def _listen(self):
        try:
            self.store.block("BLPOP", self.store.keys.bell(self.uuid), 1)
        except RedtaskError:
            # The next turn has patience.
            return

    def _turn(self, want, reports):
        self.number += 1
        call = calls.turn(self.uuid, self.number, secrets.token_hex(6), want, reports)
        turn = self.store.do(call)
        if not turn.registered:
            # Redis has lost us with its last moments.
            self.store.do(calls.register(self.uuid, self.worker, self.queues))
            self.number = 0
        return turn.work

    def _run(self, work):
        begun = time.monotonic_ns()
        try:
            kind, letter, body = "ok", "r", payload.pack_result(self._call(work))
            more = []
        except BaseException as problem:  # noqa: BLE001 - whatever a task does
            about = {"engine_id": self.id, "engine_uuid": self.uuid, "method": "apply"}
            text = "".join(traceback.format_exception(problem))
            kind, letter = "error", "e"
            body = payload.pack_error(problem, text, about)
            more = ["ename", type(problem).__name__]
        envelope = self.keyring.sign_result(work.task_id, work.token, letter, body)
        took = time.monotonic_ns() - begun
        fields = ["result" if kind == "ok" else "error", envelope, *more]
        return Report(
            kind, work.task_id, work.token, took // 10**6, took // 1000, fields
        )

    def _call(self, work):
        args = work.args or self.store.command(
            "GET", self.store.keys.task(work.task_id, "args")
        )
        body = self.keyring.open_task(work.function, work.until, work.root, args)
        blob = self.store.command(
            "HGET", self.store.keys.function(work.function), "blob"
        )
        function, _ = payload.unpack_function(blob)
        return payload.call(function, body)
