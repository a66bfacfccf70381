"""The flags of a view: how its tasks are to run. A value; no I/O here."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import numbers
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

_QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_LABEL: Final = 64
_MOST_RETRIES: Final = 1000
_MOST_PRIORITY: Final = 1000
_YEAR: Final = 31536000.0


def _boolean(value: Any) -> bool:
    return bool(value)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"must be a whole number, not {type(value).__name__}")
        number = int(value)
        if not least <= number <= most:
            raise ValueError(f"must be from {least} to {most}, not {value}")
        return number

    return check


def _label(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {type(value).__name__}")
    if not 0 < len(value.encode()) <= _MOST_LABEL or not value.isprintable():
        raise ValueError(f"must be 1 to {_MOST_LABEL} printable bytes, not {value!r}")
    return value


def _queue(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {type(value).__name__}")
    if not _QUEUE.fullmatch(value):
        raise ValueError(
            f"must be of a-z, 0-9, _ and -, a letter or digit first, not {value!r}"
        )
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"must be seconds, not {type(value).__name__}")
    seconds = float(value)
    if math.isnan(seconds) or not 0 <= seconds <= _YEAR:
        raise ValueError(f"must be from 0 seconds to a year, not {value}")
    return seconds


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "block": _boolean,
    "track": _boolean,
    "retries": _whole(0, _MOST_RETRIES),
    "priority": _whole(-_MOST_PRIORITY, _MOST_PRIORITY),
    "queue": _queue,
    "label": _label,
    "result_ttl": _seconds,
}


@dataclass(frozen=True, slots=True)
class Flags:
    """How tasks of a view are submitted and run."""

    #: Do ``apply`` and ``map`` wait and return the value?
    block: bool = False
    #: Accepted as in IPython.parallel; a submit that returned has been sent.
    track: bool = False
    #: Further attempts after a failure or the loss of the engine, 0 to 1000.
    retries: int = 0
    #: -1000 to 1000; the higher is served first.
    priority: int = 0
    #: Only engines that serve this queue run the task.
    queue: str = "default"
    #: Words for people, and to find the task by; at most 64 bytes.
    label: str | None = None
    #: For how many seconds the ended task is kept; None: as the hub says; 0: until
    #: the room is needed.
    result_ttl: float | None = None

    def replaced(self, **flags: Any) -> Flags:
        """Return flags with some replaced; nothing changes when one is wrong.

        Raises ``KeyError`` for a name that is none, ``TypeError`` or ``ValueError``
        for a value, each naming the flag.
        """
        checked = {}
        for name, value in flags.items():
            if name not in _CHECKS:
                raise KeyError(unknown(name))
            try:
                checked[name] = _CHECKS[name](value)
            except (TypeError, ValueError) as problem:
                raise type(problem)(f"flag {name} {problem}") from None
        return dataclasses.replace(self, **checked)

    def fields(self) -> dict[str, str | int]:
        """Return what differs from the default, as the submit script knows it."""
        fields: dict[str, str | int] = {}
        if self.retries:
            fields["retries"] = self.retries
        if self.priority:
            fields["priority"] = self.priority
        if self.queue != "default":
            fields["queue"] = self.queue
        if self.label is not None:
            fields["label"] = self.label
        if self.result_ttl is not None:
            fields["ttl"] = round(self.result_ttl * 1000)
        return fields


#: The names of all flags.
NAMES: Final = tuple(_CHECKS)


def unknown(name: str) -> str:
    """Return the sentence for a flag that is none."""
    near = difflib.get_close_matches(name, NAMES, 1)
    hint = f"; did you mean {near[0]}?" if near else f" (there are {', '.join(NAMES)})"
    return f"no such flag: {name}{hint}"


class _Flag(Generic[T]):
    """One flag of a view, as an attribute that is checked when it is set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, view: None, owner: type) -> _Flag[T]: ...
    @overload
    def __get__(self, view: Flagged, owner: type) -> T: ...
    def __get__(self, view: Flagged | None, owner: type) -> _Flag[T] | T:
        if view is None:
            return self
        return getattr(view.flags, self._name)  # type: ignore[no-any-return]

    def __set__(self, view: Flagged, value: T) -> None:
        view.set_flags(**{self._name: value})


class Flagged:
    """A view as far as its flags go: attributes of it, and one value."""

    block = _Flag[bool]()
    track = _Flag[bool]()
    retries = _Flag[int]()
    priority = _Flag[int]()
    queue = _Flag[str]()
    label = _Flag["str | None"]()
    result_ttl = _Flag["float | None"]()

    def __init__(self, flags: Flags) -> None:
        #: The flags of tasks submitted from now on; never changed in place.
        self.flags = flags

    def set_flags(self, **flags: Any) -> Any:
        """Set flags of this view; return it. All or none.

        Raises ``KeyError`` for a name that is none, ``TypeError`` or ``ValueError``
        for a value.
        """
        self.flags = self.flags.replaced(**flags)
        return self

    @contextlib.contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Set flags for a ``with`` block. Not for views shared by threads."""
        before = self.flags
        self.flags = before.replaced(**flags)
        try:
            yield
        finally:
            self.flags = before
