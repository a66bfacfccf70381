"""What a scheme of a user's own may say, and how it is kept from running forever.

A scheme runs inside Redis, in the middle of scripts: it may read and choose, and
nothing else. This looks at its text only; whether it does what a scheme must is
tried by ``lua/tools/tryout.lua``. No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redtask.hub import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The longest text, in bytes; ``lua/lib/settings.lua`` has it too.
LONGEST: Final = 65536
#: What a scheme may ask of Redis.
_READS: Final = (
    "EXISTS GET HGET HMGET ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZRANK ZREVRANGE "
    "ZREVRANGEBYSCORE ZREVRANK ZSCORE"
)
#: Not alike on all servers, or no business of a scheme.
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
#: Behind each of these something begins that may come again.
_AGAIN: Final = re.compile(r"\b(?:do|repeat)\b|\bfunction\b[\s\w.:]*\([^()]*\)")
_STEPS: Final = (
    "local _steps_ = 0 local function _step_() _steps_ = _steps_ + 1 "
    'if _steps_ > 100000 then error("it does not come to an end", 2) end end '
)


def complaints(text: str) -> Iterator[tuple[int, str]]:
    """Yield what a scheme must not say: line, and why, in words."""
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
    """Return the text with an end put to loops and calls that have none.

    Lines stay where they are.
    """
    parts, at = [_STEPS], 0
    for found in _AGAIN.finditer(_bare(text)):
        parts += text[at : found.end()], " _step_() "
        at = found.end()
    return "".join((*parts, text[at:]))


def _bare(text: str) -> str:
    """Return the text with spaces for comments and for what strings hold."""
    return _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
