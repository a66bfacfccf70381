"""``view.executor``: tasks with the interface of ``concurrent.futures``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from redtask import link
from redtask.error import ConnectionLost, RedtaskError
from redtask.metadata import Fields
from redtask.outcomes import INSIDE, Results
from redtask.timeouts import span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from redtask.client import Client
    from redtask.hub.why import Why
    from redtask.metadata import Metadata
    from redtask.result import AsyncResult, OutputStream
    from redtask.value import CoroutineFunction

T = TypeVar("T")
_log = logging.getLogger("redtask")

#: When so many futures of an executor are open, a thread waits for them. So those that
#: nobody asks for do not pile up.
_MANY: Final = 500
#: How long the thread may take to fetch one large value, in seconds, before it turns to
#: others and tries again.
_FETCH: Final = 10.0
#: How the standard library calls the states in which a future stays.
_FINAL: Final = ("CANCELLED_AND_NOTIFIED", "FINISHED")


class TaskFuture(concurrent.futures.Future[T], Fields):
    """The future of one task.

    It also has what an ``AsyncResult`` has (``msg_ids``, ``metadata``, ``get`` ...).
    ``cancel`` aborts the task if it has not begun.

    A thread waits for the task only once that is of use: to hear of each by itself
    takes longer than to submit it.
    """

    def __init__(
        self,
        task: AsyncResult[T],
        ended: Callable[[TaskFuture[T]], None] | None = None,
    ) -> None:
        """``ended`` is called when it is done."""
        self.task = task
        #: Why it never ends, in a test; None: it may.
        self.vain: Exception | None = None
        self._ended = ended
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self._settling = threading.Lock()
        #: Until when those wait for it who surely do, ``time.monotonic()``. Threads add
        #: and remove: both are atomic.
        self._patient: dict[object, float] = {}
        #: Does a thread wait for the task, or is it settled?
        self._watched = self._state in _FINAL and self._settling.acquire()

    def renew(self) -> None:
        """Begin anew after a fork: threads stayed behind, perhaps with our locks."""
        self._known_condition = threading.Condition()
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._begin()

    @property
    def _condition(self) -> threading.Condition:
        """What the base class, ``wait`` and ``as_completed`` ask and wait with."""
        self.watch()
        return self._known_condition

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        self._known_condition = condition

    def watch(self) -> None:
        """Let a thread wait for the task."""
        if not self._watched and not (self.task._tasks.done and self.settle()):
            self._wait_in_thread(self.task)
            self._watched = True

    def _wait_in_thread(self, task: AsyncResult[T]) -> None:
        task._client._callbacks.later(task, self._hear, self)

    def _hear(self, task: AsyncResult[T]) -> None:
        """The task is done: take over its outcome, or try again later."""
        if self.vain is not None:
            self._give_up(self.vain)
        elif not self.settle(_FETCH):
            self._wait_in_thread(task)

    def running(self) -> bool:
        """Does an engine run the task just now? Asks the hub, unless Redis is away."""
        return self.task.running()

    def result(self, timeout: float | None = None) -> T:
        """Return the value, or raise what the task raised; a negative timeout is 0."""
        left = self._after_waiting(span_of(timeout))
        with self._waiting(left):
            return super().result(left)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None; a negative timeout is 0."""
        left = self._after_waiting(span_of(timeout))
        with self._waiting(left):
            return super().exception(left)

    def add_done_callback(
        self, fn: Callable[[concurrent.futures.Future[T]], object]
    ) -> None:
        """Call ``fn(self)`` when it is done; at once if it is."""
        if getattr(fn, "__module__", "") == asyncio.futures.__name__:
            # A coroutine awaits it.
            self._patient[fn] = math.inf
        super().add_done_callback(fn)

    @property
    def patience(self) -> float:
        """For how long somebody surely waits for it, in seconds; 0: nobody does."""
        if self._waiters:
            # ``wait`` and ``as_completed`` do not tell for how long.
            return math.inf
        until = max(list(self._patient.values()), default=0.0)
        return max(0.0, until - time.monotonic())

    @contextlib.contextmanager
    def _waiting(self, timeout: float | None) -> Iterator[None]:
        """Meanwhile this thread waits until it is done."""
        me = object()
        self._patient[me] = math.inf if timeout is None else time.monotonic() + timeout
        try:
            yield
        finally:
            # A fork may have happened meanwhile.
            self._patient.pop(me, None)

    def _after_waiting(self, timeout: float | None) -> float | None:
        """Wait in this thread, if no other does; return what is left of the timeout."""
        if self._watched:
            return timeout
        begun = time.monotonic()
        # If Redis stays away, the other thread waits on.
        with contextlib.suppress(RedtaskError):
            self.task.wait(timeout)
        if self.task._tasks.done:
            self.settle(_left(timeout, begun))
        return _left(timeout, begun)

    if TYPE_CHECKING:
        metadata: Metadata
        msg_ids: list[str]
        r: T
        result_dict: dict[int, T]
        sent: bool
        progress: int
        elapsed: float
        serial_time: float
        wall_time: float

        @overload
        def get(
            self,
            timeout: float | None = None,
            return_exceptions: Literal[False] | None = None,
            return_when: str | None = None,
        ) -> T: ...
        @overload
        def get(
            self,
            timeout: float | None = None,
            return_exceptions: bool | None = None,
            return_when: str | None = None,
        ) -> Any: ...
        def get(self, *args: Any, **kwargs: Any) -> Any: ...
        def get_dict(self, timeout: float | None = -1) -> dict[int, T]: ...
        def wait(
            self, timeout: float | None = -1, return_when: str | None = None
        ) -> Any: ...
        def wait_for_send(self, timeout: float | None = -1) -> bool: ...
        def wait_for_output(self, timeout: float | None = -1) -> bool: ...
        def wait_interactive(
            self,
            interval: float = 0.1,
            timeout: float | None = -1,
            widget: Any = None,
            return_when: str = concurrent.futures.ALL_COMPLETED,
        ) -> None: ...
        def ready(self) -> bool: ...
        def successful(self) -> bool: ...
        def why(self) -> Why: ...
        def abort(self, *, running: bool = False, dependents: bool = False) -> None: ...
        def stream_output(self) -> OutputStream: ...
        def display_outputs(
            self, groupby: str = "type", result_only: bool = False
        ) -> None: ...
        def split(self) -> tuple[AsyncResult[T], ...]: ...
        @staticmethod
        def join(*results: AsyncResult | TaskFuture[Any]) -> AsyncResult: ...

        timedelta = staticmethod(Results.timedelta)
    else:

        def __getattr__(self, name: str) -> Any:
            if (name.startswith("_") and name not in INSIDE) or name == "task":
                raise AttributeError(name)
            return getattr(self.task, name)

    def cancel(self) -> bool:
        """Abort the task unless it has begun; return whether it is aborted.

        It is not if Redis cannot be reached within some seconds. When the waiting of
        asyncio is cancelled, as for ``wrap_future`` and ``run_in_executor``, another
        thread does it.
        """
        if self.done():
            return self.cancelled()
        if _is_called_by_loop():
            # The loop must go on, and has no use for the answer.
            self.task._client._aborts.add(self.task)
            return False
        try:
            return self.abort_now()
        except ConnectionLost:
            return False

    def abort_now(self) -> bool:
        """Abort like ``cancel``, in this thread. Raises ``ConnectionLost``."""
        flow = self.task._cancel()
        aborted: bool = self.task._run(flow, time.monotonic() + link.PARTING)
        if aborted:
            self.settle()
        return aborted

    def settle(self, timeout: float | None = 0) -> bool:
        """Take over the task's outcome, once; return whether that is done.

        It may have to be fetched, in at most ``timeout`` seconds.
        """
        # Before anything changes, as this may take time: after a Ctrl-C it is the next
        # to ask who does it.
        task = self.task
        try:
            problem, value = self._outcome(timeout)
        except (ConnectionLost, TimeoutError):
            return False
        if not self._settling.acquire(blocking=False):
            return True
        self._watched = True
        if task.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif problem is None:
            self.set_result(value)
        else:
            self.set_exception(problem)
        if self._ended is not None:
            self._ended(self)
        return True

    def _give_up(self, problem: Exception) -> None:
        """Tell those who wait that it never ends."""
        if self._settling.acquire(blocking=False):
            self.set_exception(problem)
            if self._ended is not None:
                self._ended(self)

    def _outcome(self, timeout: float | None) -> tuple[BaseException | None, Any]:
        return _outcome_of(self.task, timeout)


def _is_called_by_loop() -> bool:
    """Is this a callback of an event loop, and not part of a coroutine?"""
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return False


class AbortThread:
    """Aborts tasks for those who cannot wait for it; one thread per client, on demand.

    That of the callbacks would have to finish reading the stream first.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._begin()

    def _begin(self) -> None:
        # Re-entrant: a signal handler may cancel, too.
        self._lock = threading.RLock()
        self._tasks: list[AsyncResult[Any]] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, task: AsyncResult[Any]) -> None:
        """Have a task aborted soon, unless it has begun by then."""
        if os.getpid() != self._pid:
            # The thread stayed behind in the fork.
            self._begin()
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                thread = threading.Thread(
                    target=self._loop, name="redtask aborts", daemon=True
                )
                thread.start()
                self._thread = thread

    def _take(self) -> list[AsyncResult[Any]]:
        with self._lock:
            taken, self._tasks = self._tasks, []
            if not taken:
                self._thread = None
        return taken

    def _loop(self) -> None:
        while taken := self._take():
            ids = [name for task in taken for name in task._tasks.open_ids()]
            try:
                self._client._run(self._client._session.abort(ids))
            except Exception as problem:  # noqa: BLE001 - the next ones need the thread
                _log.warning("what was cancelled is not aborted: %s", problem)


def _left(timeout: float | None, begun: float) -> float | None:
    """Return what is left of a timeout."""
    if timeout is None:
        return None
    return max(0.0, timeout - (time.monotonic() - begun))


def _outcome_of(
    task: AsyncResult[Any], timeout: float | None
) -> tuple[BaseException | None, Any]:
    """Return why there is no value, or None and the value; if cancelled, neither.

    Raises ``ConnectionLost`` and ``TimeoutError`` if it cannot be fetched now.
    """
    if task.cancelled():
        return None, None
    try:
        problem = task.exception(timeout)
        return problem, task.get(timeout) if problem is None else None
    except (ConnectionLost, TimeoutError) as trouble:
        # Once the client is closed, nobody will try again.
        if not task._client.closed:
            raise
        return trouble, None
    except Exception as trouble:  # noqa: BLE001 - passed to whoever waits
        return trouble, None


class _MapFuture(TaskFuture[Any]):
    """Is done when all tasks of a map have ended: for ``shutdown``, it has no value."""

    def forget_at_end(self) -> None:
        """Let the executor forget it as soon as the end is known, without a thread."""
        self.task._tasks.wakers.append(self._note)
        self._note()

    def _note(self) -> None:
        # No lock is taken: whoever reads the stream calls this.
        if self.task._tasks.done and self._ended is not None:
            self._ended(self)
            with contextlib.suppress(ValueError):
                self.task._tasks.wakers.remove(self._note)

    def _outcome(self, timeout: float | None) -> tuple[BaseException | None, Any]:  # noqa: ARG002 - nothing is fetched
        return None, None


class ViewExecutor(concurrent.futures.Executor):
    """Runs calls as tasks of a view."""

    def __init__(self, view: Any) -> None:
        #: The view; its flags at the time of each call apply.
        self.view = view
        #: Threads add and discard: both are atomic, and no lock is left in a fork.
        self._pending: set[TaskFuture[Any]] = set()
        self._closed = False
        view.client._executors.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.view!r}>"

    @overload
    def submit(
        self, fn: CoroutineFunction[T], /, *args: Any, **kwargs: Any
    ) -> TaskFuture[T]: ...
    @overload
    def submit(
        self, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> TaskFuture[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]: ...
    def submit(
        self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> TaskFuture[Any]:
        """Call ``fn(*args, **kwargs)`` on an engine."""
        self._check()
        future = TaskFuture(self.view.apply_async(fn, *args, **kwargs), self._forget)
        self._add(future)
        return future

    def _add(self, future: TaskFuture[Any]) -> None:
        self._pending.add(future)
        if len(self._pending) % _MANY == 0:
            for one in list(self._pending):
                one.watch()

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def renew(self) -> None:
        """Begin anew after a fork."""
        for future in list(self._pending):
            future.renew()

    def give_up(self) -> None:
        """Finish the futures, because the client is closed."""
        for future in list(self._pending):
            future.settle()

    def _forget(self, future: TaskFuture[Any]) -> None:
        self._pending.discard(future)

    @overload
    def map(
        self,
        fn: CoroutineFunction[T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: str,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]: ...
    def map(
        self,
        fn: Callable[..., Any] | str,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Call ``fn`` for each item and return an iterator over the values, in order.

        ``chunksize`` items share a task. Raises ``TimeoutError`` from the iterator if
        the next value has not arrived ``timeout`` seconds after this call: at once if
        that is negative. When the iterator is closed, or raises, before its end, calls
        that have not begun are aborted.
        """
        self._check()
        limit = span_of(timeout)
        result = self.view.map_async(fn, *iterables, chunksize=chunksize)
        deadline = None if limit is None else time.monotonic() + limit
        future = _MapFuture(result, self._forget)
        self._add(future)
        future.forget_at_end()
        return _values(result, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; wait for those in flight. Engines go on.

        What was added to their futures with ``add_done_callback`` has returned, too.
        With ``cancel_futures``, calls that have not begun are aborted.
        """
        self._closed = True
        pending = list(self._pending)
        if cancel_futures:
            # The others would wait in vain, too.
            with contextlib.suppress(ConnectionLost):
                for future in pending:
                    future.abort_now()
        if wait:
            concurrent.futures.wait(pending)
            for future in pending:
                if future.vain is not None:
                    raise future.vain
            # Waiters are told of a future before its callbacks are called.
            self.view.client._callbacks.finish()


def _values(result: AsyncResult[Any], deadline: float | None) -> Iterator[Any]:
    owner = os.getpid()
    try:
        for part in result.split():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            yield from part.get(left)
    finally:
        # A forked child has, and leaves, a copy of it.
        if not result._tasks.done and os.getpid() == owner:
            _give_up(result)


def _give_up(result: AsyncResult[Any]) -> None:
    """Abort what has not begun, if that is possible now."""
    # Who leaves has a reason, which is not to be replaced by another; and the program
    # may be ending.
    with contextlib.suppress(Exception):
        flow = result._session.abort(result._tasks.open_ids())
        result._run(flow, time.monotonic() + link.PARTING)
