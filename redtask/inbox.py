"""What a client waits for, and what has arrived. No I/O here.

A ``TaskSet`` is the tasks of one AsyncResult; the ``Inbox`` of a client knows which
sets wait for which task and deals out what its stream tells. Several threads may
submit and wait; one at a time feeds the inbox.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from redtask.hub.records import Outcome, read_done

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
        "arrived",
        "checked",
        "distinct",
        "ids",
        "order",
        "outcomes",
        "received",
        "submitted",
        "timed",
        "wakers",
    )

    def __init__(self, ids: Sequence[str]) -> None:
        #: The tasks, in order of submission.
        self.ids = tuple(ids)
        #: How many they are: one may stand there twice.
        self.distinct = len(ids) if len(ids) < 2 else len(set(ids))  # noqa: PLR2004 - a pair
        #: Outcome of each ended one.
        self.outcomes: dict[str, Outcome] = {}
        #: Ids in the order in which they arrived.
        self.order: list[str] = []
        #: How many outcomes have arrived; grows only.
        self.arrived = 0
        #: When they were submitted, ``time.time()``.
        self.submitted = time.time()
        #: When the latest outcome arrived.
        self.received = self.submitted
        #: When the records were last asked, ``time.monotonic()``.
        self.checked = time.monotonic()
        #: May something happen to them by time alone?
        self.timed = False
        #: Called when something arrives. Threads append and remove: both are atomic.
        self.wakers: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Has every task ended?"""
        return len(self.outcomes) >= self.distinct

    def open_ids(self) -> list[str]:
        """Return the ids that have not ended, in order."""
        return [name for name in self.ids if name not in self.outcomes]

    def deliver(self, task_id: str, outcome: Outcome) -> None:
        """Take an outcome. A second one only adds a payload that was too large."""
        known = task_id in self.outcomes
        first = self.outcomes.setdefault(task_id, outcome)
        if known or first is not outcome:
            # Told twice, by the stream and by the record, perhaps to two threads.
            if first.kind == "-":
                self.outcomes[task_id] = outcome
            return
        self.order.append(task_id)
        self.received = time.time()
        self.arrived += 1
        for wake in tuple(self.wakers):
            wake()

    def release(self, task_id: str) -> None:
        """Keep the outcome without its payload, which can be fetched again."""
        outcome = self.outcomes.get(task_id)
        if outcome is not None and outcome.kind in {"r", "e"}:
            self.outcomes[task_id] = outcome._replace(kind="-", payload=b"")

    def become(self, ids: Sequence[str]) -> None:
        """Be the set of these: all that were expected for it one by one."""
        self.ids = tuple(ids)
        self.distinct = len(self.ids)

    def reopen(self, task_id: str) -> None:
        """Take an outcome back: Redis has forgotten it, and the task runs again."""
        if self.outcomes.pop(task_id, None) is not None:
            self.order.remove(task_id)


class Inbox:
    """What one client's stream is read for.

    ``lock`` keeps threads that submit apart.
    """

    def __init__(
        self,
        client: str,
        recent: Recent,
        lock: AbstractContextManager[Any],
        keys: Keys,
    ) -> None:
        #: Names of keys of its hub.
        self.keys = keys
        #: Whose stream it is.
        self.client = client
        #: What the client submitted lately.
        self.recent = recent
        #: Ids that the client submitted and that are not known to have ended. Of a
        #: plain dict the first one takes long to find when many before it are gone.
        self.open: OrderedDict[str, None] = OrderedDict()
        #: Ids that are still to be submitted: no record says anything of them.
        self.underway: set[str] = set()
        #: How many outcomes have arrived; grows only.
        self.arrived = 0
        #: Where the stream is to be read on from; None: not listening yet.
        self.position: str | None = None
        #: When the stream was last known to live, ``time.monotonic()``.
        self.listening_since = 0.0
        #: When something may last have been missed, ``time.monotonic()``.
        self.disturbed_at = 0.0
        #: When to do next what is due by time alone, ``time.monotonic()``.
        self.sweep_at = 0.0
        #: Called when something arrives. Threads append and remove: both are atomic.
        self.wakers: list[Callable[[], None]] = []
        self._waiting: dict[str, Any] = {}
        self._limit = _ROOM
        self._lock = lock

    def expect(self, tasks: TaskSet) -> None:
        """Deliver to this set, as long as somebody has it, what is still open."""
        reference = weakref.ref(tasks)
        waiting = self._waiting
        for name in tasks.ids:
            if name in tasks.outcomes:
                continue
            before = waiting.setdefault(name, reference)
            if before is not reference:
                with self._lock:
                    several = before if isinstance(before, list) else [before]
                    alive = [one for one in several if one() is not None]
                    waiting[name] = [*alive, reference]
        if len(waiting) > self._limit:
            self._tidy()

    def expect_also(self, tasks: TaskSet, name: str) -> None:
        """Deliver to a set that is growing; nobody else knows of the task."""
        self._waiting[name] = weakref.ref(tasks)
        if len(self._waiting) > self._limit:
            self._tidy()

    def expects(self, task_id: str) -> bool:
        """Does anybody wait for this task?"""
        return task_id in self._waiting

    def adopt(self, other: Inbox) -> None:
        """Wait for what another inbox waits for: a forked child its parent's.

        The hub does not know yet that we want to be told as well.
        """
        self.disturbed()
        self._waiting = dict(other._waiting)

    def _tidy(self) -> None:
        """Forget sets that nobody has any more; seldom enough to cost nothing."""
        with self._lock:
            for name, reference in self._waiting.copy().items():
                if not any(one() is not None for one in _several(reference)):
                    self._waiting.pop(name, None)
            self._limit = max(_ROOM, 2 * len(self._waiting))

    def unchecked(self, since: float) -> Iterator[tuple[str, TaskSet]]:
        """Yield single open tasks whose records were last asked before ``since``.

        Not those that another thread is just submitting: they have no records yet.
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

    def deliver(self, task_id: str, outcome: Outcome) -> None:
        """Give an outcome to every set that waits for it."""
        self.open.pop(task_id, None)
        reference = self._waiting.pop(task_id, None)
        if reference is None:
            return
        for one in _several(reference):
            tasks = one()
            if tasks is not None:
                tasks.deliver(task_id, outcome)
        self.arrived += 1
        for wake in tuple(self.wakers):
            wake()

    def feed(self, entries: Iterable[Sequence[Any]]) -> None:
        """Deal out entries of the stream: (position, [id, value, id, value ...])."""
        position = None
        for position, fields in entries:  # noqa: B007 - the last one counts
            for at in range(0, len(fields), 2):
                name = fields[at].decode()
                if name in self._waiting:
                    self.deliver(name, read_done(fields[at + 1]))
        if position is not None:
            self.position = position.decode()

    def listens(self, at: str) -> None:
        """The stream lives, and its last entry is ``at``."""
        if self.position is None or _place(at) < _place(self.position):
            # A stream that ends before where we are is another one, made when the
            # server's clock was set back: nothing would ever stand behind it.
            self.position = at
        self.listening_since = time.monotonic()

    def disturbed(self) -> None:
        """Something may have been missed: who waits is to ask the records."""
        self.disturbed_at = time.monotonic()
        self.listening_since = 0.0


def _several(reference: Any) -> Sequence[Any]:
    return reference if isinstance(reference, list) else (reference,)


def _place(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number or 0)
