"""What a DirectView has its engines do: one call on each of them. No I/O here.

Both faces submit it. The arguments are packed before anything is asked of the hub.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redtask import cells, inputs, namespace, payload
from redtask.outcomes import Pieces

if TYPE_CHECKING:
    from redtask.flags import Flags
    from redtask.imports import Import
    from redtask.rope import Written

#: Flags that choose engines, and what they are when they do not.
_CHOOSING: Final[Mapping[str, Any]] = {"follow": None, "retry_elsewhere": False}


class Spread(NamedTuple):
    """Calls of one function, one on each of some engines."""

    function: Callable[..., Any] | str
    #: Returns their packed arguments, given the number of engines: as many, or fewer.
    bodies: Callable[[int], Sequence[Written]]
    #: The name of the result.
    name: str


def check(flags: Flags) -> None:
    """Raise ``ValueError`` for a flag that would choose engines."""
    for name, nothing in _CHOOSING.items():
        if getattr(flags, name) != nothing:
            raise ValueError(
                f"flag {name} must be {nothing} in a DirectView: its targets say where"
            )


def applied(
    function: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Spread:
    """Call a function with the same arguments on all engines."""
    body = payload.pack_call(args, kwargs)
    return _spread(function, lambda count: [body] * count)


def _spread(
    function: Callable[..., Any] | str, bodies: Callable[[int], Sequence[Written]]
) -> Spread:
    sent = namespace.native(function)
    return Spread(sent, bodies, payload.name_of(function))


def mapped(
    function: Callable[..., Any] | str, sequences: Sequence[Any], count: int
) -> tuple[Spread, list[int]]:
    """Call a function for each item, in parts: one for each engine, or fewer.

    Also returns how many items each has.
    """
    items, length = inputs.as_sequences(sequences)
    sizes = inputs.shares(length, min(length, count))
    bodies = [payload.pack_chunk(piece) for piece in inputs.cut(items, sizes)]
    return _spread(function, lambda _: bodies), sizes


def called(
    function: Callable[..., Any] | str, chunks: Sequence[tuple[Any, ...]]
) -> Spread:
    """Call a function with other arguments on each engine."""
    bodies = [payload.pack_call(chunk, {}) for chunk in chunks]
    return _spread(function, lambda _: bodies)


# -- the namespace


def pushed(values: Any) -> Spread:
    """Set names. Raises ``TypeError`` and ``ValueError`` for what are none."""
    if not isinstance(values, Mapping):
        kind = type(values).__name__
        raise TypeError(f"push takes a dict of names and values, not {kind}")
    for name in values:
        _check_name(name)
    return applied(namespace.push, (), values)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name must be a string, not {type(name).__name__}")
    if not name.isidentifier():
        raise ValueError(f"not a name: {name!r}")


def pulled(names: Any) -> Spread:
    """Get a value, or for a list of names a list of values."""
    if isinstance(names, (list, tuple, set, frozenset)):
        wanted: Any = [namespace.expression(one) for one in names]
    else:
        wanted = namespace.expression(names)
    return applied(namespace.pull, (wanted,), {})


def scattered(key: str, sequence: Any, dist: str, *, flatten: bool) -> Spread:
    """Set a name to another part of a sequence on each engine.

    With ``flatten``, a part of one item is the item.
    """
    inputs.check_dist(dist)
    _check_name(key)
    (items,), length = inputs.as_sequences([sequence], whole=True)

    def bodies(count: int) -> list[Written]:
        if dist == "r":
            parts = [items[at::count] for at in range(count)]
        else:
            sizes = inputs.shares(length, count)
            parts = [part for (part,) in inputs.slices([items], sizes)]
        if flatten:
            parts = [part[0] if len(part) == 1 else part for part in parts]
        return [payload.pack_call((), {key: part}) for part in parts]

    return Spread(namespace.push, bodies, "scatter")


def executed(code: Any, file: str | None, *, silent: bool) -> Spread:
    """Execute code; unless ``silent``, the value is that of its last expression.

    ``file`` is where it is from. Raises ``SyntaxError``.
    """
    if not isinstance(code, str):
        raise TypeError(f"code must be a string, not {type(code).__name__}")
    try:
        ast.parse(code, file or "<execute>")
    except IndentationError:
        # As a block of the program it stands in.
        code = textwrap.dedent(code)
        ast.parse(code, file or "<execute>")
    file = file or cells.typed(code)
    return applied(namespace.execute, (code, file, silent), {})


def cleared() -> Spread:
    """Forget all names."""
    return applied(namespace.clear, (), {})


def brought(imports: Sequence[Import]) -> Spread:
    """Import modules."""
    return applied(namespace.bring, (list(imports),), {})


class Gathered(Pieces):
    """The value of a name that was scattered, as one sequence."""

    def _unfolded(self, value: Any) -> list[Any]:
        # A single item was flattened; text is no sequence of values.
        few = not hasattr(value, "__len__") or isinstance(value, (str, bytes, dict))
        return [value] if few else list(value)


__all__ = ["Gathered", "Spread"]
