"""Type variables for signatures of functions, for type-checked programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    # Type checkers know it even if it is not installed; Python 3.13 has its own.
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    V_co = TypeVar("V_co", default=Any, covariant=True)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    V_co = TypeVar("V_co", covariant=True)

if TYPE_CHECKING:
    #: What an engine runs to its end.
    CoroutineFunction = Callable[..., Coroutine[Any, Any, V_co]]

__all__ = ["P", "V_co"]
