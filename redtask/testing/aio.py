"""Store and driver of a hub in this process, for asyncio.

Tasks run in a thread beside the event loop, as they may have event loops of their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redtask import link
from redtask.aio.store import Driver, Store
from redtask.flows import Hear, Pause
from redtask.testing.store import BREATH
from redtask.testing.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.flows import Step, Wait
    from redtask.testing.clockwork import Clockwork


class LocalStore(Store):
    """Performs commands here and now."""

    def __init__(
        self,
        url: str,
        hub: str,
        *,
        clockwork: Clockwork,
        patience: float | None = 30.0,
        reply: float = link.REPLY,
    ) -> None:
        super().__init__(url, hub, patience=patience, reply=reply)
        self.clockwork = clockwork

    def driver(self) -> LocalDriver:
        """Return a driver of flows, for one client."""
        return LocalDriver(self)

    async def _exchange(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        blocking: float = 0.0,
        reply: float | None = None,  # noqa: ARG002 - it is here at once
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Any]:
        if self._closed:
            raise link.closed()
        replies = self.clockwork.exchange(
            commands, blocking=bool(blocking), meanwhile=meanwhile
        )
        if not blocking:
            self.clockwork.note_change()
        return replies


class LocalDriver(Driver):
    """Runs flows for one client, and tasks while it waits."""

    store: LocalStore

    async def _perform(
        self, step: Step, since: float | None, until: float | None
    ) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(min(step.seconds, BREATH))
        if isinstance(step, Hear):
            return await self._hear(step)
        return await super()._perform(step, since, until)

    async def _hear(self, step: Hear) -> Any:
        """Read; let tasks run, and time pass for those that are waited for."""
        if not step.ids:
            return await self._hear_once(step)
        wait = Waiting(self.store.clockwork, step)
        with self.store.clockwork.waiting(step):
            while (value := await self.store.block(*step.words)) is None:
                if await asyncio.to_thread(wait.progress):
                    continue
                if not await asyncio.to_thread(wait.pause):
                    return None
        return value

    async def _hear_once(self, step: Hear) -> Any:
        value = await self.store.block(*step.words)
        if value is not None:
            return value
        if await asyncio.to_thread(self.store.clockwork.turn) is None:
            await asyncio.sleep(BREATH)
        return None

    async def _wait(self, step: Wait) -> bool:
        """Let tasks run, and time pass, until something has arrived."""
        wait = Waiting(self.store.clockwork, step)
        with self.store.clockwork.waiting(step):
            while not await self._has_arrived(step):
                if await asyncio.to_thread(wait.progress):
                    continue
                if await self._has_arrived(step):
                    break
                if not await asyncio.to_thread(wait.pause):
                    return False
        return True

    async def _has_arrived(self, step: Wait) -> bool:
        """Read what is in the stream; has anything arrived for this step?"""
        new = step.tasks.arrived != step.seen
        if not new and not await self._read_some(step.inbox, 1):
            step.inbox.disturbed()
        return step.tasks.arrived != step.seen
