"""What a client waits for, and what has arrived. No I/O here.

A ``TaskSet`` is the tasks of one AsyncResult; the ``Inbox`` of a client knows which
sets wait for which task, and dispatches the entries of its stream. Several threads may
submit and wait; one at a time feeds the inbox.
"""

from __future__ import annotations

import contextlib
import math
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from redtask.hub.records import Outcome, Told, outcome_of, state_of, told_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from redtask.hub.keys import Keys
    from redtask.recent import Recent

_ROOM: Final = 4096


class TaskSet:
    """Ids, and the outcomes that have arrived so far.

    Also when they were submitted and received, by this process's clock.
    """

    __slots__ = (
        "__weakref__",
        "_order",
        "arrived",
        "bulky",
        "checked",
        "distinct",
        "ids",
        "received",
        "submitted",
        "timed",
        "told",
        "wakers",
    )

    def __init__(self, ids: Sequence[str], *, distinct: bool = False) -> None:
        """``distinct``: is no id there twice, as the caller knows?"""
        #: The tasks, in order of submission.
        self.ids = tuple(ids)
        #: The number of distinct ids.
        self.distinct = len(ids) if distinct or len(ids) < 2 else len(set(ids))  # noqa: PLR2004 - a pair
        #: What is known, by id, of those that have ended.
        self.told: dict[str, Told] = {}
        # A client may have a set for each of very many tasks: these have no list.
        self._order: list[str] | None = None if len(ids) == 1 else []
        #: Increases whenever outcomes arrive.
        self.arrived = 0
        #: When they were submitted, ``time.time()``.
        self.submitted = time.time()
        #: When the latest outcome arrived.
        self.received = self.submitted
        #: When their records were last asked, ``time.monotonic()``.
        self.checked = time.monotonic()
        #: May timers of the hub change their state?
        self.timed = False
        #: Was the payload that was fetched last a large one? So are others, likely.
        #: None: none was fetched yet.
        self.bulky: bool | None = None
        #: Called when something arrives. Threads append and remove: both are atomic.
        self.wakers: list[Callable[[], None]] = []

    @property
    def order(self) -> Sequence[str]:
        """The ids that have ended, in the order of arrival."""
        if self._order is None:
            return self.ids if self.told else ()
        return self._order

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Outcomes by id, of those that have ended by now."""
        return {name: outcome_of(told) for name, told in list(self.told.items())}

    @property
    def done(self) -> bool:
        """Has every task ended?"""
        return len(self.told) >= self.distinct

    def open_ids(self) -> list[str]:
        """Return the ids that have not ended, in order."""
        return [name for name in self.ids if name not in self.told]

    def outcome(self, task_id: str) -> Outcome:
        """Return the outcome of a task. Raises ``KeyError`` if it has not ended."""
        return outcome_of(self.told[task_id])

    def state(self, task_id: str) -> str:
        """Return in what state it ended; "" if it has not."""
        told = self.told.get(task_id)
        return "" if told is None else state_of(told)

    def states(self) -> Iterator[str]:
        """Yield the states of those that have ended by now."""
        return map(state_of, list(self.told.values()))

    def size(self, task_id: str) -> float:
        """Return the bytes of its payload, roughly; infinite: it did not come along.

        0 if it has not ended.
        """
        told = self.told.get(task_id, b"")
        if isinstance(told, bytes):
            return len(told)
        return math.inf if told.kind == "-" else len(told.payload)

    def deliver(self, task_id: str, told: Told) -> None:
        """Store an outcome, and wake those who wait for it."""
        if self.store(task_id, told, time.time()):
            self.notify()

    def store(self, task_id: str, told: Told, at: float) -> bool:
        """Store an outcome received ``at``; ``notify`` must follow if that is new.

        A second one only adds a payload that was too large.
        """
        known = task_id in self.told
        first = self.told.setdefault(task_id, told)
        if known or first is not told:
            # It may come twice, by stream and by record, perhaps in two threads.
            if self.size(task_id) == math.inf:
                self.told[task_id] = told
            return False
        if self._order is not None:
            self._order.append(task_id)
        self.received = at
        return True

    def notify(self) -> None:
        """Wake those who wait: something was stored."""
        self.arrived += 1
        for wake in tuple(self.wakers):
            wake()

    def release(self, task_id: str) -> None:
        """Drop the payload of an outcome; it can be fetched again."""
        with contextlib.suppress(KeyError):
            outcome = self.outcome(task_id)
            if outcome.kind in {"r", "e"}:
                self.told[task_id] = outcome._replace(kind="-", payload=b"")

    def become(self, ids: Sequence[str]) -> None:
        """Take the final ids, all of which were expected one by one."""
        self.ids = tuple(ids)
        self.distinct = len(self.ids)

    def reopen(self, task_id: str) -> None:
        """Take an outcome back: Redis has lost it, and the task runs again."""
        if self.told.pop(task_id, None) is not None and self._order is not None:
            self._order.remove(task_id)


class Inbox:
    """What one client expects from its stream.

    ``lock`` serialises threads that submit.
    """

    def __init__(
        self,
        client: str,
        recent: Recent,
        lock: AbstractContextManager[Any],
        keys: Keys,
    ) -> None:
        #: The hub's key names.
        self.keys = keys
        #: The client's name.
        self.client = client
        #: The client's recent submits.
        self.recent = recent
        #: Ids that the client submitted and that are not known to have ended. Ordered:
        #: a plain dict is slow to find its first key after many deletions.
        self.open: OrderedDict[str, None] = OrderedDict()
        #: Ids that are still being submitted, and may have no record yet.
        self.underway: set[str] = set()
        #: Increases whenever outcomes arrive.
        self.arrived = 0
        #: Where to read on in the stream; None: not listening yet.
        self.position: str | None = None
        #: How many outcomes in it could not be read.
        self.illegible = 0
        #: When the stream was last known to exist, ``time.monotonic()``.
        self.listening_since = 0.0
        #: When something may last have been missed, ``time.monotonic()``.
        self.disturbed_at = 0.0
        #: When a glance at the stream may show something new, and before when there is
        #: no use in one as Redis is away, ``time.monotonic()``.
        self.glance_at = 0.0
        self.absent_until = 0.0
        #: When the next timer may be due, ``time.monotonic()``.
        self.sweep_at = 0.0
        #: Called when something arrives. Threads append and remove: both are atomic.
        self.wakers: list[Callable[[], None]] = []
        self._waiting: dict[str, Any] = {}
        self._limit = _ROOM
        self._lock = lock

    def expect(self, tasks: TaskSet) -> None:
        """Deliver the outcomes still missing to this set, for as long as it lives."""
        reference = weakref.ref(tasks)
        waiting = self._waiting
        for name in tasks.ids:
            if name in tasks.told:
                continue
            before = waiting.setdefault(name, reference)
            if before is not reference:
                with self._lock:
                    several = before if isinstance(before, list) else [before]
                    alive = [one for one in several if one() is not None]
                    waiting[name] = [*alive, reference]
        if len(waiting) > self._limit:
            self._tidy()

    def expect_new(self, tasks: TaskSet) -> None:
        """Likewise for tasks of which nobody else knows yet."""
        waiting, reference = self._waiting, weakref.ref(tasks)
        for name in tasks.ids:
            waiting[name] = reference
        if len(waiting) > self._limit:
            self._tidy()

    def expect_also(self, tasks: TaskSet, name: str) -> None:
        """Add a task, so far unknown to others, to a set that is growing."""
        self._waiting[name] = weakref.ref(tasks)
        if len(self._waiting) > self._limit:
            self._tidy()

    def expects(self, task_id: str) -> bool:
        """Does anybody wait for this task?"""
        return task_id in self._waiting

    def adopt(self, other: Inbox) -> None:
        """Wait for what another inbox waits for: after a fork, the parent's.

        The hub does not yet know that we want to be told as well.
        """
        self.disturbed()
        self._waiting = dict(other._waiting)

    def _tidy(self) -> None:
        """Forget sets that were collected; rare enough to cost nothing."""
        with self._lock:
            for name, reference in self._waiting.copy().items():
                if not any(one() is not None for one in _several(reference)):
                    self._waiting.pop(name, None)
            self._limit = max(_ROOM, 2 * len(self._waiting))

    def unchecked(self, since: float) -> Iterator[tuple[str, TaskSet]]:
        """Yield single open tasks whose records were last asked before ``since``.

        Except those that another thread is just submitting: they have no records yet.
        """
        own = f"{self.client}-"
        for name, reference in self._waiting.copy().items():
            if name.startswith(own) and name not in self.open:
                continue
            for one in _several(reference):
                tasks = one()
                if tasks is None or len(tasks.ids) != 1 or name in self.underway:
                    continue
                if tasks.checked < since:
                    yield name, tasks

    def deliver(self, task_id: str, told: Told) -> None:
        """Deliver an outcome to every set that waits for it."""
        self._deliver_all(((task_id, told),))

    def _deliver_all(self, outcomes: Iterable[tuple[str, Told]]) -> None:
        """Deliver outcomes, and wake each waiter once."""
        waiting, still_open, now = self._waiting, self.open, time.time()
        changed: dict[TaskSet, None] = {}
        known: Any = None
        sets: list[TaskSet] = []
        for name, told in outcomes:
            still_open.pop(name, None)
            reference = waiting.get(name)
            if reference is None:
                continue
            if reference is not known:
                # Mostly the same: a map has one reference for all its tasks.
                known = reference
                sets = _alive(reference)
            for tasks in sets:
                if tasks.store(name, told, now):
                    changed[tasks] = None
            # Not before: a signal handler that finds neither would wait in vain.
            last = waiting.pop(name, reference)
            if last is not reference:
                _deliver_to(last, name, told)
        for tasks in changed:
            tasks.notify()
        if known is not None:
            self.arrived += 1
            for wake in tuple(self.wakers):
                wake()

    def was_overtaken(self, position: str, oldest: Sequence[Sequence[Any]]) -> bool:
        """May entries behind ``position`` have left the stream before they were read?

        ``oldest`` is the reply to a request for its oldest entry.
        """
        return bool(oldest) and _place(oldest[0][0].decode()) > _place(position)

    def feed(self, entries: Iterable[Sequence[Any]]) -> bool:
        """Dispatch stream entries: (position, [id, value, id, value ...]).

        Waiters are woken once per entry, which may have hundreds of outcomes. Returns
        False if the records must be asked, because some could not be read.
        """
        position, before = None, self.illegible
        for position, fields in entries:  # noqa: B007 - the last one counts
            self._deliver_all(self._awaited(fields))
        # A signal handler may have read on meanwhile.
        if position is not None and self._is_ahead(reached := position.decode()):
            self.position = reached
        return self.illegible == before

    def _is_ahead(self, position: str) -> bool:
        return self.position is None or _place(position) > _place(self.position)

    def _awaited(self, fields: Sequence[bytes]) -> Iterator[tuple[str, Told]]:
        """Yield the outcomes in an entry that somebody waits for."""
        for at in range(0, len(fields), 2):
            try:
                name = fields[at].decode()
                if name not in self._waiting:
                    continue
                told = told_of(fields[at + 1])
            except (ValueError, LookupError):
                # Whoever wrote it: it must not hide the others.
                self.illegible += 1
                continue
            yield name, told

    def listens(self, at: str) -> None:
        """Note that the stream exists, and that its last entry is ``at``."""
        if self.position is None or _place(at) < _place(self.position):
            # A stream that ends before our position is another one, made after the
            # server's clock was set back: it would never get entries beyond it.
            self.position = at
        self.listening_since = time.monotonic()

    def disturbed(self) -> None:
        """Note that something may have been missed: waiters must ask the records."""
        self.disturbed_at = time.monotonic()
        self.listening_since = 0.0


def _several(reference: Any) -> Sequence[Any]:
    return reference if isinstance(reference, list) else (reference,)


def _alive(reference: Any) -> list[TaskSet]:
    """Return the sets that a reference is to, or several are."""
    sets = (one() for one in _several(reference))
    return [tasks for tasks in sets if tasks is not None]


def _deliver_to(reference: Any, name: str, told: Told) -> None:
    """Deliver an outcome to sets, one of which another thread has just added."""
    for tasks in _alive(reference):
        tasks.deliver(name, told)


def _place(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number or 0)
