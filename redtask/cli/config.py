"""``redtask config``: effective settings, and where they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from redtask.cli.group import Group, Invocation
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json
from redtask.cli.settings import TOP, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    #: Its name, as in a file: ``cluster.start.engines``.
    name: str
    value: Any
    #: Where it comes from.
    origin: str


@click.group("config", cls=Group)
def command() -> None:
    """Show the settings of this command line, and where they come from.

    \b
    A flag wins over
      REDTASK_URL, REDTASK_PROFILE, REDTASK_<COMMAND>_<OPTION>, these over
      redtask.toml here or in a folder above, in the repository, that over
      [tool.redtask] in pyproject.toml, that over
      ~/.config/redtask/config.toml
    """


@command.command("show")
@click.option("--origin", is_flag=True, help="Show where each comes from.")
@click.option("--defaults", is_flag=True, help="Also show defaults.")
@hub_options
@output_options
@click.pass_context
def show(
    ctx: click.Context, *, origin: bool, defaults: bool, where: Where, out: Output
) -> None:
    """Show the settings: the hub, and options of commands that somebody has set.

    \b
    redtask config show --origin
    redtask config show --defaults --json
    """
    settings = ctx.ensure_object(Invocation).settings or Settings()
    profile = where.profile()
    found = [
        Setting("profile", profile.name, _profile_origin(where, settings)),
        Setting("url", profile.shown_url, profile.url_source),
        Setting("hub", profile.hub, profile.hub_source),
        Setting(
            "key",
            profile.keys[0].kid.hex() if profile.keys else None,
            profile.key_source,
        ),
    ]
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)  # noqa: S101 - for the type
    for name in group.list_commands(root):
        below = group.get_command(root, name)
        if below is not None:
            settings.check(name, below)
            found += _options((name,), below, settings, every=defaults)
    if out.as_json:
        for one in found:
            shown = {"name": one.name, "value": one.value}
            say_json({**shown, "origin": one.origin} if origin else shown)
        return
    columns = ["setting", "value", *(["origin"] if origin else [])]
    rows = [
        [one.name, "" if one.value is None else one.value, one.origin] for one in found
    ]
    out.table(columns, [row[: len(columns)] for row in rows])


def _profile_origin(where: Where, settings: Settings) -> str:
    said = settings.find("profile")
    if where.name is not None and (said is None or said[1] != where.name):
        return "--profile"
    if os.environ.get("REDTASK_PROFILE", "").strip():
        return "REDTASK_PROFILE"
    return "default" if said is None else said[2]


def _options(
    path: tuple[str, ...], command: click.Command, settings: Settings, *, every: bool
) -> Iterator[Setting]:
    """Yield the options of a command and of its subcommands."""
    for one in command.params:
        if not isinstance(one, click.Option) or not one.name or one.name in TOP:
            continue
        name = ".".join((*path, one.name))
        variable = "_".join(("redtask", *path, one.name)).upper().replace("-", "_")
        told = settings.find(*(part.replace("-", "_") for part in path), one.name)
        if value := os.environ.get(variable, ""):
            yield Setting(name, value, variable)
        elif told is not None:
            yield Setting(name, told[1], told[2])
        elif every:
            default = (
                one.default if isinstance(one.default, (str, int, float)) else None
            )
            yield Setting(name, default, "default")
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _options((*path, name), below, settings, every=every)
