"""Lazy maps: asynchronous iterators that call for inputs as results are read."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Self

from redtask.aio.pier import Letter
from redtask.aio.result import AsyncResult
from redtask.interrupt import let_through
from redtask.lookahead import MOST_POSTED, SLOW, Lazy
from redtask.value import V_co

if TYPE_CHECKING:
    from redtask.aio.view import LoadBalancedView

#: About how long a trip to the hub takes, in seconds.
_TRIP: Final = 0.001


class LazyMap(Lazy[AsyncResult, Letter], Generic[V_co]):
    """An asynchronous iterator over the results of ``imap``.

    Coroutines may share it: each result is read by one of them.
    """

    _view: LoadBalancedView

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop | None = None

    def _turn(self) -> asyncio.Lock:
        """Return what one coroutine at a time holds while it reads."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Somebody may hold that of a loop which has ended.
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def _fill(self, *, until_one: bool = True) -> None:
        """Call for as many inputs as there is room for.

        If they are slow to come, then only until there is a result, or for one.
        """
        ahead = self._ahead
        while ahead.has_room:
            if ahead.slow and until_one and await self._has_come():
                break
            begun = time.monotonic()
            try:
                if ahead.input is None:
                    ahead.input = next(self._inputs)
            except StopIteration:
                ahead.end()
                return
            except Exception as problem:  # noqa: BLE001 - reported after earlier results
                let_through(problem)
                ahead.end(problem)
                return
            took = time.monotonic() - begun
            ahead.slow = took > SLOW
            # What an input was slow to give must not wait while it gives the next.
            most = 0 if took > _TRIP else MOST_POSTED
            try:
                if ahead.call is None:
                    ahead.call = await self._view._prepare(self._f, ahead.input)
                ahead.add(await self._view._post(ahead.call[1]))
            except Exception as problem:  # noqa: BLE001 - likewise
                let_through(problem)
                ahead.end(problem)
            await self._settle(most)
            if ahead.slow and not until_one:
                break

    async def _has_come(self) -> bool:
        """Is the next result there?"""
        # Otherwise nothing is to come: there is no need to ask.
        return len(self._ahead) > 0 and await self._view.client._run(self._watch(0))

    async def _settle(self, most: int = 0) -> None:
        """Wait until all calls but some are in the hub."""
        while letter := self._ahead.on_the_way(most):
            await letter.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> V_co:
        async with self._turn():
            return await self._next()

    async def _next(self) -> V_co:
        """Read the next result; raise ``StopAsyncIteration`` at the end.

        One coroutine at a time: what it finds may else be gone once it has waited.
        """
        ahead = self._ahead
        if ahead.most is None:
            ahead.most = max(2, 2 * len(await self._view.client.ids()))
        await self._fill()
        while (result := ahead.first()) is None:
            await self._settle()
            if not len(ahead):
                raise ahead.reason() or StopAsyncIteration
            await self._view.client._run(self._watch(None))
        # A cancellation must not lose the result.
        ahead.take(result)
        try:
            await self._fill(until_one=False)
            if ahead.on_the_way():
                # It must leave even if the reader never waits for anything else.
                await asyncio.sleep(0)
            return await result.get(return_exceptions=self._keep)  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            ahead.give_back(result)
            raise
