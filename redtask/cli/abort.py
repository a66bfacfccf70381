"""``redtask abort``: abort tasks that are no longer wanted."""

from __future__ import annotations

from collections import Counter

import click

from redtask.cli import REFUSED
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import Output, count, say_json
from redtask.cli.selection import Selection, selection_options

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
    it aborts more than one named task. Exit code 3: no such task; 5: one that was
    named has ended, or runs.

    \b
    redtask abort k3f9ab-17
    redtask abort --state ready,waiting --label 'day 3' --running --yes
    """
    chosen.required()
    with where.client() as client:
        states = (*_BEFORE, "running") if running else _BEFORE
        ids = client._run(chosen.ids(client._session, states))
        if not chosen.is_one and ids:
            confirm(f"Abort {count(len(ids), 'task')}?", yes=yes)
        words = client.abort(ids, running=running, dependents=dependents) if ids else {}
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
        told = [f"{number} {word}" for word, number in Counter(words.values()).items()]
        click.echo(", ".join(told) or "no task", err=not told)
    else:
        out.table((), words.items())
    well = {"aborted", "interrupting"}
    return REFUSED if chosen.names and set(words.values()) - well else 0
