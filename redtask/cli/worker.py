"""``redtask worker``: run engines on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from redtask.cli import REFUSED, exit_code
from redtask.cli.log import FORMATS, configure
from redtask.cli.options import Where, hub_options
from redtask.cli.spans import SPAN, Size, seconds
from redtask.connect import connect
from redtask.engine.terms import Limits
from redtask.engine.worker import Options, Worker, banner, default_name
from redtask.error import ConfigurationError, RedtaskError
from redtask.flags import QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_.=:/-]{1,64}")
_LEVELS: Final = ("debug", "info", "warning", "error")


def _name(_ctx: object, _parameter: object, value: str | None) -> str:
    name = value or default_name()
    if not _NAME.fullmatch(name):
        raise click.BadParameter("at most 64 letters, digits, _, . and -")
    return name


def _queues(_ctx: object, _parameter: object, value: Any) -> list[str]:
    # A file may have a list.
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    queues = [queue.strip() for queue in text.split(",")]
    for queue in queues:
        if not QUEUE.fullmatch(queue):
            raise click.BadParameter(
                f"{queue!r}: lower-case letters, digits, _ and -, separated by commas"
            )
    return list(dict.fromkeys(queues))


def _labels(_ctx: object, _parameter: object, value: tuple[str, ...]) -> list[str]:
    for label in value:
        if not _LABEL.fullmatch(label):
            raise click.BadParameter(f"{label!r}: a word, such as gpu or zone=b")
    return list(dict.fromkeys(value))


def _lifetime(
    _ctx: object, _parameter: object, value: str | None
) -> tuple[float, float]:
    """Parse ``1h`` or ``1h~10m``: a duration, and its random variation."""
    if value is None:
        return 0.0, 0.0
    span, _, jitter = value.partition("~")
    try:
        found = seconds(span), seconds(jitter or "0")
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
    if found[0] <= found[1] and any(found):
        raise click.BadParameter(f"{value!r}: the second must be less than the first")
    return found


@click.command("worker")
@click.option(
    "-n",
    "-c",
    "--engines",
    type=click.IntRange(1, 1024),
    help="How many; by default one per processor.",
)
@hub_options
@click.option(
    "--name", callback=_name, help="Its name; by default host and process id."
)
@click.option(
    "-q",
    "-Q",
    "--queues",
    type=click.UNPROCESSED,
    metavar="TEXT",
    default="default",
    show_default=True,
    callback=_queues,
    help="The queues to serve, separated by commas.",
)
@click.option(
    "-l",
    "--label",
    multiple=True,
    callback=_labels,
    help="A word that describes it, for people; may be repeated.",
)
@click.option("--preload", multiple=True, help="Import this before engines start.")
@click.option("-b", "--burst", is_flag=True, help="Stop when the queues are empty.")
@click.option(
    "--max-tasks",
    type=click.IntRange(0),
    default=0,
    help="Replace an engine after this many tasks.",
)
@click.option(
    "--max-memory",
    type=Size(),
    metavar="SIZE",
    default=0,
    help="Replace an engine that uses more, after its task.",
)
@click.option(
    "--lifetime",
    metavar="1h~10m",
    callback=_lifetime,
    help="Replace an engine after this long, give or take.",
)
@click.option(
    "--max-idle",
    type=SPAN,
    metavar="SPAN",
    default=0.0,
    help="Stop when nothing has run for this long.",
)
@click.option(
    "--max-away",
    type=SPAN,
    metavar="SPAN",
    default="10m",
    show_default=True,
    help="Give up (exit code 69) when Redis has been away this long; 0: never.",
)
@click.option(
    "--drain-timeout",
    type=SPAN,
    metavar="SPAN",
    help="When stopping, send back what still runs after this long.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    help="Say by HTTP whether it takes tasks; 0: any free port.",
)
@click.option("--pid-file", type=click.Path(), help="Write the process id there.")
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    help="Format of the log; by default what suits its target.",
)
@click.option(
    "--log-tasks",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Also log what tasks log, from this level up.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option("--quiet", is_flag=True, help="Log only problems.")
def command(  # noqa: PLR0913 - one per option
    *,
    engines: int | None,
    where: Where,
    name: str,
    queues: list[str],
    label: list[str],
    preload: tuple[str, ...],
    burst: bool,
    max_tasks: int,
    max_memory: int,
    lifetime: tuple[float, float],
    max_idle: float,
    max_away: float,
    drain_timeout: float | None,
    health_port: int | None,
    pid_file: str | None,
    log_format: str | None,
    log_tasks: str | None,
    verbose: bool,
    quiet: bool,
) -> int:
    """Run engines on this machine, until stopped.

    After the first SIGTERM or Ctrl-C it takes nothing new, hands back what has not
    begun and lets the rest finish; the second sends that back, too, to run again
    elsewhere; the third kills it. SIGQUIT is like the second. SIGUSR1 drains its
    engines, SIGCONT resumes them, SIGUSR2 logs their stacks.

    \b
    redtask worker -n 4
    redtask worker -u redis://redis.example:6379 --queues night,default
    redtask worker --lifetime 2h~10m --max-memory 2G --health-port 8080
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    tasks = (
        None if log_tasks is None else logging.getLevelNamesMapping()[log_tasks.upper()]
    )
    configure(log_format, name, level, tasks)
    # Functions sent by name are looked for where the worker was started, too.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - it holds strings
    limits = Limits(max_memory, *lifetime, max_idle, burst, drain_timeout)
    options = Options(
        name,
        engines or len(os.sched_getaffinity(0)),
        queues,
        max_tasks,
        kept=bool(os.environ.get("REDTASK_KEPT")),
        limits=limits,
        health_port=health_port,
        labels=label,
        patience=max_away,
    )
    if os.getpid() == 1:
        # The kernel drops what process 1 does not handle, as the worker soon does.
        signal.signal(signal.SIGTERM, _end)
    with _errors_logged(log_format), _pid_file(pid_file):
        store, keyring = connect(where.profile(), patience=max_away or None)
        logging.getLogger("redtask").info("%s", banner(store, options))
        store.close()
        _import(preload)
        return Worker(store, keyring, options).run()


@contextlib.contextmanager
def _errors_logged(log_format: str | None) -> Iterator[None]:
    """Log what ends the worker where others read the log, a line like the rest."""
    try:
        yield
    except (RedtaskError, OSError) as problem:
        if log_format != "json":
            raise
        logging.getLogger("redtask").critical("%s", problem)
        raise SystemExit(exit_code(problem)) from problem


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _import(modules: Iterable[str]) -> None:
    """Import modules that engines are to share. Raises ``BadParameter``.

    And ``ConfigurationError`` if a module exists, but fails.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as problem:
            missing = isinstance(problem, ModuleNotFoundError) and problem.name
            if missing and f"{name}.".startswith(f"{missing}."):
                hint = "'--preload'"
                raise click.BadParameter(str(problem), param_hint=hint) from None
            text = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise ConfigurationError(f"--preload {name}: {text}") from problem


@contextlib.contextmanager
def _pid_file(name: str | None) -> Iterator[None]:
    """Keep the process id in a file; exit code 5 if a living worker has it.

    The worker holds a lock on it: after a crash the id may be another process's.
    """
    if name is None:
        yield
        return
    path, owner = Path(name), os.getpid()
    try:
        held = _take(path)
    except BlockingIOError:
        pid = path.read_text().strip()
        click.echo(f"redtask: {path}: process {pid} lives", err=True)
        raise click.exceptions.Exit(REFUSED) from None
    except OSError as problem:
        message = f"--pid-file {path}: {problem.strerror}"
        raise ConfigurationError(message) from problem
    try:
        yield
    finally:
        if os.getpid() == owner:
            # If it was removed, the one there now is another's.
            if os.fstat(held).st_nlink:
                _remove(path, held)
            os.close(held)


def _remove(path: Path, held: int) -> None:
    """Remove our file, or what it says, where the folder is not ours to change."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        os.ftruncate(held, 0)


def _take(path: Path) -> int:
    """Lock a file and write our id there; return its descriptor.

    Raises ``BlockingIOError`` if another process has the lock.
    """
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # Not flock: forked engines, and what they start, would share that.
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it may have removed it since we opened it.
            if os.fstat(held).st_nlink:
                os.ftruncate(held, 0)
                os.write(held, f"{os.getpid()}\n".encode())
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)
