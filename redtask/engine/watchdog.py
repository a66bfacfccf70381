"""The watchdog: notices that an engine cannot reach Redis while its supervisor can.

While Redis is away everybody waits for it. But a task may leave its engine without a
descriptor, with a socket module that is none, or behind a wall; then the supervisor
goes on renewing the lease of an engine that will never speak again. Such an engine ends
itself: what it has finished stands in the block, and the next one can be spoken to.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.engine.block import Block

#: Exit code of an engine that was cut off.
CUT_OFF: Final = 75
#: No engine counts as cut off sooner, in seconds: after an outage some are quicker
#: back than others.
_LEAST: Final = 3.0

_log = logging.getLogger("redtask.engine")


class Watchdog:
    """Watches the tries of one engine. ``end`` ends it, with an exit code."""

    def __init__(self, block: Block, end: Callable[[int], None] = os._exit) -> None:
        self._block = block
        self._end = end
        #: Since when the supervisor is heard and the engine is not, s of the monotonic
        #: clock; and since when the engine is not.
        self._alone = 0.0
        self._begun = 0.0

    def trouble(self, begun: float, problem: Exception) -> None:
        """One more try has failed of what was first tried at ``begun``."""
        if self._block.heard < begun:
            # Redis is away for the supervisor as well, as far as we know.
            return
        now = time.monotonic()
        if self._begun != begun:
            self._alone, self._begun = now, begun
        elif now - self._alone > max(_LEAST, self._block.lease / 1000):
            _log.error("cut off from Redis, unlike the worker: %s", problem)
            self._end(CUT_OFF)


__all__ = ["CUT_OFF", "Watchdog"]
