"""Options that commands share: the hub, the output format, confirmation.

::

    @click.command("queues")
    @hub_options
    @output_options
    def command(*, where: Where, out: Output) -> None:
        with where.reader() as hub:
            ...
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from redtask.cli.group import Invocation, Unconfirmed
from redtask.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redtask.cli.reader import Reader
    from redtask.cli.settings import Settings
    from redtask.client import Client
    from redtask.profile import Profile

F = TypeVar("F", bound="Callable[..., Any]")

#: Beginnings of errors about a profile that are due to the command line, and not to
#: the environment or a file.
_BLAMED: Final = ("profile: ", "url: ", "key: ", "key, ")


def load_profile(
    name: str | None = None,
    *,
    url: str | None = None,
    key: str | None = None,
    told: tuple[str, str] | None = None,
) -> Profile:
    """Collect what is known of a hub, as ``Profile.load`` does.

    Keys other than ``key`` are read only once they are needed: who only reads, or stops
    a cluster, needs none. Raises ``UsageError`` for errors on the command line, and
    ``ConfigurationError`` for others.
    """
    from redtask.error import ConfigurationError  # noqa: PLC0415
    from redtask.profile import Profile  # noqa: PLC0415 - not needed for help

    try:
        return Profile.load(name, url=url, key=key, told=told, lazy=True)
    except ConfigurationError as problem:
        if str(problem).startswith(_BLAMED):
            raise click.UsageError(str(problem)) from None
        raise


def complete_scheme(_ctx: object, _parameter: object, begun: str) -> list[str]:
    """Return redtask's schemes whose names begin so, for the shell."""
    from redtask.hub.scripts import schemes  # noqa: PLC0415

    return [name for name in schemes() if name.startswith(begun)]


def check_scheme(_ctx: object, _parameter: object, value: str | None) -> str | None:
    """Reject an unknown scheme, and a file that is none; files are read later."""
    if value is None:
        return value
    if "/" in value or value.endswith(".lua"):
        if not Path(value).expanduser().is_file():
            raise click.BadParameter(f"no such file: {value}")
        return value
    from redtask.error import SchemeError  # noqa: PLC0415
    from redtask.scheme import find  # noqa: PLC0415

    try:
        find(value)
    except SchemeError as problem:
        raise click.BadParameter(str(problem)) from None
    return value


@dataclass(frozen=True, slots=True)
class Where:
    """The hub that a command is about."""

    #: The URL given, or None.
    url: str | None = None
    #: The name of the profile given, or None.
    name: str | None = None
    #: A URL from a file, and which file; the environment takes precedence.
    told: tuple[str, str] | None = None

    def profile(self) -> Profile:
        """Collect what is known of the hub.

        Raises ``UsageError`` and ``ConfigurationError``.
        """
        return load_profile(self.name, url=self.url, told=self.told)

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Connect for reading unsigned data, which needs no key.

        Raises ``NoHub`` and ``ConnectionLost``.
        """
        from redtask.cli.reader import Reader  # noqa: PLC0415

        reader = Reader.connect(self.profile())
        try:
            yield reader
        finally:
            reader.close()

    @contextlib.contextmanager
    def client(self, *, make: bool = False, timeout: float = 30.0) -> Iterator[Client]:
        """Connect for actions and results; with ``make``, make the hub if necessary.

        Raises ``NoHub``, ``ConnectionLost`` and ``ConfigurationError``.
        """
        from redtask.client import Client  # noqa: PLC0415

        profile = self.profile()
        with Client.of(profile, timeout=timeout, make=make) as client:
            yield client


def where_of(ctx: click.Context, url: str | None, name: str | None) -> Where:
    """Combine parameters with settings from files.

    A URL from a file counts unless the profile was chosen by a source that takes
    precedence over that file.
    """
    told = ctx.ensure_object(Invocation)
    if told.settings is None or url is not None:
        return Where(url, name)
    rank, name = _told_profile(told.settings, name)
    named = told.settings.find("url")
    if named is None or named[0] > rank:
        return Where(None, name)
    return Where(None, name, (named[1], named[2]))


def _told_profile(settings: Settings, name: str | None) -> tuple[int, str | None]:
    """Return the position of the file that names the profile, and its name.

    -1 comes before all files, ``sys.maxsize`` after them.
    """
    if name is not None or os.environ.get("REDTASK_PROFILE", "").strip():
        return -1, name
    found = settings.find("profile")
    return (sys.maxsize, None) if found is None else found[:2]


def _profile(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    del parameter
    settings = ctx.ensure_object(Invocation).settings
    return value if settings is None else _told_profile(settings, value)[1]


def profile_option(function: F) -> F:
    """Add ``--profile`` only, for commands without a hub; files may set it, too."""
    add = click.option("--profile", callback=_profile, help="The profile to use.")
    return add(function)


def hub_options(function: F) -> F:
    """Add ``--url`` and ``--profile``; the function gets ``where``."""

    @click.option("-u", "--url", help="Where Redis is; ?hub=NAME chooses a hub.")
    @click.option("--profile", help="The profile to use.")
    @click.pass_context
    @functools.wraps(function)
    def call(
        ctx: click.Context, /, *args: Any, url: Any, profile: Any, **kwargs: Any
    ) -> Any:
        return function(*args, where=where_of(ctx, url, profile), **kwargs)

    return cast("F", call)


def json_option(function: F) -> F:
    """Add ``--json``; the function gets ``as_json``. Errors are then JSON, too."""

    @click.option(
        "--json", is_flag=True, callback=_note_json, help="JSON, one object per line."
    )
    @functools.wraps(function)
    def call(*args: Any, json: bool, **kwargs: Any) -> Any:
        return function(*args, as_json=json, **kwargs)

    return cast("F", call)


def _note_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    del parameter
    if value:
        ctx.ensure_object(Invocation).as_json = True
    return value


def output_options(function: F) -> F:
    """Add ``--json`` and ``--plain``; the function gets ``out``."""

    @json_option
    @click.option(
        "--plain", is_flag=True, help="Tab-separated lines, even on a terminal."
    )
    @functools.wraps(function)
    def call(*args: Any, as_json: bool, plain: bool, **kwargs: Any) -> Any:
        if as_json and plain:
            raise click.UsageError("--json or --plain, not both")
        return function(*args, out=Output(as_json=as_json, plain=plain), **kwargs)

    return cast("F", call)


def yes_option(function: F) -> F:
    """Add ``--yes``; the function gets ``yes`` and hands it to ``confirm``."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation; go on if the answer is yes.

    Where nobody can be asked, ``--yes`` is required. Raises ``UsageError`` without
    it, and exits with code 1 if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Unconfirmed(f"{question} Nobody can be asked here: pass --yes")
    if not click.confirm(question, err=True):
        click.echo("nothing was done", err=True)
        raise click.exceptions.Exit(1)
