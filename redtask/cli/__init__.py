"""The ``redtask`` command. Each subcommand is a module, imported when it is run.

To add one: a line in ``COMMANDS``, and a module of that name with a ``command``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final

import click

import redtask
from redtask.cli.group import Group, Invocation, Unconfirmed
from redtask.cli.settings import Settings, misspelt
from redtask.error import (
    ClusterRunning,
    ConnectionLost,
    KeyRefused,
    NameTaken,
    NoHub,
    NoRedis,
    NoWorker,
    RedtaskError,
    TaskLost,
    TaskPending,
    UnknownEngine,
    UnknownKey,
    UnknownTask,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Subcommands and their short help, in the order of ``redtask --help``.
COMMANDS: Final = {
    "worker": "Run engines on this machine.",
    "cluster": "Start and stop a hub with engines on this machine.",
    "submit": "Submit calls of functions that engines import.",
    "engine": "Look at engines; drain, resume, stop and restart them.",
    "queue": "Look at queues; pause and resume them.",
    "status": "Show what is in a hub, and what it is doing.",
    "ls": "List tasks, the latest first.",
    "show": "Show all that is known of tasks.",
    "why": "Say why tasks are where they are.",
    "logs": "Print what tasks printed.",
    "result": "Print the result of a task.",
    "replay": "Run ended tasks again.",
    "abort": "Abort tasks.",
    "purge": "Have the hub forget ended tasks.",
    "graph": "Show what tasks depend on, and what depends on them.",
    "timeline": "Show which engine ran what when.",
    "events": "Show what did not go as planned.",
    "configure": "Show and change the settings of a hub.",
    "doctor": "Check a hub and what it runs on; repair what can be repaired.",
    "init": "Write a profile: where a hub is, and its key.",
    "key": "Make, show and change the keys of a hub.",
    "config": "Show the settings of the command line, and where they come from.",
    "completion": "Print the completion script for a shell.",
}

#: Groups of subcommands in ``redtask --help``.
_SECTIONS: Final = {
    "Tasks": (
        "submit", "ls", "show", "why", "logs", "result", "replay", "abort", "purge",
        "graph", "timeline",
    ),
    "Engines": ("worker", "cluster", "engine", "queue"),
    "The hub": ("status", "events", "configure", "doctor", "key", "init"),
    "The command line": ("config", "completion"),
}  # fmt: skip

#: Exit codes: failure, or the answer is no; no such thing; timed out; not possible in
#: the current state; Redis is unavailable; interrupted. Usage errors are click's 2.
FAILED: Final = 1
NOT_FOUND: Final = 3
TIMEOUT: Final = 4
REFUSED: Final = 5
UNAVAILABLE: Final = 69
INTERRUPTED: Final = 130

#: The exit code of each kind of error, subclasses first.
_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (ConnectionLost, UNAVAILABLE),
    (NoHub, NOT_FOUND),
    (NoRedis, NOT_FOUND),
    (NoWorker, NOT_FOUND),
    (UnknownEngine, NOT_FOUND),
    (UnknownKey, NOT_FOUND),
    (KeyRefused, REFUSED),
    (UnknownTask, NOT_FOUND),
    (TaskLost, NOT_FOUND),
    (TimeoutError, TIMEOUT),
    (ClusterRunning, REFUSED),
    (NameTaken, REFUSED),
    (TaskPending, REFUSED),
)

#: Raised when a group without a subcommand shows its help; older releases of click
#: print it themselves.
_HELPS: Final[tuple[type[Exception], ...]] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)


class _Root(Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"redtask.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and load its defaults from files."""
        found = super().resolve_command(ctx, args)
        name, command, _ = found
        if name is not None and command is not None and not ctx.resilient_parsing:
            settings = Settings.load(COMMANDS)
            settings.check(name, command)
            ctx.default_map = settings.defaults()
            ctx.ensure_object(Invocation).settings = settings
            for told in misspelt(name, command, COMMANDS):
                click.echo(f"redtask: {told}", err=True)
        return found

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        del ctx
        left = dict(COMMANDS)
        for title, names in _SECTIONS.items():
            rows = [(name, left.pop(name)) for name in names if name in left]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=12)
        if left:
            with formatter.section("More"):
                formatter.write_dl(list(left.items()), col_max=12)

    def main(  # type: ignore[override]  # it never returns
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> None:
        """Run a command and exit; report errors in one line.

        Or as a JSON object on standard output if JSON was requested.
        """
        if None in (sys.stdin, sys.stdout, sys.stderr):
            from redtask import process  # noqa: PLC0415 - seldom, and it takes a while

            process.open_streams()
        _replace_unknown()
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] == ["help"]:
            # As in other programs of many commands.
            words = [*words[1:], "--help"]
        said = words[: words.index("--")] if "--" in words else words
        told = Invocation(as_json="--json" in said)
        show = "--traceback" in said or _is_on(os.environ.get("REDTASK_TRACEBACK"))
        extra.update(standalone_mode=False, obj=told)
        try:
            code: Any = super().main(words, prog_name or "redtask", **extra)
        except click.exceptions.Abort:
            sys.exit(INTERRUPTED)
        except click.ClickException as problem:
            if told.as_json:
                _say_json(told.explain(problem), problem)
            else:
                _show(told, problem)
            sys.exit(problem.exit_code)
        except (RedtaskError, OSError) as problem:
            if show:
                raise
            if told.as_json:
                _say_json(str(problem), problem)
            else:
                from redtask.cli.output import safe_lines  # noqa: PLC0415

                click.echo(f"redtask: {safe_lines(str(problem))}", err=True)
            sys.exit(exit_code(problem))
        sys.exit(code if isinstance(code, int) else 0)


def _show(told: Invocation, problem: click.ClickException) -> None:
    # Help raised as a usage error is shown unchanged, with its lines.
    if not isinstance(problem, click.UsageError) or isinstance(problem, _HELPS):
        problem.show()
        return
    text = told.explain(problem)
    if problem.ctx is not None and not isinstance(problem, Unconfirmed):
        mark = "" if text.endswith((".", "?", ")")) else "."
        text = f"{text}{mark} See {problem.ctx.command_path} --help"
    click.echo(f"redtask: {text}", err=True)


def _say_json(text: str, problem: Exception) -> None:
    from redtask.cli.output import say_json  # noqa: PLC0415

    try:
        say_json({"error": text, "kind": type(problem).__name__})
    except OSError:
        # Where it should go may be what the problem is.
        click.echo(f"redtask: {text}", err=True)


def _is_on(value: str | None) -> bool:
    """Does a variable switch something on? As click has it."""
    return bool(value) and bool(click.BOOL.convert(value, None, None))


def _replace_unknown() -> None:
    """Have characters that standard output lacks replaced: no reason to fail."""
    out = sys.stdout
    if isinstance(out, TextIOWrapper) and out.errors == "strict":
        out.reconfigure(errors="replace")


@click.group(
    "redtask",
    cls=_Root,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "REDTASK",
    },
)
# REDTASK_VERSION is what an image may call the version to install.
@click.version_option(
    redtask.__version__, prog_name="redtask", allow_from_autoenv=False
)
@click.option(
    "--traceback", is_flag=True, envvar="REDTASK_TRACEBACK", help="Show where it fails."
)
@click.pass_context
def group(ctx: click.Context, *, traceback: bool) -> None:
    """Run tasks on many machines, through Redis.

    \b
    redtask cluster start -n 4 --daemonize
    redtask submit math:factorial 20 --wait
    """
    del traceback
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit."""
    group.main(args)


def exit_code(problem: Exception) -> int:
    """Return the exit code for this kind of error."""
    for kind, code in _CODES:
        if isinstance(problem, kind):
            return code
    return FAILED
