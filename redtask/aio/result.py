"""Awaitable results: ``AsyncResult``, ``AsyncMapResult``, ``AsyncHubResult``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redtask.outcomes import Results, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from redtask.aio.client import Client
    from redtask.flows import Flow
    from redtask.inbox import TaskSet


class AsyncResult(Results):
    """The result of tasks that may not have ended; ``await`` gives its value.

    Any process that can reach the hub may ask for it again by ``msg_ids``.
    """

    _client: Client

    async def _run(self, flow: Flow[Any]) -> Any:
        return await self._client._run(flow)

    def _make(self, tasks: TaskSet, fname: str, **options: Any) -> AsyncResult:
        kind = AsyncMapResult if "sizes" in options else AsyncResult
        return kind(self._client, tasks, fname, **options)

    # -- waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for the value, as ``get()``."""
        return self.get().__await__()

    async def wait(
        self, timeout: float | None = -1, return_when: str | None = None
    ) -> Any:
        """Wait at most ``timeout`` seconds; None or negative is for ever.

        Returns whether all is done; with ``return_when`` (a constant of
        ``concurrent.futures``) the sets of done and pending parts.
        """
        reached = await self._run(self._wait(timeout, return_when))
        if return_when is None:
            return reached
        parts = self.split()
        done = {part for part in parts if part.done()}
        return done, set(parts) - done

    async def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any:
        """Return the value, waiting for it at most ``timeout`` seconds.

        Raises the task's ``RemoteError`` or ``TaskAborted``, ``CompositeError`` for
        several, or the builtin ``TimeoutError``. With ``return_exceptions`` the
        exceptions stand in the value. ``return_when=FIRST_EXCEPTION`` raises as soon
        as one part has failed.
        """
        return await self._run(self._get(timeout, return_exceptions, return_when))

    async def result(self, timeout: float | None = None) -> Any:
        """Return the value, as ``get``."""
        return await self.get(timeout)

    async def exception(self, timeout: float | None = None) -> Exception | None:
        """Return what ``get`` would raise, or None."""
        return await self._run(self._exception(timeout))  # type: ignore[no-any-return]

    async def ready(self) -> bool:
        """Have all tasks ended? Asks the hub."""
        return await self._run(self._ready())  # type: ignore[no-any-return]

    async def successful(self) -> bool:
        """Did all tasks succeed? Raises ``RuntimeError`` while some have not ended."""
        return await self._run(self._successful())  # type: ignore[no-any-return]

    # -- stopping

    async def abort(self) -> None:
        """Abort what no engine has begun. Raises ``RuntimeError`` when all is done."""
        await self._run(self._abort())

    async def cancel(self) -> bool:
        """Abort if nothing has begun; return whether everything is aborted."""
        return await self._run(self._cancel())  # type: ignore[no-any-return]

    # -- what is known of the runs

    async def metadata(self) -> Any:
        """Return one ``Metadata``, or a list of them; also while tasks are pending."""
        return await self._run(self._about(None))

    async def progress(self) -> int:
        """Return how many items have ended."""
        return await self._run(self._progress())  # type: ignore[no-any-return]

    async def serial_time(self) -> float:
        """Return the seconds that the tasks ran; ``TimeoutError`` before."""
        return await self._run(self._serial_time())  # type: ignore[no-any-return]

    async def wall_time(self) -> float:
        """Return the seconds from submission until the last result was here."""
        return await self._run(self._wall_time())  # type: ignore[no-any-return]

    async def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return {engine_id: value}.

        Raises ``ValueError`` when two tasks ran on one engine.
        """
        return await self._run(self._get_dict(timeout))  # type: ignore[no-any-return]

    # -- parts

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result per task; of a map each is a list of its items."""
        return self._split()

    @classmethod
    def join(cls, *results: AsyncResult) -> AsyncResult:
        """Return one result of the tasks of several: the inverse of ``split``."""
        return joined(results)  # type: ignore[no-any-return]

    def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the values in order as they arrive."""
        if self._single:
            raise TypeError("This AsyncResult is a single result, not iterable.")
        return self._iterate(ordered=True)

    async def _iterate(self, *, ordered: bool) -> AsyncIterator[Any]:
        if self._tasks.done:
            for value in await self.get(0):
                yield value
            return
        places = self._places()
        for number in range(len(self._tasks.ids if ordered else places)):
            for value in await self._run(
                self._arriving(number, places, ordered=ordered)
            ):
                yield value


class AsyncMapResult(AsyncResult):
    """The result of a map: a list, iterable as results arrive.

    ``ordered=False`` yields in the order of arrival while tasks are running; the
    value of ``get()`` is always in the order of the input.
    """

    def __init__(self, *args: Any, ordered: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ordered = ordered

    def __aiter__(self) -> AsyncIterator[Any]:
        """Yield results as they arrive."""
        return self._iterate(ordered=self._ordered)


class AsyncHubResult(AsyncResult):
    """The result of tasks that any client submitted, by their ids.

    The chunks of a map stand in it as lists.
    """
