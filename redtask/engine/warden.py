"""The warden stops tasks that exceed their time limit or were aborted.

A task is first interrupted by an exception. If it goes on all the same, because it
catches that or is not executing Python code, it is killed with its engine; that is
asked just before where it is.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from redtask.engine import stacks
from redtask.engine.block import BY_STOP, NEVER
from redtask.engine.guard import exceeded
from redtask.engine.seat import Seat, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.engine.block import Taken

#: How long a task may go on after it was interrupted, ns.
_GRACE: Final = 2_000_000_000
#: How long before it is killed it is asked where it is, ns.
_ANSWER: Final = 100_000_000
#: Pause before retrying while an engine holds the lock, ns.
_RETRY: Final = 100_000_000
#: How long to look for a task that must stop, ns: it may still be on its way to the
#: engine that the hub gave it to.
_PATIENCE: Final = 2_000_000_000

_ABORTED: Final = "aborted while it ran"

_log = logging.getLogger("redtask.worker")


class Warden:
    """Stops tasks of one worker. ``report`` gets tasks taken back unstarted."""

    def __init__(self, seats: Sequence[Seat], report: Callable[[Taken], None]) -> None:
        self._seats = seats
        self._report = report
        #: When to look next, ns of the monotonic clock.
        self._at = NEVER
        #: Tasks to stop, by id and token: why, and until when to try.
        self._wanted: dict[tuple[str, str], tuple[str, int]] = {}

    @property
    def due(self) -> float:
        """When to look next, s of the monotonic clock."""
        return self._at / 1e9

    def wake(self) -> None:
        """Look now: a task has started that is due before the next look."""
        self._at = 0

    def abort(self, task_id: str, token: str, reason: str = _ABORTED) -> None:
        """Stop a task, if one of our engines has this attempt."""
        self._wanted[task_id, token] = reason, time.monotonic_ns() + _PATIENCE
        self.wake()

    def stop_all(self, reason: str) -> None:
        """Interrupt and return all running tasks, without using up an attempt."""
        now = time.monotonic_ns()
        for seat in self._seats:
            picture = seat.block.look() if seat.pid else None
            if picture is not None and picture.attempt:
                stopped = seat.block.stop(*picture.attempt, why=BY_STOP)
                if stopped is not None:
                    _interrupt(seat, stopped.begun_at, reason, now, parting=True)
        self.wake()

    def look(self) -> None:
        """Do what is due."""
        now = time.monotonic_ns()
        seats = [seat for seat in self._seats if seat.pid]
        for wanted, (reason, until) in list(self._wanted.items()):
            if self._stop(seats, wanted, reason, now) or now > until:
                del self._wanted[wanted]
        times = [now + _RETRY] if self._wanted else [NEVER]
        times += [self._guard(seat, now) for seat in seats]
        self._at = min(times)

    def _stop(
        self, seats: Sequence[Seat], wanted: tuple[str, str], reason: str, now: int
    ) -> bool:
        """Stop one task, on whichever engine; False if it is not found."""
        for seat in seats:
            stopped = seat.block.stop(*wanted)
            if stopped is None or not stopped.found:
                continue
            self._report(stopped.taken)
            _interrupt(seat, stopped.begun_at, reason, now)
            return True
        return False

    def _guard(self, seat: Seat, now: int) -> int:
        """Do what is due for one engine; return when to look next."""
        limit = seat.block.check_limit(now)
        if limit is None:
            return now + _RETRY
        if limit.exceeded:
            reason = exceeded(limit.limit)
            seat.interrupt(Stop(limit.begun_at, now + _GRACE, reason, late=True))
        return min(limit.look_at, self._end(seat, now))

    def _end(self, seat: Seat, now: int) -> int:
        """Kill an engine whose task goes on; return when to look next."""
        stop = seat.stop
        if stop is None:
            return NEVER
        if seat.sheet >= 0 and not stop.asked:
            if now < stop.kill_at - _ANSWER:
                return stop.kill_at - _ANSWER
            stop = seat.stop = _ask(seat, stop, now)
        if now < stop.kill_at:
            return stop.kill_at
        seat.stack = stacks.stack_of_task(seat)
        kill = partial(seat.kill, stop.reason)
        inside = seat.block.while_inside(stop.begun_at, kill)
        if inside is None:
            return now + _RETRY
        if inside:
            picture = seat.block.look()
            task = picture.running if picture else ""
            about = seat.called, stop.reason, task, seat.stack and f"\n{seat.stack}"
            _log.warning("%s is ended: %s, in task %s%s", *about)
        else:
            seat.stop = None
        return NEVER


def _ask(seat: Seat, stop: Stop, now: int) -> Stop:
    """Have an engine write where it is, in time before it is killed."""
    stacks.request(seat)
    return replace(stop, asked=True, kill_at=max(stop.kill_at, now + _ANSWER))


def _interrupt(
    seat: Seat, begun_at: int, reason: str, now: int, *, parting: bool = False
) -> None:
    """Interrupt the task that began then, if any; once.

    Who asks again must not prolong its grace.
    """
    if begun_at and (seat.stop is None or seat.stop.begun_at != begun_at):
        stop = Stop(begun_at, now + _GRACE, reason, late=False, parting=parting)
        seat.interrupt(stop)
