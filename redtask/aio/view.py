"""``LoadBalancedView``: flags and verbs, awaitable."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, TypeVar

from redtask import payload
from redtask.aio.result import AsyncMapResult, AsyncResult
from redtask.flags import Flagged, Flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.aio.client import Client
    from redtask.session import Slices

R = TypeVar("R", bound=AsyncResult)


class LoadBalancedView(Flagged):
    """Submits tasks that run on whichever engine the hub chooses.

    Made by ``Client.load_balanced_view``. What the flag ``block`` says means nothing
    here: ``apply`` and ``map`` await the value, ``apply_async`` and ``map_async`` the
    submit. Whoever is cancelled while waiting only stops waiting: the task goes on.
    """

    def __init__(self, client: Client, flags: Flags | None = None) -> None:
        super().__init__(flags or Flags())
        self.client = client
        #: Ids that this view submitted, oldest first; the last 100,000.
        self.history: collections.deque[str] = collections.deque(maxlen=100_000)

    targets = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.targets}>"

    def with_flags(self, **flags: Any) -> LoadBalancedView:
        """Return a new view with some flags replaced."""
        return LoadBalancedView(self.client, self.flags.replaced(**flags))

    async def _submitted(self, result: R, slices: Slices) -> R:
        await self.client._submit(slices)
        self.history.extend(result.msg_ids)
        return result

    # -- one call

    async def apply(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call ``f(*args, **kwargs)`` on an engine and return its value."""
        return await (await self.apply_async(f, *args, **kwargs))

    async def apply_async(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> AsyncResult:
        """Call ``f`` on an engine and return an ``AsyncResult``, once it is submitted.

        When this returns, the task is in Redis. ``f`` may also be the name of a
        function that only engines can import, ``"package.module:function"``. Raises
        ``TypeError`` for what is not callable or cannot be pickled.
        """
        core = self.client._session
        tasks, slices = core.call(self.flags, f, args, kwargs)
        result = AsyncResult(self.client, tasks, payload.name_of(f), single=True)
        return await self._submitted(result, slices)

    # -- many

    async def map(
        self,
        f: Callable[..., Any] | str,
        *sequences: Any,
        block: bool | None = None,
        chunksize: int | None = 1,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """Call ``f`` for each item, as the builtin ``map``, on many engines.

        ``chunksize`` items share a task. Returns the list, with ``block=False`` an
        ``AsyncMapResult``, which can be iterated as results arrive. Ends with the
        shortest sequence.
        """
        flags = self.flags if label is None else self.flags.replaced(label=label)
        core = self.client._session
        tasks, slices, sizes = core.map(flags, f, sequences, chunksize)
        result = AsyncMapResult(
            self.client,
            tasks,
            payload.name_of(f),
            sizes=sizes,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        await self._submitted(result, slices)
        return result if block is False else await result

    async def map_async(
        self, f: Callable[..., Any] | str, *sequences: Any, **options: Any
    ) -> AsyncMapResult:
        """Map without waiting for results; as ``map(block=False)``."""
        if "block" in options:
            raise TypeError("map_async does not take a block argument")
        return await self.map(f, *sequences, block=False, **options)  # type: ignore[no-any-return]

    # -- what was submitted

    def _open(self) -> list[str]:
        return self.client._session.open_of(list(self.history))

    async def outstanding(self) -> set[str]:
        """Return the ids that this view submitted and that have not ended."""
        return await self.client._open(self._open())

    async def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids, or (None) all that this view submitted."""
        return await self.client.wait(self._open() if jobs is None else jobs, timeout)

    async def abort(
        self, jobs: Any = None, targets: Any = None, block: bool | None = None
    ) -> None:
        """Abort tasks, or (None) all that this view submitted, if none has begun."""
        ids = await self.outstanding() if jobs is None else jobs
        await self.client.abort(ids, targets, block)
