"""``redtask why``: why a task is where it is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.abbreviation import expand
from redtask.cli import proposals
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, one_line, say_json, short_ids
from redtask.cli.selection import named
from redtask.error import UnknownTask

if TYPE_CHECKING:
    from redtask.cli.reader import Reader
    from redtask.hub.why import Why

#: The hub's reason for a task that is impossible because of another one.
_BECAUSE: Final = re.compile(r"impossible: (?:after|follow) ([a-z0-9]+-[0-9]+): ")
#: The most causes that are followed.
_MOST: Final = 20


@click.command("why")
@click.argument("ids", nargs=-1, required=True, shell_complete=proposals.tasks)
@hub_options
@output_options
def command(*, ids: tuple[str, ...], where: Where, out: Output) -> None:
    """Say why tasks are where they are, and what would change it.

    What a task is waiting for, which engines may take it and which refused it, or why
    it failed: if because another task did, then also why that one failed, and so on.
    Exit code 3: no such task.

    \b
    redtask why k3f9ab-17
    redtask why k3f9ab-17 --json
    """
    with where.reader() as hub:
        for name in hub.run(expand(hub.keys, named(ids))):
            found = hub.run(hub.session.why(name))
            causes = _causes(hub, found)
            if out.as_json:
                because = [_as_json(one) for one in causes]
                say_json({**_as_json(found), "because": because})
                continue
            first, *others = map(_fit_for_lines, (found, *causes))
            lines = [str(first), *(f"Because {one}" for one in others)]
            text = "\n".join(lines)
            click.echo(short_ids(text) if out.for_people else text)


def _fit_for_lines(found: Why) -> Why:
    """Return it without line breaks, which exceptions may contain."""
    refusals = [replace(one, words=one_line(one.words)) for one in found.refusals]
    return replace(
        found,
        reasons=tuple(map(one_line, found.reasons)),
        refusals=tuple(refusals),
    )


def _causes(hub: Reader, found: Why) -> list[Why]:
    """Return why the task's dependency failed, and that one's, back to the first."""
    causes: list[Why] = []
    while len(causes) < _MOST and (before := _BECAUSE.match(found.reasons[0])):
        try:
            found = hub.run(hub.session.why(before[1]))
        except UnknownTask:
            break
        causes.append(found)
    return causes


def _as_json(found: Why) -> dict[str, Any]:
    shown = found.as_dict()
    shown["start"] = found.start
    shown["members"] = [
        {"id": one.task_id, "state": one.state, "set": one.set} for one in found.members
    ]
    return {"id": shown.pop("task_id"), **shown}
