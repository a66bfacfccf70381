"""The Lua scripts: one self-contained bundle per command.

A command is a Lua file under ``lua/`` and a module like any other: it names what
it needs with ``local x = require("lib.y")``. Redis has no ``require``, so the
bundle carries the modules, as far as the command can reach them, and a small one of
its own, and remembers at which line each file begins, so that an error is told in file
and line.

No I/O but reading the package's own files.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from redtask.hub.linker import Linker, Module

_REQUIRE = re.compile(r"""\brequire\(["']([\w.]+)["']\)""")
# Modules are known by numbers here, because each call makes this table anew, and one
# by names is ten times as large. What was loaded takes the place of its function.
_BEGIN = """\
local require
local modules = {
"""
_END = """\
}
require = function(number)
  local module = modules[number]
  if type(module) == "function" then
    module = module()
    modules[number] = module
  end
  return module
end
"""
# `user_script:212: ...` on Redis, `[string "..."]:212: ...` on fakeredis.
_PLACE = re.compile(r'(?:user_script|\[string "[^\n]*?"\]):(\d+)')

#: The scheme's own name, for the hub to compare: made by the loader.
_SCHEME_NAME = "scheme_name"
_SCHEME = "scheme"


class ScriptError(ImportError):
    """A script requires what is not there, or itself."""


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
    #: Where each file begins: line in the bundle, file as shown to people.
    places: tuple[tuple[int, str], ...]

    def explain(self, message: str) -> str:
        """Return an error message with bundle lines told as file and line."""
        return _PLACE.sub(lambda found: self._place(int(found[1])), message)

    def _place(self, line: int) -> str:
        first, file = 0, f"lua/{self.name}"
        for begins, name in self.places:
            if begins > line:
                break
            first, file = begins, name
        return f"{file}:{line - first + 1}"


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
        name = scheme
    elif module == _SCHEME:
        return scheme.text.rstrip("\n") + "\n"
    else:
        name = scheme.name
    if module == _SCHEME_NAME:
        return f'return "{name}"\n'
    return _read(_file(module, name))


def _shown(module: str, scheme: AnyScheme) -> str:
    """Return where it stands, for people."""
    if module == _SCHEME_NAME:
        return module
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
        if module in done:
            continue
        _in_order(_text(module, scheme), scheme, (*path, module), done)
        done.append(module)


@cache
def bundle(command: str, scheme: AnyScheme = "leastload") -> Script:
    """Return the script of a command with the modules it needs.

    Raises ``ScriptError`` (an ``ImportError``) when a file is missing or modules
    require each other in a circle, naming it.
    """
    return link(command, _read(f"{command}.lua"), scheme)


def link(name: str, main: str, scheme: AnyScheme) -> Script:
    """Return a script of this text with the modules it needs; raises as ``bundle``."""
    names: list[str] = []
    _in_order(main, scheme, (), names)
    modules = {
        # Of another's file nobody knows whether it can be taken apart.
        module: Module.parse(
            _text(module, scheme),
            whole=module == _SCHEME_NAME
            or (module == _SCHEME and isinstance(scheme, Scheme)),
        )
        for module in names
    }
    modules[""] = Module.parse(main, whole=True)
    Linker(modules).reach("")
    parts, places = [_BEGIN], []
    carried = [module for module in names if modules[module].reached]
    numbers = {module: number for number, module in enumerate(carried, 1)}

    def numbered(text: str) -> str:
        # What is not carried is named in a comment only.
        return _REQUIRE.sub(
            lambda found: f"require({numbers.get(found[1], found[1])})", text
        )

    line = _BEGIN.count("\n") + 1
    for module in carried:
        places.append((line + 1, _shown(module, scheme)))
        part = f"function()\n{numbered(modules[module].text())}end,\n"
        parts.append(part)
        line += part.count("\n")
    parts.append(_END)
    places.append((line + _END.count("\n"), f"lua/{name}.lua"))
    text = "".join((*parts, numbered(main)))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, tuple(places))


@cache
def schemes() -> tuple[str, ...]:
    """Return the names of redtask's own schemes, sorted."""
    return tuple(sorted(path.stem for path in (folder() / "schemes").glob("*.lua")))


@cache
def commands() -> tuple[str, ...]:
    """Return the names of all commands, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.lua")))
