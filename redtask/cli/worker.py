"""``redtask worker``: engines on this machine."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Final

import click

from redtask.connect import connect
from redtask.engine.worker import Options, Worker, banner, default_name
from redtask.profile import Profile

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _name(_ctx: object, _parameter: object, value: str | None) -> str:
    name = value or default_name()
    if not _NAME.fullmatch(name):
        raise click.BadParameter("at most 64 letters, digits, _, . and -")
    return name


def _queues(_ctx: object, _parameter: object, value: str) -> list[str]:
    queues = [queue.strip() for queue in value.split(",")]
    for queue in queues:
        if not _QUEUE.fullmatch(queue):
            raise click.BadParameter(
                f"{queue!r}: small letters, digits, _ and -, parted by commas"
            )
    return list(dict.fromkeys(queues))


@click.command("worker")
@click.option(
    "-n",
    "--engines",
    type=click.IntRange(1, 1024),
    help="How many; one per processor unless told.",
)
@click.option("--url", help="Where Redis is; ?hub=NAME at its end chooses a hub.")
@click.option("--profile", help="The profile to use.")
@click.option("--name", callback=_name, help="Of this worker; host and process id.")
@click.option(
    "-q",
    "--queues",
    default="default",
    show_default=True,
    callback=_queues,
    help="The queues to serve, parted by commas.",
)
@click.option("--preload", multiple=True, help="Import this before engines start.")
@click.option(
    "--max-tasks",
    type=click.IntRange(0),
    default=0,
    help="Replace an engine after so many tasks.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option("--quiet", is_flag=True, help="Say only what is wrong.")
def command(  # noqa: PLR0913 - one per option
    *,
    engines: int | None,
    url: str | None,
    profile: str | None,
    name: str,
    queues: list[str],
    preload: tuple[str, ...],
    max_tasks: int,
    verbose: bool,
    quiet: bool,
) -> int:
    """Run engines on this machine, until stopped.

    The first SIGTERM or Ctrl-C takes nothing new, hands back what has not begun and
    lets the rest finish; the second stops at once.

    \b
    redtask worker -n 4
    redtask worker -u redis://redis.example:6379 --queues night,default
    """
    _configure_log(verbose=verbose, quiet=quiet)
    # Functions sent by name are looked for where the worker was started, too.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a string is what it holds
    count = engines or len(os.sched_getaffinity(0))
    kept = bool(os.environ.get("REDTASK_KEPT"))
    options = Options(name, count, queues, preload, max_tasks, kept)
    store, keyring = connect(Profile.load(profile, url=url), patience=5.0)
    logging.getLogger("redtask").info("%s", banner(store, options))
    store.close()
    return Worker(store, keyring, options).run()


def _configure_log(*, verbose: bool, quiet: bool) -> None:
    """Log to stderr; only our own words, so that what tasks log is theirs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    log = logging.getLogger("redtask")
    log.addHandler(handler)
    log.propagate = False
    level = logging.DEBUG if verbose else logging.INFO
    log.setLevel(logging.WARNING if quiet else level)
