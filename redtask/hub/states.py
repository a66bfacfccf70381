"""The states of a task and the moves between them, read from the Lua table.

``lua/lib/states.lua`` is the only place that defines them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from redtask.hub import scripts

_MOVE = re.compile(r"^(\w+)>(\w+) +([\w.]+) +(.+)$", re.MULTILINE)

#: IPython.parallel's words for the final states.
STATUS = {"completed": "ok", "failed": "error", "aborted": "aborted"}
#: Final states.
ENDED = frozenset(STATUS)


@dataclass(frozen=True, slots=True)
class Move:
    """One transition of the table."""

    #: State before; ``new`` means that there is no record yet.
    source: str
    #: State after; ``gone`` means that the record is deleted.
    target: str
    #: The Lua library function that performs it.
    by: str
    #: The reason.
    why: str

    def __str__(self) -> str:
        return f"{self.source}>{self.target}"


@cache
def moves() -> tuple[Move, ...]:
    """Return every move, in the order of the table."""
    text = (scripts.folder() / "lib" / "states.lua").read_text(encoding="utf-8")
    return tuple(Move(*found) for found in _MOVE.findall(text))
