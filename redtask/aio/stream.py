"""Asynchronous iterators that a cancelled reader does not end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Self

from redtask.value import V_co

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Stream(Generic[V_co]):
    """An asynchronous iterator over what comes in pieces.

    It keeps its place, whatever an ``anext`` raises: an asynchronous generator ends
    when one is cancelled, as by ``wait_for``, and who asks again takes that for the
    end of all.
    """

    def __init__(self) -> None:
        self._piece: Iterator[V_co] = iter(())
        #: Held by the reader who asks for more; there may be several.
        self._asking = asyncio.Lock()

    async def _more(self) -> Iterable[V_co]:
        """Return the next piece. Raises ``StopAsyncIteration`` if there is none."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> V_co:
        for value in self._piece:
            return value
        async with self._asking:
            while True:
                for value in self._piece:
                    return value
                self._piece = iter(await self._more())


__all__ = ["Stream"]
