"""Rounds of work and faults, each of which ends in a comparison."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from tests.processes import until
from tests.soak.faults import Happened, Storm
from tests.soak.ledger import Ledger
from tests.soak.verdict import Verdict, judge, read
from tests.soak.world import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.soak.plan import Fault
    from tests.soak.world import World

#: How long clients may take after the last fault, in seconds.
_PATIENCE: Final = 240.0


def _is_rewriting(redis: Any) -> bool:
    about = redis.info("persistence")
    return bool(about["aof_rewrite_in_progress"] or about["aof_rewrite_scheduled"])


class Soak:
    """Runs rounds in a world, and keeps what came of them."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        self._ledger = Ledger(world.folder / "ledger")
        self.verdicts: list[Verdict] = []
        self.happened: list[Happened] = []
        self.memory: list[dict[str, int]] = []
        #: Seconds from the end of faults until all was answered, and all engines back.
        self.drained: list[float] = []
        #: By fault, in seconds.
        self.recovery: dict[str, list[float]] = defaultdict(list)

    @property
    def wrong(self) -> list[str]:
        """What does not hold."""
        return [
            f"round {number}: {one}"
            for number, verdict in enumerate(self.verdicts)
            for one in verdict.wrong
        ]

    def round(self, faults: Sequence[Fault], seconds: float, tasks: int) -> None:
        """Let clients and faults work for so long, and compare."""
        number, world = len(self.verdicts), self._world
        for client in world.clients:
            client.say(f"round {number} {seconds} {tasks // len(world.clients)}")
        storm = Storm(world, faults)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for machine in world.machines.values():
                machine.look()
            time.sleep(0.2)
        storm.stop()
        begun = time.monotonic()
        wrong = storm.wrong + self._hear(number)
        self.drained.append(time.monotonic() - begun)
        back = world.wait_for_engines()
        if back >= _PATIENCE / 4:
            wrong.append(
                f"engines are not back: {world.ask('ZCARD', ROOT + ':engines')}"
            )
        self._ledger.read()
        told = []
        for path in world.folder.glob(f"[a-z].{number}"):
            told += read(path)
            path.unlink()
        with world.redis() as redis:
            redis.config_set("maxmemory", 0)
            verdict = judge(told, self._ledger, redis, lossy=world.fsync != "always")
            self._forget(redis)
        verdict.wrong += wrong
        for machine in world.machines.values():
            verdict.wrong += machine.unmeant
            machine.unmeant = []
        resubmitted = {one.key for one in told if one.kind == "again"}
        self._recoveries(storm.happened, resubmitted)
        self.happened += storm.happened
        self.verdicts.append(verdict)
        self.memory.append(world.memory())
        self._say(
            f"round {number}: {len(told)} tasks, {verdict.runs} runs, "
            f"{len(storm.happened)} faults, answered {self.drained[-1]:.1f} s after "
            f"the last, {len(verdict.wrong)} wrong"
        )
        for one in verdict.wrong[:20]:
            self._say(f"  {one}")

    def _hear(self, number: int) -> list[str]:
        wrong = []
        for client in self._world.clients:
            said = client.hear(_PATIENCE)
            if said != f"done {number}":
                wrong.append(
                    f"a client says {said!r}: {client.log.read_text()[-2000:]}"
                )
        return wrong

    def _forget(self, redis: Any) -> None:
        """Let the hub forget what has ended: each round begins with an empty one."""
        import redtask  # noqa: PLC0415 - reads its profile when it is made

        redis.delete(f"{ROOT}:story")
        with redtask.Client(self._world.server.url) as client:
            client.purge_everything()
        # Its log grows by all that is done; who restarts often never rewrites it.
        redis.execute_command("BGREWRITEAOF")
        until(lambda: not _is_rewriting(redis), "a new log", _PATIENCE)

    def _recoveries(self, happened: Sequence[Happened], apart: set[str]) -> None:
        for one in happened:
            kind = one.fault.kind
            if one.recovery is not None:
                self.recovery[kind].append(one.recovery)
            if kind in ("kill engine", "kill worker", "lose machine", "stop machine"):
                self.recovery[kind] += self._again(one, apart)

    def _again(self, one: Happened, apart: set[str]) -> list[float]:
        """Return after how long what a dead engine was in began once more."""
        found = []
        for key, runs in self._ledger.runs.items():
            if key in apart:
                # Whoever resubmitted it decided when it began again.
                continue
            for run, later in pairwise(runs):
                inside = run.began <= one.began and not 0 < run.ended < one.began
                if run.engine in one.engines and inside and later.began > one.began:
                    found.append(later.began - one.began)
        return found

    def report(self) -> dict[str, Any]:
        """Return all figures."""
        ends: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        story: Counter[str] = Counter()
        for verdict in self.verdicts:
            ends += verdict.ends
            kinds += verdict.kinds
            story += verdict.story
        faults = Counter(one.fault.kind for one in self.happened)
        return {
            "rounds": len(self.verdicts),
            "tasks": kinds.total(),
            "tasks by kind": dict(kinds.most_common()),
            "tasks by end": dict(ends.most_common()),
            "runs": sum(verdict.runs for verdict in self.verdicts),
            "runs again": sum(verdict.again for verdict in self.verdicts),
            "story": dict(story.most_common()),
            "faults": faults.total(),
            "faults by kind": dict(faults.most_common()),
            "recovery": {
                kind: {
                    "count": len(times),
                    "median": round(statistics.median(times), 3),
                    "worst": round(max(times), 3),
                }
                for kind, times in sorted(self.recovery.items())
                if times
            },
            "answered after the last fault": {
                "median": round(statistics.median(self.drained), 3),
                "worst": round(max(self.drained), 3),
            }
            if self.drained
            else {},
            "memory in KiB": [self.memory[0], self.memory[-1]] if self.memory else [],
            "wrong": self.wrong,
        }
