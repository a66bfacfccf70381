"""What drives a hub in this process: whoever waits turns it, and time with it."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from typing import TYPE_CHECKING, Any, Final

from redtask import link
from redtask.hub import calls
from redtask.hub.calls import Life
from redtask.hub.keys import Keys
from redtask.scheme import configure
from redtask.testing.engine import WORKER, Engine, running
from redtask.testing.floor import Floor
from redtask.testing.server import Server
from redtask.testing.store import LocalStore
from redtask.testing.waiting import PAUSE, Stuck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redtask.flows import Hear, Wait
    from redtask.hub.scripts import AnyScheme
    from redtask.signing import Keyring

#: About how many tasks an error tells what they wait for.
_MOST_SHOWN: Final = 3


class Clockwork:
    """A hub's Redis, engines and time. Thread-safe."""

    def __init__(self, keyring: Keyring, now: int, *, durable: bool) -> None:
        self.server = Server(Keys(keyring.hub).root, now, durable=durable)
        self._keyring = keyring
        self._store = LocalStore(
            "unix:///redtask.testing", keyring.hub, clockwork=self, inside=True
        )
        self._store.keyring = keyring
        self._lock = threading.RLock()
        #: Of the task that runs.
        self._floor = Floor()
        self._changed = threading.Condition()
        #: Counts what clients ask, and batches that have ended.
        self.changes = 0
        self.closed = False
        #: The engines, in the order in which they joined.
        self.engines: list[Engine] = []
        self._turns = itertools.count(1)

    def make(self, scheme: AnyScheme, settings: Mapping[str, int]) -> None:
        """Make the hub."""
        fingerprint, settings = self._keyring.fingerprint, {"testing": 1, **settings}
        self._store.do(calls.configure(settings, create=True, fingerprint=fingerprint))
        configure(self._store, {}, scheme)

    def add(self, queues: Sequence[str]) -> Engine:
        """Add an engine."""
        with self._lock:
            largest = int(self._store.do(calls.status(0)).hub["max_payload"])
            engine = Engine(self._store, self._keyring, queues, largest)
            self.engines.append(engine)
            return engine

    def remove(self, engine: Engine) -> None:
        """Let an engine leave."""
        with self._lock:
            self.engines.remove(engine)
            engine.leave()

    def close(self) -> None:
        """Let nobody use it any more."""
        self.closed = True
        for engine in self.engines:
            engine.close()
        self._floor.close()

    # -- commands

    def exchange(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        blocking: bool,
        meanwhile: Callable[[], None] | None,
    ) -> list[Any]:
        """Perform commands as a store does; error replies are returned."""
        if self.closed:
            raise link.closed()
        if blocking:
            return [self._pop(words) for words in commands]
        replies = [self.server.perform(words) for words in commands]
        if meanwhile is not None:
            meanwhile()
        return replies

    def _pop(self, words: Sequence[Any]) -> Any:
        """Perform a blocking command, XREAD or BLPOP, without blocking."""
        if words[0] == "XREAD":
            if "BLOCK" in words:
                at = words.index("BLOCK")
                words = (*words[:at], *words[at + 2 :])
            return self.server.perform(words) or None
        for key in words[1:-1]:
            value = self.server.perform(("LPOP", key))
            if value is not None:
                return value if isinstance(value, Exception) else [key.encode(), value]
        return None

    # -- tasks

    def turn(self, until: float = -math.inf, *, patient: bool = False) -> int | None:
        """Run the next task, and what is taken with it; or else let time pass.

        That is until the next timer, which is due at ``until``, in ms, or before.
        Nothing happens while somebody else runs; with ``patient`` that is waited for.
        Returns how many tasks have run; None: nothing has happened.
        """
        if self._has_floor():
            # A task lets time pass. Others run after it.
            return self._skip(until)
        while self._floor.acquire(-1 if patient else PAUSE):
            try:
                ran = self._run_next()
                if ran is not None or self.rests:
                    return self._skip(until) if ran is None else ran
            finally:
                self._floor.release()
            # A task has what it has waited for, and goes on first.
            if not patient:
                break
            self.wait_for_change(self.changes, PAUSE)
        return None

    def _has_floor(self) -> bool:
        """Does this code belong to the task that runs?"""
        engine = running.get()
        return engine is not None and self._floor.knows(engine) and not engine.waits

    def _run_next(self) -> int | None:
        """Run the next task, and what is taken with it; None: there is none."""
        with self._lock:
            taken = self._take()
            if taken is None:
                self._settle()
                taken = self._take()
            if taken is None:
                return None
            engine, work = taken
            engine.busy = True
        try:
            with self._floor.occupied(engine):
                return engine.run(work)
        finally:
            engine.busy = False
            self.note_change()

    def _take(self) -> tuple[Engine, list[Any]] | None:
        """Let an engine that is not busy take a task.

        Those that the hub has chosen go first, and then who has waited longest.
        """
        free = [engine for engine in self.engines if not engine.busy]
        free.sort(key=lambda engine: (not engine.chosen, engine.turn))
        for engine in free:
            if work := engine.take():
                engine.turn = next(self._turns)
                return engine, work
        return None

    def _settle(self) -> None:
        """Do what is due, or left undone."""
        while self._store.do(calls.sweep()).more:
            pass

    # -- time

    @property
    def now(self) -> int:
        """The time, in ms since 1970."""
        return self.server.now

    def advance(self, end: int) -> int:
        """Let time pass until ``end``, in ms; return how many tasks have run."""
        ran = 0
        while (more := self.turn(end, patient=True)) is not None:
            ran += more
        with self._alone():
            self._set_time(end)
        return ran

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Meanwhile nobody else runs."""
        if self._has_floor():
            yield
            return
        self._floor.acquire()
        try:
            yield
        finally:
            self._floor.release()

    def _skip(self, until: float) -> int | None:
        """Let time pass until the next timer; None if that is due after ``until``."""
        with self._lock:
            key = self._store.keys.timers()
            first = self._store.command("ZRANGE", key, 0, 0, "WITHSCORES")
            if not first or (due := math.ceil(float(first[1]))) > until:
                return None
            self._set_time(due)
            return 0

    def _set_time(self, now: int) -> None:
        """Let it be as late as that, and do what is due then."""
        with self._lock:
            self.server.now = max(self.now, now)
            # They live on, however much time has passed at once.
            lives = [Life(engine.uuid, 0, ()) for engine in self.engines]
            self._store.do(calls.beat(WORKER, lives))
            self._settle()

    # -- waiting

    @contextlib.contextmanager
    def waiting(self, step: Wait | Hear) -> Iterator[None]:
        """Meanwhile this code waits; if it is a task's, others may run."""
        engine = running.get() if step.wanted() else None
        if engine is None or not self._floor.knows(engine):
            # Perhaps it is the task of another hub.
            yield
            return
        engine.waits += 1
        if engine.waits == 1:
            self._floor.release()
        try:
            yield
        finally:
            engine.waits -= 1
            if engine.waits == 0:
                self._floor.acquire()
                self._floor.show(engine)

    @property
    def rests(self) -> bool:
        """Does no engine run anything, except tasks that wait for others?"""
        return all(engine.waits or not engine.busy for engine in self.engines)

    def progress(self, patience: float) -> bool:
        """Run the next task, or let so many seconds pass; False if nothing is to do."""
        return self.turn(self.now + 1000 * patience) is not None

    def note_change(self) -> None:
        """Wake those who wait for others to do something."""
        with self._changed:
            self.changes += 1
            self._changed.notify_all()

    def wait_for_change(self, seen: int, seconds: float) -> bool:
        """Wait until ``changes`` is not ``seen``; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self.changes != seen, seconds)

    def stuck(self, ids: Sequence[str]) -> Stuck:
        """Return the error for who waits for these tasks in vain."""
        reasons = [str(self._store.do(calls.why(one))) for one in ids[:_MOST_SHOWN]]
        if running.get() is not None and all(engine.busy for engine in self.engines):
            reasons.append("A task waits for another: give the hub more engines.")
        told = "\n".join(reasons)
        return Stuck(f"nothing is left to run, and no time to wait for:\n{told}")
