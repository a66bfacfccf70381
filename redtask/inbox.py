"""What a client waits for, and what has arrived. No I/O here.

A ``TaskSet`` is the tasks of one AsyncResult; the ``Inbox`` of a client knows which
sets wait for which task and deals out what its stream tells. Several threads may
submit and wait; one at a time feeds the inbox.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Final

from redtask.hub.records import Outcome, read_done

_ROOM: Final = 4096


class TaskSet:
    """Ids, and the outcomes that have arrived so far.

    Also when they were submitted and received, by this process's clock.
    """

    __slots__ = (
        "__weakref__",
        "arrived",
        "ids",
        "order",
        "outcomes",
        "received",
        "submitted",
    )

    def __init__(self, ids: Sequence[str]) -> None:
        #: The tasks, in order of submission.
        self.ids = tuple(ids)
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

    @property
    def done(self) -> bool:
        """Has every task ended?"""
        return len(self.outcomes) >= len(self.ids)

    def open_ids(self) -> list[str]:
        """Return the ids that have not ended, in order."""
        return [name for name in self.ids if name not in self.outcomes]

    def deliver(self, task_id: str, outcome: Outcome) -> None:
        """Take an outcome; a second one for the same task only replaces it."""
        if task_id not in self.outcomes:
            self.order.append(task_id)
        self.outcomes[task_id] = outcome
        self.received = time.time()
        self.arrived += 1


class Inbox:
    """What one client's stream is read for."""

    def __init__(self, client: str) -> None:
        #: Whose stream it is.
        self.client = client
        #: How many outcomes have arrived; grows only.
        self.arrived = 0
        #: Where the stream is to be read on from; None: not listening yet.
        self.position: str | None = None
        #: When the stream was last known to live, ``time.monotonic()``.
        self.listening_since = 0.0
        self._waiting: dict[str, Any] = {}
        self._limit = _ROOM
        self._lock = threading.Lock()

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
                    waiting[name] = [*several, reference]
        if len(waiting) > self._limit:
            self._tidy()

    def _tidy(self) -> None:
        """Forget sets that nobody has any more; seldom enough to cost nothing."""
        with self._lock:
            for name, reference in list(self._waiting.items()):
                if not isinstance(reference, list) and reference() is None:
                    self._waiting.pop(name, None)
            self._limit = max(_ROOM, 2 * len(self._waiting))

    def deliver(self, task_id: str, outcome: Outcome) -> None:
        """Give an outcome to every set that waits for it."""
        reference = self._waiting.pop(task_id, None)
        if reference is None:
            return
        self.arrived += 1
        for one in reference if isinstance(reference, list) else (reference,):
            tasks = one()
            if tasks is not None:
                tasks.deliver(task_id, outcome)

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
        """The stream lives and is to be read from ``at`` on."""
        if self.position is None:
            self.position = at
        self.listening_since = time.monotonic()
