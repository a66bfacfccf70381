"""How things look. No colour says anything that a word does not say as well."""

from __future__ import annotations

from typing import Final

from redtask.cli.output import STATES

GOOD: Final = "green"
BAD: Final = "bold red"
QUIET: Final = "dim"
TITLE: Final = "bold"


def style_of(word: str) -> str:
    """Return the style of a state; "" for what is none."""
    return STATES.get(word, "")
