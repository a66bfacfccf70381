"""Command-line defaults from ``redtask.toml``, ``pyproject.toml`` and the user's file.

Tables are named after commands, and keys after options::

    url = "redis://redis.example"     # or profile = "night"
    [worker]
    engines = 16
    [cluster.start]
    scheme = "lru"

In ``pyproject.toml`` they are below ``[tool.redtask]``. In order of precedence: a flag,
the environment, ``redtask.toml``, ``pyproject.toml``, and the user's file,
``~/.config/redtask/config.toml``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from redtask.error import ConfigurationError
from redtask.spelling import suggestion

#: Keys that apply to every command.
TOP: Final = ("url", "profile")

#: Variables that belong to no command, without ``REDTASK_``.
_VARIABLES: Final = (
    "HOME",
    "HUB",
    "KEPT",
    "KEY",
    "KEY_FILE",
    "PROFILE",
    "REDIS_SERVER",
    "TRACEBACK",
    "URL",
)
#: Two letters of three that are swapped are misspelt; other words of four are not.
_ALIKE: Final = 0.65


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings of one file."""

    path: Path
    #: Its tables, with ``_`` in names.
    table: Mapping[str, Any]
    #: Prefix of its tables' names: ``tool.redtask.``.
    prefix: str = ""

    def named(self, *names: str) -> str:
        """Return the full name of a key, for messages."""
        return f"{self.path}, {self.prefix}{'.'.join(names)}"

    def get(self, names: tuple[str, ...]) -> Any:
        """Return the value of a key, or None."""
        found: Any = self.table
        for name in names:
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = found[name]
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of all files."""

    #: The files, in order of precedence.
    layers: tuple[Layer, ...] = ()

    @classmethod
    def load(cls, commands: Iterable[str], folder: Path | None = None) -> Settings:
        """Read the files that apply in a folder.

        Raises ``ConfigurationError`` for unreadable files, and for tables that are not
        named after a command.
        """
        found = tuple(_layers(folder or _here()))
        known = [*TOP, *commands]
        for layer in found:
            for name, value in layer.table.items():
                _check_name(layer, (), name, known)
                if name in TOP and not isinstance(value, str):
                    raise ConfigurationError(f"{layer.named(name)}: must be a string")
                if name not in TOP and not isinstance(value, Mapping):
                    raise ConfigurationError(
                        f"{layer.named(name)}: must be a table, [{name}]"
                    )
        return cls(found)

    def check(self, name: str, command: click.Command) -> None:
        """Raise ``ConfigurationError`` for keys that are not options of a command."""
        for layer in self.layers:
            table = layer.get((name,))
            if table is not None:
                _check_table(layer, (name,), table, command)

    def defaults(self) -> dict[str, Any]:
        """Return click's ``default_map``."""
        merged: dict[str, Any] = {}
        for layer in reversed(self.layers):
            tables = {k: v for k, v in layer.table.items() if k not in TOP}
            _merge(merged, tables)
        return merged

    def find(self, *names: str) -> tuple[int, Any, str] | None:
        """Return the layer's number, the value, and its origin; None if not set."""
        for number, layer in enumerate(self.layers):
            value = layer.get(names)
            if value is not None:
                return number, value, layer.named(*names)
        return None

    def origin(self, path: tuple[str, ...], option: str) -> str:
        """Return the origin of the value of a command's option."""
        found = self.find(*(_plain(part) for part in path), option)
        return "a file" if found is None else found[2]


def misspelt(
    name: str, command: click.Command, commands: Iterable[str]
) -> Iterator[str]:
    """Yield what is wrong with variables that are nearly ours, or of a command.

    All others are left alone: Kubernetes sets some for each service, by its name.
    """
    options = {
        spelling.lstrip("-").replace("-", "_").upper(): one.name.upper()
        for one in command.params
        if isinstance(one, click.Option) and one.name
        for spelling in (*one.opts, one.name)
    }
    own, of_commands = f"{name}_".upper(), tuple(f"{one}_".upper() for one in commands)
    for variable in sorted(os.environ):
        prefix, word = variable[: len("REDTASK_")], variable[len("REDTASK_") :]
        if prefix != "REDTASK_" or word in _VARIABLES:
            continue
        if word.startswith(own):
            word = word.removeprefix(own)
            if word in options.values():
                continue
            known, prefix = set(options.values()), prefix + own
            word = options.get(word, word)
        elif word.startswith(of_commands):
            continue
        else:
            known = set(_VARIABLES)
        if hint := suggestion(word, sorted(known), prefix + "{}", likeness=_ALIKE):
            yield f"{variable}: no such variable{hint}"


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value


def _check_name(
    layer: Layer, path: tuple[str, ...], name: str, known: Iterable[str]
) -> None:
    words = [_plain(word) for word in known]
    if name not in words:
        hint = suggestion(name, words, "{!r}") or f" (there are {', '.join(words)})"
        raise ConfigurationError(f"{layer.named(*path, name)}: no such key{hint}")


def _check_table(
    layer: Layer, path: tuple[str, ...], table: Any, command: click.Command
) -> None:
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{layer.named(*path)}: must be a table")
    options = [
        one.name
        for one in command.params
        if isinstance(one, click.Option) and one.name and one.name not in TOP
    ]
    commands: Mapping[str, click.Command] = getattr(command, "commands", {})
    for name, value in table.items():
        _check_name(layer, path, name, [*options, *commands])
        below = {_plain(one): found for one, found in commands.items()}.get(name)
        if below is not None:
            _check_table(layer, (*path, name), value, below)
        elif isinstance(value, Mapping):
            raise ConfigurationError(f"{layer.named(*path, name)}: must not be a table")


def _layers(folder: Path) -> Iterator[Layer]:
    """Yield the files' settings: first the project's, from the nearest folder."""
    for name, prefix in (("redtask.toml", ()), ("pyproject.toml", ("tool", "redtask"))):
        for place in _upwards(folder):
            path = place / name
            table = _table(path, prefix) if _is_file(path) else None
            if table is not None:
                yield Layer(path, table, "".join(f"{one}." for one in prefix))
                break
    if _is_file(own := user_file()):
        yield Layer(own, _table(own, ()) or {})


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "the working directory is gone: change to one that exists"
        ) from None


# In a folder that is closed to us there is nothing for us: another user's home, say, in
# HOME still after a change of user. Methods of Path would raise there.
_is_file, _exists = os.path.isfile, os.path.exists


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield a folder and its parents, up to the root of its repository."""
    for place in (folder, *folder.parents):
        yield place
        if _exists(place / ".git"):
            return


def user_file() -> Path:
    """Return the path of the user's file, which need not exist."""
    chosen = os.environ.get("XDG_CONFIG_HOME", "").strip()
    home = os.path.expanduser("~")  # noqa: PTH111 - which never fails
    base = Path(chosen) if chosen else Path(home) / ".config"
    return base / "redtask" / "config.toml"


def _table(path: Path, prefix: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the tables of a file; None: it has none for us."""
    import tomllib  # noqa: PLC0415 - most calls meet no file

    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path}: cannot be read: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"{path}: not valid TOML: {problem}") from None
    for name in prefix:
        found = found.get(name)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ConfigurationError(f"{path}: {'.'.join(prefix)} must be a table")
    return _plain_names(found)


def _plain_names(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _plain(name): _plain_names(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }
