"""``redtask show``: all that is known of a task, as text."""

from __future__ import annotations

import contextlib
import json
import shutil
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.abbreviation import expand
from redtask.arguments import Arguments, arguments_of
from redtask.cli import FAILED, proposals
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import (
    SHORT,
    STATES,
    Output,
    one_line,
    say_json,
    short_ids,
)
from redtask.cli.selection import named
from redtask.cli.tasks import dossier_json, took, what_came, when
from redtask.dossier import Dossier, dossier
from redtask.error import SerializationError, SignatureError
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redtask.client import Client
    from redtask.dossier import Relative
    from redtask.hub.records import Try

#: The most relatives of one kind, lines of output and traceback, and arguments shown.
_MOST_RELATIVES: Final = 10
_MOST_LINES: Final = 20
_MOST_ARGUMENTS: Final = 50
#: The most characters shown of such a line.
_LONGEST: Final = 1000
#: Width of a line if there is no terminal.
_WIDEST: Final = 100


@click.command("show")
@click.argument("ids", nargs=-1, required=True, shell_complete=proposals.tasks)
@click.option(
    "--arguments",
    is_flag=True,
    help="Unpickle the arguments here, with the key, and print them, too.",
)
@hub_options
@output_options
def command(*, ids: tuple[str, ...], arguments: bool, where: Where, out: Output) -> int:
    """Show all that is known of tasks, but for arguments and results themselves.

    The record, tries that failed, engines that refused it, what it depends on and
    what waits for it, earlier and later runs, output and traceback. Nothing is
    unpickled, unless --arguments says so. Exit code 1: arguments cannot be shown; 3: no
    such task.

    \b
    redtask show k3f9ab-17
    redtask show k3f9ab-17 --json
    redtask show k3f9ab-17 --arguments
    """
    code = 0
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(where.reader())
        names = hub.run(expand(hub.keys, named(ids)))
        client = stack.enter_context(where.client()) if arguments else None
        for at, name in enumerate(names):
            found = hub.run(dossier(hub.session, name))
            unpickled = None if client is None else _unpickle(client, out, name)
            if isinstance(unpickled, str):
                code = FAILED
            if out.as_json:
                say_json(dossier_json(found) | _arguments_json(unpickled))
                continue
            if at:
                click.echo()
            _show(out, found)
            if unpickled is not None:
                _show_arguments(unpickled)
    return code


def _unpickle(client: Client, out: Output, name: str) -> Arguments | str:
    """Return the arguments of a task, or why they cannot be shown."""
    if not out.as_json:
        click.echo(f"redtask: unpickling the arguments of {name} here", err=True)
    try:
        return client._run(arguments_of(client._session, name))
    except SignatureError as problem:
        return f"not unpickled: {problem}"
    except SerializationError as problem:
        return str(problem)


def _arguments_json(found: Arguments | str | None) -> dict[str, Any]:
    if found is None:
        return {}
    told = Arguments() if isinstance(found, str) else found
    known = not isinstance(found, str)
    return {
        "args": list(told.args) if known else None,
        "kwargs": dict(told.kwargs) if known else None,
        "edits": dict(told.edits) if known else None,
        "calls": told.calls,
        "arguments_error": None if known else found,
    }


def _show_arguments(found: Arguments | str) -> None:
    if isinstance(found, str):
        click.echo(f"  arguments\n    {one_line(found)}")
        return
    chunk = found.calls is not None
    click.echo(
        f"  arguments of {found.calls:,} calls, a chunk of a map"
        if chunk
        else "  arguments"
    )
    sign = " in " if chunk else "="
    lines = [f"{at}{sign}{one}" for at, one in enumerate(found.args)]
    lines += [f"{name}={one}" for name, one in found.kwargs.items()]
    _some_lines(lines or ["none"])
    if found.edits:
        click.echo("  edited for this run")
        _some_lines([f"{name}={one}" for name, one in found.edits.items()])


def _some_lines(lines: Sequence[str]) -> None:
    for line in lines[:_MOST_ARGUMENTS]:
        click.echo(f"    {one_line(line)}")
    if (more := len(lines) - _MOST_ARGUMENTS) > 0:
        click.echo(f"    and {more:,} more")


def _show(out: Output, found: Dossier) -> None:
    record = found.record
    state = record["state"]
    shown = click.style(state, **_style(state)) if out.for_people else state
    click.echo(f"{one_line(record['function'])}  {shown}")
    width = shutil.get_terminal_size().columns if out.for_people else _WIDEST
    for name, value in _lines(out, found):
        head = f"  {name:<11} "
        shorten = short_ids if name == "reason" and out.for_people else str
        lines = textwrap.wrap(
            shorten(one_line(value)),
            width,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
        )
        click.echo("\n".join(lines))
    for name, text in (
        ("stdout", record["stdout"]),
        ("stderr", record["stderr"]),
        ("traceback", found.traceback or ""),
    ):
        if text:
            _block(name, text)


def _style(state: str) -> dict[str, Any]:
    *bold, colour = STATES.get(state, "white").split()
    return {"fg": colour, "bold": bool(bold)}


def _block(name: str, text: str) -> None:
    lines = text.rstrip("\n").split("\n")
    more = len(lines) - _MOST_LINES
    click.echo(f"  {name}" + (f", the last {_MOST_LINES} lines" if more > 0 else ""))
    for line in lines[-_MOST_LINES:]:
        shown = one_line(line.replace("\t", "    "))
        click.echo("    " + (shown if len(shown) <= _LONGEST else _cut(shown)))


def _cut(line: str) -> str:
    return f"{line[:_LONGEST]}… ({len(line):,} characters)"


def _lines(out: Output, found: Dossier) -> Iterator[tuple[str, str]]:
    record = found.record
    yield "task", record["msg_id"]
    if found.imported is not None:
        yield "function", found.imported or f"{record['function']}, sent by value"
    if what := what_came(record):
        kinds = {"completed": "result", "running": "progress"}
        yield kinds.get(record["state"], "reason"), what
    yield "submitted", when(record["submitted"])
    if record["started"]:
        number = record["engine_id"]
        where = "" if number is None else f", on engine {number}"
        yield "started", when(record["started"]) + where
    if record["completed"]:
        spent = took(record["took"])
        yield "ended", when(record["completed"]) + (f", ran {spent}" if spent else "")
    yield from _flags(record)
    for one in found.tries:
        yield "try", _try(one, found.labels)
    for label, words in found.refusals:
        yield "refused by", f"engine {label}: {words or 'it did not say why'}"
    for name, what, some in (
        ("after", found.after_what, found.after),
        ("follow", found.follow_what, found.follow),
        ("results of", "", () if set(found.refs) == set(found.after) else found.refs),
        ("dependents", "", found.dependents),
    ):
        if some:
            yield name, _related(out, what, some)
    yield from _runs(out, found)


def _runs(out: Output, found: Dossier) -> Iterator[tuple[str, str]]:
    record = found.record
    if not found.runs:
        return
    runs = [
        "this one"
        if one.task_id == record["msg_id"]
        else f"{out.task(one.task_id)} ({one.state})"
        for one in found.runs
    ]
    if (more := len(runs) - 2 * _MOST_RELATIVES) > 0:
        runs[_MOST_RELATIVES:-_MOST_RELATIVES] = [f"{more} more"]
    yield "runs", " -> ".join(runs)
    if not found.runs_complete:
        query = json.dumps({"root": record["root"]})
        yield "", f"maybe more: redtask ls --query '{query}'"


def _flags(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    flags = [f"queue {record['queue']}"]
    if record["label"] is not None:
        flags.append(f"label {record['label']!r}")
    if record["priority"]:
        flags.append(f"priority {record['priority']}")
    if record["retries"] or record["tries"]:
        flags.append(f"{record['tries']} of {record['retries'] + 1} tries failed")
    if record["deaths"]:
        flags.append(f"cost {count(record['deaths'], 'engine')}")
    if record["timeout"]:
        flags.append(f"waits for {record['timeout']:g} s at most")
    if record["targets"]:
        flags.append("only on engines " + ", ".join(map(str, record["targets"])))
    yield "flags", ", ".join(flags)


def _try(one: Try, labels: Mapping[str, int]) -> str:
    place = (
        f" on engine {labels.get(one.engine, one.engine[:SHORT])}" if one.engine else ""
    )
    moment = ""
    if one.ended is not None:
        moment = " at " + when(datetime.fromtimestamp(one.ended / 1000, UTC))
    return f"{one.attempt}{place}{moment}: {one.what}"


def _related(out: Output, what: str, some: Iterable[Relative]) -> str:
    # Unsuccessful ones come first.
    listed = sorted(some, key=lambda one: one.state == "completed")
    shown = [
        f"{out.task(one.task_id)} {one.function} ({one.state})".replace("  ", " ")
        for one in listed[:_MOST_RELATIVES]
    ]
    more = len(listed) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    if not what:
        return text
    return f"{what} of {len(listed)}: {text}" if more > 0 else f"{what}: {text}"
