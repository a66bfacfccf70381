"""The watchdog: notices that an engine cannot reach Redis while its supervisor can.

While Redis is unreachable, everybody waits for it. But a task may exhaust its engine's
file descriptors, break the socket module, or cut it off from the network; then the
supervisor keeps renewing the lease of an engine that can never report again. Such an
engine exits: its outcomes are in the block, and its replacement works.
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
#: No engine counts as cut off before this, in seconds: after an outage some reconnect
#: sooner than others.
_LEAST: Final = 3.0

_log = logging.getLogger("redtask.engine")


class Watchdog:
    """Watches one engine's attempts to reach Redis. ``end`` exits, with a code."""

    def __init__(self, block: Block, end: Callable[[int], None] = os._exit) -> None:
        self._block = block
        self._end = end
        #: Since when only the supervisor reaches Redis, and since when the engine does
        #: not; s of the monotonic clock.
        self._alone = 0.0
        self._begun = 0.0

    def trouble(self, begun: float, problem: Exception) -> None:
        """Note another failed attempt at what was first tried at ``begun``."""
        if self._block.heard < begun:
            # As far as we know, the supervisor cannot reach Redis either.
            return
        now = time.monotonic()
        if self._begun != begun:
            self._alone, self._begun = now, begun
        elif now - self._alone > max(_LEAST, self._block.lease / 1000):
            _log.error("cut off from Redis, unlike the worker: %s", problem)
            self._end(CUT_OFF)


__all__ = ["CUT_OFF", "Watchdog"]
