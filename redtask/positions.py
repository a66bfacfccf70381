"""Positions in a history of ids, which callers may give instead of these."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def ids_at(history: Sequence[str], wanted: Any) -> Any:
    """Replace positions in a view's history by ids; None is the latest."""
    if wanted is None:
        wanted = -1
    if isinstance(wanted, (list, tuple)):
        return [id_at(history, one) if is_position(one) else one for one in wanted]
    return id_at(history, wanted) if is_position(wanted) else wanted


def is_position(one: object) -> bool:
    """Is it a number of a history? True and False are none: those are mistakes."""
    return isinstance(one, numbers.Integral) and not isinstance(one, bool)


def id_at(history: Sequence[str], position: numbers.Integral | int) -> str:
    """Return the id at a position. Raises ``IndexError`` naming it."""
    try:
        return history[int(position)]
    except IndexError:
        raise IndexError(
            f"history has {len(history)} ids, and no position {position}"
        ) from None
