"""Lazy maps: iterators over results that call for inputs as results are read."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Self

from redtask.interrupt import let_through
from redtask.lookahead import MOST_POSTED, SLOW, Lazy
from redtask.pier import Letter
from redtask.result import AsyncResult
from redtask.value import V_co

if TYPE_CHECKING:
    from redtask.view import LoadBalancedView


class LazyMap(Lazy[AsyncResult, Letter], Generic[V_co]):
    """An iterator over the results of ``imap``.

    Threads may share it: each result is read by one of them.
    """

    _view: LoadBalancedView

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begin()
        self._fill()
        self._settle()

    def _begin(self) -> None:
        # Re-entrant: a signal handler may read, too.
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def _fill(self, *, until_one: bool = True) -> None:
        """Call for as many inputs as there is room for.

        If they are slow to come, then only until there is a result, or for one.
        """
        ahead = self._ahead
        while ahead.has_room and not (ahead.slow and until_one and self._has_come()):
            begun = time.monotonic()
            try:
                if ahead.input is None:
                    ahead.input = next(self._inputs)
                ahead.slow = time.monotonic() - begun > SLOW
                if ahead.call is None:
                    ahead.call = self._view._prepare(self._f, ahead.input)
                ahead.add(self._view._post(ahead.call[1]))
            except StopIteration:
                ahead.end()
            except Exception as problem:  # noqa: BLE001 - reported after earlier results
                let_through(problem)
                ahead.end(problem)
            self._settle(MOST_POSTED)
            if ahead.slow and not until_one:
                break

    def _has_come(self) -> bool:
        """Is the next result there?"""
        # Otherwise nothing is to come: there is no need to ask.
        return len(self._ahead) > 0 and self._view.client._run(self._watch(0))

    def _settle(self, most: int = 0) -> None:
        """Wait until all calls but some are in the hub."""
        while letter := self._ahead.on_the_way(most):
            letter.wait()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> V_co:
        if os.getpid() != self._pid:
            # A thread that was reading stayed behind in the fork, with the lock.
            self._begin()
        with self._lock:
            result = self._take()
        return result.get(return_exceptions=self._keep)  # type: ignore[no-any-return]

    def _take(self) -> AsyncResult:
        """Return the next result, when it is done; raise ``StopIteration`` at the end.

        One thread at a time: what it finds may else be gone once it has waited.
        """
        ahead = self._ahead
        self._fill()
        # Wait first: an interrupt must not lose the result.
        while (result := ahead.first()) is None:
            self._settle()
            if not len(ahead):
                raise ahead.reason() or StopIteration
            self._view.client._run(self._watch(None))
        ahead.take(result)
        try:
            self._fill(until_one=False)
        except BaseException:
            ahead.give_back(result)
            raise
        return result
