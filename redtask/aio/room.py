"""How many calls are in flight at once: the others queue, as long as they have time."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from redtask import link

if TYPE_CHECKING:
    from redtask.recent import Contact


class Room:
    """Room for so many calls; the others get it in the order in which they came.

    ``contact`` knows when Redis last replied to any of them.
    """

    def __init__(self, most: int, contact: Contact) -> None:
        self._free = asyncio.Semaphore(most)
        self._contact = contact

    async def enter(self, over: float) -> None:
        """Return when there is room for one more call, which has to ``leave``.

        ``over`` is when its time is over, ``time.monotonic()``: from then on it waits
        only while Redis replies to others. Raises redis-py's ``TimeoutError``.
        """
        if not self._free.locked():
            await self._free.acquire()
            return
        await self._queue(over)
        if self._contact.away_since < math.inf and time.monotonic() >= over:
            # If each tried in turn, the last of many would hear much too late.
            self.leave()
            raise link.unanswered()

    def leave(self) -> None:
        """Make room for the next call."""
        self._free.release()

    async def _queue(self, over: float) -> None:
        loop, came = asyncio.get_running_loop(), time.monotonic()
        watch: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal watch
            # A busy Redis is no reason to give up: a call whose time is over when it
            # begins, as that of ready(), would never ask.
            silent = max(came, self._contact.heard) + link.LEAST_REPLY
            if (left := max(over, silent) - time.monotonic()) > 0:
                watch = loop.call_later(left, look) if left < math.inf else None
            else:
                bound.reschedule(loop.time())

        try:
            async with asyncio.timeout(None) as bound:
                look()
                await self._free.acquire()
        except TimeoutError:
            raise link.unanswered() from None
        finally:
            if watch is not None:
                watch.cancel()


__all__ = ["Room"]
