"""Making very many objects without searching them for garbage again and again.

Python looks for garbage among what is new whenever a few hundred objects have been
made, and among all that lives whenever a quarter as much has been made anew. Of the
some ten objects for each node of a graph none is garbage; looking at them, and at all
else in the process, took a third of the time of submitting it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Smaller graphs gain nothing: they are made within a few milliseconds.
_LARGE: Final = 1_000
#: So many new objects may be there before the collector looks at them.
_SELDOM: Final = 50_000
#: After so many seconds in one go it works as usual, until nothing large is made.
LONGEST: Final = 1.0


class _Threshold:
    """The collector's threshold for new objects, raised while anybody wants that."""

    def __init__(self) -> None:
        #: The thresholds to restore; None: they are not raised.
        self._usual: tuple[int, int, int] | None = None
        self._until = 0.0
        self._begin()

    def _begin(self) -> None:
        # Re-entrant: a signal handler may submit, too.
        self._lock = threading.RLock()
        self._wanting: set[object] = set()

    def raise_for(self, who: object) -> None:
        with self._lock:
            if not self._wanting:
                self._raise()
            self._wanting.add(who)

    def lower_for(self, who: object) -> None:
        with self._lock:
            self._wanting.discard(who)
            if not self._wanting:
                self._lower()

    def _raise(self) -> None:
        usual = gc.get_threshold()
        # Zero turns the collector off.
        if 0 < usual[0] < _SELDOM:
            self._until = time.monotonic() + LONGEST
            self._usual = usual
            gc.set_threshold(_SELDOM, *usual[1:])
            gc.callbacks.append(self._look)

    def _lower(self) -> None:
        self._restore()
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._look)

    def _restore(self) -> None:
        usual, self._usual = self._usual, None
        # Otherwise somebody else has set it meanwhile.
        if usual is not None and gc.get_threshold()[0] == _SELDOM:
            gc.set_threshold(*usual)

    def _look(self, phase: str, _: object) -> None:
        # The collector calls this in any thread, between any two steps: so there is no
        # lock, and the list of callbacks, which it goes through, stays as it is.
        if phase == "stop" and time.monotonic() >= self._until:
            self._restore()

    def renew(self) -> None:
        """Begin anew after a fork: who wanted it in another thread stayed behind."""
        self._begin()
        self._lower()


#: The collector is one for the process, and so is its threshold.
_THRESHOLD: Final = _Threshold()
os.register_at_fork(after_in_child=_THRESHOLD.renew)


@contextlib.contextmanager
def seldom_collecting(nodes: int) -> Iterator[None]:
    """Have the garbage collector look seldom while a graph of so many nodes is made.

    That is in all threads, but for ``LONGEST`` seconds in one go at most, and not at
    all for a small graph. The collector is never off, if it was on before: it looks
    whenever ``_SELDOM`` objects are new.
    """
    if nodes < _LARGE:
        yield
        return
    who = object()
    try:
        _THRESHOLD.raise_for(who)
        yield
    finally:
        _THRESHOLD.lower_for(who)
