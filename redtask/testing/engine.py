"""An engine in this process: it takes tasks, and runs them in the thread of its caller.

Of what a worker's engines do it leaves out what needs a process of its own: time
limits, and aborting what runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import platform
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Any, Final

from redtask import namespace
from redtask.current import Desk
from redtask.engine.guard import Guard
from redtask.engine.output import Output, Stream
from redtask.engine.task import Runner, fields_of
from redtask.hub import calls
from redtask.hub.calls import Life, Report
from redtask.names import random_name
from redtask.testing.floor import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.hub.records import Work
    from redtask.signing import Keyring
    from redtask.store import Store

#: The name of the worker that all engines belong to.
WORKER: Final = "testing"
#: What the hub is told of an engine that dies.
_DEATH: Final = "a test let it die"

#: The engine whose task this code belongs to.
running: Final[ContextVar[Engine | None]] = ContextVar("running", default=None)


def _has_loop() -> bool:
    """Does an event loop run in this thread?"""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class EngineDies(BaseException):
    """Raise it in a task to let its engine die there, as if it was killed.

    A new engine takes its place; the task is retried if it has retries left.
    """


class _Guard(Guard):
    """Notices what ends more than the task."""

    def __init__(self) -> None:
        super().__init__()
        #: Is that the death of the engine?
        self.dies = False
        #: Is it Ctrl-C?
        self.interrupted = False

    def found(self, problem: BaseException) -> BaseException:
        """Return the exception."""
        self.dies = isinstance(problem, EngineDies)
        self.interrupted = isinstance(problem, KeyboardInterrupt)
        return problem


class _Tee(Stream):
    """Captures what a task prints, and shows it as well."""

    def show_on(self, real: IO[str]) -> None:
        """Show it on this stream from now on."""
        self._real = real

    def write(self, text: str) -> int:
        """Write text."""
        size = super().write(text)
        if self._output.inside or self._output.ending:
            self._real.write(text)
        return size


class _Output(Output):
    stdout: _Tee
    stderr: _Tee

    def __init__(self) -> None:
        super().__init__(sys.stdout, sys.stderr)
        self.stdout = _Tee(self, sys.stdout, 0)
        self.stderr = _Tee(self, sys.stderr, 1)
        #: Is the hub closed, so that streams are the test's again?
        self.closed = False

    def install(self) -> None:
        """Set ``sys.stdout`` and ``sys.stderr``, unless they are the test's again."""
        if not self.closed:
            super().install()


class Engine:
    """One engine."""

    def __init__(
        self, store: Store, keyring: Keyring, queues: Sequence[str], largest: int
    ) -> None:
        self._store = store
        self._queues = queues
        self._output = _Output()
        self._guard = _Guard()
        self._runner = Runner(store, keyring, self._output, largest, self._guard)
        self._done: list[Report] = []
        #: Did it find nothing to do?
        self._idle = False
        #: Its latest turn to run tasks, of those of all engines.
        self.turn = 0
        #: Is it running a task?
        self.busy = False
        #: How many times its task waits for others.
        self.waits = 0
        self.join()

    def join(self) -> None:
        """Register, under a new uuid."""
        self.uuid = random_name()
        self._number = 0
        about: dict[str, Any] = {"host": platform.node(), "pid": os.getpid()}
        joined = self._store.do(calls.register(self.uuid, WORKER, self._queues, about))
        #: Its id, as in ``rc.ids``.
        self.engine_id = joined.engine_id
        self._runner.forget()
        self._runner.engine_info = {
            "engine_id": self.engine_id,
            "engine_uuid": self.uuid,
            **about,
            "method": "apply",
        }

    def close(self) -> None:
        """Leave the streams alone from now on, also if a task has not ended."""
        self._output.closed = True

    def leave(self, why: str = "left", ids: Sequence[str] = ()) -> None:
        """Tell the hub that it is gone, and which tasks it had begun."""
        life = Life(self.uuid, self._number, ids, why)
        self._store.do(calls.beat(WORKER, [life]))

    @property
    def chosen(self) -> bool:
        """Has the hub chosen it, among those that had nothing to do, for a task?"""
        bell = self._store.keys.bell(self.uuid)
        return self._idle and bool(self._store.command("EXISTS", bell))

    def take(self) -> list[Work]:
        """Take the next task, and what waits only for that."""
        self._number += 1
        nonce = secrets.token_urlsafe(9)
        self._store.command("DEL", self._store.keys.bell(self.uuid))
        turn = self._store.do(calls.turn(self.uuid, self._number, nonce, 1, ()))
        if not turn.registered:
            self.join()
            return self.take()
        self._idle = not turn.work
        return turn.work

    def scene(self) -> Scene:
        """Return what lets a task capture its output, and ask who it is."""
        self._output.stdout.show_on(sys.stdout)
        self._output.stderr.show_on(sys.stderr)
        hub = self._store.keys.name
        here = Desk(
            self._output.current,
            self._output.progress,
            functools.partial(fields_of, self._store),
            self._flush,
            {**self._runner.engine_info, "worker": WORKER, "hub": hub},
        )
        return Scene(self._output.stdout, self._output.stderr, here)

    def run(self, batch: Sequence[Work]) -> int:
        """Run what was taken, and report; returns how many tasks have run.

        It has the floor. Where an event loop runs in this thread, it is done in
        another: tasks may have event loops of their own.
        """
        if not _has_loop():
            return self._run_here(batch)
        with ThreadPoolExecutor(1, "redtask task") as pool:
            run = contextvars.copy_context().run
            return pool.submit(run, self._run_here, batch).result()

    def _run_here(self, batch: Sequence[Work]) -> int:
        token, outside = running.set(self), namespace.enter(self._runner.names)
        try:
            return self._run(batch)
        finally:
            namespace.leave(outside)
            running.reset(token)

    def _run(self, batch: Sequence[Work]) -> int:
        self._runner.begin(batch)
        # What was taken along waits for the success of those before it.
        ran, failed = 0, batch[0].along
        for work in batch:
            if failed and work.along:
                self._report("unbegun", work)
                continue
            kind, fields = self._runner(work)
            ran += 1
            if self._guard.dies:
                self._die(work)
                break
            self._report(kind, work, fields)
            failed = failed or kind != "ok"
        self._flush()
        if self._guard.interrupted:
            self._guard.interrupted = False
            raise KeyboardInterrupt
        return ran

    def _report(self, kind: str, work: Work, fields: Sequence[Any] = ()) -> None:
        # Time stands still meanwhile.
        report = Report(kind, work.task_id, work.token, 0, 0, fields, work.folded)
        self._done.append(report)

    def _flush(self) -> None:
        """Report what has ended: a task may ask about those before it in its batch."""
        if self._done:
            reports, self._done = self._done, []
            turn = self._store.do(calls.turn(self.uuid, None, "", 0, reports))
            self._runner.reported(all_count=turn.stale == 0)

    def _die(self, work: Work) -> None:
        self._guard.dies = False
        self._flush()
        self.leave(_DEATH, [work.task_id])
        self.join()
