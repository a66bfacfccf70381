"""``redtask status``: the state of a hub, on screens or once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.spans import SPAN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.cli.output import Output
    from redtask.hub.records import Status
    from redtask.profile import Profile
    from redtask.store import Store


@click.command("status")
@hub_options
@output_options
@click.option("--once", is_flag=True, help="Look once, even on a terminal.")
@click.option(
    "--interval",
    type=SPAN,
    default="2s",
    show_default=True,
    metavar="SPAN",
    help="How often the screens are refreshed.",
)
def command(*, where: Where, out: Output, once: bool, interval: float) -> None:
    """Show a hub: its tasks, engines, queues, failures and throughput.

    On a terminal these are screens with keys (? shows them); elsewhere, or with
    --once, --plain or --json, one look. Exit code 3: there is no such hub; 69: Redis
    cannot be reached.

    \b
    redtask status
    redtask status -u 'redis://redis.example?hub=night' --json
    """
    if not 0.1 <= interval <= 3600:  # noqa: PLR2004 - as the sentence says
        raise click.BadParameter("100ms to 1h", param_hint="'--interval'")
    profile = where.profile()
    with _store(profile) as store:
        if not once and out.for_people:
            from redtask.tui import app  # noqa: PLC0415 - only on a terminal

            if app.can_show():
                raise click.exceptions.Exit(app.run(profile, store, interval))
        from redtask.cli import glance  # noqa: PLC0415 - not needed for help

        seen = glance.Glance.take(profile, store, every=not out.for_people)
    glance.show(seen, out)


@contextlib.contextmanager
def _store(profile: Profile) -> Iterator[Store]:
    """Connect to an existing hub.

    Raises ``NoHub`` and ``ConnectionLost``, which say where it was looked for.
    """
    from redtask.connect import (  # noqa: PLC0415 - not needed for help
        address,
        keys_to_read,
        loaded,
        no_hub,
        unreachable,
    )
    from redtask.error import ConnectionLost, NoHub  # noqa: PLC0415
    from redtask.hub import calls  # noqa: PLC0415
    from redtask.store import Driver, Store  # noqa: PLC0415

    store = Store(address(profile), profile.hub, patience=0.0)
    store.keyring = keys_to_read(profile)
    try:
        Driver(store).run(loaded(profile))
        store.do(calls.status(0))
        yield store
    except ConnectionLost as problem:
        raise unreachable(profile, problem) from None
    except NoHub:
        raise no_hub(profile) from None
    finally:
        store.close()


def look(profile: Profile) -> Status:
    """Return the status of a profile's hub, with all its engines; read-only."""
    from redtask.hub import calls  # noqa: PLC0415 - not needed for help

    with _store(profile) as store:
        return store.do(calls.status(10000))
