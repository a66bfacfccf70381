"""Store and driver of a hub in this process: who waits lets the tasks run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from redtask import link
from redtask.flows import Hear, Pause
from redtask.store import Driver, Store
from redtask.testing.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.flows import Step, Wait
    from redtask.testing.clockwork import Clockwork

#: The longest real pause of a flow, in seconds.
BREATH: Final = 0.01


class LocalStore(Store):
    """Performs commands here and now.

    ``inside``: is it the clockwork's own, of which those who wait need not hear?
    """

    def __init__(
        self,
        url: str,
        hub: str,
        *,
        clockwork: Clockwork,
        patience: float | None = 30.0,
        reply: float = link.REPLY,
        inside: bool = False,
    ) -> None:
        super().__init__(url, hub, patience=patience, reply=reply)
        self.clockwork = clockwork
        self._inside = inside

    def driver(self) -> LocalDriver:
        """Return a driver of flows, for one client."""
        return LocalDriver(self)

    def _exchange(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        blocking: float = 0.0,
        reply: float | None = None,  # noqa: ARG002 - it is here at once
        meanwhile: Callable[[], None] | None = None,
        large: bool = False,  # noqa: ARG002 - it is here already
    ) -> list[Any]:
        if self._closed:
            raise link.closed()
        replies = self.clockwork.exchange(
            commands, blocking=bool(blocking), meanwhile=meanwhile
        )
        if not (blocking or self._inside):
            self.clockwork.note_change()
        return replies


class LocalDriver(Driver):
    """Runs flows for one client, and tasks while it waits."""

    store: LocalStore

    def _perform(self, step: Step, since: float | None, until: float | None) -> Any:
        if isinstance(step, Hear):
            return self._hear(step)
        return super()._perform(step, since, until)

    def _hear(self, step: Hear) -> Any:
        """Read; let tasks run, and time pass for those that are waited for."""
        if not step.ids:
            value = self.store.block(*step.words)
            if value is None and self.store.clockwork.turn() is None:
                time.sleep(BREATH)
            return value
        wait = Waiting(self.store.clockwork, step)
        with self.store.clockwork.waiting(step):
            while (value := self.store.block(*step.words)) is None:
                if not (wait.progress() or wait.pause()):
                    return None
        return value

    def _wait(self, step: Wait | Pause) -> bool:
        """Let tasks run, and time pass, until something has arrived."""
        if isinstance(step, Pause):
            time.sleep(min(step.seconds, BREATH))
            return False
        # Where no time passes, what was heard may be out of date at once.
        step.inbox.glance_at = 0.0
        wait = Waiting(self.store.clockwork, step)
        with self.store.clockwork.waiting(step):
            while not self._has_arrived(step):
                if wait.progress() or self._has_arrived(step):
                    continue
                if not wait.pause():
                    return False
        return True

    def _has_arrived(self, step: Wait) -> bool:
        """Read what is in the stream; has anything arrived for this step?"""
        with self._changed:
            if step.tasks.arrived == step.seen:
                self._read(step.inbox, 0)
        return step.tasks.arrived != step.seen
