"""The flags of a view, which say how its tasks run: a value. No I/O here."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import math
import numbers
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from redtask.absent import FLAGS
from redtask.dependency import Dependency, is_id
from redtask.spelling import suggestion
from redtask.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

#: The name of a queue.
QUEUE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_LABEL: Final = 64
_MOST_RETRIES: Final = 1000
_MOST_PRIORITY: Final = 1000
_YEAR: Final = 31536000.0
#: The last second that a datetime can name.
_LAST: Final = 253402300799.0
_MOST_BACKOFF: Final = 1000.0
_EXCEPTION: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MOST_EXCEPTIONS: Final = 16
_MOST_NAMES: Final = 200
#: Possible guarantees of a submit; the first costs nothing.
DURABILITIES: Final = ("memory", "fsync", "replica")


def _boolean(value: Any) -> bool:
    # A tuple: what is given may not be hashable.
    if value not in (True, False, None):
        raise TypeError(f"must be True or False, not {value!r}")
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


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {type(value).__name__}")
    # What is sent of an enum's member, say, is its text, and not its name.
    return str.__str__(value)


def _label(value: Any) -> str | None:
    if value is None:
        return None
    text = _text(value)
    # Printable text can also be encoded.
    if not text.isprintable() or not 0 < len(text.encode()) <= _MOST_LABEL:
        raise ValueError(f"must be 1 to {_MOST_LABEL} printable bytes, not {text!r}")
    return text


def _queue(value: Any) -> str:
    text = _text(value)
    if not QUEUE.fullmatch(text):
        raise ValueError(
            f"must be of a-z, 0-9, _ and -, a letter or digit first, not {text!r}"
        )
    return text


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _given(value: Any, number: float) -> Any:
    """Return what to say of a value: of one that is too large not each digit."""
    return number if math.isinf(number) else value


def _real(least: float, most: float, unit: str = "a number") -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"must be {unit}, not {type(value).__name__}")
        number = _float(value)
        if math.isnan(number) or not least <= number <= most:
            given = _given(value, number)
            raise ValueError(f"must be from {least:.15g} to {most:.15g}, not {given}")
        return number

    return check


_span: Final = _real(0, _YEAR, "seconds")


def _seconds(value: Any) -> float | None:
    return None if value is None else _span(value)


def _seconds_or_never(value: Any) -> float:
    return 0.0 if value is None else _span(value)


def _limit(value: Any) -> float | None:
    if value is None:
        return None
    seconds = _span(value)
    if seconds <= 0:
        raise ValueError("must be more than 0 seconds, or None")
    return seconds


def _moment(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"must be a datetime with a timezone, not {value!r}")
        seconds = value.timestamp()
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        kind = type(value).__name__
        raise TypeError(f"must be a datetime or seconds since the epoch, not {kind}")
    else:
        seconds = _float(value)
    # What is not a number is not between two either.
    if not 0 <= seconds <= _LAST:
        last, given = f"{_LAST:.0f}", _given(value, seconds)
        raise ValueError(f"must be from 0 (in 1970) to {last} (in 9999), not {given}")
    return seconds


def _dependency(value: Any) -> Dependency | None:
    if value is None:
        return None
    if isinstance(value, Dependency):
        # A private copy, which nobody changes afterwards.
        found = value.copy()
    elif isinstance(value, (str, list, tuple, set, frozenset)) or hasattr(
        value, "msg_ids"
    ):
        try:
            found = Dependency(value)
        except TypeError as problem:
            raise TypeError(f"must be ids and results: {problem}") from None
    else:
        raise TypeError(
            "must be an id, a result, a Dependency, or a list of ids and results, "
            f"not {type(value).__name__}"
        )
    for name in found:
        if not is_id(name):
            raise ValueError(f"must be ids of tasks; {name!r} is not one")
    return found or None


def _exceptions(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    several = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    names = []
    for one in several:
        # IOError is another name of a class, whose errors never go by it.
        known = getattr(builtins, one, None) if isinstance(one, str) else one
        if isinstance(known, type) and issubclass(known, BaseException):
            name = known.__name__
        else:
            name = one
        if not isinstance(name, str):
            raise TypeError(f"must be exception classes or their names, not {one!r}")
        if not _EXCEPTION.fullmatch(name):
            raise ValueError(f"must be names of exception classes; {name!r} is not one")
        names.append(str.__str__(name))
    if not 0 < len(names) <= _MOST_EXCEPTIONS:
        raise ValueError(f"must be 1 to {_MOST_EXCEPTIONS} exceptions, or None")
    if len(",".join(names)) > _MOST_NAMES:
        raise ValueError(f"must be names of at most {_MOST_NAMES} bytes in all")
    return tuple(dict.fromkeys(names))


def _durability(value: Any) -> str:
    text = _text(value)
    if text not in DURABILITIES:
        raise ValueError(f"must be one of {', '.join(DURABILITIES)}, not {text!r}")
    return text


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "block": _boolean,
    "track": _boolean,
    "retries": _whole(0, _MOST_RETRIES),
    "priority": _whole(-_MOST_PRIORITY, _MOST_PRIORITY),
    "queue": _queue,
    "label": _label,
    "result_ttl": _seconds,
    "targets": Targets.of,
    "after": _dependency,
    "follow": _dependency,
    "timeout": _seconds_or_never,
    "delay": _seconds_or_never,
    "eta": _moment,
    "time_limit": _limit,
    "retry_delay": _seconds_or_never,
    "retry_backoff": _real(1, _MOST_BACKOFF),
    "retry_jitter": _real(0, 1),
    "retry_on": _exceptions,
    "retry_elsewhere": _boolean,
    "durability": _durability,
}


#: Longer ones are cut where a view says what it is: dependencies, mostly.
_LONG: Final = 60


@dataclass(frozen=True, slots=True)
class Flags:
    """How tasks of a view are submitted and run."""

    #: Do ``apply`` and ``map`` wait and return the value?
    block: bool = False
    #: Accepted as in IPython.parallel; a submit has been sent when it returns.
    track: bool = False
    #: Further attempts after a failure or the loss of the engine, 0 to 1000.
    retries: int = 0
    #: -1000 to 1000; higher ones are served first.
    priority: int = 0
    #: Only engines that serve this queue run the task.
    queue: str = "default"
    #: Free text to describe and find the task; at most 64 bytes.
    label: str | None = None
    #: How long the ended task is kept, in seconds; None: the hub's default; 0: until
    #: the space is needed.
    result_ttl: float | None = None
    #: Only these engines may run the task; None: any.
    targets: Targets | None = None
    #: Tasks that must end first: ids, results, or a ``Dependency``.
    after: Dependency | None = None
    #: Run on an engine where these ran.
    follow: Dependency | None = None
    #: How long the task may wait for others and for an engine, in seconds; 0: forever.
    timeout: float = 0.0
    #: Earliest start, in seconds after the submit.
    delay: float = 0.0
    #: Earliest start, in seconds since the epoch.
    eta: float | None = None
    #: The longest a run may take, in seconds.
    time_limit: float | None = None
    #: Seconds until the first retry; 0: at once.
    retry_delay: float = 0.0
    #: Factor by which the delay grows with each further retry, 1 to 1000.
    retry_backoff: float = 1.0
    #: Fraction of the delay by which it varies at random, 0 to 1.
    retry_jitter: float = 0.0
    #: Names of exceptions, or of their bases, that are retried; None: all.
    retry_on: tuple[str, ...] | None = None
    #: Never run twice on the same engine, as in IPython.parallel?
    retry_elsewhere: bool = False
    #: What a submit guarantees when it returns: that Redis has the tasks in memory
    #: (``memory``), on disk (``fsync``), or that a replica has them (``replica``).
    durability: str = "memory"

    def replaced(self, **flags: Any) -> Flags:
        """Return flags with some replaced: all, or none if one is invalid.

        Raises ``KeyError`` for an unknown name, ``TypeError`` or ``ValueError``
        for a value, each naming the flag.
        """
        checked = {}
        for name, value in flags.items():
            if name == "balanced":
                # As in IPython.parallel: always the case.
                continue
            if name not in _CHECKS:
                raise KeyError(unknown(name))
            try:
                checked[name] = _CHECKS[name](value)
            except (TypeError, ValueError) as problem:
                raise type(problem)(f"flag {name} {problem}") from None
        found = dataclasses.replace(self, **checked)
        if found.delay and found.eta is not None:
            raise ValueError("flag eta must be None where there is a delay")
        return found

    def told(self) -> list[str]:
        """Return the flags that are set, except ``targets``, as in a call."""
        found = []
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name != "targets" and value != one.default:
                text = f"{one.name}={value!r}"
                found.append(text if len(text) <= _LONG else f"{text[:_LONG]}...")
        return found

    @property
    def opts(self) -> str:
        """Options for the engine, which are signed, as words."""
        words = []
        if self.time_limit is not None:
            words.append(f"l{_milliseconds(self.time_limit)}")
        if self.retry_on is not None:
            words.append(f"o{','.join(self.retry_on)}")
        return " ".join(words)

    @property
    def has_timers(self) -> bool:
        """Do any flags set timers for the tasks?"""
        return bool(
            self.timeout or self.delay or self.eta is not None or self.retry_delay
        )

    def fields(self) -> dict[str, str | int]:
        """Return what differs from the defaults, as the submit script takes it."""
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
        if self.targets or self.after or self.follow:
            fields.update(self._constraints())
        if self.has_timers:
            fields.update(self._times())
        if self.retry_elsewhere:
            fields["elsewhere"] = 1
        if opts := self.opts:
            fields["opts"] = opts
        return fields

    def _constraints(self) -> dict[str, str | int]:
        fields: dict[str, str | int] = {}
        if self.targets is not None:
            fields["targets"] = self.targets.text()
        if self.after is not None:
            fields["after"] = self.after.text()
        if self.follow is not None:
            fields["follow"] = self.follow.text()
        return fields

    def _times(self) -> dict[str, str | int]:
        fields: dict[str, str | int] = {}
        if self.timeout:
            fields["timeout"] = _milliseconds(self.timeout)
        if self.delay:
            fields["start_in"] = _milliseconds(self.delay)
        if self.eta is not None:
            fields["start_at"] = round(self.eta * 1000)
        if self.retry_delay:
            delay = _milliseconds(self.retry_delay)
            factor, jitter = map(_decimal, (self.retry_backoff, self.retry_jitter))
            fields["pause"] = f"{delay} {factor} {jitter}"
        return fields


def _decimal(number: float) -> str:
    """Return a number without exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _milliseconds(seconds: float) -> int:
    """Return milliseconds; at least 1, since 0 means none."""
    return max(1, round(seconds * 1000))


#: The names of all flags.
NAMES: Final = tuple(_CHECKS)


def unknown(name: str) -> str:
    """Return the message for an unknown flag."""
    if name in FLAGS:
        return f"no such flag: {name}; {FLAGS[name]}"
    hint = suggestion(name, NAMES, most=3) or f" (there are {', '.join(NAMES)})"
    return f"no such flag: {name}{hint}"


class _Flag(Generic[T]):
    """One flag of a view: an attribute that is checked when set."""

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

    def __set__(self, view: Flagged, value: Any) -> None:
        view.set_flags(**{self._name: value})


class _TargetsFlag(_Flag["int | slice | list[int] | None"]):
    """The engines of a view: after the lookup, a list."""

    def __get__(self, view: Any, owner: type) -> Any:
        if view is None:
            return self
        targets = view.flags.targets
        return None if targets is None else targets.shown


#: Attributes of views that are no flags; these are set for every view.
_PLAIN: Final = frozenset({"flags", "client"})


class Flagged:
    """The flags of a view: an attribute for each, and one value of all."""

    block = _Flag[bool]()
    track = _Flag[bool]()
    retries = _Flag[int]()
    priority = _Flag[int]()
    queue = _Flag[str]()
    label = _Flag["str | None"]()
    result_ttl = _Flag["float | None"]()
    targets = _TargetsFlag()
    after = _Flag["Dependency | None"]()
    follow = _Flag["Dependency | None"]()
    timeout = _Flag[float]()
    delay = _Flag[float]()
    eta = _Flag["float | None"]()
    time_limit = _Flag["float | None"]()
    retry_delay = _Flag[float]()
    retry_backoff = _Flag[float]()
    retry_jitter = _Flag[float]()
    retry_on = _Flag["tuple[str, ...] | None"]()
    retry_elsewhere = _Flag[bool]()
    durability = _Flag[str]()

    def __init__(self, flags: Flags) -> None:
        #: The flags of tasks submitted from now on; replaced, never modified.
        self.flags = flags

    def __repr__(self) -> str:
        told = [str(self.targets), *self.flags.told()]
        return f"<{type(self).__name__} {', '.join(told)}>"

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            # As an attribute, a misspelt flag would have no effect.
            if (
                name not in _PLAIN
                and not hasattr(type(self), name)
                and (name in FLAGS or suggestion(name, NAMES))
            ):
                raise AttributeError(unknown(name))
            super().__setattr__(name, value)

    def _checked(self, flags: Mapping[str, Any]) -> Flags:
        """Return the flags of this view with some replaced."""
        return self.flags.replaced(**flags)

    def set_flags(self, **flags: Any) -> Any:
        """Set flags of this view; return it. All or none.

        Raises ``KeyError`` for an unknown name, ``TypeError`` or ``ValueError``
        for a value.
        """
        self.flags = self._checked(flags)
        return self

    @contextlib.contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Set flags for a ``with`` block. Not for views shared by threads."""
        before = self.flags
        self.flags = self._checked(flags)
        try:
            yield
        finally:
            self.flags = before
