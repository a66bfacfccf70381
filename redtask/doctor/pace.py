"""How much of Redis's time the doctor takes: most of it only while nobody else does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redtask.error import ConfigurationError, HubError
from redtask.hub.records import info

if TYPE_CHECKING:
    from redtask.store import Store

#: The shares of Redis's time that we take: while others need it, and at most.
_LEAST: Final = 0.4
_MOST: Final = 0.8
#: How often to look how busy Redis is without us, and for how long, in seconds.
_EVERY: Final = 0.5
_WATCHED: Final = 0.02
#: What Redis tells of the time of its one thread that counts.
_FIELDS: Final = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")


class Pace:
    """Pauses between calls that are not to take too much of Redis's time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._share = _LEAST
        self._look_at = 0.0

    def rest(self, took: float) -> None:
        """Pause after a call that took so many seconds."""
        if time.monotonic() >= self._look_at:
            self._look()
        time.sleep(took * (1 / self._share - 1))

    def _look(self) -> None:
        begun, before = time.monotonic(), self._used()
        time.sleep(_WATCHED)
        after, ended = self._used(), time.monotonic()
        self._look_at = ended + _EVERY
        if before is not None and after is not None:
            busy = (after - before) / (ended - begun)
            self._share = max(_LEAST, _MOST - busy)

    def _used(self) -> float | None:
        """Return the seconds that Redis has worked so far; None if it does not tell."""
        try:
            about = info(self._store.command("INFO", "cpu"))
        except (ConfigurationError, HubError):
            return None
        if not all(name in about for name in _FIELDS):
            return None
        return sum(float(about[name]) for name in _FIELDS)
