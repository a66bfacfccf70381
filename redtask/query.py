"""Queries for stored tasks. No I/O here.

A query is a dict as in IPython.parallel: a value, or a dict of operators, for each key
of a task's record. All conditions must hold::

    {"state": "failed", "submitted": {"$gte": yesterday}, "label": {"$glob": "day *"}}

Missing values count as None. ``$ne`` and ``$nin`` hold for None; ``$gt`` and the like,
and ``$glob``, do not.
"""

from __future__ import annotations

import fnmatch
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from redtask.hub import states

_TEXT: Final = (
    "msg_id", "state", "status", "label", "queue", "function", "module", "client_uuid",
    "engine_uuid", "resubmitted", "resubmit_of", "root", "verdict", "reason", "repr",
    "ename", "evalue", "error", "stdout", "stderr", "doing",
)  # fmt: skip
_TIME: Final = ("submitted", "started", "completed", "received")
_NUMBER: Final = (
    "engine_id", "took", "retries", "priority", "tries", "deaths", "timeout",
    "progress",
)  # fmt: skip
_LIST: Final = ("after", "follow", "targets")
_OTHER: Final = (
    "header", "metadata", "content", "result_header", "result_metadata",
    "result_content", "execute_input", "execute_result",
)  # fmt: skip
#: No key of records: the names by which a task's function may be called.
CALLED: Final = "names"
#: Left out of records unless requested by name. No query looks into them: they are read
#: once it is known which tasks match.
BUFFERS: Final = ("buffers", "result_buffers")

#: The types of a record's values, besides None.
KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(_TEXT, (str,)),
    **dict.fromkeys(_TIME, (datetime,)),
    **dict.fromkeys(_NUMBER, (int, float)),
    **dict.fromkeys(_LIST, (list,)),
    **dict.fromkeys(_OTHER, (dict, str)),
    **dict.fromkeys(BUFFERS, (list,)),
}

#: Those whose values have an order.
_ORDERED: Final = frozenset((*_TEXT, *_TIME, *_NUMBER))

#: The states of a stored task, in the order in which it passes them.
STATES: Final = ("waiting", "ready", "assigned", "running", *sorted(states.ENDED))


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: value is not None and compare(value, operand)


def _glob(value: Any, pattern: str) -> bool:
    return value is not None and fnmatch.fnmatchcase(value, pattern)


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$in": lambda value, operands: value in operands,
    "$nin": lambda value, operands: value not in operands,
    "$gt": _ordering(operator.gt),
    "$gte": _ordering(operator.ge),
    "$lt": _ordering(operator.lt),
    "$lte": _ordering(operator.le),
    "$glob": _glob,
    "$exists": lambda value, there: (value is not None) is there,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    #: Key of the record.
    key: str
    #: ``$eq``, ``$in`` ...
    name: str
    #: The value to compare with.
    operand: Any

    def holds(self, value: Any) -> bool:
        """Does it hold for this value?"""
        return _OPERATORS[self.name](value, self.operand)


@dataclass(frozen=True, slots=True)
class Called(Condition):
    """A pattern for one of the names of a task's function."""

    def holds(self, value: Any) -> bool:
        """Does one of these names match?"""
        return any(_glob(name, self.operand) for name in value or ())


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that must all hold."""

    #: In the order given.
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> Query:
        """Parse a query.

        Raises ``KeyError`` for an unknown key or operator, or for buffers, and
        ``TypeError`` or ``ValueError`` for an operand that cannot be compared with the
        key's values, or is no state.
        """
        if not isinstance(query, Mapping):
            raise TypeError(f"a query is a dict, not {type(query).__name__}")
        return cls(
            tuple(
                condition
                for key, said in query.items()
                for condition in _conditions(key, said)
            )
        )

    def called(self, pattern: str) -> Query:
        """Return one that also demands a function: by its name or ``module:name``."""
        return Query((*self.conditions, Called(CALLED, "$glob", pattern)))

    def holds(self, get: Callable[[str], Any]) -> bool:
        """Do all conditions hold, given ``get``, which returns the value of a key?"""
        return all(one.holds(get(one.key)) for one in self.conditions)

    @property
    def keys(self) -> set[str]:
        """The keys that it uses."""
        return {one.key for one in self.conditions}

    def admits(self, key: str, value: Any) -> bool:
        """Can a record with this value of the key match?"""
        return all(one.holds(value) for one in self.conditions if one.key == key)

    def only(self, key: str) -> list[Any] | None:
        """Return the only values that the key may have; None: any."""
        for one in self.conditions:
            if one.key == key and one.name in {"$eq", "$in"}:
                values = [one.operand] if one.name == "$eq" else one.operand
                return [value for value in values if self.admits(key, value)]
        return None

    def states(self) -> list[str]:
        """Return the states of tasks that can match."""
        ends = self.only("completed")
        return [
            state
            for state in STATES
            if self.admits("state", state)
            and self.admits("status", states.STATUS.get(state))
            and (state in states.ENDED or self.admits("completed", None))
            and (state not in states.ENDED or ends is None or ends != [None])
        ]


def check_keys(keys: Any) -> list[str] | None:
    """Return the keys wanted of the records; None: all but the buffers.

    ``msg_id`` is always among them. Raises ``KeyError`` for an unknown key, and
    ``TypeError`` for what is no name.
    """
    if keys is None:
        return None
    single = isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable)
    wanted: list[Any] = [keys] if single else list(keys)
    for key in wanted:
        if not isinstance(key, str):
            kind = type(key).__name__
            raise TypeError(f"keys must be names of a record's keys, not {kind}")
        _check_key(key)
    return list(dict.fromkeys(["msg_id", *wanted]))


def _check_key(key: Any) -> None:
    if key not in KINDS:
        raise KeyError(f"records have no key {key!r} (there are {', '.join(KINDS)})")


def _conditions(key: Any, said: Any) -> list[Condition]:
    _check_key(key)
    if key in BUFFERS:
        raise KeyError(f"no query looks into {key!r}, which are pickled")
    if not isinstance(said, Mapping) or not any(str(one)[:1] == "$" for one in said):
        return [Condition(key, "$eq", _operand(key, said))]
    found = []
    for name, operand in said.items():
        if name not in _OPERATORS:
            raise KeyError(
                f"queries have no operator {name!r} (there are {', '.join(_OPERATORS)})"
            )
        found.append(Condition(key, name, _operand_of(key, name, operand)))
    return found


def _operand_of(key: str, name: str, operand: Any) -> Any:
    """Return a checked operand of an operator."""
    if name in {"$in", "$nin"}:
        if isinstance(operand, (str, bytes)) or not isinstance(operand, Collection):
            raise TypeError(f"{name} of {key} needs a list, not {operand!r}")
        found = [_operand(key, one) for one in operand]
        # Many are looked up at once, as keys of a dict: lists and dicts cannot be.
        return dict.fromkeys(found) if key in _ORDERED else found
    if name == "$exists":
        if not isinstance(operand, bool):
            raise TypeError(f"$exists of {key} needs True or False, not {operand!r}")
        return operand
    if name == "$glob":
        if not isinstance(operand, str) or KINDS[key] != (str,):
            raise TypeError(f"$glob compares texts, not {key} with {operand!r}")
        return operand
    if name not in {"$eq", "$ne"}:
        if key not in _ORDERED:
            raise TypeError(f"{name} of {key}: its values have no order")
        if operand is None:
            raise TypeError(
                f"{name} of {key} needs something to compare with, not None"
            )
    return _operand(key, operand)


def _operand(key: str, value: Any) -> Any:
    """Return a value that can be compared with those of the key."""
    if value is None:
        return None
    kinds = KINDS[key]
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{key} is compared with {wanted}, not {value!r}")
    if key == "state" and value not in STATES:
        raise ValueError(f"no such state: {value!r} (there are {', '.join(STATES)})")
    if isinstance(value, datetime) and value.tzinfo is None:
        # Naive times are local, as everywhere in Python.
        return value.astimezone()
    return value
