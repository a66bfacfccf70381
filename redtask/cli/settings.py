"""What files say of the command line: ``redtask.toml``, ``pyproject.toml``, the user's.

Their tables are named after commands, and keys after options::

    url = "redis://redis.example"     # or profile = "night"

    [worker]
    engines = 16

    [cluster.start]
    scheme = "lru"

In ``pyproject.toml`` they stand below ``[tool.redtask]``. A flag wins over the
environment, that over ``redtask.toml``, that over ``pyproject.toml``, and the file of
the user, ``~/.config/redtask/config.toml``, comes last.
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

#: Keys that hold for every command.
TOP: Final = ("url", "profile")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one file says."""

    #: The file.
    path: Path
    #: Its tables, with ``_`` in names.
    table: Mapping[str, Any]
    #: What stands before the names of its tables: ``tool.redtask.``.
    prefix: str = ""

    def named(self, *names: str) -> str:
        """Name a key of it."""
        return f"{self.path}, {self.prefix}{'.'.join(names)}"

    def get(self, names: tuple[str, ...]) -> Any:
        """Return what it says, or None."""
        found: Any = self.table
        for name in names:
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = found[name]
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """What all files say."""

    #: The file that wins first.
    layers: tuple[Layer, ...] = ()

    @classmethod
    def load(cls, commands: Iterable[str], folder: Path | None = None) -> Settings:
        """Read the files that matter in a folder.

        Raises ``ConfigurationError`` for what cannot be read, and for tables that are
        named after no command.
        """
        found = tuple(_layers(folder or Path.cwd()))
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
        """Raise ``ConfigurationError`` for keys that are no options of a command."""
        for layer in self.layers:
            table = layer.get((name,))
            if table is not None:
                _check_table(layer, (name,), table, command)

    def defaults(self) -> dict[str, Any]:
        """Return what click takes for the defaults of options."""
        merged: dict[str, Any] = {}
        for layer in reversed(self.layers):
            tables = {k: v for k, v in layer.table.items() if k not in TOP}
            _merge(merged, tables)
        return merged

    def find(self, *names: str) -> tuple[int, Any, str] | None:
        """Return the layer's number that says something, what, and where; or None."""
        for number, layer in enumerate(self.layers):
            value = layer.get(names)
            if value is not None:
                return number, value, layer.named(*names)
        return None

    def origin(self, path: tuple[str, ...], option: str) -> str:
        """Say which file has an option of a command."""
        found = self.find(*(_plain(part) for part in path), option)
        return "a file" if found is None else found[2]


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
    """Yield what the files say: of the project, which may be a folder above, first."""
    for name, prefix in (("redtask.toml", ()), ("pyproject.toml", ("tool", "redtask"))):
        for place in _upwards(folder):
            path = place / name
            table = _table(path, prefix) if path.is_file() else None
            if table is not None:
                yield Layer(path, table, "".join(f"{one}." for one in prefix))
                break
    if (own := user_file()).is_file():
        yield Layer(own, _table(own, ()) or {})


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it, up to the root of its repository."""
    for place in (folder, *folder.parents):
        yield place
        if (place / ".git").exists():
            return


def user_file() -> Path:
    """Return the file of the user; need not exist."""
    chosen = os.environ.get("XDG_CONFIG_HOME", "").strip()
    home = os.path.expanduser("~")  # noqa: PTH111 - which never fails
    base = Path(chosen) if chosen else Path(home) / ".config"
    return base / "redtask" / "config.toml"


def _table(path: Path, prefix: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the tables of a file; None: it has nothing for us."""
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
