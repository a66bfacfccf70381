"""``redtask queue``: list queues, pause and resume them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from redtask.cli import proposals
from redtask.cli.group import Group
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json
from redtask.flags import QUEUE
from redtask.spelling import suggestion

if TYPE_CHECKING:
    from redtask.hub.records import QueueStatus
    from redtask.hub.views import Queue


@click.group("queue", cls=Group)
def command() -> None:
    """Look at queues; pause and resume them."""


@command.command("ls")
@hub_options
@output_options
def ls(*, where: Where, out: Output) -> None:
    """List the queues that have engines or tasks, or are paused.

    \b
    redtask queue ls
    """
    with where.reader() as hub:
        queues = sorted(
            hub.run(hub.session.status()).queues, key=lambda queue: queue.name
        )
    if out.as_json:
        for queue in queues:
            say_json(queue_json(queue))
        return
    out.table(
        ("queue", "state", "ready", "engines"),
        [(one.name, _state(one), one.ready, one.engines) for one in queues],
        {"state": {"paused": "yellow", "unserved": "bold red"}},
    )


def queue_json(queue: QueueStatus | Queue) -> dict[str, Any]:
    """Return a queue as JSON values."""
    return {
        "queue": queue.name,
        "state": _state(queue),
        "ready": queue.ready,
        "engines": queue.engines,
    }


def _state(queue: QueueStatus | Queue) -> str:
    if queue.paused:
        return "paused"
    return "open" if queue.engines or not queue.ready else "unserved"


def _names(_ctx: object, _param: object, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not QUEUE.fullmatch(name):
            raise click.BadParameter(
                f"{name!r}: a queue is of lower-case letters, digits, _ and -"
            )
    return names


_queues = click.argument(
    "queues",
    nargs=-1,
    required=True,
    callback=_names,
    shell_complete=proposals.queues,
)


@command.command("pause")
@_queues
@hub_options
@output_options
def pause(*, queues: tuple[str, ...], where: Where, out: Output) -> None:
    """Let nothing in these queues begin until they are resumed.

    Tasks go on entering them; what engines have taken they finish.

    \b
    redtask queue pause reports
    """
    _turn(queues, where, out, resume=False)


@command.command("resume")
@_queues
@hub_options
@output_options
def resume(*, queues: tuple[str, ...], where: Where, out: Output) -> None:
    """Let paused queues go on.

    \b
    redtask queue resume reports mails
    """
    _turn(queues, where, out, resume=True)


def _turn(queues: tuple[str, ...], where: Where, out: Output, *, resume: bool) -> None:
    from redtask import orders  # noqa: PLC0415 - not needed for help

    with where.client() as client:
        words = client._run(orders.pause(queues, resume=resume))
        known = client._run(client._session.status()).queues
    in_use = [queue.name for queue in known if queue.engines or queue.ready]
    for name in queues:
        if not resume and name not in in_use:
            # It may be meant for later, or be misspelt.
            hint = suggestion(name, in_use).replace(", did", "; did")
            click.echo(f"nothing waits in {name}, and nobody serves it{hint}", err=True)
    for name, word in words.items():
        if out.as_json:
            say_json({"queue": name, "outcome": word})
        elif out.for_people:
            click.echo(f"{name} is {word}")
        else:
            out.table((), [(name, word)])
