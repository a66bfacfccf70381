"""Numbers with their nouns, and suggestions for misspelt words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def count(number: int, noun: str) -> str:
    """Format a number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def suggestion(
    word: str,
    known: Iterable[str],
    form: str = "{}",
    most: int = 1,
    likeness: float = 0.6,
) -> str:
    """Suggest the nearest known words, as the end of a sentence; "" if none is near.

    ``likeness``: how near that is, from 0 to 1 for the same word.
    """
    near = difflib.get_close_matches(word, list(known), n=most, cutoff=likeness)
    return f", did you mean {' or '.join(map(form.format, near))}?" if near else ""
