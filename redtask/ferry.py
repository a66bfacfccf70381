"""Tasks of several callers that enter the hub in one call. No I/O here.

Who submits a task while none is on its way sends it at once. Who comes meanwhile
waits, and all that wait go together, led by the first of them: a trip is shared, and
nobody waits for company. Each hears what became of its own task.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from redtask import slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redtask.slices import Task

#: Arguments of more bytes go alone: others need not wait until they are sent.
MOST_BYTES: Final = 64 << 10
#: Whose patience ends within so many seconds has none left: the longest pause
#: between two tries.
_ABOUT: Final = 1.0


class Passenger:
    """One task on its way, and what became of it."""

    __slots__ = ("over", "problem", "since", "task", "wake")

    def __init__(self, task: Task, wake: Callable[[], object]) -> None:
        #: The task.
        self.task = task
        #: Called when it is over, or when this one is to lead; perhaps twice.
        self.wake = wake
        #: When it was to be submitted, ``time.monotonic()``.
        self.since = time.monotonic()
        #: Is it known what became of it?
        self.over = False
        #: Why it did not enter; None: it did.
        self.problem: BaseException | None = None

    def ends(self, problem: BaseException | None = None) -> None:
        """Take note of what became of the task."""
        self.over, self.problem = True, problem


class Ferry:
    """Who waits, and who leads the trip that is under way.

    Whoever uses it keeps threads apart.
    """

    def __init__(self) -> None:
        self._waiting: deque[Passenger] = deque()
        self._aboard: list[Passenger] = []
        #: Who sends; None: nothing is under way.
        self.leader: Passenger | None = None

    def board(self, passenger: Passenger) -> bool:
        """Take a task; is its owner to lead, at once?"""
        self._waiting.append(passenger)
        if self.leader is None:
            self.leader = passenger
            return True
        return False

    def load(self) -> list[Passenger]:
        """Return those who go together: as many as one slice holds."""
        waiting = self._waiting
        aboard = self._aboard = [waiting.popleft()]
        if waiting:
            room = slices.Room(aboard[0].task)
            while waiting and room.has(waiting[0].task):
                aboard.append(waiting.popleft())
        return aboard

    def land(self) -> None:
        """End the trip, and wake whom that concerns.

        Of whom nothing is known yet goes again, before all others. The first of those
        who wait leads the next trip. An interrupt in the midst of this does no harm:
        all of it may be done twice.
        """
        aboard, waiting, leader = self._aboard, self._waiting, self.leader
        if not waiting and len(aboard) == 1 and aboard[0] is leader and leader.over:
            # As a rule.
            self.leader = None
            return
        again = [one for one in aboard if not one.over and one not in waiting]
        waiting.extendleft(reversed(again))
        self._aboard = []
        for one in aboard:
            if one.over and one is not leader:
                one.wake()
        self.leader = waiting[0] if waiting else None
        if self.leader is not None:
            self.leader.wake()

    def leave(self, passenger: Passenger) -> None:
        """Let somebody go who does not want to wait.

        A task that is under way cannot be called back.
        """
        passenger.over = True
        if passenger in self._waiting:
            self._waiting.remove(passenger)
        if self.leader is passenger or self.leader is None:
            self.land()
        elif self.leader in self._waiting:
            # Whoever leaves may have been about to wake it.
            self.leader.wake()


def fail(
    aboard: Iterable[Passenger], problem: Exception, patience: float | None
) -> None:
    """The trip came to nothing: that is what became of all who tried for long enough.

    ``patience`` is for how long one tries, in seconds; None is forever.
    """
    now = time.monotonic()
    for number, one in enumerate(aboard):
        late = patience is not None and now - one.since + _ABOUT >= patience
        if not one.over and (number == 0 or late):
            one.ends(problem if number == 0 else _copy(problem))


def end_all(aboard: Sequence[Passenger], problem: Exception | None = None) -> None:
    """Let it be what became of all of them."""
    for number, one in enumerate(aboard):
        if not one.over:
            one.ends(_copy(problem) if problem and number else problem)


def _copy(problem: Exception) -> Exception:
    """Return an exception that another thread may raise."""
    other = copy.copy(problem)
    other.__cause__ = problem.__cause__
    return other
