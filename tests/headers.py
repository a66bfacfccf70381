"""The contract at the top of each Lua file, read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from redtask.hub import scripts

FIELDS = ("KEYS", "ARGV", "RETURNS", "MOVES", "ERRORS", "COST")
_FIELD = re.compile(rf"^({'|'.join(FIELDS)})\s+(.*)$")


@dataclass(frozen=True)
class Header:
    """What a Lua file says of itself."""

    #: Its path under the folder of the Lua files.
    file: str
    #: What it is for: the sentence behind its name.
    purpose: str
    #: The fields that it has, joined to one line each.
    fields: dict[str, str]
    #: All of it, as text.
    text: str

    @property
    def words(self) -> set[str]:
        """The words that a reply may begin with, or hold: quoted in RETURNS."""
        return set(re.findall(r'"([a-z]+)"', self.fields.get("RETURNS", "")))

    @property
    def codes(self) -> set[str]:
        """The error codes."""
        return set(self.fields.get("ERRORS", "").split()) - {"-"}

    @property
    def moves(self) -> list[str]:
        """The arrows that it claims."""
        return [move for move in self.fields.get("MOVES", "").split() if move != "-"]


def read(file: str) -> Header:
    """Read the header of a Lua file; a missing part is left empty."""
    lines = []
    for line in (scripts.folder() / file).read_text().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").removeprefix(" "))
    fields: dict[str, str] = {}
    last = None
    for line in lines[1:]:
        found = _FIELD.match(line)
        if found:
            last = found[1]
            fields[last] = found[2].strip()
        elif last and line.startswith("         "):
            fields[last] += " " + line.strip()
        else:
            last = None
    name, _, purpose = lines[0].partition(": ") if lines else ("", "", "")
    stem = file.rpartition("/")[2].removesuffix(".lua")
    return Header(file, purpose if name == stem else "", fields, "\n".join(lines))


def files() -> list[str]:
    """Return every Lua file, commands first."""
    folder = scripts.folder()
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.lua")]
    return sorted(found, key=lambda file: ("/" in file, file))
