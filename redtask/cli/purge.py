"""``redtask purge``: forget ended tasks that are no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from redtask.cli import REFUSED
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import Output, say_json
from redtask.cli.selection import Selection, selection_options
from redtask.cli.waiting import bar
from redtask.ended import purge_hub
from redtask.hub import states
from redtask.hub.records import Purged
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.client import Client


@click.command("purge")
@selection_options
@click.option("--all", is_flag=True, help="All that have ended.")
@yes_option
@hub_options
@output_options
def command(
    *,
    chosen: Selection,
    all: bool,  # noqa: A002 - as the option is called
    yes: bool,
    where: Where,
    out: Output,
) -> int:
    """Have the hub forget ended tasks, with their results; others are not touched.

    What other tasks still need is kept. Asks before it purges more than one named
    task. Exit code 3: no such task; 5: one that was named has not ended.

    \b
    redtask purge k3f9ab-17
    redtask purge --state completed --label 'day 1' --yes
    redtask ls --failed --limit 1000 | redtask purge - --yes
    """
    if not all:
        chosen.require(states.ENDED)
    elif not chosen.is_empty:
        raise click.UsageError("--all, or which tasks, not both")
    with where.client() as client:
        if all:
            status = client._run(client._session.status())
            total = sum(status.states.get(state, 0) for state in states.ENDED)
            if total:
                confirm(f"Purge all {count(total, 'ended task')}?", yes=yes)
            purged = _purge(client, "all", total) if total else Purged(0)
        else:
            ids = client._run(chosen.ids(client._session, states.ENDED))
            if not chosen.is_one and ids:
                confirm(f"Purge {count(len(ids), 'task')}?", yes=yes)
            purged = _purge(client, ids, len(ids)) if ids else Purged(0)
    gone, kept = purged.purged, purged.kept
    if out.as_json:
        say_json({"purged": gone, "kept": kept})
    elif out.for_people:
        more = f", {kept} kept because other tasks need them" if kept else ""
        click.echo(f"purged {count(gone, 'task')}{more}")
    else:
        out.table((), [("purged", gone), ("kept", kept)])
    return REFUSED if chosen.is_one and kept else 0


def _purge(client: Client, jobs: str | Sequence[str], total: int) -> Purged:
    """Purge, showing a bar if that takes long."""
    with bar("purge", total) as show:
        return client._run(purge_hub(client._session, jobs, (), show))
