"""A backend of joblib whose workers are engines. Only who has joblib imports this."""

from __future__ import annotations

import concurrent.futures
import contextlib
from typing import TYPE_CHECKING, Any

import joblib
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from redtask.error import RedtaskError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.view import LoadBalancedView

Future = concurrent.futures.Future[Any]


def register(
    name: str, views: Callable[[], LoadBalancedView], *, make_default: bool
) -> None:
    """Let joblib find engines by a name; each ``Parallel`` asks for its view."""

    def make(**options: Any) -> Backend:
        return Backend(views(), **options)

    joblib.register_parallel_backend(name, make, make_default=make_default)


def batch(calls: Callable[[], list[Any]]) -> list[Any]:
    """Call what joblib has put together; runs on an engine, which imports it."""
    return calls()


class Backend(AutoBatchingMixin, ParallelBackendBase):
    """Runs batches of joblib's calls as tasks of a view.

    Calls of joblib inside of a task run in threads of its engine, or one by one.
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, view: LoadBalancedView, **options: Any) -> None:
        super().__init__(**options)
        self.view = view
        self._executor = view.executor
        #: What is under way: threads add and discard, and both are atomic.
        self._open: set[Future] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls are to run at the same time, given what was asked."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        engines = len(self.view)
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        wanted = engines + 1 + n_jobs if n_jobs < 0 else min(n_jobs, engines)
        # Engines may still come.
        return max(1, wanted)

    def submit(
        self,
        func: Callable[[], list[Any]],
        callback: Callable[[Future], Any] | None = None,
    ) -> Future:
        """Send a batch; ``callback`` is called when it is done."""
        future = self._sent(func)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    #: Its name before joblib 1.5.
    apply_async = submit

    def _sent(self, func: Callable[[], list[Any]]) -> Future:
        try:
            return self._executor.submit(batch, func)
        except Exception as problem:  # noqa: BLE001 - told to whoever waits
            # In the thread of a callback nobody would hear of it, and joblib would
            # wait for ever.
            failed = Future()
            failed.set_exception(problem)
            return failed

    def retrieve_result_callback(self, out: Future) -> list[Any]:
        """Return the values of a batch, or raise what a call raised."""
        try:
            return out.result()  # type: ignore[no-any-return]
        except RemoteError as problem:
            raise _original(problem)  # noqa: B904 - it knows where it is from

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002 - as there
        """Abort what is under way, also what runs."""
        ids = [name for one in list(self._open) for name in _ids(one)]
        # Who leaves has a reason, which is not to be replaced by another.
        with contextlib.suppress(RedtaskError):
            self.view.abort(ids, running=True)

    def terminate(self) -> None:
        """Forget how long batches take: the next calls are others."""
        self.reset_batch_stats()


def _ids(future: Future) -> list[str]:
    return getattr(future, "msg_ids", [])


def _original(problem: RemoteError) -> BaseException:
    """Return what a call raised, as joblib raises it: the remote traceback above it."""
    raised = problem.__cause__
    if raised is None:
        return problem
    # Each is shown once, and without frames of redtask's.
    problem.__cause__ = None
    raised.__cause__ = problem.with_traceback(None)
    return raised


__all__ = ["Backend", "batch", "register"]
