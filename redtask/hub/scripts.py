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

from redtask.hub.linker import Linker, Module

_REQUIRE = re.compile(r"""\brequire\(["']([\w.]+)["']\)""")
# Both tables are made at their size: filling a table that grows costs more.
_BEGIN = """\
local require
local modules = {
"""
_END = """\
}}
local loaded = {{ {loaded} }}
require = function(name)
  local module = loaded[name]
  if not module then
    module = modules[name]()
    loaded[name] = module
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


@dataclass(frozen=True, slots=True)
class Script:
    """A command bundled with a scheme, ready for SCRIPT LOAD."""

    #: The command: the name of its file.
    name: str
    #: The Lua text.
    text: str
    #: What Redis knows it by: the SHA-1 of the text, in hex.
    sha: str
    #: Where each file begins: line in the bundle, file.
    places: tuple[tuple[int, str], ...]

    def explain(self, message: str) -> str:
        """Return an error message with bundle lines told as file and line."""
        return _PLACE.sub(lambda found: self._place(int(found[1])), message)

    def _place(self, line: int) -> str:
        first, file = 0, self.name
        for begins, name in self.places:
            if begins > line:
                break
            first, file = begins, name
        return f"lua/{file}:{line - first + 1}"


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


def _in_order(text: str, scheme: str, path: tuple[str, ...], done: list[str]) -> None:
    """Append to ``done`` what ``text`` requires, each after its own needs."""
    for module in _REQUIRE.findall(text):
        if module in path:
            circle = " -> ".join((*path[path.index(module) :], module))
            message = f"Lua modules require each other: {circle}"
            raise ScriptError(message)
        if module in done:
            continue
        if module != _SCHEME_NAME:
            _in_order(_read(_file(module, scheme)), scheme, (*path, module), done)
        done.append(module)


@cache
def bundle(command: str, scheme: str = "leastload") -> Script:
    """Return the script of a command with the modules it needs.

    Raises ``ScriptError`` (an ``ImportError``) when a file is missing or modules
    require each other in a circle, naming it.
    """
    main = _read(f"{command}.lua")
    names: list[str] = []
    _in_order(main, scheme, (), names)
    modules = {
        name: Module.parse(_read(_file(name, scheme)))
        for name in names
        if name != _SCHEME_NAME
    }
    modules[""] = Module.parse(main, whole=True)
    Linker(modules).reach("")
    parts, places = [_BEGIN], []
    carried: list[str] = []
    line = _BEGIN.count("\n") + 1
    for name in names:
        if name == _SCHEME_NAME:
            body, file = f'return "{scheme}"\n', _SCHEME_NAME
        elif not modules[name].reached:
            continue
        else:
            body, file = modules[name].text(), _file(name, scheme)
        places.append((line + 1, file))
        part = f'["{name}"] = function()\n{body}end,\n'
        parts.append(part)
        carried.append(f'["{name}"] = false')
        line += part.count("\n")
    ending = _END.format(loaded=", ".join(carried))
    parts.append(ending)
    places.append((line + ending.count("\n"), f"{command}.lua"))
    text = "".join((*parts, main))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(command, text, sha, tuple(places))


@cache
def commands() -> tuple[str, ...]:
    """Return the names of all commands, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.lua")))
