"""Styles. Colour never carries information that the text does not."""

from __future__ import annotations

from typing import Final

from redtask.cli.output import STATES

GOOD: Final = "green"
BAD: Final = "bold red"
QUIET: Final = "dim"
TITLE: Final = "bold"


def style_of(word: str) -> str:
    """Return the style of a state; "" for other words."""
    return STATES.get(word, "")
