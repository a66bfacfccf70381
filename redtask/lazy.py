"""Lazy maps: iterators over results that call for inputs as results are read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redtask import payload
from redtask.flows import waiting
from redtask.lookahead import MOST_POSTED, SLOW, Lookahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.pier import Letter
    from redtask.result import AsyncResult
    from redtask.view import Function, LoadBalancedView


class LazyMap:
    """An iterator over the results of ``imap``."""

    def __init__(
        self,
        view: LoadBalancedView,
        f: Function,
        inputs: Iterator[tuple[Any, ...]],
        ahead: int,
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._view = view
        self._f = f
        self._inputs = inputs
        self._keep = return_exceptions
        self._ahead: Lookahead[AsyncResult, Letter] = Lookahead(ahead, ordered=ordered)
        self._fill()
        self._settle()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({payload.name_of(self._f)})>"

    def cancel(self) -> None:
        """Read no more input; submitted tasks go on, and can still be read."""
        self._ahead.ended = True

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
                ahead.end(problem)
            self._settle(MOST_POSTED)
            if ahead.slow and not until_one:
                break

    def _has_come(self) -> bool:
        """Is the next result there?"""
        client = self._view.client
        watch = waiting.first_done(client._session.inbox, self._ahead.vigil, 0)
        return client._run(watch)

    def _settle(self, most: int = 0) -> None:
        """Wait until all calls but some are in the hub."""
        while letter := self._ahead.on_the_way(most):
            letter.wait()

    def __iter__(self) -> LazyMap:
        return self

    def __next__(self) -> Any:
        ahead = self._ahead
        self._fill()
        # Wait first: an interrupt must not lose the result.
        while (result := ahead.first()) is None:
            self._settle()
            if not len(ahead):
                raise ahead.reason() or StopIteration
            client = self._view.client
            client._run(waiting.first_done(client._session.inbox, ahead.vigil, None))
        ahead.take(result)
        try:
            self._fill(until_one=False)
        except BaseException:
            ahead.give_back(result)
            raise
        return result.get(return_exceptions=self._keep)
