"""``redtask logs``: what tasks printed."""

from __future__ import annotations

import sys

import click

from redtask import flows
from redtask.abbreviation import expand
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json
from redtask.dossier import traceback_of


@click.command("logs")
@click.argument("ids", nargs=-1, required=True)
@hub_options
@output_options
def command(*, ids: tuple[str, ...], where: Where, out: Output) -> None:
    """Print what tasks printed, and the traceback of those that failed.

    What they wrote to standard error goes there, and so does the traceback. Exit code
    3: no such task.

    \b
    redtask logs k3f9ab-17
    redtask logs k3f9ab-17 2>/dev/null
    """
    with where.reader() as hub:
        names = hub.run(expand(hub.keys, ids))
        for name in names:
            (stdout,) = hub.run(flows.outputs(hub.keys, [name], "stdout"))
            (stderr,) = hub.run(flows.outputs(hub.keys, [name], "stderr"))
            traceback = hub.run(traceback_of(hub.keys, name))
            if out.as_json:
                say_json(
                    {
                        "id": name,
                        "stdout": stdout,
                        "stderr": stderr,
                        "traceback": traceback,
                    }
                )
                continue
            if len(names) > 1:
                click.echo(f"==> {out.task(name)} <==")
            _print(stdout, err=False)
            sys.stdout.flush()
            _print(stderr + _ended(stderr) + (traceback or ""), err=True)


def _print(text: str, *, err: bool) -> None:
    if text:
        click.echo(text + _ended(text), err=err, nl=False)


def _ended(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"
