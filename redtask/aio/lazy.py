"""Lazy maps: asynchronous iterators that call for inputs as results are read."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redtask import payload
from redtask.flows import waiting
from redtask.lookahead import MOST_POSTED, SLOW, Lookahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redtask.aio.pier import Letter
    from redtask.aio.result import AsyncResult
    from redtask.aio.view import LoadBalancedView

#: An input that takes longer is slow, in seconds: about a trip to the hub.
_SLOW: Final = 0.001


class LazyMap:
    """An asynchronous iterator over the results of ``imap``."""

    def __init__(
        self,
        view: LoadBalancedView,
        f: Callable[..., Any] | str,
        inputs: Iterator[tuple[Any, ...]],
        most: int | None,
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._view = view
        self._f = f
        self._inputs = inputs
        #: None: twice the number of engines at the first step.
        self._most = most
        self._ordered = ordered
        self._keep = return_exceptions
        self._known_ahead: Lookahead[AsyncResult, Letter] | None = None
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({payload.name_of(self._f)})>"

    def cancel(self) -> None:
        """Read no more input; submitted tasks go on, and can still be read."""
        self._cancelled = True
        if self._known_ahead is not None:
            self._known_ahead.ended = True

    async def _looking(self) -> Lookahead[AsyncResult, Letter]:
        if self._known_ahead is None:
            most = self._most
            if most is None:
                most = max(2, 2 * len(await self._view.client.ids()))
            ahead: Lookahead[AsyncResult, Letter] = Lookahead(
                most, ordered=self._ordered
            )
            ahead.ended = self._cancelled
            self._known_ahead = ahead
        return self._known_ahead

    async def _fill(
        self, ahead: Lookahead[AsyncResult, Letter], *, until_one: bool = True
    ) -> None:
        """Call for as many inputs as there is room for.

        If they are slow to come, then only until there is a result, or for one.
        """
        while ahead.has_room:
            if ahead.slow and until_one and await self._has_come(ahead):
                break
            begun = time.monotonic()
            try:
                if ahead.input is None:
                    ahead.input = next(self._inputs)
            except StopIteration:
                ahead.end()
                return
            except Exception as problem:  # noqa: BLE001 - reported after earlier results
                ahead.end(problem)
                return
            took = time.monotonic() - begun
            ahead.slow = took > SLOW
            # What an input was slow to give must not wait while it gives the next.
            most = 0 if took > _SLOW else MOST_POSTED
            try:
                if ahead.call is None:
                    ahead.call = await self._view._prepare(self._f, ahead.input)
                ahead.add(await self._view._post(ahead.call[1]))
            except Exception as problem:  # noqa: BLE001 - likewise
                ahead.end(problem)
            await self._settle(ahead, most)
            if ahead.slow and not until_one:
                break

    async def _has_come(self, ahead: Lookahead[AsyncResult, Letter]) -> bool:
        """Is the next result there?"""
        client = self._view.client
        watch = waiting.first_done(client._session.inbox, ahead.vigil, 0)
        return await client._run(watch)

    @staticmethod
    async def _settle(ahead: Lookahead[AsyncResult, Letter], most: int = 0) -> None:
        """Wait until all calls but some are in the hub."""
        while letter := ahead.on_the_way(most):
            await letter.wait()

    def __aiter__(self) -> LazyMap:
        return self

    async def __anext__(self) -> Any:
        ahead = await self._looking()
        await self._fill(ahead)
        while (result := ahead.first()) is None:
            await self._settle(ahead)
            if not len(ahead):
                raise ahead.reason() or StopAsyncIteration
            client = self._view.client
            watch = waiting.first_done(client._session.inbox, ahead.vigil, None)
            await client._run(watch)
        # A cancellation must not lose the result.
        ahead.take(result)
        try:
            await self._fill(ahead, until_one=False)
            if ahead.on_the_way():
                # It must leave even if the reader never waits for anything else.
                await asyncio.sleep(0)
            return await result.get(return_exceptions=self._keep)
        except asyncio.CancelledError:
            ahead.give_back(result)
            raise
