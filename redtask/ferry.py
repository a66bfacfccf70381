"""Tasks of several callers that enter the hub in one call. No I/O here.

A task submitted while no trip is under way is sent at once. Those that come meanwhile
wait, and go together on the next trip, led by the first of them: trips are shared, but
nobody waits for company. Each caller learns the outcome of its own task.
"""

from __future__ import annotations

import copy
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from redtask import slices
from redtask.error import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.slices import Task

#: Tasks with more bytes of arguments go alone, so that others need not wait for them.
MOST_BYTES: Final = 64 << 10
#: Patience that ends within this many seconds is over: the longest pause between two
#: tries.
_ABOUT: Final = 1.0


def _nobody() -> None:
    """Wake nobody."""


class Passenger:
    """One task on its way, and its outcome."""

    __slots__ = ("over", "problem", "since", "task", "wake")

    def __init__(self, task: Task, wake: Callable[[], object] = _nobody) -> None:
        self.task = task
        #: Called when it is over, or when its owner must lead; possibly twice.
        self.wake = wake
        #: When the submit began, ``time.monotonic()``.
        self.since = time.monotonic()
        #: Is the outcome known?
        self.over = False
        #: Why it was not submitted; None: it was.
        self.problem: BaseException | None = None

    def ends(self, problem: BaseException | None = None) -> None:
        """Record the outcome."""
        self.over, self.problem = True, problem


class Event(Protocol):
    """What a thread or a coroutine waits for."""

    def set(self) -> object:
        """Wake whoever waits."""


class Letter(Passenger):
    """A passenger whose owner does not wait at the pier."""

    __slots__ = ("_ended", "_landed")

    def __init__(
        self,
        task: Task,
        send: Callable[[Any], None],
        landed: Callable[[], object],
        ended: Event,
    ) -> None:
        """``send`` is to lead its trip; ``landed`` is called when that is over."""
        super().__init__(task, functools.partial(self._called, send))
        self._landed = landed
        self._ended = ended

    def _called(self, send: Callable[[Any], None]) -> None:
        if self.over:
            self._landed()
            self._ended.set()
        else:
            send(self)


class Ferry:
    """The waiting passengers, and the leader of the current trip.

    The caller provides the locking.
    """

    def __init__(self) -> None:
        self._waiting: deque[Passenger] = deque()
        self._aboard: list[Passenger] = []
        #: Who sends; None: no trip is under way.
        self.leader: Passenger | None = None

    def board(self, passenger: Passenger) -> bool:
        """Take a passenger on; return whether it must lead, at once."""
        self._waiting.append(passenger)
        if self.leader is None:
            self.leader = passenger
            return True
        return False

    def has_waiting(self, passenger: Passenger) -> bool:
        """Is a passenger there whose trip has not begun?"""
        return passenger in self._waiting

    def awaits(self, passenger: Passenger) -> bool:
        """Is a passenger to lead a trip that has not begun?

        One that is called twice may have begun it.
        """
        return self.leader is passenger and passenger in self._waiting

    def load(self) -> list[Passenger]:
        """Return those who travel together: as many as one slice holds."""
        waiting = self._waiting
        aboard = self._aboard = [waiting.popleft()]
        if waiting:
            room = slices.Room(aboard[0].task)
            while waiting and room.has(waiting[0].task):
                aboard.append(waiting.popleft())
        return aboard

    def fail(self, problem: Exception, patience: float | None) -> None:
        """Fail those on a trip that failed.

        If Redis cannot be reached, only the leader and all whose patience is over, also
        of those who waited for the trip: Redis has been away as long as they have. The
        others go again. ``patience`` is how long one tries, in seconds; None: forever.
        """
        now, lost = time.monotonic(), isinstance(problem, ConnectionLost)
        aboard = self._aboard
        for one in (*aboard, *self._waiting) if lost else aboard:
            leads = one in aboard[:1]
            late = patience is not None and now - one.since + _ABOUT >= patience
            if not one.over and (leads or late or not lost):
                one.ends(problem if leads else _copy(problem))

    def land(self) -> None:
        """End the trip, and wake those concerned.

        Passengers without an outcome go again, before all others. The first of those
        who wait leads the next trip. If an interrupt hits in the middle, it can be
        repeated safely.
        """
        aboard, waiting, leader = self._aboard, self._waiting, self.leader
        if not waiting and len(aboard) == 1 and aboard[0] is leader and leader.over:
            # The common case.
            self.leader = None
            return
        again = [one for one in aboard if not one.over and one not in waiting]
        waiting.extendleft(reversed(again))
        ended = [one for one in waiting if one.over]
        for one in ended:
            waiting.remove(one)
        self._aboard = []
        for one in (*aboard, *ended):
            if one.over and one is not leader:
                one.wake()
        self.leader = waiting[0] if waiting else None
        if self.leader is not None:
            self.leader.wake()

    def leave(self, passenger: Passenger) -> None:
        """Remove a passenger that stops waiting.

        A task that is under way cannot be recalled.
        """
        passenger.over = True
        if passenger in self._waiting:
            self._waiting.remove(passenger)
        if self.leader is passenger or self.leader is None:
            self.land()
        elif self.leader in self._waiting:
            # The one that leaves may have been about to wake it.
            self.leader.wake()


def _copy(problem: Exception) -> Exception:
    """Return a copy of an exception for another thread to raise."""
    other = copy.copy(problem)
    other.__cause__ = problem.__cause__
    return other
