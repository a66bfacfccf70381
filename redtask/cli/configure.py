"""``redtask configure``: the settings of a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.options import (
    Where,
    check_scheme,
    complete_scheme,
    confirm,
    hub_options,
    json_option,
    yes_option,
)
from redtask.cli.output import is_terminal, print_table, say_json
from redtask.cli.spans import Size, Span
from redtask.cli.status import look
from redtask.connect import connect
from redtask.doctor.fleet import cards, strangers
from redtask.scheme import configure, find
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.hub.records import Status
    from redtask.store import Store

#: How many workers are named.
_MOST: Final = 5
#: Settings that are numbers: factor from the shown unit to the hub's, and meaning.
_NUMBERS: Final = {
    "hwm": (1, "most tasks of an engine; 0: a busy one takes more by itself"),
    "result_ttl": (1000, "seconds that ended tasks are kept"),
    "failure_ttl": (1000, "seconds that failed ones are kept at least"),
    "lease": (1000, "seconds that engines may be silent"),
    "max_deaths": (1, "engines that a task may cost"),
    "max_payload": (1, "most bytes of arguments or of a result"),
    "keep_bytes": (1, "bytes of ended tasks that are kept; 0: a quarter of Redis"),
}


@click.command("configure")
@hub_options
@click.option(
    "--scheme",
    metavar="NAME|FILE",
    callback=check_scheme,
    shell_complete=complete_scheme,
    help="How engines are chosen: one of redtask's, or a Lua file of your own.",
)
@click.option(
    "--hwm",
    type=click.IntRange(0, 100000),
    help="The most tasks an engine may have at a time; 0: a busy one takes more by "
    "itself.",
)
@click.option(
    "--result-ttl",
    type=Span(0, 31536000),
    metavar="SPAN",
    help="How long ended tasks are kept; 0: until their room is needed.",
)
@click.option(
    "--failure-ttl",
    type=Span(0, 31536000),
    metavar="SPAN",
    help="How long failed tasks are kept, if that is longer; 0: until their room is "
    "needed.",
)
@click.option(
    "--lease",
    type=Span(0.1, 3600),
    metavar="SPAN",
    help="How long an engine may be silent before it counts as lost.",
)
@click.option(
    "--max-deaths",
    type=click.IntRange(1, 1000),
    help="A task has failed when this many engines have died in it.",
)
@click.option(
    "--max-payload",
    type=Size(65536, 536870912),
    metavar="SIZE",
    help="The maximum size of arguments or of a result.",
)
@click.option(
    "--keep-bytes",
    type=Size(0, 9007199254740991),
    metavar="SIZE",
    help="Above this the oldest ended tasks are forgotten; 0: a quarter of what Redis "
    "may use, or 1 GiB where that is unlimited.",
)
@click.option(
    "--upgrade",
    is_flag=True,
    help="Upgrade a hub of an earlier release to this one; workers of that release are "
    "refused from then on.",
)
@yes_option
@json_option
def command(
    *,
    where: Where,
    scheme: str | None,
    upgrade: bool,
    yes: bool,
    as_json: bool,
    **numbers: float | None,
) -> None:
    """Show the settings of a hub; change those that are named, while it runs.

    If any value is wrong, nothing is changed. You are asked before an upgrade shuts out
    living workers. Exit code 3: there is no such hub; 69: Redis cannot be reached.

    \b
    redtask configure
    redtask configure --hwm 4 --result-ttl 3600
    """
    chosen = None if scheme is None else find(scheme)
    found = where.profile()
    changes = {
        name: round(value * _NUMBERS[name][0])
        for name, value in numbers.items()
        if value is not None
    }
    status = look(found)
    if changes or chosen is not None or upgrade:
        store, _ = connect(found)
        try:
            if upgrade and status.is_earlier:
                _confirm_upgrade(store, status, yes=yes)
            configure(store, changes, chosen, upgrade=upgrade)
        finally:
            store.close()
        status = look(found)
    shown = settings(status.scheme, status.hub)
    if as_json:
        say_json({"hub": found.hub, **shown})
        return
    rows: list[tuple[Any, ...]] = [
        ("scheme", shown["scheme"], "how engines are chosen")
    ]
    rows += [(name, shown[name], about) for name, (_, about) in _NUMBERS.items()]
    if not is_terminal():
        rows = [row[:2] for row in rows]
    print_table("setting", ("setting", "value", "means"), rows)


def _confirm_upgrade(store: Store, status: Status, *, yes: bool) -> None:
    """Ask before workers of another release are shut out, with all that they run."""
    left = strangers(cards(store, status))
    if left:
        shown = ", ".join(f"{name} ({left[name]})" for name in list(left)[:_MOST])
        more = " ..." if len(left) > _MOST else ""
        confirm(
            f"Upgrade the hub, although {count(len(left), 'worker')} of another release"
            f" would be refused, and what they run be lost: {shown}{more}?",
            yes=yes,
        )


def settings(scheme: str, hub: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings in the units shown to users."""
    shown: dict[str, Any] = {"scheme": scheme}
    for name, (unit, _) in _NUMBERS.items():
        # A hub of an earlier release keeps failures as long as others.
        value = int(hub.get(name, hub["result_ttl"]))
        shown[name] = value if unit == 1 else value / unit
    return shown


__all__ = ["command", "settings"]
