"""What views are given instead of ids, or of jobs: checked, and in one form."""

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


def ahead_of(sequences: Sequence[Any], most: int | str) -> int | None:
    """Return how many tasks of a lazy map may be submitted ahead; None: "auto".

    Raises ``TypeError`` if there is nothing to map, ``ValueError`` for an invalid
    number.
    """
    if not sequences:
        raise TypeError("imap needs at least one sequence")
    if most == "auto":
        return None
    if isinstance(most, numbers.Integral) and int(most) >= 0:
        return int(most)
    raise ValueError(f"max_outstanding must be 'auto' or a number, not {most!r}")
