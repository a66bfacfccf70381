"""Tasks on their way to the hub, cut into slices that fit one call. No I/O here.

A call has as many tasks as Redis stores in a few milliseconds: 500 plain ones, fewer
that wait, 100 members of dependencies; and 4 MiB. A task with more members than that
waits behind a gate while the hub is told of them; the gate opens when all are there.
Tasks that are to enter all or none wait behind a gate, too, if they need more than one
slice, except for those that depend on others of them.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from redtask.hub import calls
from redtask.hub.calls import Call, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redtask.payload import Function
    from redtask.rope import Written

#: A slice ends at this many plain tasks, bytes or members, whichever comes first.
MOST_TASKS: Final = 500
MOST_BYTES: Final = 4 << 20
MOST_MEMBERS: Final = 100
#: Extra cost, in plain tasks, of a task that does not just join its queue's line.
_SPECIAL: Final = 3
#: Flags of such tasks, apart from dependencies.
_CONSTRAINTS: Final = frozenset({"targets", "timeout", "start_in", "start_at", "gate"})
#: Approximate size of a member of a dependency, in bytes.
_MEMBER: Final = 20

#: One thing that a submit sends: a slice, or a call that adds to its tasks.
Piece: TypeAlias = "Sequence[Group] | Call[Any]"


class Waits(NamedTuple):
    """The dependencies of a task."""

    #: Conditions of ``after``, and its members, each once.
    letters: str = "as"
    after: tuple[str, ...] = ()
    #: Conditions of ``follow``, and its members, each once.
    place: str = "as"
    follow: tuple[str, ...] = ()
    #: Those in ``after`` whose results are among the arguments.
    refs: tuple[str, ...] = ()

    @property
    def members(self) -> int:
        """The number of members of both."""
        return len(self.after) + len(self.follow)

    def needing(self, refs: tuple[str, ...]) -> Waits:
        """Return these plus the tasks whose results are among its arguments.

        Raises ``ValueError`` if ``after`` asks for anything but the success of all: a
        set has only one condition.
        """
        if not refs:
            return self
        if self.after and self.letters != "as":
            raise ValueError(
                f"flag after must be a Dependency on the success of all members, since "
                f"the call needs the results of {', '.join(refs[:3])}"
            )
        after = tuple(dict.fromkeys((*self.after, *refs)))
        return self._replace(letters="as", after=after, refs=refs)

    def links(self, task_id: str) -> Iterator[Call[int]]:
        """Yield the calls that tell the hub the members, first those to be kept."""
        for name, members in (
            ("refs", self.refs), ("after", self.after), ("follow", self.follow),
        ):  # fmt: skip
            for at in range(0, len(members), MOST_MEMBERS):
                word = f"refs:{at}" if name == "refs" else name
                yield calls.link(task_id, word, members[at : at + MOST_MEMBERS])

    def fields(self) -> dict[str, str]:
        """Return them as flags of the submit script."""
        fields = {}
        if self.after:
            fields["after"] = " ".join((self.letters, *self.after))
        if self.follow:
            fields["follow"] = " ".join((self.place, *self.follow))
        if self.refs:
            fields["refs"] = " ".join(self.refs)
        return fields


#: No dependencies.
FREE: Final = Waits()


class Task(NamedTuple):
    """A task that is ready to be sent."""

    task_id: str
    #: Its signed arguments.
    envelope: Written
    function: Function
    #: Its flags, as the submit script takes them.
    flags: Mapping[str, Any]
    #: Its dependencies.
    waits: Waits


def _group(task: Task, tasks: list[str | Written]) -> Group:
    """Return a group for tasks like this one."""
    function, waits = task.function, task.waits
    flags = task.flags if waits is FREE else {**task.flags, **waits.fields()}
    return Group(function.digest, function.blob, function.name, flags, tasks)


def _is_special(waits: Waits, flags: Mapping[str, Any]) -> bool:
    """Does such a task do more than join its queue's line?"""
    return waits.members > 0 or not _CONSTRAINTS.isdisjoint(flags)


class Room:
    """The room left in a slice that begins with a given task."""

    def __init__(self, task: Task) -> None:
        self._cost = self._bytes = self._members = 0
        self._add(task)

    def _add(self, task: Task) -> None:
        members = task.waits.members
        special = _is_special(task.waits, task.flags)
        self._cost += 1 + members + (_SPECIAL if special else 0)
        self._bytes += len(task.envelope) + members * _MEMBER
        self._members += members

    def has(self, task: Task) -> bool:
        """Add the task if it fits; return whether it does."""
        if self._cost >= MOST_TASKS or self._bytes >= MOST_BYTES:
            return False
        if self._members + task.waits.members > MOST_MEMBERS:
            return False
        self._add(task)
        return True


class _Pile:
    """The slice being filled."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.groups: list[Group] = []
        self._kind: tuple[Any, ...] = (None, None, None)
        self._tasks: list[str | Written] = []
        self._cost = self._each = self._bytes = self._members = 0

    def has_room(self, members: int) -> bool:
        """Is there room for a task with this many members?"""
        return self._members + members <= MOST_MEMBERS

    def add(self, task: Task, members: int) -> bool:
        """Add a task, to the latest group if of the same kind; is the slice full?"""
        task_id, envelope, function, flags, waits = task
        known = self._kind
        same = function is known[0] and flags is known[1] and waits is known[2]
        if not same and task[2:] != known:
            self._kind = task[2:]
            self._tasks = []
            group = _group(task, self._tasks)
            self.groups.append(group)
            self._bytes += members * _MEMBER
            special = _is_special(waits, group.flags)
            self._each = 1 + members + (_SPECIAL if special else 0)
        self._tasks += (task_id, envelope)
        self._cost += self._each
        self._bytes += len(envelope)
        self._members += members
        return self._cost >= MOST_TASKS or self._bytes >= MOST_BYTES

    def take(self) -> list[Group]:
        """Return the slice, and begin a new one."""
        groups = self.groups
        self._clear()
        return groups


class Gate:
    """Makes the id of a gate on demand, once."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        #: The id; "" while none was needed.
        self.name = ""

    def needed(self) -> str:
        """Return the id."""
        self.name = self.name or self._make()
        return self.name


def _pieces(
    tasks: Iterable[Task], gate: Gate, pause: float = math.inf
) -> Iterator[Piece]:
    pile, late = _Pile(), time.monotonic() + pause
    for task in tasks:
        waits = task.waits
        members = 0 if waits is FREE else waits.members
        if members > MOST_MEMBERS:
            if pile.groups:
                yield pile.take()
            flags = {**task.flags, "gate": gate.needed(), "later": 1}
            pile.add(task._replace(flags=flags), members)
            yield pile.take()
            yield from waits.links(task.task_id)
            continue
        if members and pile.groups and not pile.has_room(members):
            yield pile.take()
        if pile.add(task, members) or time.monotonic() > late:
            yield pile.take()
            late = time.monotonic() + pause
    if pile.groups:
        yield pile.take()


class Queue:
    """Slices to send, made one after the other on demand.

    With ``ahead``, the next one may be made while the last is in flight. Not so if the
    input may block: the outcome of what was sent would be delayed for as long.
    """

    def __init__(self, pieces: Iterable[Piece], *, ahead: bool = False) -> None:
        self._pieces = iter(pieces)
        self._ahead = ahead
        self._after: list[Callable[[Piece], None]] = []
        self._sent: Piece | None = None
        self._made: list[Piece | Exception] = []

    def then(self, act: Callable[[Piece], None]) -> None:
        """Call a function with each slice after it was sent."""
        self._after.append(act)

    def make(self) -> None:
        """Make the next slice now, if allowed. Raises nothing."""
        if self._ahead and not self._made:
            try:
                self._made.append(next(self._pieces))
            except Exception as problem:  # noqa: BLE001 - raised when it is asked for
                self._made.append(problem)

    def __iter__(self) -> Queue:
        return self

    def __next__(self) -> Piece:
        sent, self._sent = self._sent, None
        if sent is not None:
            for act in self._after:
                act(sent)
        made = self._made.pop() if self._made else next(self._pieces)
        if isinstance(made, Exception):
            raise made
        self._sent = made
        return made


def is_long(task: Task) -> bool:
    """Does it exceed a slice by its dependencies alone?"""
    return task.waits is not FREE and task.waits.members > MOST_MEMBERS


def together(tasks: Sequence[Task]) -> list[Group]:
    """Return one slice of tasks; the caller has checked that they fit."""
    if len(tasks) == 1:
        (task,) = tasks
        return [_group(task, [task.task_id, task.envelope])]
    pile = _Pile()
    for task in tasks:
        pile.add(task, task.waits.members)
    return pile.take()


def cut(tasks: Iterable[Task], gate: Gate, pause: float = math.inf) -> Iterator[Piece]:
    """Yield slices of tasks, each entering independently, and the calls they need.

    They are made lazily; one that is not full is sent when ``pause`` seconds have
    passed since the last, and another task comes.
    """
    yield from _pieces(tasks, gate, pause)
    if gate.name:
        yield calls.open_gate(gate.name)


def cut_whole(tasks: Iterable[Task], gate: Gate) -> Iterator[Piece]:
    """Yield slices of tasks that enter all or none."""
    inside: set[str] = set()
    pieces = _pieces(_noting(tasks, inside), gate)
    first = list(itertools.islice(pieces, 2))
    if len(first) == 1:
        yield first[0]
    elif first:
        name = gate.needed()
        for piece in itertools.chain(first, pieces):
            yield piece if isinstance(piece, Call) else _behind(name, piece, inside)
        yield calls.open_gate(name)


def _noting(tasks: Iterable[Task], inside: set[str]) -> Iterator[Task]:
    for task in tasks:
        inside.add(task.task_id)
        yield task


def _behind(gate: str, groups: Sequence[Group], inside: set[str]) -> list[Group]:
    return [
        group
        if _is_held(group, inside)
        else group._replace(flags={**group.flags, "gate": gate})
        for group in groups
    ]


def _is_held(group: Group, inside: set[str]) -> bool:
    """Does the group wait for the success of others behind the gate?

    Then it need not wait there: they cannot succeed while the gate is closed, nor when
    it is given up.
    """
    letters, *ids = str(group.flags.get("after", "")).split() or [""]
    if letters == "as":
        return any(name in inside for name in ids)
    return letters == "ns" and all(name in inside for name in ids)
