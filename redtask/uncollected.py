"""Making very many objects without searching them for garbage.

Python looks for garbage among all that lives whenever a quarter as much has been made
anew. Of the some ten objects for each node of a graph none is garbage; looking at
them, and at all else in the process, took a third of the time of submitting it.
"""

from __future__ import annotations

import gc
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Pauses:
    """The pauses that are on, of all threads."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        # Re-entrant: a signal handler may submit, too.
        self._lock = threading.RLock()
        self._on: set[object] = set()
        self._resumes = False

    def add(self, pause: object) -> None:
        with self._lock:
            if not self._on:
                self._resumes = gc.isenabled()
            self._on.add(pause)
            gc.disable()

    def end(self, pause: object) -> None:
        with self._lock:
            self._on.discard(pause)
            if not self._on and self._resumes:
                gc.enable()

    def renew(self) -> None:
        """Begin anew after a fork: whoever paused in another thread stayed behind."""
        on, resumes = self._on, self._resumes
        self._begin()
        if on and resumes:
            gc.enable()


#: The collector is one for the process, and so are its pauses.
_PAUSES: Final = _Pauses()
os.register_at_fork(after_in_child=_PAUSES.renew)


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the garbage collector for a moment, in all threads.

    Afterwards it is on, if it was before. What is no longer referred to is freed
    meanwhile, too, unless it is in a cycle.
    """
    pause = object()
    try:
        _PAUSES.add(pause)
        yield
    finally:
        _PAUSES.end(pause)
