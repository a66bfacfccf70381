"""The Lua scripts: one self-contained bundle per command.

A command is a Lua file under ``lua/`` and an ordinary module: it imports others with
``local x = require("lib.y")``. Redis has no ``require``, so the linker combines all of
them into one script. It records where each part comes from, so that errors can be
reported by file and line.

No I/O except on the package's own files, beside which linked scripts are cached.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from redtask.hub import linker
from redtask.hub.linker import Linker, Module, Place, ScriptError
from redtask.hub.shelf import Shelf, fingerprint, folder_beside

_REQUIRE = re.compile(r"""\brequire\(["']([\w.]+)["']\)""")
# `user_script:212: ...` on Redis, `[string "..."]:212: ...` on fakeredis.
_PLACE = re.compile(r'(?:user_script|\[string "[^\n]*?"\]):(\d+)')

#: Generated module: the scheme's name, for the hub to compare.
_SCHEME_NAME = "scheme_name"
_SCHEME = "scheme"


class Scheme(NamedTuple):
    """A user's own scheme."""

    #: Its name on the hub: the file name, ``@`` and a digest of the text.
    name: str
    #: The Lua source.
    text: str
    #: Its origin, for messages.
    file: str


#: A built-in scheme is just its name.
AnyScheme: TypeAlias = str | Scheme


@dataclass(frozen=True, slots=True)
class Script:
    """A command bundled with a scheme, ready for SCRIPT LOAD."""

    #: The command: the name of its file.
    name: str
    #: The Lua source.
    text: str
    #: SHA-1 of the source in hex, for EVALSHA.
    sha: str
    #: Where its parts come from.
    places: tuple[Place, ...]

    def explain(self, message: str) -> str:
        """Return an error message with lines of the bundle mapped to file and line."""
        return _PLACE.sub(lambda found: self._place(int(found[1])), message)

    def _place(self, line: int) -> str:
        at = bisect(self.places, line, key=lambda place: place.line)
        place = self.places[max(0, at - 1)]
        return f"{place.file}:{max(1, line - place.line + place.of)}"


@cache
def folder() -> Path:
    """Return the folder of the Lua files: inside the package, or beside it."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "lua"
    return installed if installed.is_dir() else package.parent / "lua"


def _file(module: str, scheme: str) -> str:
    if module == _SCHEME:
        return f"schemes/{scheme}.lua"
    return module.replace(".", "/") + ".lua"


@cache
def _read(file: str) -> str:
    path = folder() / file
    try:
        return path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    except OSError as error:
        message = f"there is no Lua file {file}"
        raise ScriptError(message) from error


def _text(module: str, scheme: AnyScheme) -> str:
    """Return the source of a module."""
    if isinstance(scheme, str):
        return _read(_file(module, scheme))
    if module == _SCHEME:
        return scheme.text.rstrip("\n") + "\n"
    return _read(_file(module, scheme.name))


def _shown(module: str, scheme: AnyScheme) -> str:
    """Return the file of a module, for messages."""
    if module == _SCHEME and isinstance(scheme, Scheme):
        return scheme.file
    return "lua/" + _file(module, scheme if isinstance(scheme, str) else scheme.name)


def _in_order(
    text: str, scheme: AnyScheme, path: tuple[str, ...], done: list[str]
) -> None:
    """Append to ``done`` the modules that ``text`` requires, in topological order."""
    for module in _REQUIRE.findall(text):
        if module in path:
            circle = " -> ".join((*path[path.index(module) :], module))
            message = f"Lua modules require each other: {circle}"
            raise ScriptError(message)
        if module in done or module == _SCHEME_NAME:
            continue
        _in_order(_text(module, scheme), scheme, (*path, module), done)
        done.append(module)


@cache
def bundle(command: str, scheme: AnyScheme = "leastload") -> Script:
    """Return the script of a command, linked with the modules it needs.

    Raises ``ScriptError`` (an ``ImportError``) if a file is missing or modules require
    each other in a cycle, and names it.
    """
    if not isinstance(scheme, str):
        return link(command, _read(f"{command}.lua"), scheme)
    name = f"{command}-{scheme}"
    if found := _shelf().get(name):
        return _script(command, *found)
    script = link(command, _read(f"{command}.lua"), scheme)
    _shelf().put(name, script.text, script.places)
    return script


@cache
def _shelf() -> Shelf:
    """Return the cache of scripts linked from these files by this code."""
    files = [*sorted(folder().rglob("*.lua")), Path(__file__), Path(linker.__file__)]
    return Shelf(folder_beside(__file__), fingerprint(files))


def _script(name: str, text: str, places: tuple[Place, ...]) -> Script:
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, places)


@cache
def _module(text: str, *, whole: bool) -> Module:
    """Parse a file, once for all commands: a linker does not modify it."""
    return Module(text, whole=whole)


def link(name: str, main: str, scheme: AnyScheme) -> Script:
    """Link this source with the modules it needs; raises like ``bundle``."""
    names: list[str] = []
    _in_order(main, scheme, (), names)
    # A user's file may not follow the conventions that the linker relies on.
    foreign = {_SCHEME} if isinstance(scheme, Scheme) else set()
    modules = {
        module: _module(_text(module, scheme), whole=module in foreign)
        for module in names
    }
    modules[""] = Module(main, command=True)
    files = {module: _shown(module, scheme) for module in names}
    files[""] = f"lua/{name}.lua"
    called = scheme if isinstance(scheme, str) else scheme.name
    return _script(name, *Linker(modules, files, {_SCHEME_NAME: called}).link())


@cache
def schemes() -> tuple[str, ...]:
    """Return the names of the built-in schemes, sorted."""
    return tuple(sorted(path.stem for path in (folder() / "schemes").glob("*.lua")))


@cache
def commands() -> tuple[str, ...]:
    """Return the names of all commands, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.lua")))
