"""``redtask cluster``: a hub with engines on this machine."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

import redtask
from redtask.cli import FAILED, NOT_FOUND, REFUSED
from redtask.cli.group import Group
from redtask.cli.options import (
    Where,
    check_scheme,
    complete_scheme,
    confirm,
    hub_options,
    json_option,
    load_profile,
    profile_option,
    yes_option,
)
from redtask.cli.output import (
    ago,
    moment,
    print_table,
    say_json,
    short_path,
    short_url,
)
from redtask.cli.spans import SPAN, Span
from redtask.cli.status import look
from redtask.connect import known_keys
from redtask.error import ClusterError, ClusterRunning, RedtaskError
from redtask.keeper import guests, line
from redtask.keeper.card import Card, claim, is_held
from redtask.keeper.keeper import Keeper
from redtask.keeper.log import configure_log
from redtask.keeper.plan import DAEMON, TERMINAL, Plan
from redtask.profile import DEFAULT_PROFILE
from redtask.server.embedded import EmbeddedServer
from redtask.signals import END_WITH_CLUSTER
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from redtask.profile import Profile

#: How long to wait before explaining what for, and for an immediate stop; in seconds.
_EXPLAIN: Final = 1.0
_LONGEST_STOP: Final = 30.0
#: The longest time that ``poll`` takes, in ms.
_LONGEST_POLL: Final = (1 << 31) - 1

#: Files of a cluster that ran, in a profile's folder.
_LEFT: Final = (
    "cluster.json", ".cluster.json.*", "cluster.log", "cluster.log.*",
)  # fmt: skip


@click.group("cluster", cls=Group)
def command() -> None:
    """Start and stop a hub with engines on this machine.

    Without a URL it brings a Redis of its own, whose data stay when it stops.
    """


def _refuse_database(
    ctx: click.Context, parameter: click.Parameter, value: bool
) -> None:
    """Tell users of ipcluster where the tasks are kept."""
    if value:
        names = ", ".join(parameter.opts)
        raise click.UsageError(f"no such options: {names}: Redis keeps the tasks", ctx)


@command.command("start")
@click.option(
    "-n",
    "--n",
    "--engines",
    "engines",
    type=click.IntRange(0, 1024),
    help="How many; by default one per processor; 0: only the hub.",
)
@click.option("--daemonize", is_flag=True, help="Return when the engines have joined.")
@hub_options
@click.option(
    "--hwm",
    type=click.IntRange(0, 100000),
    help="The most tasks an engine may have at a time; 0: a busy one takes more by "
    "itself.",
)
@click.option(
    "--scheme",
    metavar="NAME|FILE",
    callback=check_scheme,
    shell_complete=complete_scheme,
    help="How engines are chosen; see docs/schemes.rst.",
)
@click.option(
    "--timeout",
    type=Span(0.001),
    default="1m",
    show_default=True,
    metavar="SPAN",
    help="How long engines may take to join.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what the worker says.")
@click.option(
    *("--sqlitedb", "--mongodb", "--dictdb", "--nodb"),
    is_flag=True,
    hidden=True,
    help="Of ipcluster, and not needed.",
    expose_value=False,
    callback=_refuse_database,
)
def start(  # noqa: PLR0913 - one for each option
    *,
    engines: int | None,
    daemonize: bool,
    where: Where,
    hwm: int | None,
    scheme: str | None,
    timeout: float,
    verbose: bool,
) -> int:
    """Start a hub and engines, and keep them until stopped.

    Where --url, the environment or a file names a Redis it uses that, and starts none.
    Ctrl-C lets what runs finish; the second stops at once. A second cluster of one
    profile is refused with exit code 5.

    \b
    redtask cluster start -n 4
    redtask cluster start -n 4 --daemonize
    """
    # Errors in the settings must be reported before anything is started.
    known_keys(where.profile())
    plan = Plan(
        engines=len(os.sched_getaffinity(0)) if engines is None else engines,
        mode=DAEMON if daemonize else TERMINAL,
        profile=where.name,
        url=where.url,
        told=where.told,
        hwm=hwm,
        scheme=scheme,
        patience=timeout,
        verbose=verbose,
    )
    if daemonize:
        daemon, about = line.launch(plan)
        line.let_go(daemon)
        click.echo(_banner(about, plan))
        return 0
    configure_log(sys.stderr, "%(message)s")
    keeper = Keeper(plan)
    code = keeper.run(lambda kept: click.echo(_banner(kept.about(), plan)))
    click.echo("stopped" + _data_stay(keeper.server_folder))
    return code


def _banner(about: dict[str, Any], plan: Plan) -> str:
    """Return what runs where, and how to connect and to stop it."""
    name, key = about["profile"], about["key_source"]
    redis = short_url(about["shown_url"])
    if about["embedded"] is not None:
        redis = f"{about['embedded']}, its own, data in {short_path(about['data'])}"
    arguments = [repr(about["shown_url"])] if plan.url or plan.told else []
    option = ""
    if name != DEFAULT_PROFILE:
        arguments.append(f"profile={name!r}")
        option = f" --profile {name}"
    engines = count(about["engines"], "engine")
    what = f"{engines} on {socket.gethostname()}, hub {about['hub']}"
    lines = [
        f"redtask {redtask.__version__}: {what}",
        f"  Redis    {redis}",
        f"  connect  redtask.Client({', '.join(arguments)})",
    ]
    if about["embedded"] is None:
        told = "REDTASK_KEY=off" if key is None else f"the key from {short_path(key)}"
        lines.append(f"  others   'redtask worker' with REDTASK_URL and {told}")
    if plan.mode == DAEMON:
        lines.append(f"  log      {short_path(about['log'])}")
        lines.append(f"  stop     redtask cluster stop{option}")
    else:
        lines.append("  stop     Ctrl-C, which lets what runs finish; twice: at once")
    return "\n".join(lines)


def _data_stay(folder: Path | None) -> str:
    return "" if folder is None else f"; the data stay in {short_path(folder)}"


@command.command("stop")
@profile_option
@click.option("--now", is_flag=True, help="Do not wait for what runs.")
@click.option(
    "--timeout",
    type=SPAN,
    metavar="SPAN",
    help="How long to wait for what runs; by default as long as it takes.",
)
def stop(*, profile: str | None, now: bool, timeout: float | None) -> int:
    """Stop a cluster: let what runs finish, then stop its Redis.

    Those of 'redtask cluster engines' stop, too. What has not begun stays in the hub.
    Exit code 3: none runs.

    \b
    redtask cluster stop
    redtask cluster stop --timeout 60
    """
    found = load_profile(profile)
    card, drain = Card.read(found.folder), 0.0 if now else timeout
    if card is None:
        _check_settled(found)
        return _stop_orphan(found, drain=drain)
    if card.is_elsewhere:
        raise ClusterError(
            f"the cluster of profile {found.name!r} runs in another container: stop "
            "it there"
        )
    try:
        keeper = card.open()
    except ProcessLookupError:
        return _stop_orphan(found, drain=drain)
    gone, (_, added, others) = False, _living(card, found)
    try:
        if not now:
            signal.pidfd_send_signal(keeper, END_WITH_CLUSTER)
            gone = _wait([keeper], timeout)
        if not gone:
            signal.pidfd_send_signal(keeper, signal.SIGQUIT)
            if not _are_dead([keeper], _LONGEST_STOP):
                raise ClusterError(
                    f"the cluster (process {card.pid}) was told to stop at once, but "
                    f"has not within {_LONGEST_STOP:g} seconds"
                )
    except PermissionError:
        raise ClusterError(
            f"the cluster (process {card.pid}) is another user's, who has to stop it"
        ) from None
    except ProcessLookupError:
        pass
    finally:
        os.close(keeper)
    click.echo(_what_was_done(found, card, card.engines + added, gone=gone))
    if others and card.embedded:
        wait = "waits" if others == 1 else "wait"
        click.echo(
            f"{count(others, 'engine')} of other workers {wait} for its Redis: start "
            "the cluster again, or end those workers",
            err=True,
        )
    return 0


def _check_settled(profile: Profile) -> None:
    """Raise ``ClusterRunning`` if a cluster is starting or ending just now.

    Its Redis may take minutes to read its log.
    """
    if is_held(profile.folder):
        raise ClusterRunning(
            f"the cluster of profile {profile.name!r} is just starting or ending: try "
            "again when it has"
        )


def _wait(pidfds: Sequence[int], timeout: float | None) -> bool:
    """Wait until processes have ended; after a moment, say what for."""
    begun = time.monotonic()
    first = _EXPLAIN if timeout is None else min(_EXPLAIN, timeout)
    if _are_dead(pidfds, first):
        return True
    if timeout is not None and timeout <= first:
        return False
    click.echo("waiting for what runs (Ctrl-C: do not wait, it stops later)", err=True)
    while timeout is None:
        if _are_dead(pidfds, 60.0):
            return True
    return _are_dead(pidfds, timeout - (time.monotonic() - begun))


def _are_dead(pidfds: Sequence[int], seconds: float) -> bool:
    """Wait until processes have ended or the time is up; return whether they have."""
    deadline = time.monotonic() + seconds
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        left = max(0.0, deadline - time.monotonic())
        if not poll.poll(min(left * 1000, _LONGEST_POLL)):
            return False
    return True


def _what_was_done(profile: Profile, card: Card, engines: int, *, gone: bool) -> str:
    how = "after what ran" if gone else "at once"
    done = f"stopped {count(engines, 'engine')} {how}"
    if not card.embedded:
        return f"{done}; Redis at {card.shown_url} goes on"
    living = EmbeddedServer(profile.server_folder).running()
    if living is not None:
        if (unused := claim(profile.server_folder)) is None:
            return f"{done}; Redis goes on, as others use it"
        os.close(unused)
        return f"{done}; Redis (process {living.pid}) was told to stop, but has not yet"
    return f"{done}, and Redis{_data_stay(profile.server_folder)}"


def _stop_orphan(profile: Profile, *, drain: float | None = None) -> int:
    """Stop what a killed daemon has left: engines, then Redis; say so if nothing is.

    ``drain``: how long what runs may take, in seconds; None: no limit.
    """
    server = EmbeddedServer(profile.server_folder)
    nobody = f"no cluster of profile {profile.name!r} runs"
    left = server.running() is not None
    if left and not _is_unused(profile.server_folder):
        click.echo(
            f"{nobody}; its Redis is used by a script's redtask.Cluster, and stops "
            "with that",
            err=True,
        )
        return NOT_FOUND
    workers = _end_guests(profile.folder, drain)
    if workers:
        click.echo(f"stopped {count(workers, 'worker')} of a dead cluster")
    # What they ran may have taken long: somebody may have begun to use it.
    if left and (last := claim(profile.server_folder)) is not None:
        try:
            server.stop()
        finally:
            os.close(last)
        click.echo(
            "stopped the Redis that a dead cluster had left"
            + _data_stay(profile.server_folder)
        )
    elif left:
        click.echo("Redis goes on, as others use it")
    elif not workers:
        click.echo(nobody, err=True)
        return NOT_FOUND
    return 0


def _is_unused(folder: Path) -> bool:
    """Does nobody keep the embedded server of this folder?"""
    if (claimed := claim(folder)) is None:
        return False
    os.close(claimed)
    return True


def _end_guests(folder: Path, drain: float | None) -> int:
    """End workers that were added to a cluster, as its keeper would; return how many.

    They need its Redis to report what they have done.
    """
    told: list[guests.Guest] = []
    try:
        for guest in guests.find(folder):
            told.append(guest)
            # Like its keeper, leave those of other users alone.
            with contextlib.suppress(PermissionError):
                guest.tell(drain)
        pidfds = [guest.pidfd for guest in told]
        if not _wait(pidfds, drain):
            for guest in told:
                with contextlib.suppress(PermissionError):
                    guest.press()
            _are_dead(pidfds, guests.HURRY)
    finally:
        for guest in told:
            os.close(guest.pidfd)
    return len(told)


@command.command("status")
@profile_option
@json_option
def status(*, profile: str | None, as_json: bool) -> int:
    """Show whether a cluster of a profile runs, and what.

    Exit code 1: its hub cannot be asked; 3: none runs.

    \b
    redtask cluster status --json
    """
    found = load_profile(profile)
    card = Card.read(found.folder)
    if card is None:
        if as_json:
            say_json({"profile": found.name, "running": False})
        else:
            click.echo(f"no cluster of profile {found.name!r} runs", err=True)
        return NOT_FOUND
    joined, *_ = _living(card, found)
    if as_json:
        say_json({**_as_json(found.name, card), "living": joined})
        return FAILED if joined is None else 0
    kind = "a daemon" if card.mode == DAEMON else "in a terminal"
    redis = "its own, " if card.embedded else ""
    click.echo(
        f"cluster of profile {found.name!r}: {kind}, process {card.pid}, "
        f"for {ago(card.since)}\n"
        f"  Redis    {redis}{short_url(card.shown_url)}\n"
        f"  hub      {card.hub}\n"
        f"  engines  {_engines_words(card, joined)}"
    )
    if card.log:
        click.echo(f"  log      {short_path(card.log)}")
    return FAILED if joined is None else 0


def _as_json(name: str, card: Card) -> dict[str, Any]:
    return {
        "profile": name,
        "running": True,
        "pid": card.pid,
        "mode": card.mode,
        "hub": card.hub,
        "url": card.shown_url,
        "embedded": card.embedded,
        "engines": card.engines,
        "workers": list(card.workers),
        "since": moment(card.since * 1000),
        "log": card.log or None,
    }


def _living(card: Card, profile: Profile) -> tuple[int | None, int, int]:
    """Return how many of the hub's engines are the cluster's, added to it, and others'.

    If the hub cannot be asked: None, 0 and 0.
    """
    try:
        known = look(load_profile(profile.name, url=card.url))
    except RedtaskError:
        return None, 0, 0
    names = [engine.worker for engine in known.engines]
    ours, added = (
        sum(name in workers for name in names)
        for workers in (card.workers, guests.names(profile.folder))
    )
    return ours, added, len(names) - ours - added


def _engines_words(card: Card, joined: int | None) -> str:
    if joined is None:
        return f"{card.engines}; the hub cannot be asked"
    return f"{joined} of {card.engines} have joined"


@command.command("engines")
@click.option(
    "-n",
    "--engines",
    type=click.IntRange(1, 1024),
    help="How many; by default one per processor.",
)
@profile_option
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.pass_context
def engines_(
    ctx: click.Context, *, engines: int | None, profile: str | None, verbose: bool
) -> Any:
    """Run more engines for a cluster that runs, until it or they are stopped.

    They are a worker of their own, which ends with Ctrl-C or with the cluster;
    'redtask worker' has more options, and runs on other machines, too. Exit code 3: no
    cluster runs.

    \b
    redtask cluster engines -n 2
    """
    found = load_profile(profile)
    card = Card.read(found.folder)
    if card is None:
        click.echo(f"no cluster of profile {found.name!r} runs", err=True)
        return NOT_FOUND
    from redtask.cli.worker import command as worker  # noqa: PLC0415 - only here
    from redtask.engine.worker import default_name  # noqa: PLC0415

    name = default_name()
    # Wherever its Redis is: a profile given by name is looked up by itself.
    words = ["--profile", found.name, "--url", card.url, "--name", name]
    words += ["--pid-file", str(guests.file_of(found.folder, name))]
    words += [] if engines is None else ["--engines", str(engines)]
    words += ["--verbose"] if verbose else []
    with worker.make_context("worker", words, parent=ctx.parent) as run:
        return worker.invoke(run)


@command.command("clean")
@profile_option
@click.option("--data", is_flag=True, help="Also the tasks and results of its Redis.")
@yes_option
def clean(*, profile: str | None, data: bool, yes: bool) -> int:
    """Remove what a cluster that does not run has left.

    If it died, its Redis is stopped, and its card and log are removed; with --data also
    all that its Redis has stored. Keys and settings stay. Exit code 5: it is running,
    or engines that were added to it are.

    \b
    redtask cluster clean
    redtask cluster clean --data --yes
    """
    found = load_profile(profile)
    if Card.read(found.folder) is not None:
        click.echo(f"the cluster of profile {found.name!r} runs", err=True)
        return REFUSED
    _check_settled(found)
    if living := guests.names(found.folder):
        click.echo(
            f"{count(len(living), 'worker')} of 'redtask cluster engines' still "
            f"{'runs' if len(living) == 1 else 'run'}: 'redtask cluster stop' ends "
            "what is left of a cluster",
            err=True,
        )
        return REFUSED
    server = EmbeddedServer(found.server_folder)
    if server.running() is not None and _stop_orphan(found) != 0:
        return REFUSED
    gone = [path for name in _LEFT for path in found.folder.glob(name)]
    gone += guests.left(found.folder)
    if data and found.server_folder.exists():
        confirm(f"Delete the data in {short_path(found.server_folder)}?", yes=yes)
        gone.append(found.server_folder)
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        click.echo(f"removed {short_path(path)}")
    if not gone:
        click.echo("nothing was left")
    return 0


@command.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the clusters of all profiles that run on this machine.

    \b
    redtask cluster list
    """
    folder = load_profile().folder.parent
    found = [
        (path.name, card)
        for path in sorted(folder.glob("*"))
        if (card := Card.read(path)) is not None
    ]
    if as_json:
        for name, card in found:
            say_json(_as_json(name, card))
        return
    print_table(
        "cluster",
        ("profile", "process", "engines", "for", "hub", "redis"),
        [
            (
                name,
                card.pid,
                card.engines,
                ago(card.since),
                card.hub,
                "its own" if card.embedded else short_url(card.shown_url),
            )
            for name, card in found
        ],
    )
