"""What a run cost: time of Redis, commands, time of processes."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.benchmarks.server import Server

#: ``INFO commandstats`` counts also what scripts call, whose time is in that of the
#: script. These are never called by a script. Who has scripts sends hardly anything
#: else: reads of a function or of large arguments, now and then.
TOP: Final = frozenset({
    "blmpop", "blpop", "eval", "evalsha", "script|load", "xread", "xrevrange",
})  # fmt: skip
#: What is sent where there are no scripts.
_PLAIN: Final = frozenset({"lpop", "rpush"})
_SAMPLE: Final = 1000


def processor(pid: int) -> float:
    """Return the seconds that the threads of a process have run; 0: it is gone.

    Not from its ``stat``: that counts in ticks, and what is short is never seen.
    """
    total = 0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            about = (thread / "schedstat").read_text(encoding="ascii")
            total += int(about.split()[0])
    return total / 1e9


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that live."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in listed.split()]


def wakes(pid: int) -> int:
    """Return how often the threads of a process have slept and been woken."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            about = (thread / "status").read_text(encoding="ascii")
            total += int(about.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total


class Commands(NamedTuple):
    """Commands that Redis has performed for clients, and the time that took.

    Each is a round trip, unless they came in pipelines.
    """

    #: How many of each.
    calls: Mapping[str, int]
    #: Time of all of them, in us.
    micros: int

    @classmethod
    def read(cls, redis: Any) -> Commands:
        """Ask the server, or a client of it."""
        stats = {
            name.removeprefix("cmdstat_"): about
            for name, about in redis.info("commandstats").items()
        }
        top = TOP if "evalsha" in stats else TOP | _PLAIN
        found = {name: about for name, about in stats.items() if name in top}
        return cls(
            {name: about["calls"] for name, about in found.items()},
            sum(about["usec"] for about in found.values()),
        )

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self.calls.values())


def bare_script(redis: Any) -> float:
    """Return how many us Redis needs just now for a script that does nothing.

    The time of other scripts, in such units, is the same on every machine, at least
    roughly.
    """
    digest = redis.script_load("return 1")
    before = Commands.read(redis).micros
    with redis.pipeline(transaction=False) as pipeline:
        for _ in range(_SAMPLE):
            pipeline.evalsha(digest, 1, "key", "argument")
        pipeline.execute()
    return (Commands.read(redis).micros - before) / _SAMPLE


class Meter:
    """Measures what happens between ``start`` and ``stop``, per task.

    ``server`` is the Redis that is used, if there is one; ``engines`` tells which
    processes run the tasks.
    """

    def __init__(
        self, server: Server | None, engines: Callable[[], Iterable[int]]
    ) -> None:
        self._server = server
        self._engines = engines
        self._began: tuple[Any, ...] = ()

    def _read(self) -> tuple[Any, ...]:
        commands, redis = Commands({}, 0), 0.0
        if self._server is not None:
            commands = Commands.read(self._server)
            redis = processor(self._server.pid)
        engines = sum(map(processor, self._engines()))
        return commands, redis, engines, time.process_time(), time.perf_counter()

    def start(self) -> None:
        """Begin here."""
        self._began = self._read()

    def stop(self, tasks: int) -> dict[str, float]:
        """Return what each task cost since."""
        now = time.perf_counter()
        seconds = now - self._began[-1]
        figures = {"rate": tasks / seconds}
        commands, redis, engines, client, _ = self._read()
        before, redis0, engines0, client0, _ = self._began
        if self._server is not None:
            figures["redis"] = (commands.micros - before.micros) / tasks
            figures["commands"] = (commands.total - before.total) / tasks
            scripts = commands.calls.get("evalsha", 0) - before.calls.get("evalsha", 0)
            if scripts:
                figures["scripts"] = scripts / tasks
            figures["redis cpu"] = (redis - redis0) / tasks * 1e6
        figures["engines cpu"] = (engines - engines0) / tasks * 1e6
        figures["client cpu"] = (client - client0) / tasks * 1e6
        return figures
