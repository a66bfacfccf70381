"""``redtask abort``: abort tasks that are no longer wanted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from redtask.cli import REFUSED
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import Output, say_json
from redtask.cli.selection import Selection, selection_options
from redtask.cli.waiting import bar
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.client import Client

_BEFORE = ("waiting", "ready", "assigned")


@click.command("abort")
@selection_options
@click.option("--running", is_flag=True, help="Also interrupt those that run.")
@click.option("--dependents", is_flag=True, help="Also abort what depends on them.")
@yes_option
@hub_options
@output_options
def command(
    *,
    chosen: Selection,
    running: bool,
    dependents: bool,
    yes: bool,
    where: Where,
    out: Output,
) -> int:
    """Abort tasks that no engine has begun; with --running also those that run.

    What depends on them fails, or with --dependents is aborted as well. Asks before
    it aborts more than one named task, and with --dependents. Exit code 3: no such
    task; 5: one that was named has ended, or runs.

    \b
    redtask abort k3f9ab-17
    redtask abort --state ready,waiting --label 'day 3' --running --yes
    """
    chosen.require((*_BEFORE, "running"))
    if "running" in chosen.states and not running:
        raise click.UsageError("--state running: what runs needs --running as well")
    with where.client() as client:
        states = (*_BEFORE, "running") if running else _BEFORE
        ids = client._run(chosen.ids(client._session, states))
        if ids and (dependents or not chosen.is_one):
            confirm(_question(len(ids), dependents=dependents), yes=yes)
        with bar("abort", None if dependents else len(ids)) as show:
            words = client._run(
                client._session.abort(
                    ids, running=running, dependents=dependents, progress=show
                )
            )
        left = 0 if running else _left(client, chosen, words)
    if running:
        # Not the word for what goes on.
        words = {
            name: "interrupting" if word == "running" else word
            for name, word in words.items()
        }
    if out.as_json:
        for name, word in words.items():
            say_json({"id": name, "outcome": word})
    elif out.for_people:
        counted = Counter(words.values())
        told = [f"{number:,} {word}" for word, number in counted.items()]
        click.echo(", ".join(told) or "no task", err=not told)
    else:
        out.table((), words.items())
    if left:
        rest = "1 runs and goes" if left == 1 else f"{left:,} run and go"
        click.echo(f"redtask: {rest} on: --running interrupts too", err=True)
    well = {"aborted", "interrupting"}
    return REFUSED if chosen.names and set(words.values()) - well else 0


def _question(number: int, *, dependents: bool) -> str:
    more = f", and what depends on {'it' if number == 1 else 'them'}"
    return f"Abort {count(number, 'task')}{more if dependents else ''}?"


def _left(client: Client, chosen: Selection, words: Mapping[str, str]) -> int:
    """Return how many of the selected tasks run, and are left alone."""
    if not chosen.by_query:
        return list(words.values()).count("running")
    return len(client._run(chosen.ids(client._session, ("running",))))
