"""The ``redtask`` command. Each subcommand is a module, imported when it is called.

To add one: a line in ``COMMANDS``, and a module of that name with a ``command``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final

import click

import redtask
from redtask.error import (
    ClusterRunning,
    ConnectionLost,
    NameTaken,
    NoHub,
    RedtaskError,
)

#: Subcommands and what they do, in the order of ``redtask --help``.
COMMANDS: Final = {
    "worker": "Run engines on this machine.",
    "cluster": "Start and stop a hub with engines on this machine.",
    "status": "Show what a hub has and does.",
    "configure": "Show and change the settings of a hub.",
    "doctor": "Check a hub, its server and its workers; mend what can be mended.",
}

#: Exit codes: something failed; there is no such thing; something else runs that must
#: not run twice; Redis is unavailable.
FAILED: Final = 1
NOT_FOUND: Final = 3
REFUSED: Final = 5
UNAVAILABLE: Final = 69


class _LazyGroup(click.Group):
    """A group whose commands are modules of this package."""

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

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(redtask.__version__, prog_name="redtask")
@click.option(
    "--traceback", is_flag=True, envvar="REDTASK_TRACEBACK", help="Show where it fails."
)
def group(*, traceback: bool) -> None:
    """Run tasks on many machines, through Redis."""
    del traceback


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit; what goes wrong is told in one line."""
    words = sys.argv[1:] if args is None else args
    show = "--traceback" in words or os.environ.get("REDTASK_TRACEBACK", "0") != "0"
    try:
        code: Any = group.main(words, prog_name="redtask", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except RedtaskError as problem:
        if show:
            raise
        click.echo(f"redtask: {problem}", err=True)
        sys.exit(exit_code(problem))
    sys.exit(code if isinstance(code, int) else 0)


def exit_code(problem: RedtaskError) -> int:
    """Return the exit code that says what kind of problem it is."""
    if isinstance(problem, ConnectionLost):
        return UNAVAILABLE
    if isinstance(problem, NoHub):
        return NOT_FOUND
    if isinstance(problem, (ClusterRunning, NameTaken)):
        return REFUSED
    return FAILED
