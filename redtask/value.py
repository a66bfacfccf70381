"""The type of what a task returns, for programs whose types are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Type checkers know it without its being installed; Python has it from 3.13 on.
    from typing_extensions import TypeVar

    V_co = TypeVar("V_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    V_co = TypeVar("V_co", covariant=True)

__all__ = ["V_co"]
