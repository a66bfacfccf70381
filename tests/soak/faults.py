"""How each kind of fault is inflicted, and when it is over."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.soak.plan import KINDS, Fault
from tests.soak.world import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.soak.world import Machine, World

#: After the end of a fault, for so long work is waited for to flow again, in seconds.
_PATIENCE: Final = 20.0
#: Seconds by which a clock is moved: by more than a day results would be forgotten.
_MOVES: Final = (3600, -7200, 2, -2, 40_000)
#: How much room a server gets that is to be full soon, in bytes.
_ROOM: Final = 300_000


@dataclass(slots=True)
class Happened:
    """A fault that was inflicted."""

    #: What was planned.
    fault: Fault
    #: When it began and was over, ``time.monotonic()``.
    began: float
    over: float = 0.0
    #: The engines that were killed or stopped by it.
    engines: list[int] = field(default_factory=list)
    #: Until work flowed again after it was over, in seconds; None: nobody looked.
    recovery: float | None = None


class Storm:
    """Inflicts the faults of one round: at each place one after the other."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self._world = world
        self._over = threading.Event()
        self._begun = time.monotonic()
        self.happened: list[Happened] = []
        #: What went wrong with the soak itself.
        self.wrong: list[str] = []
        places = sorted({fault.where for fault in faults})
        self._threads = [
            threading.Thread(
                target=self._at, args=([f for f in faults if f.where == place],)
            )
            for place in places
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until the last fault is over."""
        for thread in self._threads:
            thread.join()
        for way in self._world.ways.values():
            way.heal()

    def stop(self) -> None:
        """Let no further fault happen."""
        self._over.set()
        self.wait()

    def _at(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if self._over.wait(self._begun + fault.at - time.monotonic()):
                return
            happened = Happened(fault, time.monotonic())
            try:
                self._inflict(happened)
            except Exception as problem:  # noqa: BLE001 - to be told in the end
                self.wrong.append(f"{fault.kind}: {type(problem).__name__}: {problem}")
            happened.over = happened.over or time.monotonic()
            self.happened.append(happened)

    def _inflict(self, happened: Happened) -> None:
        fault = happened.fault
        name = "_" + fault.kind.replace(" ", "_")
        act: Callable[[Happened, Any], None] = getattr(self, name)
        scope, _, _ = KINDS[fault.kind]
        of_machine = scope == "machine"
        act(happened, self._world.machines[fault.where] if of_machine else fault.where)

    def _last(self, happened: Happened) -> None:
        """Let it last as long as it is to."""
        time.sleep(happened.fault.lasts)

    def _flows(self, happened: Happened) -> None:
        """Measure how long it takes until work flows again."""
        happened.over = time.monotonic()
        first = None
        while time.monotonic() < happened.over + _PATIENCE:
            found = self._world.ask("HMGET", f"{ROOT}:hub", "completed", "failed")
            if found is not None:
                ended = sum(int(one or 0) for one in found)
                if first is not None and ended > first:
                    happened.recovery = time.monotonic() - happened.over
                    return
                first = ended if first is None else first
                if (
                    self._world.ask("ZCARD", f"{ROOT}:waiting")
                    == 0
                    == self._world.ask("ZCARD", f"{ROOT}:ready:default")
                ):
                    # There may be nothing to do.
                    return
            time.sleep(0.01)
        happened.recovery = _PATIENCE

    # -- machines

    def _kill_engine(self, happened: Happened, machine: Machine) -> None:
        pids = machine.pids()
        if pids:
            pid = random.Random(happened.fault.seed).choice(pids)  # noqa: S311 - a plan
            happened.engines = [pid]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop_engine(self, happened: Happened, machine: Machine) -> None:
        pids = machine.pids()
        if pids:
            pid = random.Random(happened.fault.seed).choice(pids)  # noqa: S311 - a plan
            happened.engines = [pid]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._last(happened)
                os.kill(pid, signal.SIGCONT)

    def _kill_worker(self, happened: Happened, machine: Machine) -> None:
        happened.engines = machine.kill()
        self._last(happened)
        machine.start()

    def _stop_worker(self, happened: Happened, machine: Machine) -> None:
        machine.signal(signal.SIGSTOP)
        self._last(happened)
        machine.signal(signal.SIGCONT)

    def _stop_machine(self, happened: Happened, machine: Machine) -> None:
        happened.engines = machine.signal(signal.SIGSTOP, engines=True)
        self._last(happened)
        machine.signal(signal.SIGCONT)
        for pid in happened.engines:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _lose_machine(self, happened: Happened, machine: Machine) -> None:
        happened.engines = machine.kill()
        # Nobody takes over what it left, as would a new worker on the same machine.
        self._last(happened)
        machine.start()

    # -- Redis

    def _kill_redis(self, happened: Happened, _: str) -> None:
        self._world.server.kill()
        self._last(happened)
        self._start_redis()
        self._flows(happened)

    def _start_redis(self) -> None:
        while True:
            # On a busy machine its data may take longer to load than it is waited for.
            with contextlib.suppress(RuntimeError):
                self._world.server.start()
                return

    def _cut_log(self, happened: Happened, _: str) -> None:
        """Let the machine of Redis lose power: the last second is not on disk."""
        log = self._world.server.folder / "appendonly.aof"
        size = log.stat().st_size
        time.sleep(1.0)
        self._world.server.kill()
        if log.stat().st_size > size:
            with log.open("r+b") as kept:
                kept.truncate(size)
        self._last(happened)
        self._start_redis()
        self._flows(happened)

    def _stop_redis(self, happened: Happened, _: str) -> None:
        process = self._world.server.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        self._last(happened)
        process.send_signal(signal.SIGCONT)
        self._flows(happened)

    def _debug_sleep(self, happened: Happened, _: str) -> None:
        self._world.ask("DEBUG", "SLEEP", happened.fault.lasts)
        self._flows(happened)

    def _pause_clients(self, happened: Happened, _: str) -> None:
        mode = ("ALL", "WRITE")[happened.fault.seed % 2]
        self._world.ask("CLIENT", "PAUSE", int(happened.fault.lasts * 1000), mode)
        self._last(happened)
        self._flows(happened)

    def _flush_scripts(self, happened: Happened, _: str) -> None:
        self._world.ask("SCRIPT", "FLUSH")

    def _kill_connections(self, happened: Happened, _: str) -> None:
        self._world.ask("CLIENT", "KILL", "TYPE", "normal")
        self._flows(happened)

    def _move_clock(self, happened: Happened, _: str) -> None:
        clock = self._world.server.clock
        if clock is not None:
            clock.move(_MOVES[happened.fault.seed % len(_MOVES)])
            self._last(happened)
            clock.move(0)
        self._flows(happened)

    def _full(self, happened: Happened, _: str) -> None:
        with contextlib.closing(self._world.redis()) as redis:
            room = _ROOM * (happened.fault.seed % 2)
            used = redis.info("memory")["used_memory"]
            redis.config_set("maxmemory", max(1, used + room))
            self._last(happened)
            redis.config_set("maxmemory", 0)
        self._flows(happened)

    # -- ways

    def _lose_replies(self, happened: Happened, way: str) -> None:
        self._world.ways[way].loss = (0.01, 0.1, 0.5)[happened.fault.seed % 3]
        self._last(happened)
        self._world.ways[way].loss = 0.0

    def _tear(self, happened: Happened, way: str) -> None:
        self._world.ways[way].tear = (0.01, 0.1, 0.5)[happened.fault.seed % 3]
        self._last(happened)
        self._world.ways[way].tear = 0.0

    def _cut(self, _: Happened, way: str) -> None:
        self._world.ways[way].cut()

    def _delay(self, happened: Happened, way: str) -> None:
        self._world.ways[way].delay = (0.005, 0.05, 0.3)[happened.fault.seed % 3]
        self._last(happened)
        self._world.ways[way].delay = 0.0

    def _hole(self, happened: Happened, way: str) -> None:
        self._world.ways[way].hole = True
        self._last(happened)
        self._world.ways[way].heal()
