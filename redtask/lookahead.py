"""What a lazy map has called ahead of the results that were read. No I/O here.

Calls are posted, so that those made while others are on their way share the next trip.
Before it waits for a result, a lazy map waits until all it has posted is in Redis.
"""

from __future__ import annotations

import functools
import numbers
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from redtask import payload, slices
from redtask.ferry import Passenger
from redtask.flows.waiting import Vigil, first_done
from redtask.outcomes import R

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redtask.flows import Flow
    from redtask.inbox import TaskSet
    from redtask.slices import Task

L = TypeVar("L", bound=Passenger)

#: So many calls may be on their way at once: one slice under way, and one to come.
MOST_POSTED: Final = 2 * slices.MOST_TASKS
#: After an input that took longer than this, in seconds, results are looked for before
#: the next one is read: that costs a round trip.
SLOW: Final = 0.02


class Lookahead(Generic[R, L]):
    """Calls whose results were not read yet.

    ``ordered``: are results read in the order of the calls, and not as they arrive?
    """

    def __init__(self, most: int | None, *, ordered: bool) -> None:
        #: The most there may be; 0: any number; None: not known before the first call.
        self.most = most
        #: True when no more input is to be read; the reason, if it is still to be told.
        self.ended: Exception | bool = False
        #: The input that was read last, and the call for it, until that is in here. An
        #: interrupt must not lose them: posting a task again changes nothing.
        self.input: tuple[Any, ...] | None = None
        self.call: tuple[R, Task] | None = None
        #: Did the input that was read last take long?
        self.slow = False
        #: Watches for the next result to read.
        self.vigil = Vigil(self._is_ready, self._awaited)
        self._ordered = ordered
        # A plain dict is slow to find its first key after many deletions.
        self._unread: OrderedDict[str, R] = OrderedDict()
        #: If in any order, the ids of those that are done, and of the others.
        self._done: deque[str] = deque()
        self._open: dict[str, TaskSet] = {}
        self._posted: deque[L] = deque()

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self._unread)

    @property
    def has_room(self) -> bool:
        """Is a call to be made, an interrupted one or one more?"""
        if self.input is not None:
            return True
        return not self.ended and (not self.most or len(self._unread) < self.most)

    def add(self, letter: L | None) -> None:
        """Take the call; ``letter`` is its task if that is on its way."""
        assert self.call is not None  # noqa: S101 - it was posted
        result, task = self.call
        tasks, name = result._tasks, task.task_id
        self._unread[name] = result
        self.vigil.timed |= tasks.timed
        if letter is not None:
            self._posted.append(letter)
        if not self._ordered:
            self._open[name] = tasks
            tasks.wakers.append(functools.partial(self._note, name))
        self.input = self.call = None
        # It may have been delivered before it was registered.
        self._note(name)

    def end(self, why: Exception | bool = True) -> None:
        """Make no more calls; a reason is told after the results."""
        self.ended, self.input, self.call = why, None, None

    def _note(self, name: str) -> None:
        tasks = self._open.get(name)
        if tasks is not None and tasks.done and self._open.pop(name, None) is not None:
            self._done.append(name)

    def on_the_way(self, most: int = 0) -> L | None:
        """Return a call to wait for until only ``most`` are on their way.

        Calls that were refused are left out, and the first reason is kept.
        """
        posted = self._posted
        while posted and posted[0].over:
            letter = posted.popleft()
            if isinstance(letter.problem, Exception):
                self._leave_out(letter.task.task_id, letter.problem)
        return posted[0] if len(posted) > most else None

    def _leave_out(self, name: str, problem: Exception) -> None:
        if self._ordered or self._open.pop(name, None) is not None:
            # Otherwise it came to the hub all the same, and its result is here.
            self._unread.pop(name, None)
        if not isinstance(self.ended, Exception):
            self.ended = problem

    def first(self) -> R | None:
        """Return the next result to read, if it is done."""
        if not self._ordered:
            return self._unread[self._done[0]] if self._done else None
        result = next(iter(self._unread.values()), None)
        return result if result is not None and result._tasks.done else None

    def take(self, result: R) -> None:
        """Note that the next result was read."""
        (name,) = result.msg_ids
        del self._unread[name]
        if not self._ordered:
            self._done.popleft()

    def give_back(self, result: R) -> None:
        """Let the result that was taken last be read again."""
        (name,) = result.msg_ids
        self._unread[name] = result
        self._unread.move_to_end(name, last=False)
        if not self._ordered:
            self._done.appendleft(name)

    def reason(self) -> Exception | None:
        """Return why no more was called, once."""
        if not isinstance(self.ended, Exception):
            return None
        problem, self.ended = self.ended, True
        return problem

    def _is_ready(self) -> bool:
        # If nothing is left, a signal handler has read it meanwhile.
        return not self._unread or self.first() is not None

    def _awaited(self) -> list[TaskSet]:
        if not self._ordered:
            return list(self._open.values())
        # All of them: what was missed of one was most likely missed of the next, too.
        results = list(self._unread.values())
        return [result._tasks for result in results if not result._tasks.done]


class Lazy(Generic[R, L]):
    """The part of a lazy map that both faces share."""

    def __init__(
        self,
        view: Any,
        f: Callable[..., Any] | str,
        inputs: Iterator[tuple[Any, ...]],
        most: int | None,
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._view = view
        self._f = f
        self._inputs = inputs
        self._keep = return_exceptions
        self._ahead: Lookahead[R, L] = Lookahead(most, ordered=ordered)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({payload.name_of(self._f)})>"

    def cancel(self) -> None:
        """Read no more input; submitted tasks go on, and can still be read."""
        self._ahead.ended = True

    def _watch(self, timeout: float | None) -> Flow[bool]:
        """Wait for the next result; return whether it is there."""
        inbox = self._view.client._session.inbox
        return first_done(inbox, self._ahead.vigil, timeout)


def ahead_of(sequences: Sequence[Any], most: int | str) -> int | None:
    """Return how many tasks of a lazy map may be submitted ahead; None: "auto".

    Raises ``TypeError`` if there is nothing to map, ``ValueError`` for an invalid
    number.
    """
    if not sequences:
        raise TypeError("imap needs at least one sequence")
    if most == "auto":
        return None
    if isinstance(most, numbers.Integral) and int(most) >= 0:
        return int(most)
    raise ValueError(f"max_outstanding must be 'auto' or a number, not {most!r}")
