"""Keys by name, decoded from the bytes that a terminal sends. No I/O here."""

from __future__ import annotations

import codecs
import re
from typing import Final

#: Escape sequences, without the escape.
_SEQUENCES: Final = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left",
    "OA": "up", "OB": "down", "OC": "right", "OD": "left",
    "[5~": "pageup", "[6~": "pagedown", "[Z": "backtab",
    "[H": "home", "[F": "end", "OH": "home", "OF": "end",
    "[1~": "home", "[4~": "end", "[7~": "home", "[8~": "end",
    "[3~": "delete",
}  # fmt: skip
_PLAIN: Final = {
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\b": "backspace",
    " ": "space", "\x0c": "redraw", "\x15": "clear",
}  # fmt: skip
_ESCAPE: Final = "\x1b"
_WHOLE: Final = re.compile(r"\x1b(?:O.|\[[0-9;?<>=]*[ -/]*[@-~])")
#: An incomplete escape sequence.
_BEGUN: Final = re.compile(r"\x1b(?:O|\[[0-9;?<>=]*[ -/]*)?\Z")


class Decoder:
    """Decodes bytes into keys: names such as ``up``, or the characters typed."""

    def __init__(self) -> None:
        self._text = ""
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def is_waiting(self) -> bool:
        """Is there an incomplete sequence, which may also be the escape key?"""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the complete keys; the rest is kept, see ``is_waiting``."""
        self._text += self._utf8.decode(data)
        keys: list[str] = []
        while self._text:
            if _BEGUN.match(self._text):
                break
            keys += self._next()
        return keys

    def flush(self) -> list[str]:
        """Return what is left after a pause: it was the escape key."""
        rest, self._text = self._text, ""
        if not rest:
            return []
        return ["escape", *rest[1:]]

    def _next(self) -> list[str]:
        text = self._text
        if text[0] != _ESCAPE:
            self._text = text[1:]
            name = _PLAIN.get(text[0], text[0])
            return [name] if len(name) > 1 or name.isprintable() else []
        whole = _WHOLE.match(text)
        if whole is None:
            # A key with Alt, or the escape key followed by it.
            self._text = text[1:]
            return ["escape"]
        self._text = text[whole.end() :]
        name = _SEQUENCES.get(whole[0][1:], "")
        return [name] if name else []
