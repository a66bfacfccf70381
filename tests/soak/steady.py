"""Whether memory stays what it is: the same load for a long time, and no faults."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redtask.connect import connect
from redtask.hub import calls
from redtask.profile import Profile
from tests.soak.verdict import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.soak.world import World

#: Between two samples, in seconds.
_ROUND: Final = 60.0
#: How long results are kept, in ms: so long memory grows, however steady the load is.
_KEPT: Final = 60_000
#: The part of all samples that is no measure yet: histories and caches fill.
_WARM: Final = 1 / 2
_PATIENCE: Final = 120.0
#: How a task may end here: one that raises, or comes behind one that did.
_ENDS: Final = {"completed", "failed ValueError", "failed ImpossibleDependency"}


class Steady:
    """Lets clients work in a world, and looks at its memory again and again."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        #: Minutes since the first sample, and by process KiB.
        self.minutes: list[float] = []
        self.samples: dict[str, list[int]] = defaultdict(list)
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, minutes: float, rate: float) -> dict[str, Any]:
        """Work for so long at so many tasks per second; return the figures."""
        world = self._world
        store, _ = connect(Profile.load(url=world.server.url))
        store.do(calls.configure({"result_ttl": _KEPT}))
        store.close()
        begun = time.monotonic()
        for number in range(max(3, round(minutes * 60 / _ROUND))):
            share = max(1, round(rate * _ROUND / len(world.clients)))
            for client in world.clients:
                client.say(f"round {number} {_ROUND} {share}")
            for client in world.clients:
                said = client.hear(_ROUND + _PATIENCE)
                if said != f"done {number}":
                    self.wrong.append(f"a client says {said!r} in round {number}")
            self._read(number)
            self.minutes.append((time.monotonic() - begun) / 60)
            self._sample()
        return self.report()

    def _read(self, number: int) -> None:
        for path in self._world.folder.glob(f"[a-z].{number}"):
            for one in read(path):
                end = f"{one.state} {one.ename}".strip()
                self.ends[end] += 1
                if end not in _ENDS:
                    self.wrong.append(f"{one.kind} {one.key}: {end}")
            path.unlink()

    def _sample(self) -> None:
        world = self._world
        found = world.memory()
        with contextlib.closing(world.redis()) as redis:
            found["redis, used"] = redis.info("memory")["used_memory"] // 1024
        for name, machine in world.machines.items():
            engines = [_own(pid) for pid in machine.pids()]
            found[f"engines of {name}"] = sum(engines)
        for name, size in found.items():
            self.samples[name].append(size)
        told = ", ".join(f"{name} {size:,}" for name, size in found.items())
        self._say(f"minute {self.minutes[-1]:.0f}: {told} KiB")

    def report(self) -> dict[str, Any]:
        """Return of each process its memory and how fast it grows."""
        return {
            "minutes": round(self.minutes[-1], 1),
            "tasks by end": dict(self.ends),
            "memory": {
                name: self._trend(sizes) for name, sizes in self.samples.items()
            },
            "wrong": self.wrong,
        }

    def _trend(self, sizes: Sequence[int]) -> dict[str, float]:
        warm = int(len(sizes) * _WARM)
        line = statistics.linear_regression(self.minutes[warm:], sizes[warm:])
        return {
            "first KiB": sizes[0],
            "warm KiB": sizes[warm],
            "last KiB": sizes[-1],
            "KiB per hour": round(60 * line.slope),
        }


def _own(pid: int) -> int:
    """Return what a process has for itself alone, in KiB; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines())
    return sum(int(line[1]) for line in lines if line[0].startswith("Private_"))


def measure(
    world: World, say: Callable[[str], None], minutes: float, rate: float
) -> bool:
    """Start the world, print the figures, and return whether nothing was wrong."""
    (world.folder / "ledger").mkdir()
    try:
        world.start(calm=True)
        steady = Steady(world, say)
        say(json.dumps(steady.run(minutes, rate), indent=1))
    finally:
        stopping = world.close()
    for one in stopping:
        say(one)
    return not steady.wrong and not stopping
