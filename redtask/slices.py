"""Tasks on their way to the hub, cut into slices that one call may carry. No I/O here.

A call has at most 500 tasks, 4 MiB and 2,000 members of dependencies. A task that
waits for more than that is told of its members while it stands behind a gate, which
opens when all is there. Tasks that are to enter together or not at all stand behind
one too when they are more than one slice.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from redtask.hub import calls
from redtask.hub.calls import Call, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redtask.payload import Function

#: A slice ends at so many tasks, bytes or members, whichever comes first.
MOST_TASKS: Final = 500
MOST_BYTES: Final = 4 << 20
MOST_MEMBERS: Final = 2000
#: A member of a dependency in bytes, more or less.
_MEMBER: Final = 20

#: One thing that a submit sends: a slice, or what is to be said of its tasks.
Piece: TypeAlias = "Sequence[Group] | Call[Any]"


@dataclass(frozen=True, slots=True)
class Waits:
    """What a task waits for."""

    #: Conditions of ``after``, and its members, each once.
    letters: str = "as"
    after: tuple[str, ...] = ()
    #: Conditions of ``follow``, and its members, each once.
    place: str = "as"
    follow: tuple[str, ...] = ()
    #: Those in ``after`` whose results are among the arguments.
    refs: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many members there are."""
        return len(self.after) + len(self.follow)

    def needing(self, refs: tuple[str, ...]) -> Waits:
        """Return it for a call with these results among its arguments.

        Raises ``ValueError`` when ``after`` asks for something else than success of
        all: one set has one condition.
        """
        if not refs:
            return self
        if self.after and self.letters != "as":
            raise ValueError(
                f"flag after must be a Dependency on the success of all members, since "
                f"the call needs the results of {', '.join(refs[:3])}"
            )
        after = tuple(dict.fromkeys((*self.after, *refs)))
        return replace(self, letters="as", after=after, refs=refs)

    def links(self, task_id: str) -> Iterator[Call[int]]:
        """Yield the calls that tell the hub of the members."""
        for name, members in (("after", self.after), ("follow", self.follow)):
            for at in range(0, len(members), MOST_MEMBERS):
                yield calls.link(task_id, name, members[at : at + MOST_MEMBERS])

    def fields(self) -> dict[str, str]:
        """Return it as flags of the submit script."""
        fields = {}
        if self.after:
            fields["after"] = " ".join((self.letters, *self.after))
        if self.follow:
            fields["follow"] = " ".join((self.place, *self.follow))
        if self.refs:
            fields["refs"] = " ".join(self.refs)
        return fields


#: It waits for nothing.
FREE: Final = Waits()


class Task(NamedTuple):
    """One task that is ready to be sent."""

    #: Its id.
    task_id: str
    #: Its signed arguments.
    envelope: bytes
    #: Its function.
    function: Function
    #: Its flags, as the submit script knows them; one object for tasks that are alike.
    flags: Mapping[str, Any]
    #: What it waits for; likewise.
    waits: Waits


class _Pile:
    """The slice that is being made."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.groups: list[Group] = []
        self._latest: Task | None = None
        self._tasks: list[str | bytes] = []
        self._count = self._bytes = self._members = 0

    def has_room(self, members: int) -> bool:
        """May a task be added that waits for so many?"""
        return self._members + members <= MOST_MEMBERS

    @property
    def is_full(self) -> bool:
        """Is nothing more to be added?"""
        return self._count >= MOST_TASKS or self._bytes >= MOST_BYTES

    def add(self, task: Task, members: int) -> None:
        """Add a task, to the latest group if it is of its kind."""
        latest = self._latest
        if (
            latest is None
            or task.function is not latest.function
            or task.flags is not latest.flags
            or (task.waits is not latest.waits and task.waits != latest.waits)
        ):
            function = task.function
            flags = {**task.flags, **task.waits.fields()} if members else task.flags
            self._tasks = []
            self.groups.append(
                Group(function.digest, function.blob, function.name, flags, self._tasks)
            )
            self._latest = task
            self._bytes += members * _MEMBER
        self._tasks += (task.task_id, task.envelope)
        self._count += 1
        self._bytes += len(task.envelope)
        self._members += members

    def take(self) -> list[Group]:
        """Return the slice, and begin another."""
        groups = self.groups
        self._clear()
        return groups


class Gate:
    """Makes the id of a gate when one is needed, once."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        #: The id; "" when none was needed.
        self.name = ""

    def needed(self) -> str:
        """Return the id."""
        self.name = self.name or self._make()
        return self.name


def _pieces(tasks: Iterable[Task], gate: Gate) -> Iterator[Piece]:
    pile = _Pile()
    for task in tasks:
        members = task.waits.count
        if members > MOST_MEMBERS:
            if pile.groups:
                yield pile.take()
            flags = {**task.flags, "gate": gate.needed(), "later": 1}
            pile.add(task._replace(flags=flags), members)
            yield pile.take()
            yield from task.waits.links(task.task_id)
            continue
        if pile.groups and not pile.has_room(members):
            yield pile.take()
        pile.add(task, members)
        if pile.is_full:
            yield pile.take()
    if pile.groups:
        yield pile.take()


def cut(tasks: Iterable[Task], gate: Gate) -> Iterator[Piece]:
    """Yield slices of tasks, each of which enters by itself, and what belongs to them.

    They are made as they are sent.
    """
    yield from _pieces(tasks, gate)
    if gate.name:
        yield calls.open_gate(gate.name)


def cut_whole(tasks: Iterable[Task], gate: Gate) -> Iterator[Piece]:
    """Yield slices of tasks that enter all or none."""
    pieces = _pieces(tasks, gate)
    first = list(itertools.islice(pieces, 2))
    if len(first) == 1:
        yield first[0]
    elif first:
        name = gate.needed()
        for piece in itertools.chain(first, pieces):
            yield piece if isinstance(piece, Call) else _behind(name, piece)
        yield calls.open_gate(name)


def _behind(gate: str, groups: Sequence[Group]) -> list[Group]:
    return [replace(group, flags={**group.flags, "gate": gate}) for group in groups]
