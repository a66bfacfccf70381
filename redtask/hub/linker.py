"""Leave out of a bundle what its command can never reach.

A script call builds every function that its bundle holds, and throws it away again:
that costs more than the call's work, where a command needs little of a library. So
only the functions and constants of a library that are reachable from the command are
carried. What is left out becomes empty lines, so that line numbers stay true.

It works on libraries written as ours are: at the left margin stand ``local``
statements, and in the end ``return {`` with one ``name = value,`` per line. Any other
file, such as a scheme of a user's own, is carried whole. No I/O here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_STATEMENT = re.compile(r"^local (?:function )?([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*)")
_ALIAS = re.compile(r"""\blocal (\w+) = require\(["']([\w.]+)["']\)(?!\.)""")
_REQUIRE = re.compile(r"""require\(["']([\w.]+)["']\)(?:\.(\w+))?""")
_ENTRY = re.compile(r"^  (\w+) = (.+),$")
_WORD = re.compile(r"[A-Za-z_]\w*")
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_STRING = re.compile(r'"[^"\n]*"')
_CLOSERS = ("end", "}", ")", "]]")
#: Stands for everything that a module gives.
ALL = "*"


@dataclass(slots=True)
class _Piece:
    """One statement at the left margin."""

    #: Names that it defines.
    names: tuple[str, ...]
    #: Lines it stands on: first, and behind the last.
    first: int
    last: int
    #: Its code, without comments.
    code: str = ""


@dataclass(slots=True)
class Module:
    """A file in pieces, and which of them are reached."""

    lines: list[str]
    #: Can it be taken apart?
    parts: bool = False
    pieces: list[_Piece] = field(default_factory=list)
    #: The entries of its last ``return``: name, line, code of the value.
    entries: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Modules that it requires, by its own name for them.
    aliases: dict[str, str] = field(default_factory=dict)
    #: Lines of pieces and entries that are reached.
    reached: set[int] = field(default_factory=set)

    @classmethod
    def parse(cls, text: str, *, whole: bool = False) -> Module:
        """Take a file apart; ``whole``: it is not to be."""
        module = cls(text.splitlines())
        module.aliases = dict(_ALIAS.findall(text))
        if not whole:
            module.parts = module._take_apart()
        return module

    def _take_apart(self) -> bool:
        lines = self.lines
        try:
            ending = lines.index("return {")
        except ValueError:
            return False
        current: _Piece | None = None
        for at, line in enumerate(lines[:ending]):
            if not line or line[0] in " -" or line.startswith(_CLOSERS):
                continue
            found = _STATEMENT.match(line)
            if found is None:
                return False
            current = _Piece(tuple(found[1].split(", ")), at, at)
            self.pieces.append(current)
        for piece, after in zip(self.pieces, [*self.pieces[1:], None], strict=True):
            piece.last = ending if after is None else after.first
            text = "\n".join(lines[piece.first : piece.last])
            piece.code = _COMMENT.sub("", text)
        return self._read_entries(ending)

    def _read_entries(self, ending: int) -> bool:
        for at, line in enumerate(self.lines[ending + 1 :], ending + 1):
            if line == "}":
                return True
            if found := _ENTRY.match(line):
                self.entries[found[1]] = at, found[2]
            elif line and not line.lstrip().startswith("--"):
                return False
        return False

    def text(self) -> str:
        """Return the file with what is not reached left empty."""
        if not self.parts:
            return "\n".join(self.lines) + "\n"
        lines = list(self.lines)
        for piece in self.pieces:
            if piece.first not in self.reached:
                lines[piece.first : piece.last] = [""] * (piece.last - piece.first)
        for at, _ in self.entries.values():
            if at not in self.reached:
                lines[at] = ""
        return "\n".join(lines) + "\n"


class Linker:
    """Finds what is reachable among modules, from a command."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self._modules = modules
        self._todo: list[tuple[str, str]] = []

    def reach(self, module: str, name: str = ALL) -> None:
        """Mark what ``module`` gives under a name, and all that this needs."""
        self._todo.append((module, name))
        while self._todo:
            self._visit(*self._todo.pop())

    def _visit(self, name: str, wanted: str) -> None:
        module = self._modules.get(name)
        if module is None:
            return
        if not module.parts:
            if not module.reached:
                module.reached.add(0)
                self._follow(module, _COMMENT.sub("", "\n".join(module.lines)))
            return
        chosen = module.entries if wanted == ALL else (wanted,)
        for one in chosen:
            at, code = module.entries.get(one, (-1, ""))
            if at >= 0 and at not in module.reached:
                module.reached.add(at)
                self._follow(module, code)

    def _follow(self, module: Module, code: str) -> None:
        """Mark what a piece of code of this module needs."""
        named = {name for _, name in _ALIAS.findall(code)}
        for name, member in _REQUIRE.findall(code):
            # Without a name of its own, who knows what is taken from it.
            self._todo.append((name, member or ("" if name in named else ALL)))
        code = _STRING.sub('""', code)
        for alias, name in module.aliases.items():
            if re.search(rf"\b{alias}\b", code):
                self._todo += [
                    (name, member) for member in re.findall(rf"\b{alias}\.(\w+)", code)
                ]
                # Handed on as a whole, as a scheme may be: everything is needed.
                if re.search(rf"\b{alias}\b(?!\.|\s*=\s*require)", code):
                    self._todo.append((name, ALL))
        words = set(_WORD.findall(code))
        for piece in module.pieces:
            if piece.first not in module.reached and words.intersection(piece.names):
                module.reached.add(piece.first)
                self._follow(module, piece.code)
