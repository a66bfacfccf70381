"""``view.executor``: tasks for whoever knows ``concurrent.futures``."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from redtask.result import AsyncResult


class TaskFuture(concurrent.futures.Future[Any]):
    """The future of one task.

    What an ``AsyncResult`` has besides (``msg_ids``, ``metadata``, ``get`` ...) it has
    as well. ``cancel`` aborts the task if it has not begun.
    """

    def __init__(self, task: AsyncResult) -> None:
        super().__init__()
        #: The result of the task.
        self.task = task
        self._settling = threading.Lock()
        task.add_done_callback(self._settle)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "task":
            raise AttributeError(name)
        return getattr(self.task, name)

    def cancel(self) -> bool:
        """Abort the task if nobody has begun it; return whether it is aborted."""
        if self.done():
            return self.cancelled()
        aborted = self.task.cancel()
        if aborted:
            self._settle(self.task)
        return aborted

    def settle(self) -> None:
        """Be done, with what can be found out now."""
        self._settle(self.task)

    def _settle(self, task: AsyncResult) -> None:
        """Take over what became of the task. The second time is once too often."""
        if not self._settling.acquire(blocking=False):
            return
        if task.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        self.set_running_or_notify_cancel()
        try:
            problem: BaseException | None = task.exception(0)
            value = task.get(0) if problem is None else None
        except Exception as trouble:  # noqa: BLE001 - whoever waits is to hear of it
            problem, value = trouble, None
        if problem is None:
            self.set_result(value)
        else:
            self.set_exception(problem)


class ViewExecutor(concurrent.futures.Executor):
    """Runs calls as tasks of a view."""

    def __init__(self, view: Any) -> None:
        #: The view; its flags hold at the moment of each call.
        self.view = view
        self._pending: set[TaskFuture] = set()
        self._lock = threading.Lock()
        self._closed = False
        view.client._executors.add(self)

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> TaskFuture:
        """Call ``fn(*args, **kwargs)`` on an engine."""
        self._check()
        future = TaskFuture(self.view.apply_async(fn, *args, **kwargs))
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._forget)
        return future

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def give_up(self) -> None:
        """Let the futures hear that the client is closed."""
        with self._lock:
            pending = list(self._pending)
        for future in pending:
            future.settle()

    def _forget(self, future: Any) -> None:
        with self._lock:
            self._pending.discard(future)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Call ``fn`` for each item and return an iterator over the values, in order.

        ``chunksize`` items share a task. Raises ``TimeoutError`` from the iterator
        when the next value is not there ``timeout`` seconds after this call.
        """
        self._check()
        result = self.view.map_async(fn, *iterables, chunksize=chunksize)
        deadline = None if timeout is None else time.monotonic() + timeout
        return _values(result, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those under way. Engines go on.

        With ``cancel_futures`` what has not begun is aborted.
        """
        self._closed = True
        with self._lock:
            pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)


def _values(result: Any, deadline: float | None) -> Iterator[Any]:
    for part in result.split():
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        yield from part.get(left)
