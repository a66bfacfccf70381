"""Tasks submitted by a block of code, gathered. No I/O here.

A context variable holds the batch that is open in a thread, or in a coroutine and those
that it starts; so a batch applies to all views of its client.
"""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Self

from redtask import slices
from redtask.error import ConnectionLost
from redtask.ferry import Passenger
from redtask.hub.records import Outcome
from redtask.interrupt import let_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.flows import Flow
    from redtask.session import Session
    from redtask.slices import Task

_OPEN: ContextVar[Gathering | None] = ContextVar("batch", default=None)


class Gathering:
    """Tasks of a block that are still to be sent."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: list[Passenger] = []
        self._room: slices.Room | None = None
        self._outer: Gathering | None = None
        self._token: Token[Gathering | None] | None = None
        self._pid = os.getpid()
        self._refused: list[Exception] = []

    def __repr__(self) -> str:
        return f"<Batch of {len(self)}>"

    def __len__(self) -> int:
        """Return the number of tasks still to be sent."""
        return len(self._waiting)

    def __bool__(self) -> bool:
        """Return True even if nothing is to be sent."""
        return True

    @classmethod
    def of(cls, client: Any) -> Self | None:
        """Return the innermost batch that is open here for a client."""
        found = _OPEN.get()
        while found is not None:
            here = found._token is not None and found._pid == os.getpid()
            if here and found._client is client:
                return found  # type: ignore[return-value]
            found = found._outer
        return None

    def _open(self) -> None:
        if self._token is not None:
            raise RuntimeError("this batch is open already")
        outer = _OPEN.get()
        while outer is not None and outer._token is None:
            # It was closed in another context.
            outer = outer._outer
        self._outer = outer
        self._token = _OPEN.set(self)

    def _close(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            # A generator may have been left in another context than it was entered in,
            # where ``of`` ignores this batch from now on.
            with contextlib.suppress(ValueError):
                _OPEN.reset(token)

    def _fits(self, task: Task) -> bool:
        """Add a task if the slice has room; return whether it has."""
        one, room = Passenger(task), self._room
        if room is None:
            self._room = slices.Room(task)
        elif not room.has(task):
            return False
        # Nothing comes in between that a signal handler could interrupt, and send what
        # is waiting.
        self._waiting.append(one)
        return True

    def _take(self) -> list[Passenger]:
        """Return the tasks to send now."""
        taken, self._waiting, self._room = self._waiting, [], None
        # After a fork, the parent sends them.
        return taken if self._pid == os.getpid() else []

    def _sending(self, session: Session, taken: Sequence[Passenger]) -> Flow[None]:
        """Submit these tasks. Rejections are raised later, and by the results.

        Errors that concern all are raised.
        """
        try:
            yield from session.cross(taken)
        except ConnectionLost:
            # They may have been stored: whoever wants a result asks the records.
            raise
        except Exception as problem:
            # Likewise.
            let_through(problem)
            for one in taken:
                _refuse(session, one, problem)
            raise
        finally:
            session.arrived([one.task.task_id for one in taken])
        for one in taken:
            if isinstance(one.problem, Exception):
                _refuse(session, one, one.problem)
                self._refused.append(one.problem)

    def _first_refusal(self) -> Exception | None:
        """Return the error to raise if the block did not raise."""
        refused, self._refused = self._refused, []
        if not refused:
            return None
        if len(refused) > 1:
            refused[0].add_note(f"{len(refused)} tasks of the batch were refused")
        return refused[0]


def _refuse(session: Session, one: Passenger, problem: Exception) -> None:
    reason = f"not_submitted it was not submitted: {problem}".encode()
    session.inbox.deliver(one.task.task_id, Outcome("failed", "", "v", reason))
