"""Check the source of a user's own scheme, and keep it from running forever.

A scheme runs inside Redis, within our scripts: it may only read and choose. This is a
static check; ``lua/tools/tryout.lua`` tests whether it behaves as a scheme must.
No I/O here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redtask.hub import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Maximum source size in bytes; also in ``lua/lib/settings.lua``.
LONGEST: Final = 65536
#: Redis commands that a scheme may call.
_READS: Final = (
    "EXISTS GET HGET HMGET ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZRANK ZREVRANGE "
    "ZREVRANGEBYSCORE ZREVRANK ZSCORE"
)
#: Features that differ between servers, or that a scheme has no use for.
_FORBIDDEN: Final = {
    r"\bmath\s*\.\s*random\w*": 'random numbers are require("lib.dice")',
    r"\b(?:KEYS|ARGV)\b": "a scheme gets what it needs as arguments",
    r"\b(?:cmsgpack|bit|struct|os|io|debug)\s*\.": "not all servers have it",
    r"\b(?:loadstring|loadfile|dofile|setfenv|getfenv|_G|print)\b": (
        "it is not for schemes"
    ),
}
_NOT_CODE: Final = re.compile(
    r"""(?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
      | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
      | \[(?P<s>=*)\[.*?\](?P=s)\]""",
    re.DOTALL | re.VERBOSE,
)
_CALL: Final = re.compile(r"redis\s*\.\s*call\s*\(\s*([\"'])(\w+)\1")
_REQUIRE: Final = re.compile(r"require\(([\"'])([\w.]+)\1\)")
_LIBRARIES: Final = ("lib.dice", "lib.candidates")
#: The start of every block that may be executed repeatedly.
_AGAIN: Final = re.compile(r"\b(?:do|repeat)\b|\bfunction\b[\s\w.:]*\([^()]*\)")
_STEPS: Final = (
    "local _steps_ = 0 local function _step_() _steps_ = _steps_ + 1 "
    'if _steps_ > 100000 then error("it does not come to an end", 2) end end '
)


def complaints(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and reason of everything that a scheme must not contain."""
    if text.startswith("#"):
        yield 1, "a scheme begins with Lua, not with #"
    if len(text.encode()) > LONGEST:
        yield 1, f"a scheme has at most {LONGEST} bytes"
    bare = _bare(text)
    for pattern, why in _FORBIDDEN.items():
        for found in re.finditer(pattern, bare):
            yield _line(text, found.start()), f"{found[0].rstrip(' .')}: {why}"
    for found in re.finditer(r"\bredis\b", bare):
        call = _CALL.match(text, found.start())
        if call is None:
            why = "redis: only its function call, and a command in quotes behind it"
            yield _line(text, found.start()), why
        elif call[2].upper() not in _READS.split():
            why = f"{call[2]}: a scheme may read only ({_READS})"
            yield _line(text, found.start()), why
    known = (*_LIBRARIES, *(f"schemes.{name}" for name in scripts.schemes()))
    for found in re.finditer(r"\brequire\b", bare):
        required = _REQUIRE.match(text, found.start())
        if required is None or required[2] not in known:
            why = f'require: only of {", ".join(known)}, as in require("{known[0]}")'
            yield _line(text, found.start()), why


def counted(text: str) -> str:
    """Return the source with a step limit in loops and functions, so that it ends.

    Line numbers are preserved.
    """
    parts, at = [_STEPS], 0
    for found in _AGAIN.finditer(_bare(text)):
        parts += text[at : found.end()], " _step_(); "
        at = found.end()
    return "".join((*parts, text[at:]))


def _bare(text: str) -> str:
    """Return the source with comments and strings blanked out."""
    return _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
