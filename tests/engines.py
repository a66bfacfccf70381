"""Engines in threads of the test's own process: quick to start, quick to stop.

They run real tasks in real turns. Of what a worker adds they have the beat, the sweep
when something is due, and the abort of what runs; they leave out captured output, time
limits, and a process to kill.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import secrets
import threading
import time

from redtask import namespace
from redtask.engine.guard import Aborted, Guard
from redtask.engine.output import Output
from redtask.engine.task import Runner
from redtask.error import RedtaskError
from redtask.hub import calls
from redtask.hub.calls import Life, Report
from redtask.store import Store

DEADLINE = 30
#: Nobody waits longer than this for what may be due, in seconds.
PAUSE = 2.0
STOP = b"stop"


class Bare(Output):
    """Leaves the streams of the process alone."""

    def __init__(self):
        super().__init__(io.StringIO(), io.StringIO())

    def install(self):
        """Stay out of the way: there may be many of us."""

    def restore(self):
        """Likewise."""


class ThreadGuard(Guard):
    """Interrupts the task that a thread runs."""

    def __init__(self):
        super().__init__()
        self.thread = 0

    def interrupt(self):
        """Raise in the midst of what the thread does."""
        ident = ctypes.c_ulong(self.thread)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Aborted))

    def kind(self, problem):
        """Tell an abort from an error."""
        return "aborted" if isinstance(problem, Aborted) else "error"


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
        self.current: tuple[str, str] | None = None
        self.output = Bare()
        self.guard = ThreadGuard()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"engine {self.uuid}")
        self.keeper = threading.Thread(target=self._keep, name=f"keeper {self.uuid}")
        self.problem: BaseException | None = None

    def __enter__(self):
        hub = self.store.do(calls.status()).hub
        self.lease = int(hub["lease"]) / 1000
        self.runner = Runner(
            self.store, self.keyring, self.output, int(hub["max_payload"]), self.guard
        )
        self.id = self.store.do(
            calls.register(self.uuid, self.worker, self.queues)
        ).engine_id
        self.runner.engine_info = {
            "engine_id": self.id,
            "engine_uuid": self.uuid,
            "method": "apply",
        }
        self.thread.start()
        self.keeper.start()
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
        self.store.command("RPUSH", self.store.keys.control(self.worker), STOP)
        self.keeper.join(DEADLINE)
        self.store.do(
            calls.beat(self.worker, [Life(self.uuid, self.number, (), "left")])
        )
        self.store.close()
        if self.problem is not None:
            raise self.problem

    # -- what a supervisor does

    def _keep(self):
        """Keep the engine alive, sweep when something is due, and hear messages."""
        keys = self.store.keys
        beat_at = sweep_at = 0.0
        while True:
            # While Redis is away there is time.
            with contextlib.suppress(RedtaskError):
                if time.monotonic() >= beat_at:
                    # Of no turn, so nothing is compared.
                    life = Life(self.uuid, 0, ())
                    self.store.do(calls.beat(self.worker, [life]))
                    beat_at = time.monotonic() + self.lease / 5
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + self._sweep()
                pause = min(beat_at, sweep_at) - time.monotonic()
                # Zero would be forever.
                pause = round(max(0.01, pause), 3)
                lists = keys.control(self.worker), keys.alarm()
                reply = self.store.block("BLPOP", *lists, pause)
                if reply and reply[1] == STOP:
                    return
                if reply and reply[0] == keys.alarm().encode():
                    sweep_at = 0.0
                elif reply:
                    self._hear(reply[1])

    def _sweep(self):
        swept = self.store.do(calls.sweep())
        return PAUSE if swept.due < 0 else min(PAUSE, swept.due / 1000)

    def _hear(self, message):
        now = time.time() * 1000
        text = self.keyring.open_control(self.worker, now, message)
        verb, *wanted = text.split(" ")
        if verb == "listen":
            # Only a supervisor knows what is printed.
            return
        assert verb == "abort", text
        if self.current == tuple(wanted) and self.output.inside:
            self.guard.interrupt()

    # -- what an engine does

    def _work(self):
        self.guard.thread = threading.get_ident()
        namespace.enter(self.runner.names)
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
        self.current = work[:2]
        kind, fields = self.runner(work)
        self.current = None
        took = (time.monotonic_ns() - begun) // 1000
        return Report(kind, work.task_id, work.token, took, took, fields, work.folded)
