"""Link a command and the modules it requires into one Lua script that is cheap to call.

Redis keeps nothing between two calls of a script: each call re-creates every function
whose definition it executes and discards them all, which can cost several times the
actual work. So modules are not just concatenated. The script has one table, ``M``, of
all functions and values that the command can reach. What most calls need is created at
once, the rest lazily on first use. Modules are neither functions nor tables, and
constant numbers and strings are inlined.

Created lazily are members of modules required on the spot, ``require("lib.x").f``,
functions whose comment begins with ``-- Seldom``, and whatever only these need. A
comment that begins with ``-- Seldom together`` is about all that the function mostly
needs: if any of that is needed, it is created at once, because finding each would cost
more. So a command can have a short way for its simplest calls.

This relies on our conventions: a file has ``local`` statements at the top level, then
``return {`` with one ``name = value,`` per line, or the body of the command. No
top-level name is shadowed in its file, and top-level values only read the call's
arguments. Any other file, such as a user's own scheme, is included whole and gets the
modules it requires as tables. No I/O here.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STATEMENT: Final = re.compile(
    r"^local (?P<function>function )?(?P<names>[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*)"
)
_ALIAS: Final = re.compile(r"""\blocal (\w+) = require\(["']([\w.]+)["']\)(?!\.)""")
_REQUIRED: Final = re.compile(r"""^local (\w+) = require\(["']([\w.]+)["']\)$""")
_SAME: Final = re.compile(r"""\A\s*return require\(["']([\w.]+)["']\)\s*\Z""")
_COMMENT: Final = re.compile(r"--(?!\[\[)[^\n]*")
_ENTRY: Final = re.compile(r"^  (\w+) = (.+),$")
_LITERAL: Final = re.compile(r'^local \w+ = (-?[\d.]+|"[^"\\\n]*")$')
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_TOKEN: Final = re.compile(
    r"""(?P<comment>--(?!\[\[)[^\n]*|--\[\[.*?\]\])
    |(?P<text>\[\[.*?\]\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<require>require\(["'][\w.]+["']\))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<space>\s+)
    |(?P<sign>\.\.\.?|[=~<>]=|.)""",
    re.VERBOSE | re.DOTALL,
)
_DECLARED: Final = re.compile(
    r"\blocal function (\w+)|\blocal (\w+(?:, \w+)*)|\bfor ([\w, ]+?) (?:=|in) "
    r"|\bfunction *\(([^)]*)\)"
)
_OPENERS: Final = frozenset(["{", "(", "[", "function", "do", "if", "repeat"])
_ENDERS: Final = frozenset(["}", ")", "]", "end", "until"])
#: Name of the table; no file may use it.
TABLE: Final = "M"
_SELDOM: Final = "-- Seldom"
_TOGETHER: Final = "-- Seldom together"
#: ``local x = require("lib.y")``.
_ALIAS_KINDS: Final = ["name", "space", "name", "space", "sign", "space", "require"]
_ALIAS_WIDTH: Final = len(_ALIAS_KINDS)
_CLOSERS: Final = ("end", "}", ")", "]]")


class ScriptError(ImportError):
    """A script requires something that does not exist, or itself."""


class _Token(NamedTuple):
    kind: str
    text: str


def _tokens(code: str) -> list[_Token]:
    """Tokenize Lua, dropping comments."""
    return [
        _Token(found.lastgroup or "", found[0])
        for found in _TOKEN.finditer(code)
        if found.lastgroup != "comment"
    ]


@dataclass(slots=True, eq=False)
class Piece:
    """A top-level statement, or an entry of the table that a module returns."""

    #: Names that it defines; none for the body of a command.
    names: tuple[str, ...]
    #: Its first line, from 0.
    first: int
    #: Its code, without comments.
    tokens: list[_Token]
    #: Is it a function?
    function: bool = False
    #: Is it seldom needed?
    seldom: bool = False
    #: Is all that it mostly needs created with it?
    together: bool = False
    #: Constant to inline, a number or a string; otherwise "".
    literal: str = ""
    #: Local names of modules that it requires itself.
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: tuple[str, ...], first: int, code: str) -> Piece:
        """Parse a piece from its code."""
        piece = cls(names, first, _tokens(code))
        literal = _LITERAL.match("".join(token.text for token in piece.tokens).strip())
        piece.literal = literal[1] if literal else ""
        piece.aliases = dict(_ALIAS.findall(code))
        return piece

    @property
    def gives(self) -> bool:
        """Does it give its names a value? ``local x`` does not."""
        return self.function or any(token.text == "=" for token in self.tokens)


class Module:
    """A Lua file, split into pieces."""

    def __init__(
        self, text: str, *, command: bool = False, whole: bool = False
    ) -> None:
        #: Its source.
        self.text = text
        #: Its statements in order; the last of a command is its body.
        self.pieces: list[Piece] = []
        #: What it returns, by name.
        self.entries: dict[str, Piece] = {}
        #: Modules that it requires at the top level, by local name.
        self.aliases: dict[str, str] = {}
        #: Pieces by the names they define.
        self.names: dict[str, Piece] = {}
        same = None if command or whole else _SAME.search(_COMMENT.sub("", text))
        #: The module that it just re-exports, if any; otherwise "".
        self.same = same[1] if same else ""
        #: Can it be split into pieces? Otherwise it is included whole.
        self.parts = (
            not whole and self._take_apart(command=command) and self._is_clear()
        )

    def _take_apart(self, *, command: bool) -> bool:
        lines = self.text.splitlines()
        starts = _starts(lines)
        if not starts or not lines[starts[-1]].startswith("return"):
            return False
        for at, after in zip(starts, [*starts[1:], len(lines)], strict=True):
            statement = lines[at:after]
            while not statement[-1] or statement[-1].startswith("--"):
                statement.pop()
            if required := _REQUIRED.match(lines[at]):
                self.aliases[required[1]] = required[2]
            elif not lines[at].startswith("return"):
                if not self._add(at, "\n".join(statement)):
                    return False
                comment = _comment(lines, at)
                self.pieces[-1].seldom = comment.startswith(_SELDOM)
                self.pieces[-1].together = comment.startswith(_TOGETHER)
            elif command:
                self.pieces.append(Piece.of((), at, "\n".join(statement)))
            elif not self._add_entries(at, statement):
                return False
        return True

    def _add(self, at: int, code: str) -> bool:
        found = _STATEMENT.match(code)
        if found is None:
            return False
        names = tuple(found["names"].split(", "))
        piece = Piece.of(names, at, code)
        piece.function = bool(found["function"])
        self.pieces.append(piece)
        self.names.update(dict.fromkeys(names, piece))
        return True

    def _add_entries(self, at: int, lines: Sequence[str]) -> bool:
        if lines[0] != "return {" or lines[-1] != "}":
            return False
        for number, line in enumerate(lines[1:-1], at + 1):
            found = _ENTRY.match(line)
            if found is None:
                if line and not line.lstrip().startswith("--"):
                    return False
                continue
            name, value = found.groups()
            piece = self.names.get(value)
            if piece is None:
                own = f"_{name}"
                piece = Piece.of((own,), number, f"local {own} = {value}")
                self.pieces.append(piece)
                self.names[own] = piece
            self.entries[name] = piece
        return True

    def _is_clear(self) -> bool:
        """Is every top-level name unambiguous in this file?"""
        taken = {TABLE, *self.names, *self.aliases}
        for piece in self.pieces:
            code = "".join(token.text for token in piece.tokens)
            inner = code.partition("(")[2] if piece.function else ""
            found = {name for name in _DECLARED.findall(inner) for name in name}
            declared = {name for names in found for name in _NAME.findall(names)}
            if piece.function:
                declared.update(_NAME.findall(inner.partition(")")[0]))
            if not taken.isdisjoint(declared - piece.aliases.keys()):
                return False
            if not taken.isdisjoint(piece.aliases):
                return False
        return True


def _starts(lines: Sequence[str]) -> list[int]:
    """Return the line numbers at which top-level statements begin."""
    starts, open_text = [], False
    for at, line in enumerate(lines):
        at_margin = line and line[0] not in " -" and not line.startswith(_CLOSERS)
        if at_margin and not open_text:
            starts.append(at)
        if "[[" in line or "]]" in line:
            open_text = line.rfind("[[") > line.rfind("]]")
    return starts


def _comment(lines: Sequence[str], at: int) -> str:
    """Return the first line of the comment above this line, or else this line."""
    first = at
    while first > 0 and lines[first - 1].startswith("--"):
        first -= 1
    return lines[first]


class Place(NamedTuple):
    """Where a part of the script comes from."""

    #: Its first line in the script, from 1.
    line: int
    #: The file.
    file: str
    #: Its first line in that file, from 1.
    of: int


#: A statement, with its module.
_Part: TypeAlias = tuple[str, Piece]


class _Maker(NamedTuple):
    """Code that creates entries of the table when one of them is first needed."""

    #: The first of these, the others follow it.
    at: int
    #: Statements with their modules.
    parts: Sequence[_Part]
    #: Or the module whose table it is.
    table: str = ""


class _Use(NamedTuple):
    """A reference to another statement, or to another module."""

    #: Its first token, and how many tokens it spans.
    at: int
    width: int
    #: The module; "" and no piece if the reference is removed.
    module: str
    #: None: the module as a whole.
    piece: Piece | None
    #: Which of the piece's names.
    name: str = ""
    #: Is it required on the spot?
    lazily: bool = False


class _Reader:
    """Finds the references in one statement."""

    def __init__(
        self, modules: Mapping[str, Module], module: str, piece: Piece
    ) -> None:
        self._modules = modules
        self._module = module
        self._piece = piece
        self._tokens = piece.tokens

    def __iter__(self) -> Iterator[_Use]:
        tokens, at = self._tokens, 0
        openers, before = [""], ""
        while at < len(tokens):
            kind, text = tokens[at]
            width = 1
            if kind == "require" or (kind == "name" and before not in {".", ":"}):
                key = openers[-1] == "{" and before in {"{", ",", ";"}
                use = None if key and self._next(at) == "=" else self._use(at)
                if use is not None:
                    yield use
                    width = use.width
            if text in _OPENERS:
                openers.append(text)
            elif text in _ENDERS:
                openers.pop()
            if kind != "space":
                before = tokens[at + width - 1].text
            at += width

    def _next(self, at: int) -> str:
        """Return the next non-space token after a position."""
        return next(
            (text for kind, text in self._tokens[at + 1 :] if kind != "space"), ""
        )

    def _use(self, at: int) -> _Use | None:
        kind, text = self._tokens[at]
        own, piece = self._modules[self._module], self._piece
        if kind == "require":
            return self._member(_module_of(text), at, lazily=True)
        if text == "local" and self._is_alias(at):
            return _Use(at, _ALIAS_WIDTH, "", None)
        if text in piece.aliases:
            return self._member(piece.aliases[text], at, lazily=True)
        if text in own.aliases:
            return self._member(own.aliases[text], at, lazily=False)
        found = own.names.get(text)
        return _Use(at, 1, self._module, found, text) if found is not None else None

    def _is_alias(self, at: int) -> bool:
        """Is this ``local x = require(...)`` of a module that is split?"""
        tokens = self._tokens[at : at + _ALIAS_WIDTH + 1]
        if [token.kind for token in tokens[:_ALIAS_WIDTH]] != _ALIAS_KINDS:
            return False
        required = _module_of(tokens[_ALIAS_WIDTH - 1].text)
        found = self._modules.get(_meant(self._modules, required))
        dotted = [token.text for token in tokens[_ALIAS_WIDTH:]] == ["."]
        return not dotted and found is not None and found.parts

    def _member(self, module: str, at: int, *, lazily: bool) -> _Use:
        """Return the reference to a module, or to a member of it, at a position."""
        module = _meant(self._modules, module)
        found, tokens = self._modules.get(module), self._tokens
        dotted = [token.text for token in tokens[at + 1 : at + 2]] == ["."]
        if found is None or not found.parts or not dotted:
            return _Use(at, 1, module, None)
        name = tokens[at + 2].text
        if name not in found.entries:
            raise ScriptError(f"Lua module {module} gives no {name}")
        piece = found.entries[name]
        return _Use(at, 3, module, piece, piece.names[0], lazily)


def _module_of(text: str) -> str:
    """Return the module name in a ``require``."""
    return re.split("[\"']", text)[1]


def _meant(modules: Mapping[str, Module], name: str) -> str:
    """Resolve a module that only re-exports another."""
    while name in modules and modules[name].same:
        name = modules[name].same
    return name


class Linker:
    """Makes the script of a command.

    ``modules`` has the modules it may need in topological order, and the command as
    ``""``; ``files`` their file names; ``texts`` modules that are just a string.
    """

    def __init__(
        self,
        modules: Mapping[str, Module],
        files: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> None:
        self._modules = modules
        self._files = files
        self._texts = texts
        #: Reachable pieces, and those of them that most calls need.
        self._reached: set[Piece] = set()
        self._often: set[Piece] = set()
        #: Pieces that are created together, with their modules.
        self._groups: list[dict[Piece, str]] = []
        #: Modules that are used as tables.
        self._tables: dict[str, None] = {}
        #: Index in the table, by module and name; the name "" is the whole module.
        self._numbers: dict[tuple[str, str], int] = {}
        self._lines: list[str] = []
        self._places: list[Place] = []
        self._read: dict[Piece, Sequence[_Use]] = {}

    def link(self) -> tuple[str, tuple[Place, ...]]:
        """Return the script, and where its parts come from."""
        command = self._modules[""]
        if command.parts:
            self._reach("", command.pieces[-1])
            self._group()
        else:
            self._take("")
        self._write()
        return "\n".join(self._lines) + "\n", tuple(self._places)

    # -- reachability

    def _reach(self, module: str, piece: Piece, *, often: bool = True) -> None:
        """Mark a statement, and everything it needs, as reachable."""
        todo = [(module, piece, often)]
        while todo:
            name, one, frequent = todo.pop()
            if one.literal or one in (self._often if frequent else self._reached):
                continue
            self._reached.add(one)
            if frequent:
                self._often.add(one)
            for use in self._uses(name, one):
                if use.piece is not None:
                    rare = use.lazily or use.piece.seldom
                    todo.append((use.module, use.piece, frequent and not rare))
                elif use.module:
                    self._take(use.module)

    def _group(self) -> None:
        """Find what is created together."""
        for module, about in self._modules.items():
            for piece in about.pieces:
                if piece.together and piece in self._reached - self._often:
                    self._groups.append(self._mostly(module, piece))

    def _mostly(self, module: str, piece: Piece) -> dict[Piece, str]:
        """Return what a function mostly needs and nothing before it does."""
        found: dict[Piece, str] = {}
        before = self._often.union(*self._groups)
        todo = [(module, piece)]
        while todo:
            name, one = todo.pop()
            if one.literal or one in before or one in found or not one.gives:
                continue
            found[one] = name
            todo += (
                (use.module, use.piece)
                for use in self._uses(name, one)
                if use.piece is not None and not use.lazily and not use.piece.seldom
            )
        return found

    def _take(self, name: str) -> None:
        """Mark a module that is used whole: any of its entries may be needed."""
        if name in self._tables or name in self._texts:
            return
        module = self._modules[name]
        if name:
            self._tables[name] = None
        if module.parts:
            for piece in module.entries.values():
                self._reach(name, piece, often=False)
            return
        for token in _tokens(module.text):
            if token.kind == "require":
                self._take(_module_of(token.text))

    # -- output

    def _sorted(
        self,
    ) -> tuple[list[_Part], list[_Part], list[list[_Part]], list[_Part]]:
        """Return what is created at once, functions and values; together; by itself."""
        functions: list[_Part] = []
        values: list[_Part] = []
        groups: list[list[_Part]] = [[] for _ in self._groups]
        others: list[_Part] = []
        where = {piece: at for at, one in enumerate(self._groups) for piece in one}
        for module, about in self._modules.items():
            for piece in about.pieces:
                if not piece.names or piece not in self._reached:
                    continue
                kind = others
                if piece in self._often:
                    kind = functions if piece.function else values
                elif piece in where:
                    kind = groups[where[piece]]
                kind.append((module, piece))
        return functions, values, [group for group in groups if group], others

    def _number(self, module: str, piece: Piece) -> int:
        return self._numbers[module, piece.names[0]]

    def _write(self) -> None:
        functions, values, groups, others = self._sorted()
        early = [*functions, *values, *itertools.chain(*groups)]
        keys = [
            (module, name)
            for module, piece in (*early, *others)
            for name in piece.names
        ]
        keys += [(name, "") for name in self._tables]
        self._numbers = {key: at for at, key in enumerate(keys, 1)}
        parts = [*([one] for one in values), *groups, *([one] for one in others)]
        makers = [_Maker(self._number(*some[0]), some) for some in parts]
        makers += [_Maker(self._numbers[name, ""], (), name) for name in self._tables]
        self._lines.append(f"local {TABLE}")
        if self._tables:
            self._write_require()
        self._lines.append(f"{TABLE} = setmetatable({{")
        for module, piece in functions:
            self._put(module, piece.first, self._function(module, piece) + ",")
        # Room for what comes later, and would be looked for in a hash otherwise.
        room = sum(len(piece.names) for _, piece in early) - len(functions)
        self._lines += ["nil, " * room, "}, {", "__index = function(_, at)"]
        self._write_makers(makers)
        self._lines.append("end })")
        for module, piece in values:
            self._put_value(module, piece)
        command = self._modules[""]
        if command.parts:
            last = command.pieces[-1]
            self._put("", last.first, self._code("", last))
        else:
            self._put("", 0, command.text.rstrip("\n"))

    def _put_value(self, module: str, piece: Piece) -> None:
        """Write the assignment of a statement, if it has one."""
        if piece.gives:
            code = self._code(module, piece)
            self._put(module, piece.first, code.removeprefix("local "))

    def _write_makers(self, makers: Sequence[_Maker]) -> None:
        """Write a binary search for the code that creates one entry."""
        if len(makers) == 1:
            self._write_maker(makers[0])
        elif makers:
            middle = len(makers) // 2
            self._lines.append(f"if at < {makers[middle].at} then")
            self._write_makers(makers[:middle])
            self._lines.append("else")
            self._write_makers(makers[middle:])
            self._lines.append("end")

    def _write_maker(self, maker: _Maker) -> None:
        if maker.table:
            self._lines.append("local made")
            self._write_table(maker.table)
            self._lines += [f"{TABLE}[{maker.at}] = made", "return made"]
            return
        # A function may refer to itself, which works once it is stored.
        for module, piece in maker.parts:
            if piece.function:
                entry = self._of(module, piece.names[0])
                code = self._function(module, piece)
                self._put(module, piece.first, f"{entry} = {code}")
        values = [part for part in maker.parts if not part[1].function]
        for module, piece in values:
            self._put_value(module, piece)
        # A value may be nil, and be given one later.
        entry = f"rawget({TABLE}, at)" if values else f"{TABLE}[at]"
        self._lines.append(f"return {entry}")

    def _write_table(self, name: str) -> None:
        """Write code that creates the table of a module."""
        module = self._modules[name]
        if module.parts:
            entries = (
                f"{entry} = {piece.literal or self._of(name, piece.names[0])}"
                for entry, piece in module.entries.items()
            )
            self._lines.append(f"made = {{ {', '.join(entries)} }}")
            return
        self._lines.append("made = (function()")
        self._put(name, 0, module.text.rstrip("\n"))
        self._lines.append("end)()")

    def _write_require(self) -> None:
        """Write the ``require`` of files that are included whole."""
        known = [f'["{name}"] = {self._numbers[name, ""]}' for name in self._tables]
        self._lines.append("local function require(name)")
        self._lines += [
            f'if name == "{name}" then return "{text}" end'
            for name, text in self._texts.items()
        ]
        self._lines += [
            f"return {TABLE}[({{ {', '.join(known)} }})[name]]",
            "end",
        ]

    def _put(self, module: str, first: int, code: str) -> None:
        place = Place(len(self._lines) + 1, self._files[module], first + 1)
        self._places.append(place)
        self._lines += code.split("\n")

    def _function(self, module: str, piece: Piece) -> str:
        """Return a function as an anonymous one."""
        begin = f"local function {self._of(module, piece.names[0])}"
        return f"function{self._code(module, piece).removeprefix(begin)}"

    def _uses(self, module: str, piece: Piece) -> Sequence[_Use]:
        """Return the references in a piece, found once."""
        known = self._read.get(piece)
        if known is None:
            known = self._read[piece] = list(_Reader(self._modules, module, piece))
        return known

    def _code(self, module: str, piece: Piece) -> str:
        """Return the code of a piece with its references replaced."""
        words, at = [], 0
        for use in self._uses(module, piece):
            words += [token.text for token in piece.tokens[at : use.at]]
            words.append(self._mention(use))
            at = use.at + use.width
        words += [token.text for token in piece.tokens[at:]]
        return "".join(words)

    def _mention(self, use: _Use) -> str:
        if use.piece is not None:
            return use.piece.literal or self._of(use.module, use.name)
        if use.module in self._texts:
            return f'"{self._texts[use.module]}"'
        return self._of(use.module, "") if use.module else ""

    def _of(self, module: str, name: str) -> str:
        return f"{TABLE}[{self._numbers[module, name]}]"
