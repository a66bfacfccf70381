"""``redtask result``: the outcome of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from redtask.abbreviation import expand
from redtask.cli import FAILED, REFUSED, TIMEOUT, proposals
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, one_line, safe_lines, say_json
from redtask.cli.selection import only
from redtask.cli.spans import SPAN
from redtask.cli.tasks import what_came
from redtask.error import RemoteError, TaskError
from redtask.listing import Finder
from redtask.query import Query

if TYPE_CHECKING:
    from redtask.cli.reader import Reader


@click.command("result")
@click.argument("id", shell_complete=proposals.tasks)
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@click.option(
    "--timeout", type=SPAN, metavar="SPAN", help="Wait at most this long: 30s, 10m."
)
@click.option(
    "--python",
    is_flag=True,
    help="Unpickle it here, with the key, and print all of it.",
)
@hub_options
@output_options
def command(
    *,
    id: str,  # noqa: A002 - what the help shows
    wait: bool,
    timeout: float | None,
    python: bool,
    where: Where,
    out: Output,
) -> int:
    """Print the result of a task: the short text that its engine made of it.

    Nothing is unpickled, unless --python says so. Exit code 1: it failed or was
    aborted; 3: no such task; 4: it took too long; 5: it has not ended.

    \b
    redtask result k3f9ab-17
    redtask result k3f9ab-17 --wait --timeout 10m
    redtask result k3f9ab-17 --python
    """
    patience = timeout if wait or timeout is not None else 0.0
    with where.reader() as hub:
        (name,) = hub.run(expand(hub.keys, [only(id)]))
        done = hub.run(hub.session.wait(name, patience))
        record = _record(hub, name)
    if not done:
        return _say_pending(out, record, waited=patience != 0)
    if python:
        return _unpickle(where, out, name)
    what = what_came(record)
    if out.as_json:
        say_json({"id": name, "state": record["state"], "what": what or None})
    elif record["state"] == "completed":
        click.echo(safe_lines(what))
    else:
        told = one_line(f"{name} {record['state']}: {what}")
        click.echo(f"redtask: {told}", err=True)
    return 0 if record["state"] == "completed" else FAILED


def _record(hub: Reader, name: str) -> dict[str, Any]:
    query = Query.parse({"msg_id": name})
    ((record),) = hub.run(Finder(hub.keys, query, None).find())
    return record


def _say_pending(out: Output, record: dict[str, Any], *, waited: bool) -> int:
    text = f"{record['msg_id']} is {record['state']}: it has not ended"
    if out.as_json:
        kind = "TimeoutError" if waited else "TaskPending"
        say_json({"error": text, "kind": kind})
    else:
        click.echo(f"redtask: {text}", err=True)
    return TIMEOUT if waited else REFUSED


def _unpickle(where: Where, out: Output, name: str) -> int:
    """Print the unpickled value."""
    if not out.as_json:
        click.echo(f"redtask: unpickling the result of {name} here", err=True)
    with where.client() as client:
        result = client.get_result(name)
        try:
            value = result.get()
        except TaskError as problem:
            if out.as_json:
                say_json({"error": str(problem), "kind": type(problem).__name__})
            elif isinstance(problem, RemoteError):
                text = "\n".join(problem.render_traceback())
                click.echo(safe_lines(text), err=True)
            else:
                click.echo(f"redtask: {one_line(str(problem))}", err=True)
            return FAILED
    if out.as_json:
        say_json({"id": name, "state": "completed", "result": repr(value)})
    else:
        click.echo(safe_lines(repr(value)))
    return 0
