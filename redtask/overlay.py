"""What differs from packed arguments that nobody wants to unpickle: an overlay.

A replay lays it over the arguments of the old task; the engine, which unpickles them
anyway, puts it in their place. Other tasks' new runs stand for those that references
are to, and other values for some of the arguments: such as JSON has. No I/O here.
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
    """What differs."""

    #: Ids that references in the arguments have, and whose results are meant.
    refs: Mapping[str, str] = field(default_factory=dict)
    #: Other values, by the name of the parameter, or by position: ``"0"``.
    values: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Does anything differ?"""
        return bool(self.refs or self.values)

    def then(self, refs: Mapping[str, str], values: Mapping[str, Any]) -> Overlay:
        """Return it with another one laid over it."""
        moved = {old: refs.get(new, new) for old, new in self.refs.items()}
        reached = set(self.refs.values())
        moved.update({old: new for old, new in refs.items() if old not in reached})
        return Overlay(moved, {**self.values, **values})

    def pack(self, body: bytes) -> bytes:
        """Return it in front of packed arguments.

        Raises ``TypeError`` for a value that JSON has not.
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
        """Return the overlay, perhaps an empty one, and the arguments below it."""
        if body[:1] != _MARK:
            return cls(), body
        end = 5 + int.from_bytes(body[1:5], "big")
        said = json.loads(bytes(body[5:end]))
        return cls(said["refs"], said["values"]), body[end:]

    def resolver(
        self, resolver: Callable[[str], Any] | None
    ) -> Callable[[str], Any] | None:
        """Return what gives the result that a reference means now."""
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
        """Return arguments with the other values in their places.

        A name stands for the positional argument of that name, where there is one.
        Raises ``TypeError`` for a position that is not there.
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
    """Return where the parameters stand that may be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # e.g. of some builtins
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {one.name: at for at, one in enumerate(parameters) if one.kind in kinds}
