"""What a look of ``redtask status`` costs Redis.

``python -m tests.benchmarks.looking`` shows it. Stand-ins fill a hub by the real
scripts; then each screen is read as the command does it, and Redis says itself how long
it was busy with that, and with which commands.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from redtask.hub import calls
from redtask.store import Store
from redtask.tui.reader import Reader
from redtask.tui.state import Subject, Wish
from tests.servers import NAMES, RealServer, find
from tests.stands import Stands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Looks that are measured at once, and how often.
LOOKS: Final = 10
TIMES: Final = 8
#: The script that reads, and the commands of details.
_PLAIN: Final = ("evalsha", "hgetall", "getrange", "lrange", "xrange")
#: Rows of a terminal of 50 lines.
ROWS: Final = 45


@dataclass(frozen=True)
class Cost:
    """Of one look at one screen."""

    #: Which.
    screen: str
    #: Time of a processor that Redis spent on it, all in all, in us: the least.
    least: float
    #: How long Redis was busy with its commands, by its clock, in us: the least, and
    #: the median; where other programs run besides, they are in it.
    busy: float
    median: float
    #: Commands, those in scripts too, by name.
    commands: Mapping[str, float]


def wishes() -> dict[str, Wish]:
    """Return what is looked at."""
    found = {"Overview": Wish(), "Engines": Wish("engines", count=ROWS)}
    for state in ("running", "ready", "waiting", "completed"):
        found[f"Tasks, {state}"] = Wish("tasks", state, count=ROWS)
    found["Failed"] = Wish("failed", "failed", count=ROWS)
    found["Failed, /nothing"] = Wish("failed", "failed", count=ROWS, text="nothing")
    found["Engines, /nothing"] = Wish("engines", count=ROWS, text="nothing")
    found["Events"] = Wish("events", count=ROWS)
    found["a task"] = Wish(subject=Subject("task", "k3f9ab-1"))
    return found


def fill(store: Store, tasks: int, engines: int) -> None:
    """Make a hub: half of the tasks have ended, and every engine runs one."""
    store.do(calls.configure({"lease": 3_600_000}, create=True))
    stands = Stands(store)
    stands.join(engines)
    stands.submit(tasks // 2)
    stands.run(tasks // 2 - engines)
    stands.submit(tasks - tasks // 2)
    stands.submit(20, after=f"as k3f9ab-{tasks - 1}")
    stands.begin()


def measure(store: Store, redis: Any) -> Iterator[Cost]:
    """Look at each screen again and again."""
    reader = Reader(store, 2.0)
    for name, wish in wishes().items():
        reader.read(wish)
        times, spent = [], []
        told: dict[str, Any] = {}
        # What a script calls counts in the script.
        outer = _PLAIN if wish.subject else _PLAIN[:1]
        for _ in range(TIMES):
            redis.config_resetstat()
            before = _processor(redis)
            for _ in range(LOOKS):
                reader.read(wish)
            spent.append((_processor(redis) - before) / LOOKS)
            told = redis.info("commandstats")
            found = [told.get(f"cmdstat_{one}", {"usec": 0})["usec"] for one in outer]
            times.append(sum(found) / LOOKS)
        counted = {
            one.removeprefix("cmdstat_"): about["calls"] / LOOKS
            for one, about in told.items()
            if "config" not in one and "info" not in one
        }
        yield Cost(name, min(spent), min(times), statistics.median(times), counted)


def yardstick(redis: Any) -> float:
    """Return what a thousand plain reads in a script cost here and now, in us."""
    redis.hset("yardstick", mapping={"a": "1", "b": "2", "c": "3"})
    script = redis.register_script(
        "for _ = 1, 1000 do redis.call('HMGET', KEYS[1], 'a', 'b', 'c') end"
    )
    spent = []
    for _ in range(TIMES):
        before = _processor(redis)
        for _ in range(LOOKS):
            script(keys=["yardstick"])
        spent.append((_processor(redis) - before) / LOOKS)
    redis.delete("yardstick")
    return min(spent)


def _processor(redis: Any) -> float:
    """Return the time of a processor that the server has had so far, in us."""
    told = redis.info("cpu")
    return 1e6 * float(told["used_cpu_user"] + told["used_cpu_sys"])


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True)
@click.option("--engines", default=200, show_default=True)
@click.option("--server", type=click.Choice(NAMES[1:]), default="system")
def main(*, tasks: int, engines: int, server: str) -> None:
    """Measure what a look costs Redis."""
    program = find(server)
    if program is None:
        raise click.UsageError(f"there is no redis-server: {server}")
    with tempfile.TemporaryDirectory() as folder:
        found = RealServer(program, Path(folder)).start()
        try:
            store = Store(found.url, "looking")
            fill(store, tasks, engines)
            titles = "screen", "processor us", "busy us", "median us", "commands"
            yard = yardstick(found.redis())
            table = Table(*titles, caption=f"1000 plain reads: {yard:.0f} us")
            for cost in measure(store, found.redis()):
                number = sum(cost.commands.values())
                table.add_row(
                    cost.screen,
                    f"{cost.least:.0f}",
                    f"{cost.busy:.0f}",
                    f"{cost.median:.0f}",
                    f"{number:.0f}",
                )
            Console().print(f"{tasks:,} tasks, {engines} engines, {program}")
            Console().print(table)
        finally:
            found.close()


if __name__ == "__main__":
    main()
