"""``--profile``: where the time of each path goes, in Redis and in Python.

Where ``valgrind`` is installed the instructions of scripts are counted besides.

Each path is measured twice: once with Redis noting every command, and once with the
profiler in client and engines. That makes Python look slower than it is, functions
more than what is written in C, so its figures are for comparing with each other.
"""

from __future__ import annotations

import collections
import contextlib
import cProfile
import os
import pstats
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from rich.table import Table

from redtask.hub import scripts
from tests.benchmarks import instructions, server, stage
from tests.benchmarks.contestants.ours import Redtask
from tests.benchmarks.profiled_worker import SIGNAL
from tests.benchmarks.report import number
from tests.benchmarks.rows import ROWS
from tests.benchmarks.usage import TOP, children, wakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.benchmarks.rows import Figures, Plan, Row

#: The rows of which it can be shown where the time goes.
PATHS: Final = ("bulk", "single", "trip", "chain", "fan")
_TOP: Final = 15

#: Phases, by what stands in the place of a function: the first that fits.
_PHASES: Final = (
    ("wait", ("recv", "poll", "select", "sleep")),
    ("send", ("'send", "sendall")),
    ("sign", ("signing.py", "HASH", "hmac", "compare_digest")),
    ("pickle", ("payload.py", "pickle", "work.py")),
    ("protocol", ("redis/", "hiredis", "socket.py")),
    ("block", ("block.py", "SemLock", "marshal", "mmap")),
    ("calls", ("store.py", "link.py", "flows/", "hub/", "session.py")),
    ("results", ("inbox.py", "outcomes.py", "completions.py", "result.py")),
    ("task", ("engine/task.py", "output.py", "engine.py")),
)


_Kind = TypeVar("_Kind", bound=Redtask)


class Command(NamedTuple):
    """One kind of command that Redis performed."""

    name: str
    calls: int
    micros: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one path."""

    row: Row
    #: Of the run without the profiler.
    figures: Figures
    tasks: int
    commands: list[Command]
    #: How often each kind of process was woken.
    wakes: Mapping[str, int]
    client: pstats.Stats
    engines: pstats.Stats


class _Profiled(Redtask):
    """redtask whose engines note where their time goes."""

    def man(self) -> None:
        module = "tests.benchmarks.profiled_worker"
        self.command = ("-m", module, str(self.folder))
        super().man()

    def profiles(self) -> pstats.Stats:
        """Have the engines leave what they noted, and return it."""
        engines = children(self.worker)
        for pid in engines:
            os.kill(pid, SIGNAL)
        deadline = time.monotonic() + stage.PATIENCE
        while len(files := list(self.folder.glob("*.engine"))) < len(engines):
            if time.monotonic() > deadline:
                raise TimeoutError("the engines do not tell where their time went")
            time.sleep(0.01)
        return pstats.Stats(*map(str, files))


def profile(
    plan: Plan, tell: Callable[[str, float], None], only: Sequence[str] = ()
) -> list[Table]:
    """Measure every path, or only some; return what is known of them as tables.

    Instructions are counted with all of them.
    """
    shown: list[Table] = []
    names = only or PATHS
    for done, name in enumerate(names):
        tell(f"{name}: profile", done / len(names))
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            shown += _tables(_path(ROWS[name], plan, Path(folder)))
    if not only and not instructions.missing():
        tell("instructions", 1.0)
        shown.append(_instructions())
    return shown


def _path(row: Row, plan: Plan, folder: Path) -> Found:
    with _ready(Redtask, folder / "commands") as contestant:
        figures = row.measure(contestant, plan)
        tasks = _submitted(contestant)
        slept = _wakes(contestant)
        with _noted(contestant) as commands:
            row.measure(contestant, plan)
        woken = {who: count - slept[who] for who, count in _wakes(contestant).items()}
        tasks = _submitted(contestant) - tasks
    client = cProfile.Profile()
    with _ready(_Profiled, folder / "python") as profiled:
        client.runcall(row.measure, profiled, plan)
        engines = profiled.profiles()
    return Found(row, figures, tasks, commands, woken, pstats.Stats(client), engines)


@contextlib.contextmanager
def _ready(kind: type[_Kind], folder: Path) -> Iterator[_Kind]:
    folder.mkdir()
    with (
        server.running(folder / "server") as redis,
        contextlib.closing(kind(folder, 2, redis)) as contestant,
    ):
        contestant.open()
        contestant.man()
        contestant.warm()
        yield contestant


def _wakes(contestant: Redtask) -> dict[str, int]:
    """Return how often each kind of process has been woken so far."""
    assert contestant.server is not None
    return {
        "Redis": wakes(contestant.server.pid),
        "client": wakes(os.getpid()),
        "engines": sum(map(wakes, children(contestant.worker))),
        "supervisor": wakes(contestant.worker),
    }


def _submitted(contestant: Redtask) -> int:
    return len(contestant.client.history)


@contextlib.contextmanager
def _noted(contestant: Redtask) -> Iterator[list[Command]]:
    """Have Redis note each command; the list is filled at the end of the block."""
    assert contestant.server is not None
    redis = contestant.server.redis
    redis.config_set("slowlog-max-len", 1_000_000)
    redis.config_set("slowlog-log-slower-than", 0)
    redis.slowlog_reset()
    commands: list[Command] = []
    yield commands
    redis.config_set("slowlog-log-slower-than", -1)
    names = {scripts.bundle(name).sha: name for name in scripts.commands()}
    noted: dict[str, list[int]] = collections.defaultdict(list)
    for entry in redis.slowlog_get(-1):
        word, *rest = entry["command"].decode("utf-8", "replace").split(" ", 2)
        name = names.get(rest[0], word) if word == "EVALSHA" else word
        # What scripts call is noted too, within the time of the script.
        if name == word and word.lower() not in TOP:
            name = f"  {word} (in scripts)"
        noted[name].append(entry["duration"])
    commands += [
        Command(name, len(micros), sum(micros)) for name, micros in noted.items()
    ]


def _phase(where: tuple[str, int, str]) -> str:
    place = f"{where[0]} {where[2]}"
    for phase, words in _PHASES:
        if any(word in place for word in words):
            return phase
    return "other"


def _by_phase(stats: pstats.Stats) -> Mapping[str, float]:
    """Return seconds by phase."""
    phases: dict[str, float] = collections.defaultdict(float)
    for where, about in stats.stats.items():  # type: ignore[attr-defined]
        phases[_phase(where)] += about[2]
    return phases


def _tables(found: Found) -> Iterator[Table]:
    yield _figures(found)
    yield _commands(found)
    yield _phases(found)
    yield _functions("client", found.client, found.tasks)
    yield _functions("engines", found.engines, found.tasks)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _figures(found: Found) -> Table:
    table = _table(f"{found.row.name}: {found.row.about}", "without profiler", "")
    for name, value in found.figures.items():
        table.add_row(name, number(value))
    # A script that is none of ours is there to be compared with.
    sent = [
        one for one in found.commands if one.name[0] != " " and one.name != "EVALSHA"
    ]
    trips = sum(one.calls for one in sent)
    table.add_row("round trips per task", number(trips / found.tasks))
    for who, count in found.wakes.items():
        table.add_row(f"wake-ups of {who} per task", number(count / found.tasks))
    return table


def _instructions() -> Table:
    """Show what scripts cost where nothing disturbs them."""
    table = _table("scripts, in instructions", "path", "per task", "per call")
    for cost in instructions.measure():
        table.add_row(cost.path, number(cost.instructions), number(cost.per_call))
    return table


def _commands(found: Found) -> Table:
    columns = "command", "calls per task", "us per call", "us per task"
    table = _table(f"{found.row.name}: Redis", *columns)
    for name, calls, micros in sorted(found.commands, key=lambda one: -one.micros):
        per_task = (calls / found.tasks, micros / calls, micros / found.tasks)
        table.add_row(name, *map(number, per_task))
    return table


def _phases(found: Found) -> Table:
    title = f"{found.row.name}: Python by phase, us per task"
    table = _table(title, "phase", "client", "engines")
    client, engines = _by_phase(found.client), _by_phase(found.engines)
    for phase in [*(name for name, _ in _PHASES), "other"]:
        seconds = client.get(phase, 0.0), engines.get(phase, 0.0)
        table.add_row(phase, *(number(one / found.tasks * 1e6) for one in seconds))
    return table


def _functions(who: str, stats: pstats.Stats, tasks: int) -> Table:
    columns = "function", "calls per task", "own us per task", "phase"
    table = _table(f"top of {who}", *columns)
    listed = sorted(
        stats.stats.items(),  # type: ignore[attr-defined]
        key=lambda item: -item[1][2],
    )
    for (path, line, name), about in listed[:_TOP]:
        shown = f"{Path(path).name}:{line} {name}" if line else name
        own = about[2] / tasks * 1e6
        calls = about[1] / tasks
        table.add_row(shown, number(calls), number(own), _phase((path, line, name)))
    return table
