"""The arguments of a task, as short texts.

They are verified and then unpickled, which runs the code of their classes. No I/O here.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redtask import payload
from redtask.dependency import Ref
from redtask.error import SerializationError
from redtask.flows import reading
from redtask.listing import read
from redtask.overlay import Overlay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.flows import Flow
    from redtask.session import Session

#: The most characters of a text, and of a string, a number or an object inside.
_LONGEST: Final = 500
_MOST_INSIDE: Final = 200
#: The most items of a container, and containers within each other.
_MOST_ITEMS: Final = 12
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call, or those of a chunk of a map."""

    #: Of a chunk of several calls, for each argument the sequence of its values.
    args: tuple[str, ...] = ()
    kwargs: Mapping[str, str] = field(default_factory=dict)
    #: What a replay has put in place of some, by name or position.
    edits: Mapping[str, str] = field(default_factory=dict)
    #: How many calls of a map share them; None: it is one call.
    calls: int | None = None


class _Short(reprlib.Repr):
    """Texts that are short however large the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = _DEEPEST
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = _MOST_ITEMS
        self.maxdict = self.maxdeque = self.maxarray = _MOST_ITEMS
        self.maxstring = self.maxlong = self.maxother = _MOST_INSIDE

    def repr_bytes(self, value: bytes, _level: int) -> str:
        # As any other object it would be shortened when all of it is text.
        return payload.short_repr(value, self.maxstring)


def short(value: object) -> str:
    """Return a repr of limited length, whatever the value's own does."""
    try:
        text = _Short().repr(value)
    except Exception:  # noqa: BLE001 - it is the user's code
        text = payload.short_repr(value, _LONGEST)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def arguments_of(session: Session, task_id: str) -> Flow[Arguments]:
    """Return the arguments of a task in any state. References to results stay so.

    Raises ``SignatureError`` unless they are signed with one of our keys, before
    anything is unpickled; and ``SerializationError`` if they cannot be unpickled here,
    or the hub no longer has them.
    """
    (record,) = yield from read(session.keys, [task_id], ("fn", "root"))
    (envelope,) = yield from reading.parts(session.keys, [task_id], "args")
    if "fn" not in record or envelope is None:
        raise SerializationError("the hub no longer has them")
    function, _, until = record["fn"].partition(" ")
    root = record.get("root", task_id)
    body = bytes(session.keyring.open_task(function, until, root, envelope))
    try:
        return _unpacked(body)
    except Exception as problem:
        told = f"{type(problem).__name__}: {payload.safe_text(problem)}"
        raise SerializationError(f"cannot be unpickled here: {told}") from problem


def _unpacked(body: bytes) -> Arguments:
    _, body = payload.unpack_refs(body)
    overlay, body = Overlay.unpack(body)
    args, kwargs = payload.unpack_call(body, overlay.resolver(Ref))
    edits = {name: short(value) for name, value in overlay.values.items()}
    if kwargs is not None:
        named = {str(name): short(value) for name, value in kwargs.items()}
        return Arguments(tuple(map(short, args)), named, edits)
    calls = min(map(len, args), default=0)
    if calls == 1:
        args, calls = [next(iter(one)) for one in args], 0
    return Arguments(tuple(map(short, args)), edits=edits, calls=calls or None)
