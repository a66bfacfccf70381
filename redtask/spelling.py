"""What was probably meant by a word that is not known."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Suggest the nearest known word, as the end of a sentence; "": none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {form.format(near[0])}?" if near else ""
