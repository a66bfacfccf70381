"""The command: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import profiling, publish, report, stage
from tests.benchmarks.contestants.ours import Redtask
from tests.benchmarks.figures import Collection
from tests.benchmarks.lineup import FLOORS, PEERS
from tests.benchmarks.rows import ROWS, Plan
from tests.benchmarks.run import Run
from tests.benchmarks.venvs import UnavailableError, Venv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.contestants.base import Contestant

_PEERS = {kind.name: kind for kind in PEERS}
#: Those that are measured when nobody says whom.
_USUAL = "ipyparallel,pool"
#: What redtask is compared by.
_COMPARED = list(dict.fromkeys(column.row for column in publish.COLUMNS))
_FLOORS = "floors"


def _parted(choice: str, known: set[str]) -> list[str]:
    words = [word.strip() for word in choice.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise click.BadParameter(f"{word!r} is none of {', '.join(sorted(known))}")
    return words


def _contestants(
    peers: str, only: list[str], say: Callable[[str], None], without: dict[str, str]
) -> list[type[Contestant]]:
    """Return who takes part: redtask, the floors, and the peers that can be had."""
    named = [word for word in only if word not in ROWS]
    if peers == "all":
        peers = ",".join(_PEERS)
    chosen = [] if peers == "none" else _parted(peers, set(_PEERS))
    found: list[type[Contestant]] = [Redtask]
    if not named or _FLOORS in named:
        found += FLOORS
    for name in chosen:
        if named and name not in named:
            continue
        kind = _PEERS[name]
        try:
            Venv(name, kind.needs).make(partial(say, f"installing {name}"))
        except UnavailableError as problem:
            without[name] = str(problem)
            say(f"without {name}: {problem}")
        else:
            found.append(kind)
    return found


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show how far it is: a bar on a terminal, else a line for each step."""
    if not console.is_terminal:
        yield lambda what, done: console.print(f"{done:4.0%}  {what}")
        return
    columns = TextColumn("{task.description:28}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=1.0)
        yield lambda what, done: progress.update(bar, description=what, completed=done)


@contextlib.contextmanager
def _stage(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Keep away from the user's own profiles, and show how far it is."""
    with tempfile.TemporaryDirectory() as home, _progress(console) as tell:
        os.environ["REDTASK_HOME"] = home
        yield tell


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
@click.option(
    "--only",
    default="",
    metavar="NAMES",
    help=f"Only these rows ({', '.join(ROWS)}), or only these besides redtask "
    f"(floors, {', '.join(_PEERS)}).",
)
@click.option(
    "--peers",
    is_flag=False,
    flag_value="all",
    default=_USUAL,
    show_default=True,
    metavar="NAMES",
    help="Other queues to measure, each installed in an environment of its own, or "
    "none; without names, all of them, on the rows they have in common.",
)
@click.option(
    "--write",
    is_flag=False,
    flag_value=stage.HOUSE,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the table and the plot into README.rst and docs/, here or in FOLDER.",
)
@click.option("--repeat", type=click.IntRange(1), help="Repetitions; 5 unless --quick.")
@click.option("--tasks", type=click.IntRange(100), help="Tasks of a bulk run.")
@click.option("--quick", is_flag=True, help="Few tasks, once: does it work?")
@click.option("--profile", is_flag=True, help="Show where redtask's time goes instead.")
def main(  # noqa: PLR0913 - one for each option
    *,
    as_json: bool,
    only: str,
    peers: str,
    write: Path | None,
    repeat: int | None,
    tasks: int | None,
    quick: bool,
    profile: bool,
) -> None:
    """Measure redtask beside bare Redis lists and other queues, in turn."""
    console, shown = Console(stderr=True), Console()
    plan = Plan.quick() if quick else Plan()
    if tasks:
        plan = replace(plan, tasks=tasks, backlog=5 * tasks)
    collection = Collection()
    with _stage(console) as tell:
        if profile:
            paths = _parted(only, set(profiling.PATHS))
            tables = profiling.profile(plan, tell, paths)
        else:
            chosen = _parted(only, {*ROWS, *_PEERS, _FLOORS})
            contestants = _contestants(peers, chosen, console.print, collection.without)
            if peers == "all" and not any(name in ROWS for name in chosen):
                chosen += _COMPARED
            rows = [row for name, row in ROWS.items() if name in chosen]
            times = repeat or (1 if quick else 5)
            run = Run(contestants, rows or list(ROWS.values()), plan, times, tell)
            load = os.getloadavg()[0]
            run(collection)
            if write is not None:
                for path in publish.write(collection, write, times, load):
                    console.print(f"written: {path}")
            if as_json:
                sys.stdout.write(report.as_json(collection) + "\n")
                return
            tables = list(report.tables(collection))
    shown.print(report.machine())
    for table in tables:
        shown.print(table)
    for name, why in collection.without.items():
        shown.print(f"without {name}: {why}")


if __name__ == "__main__":
    main()
