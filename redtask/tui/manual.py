"""The lines of the help: what each key does. No I/O here."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from redtask.tui.looks import TITLE
from redtask.tui.text import line

if TYPE_CHECKING:
    from rich.text import Text

    from redtask.tui.state import State

_KEYS: Final = (
    ("left right Tab 1-5", "other tabs"),
    ("j k  up down", "the row below, above; Home and End"),
    ("PgDn PgUp  ] [", "the page behind, before"),
    ("/", "show only what has a text; Esc shows all again"),
    ("s", "tab Tasks: tasks in the next state"),
    ("Enter", "all that is known of the row"),
    ("w", "why the task is where it is"),
    ("l", "logs: what the task printed"),
    ("t", "the traceback of what it raised"),
    ("space", "freeze: read nothing more by itself"),
    ("A", "abort the task, if you confirm"),
    ("R", "replay the task, if you confirm"),
    ("D", "drain the engine: nothing new; or let it get tasks again"),
    ("?  q", "this help; quit"),
)
#: Width of the keys.
_WIDTH: Final = max(len(keys) for keys, _ in _KEYS) + 2


def lines(state: State) -> list[Text]:
    """Return all lines of the help, wrapped to the screen."""
    found = []
    for keys, words in _KEYS:
        first, *rest = textwrap.wrap(words, max(1, state.size.width - _WIDTH - 1))
        found.append(line((f" {keys:<{_WIDTH}}", TITLE), first))
        found += [line(" " * (_WIDTH + 1) + one) for one in rest]
    return found
