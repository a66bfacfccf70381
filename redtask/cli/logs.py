"""``redtask logs``: output of tasks, past and live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from redtask.abbreviation import expand
from redtask.cli import proposals
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, one_line, safe_lines, say_json
from redtask.cli.selection import named
from redtask.dossier import traceback_of
from redtask.flows import reading
from redtask.listing import read
from redtask.live import Listener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.cli.reader import Reader
    from redtask.client import Client
    from redtask.live import Output as Said


@click.command("logs")
@click.argument("ids", nargs=-1, required=True, shell_complete=proposals.tasks)
@click.option("-f", "--follow", is_flag=True, help="Go on until they have ended.")
@hub_options
@output_options
def command(*, ids: tuple[str, ...], follow: bool, where: Where, out: Output) -> None:
    """Print what tasks printed, and the traceback of those that failed.

    What they wrote to standard error goes there, and so does the traceback. With -f it
    also shows what they print from now on, and their progress, until all have ended;
    that needs the key, because the worker is told that somebody is listening. Exit code
    3: no such task.

    \b
    redtask logs k3f9ab-17
    redtask logs k3f9ab-17 2>/dev/null
    redtask logs -f k3f9ab-17
    """
    if follow:
        with where.client() as client:
            names = client._run(expand(client._session.keys, named(ids)))
            _follow(client, out, names)
        return
    with where.reader() as hub:
        names = hub.run(expand(hub.keys, named(ids)))
        for name in names:
            _print_all(hub, out, name, alone=len(names) == 1)
        if not out.as_json:
            _tell_of_running(hub, out, names)


def _tell_of_running(hub: Reader, out: Output, names: Sequence[str]) -> None:
    """Say of which tasks the output is not in the hub yet."""
    records = hub.run(read(hub.keys, names, ("state",)))
    for name, record in zip(names, records, strict=True):
        if record.get("state") == "running":
            told = f"{out.task(name)} is running: -f shows what it prints"
            click.echo(f"redtask: {told}", err=True)


def _print_all(hub: Reader, out: Output, name: str, *, alone: bool) -> None:
    (stdout,) = hub.run(reading.outputs(hub.keys, [name], "stdout"))
    (stderr,) = hub.run(reading.outputs(hub.keys, [name], "stderr"))
    traceback = hub.run(traceback_of(hub.keys, name))
    if out.as_json:
        texts = {"stdout": stdout, "stderr": stderr, "traceback": traceback}
        say_json({"id": name, **texts})
        return
    if not alone:
        click.echo(f"==> {out.task(name)} <==")
    _print(stdout + _end(stdout), err=False)
    _print(stderr + _end(stderr), err=True)
    _print_traceback(traceback)


def _print_traceback(traceback: str | None) -> None:
    if traceback:
        _print(safe_lines(traceback + _end(traceback)), err=True)


def _print(text: str, *, err: bool) -> None:
    """Print a task's output; on a terminal, without control sequences."""
    if text:
        file = sys.stderr if err else sys.stdout
        shown = safe_lines(text) if file.isatty() else text
        click.echo(shown, err=err, nl=False)
        file.flush()


def _end(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"


def _follow(client: Client, out: Output, names: Sequence[str]) -> None:
    """Print output of tasks until they have ended."""
    listener = Listener(client._session, names)
    last = names[0] if len(names) == 1 else ""
    while not listener.done:
        for said in client._run(listener.hear()):
            if out.as_json:
                say_json({"id": said.msg_id, **_about(said)})
                continue
            if said.msg_id != last:
                last = said.msg_id
                click.echo(f"==> {out.task(last)} <==")
            if said.stream == "progress":
                share = "" if said.progress is None else f"{said.progress:.0%} "
                told = one_line(f"[{share}{said.text}]").replace(" ]", "]")
                click.echo(told, err=True)
            else:
                _print(said.text, err=said.stream == "stderr")
    for name in names:
        traceback = client._run(traceback_of(client._session.keys, name))
        if out.as_json:
            if traceback:
                say_json({"id": name, "stream": "traceback", "text": traceback})
        else:
            _print_traceback(traceback)


def _about(said: Said) -> dict[str, object]:
    found: dict[str, object] = {
        "attempt": said.attempt,
        "stream": said.stream,
    }
    if said.stream == "progress":
        return {**found, "progress": said.progress, "doing": said.text or None}
    return {**found, "text": said.text}
