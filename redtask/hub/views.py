"""Replies of the calls for screens: an overview, and pages. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from redtask.hub.records import groups, mapping, moment, text

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
    #: Ready tasks in it.
    ready: int
    #: When the oldest of them was submitted, ms since the epoch; 0 if there is none.
    oldest: int
    #: Is it paused?
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How many tasks ended in some period."""

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
    """The task that has been in its state the longest."""

    #: Its id.
    task_id: str
    #: When it was submitted, ms since the epoch.
    submitted: int


@dataclass(frozen=True, slots=True)
class Times:
    """How long one task took, in seconds."""

    #: From start to end.
    ran: float
    #: From submission to start.
    waited: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed tasks with the same function and error."""

    #: Name of the function.
    function: str
    #: Name of the exception, or the hub's verdict.
    error: str
    #: How many among the latest 50 failures.
    count: int
    #: The latest of them.
    task_id: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The overall condition of a hub."""

    #: Settings and counters of the hub, as strings.
    hub: Mapping[str, str]
    #: How many tasks are in each state; empty in a brief one.
    states: Mapping[str, int]
    #: Queues, at most 50, those with the most ready tasks first.
    queues: tuple[Queue, ...]
    #: Counts of tasks that ended in the last ``span`` seconds.
    lately: Ended
    #: Counts for each requested bucket, latest first.
    buckets: tuple[Ended, ...]
    #: The oldest waiting and the oldest ready task, by state, if there are any.
    oldest: Mapping[str, Oldest]
    #: Samples of tasks that completed in the last ``span`` seconds.
    times: tuple[Times, ...]
    #: The latest 50 failures, grouped.
    failures: tuple[Failures, ...]

    def filled(self, before: Overview) -> Overview:
        """Return a brief overview completed from an earlier one."""
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
        """The hub's name for the scheme."""
        return self.hub["format"].partition(" ")[2]

    @property
    def stamp(self) -> int:
        """The server's clock, ms since the epoch."""
        return int(self.hub["stamp"])

    @property
    def engines(self) -> int:
        """Number of live engines."""
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

    #: Its name in keys.
    uuid: str
    #: Its label.
    engine_id: int
    #: Name of its worker.
    worker: str
    #: Queues it serves.
    queues: tuple[str, ...]
    #: Tasks placed on it but not yet taken.
    assigned: int
    #: Tasks it has taken.
    held: int
    #: Remaining lease in ms; negative if expired.
    lease: int
    #: When it joined, ms since the epoch.
    joined: int
    #: How many tasks ended on it.
    done: int
    #: "", ``drained``, ``leaving``.
    state: str
    #: The first task it holds; "" if it has none, or more than 20.
    task_id: str
    #: Name of that task's function.
    function: str
    #: When that task was started, or taken: ms since the epoch; 0 if there is none.
    started: float

    @property
    def load(self) -> int:
        """Assigned and held tasks."""
        return self.assigned + self.held


@dataclass(frozen=True, slots=True)
class EnginePage:
    """A page of engines, by label."""

    #: The rows.
    rows: tuple[EngineRow, ...]
    #: The label to continue at; None if there are no more.
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
    """Read rows: a name, a count, and that many pairs."""
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
    #: Fields of its record, as strings; ``function`` is the name of its function.
    fields: Mapping[str, str]

    @property
    def course(self) -> Course:
        """When it started and ended, and how long it took."""
        return Course.read(self.fields)


@dataclass(frozen=True, slots=True)
class Course:
    """The times of a task; 0 if unknown."""

    #: When it was submitted, started and ended, ms since the epoch.
    submitted: float
    began: float
    ended: float
    #: How long it ran, in seconds.
    took: float

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Course:
        """Read the times from a record; ``took`` is as the engine reported it."""
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
    """A page of tasks in one state."""

    #: The rows.
    rows: tuple[TaskRow, ...]
    #: Where to continue; None if there are no more.
    more: str | None

    @classmethod
    def read(cls, reply: Reply) -> TaskPage:
        """Read ``{"ok", next, rows}``."""
        rows = tuple(TaskRow(name, fields) for name, fields in _rows(reply[2]))
        return cls(rows, text(reply[1]) or None)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event log."""

    #: Its id.
    entry: str
    #: When it happened, ms since the epoch.
    at: int
    #: What happened.
    event: str
    #: Details.
    about: Mapping[str, str]


def read_events(reply: Reply) -> tuple[Event, ...]:
    """Read ``{"ok", rows}``."""
    events = []
    for entry, fields in _rows(reply[1]):
        at, event = moment(entry, fields.pop("at", None)), fields.pop("event", "")
        events.append(Event(entry, at, event, fields))
    return tuple(events)
