"""Overlays: edits of packed arguments that are applied without unpickling them.

A replay puts one in front of the old task's arguments; the engine, which unpickles them
anyway, applies it. It redirects references to the new runs of tasks, and replaces some
arguments by JSON values. No I/O here.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MARK: Final = b"O"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The edits."""

    #: Ids of tasks whose results replace those referred to, by the id referred to.
    refs: Mapping[str, str] = field(default_factory=dict)
    #: New values, by the name or the position of the parameter: ``"0"``.
    values: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Are there any edits?"""
        return bool(self.refs or self.values)

    def then(self, refs: Mapping[str, str], values: Mapping[str, Any]) -> Overlay:
        """Return it with further edits on top."""
        moved = {old: refs.get(new, new) for old, new in self.refs.items()}
        reached = set(self.refs.values())
        moved.update({old: new for old, new in refs.items() if old not in reached})
        return Overlay(moved, {**self.values, **values})

    def pack(self, body: bytes) -> bytes:
        """Return packed arguments with this overlay in front.

        Raises ``TypeError`` for a value that JSON does not have.
        """
        if not self:
            return body
        data = json.dumps(
            {"refs": dict(self.refs), "values": dict(self.values)},
            separators=(",", ":"),
        ).encode()
        return b"".join((_MARK, len(data).to_bytes(4, "big"), data, body))

    @classmethod
    def unpack(cls, body: bytes) -> tuple[Overlay, bytes]:
        """Return the overlay, possibly empty, and the arguments below it."""
        if body[:1] != _MARK:
            return cls(), body
        end = 5 + int.from_bytes(body[1:5], "big")
        said = json.loads(bytes(body[5:end]))
        return cls(said["refs"], said["values"]), body[end:]

    def resolver(
        self, resolver: Callable[[str], Any] | None
    ) -> Callable[[str], Any] | None:
        """Return a resolver that gives the results now referred to."""
        refs = self.refs
        if resolver is None or not refs:
            return resolver
        return lambda name: resolver(refs.get(name, name))

    def apply(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with the new values.

        The name of a parameter that is passed by position replaces that argument.
        Raises ``TypeError`` for a position that does not exist.
        """
        changed, named = list(args), dict(kwargs)
        places = _places(function)
        for name, value in self.values.items():
            at = int(name) if name.isdigit() else places.get(name, len(changed))
            if at < len(changed):
                changed[at] = value
            elif name.isdigit():
                raise TypeError(
                    f"argument {name} is to be replaced, and there are {len(changed)}"
                )
            else:
                named[name] = value
        return changed, named


def _places(function: Callable[..., Any]) -> dict[str, int]:
    """Return the positions of parameters that may be passed by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # e.g. of some builtins
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {one.name: at for at, one in enumerate(parameters) if one.kind in kinds}
