"""The Lua scripts: one self-contained bundle per command.

A command is a Lua file under ``lua/`` and a module like any other: it names what
it needs with ``local x = require("lib.y")``. Redis has no ``require``, so the linker
makes one text of all, and says where each part comes from, so that an error is told in
file and line.

No I/O but on the package's own files: what was linked is kept beside them.
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

#: The scheme's own name, for the hub to compare: made by the loader.
_SCHEME_NAME = "scheme_name"
_SCHEME = "scheme"


class Scheme(NamedTuple):
    """A scheme of a user's own."""

    #: As the hub has it: the name of its file, ``@`` and a digest of its text.
    name: str
    #: The Lua text.
    text: str
    #: Where it comes from, for messages.
    file: str


#: A scheme of ours is known by its name.
AnyScheme: TypeAlias = str | Scheme


@dataclass(frozen=True, slots=True)
class Script:
    """A command bundled with a scheme, ready for SCRIPT LOAD."""

    #: The command: the name of its file.
    name: str
    #: The Lua text.
    text: str
    #: What Redis knows it by: the SHA-1 of the text, in hex.
    sha: str
    #: Where its parts come from, files as shown to people.
    places: tuple[Place, ...]

    def explain(self, message: str) -> str:
        """Return an error message with bundle lines told as file and line."""
        return _PLACE.sub(lambda found: self._place(int(found[1])), message)

    def _place(self, line: int) -> str:
        at = bisect(self.places, line, key=lambda place: place.line)
        place = self.places[max(0, at - 1)]
        return f"{place.file}:{max(1, line - place.line + place.of)}"


@cache
def folder() -> Path:
    """Return the folder of the Lua files: in the package, or beside it."""
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
    """Return what stands behind the name of a module."""
    if isinstance(scheme, str):
        return _read(_file(module, scheme))
    if module == _SCHEME:
        return scheme.text.rstrip("\n") + "\n"
    return _read(_file(module, scheme.name))


def _shown(module: str, scheme: AnyScheme) -> str:
    """Return where it stands, for people."""
    if module == _SCHEME and isinstance(scheme, Scheme):
        return scheme.file
    return "lua/" + _file(module, scheme if isinstance(scheme, str) else scheme.name)


def _in_order(
    text: str, scheme: AnyScheme, path: tuple[str, ...], done: list[str]
) -> None:
    """Append to ``done`` what ``text`` requires, each after its own needs."""
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
    """Return the script of a command with the modules it needs.

    Raises ``ScriptError`` (an ``ImportError``) when a file is missing or modules
    require each other in a circle, naming it.
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
    """Return what earlier processes have linked, of the same files by the same code."""
    files = [*sorted(folder().rglob("*.lua")), Path(__file__), Path(linker.__file__)]
    return Shelf(folder_beside(__file__), fingerprint(files))


def _script(name: str, text: str, places: tuple[Place, ...]) -> Script:
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, places)


@cache
def _module(text: str, *, whole: bool) -> Module:
    """Take a file apart, once for all commands: a linker changes nothing in it."""
    return Module(text, whole=whole)


def link(name: str, main: str, scheme: AnyScheme) -> Script:
    """Return a script of this text with the modules it needs; raises as ``bundle``."""
    names: list[str] = []
    _in_order(main, scheme, (), names)
    # Of another's file nobody knows whether it can be taken apart.
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
    """Return the names of redtask's own schemes, sorted."""
    return tuple(sorted(path.stem for path in (folder() / "schemes").glob("*.lua")))


@cache
def commands() -> tuple[str, ...]:
    """Return the names of all commands, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.lua")))
