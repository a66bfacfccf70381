"""``redtask init``: create a profile for a hub elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from redtask.cli.options import confirm, load_profile, output_options, yes_option
from redtask.cli.output import Output, say_json, short_path
from redtask.error import NoHub
from redtask.spelling import count

if TYPE_CHECKING:
    from redtask.profile import Profile


@click.command("init")
@click.argument("url")
@click.option("--key", help="The hub's key; - reads it from standard input.")
@click.option(
    "--key-file", type=click.Path(exists=True, dir_okay=False), help="A file with it."
)
@click.option("--unsigned", is_flag=True, help="The hub is not signed.")
@click.option("--profile", help="The profile to write.")
@click.option("--no-check", is_flag=True, help="Do not connect.")
@yes_option
@output_options
def command(  # noqa: PLR0913 - one per option
    *,
    url: str,
    key: str | None,
    key_file: str | None,
    unsigned: bool,
    profile: str | None,
    no_check: bool,
    yes: bool,
    out: Output,
) -> None:
    """Write a profile: where the hub is, and its key.

    From then on clients, workers and commands of this user find it by themselves. If
    no key is given, the first to connect creates one. Keys that the profile has for
    this hub are kept, and verify. The connection is checked before anything is
    written. Exit code 69: Redis cannot be reached.

    \b
    redtask init 'redis://redis.example:6379?hub=night' --key-file hub.keys
    pass show redtask | redtask init rediss://:PASSWORD@redis.example --key -
    """
    if sum((key is not None, key_file is not None, unsigned)) > 1:
        raise click.UsageError("--key, --key-file or --unsigned, not several")
    said = _key(key, key_file, unsigned=unsigned)
    found = load_profile(profile, url=url, key=said)
    toml = found.folder / "redtask.toml"
    if toml.exists():
        confirm(f"Overwrite {short_path(toml)}?", yes=yes)
    if not no_check:
        _check(found, may_lack=said is None)
    kept = found.write(url, signed=not unsigned)
    about: dict[str, Any] = {
        "profile": found.name,
        "hub": found.hub,
        "url": found.shown_url,
        "file": str(toml),
        "key_file": str(found.key_file) if found.keys else None,
    }
    if out.as_json:
        say_json(about)
    else:
        click.echo(f"profile {found.name!r}: hub {found.hub} at {found.shown_url}")
        click.echo(f"  written  {short_path(toml)}")
        if found.keys:
            click.echo(f"           {short_path(found.key_file)}{_words(kept)}")


def _words(kept: int) -> str:
    """Tell of the keys that a file had before."""
    verify = "verifies" if kept == 1 else "verify"
    return f"; {count(kept, 'other key')} in it still {verify}" if kept else ""


def _check(profile: Profile, *, may_lack: bool) -> None:
    """Connect, as whoever uses the profile will; the hub ``may_lack``, or must exist.

    Raises ``NoHub``, ``ConnectionLost`` and ``ConfigurationError``.
    """
    from redtask.connect import connect  # noqa: PLC0415 - not needed for help

    try:
        store, _ = connect(profile, patience=0.0, make=False)
    except NoHub:
        if not may_lack:
            raise
        click.echo("there is no such hub yet; the first to connect makes it", err=True)
    else:
        store.close()


def _key(key: str | None, key_file: str | None, *, unsigned: bool) -> str | None:
    if unsigned:
        return "off"
    if key_file is not None:
        with open(key_file, encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read()
    return sys.stdin.read() if key == "-" else key
