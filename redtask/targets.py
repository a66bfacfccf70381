"""The engines that may run a task, as given by the user. No I/O here."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from redtask.error import NoEnginesRegistered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: The most engines named in the error for an unknown one.
_SHOWN: Final = 10


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"must be ids of engines, not {type(value).__name__}")
    return int(value)


def is_all(targets: Any) -> bool:
    """Are all engines meant: None, or ``"all"``?"""
    return targets is None or (isinstance(targets, str) and targets == "all")


def engines_in(targets: Any, *, uuids: bool = False) -> list[Any]:
    """Return the ids of engines that a command is for; with ``uuids``, also those.

    Raises ``TypeError`` for what is neither, nor several of them.
    """
    plain = isinstance(targets, (str, bytes, bytearray))
    several = isinstance(targets, Iterable) and not plain
    return [_engine(one, uuids=uuids) for one in (targets if several else [targets])]


def _engine(one: Any, *, uuids: bool) -> int | str:
    if isinstance(one, numbers.Integral) and not isinstance(one, bool):
        return int(one)
    if uuids and isinstance(one, str):
        return one
    wanted = "'all', or ids or uuids of engines" if uuids else "'all' or ids of engines"
    given = repr(one) if isinstance(one, str) else type(one).__name__
    raise TypeError(f"targets must be {wanted}, not {given}")


@dataclass(frozen=True, slots=True)
class Targets:
    """Engines, by their ids or by their positions among the living ones."""

    #: An id, several, or a slice; a negative number counts from the last engine.
    given: int | slice | tuple[int, ...]
    #: The engines' ids, ascending; None until they were looked up.
    ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, value: Any) -> Targets | None:
        """Check what was given; None and ``"all"`` are no restriction.

        Raises ``TypeError``, or ``ValueError`` if it is empty.
        """
        if is_all(value):
            return None
        if isinstance(value, cls):
            return value
        if isinstance(value, slice):
            return cls(value)
        if isinstance(value, (list, tuple, range, set, frozenset)):
            ids = tuple(map(_number, value))
            if not ids:
                raise ValueError("must be at least one engine")
            return cls(ids)
        if isinstance(value, (str, bytes)):
            raise TypeError(f"must be 'all' or ids of engines, not {value!r}")
        return cls(_number(value))

    @property
    def shown(self) -> int | slice | list[int]:
        """The ids as a list; what was given if they were not looked up."""
        if self.ids is not None:
            return list(self.ids)
        return list(self.given) if isinstance(self.given, tuple) else self.given

    def resolved(self, living: Sequence[int]) -> Targets:
        """Look up the engines among the living ones.

        Raises ``NoEnginesRegistered``, and ``IndexError`` naming an engine that does
        not exist.
        """
        if not living:
            raise NoEnginesRegistered(
                "flag targets: there is no engine to choose from yet"
            )
        if isinstance(self.given, slice):
            found = list(living[self.given])
            if not found:
                raise IndexError(
                    f"flag targets: {self.given} names none of {len(living)} engines"
                )
        else:
            several = self.given if isinstance(self.given, tuple) else (self.given,)
            try:
                found = [_find(number, living) for number in several]
            except IndexError as problem:
                raise IndexError(f"flag targets: {problem}") from None
        return replace(self, ids=tuple(sorted(set(found))))

    def text(self) -> str:
        """Return the ids, once looked up, in the hub's notation: ``0-2,5``."""
        parts: list[list[int]] = []
        for number in self.ids or ():
            if parts and parts[-1][1] == number - 1:
                parts[-1][1] = number
            else:
                parts.append([number, number])
        return ",".join(
            str(low) if low == high else f"{low}-{high}" for low, high in parts
        )


@dataclass(frozen=True, slots=True)
class Row(Targets):
    """The engines of a DirectView, each of which gets its own task, in this order."""

    #: The queue of each, once looked up: one that it serves.
    queues: tuple[str, ...] = ()
    #: Are all of them meant that live at the time of a call?
    every: bool = False

    @classmethod
    def of(cls, value: Any) -> Row:
        """Check what was given; None is all that live now.

        Raises ``TypeError``, or ``ValueError`` if it is empty.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value == "all":
            return cls(slice(None), every=True)
        try:
            found = Targets.of(slice(None) if value is None else value)
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"targets {problem}") from None
        assert found is not None  # noqa: S101 - it is not all of them
        return cls(found.given)

    @property
    def single(self) -> bool:
        """Is it one engine, so that a result is no list?"""
        return isinstance(self.given, int)

    @property
    def places(self) -> tuple[tuple[int, str], ...]:
        """The engines and their queues, once looked up."""
        return tuple(zip(self.ids or (), self.queues, strict=True))

    @property
    def shown(self) -> Any:
        """The id or ids; ``"all"``; or what was given, if they were not looked up."""
        if self.every:
            return "all"
        if self.ids is not None:
            return self.ids[0] if self.single else list(self.ids)
        return list(self.given) if isinstance(self.given, tuple) else self.given

    def among(self, living: Mapping[int, str]) -> Row:
        """Look up the engines among the living ones, which have a queue each.

        Raises ``NoEnginesRegistered``, and ``IndexError`` naming an engine that does
        not exist.
        """
        if not living:
            raise NoEnginesRegistered("there is no engine yet")
        ids = list(living)
        if isinstance(self.given, slice):
            found = ids[self.given]
            if not found:
                raise IndexError(f"{self.given} names none of {len(ids)} engines")
        else:
            several = self.given if isinstance(self.given, tuple) else (self.given,)
            found = [_find(number, ids) for number in several]
        queues = tuple(living[number] for number in found)
        return replace(self, ids=tuple(found), queues=queues)

    def text(self) -> str:
        """Return nothing: each task names its own engine."""
        return ""


def check_key(key: object) -> None:
    """Raise ``TypeError`` for what is no key of engines, but a choice elsewhere."""
    if key is None or isinstance(key, str):
        raise TypeError(f"engines are chosen by ids, or a slice, not by {key!r}")


def _find(number: int, living: Sequence[int]) -> int:
    if number < 0 and -number <= len(living):
        return living[number]
    if number not in living:
        shown = ", ".join(map(str, living[:_SHOWN]))
        more = ", ..." if len(living) > _SHOWN else ""
        raise IndexError(f"no such engine: {number}; there are {shown}{more}")
    return number
