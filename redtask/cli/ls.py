"""``redtask ls``: list tasks, the latest first."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import STATES, Output, say_json
from redtask.cli.selection import Selection, selection_options
from redtask.cli.tasks import as_json, engine, plain, short_ago, took, what_came
from redtask.listing import latest
from redtask.query import BUFFERS, KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How many are listed by default.
_MOST: Final = 50
#: Lines of a screen that are not tasks, and the least tasks listed on any screen.
_AROUND: Final = 6
_LEAST: Final = 10
#: Columns of tab-separated lines.
_COLUMNS: Final = (
    "id", "state", "function", "queue", "label", "engine_id", "submitted", "started",
    "completed", "took", "tries", "what",
)  # fmt: skip


def _fields(_ctx: object, _parameter: object, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    # Buffers are pickled: nothing to show.
    known = ["id", "what", *(name for name in KINDS if name not in BUFFERS)]
    for name in names:
        if name not in known:
            raise click.BadParameter(
                f"no such field: {name!r} (there are {', '.join(known)})"
            )
    return names


@click.command("ls")
@selection_options
@click.option(
    "--fields", metavar="A,B,C", callback=_fields, help="Show these, as in db_query."
)
@hub_options
@output_options
def command(
    *, chosen: Selection, fields: list[str] | None, where: Where, out: Output
) -> None:
    """List tasks, the most recently changed first.

    By default as many as fit the screen, or 50; of those that are named, all.

    When piped, a line has, separated by tabs, the id, state, function, queue, label,
    engine, the times of submission, start and end, the seconds it took, the number of
    failed attempts, and the outcome; --fields chooses others.

    \b
    redtask ls
    redtask ls --failed --since 1h --name 'fit*'
    redtask ls --state running,ready --limit 1000 --json
    redtask ls --query '{"took": {"$gt": 60}}' --fields id,function,took
    """
    most = _most(chosen, out)
    with where.reader() as hub:
        found = hub.run(chosen.newest(hub.session, most + 1))
    more, found = len(found) > most, found[:most]
    if out.as_json:
        for record in found:
            shown = as_json(record)
            if fields is not None:
                shown = {name: _value(record, name) for name in fields}
                if "what" in shown:
                    shown["what"] = shown["what"] or None
            say_json(shown)
    elif fields is not None or not out.for_people:
        names = fields or _COLUMNS
        out.table(
            names, [[plain(_value(one, name)) for name in names] for one in found]
        )
    elif not found:
        click.echo("no task", err=True)
    else:
        _show(out, found)
    if more and out.for_people and chosen.limit is None:
        click.echo(f"more than these {most}: see --limit", err=True)


def _most(chosen: Selection, out: Output) -> int:
    """Return how many are listed."""
    if chosen.limit is not None:
        return chosen.limit
    if chosen.names:
        # Whoever names tasks means each of them.
        return sys.maxsize
    if not out.for_people:
        return _MOST
    # More would scroll the latest off the screen.
    return max(_LEAST, shutil.get_terminal_size().lines - _AROUND)


def _value(record: Mapping[str, Any], name: str) -> Any:
    if name == "what":
        return what_came(record)
    return record["msg_id" if name == "id" else name]


def _show(out: Output, found: list[dict[str, Any]]) -> None:
    out.table(
        ("task", "state", "function", "eng", "took", "ago", "what"),
        [
            (
                out.task(one["msg_id"]),
                one["state"],
                one["function"],
                engine(one),
                took(one["took"]),
                short_ago(latest(one)),
                what_came(one),
            )
            for one in found
        ],
        {"state": STATES},
        lesser=("eng", "took", "ago"),
    )
