"""What reads for screens reply: an overview, and pages of things. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from redtask.hub.records import groups, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redtask.hub.records import Reply


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue."""

    #: Its name.
    name: str
    #: Engines that serve it.
    engines: int
    #: Tasks that wait in it for an engine.
    ready: int
    #: When the oldest of them was submitted, ms since the epoch; 0: there is none.
    oldest: int
    #: Does nothing of it begin?
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How many tasks ended in some time."""

    #: Those that succeeded.
    completed: int
    #: Those that failed.
    failed: int
    #: Those that were aborted.
    aborted: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.completed + self.failed + self.aborted


@dataclass(frozen=True, slots=True)
class Oldest:
    """The task that has been in its state for longest."""

    #: Its id.
    task_id: str
    #: When it was submitted, ms since the epoch.
    submitted: int


@dataclass(frozen=True, slots=True)
class Times:
    """How long one task took, in seconds."""

    #: From when it began to its end.
    ran: float
    #: From when it was submitted until it began.
    waited: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed tasks of one function, with one error."""

    #: Name of the function.
    function: str
    #: Name of the exception, or the hub's verdict.
    error: str
    #: How many, of the latest 50 that failed.
    count: int
    #: The latest.
    task_id: str


@dataclass(frozen=True, slots=True)
class Overview:
    """How a hub does."""

    #: Settings and counters of the hub, as text.
    hub: Mapping[str, str]
    #: How many tasks are in each state; empty in a brief one.
    states: Mapping[str, int]
    #: Queues, at most 50, those with the most ready tasks first.
    queues: tuple[Queue, ...]
    #: What ended in the last ``span`` seconds.
    lately: Ended
    #: What ended in each bucket that was asked for, the latest first.
    buckets: tuple[Ended, ...]
    #: The oldest waiting and the oldest ready task, by state; those that there are.
    oldest: Mapping[str, Oldest]
    #: Samples of tasks that completed in the last ``span`` seconds.
    times: tuple[Times, ...]
    #: What failed, of the latest 50.
    failures: tuple[Failures, ...]

    def filled(self, before: Overview) -> Overview:
        """Return a brief one with what only the one before has."""
        if self.states:
            return self
        memory = {
            name: before.hub[name]
            for name in ("used_memory", "maxmemory")
            if name in before.hub
        }
        return replace(
            self,
            hub={**memory, **self.hub},
            states=before.states,
            queues=before.queues,
            oldest=before.oldest,
            failures=before.failures,
        )

    @property
    def scheme(self) -> str:
        """The scheme, by the name that the hub has for it."""
        return self.hub["format"].partition(" ")[2]

    @property
    def stamp(self) -> int:
        """The server's clock, ms since the epoch."""
        return int(self.hub["stamp"])

    @property
    def engines(self) -> int:
        """How many engines live."""
        return int(self.hub["registered"])

    @property
    def span(self) -> float:
        """How many seconds ``lately`` and ``times`` look back."""
        return int(self.hub["span"]) / 1000

    def counter(self, name: str) -> int:
        """Return a counter of the hub (``submitted``, ``completed`` ...)."""
        return int(self.hub.get(name, 0))

    @classmethod
    def read(cls, reply: Reply) -> Overview:
        """Read ``{"ok", hub, states, queues, rates, oldest, times, failures}``."""
        lately, *buckets = [Ended(*three) for three in groups(reply[4], 3)]
        return cls(
            mapping(reply[1]),
            {text(state): count for state, count in groups(reply[2], 2)},
            tuple(
                Queue(text(one), engines, ready, oldest, bool(paused))
                for one, engines, ready, oldest, paused in groups(reply[3], 5)
            ),
            lately,
            tuple(buckets),
            {
                text(state): Oldest(text(name), stamp)
                for state, name, stamp in groups(reply[5], 3)
            },
            tuple(
                Times(ran / 1e6, waited / 1e3) for ran, waited in groups(reply[6], 2)
            ),
            tuple(
                Failures(text(function), text(error), count, text(latest))
                for function, error, count, latest in groups(reply[7], 4)
            ),
        )


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One living engine."""

    #: Known by this in every key.
    uuid: str
    #: Label for people.
    engine_id: int
    #: Name of its worker.
    worker: str
    #: Queues it serves.
    queues: tuple[str, ...]
    #: Tasks placed on it, not yet taken.
    assigned: int
    #: Tasks it took.
    held: int
    #: Rest of its lease in ms; negative: over.
    lease: int
    #: When it joined, ms since the epoch.
    joined: int
    #: How many tasks ended on it.
    done: int
    #: "", ``drained``, ``leaving``.
    state: str
    #: The first of the tasks that it took; "": it has none, or more than 20.
    task_id: str
    #: Name of that one's function.
    function: str
    #: When that one was begun, or taken: ms since the epoch; 0: it has none.
    started: float

    @property
    def load(self) -> int:
        """Tasks it has."""
        return self.assigned + self.held


@dataclass(frozen=True, slots=True)
class EnginePage:
    """Some engines, by label."""

    #: They.
    rows: tuple[EngineRow, ...]
    #: The label to go on with; None: there are no more.
    more: int | None

    @classmethod
    def read(cls, reply: Reply) -> EnginePage:
        """Read ``{"ok", next, rows}``."""
        rows = [
            EngineRow(
                text(uuid), label, text(worker), tuple(text(queues).split(",")),
                assigned, held, lease, joined, done,
                text(state), text(task), text(function), float(began or 0),
            )
            for uuid, label, worker, queues, assigned, held, lease, joined, done, state,
            task, function, began in groups(reply[2], 13)
        ]  # fmt: skip
        return cls(tuple(rows), None if reply[1] < 0 else reply[1])


def _rows(flat: Reply) -> Iterator[tuple[str, dict[str, str]]]:
    """Read rows of a name, a number, and so many pairs."""
    at = 0
    while at < len(flat):
        ends = at + 2 + 2 * flat[at + 1]
        yield text(flat[at]), mapping(flat[at + 2 : ends])
        at = ends


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task."""

    #: Its id.
    task_id: str
    #: Fields of its record, as text; ``function`` is the name of its function.
    fields: Mapping[str, str]

    @property
    def course(self) -> Course:
        """When it began and ended, and how long it took."""
        return Course.read(self.fields)


@dataclass(frozen=True, slots=True)
class Course:
    """When a task was where; what is not known is 0."""

    #: When it was submitted, began and ended, ms since the epoch.
    submitted: float
    began: float
    ended: float
    #: How long it ran, in seconds.
    took: float

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Course:
        """Read it off a record: ``took`` is what the engine said at the end."""
        submitted, began, ended = (
            _number(fields.get(name)) for name in ("submitted", "started", "ended")
        )
        ago, _, took = fields.get("took", "").partition(" ")
        if took:
            began -= _number(ago) / 1000
            ended = began + _number(took) / 1000
        return cls(submitted, began, ended, _number(took) / 1e6)


def _number(told: str | None) -> float:
    try:
        return float(told or 0)
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Some tasks in one state."""

    #: They.
    rows: tuple[TaskRow, ...]
    #: Where to go on; None: there are no more.
    more: str | None

    @classmethod
    def read(cls, reply: Reply) -> TaskPage:
        """Read ``{"ok", next, rows}``."""
        rows = tuple(TaskRow(name, fields) for name, fields in _rows(reply[2]))
        return cls(rows, text(reply[1]) or None)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the story."""

    #: Its id.
    entry: str
    #: When it was, ms since the epoch.
    at: int
    #: What happened.
    event: str
    #: What more is known of it.
    about: Mapping[str, str]


def read_events(reply: Reply) -> tuple[Event, ...]:
    """Read ``{"ok", rows}``."""
    events = []
    for entry, fields in _rows(reply[1]):
        at, event = fields.pop("at", "0"), fields.pop("event", "")
        events.append(Event(entry, int(at), event, fields))
    return tuple(events)
