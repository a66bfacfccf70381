"""Awaitable results: ``AsyncResult``, ``AsyncMapResult``, ``AsyncHubResult``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Never, Self, overload

from redtask import absent, flows
from redtask.aio.stream import Stream
from redtask.completions import Completions
from redtask.error import RedtaskError, StillAway
from redtask.live import Listener, show_output
from redtask.metadata import METADATA
from redtask.outcomes import (
    ALL_COMPLETED,
    OF_TASKS,
    R,
    Results,
    call_back,
    joined,
    of_face,
)
from redtask.progress import progress_bar
from redtask.timeouts import interval_of, limit_of, span_of, until_of
from redtask.value import V_co

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable

    from redtask.aio.client import Client
    from redtask.flows import Flow
    from redtask.hub.why import Why, Whys
    from redtask.inbox import TaskSet
    from redtask.live import Output
    from redtask.metadata import Metadata


_log = logging.getLogger("redtask")
#: Pause of a callback's listener after trouble with the hub, in seconds.
_PAUSE: Final = 1.0


class AsyncResult(Results, Generic[V_co]):
    """The result of tasks that may not have ended; ``await`` gives its value.

    Any process that can reach the hub may ask for it again by ``msg_ids``.
    """

    _client: Client
    _face = "redtask.aio"

    async def _run(self, flow: Flow[Any], until: float | None = None) -> Any:
        return await self._client._run(flow, until)

    def _make(self, tasks: TaskSet, fname: str, **options: Any) -> AsyncResult:
        kind = AsyncMapResult if "sizes" in options else AsyncResult
        return kind(self._client, tasks, fname, **options)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            owner = f"{type(self).__name__!r} object"
            said = absent.words(owner, name, awaited=True)
            if name in METADATA:
                said += f": use '(await ar.metadata()).{name}'"
            raise AttributeError(said)

    # -- waiting

    def __await__(self) -> Generator[Any, Any, V_co]:
        """Wait for the value, as ``get()``."""
        return self.get().__await__()

    async def wait(
        self, timeout: float | None = -1, return_when: str | None = None
    ) -> Any:
        """Wait at most ``timeout`` seconds; None or negative is forever.

        Returns whether all is done; with ``return_when`` (a constant of
        ``concurrent.futures``), the sets of done and pending parts.
        """
        reached = await self._run(self._wait(timeout, return_when), until_of(timeout))
        if return_when is None:
            return reached
        parts = self.split()
        done = {part for part in parts if part.done()}
        return done, set(parts) - done

    @overload
    async def get(
        self,
        timeout: float | None = None,
        return_exceptions: Literal[False] | None = None,
        return_when: str | None = None,
    ) -> V_co: ...
    @overload
    async def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any: ...
    async def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any:
        """Return the value, waiting for it at most ``timeout`` seconds.

        None or negative is forever, as in IPython.parallel. Raises the task's
        ``RemoteError`` or ``TaskAborted``, ``CompositeError`` for several, or the
        builtin ``TimeoutError``. With ``return_exceptions``, the exceptions are part of
        the value. ``return_when=FIRST_EXCEPTION`` raises as soon as one part has
        failed.
        """
        until = until_of(timeout)
        here, value = self._here(return_exceptions, return_when)
        if here:
            return value
        flow = self._get(timeout, return_exceptions, return_when)
        return await self._run(flow, until)

    async def result(self, timeout: float | None = None) -> V_co:
        """Return the value, as ``get``; but a negative timeout is 0."""
        return await self.get(span_of(timeout))

    async def exception(self, timeout: float | None = None) -> Exception | None:
        """Return what ``get`` would raise, or None; a negative timeout is 0."""
        limit = span_of(timeout)
        until = until_of(limit)
        return await self._run(self._exception(limit), until)  # type: ignore[no-any-return]

    async def ready(self) -> bool:
        """Have all tasks ended? Asks the hub."""
        return await self._run(self._ready())  # type: ignore[no-any-return]

    async def successful(self) -> bool:
        """Did all tasks succeed? Raises ``RuntimeError`` while some have not ended."""
        return await self._run(self._successful())  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[AsyncResult[V_co]], Any]) -> None:
        """Call ``callback(self)`` in the event loop when all has ended.

        Raises ``TypeError`` if it is not callable, and ``ConfigurationError`` outside
        of the client's event loop.
        """
        self._check_callback(callback)
        self._client._call_back(self, callback)

    @overload
    async def why(self: AsyncResult[Never]) -> Any: ...
    @overload
    async def why(self) -> Why: ...
    async def why(self) -> Any:
        """Return why the task is where it is: a ``Why``; for several, a list."""
        return await self._run(self._why())

    # -- stopping

    async def abort(self, *, running: bool = False, dependents: bool = False) -> None:
        """Abort what no engine has begun; if asked, also running tasks or dependents.

        As ``Client.abort``. Raises ``RuntimeError`` when all is done.
        """
        await self._run(self._abort(running=running, dependents=dependents))

    async def cancel(self) -> bool:
        """Abort if nothing has begun; return whether everything is aborted."""
        return await self._run(self._cancel())  # type: ignore[no-any-return]

    # -- metadata

    # Where the type of the value is not known, as of ids, there may be one or several:
    # then both match, and nothing is known here either.
    @overload
    async def metadata(self: AsyncResult[Never]) -> Any: ...
    @overload
    async def metadata(self) -> Metadata: ...
    async def metadata(self) -> Any:
        """Return one ``Metadata``, or a list of them; also while tasks are pending."""
        return await self._run(self._about(None))

    async def progress(self) -> int:
        """Return the number of items that have ended."""
        return await self._run(self._progress())  # type: ignore[no-any-return]

    async def serial_time(self) -> float:
        """Return the total run time in seconds. ``TimeoutError`` before the end."""
        return await self._run(self._serial_time())  # type: ignore[no-any-return]

    async def wall_time(self) -> float:
        """Return the seconds from submission until the last result arrived."""
        return await self._run(self._wall_time())  # type: ignore[no-any-return]

    async def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return {engine_id: value}.

        Raises ``ValueError`` if two tasks ran on the same engine.
        """
        until = until_of(timeout)
        return await self._run(self._get_dict(timeout), until)  # type: ignore[no-any-return]

    async def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        widget: Any = None,  # noqa: ARG002 - as in IPython.parallel
        return_when: str = ALL_COMPLETED,
    ) -> None:
        """Wait with a progress bar, at most ``timeout`` seconds."""
        ready = self._predicate(return_when)
        limit, pause = limit_of(timeout), interval_of(interval)
        deadline = None if limit is None else time.monotonic() + limit
        with progress_bar(self._name, len(self)) as show:
            while True:
                left = pause
                if deadline is not None:
                    left = min(left, deadline - time.monotonic())
                await self._run(self._until(ready, max(0.001, left), sure=False))
                show(self._arrived_items())
                if ready():
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    return

    def stream_output(self) -> OutputStream:
        """Return the output and progress of the tasks while they run.

        An asynchronous iterator of ``Output`` that ends when the tasks have. As a
        context manager (``async with``) it prints them meanwhile.
        """
        return OutputStream(self)

    # -- parts

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result per task; each part of a map is a list of its items."""
        return self._split()

    @classmethod
    def join(cls, *results: AsyncResult) -> AsyncResult:
        """Return one result of the tasks of several: the inverse of ``split``."""
        return joined(results)  # type: ignore[no-any-return]

    def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the values in order as they arrive."""
        if self._single:
            raise TypeError("This AsyncResult is a single result, not iterable.")
        return Items(self, ordered=True)


class Items(Stream[V_co]):
    """The items of a result, each once it has arrived; also after one that failed."""

    def __init__(self, result: AsyncResult[Any], *, ordered: bool) -> None:
        super().__init__()
        self._result = result
        self._ordered = ordered
        #: Positions of the tasks; None: it has not begun.
        self._places: dict[str, int] | None = None
        #: The number of tasks whose items were read, or that are known to have failed.
        self._read = 0

    async def _more(self) -> Iterable[V_co]:
        result = self._result
        if self._places is None:
            at_hand = result._at_hand()
            self._places = result._places()
            if at_hand:
                with contextlib.suppress(*OF_TASKS):
                    # What cannot be read is met one by one.
                    values: Any = await result.get(0)
                    self._read = len(result._tasks.ids)
                    return values  # type: ignore[no-any-return]
        if self._read >= len(result._tasks.ids if self._ordered else self._places):
            raise StopAsyncIteration
        arriving = result._arriving(self._read, self._places, ordered=self._ordered)
        try:
            items: list[V_co] = await result._run(arriving)
        except OF_TASKS:
            self._read += 1
            raise
        self._read += 1
        return items


class Completed(Stream[R]):
    """Results, each once it is done; made by ``as_completed``."""

    def __init__(self, found: Completions[R], limit: float | None) -> None:
        super().__init__()
        self._found = found
        self._limit = limit
        self._deadline: float | None = None
        # Results know who waits for them: one who no longer does must not be kept.
        weakref.finalize(self, found.close).atexit = False

    async def _more(self) -> Iterable[R]:
        found = self._found
        if self._deadline is None and self._limit is not None:
            self._deadline = time.monotonic() + self._limit
        while not found.ready:
            if not len(found):
                raise StopAsyncIteration
            for client, left in found.turns(self._deadline):
                # The next turn raises TimeoutError when the time is up.
                with contextlib.suppress(StillAway):
                    await client._run(found.wait(client, left), self._deadline)
        return (found.ready.popleft(),)


@overload
def as_completed(
    results: AsyncMapResult[V_co], timeout: float | None = None
) -> AsyncIterator[AsyncResult[list[V_co]]]: ...
@overload
def as_completed(
    results: AsyncResult[Any], timeout: float | None = None
) -> AsyncIterator[AsyncResult[Any]]: ...
@overload
def as_completed(
    results: Iterable[AsyncResult[V_co]], timeout: float | None = None
) -> AsyncIterator[AsyncResult[V_co]]: ...
def as_completed(
    results: Iterable[AsyncResult[Any]] | AsyncResult[Any], timeout: float | None = None
) -> AsyncIterator[AsyncResult[Any]]:
    """Yield results as they are done, each once: ``async for``.

    Given one result of several tasks, it yields its parts. Raises ``TimeoutError``
    if not all are done ``timeout`` seconds after the first ``anext()``, negative is 0;
    and ``TypeError`` for what is no result, or one of the blocking client.
    """
    return Completed(Completions(of_face(results, "redtask.aio")), span_of(timeout))


class AsyncMapResult(AsyncResult[list[V_co]]):
    """The result of a map: a list, iterable as results arrive.

    ``ordered=False`` yields in the order of arrival while tasks are running; the
    value of ``get()`` is always in the order of the input.
    """

    def __init__(self, *args: Any, ordered: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ordered = ordered

    if TYPE_CHECKING:
        # Of several tasks.
        async def why(self) -> Whys: ...  # type: ignore[override]
        async def metadata(self) -> list[Metadata]: ...  # type: ignore[override]

    def __aiter__(self) -> AsyncIterator[V_co]:
        """Yield results as they arrive."""
        return Items(self, ordered=self._ordered)


class AsyncHubResult(AsyncResult[V_co]):
    """The result of tasks that any client submitted, by their ids.

    Each chunk of a map is a list in its value.
    """


class OutputStream:
    """Output of running tasks; made by ``AsyncResult.stream_output``."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._listener = Listener(result._session, result._tasks.ids)
        self._ready: deque[Output] = deque()
        self._printer: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[Output]:
        """Yield output until all tasks have ended."""
        return self

    async def __anext__(self) -> Output:
        """Wait for the next output."""
        while not self._ready:
            if self._listener.done:
                raise StopAsyncIteration
            self._ready += await self._result._run(self._listener.hear())
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        """Start to print output."""
        # Who only prints does not wait.
        self._listener.wanted = flows.nobody
        loop = asyncio.get_running_loop()
        self._printer = loop.create_task(self._print(), name="redtask output")
        return self

    async def _print(self) -> None:
        try:
            async for said in self:
                show_output(said)
        except RedtaskError as problem:
            _log.warning("what tasks print cannot be heard: %s", problem)

    async def __aexit__(self, *_: object) -> None:
        """Stop; if all tasks have ended, only after everything is printed."""
        if self._printer is None:
            return
        if not self._result._tasks.done:
            self._printer.cancel()
        await asyncio.wait([self._printer])


class Callbacks:
    """Tasks of the event loop that listen for results that have callbacks."""

    def __init__(self) -> None:
        self._listening: set[asyncio.Task[None]] = set()
        self._closed = False

    def add(self, result: AsyncResult, callback: Callable[[AsyncResult], Any]) -> None:
        """Call the callback when the result is done; at once if it already is."""
        if result.done():
            call_back(result, callback)
            return
        loop, tasks, done = asyncio.get_running_loop(), result._tasks, asyncio.Event()

        def note() -> None:
            if tasks.done and not done.is_set():
                done.set()
                loop.call_soon(call_back, result, callback)

        def forget(listening: asyncio.Task[None]) -> None:
            self._listening.discard(listening)
            tasks.wakers.remove(note)

        # Who else waits for the result may hear of it first.
        tasks.wakers.append(note)
        listening = loop.create_task(
            self._listen(result, done), name="redtask callback"
        )
        self._listening.add(listening)
        listening.add_done_callback(forget)

    async def _listen(self, result: AsyncResult, done: asyncio.Event) -> None:
        while not result.done() and not self._closed:
            try:
                await result._run(result._listen())
            except RedtaskError as problem:
                # Those who await it see the problem. Here we wait until it is over.
                _log.debug("a callback waits: %s", problem)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        await done.wait()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        for listening in list(self._listening):
            listening.cancel()
