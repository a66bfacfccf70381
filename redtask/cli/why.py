"""``redtask why``: why a task is where it is."""

from __future__ import annotations

import click

from redtask.abbreviation import expand
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json


@click.command("why")
@click.argument("ids", nargs=-1, required=True)
@hub_options
@output_options
def command(*, ids: tuple[str, ...], where: Where, out: Output) -> None:
    """Say why tasks are where they are, and what would change it.

    What a task waits for, which engines may take it and which refused it, or why it
    failed. Exit code 3: no such task.

    \b
    redtask why k3f9ab-17
    redtask why k3f9ab-17 --json
    """
    with where.reader() as hub:
        for name in hub.run(expand(hub.keys, ids)):
            found = hub.run(hub.session.why(name))
            if out.as_json:
                shown = found.as_dict()
                say_json({"id": shown.pop("task_id"), **shown})
            else:
                click.echo(str(found))
