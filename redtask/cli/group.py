"""Groups of commands with suggestions for typos, and their shared state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from redtask.spelling import suggestion

if TYPE_CHECKING:
    from redtask.cli.settings import Settings


@dataclass(slots=True)
class Invocation:
    """State of one invocation of the command line: the ``obj`` of its contexts."""

    #: Is JSON wanted, also for errors?
    as_json: bool = False
    #: Settings from files; None before the command is known.
    settings: Settings | None = None

    def explain(self, problem: click.ClickException) -> str:
        """Return the error in one line, with the file or variable that is to blame."""
        text = " ".join(problem.format_message().split())
        if not isinstance(problem, click.BadParameter) or self.settings is None:
            return text
        ctx, parameter = problem.ctx, problem.param
        if ctx is None or parameter is None or parameter.name is None:
            return text
        source = ctx.get_parameter_source(parameter.name)
        if source is ParameterSource.DEFAULT_MAP:
            path = tuple(ctx.command_path.split()[1:])
            return f"{text} (from {self.settings.origin(path, parameter.name)})"
        if source is ParameterSource.ENVIRONMENT:
            variable = f"{ctx.auto_envvar_prefix}_{parameter.name}".upper()
            return f"{text} (from {variable})"
        return text


class Unconfirmed(click.UsageError):
    """It was not said that this may be done, and nobody can be asked."""


class Group(click.Group):
    """A group that suggests a command for an unknown word."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest one."""
        word = args[0]
        known = self.list_commands(ctx)
        if word not in known and not word.startswith("-") and not ctx.resilient_parsing:
            hint = suggestion(word, known, "{!r}") or f" (there are {', '.join(known)})"
            raise click.UsageError(f"no such command: {word!r}{hint}", ctx)
        return super().resolve_command(ctx, args)
