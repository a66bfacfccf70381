"""What who waits for a hub in this process does meanwhile, in either face."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from redtask.flows import Hear, Wait
from redtask.inbox import TaskSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.testing.clockwork import Clockwork

#: How long other threads may do nothing until it is clear that all wait in vain, in
#: seconds.
_GRACE: Final = 1.0
#: How often those who wait for other threads look, in seconds.
PAUSE: Final = 0.1


class Stuck(TimeoutError):  # noqa: N818 - as other names of the interface
    """A test waits for what can never happen."""


class Waiting:
    """Waiting in one step of a flow."""

    def __init__(self, clockwork: Clockwork, step: Wait | Hear) -> None:
        self._clockwork = clockwork
        self._step = step
        self._begun = time.monotonic()
        self._seen = clockwork.changes
        #: Since when nothing has happened; None: something has.
        self._since: float | None = None

    @property
    def disturbed(self) -> bool:
        """Must the records be asked, as the stream may not have told all?"""
        step = self._step
        return isinstance(step, Wait) and step.inbox.disturbed_at >= self._begun

    def progress(self) -> bool:
        """Run a task, or let time pass; False if there is nothing to do.

        Who only listens does nothing.
        """
        self._seen = self._clockwork.changes
        if not self._step.wanted() or not self._clockwork.progress(self._patience):
            return False
        self._since = None
        return True

    def pause(self) -> bool:
        """Wait for others to do something; False if the step's time is over.

        Raises ``Stuck`` if nothing can happen any more.
        """
        now = time.monotonic()
        end = self._begun + self._step.seconds
        if now >= end or self.disturbed:
            return False
        if not (self._is_endless and self._clockwork.rests):
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= _GRACE:
            raise self._clockwork.stuck(self._ids())
        if self._clockwork.wait_for_change(self._seen, min(PAUSE, end - now)):
            self._since = None
        return True

    @property
    def _is_endless(self) -> bool:
        """Does somebody wait for ever?"""
        return math.isinf(self._patience) and self._step.wanted()

    @property
    def _patience(self) -> float:
        """How long somebody surely waits, in seconds, perhaps in several steps."""
        if isinstance(self._step, Hear):
            return math.inf
        awaited = self._step.awaited
        return self._step.patience if awaited is None else awaited().seconds

    def _ids(self) -> Sequence[str]:
        if isinstance(self._step, Hear):
            return self._step.ids
        if self._step.awaited is not None:
            return self._step.awaited().ids
        tasks = self._step.tasks
        return tasks.open_ids() if isinstance(tasks, TaskSet) else list(tasks.open)
