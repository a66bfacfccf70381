"""``LoadBalancedView``, and functions that are ``remote`` or ``parallel``."""

from __future__ import annotations

import collections
import functools
import importlib
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from redtask import absent, payload
from redtask.batch import Batch
from redtask.collector import seldom_collecting
from redtask.current import current_task
from redtask.durability import MEMORY
from redtask.executor import ViewExecutor
from redtask.flags import Flagged, Flags
from redtask.lazy import LazyMap
from redtask.lookahead import ahead_of
from redtask.outcomes import Pieces
from redtask.positions import ids_at
from redtask.result import AsyncMapResult, AsyncResult
from redtask.targets import is_all
from redtask.wrapped import Wrapped, WrappedParallel, must_be_called

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from types import ModuleType

    from redtask.client import Client
    from redtask.hub.records import Purged
    from redtask.pier import Letter
    from redtask.session import Slices
    from redtask.slices import Task
    from redtask.value import CoroutineFunction, V_co

R = TypeVar("R", bound=AsyncResult)
Function = Callable[..., Any] | str


class View(Flagged):
    """What all views have: flags, a client, and what was submitted."""

    def __init__(self, client: Client, flags: Flags | None = None) -> None:
        super().__init__(flags or Flags())
        self.client = client
        self._history: collections.deque[str] = collections.deque(maxlen=100_000)

    def __bool__(self) -> bool:
        """Return True even without engines."""
        return True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(absent.words(f"{type(self).__name__!r} object", name))

    def _submitted(self, result: R, slices: Slices) -> R:
        self.client._assure(self.flags.durability)
        self.client._submit(slices)
        self._history.extend(result.msg_ids)
        self.client._confirm(self.flags.durability, result.msg_ids)
        return result

    @staticmethod
    def _maybe_wait(result: AsyncResult, wait: bool) -> Any:
        if not wait:
            return result
        try:
            return result.get()
        except KeyboardInterrupt:
            # An interrupt only ends the wait: the task goes on, and this is its result.
            # But one inside of a task is meant for that.
            if current_task().id is not None:
                raise
            return result

    def batch(self) -> Batch:
        """Return a context manager: calls made inside it are sent together."""
        return Batch(self.client)

    # -- decorators

    def remote(
        self, block: bool | None = None, **flags: Any
    ) -> Callable[[Callable[..., Any]], RemoteFunction]:
        """Decorate a function so that calling it is ``apply`` on this view."""
        return remote(self, block=block, **flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, **flags: Any
    ) -> Callable[[Callable[..., Any]], ParallelFunction]:
        """Decorate a function so that ``f.map(...)`` runs on this view."""
        block = self.block if block is None else block
        return parallel(self, dist=dist, block=block, **flags)

    # -- what was submitted

    @property
    def history(self) -> list[str]:
        """Ids that this view submitted, oldest first; the last 100,000."""
        return list(self._history)

    def _open(self) -> list[str]:
        return self.client._session.open_of(self.history)

    @property
    def outstanding(self) -> set[str]:
        """Ids that this view submitted and that have not ended."""
        return self.client._open(self.history)

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids, or (None) all that this view submitted."""
        return self.client.wait(self._open() if jobs is None else jobs, timeout)

    def abort(
        self,
        jobs: Any = None,
        targets: Any = None,
        block: bool | None = None,
        **options: bool,
    ) -> dict[str, str]:
        """Abort tasks, or (None) all that this view submitted, as ``Client.abort``."""
        wanted = self.outstanding if jobs is None else jobs
        return self.client.abort(wanted, targets, block, **options)

    def get_result(
        self,
        indices_or_msg_ids: Any = None,
        block: bool | None = None,
        owner: bool = False,
    ) -> AsyncResult:
        """Return the result of ids, or of positions in this view's history."""
        wanted = ids_at(self.history, indices_or_msg_ids)
        return self.client.get_result(wanted, block, owner)

    def queue_status(
        self, targets: Any = None, verbose: bool = False
    ) -> dict[Any, Any]:
        """Return the load of this view's engines, or others; as ``Client``'s."""
        chosen = self._or_own(targets)
        return self.client.queue_status(chosen, verbose)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Forget ended tasks, as ``Client``'s; ``targets="all"`` means the view's."""
        if is_all(targets):
            targets = self._or_own(None)
        return self.client.purge_results(jobs, targets)

    def shutdown(
        self,
        targets: Any = None,
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """Stop this view's engines, or others, as ``Client``'s."""
        self.client.shutdown(self._or_own(targets), restart, hub, block)

    def _or_own(self, targets: Any) -> Any:
        if targets is not None:
            return targets
        return "all" if self.targets is None else self.targets


class LoadBalancedView(View):
    """Submits tasks that run on whichever engine the hub chooses.

    Made by ``Client.load_balanced_view``. Threads may share it as long as nobody
    sets its flags: ``with_flags`` gives each its own.

    Its flags are attributes, and arguments of ``with_flags``, ``set_flags`` and
    ``temp_flags``: ``block after follow targets queue priority delay eta timeout
    time_limit retries retry_delay retry_backoff retry_jitter retry_on retry_elsewhere
    label result_ttl durability track``. What they mean is in ``docs/tasks.rst``.
    """

    def _checked(self, flags: Mapping[str, Any]) -> Flags:
        """Return this view's flags with some replaced; resolve targets."""
        found = super()._checked(flags)
        if found.targets is not None and found.targets.ids is None:
            targets = found.targets.resolved(self.client.ids)
            found = found.replaced(targets=targets)
        return found

    def __len__(self) -> int:
        """Return how many engines may run the tasks."""
        targets = self.flags.targets
        return len(self.client if targets is None else targets.ids or ())

    def with_flags(self, **flags: Any) -> LoadBalancedView:
        """Return a new view with some flags replaced."""
        return LoadBalancedView(self.client, self._checked(flags))

    # -- one call

    def apply(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on an engine.

        Returns the value when the view blocks, else an ``AsyncResult``.
        """
        return self._maybe_wait(self.apply_async(f, *args, **kwargs), self.block)

    @overload
    def apply_async(
        self, f: CoroutineFunction[V_co], /, *args: Any, **kwargs: Any
    ) -> AsyncResult[V_co]: ...
    @overload
    def apply_async(
        self, f: Callable[..., V_co], /, *args: Any, **kwargs: Any
    ) -> AsyncResult[V_co]: ...
    @overload
    def apply_async(self, f: str, /, *args: Any, **kwargs: Any) -> AsyncResult: ...
    def apply_async(self, f: Function, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f`` on an engine and return an ``AsyncResult`` at once.

        When this returns, the task is in Redis. ``f`` may also be the name of a
        function that only engines can import, ``"package.module:function"``. Raises
        ``TypeError`` if it is not callable or cannot be pickled.
        """
        client, flags = self.client, self.flags
        client._assure(flags.durability)
        tasks, task = client._session.call(flags, f, args, kwargs)
        result = AsyncResult(client, tasks, task.function.name, single=True)
        client._enter(task)
        self._history.append(task.task_id)
        client._confirm(flags.durability, tasks.ids)
        return result

    @overload
    def apply_sync(
        self, f: CoroutineFunction[V_co], /, *args: Any, **kwargs: Any
    ) -> V_co: ...
    @overload
    def apply_sync(
        self, f: Callable[..., V_co], /, *args: Any, **kwargs: Any
    ) -> V_co: ...
    @overload
    def apply_sync(self, f: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def apply_sync(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f`` on an engine and return its value."""
        return self._maybe_wait(self.apply_async(f, *args, **kwargs), wait=True)

    def _apply_to_parts(
        self, f: ParallelFunction, sequences: tuple[Any, ...]
    ) -> AsyncResult:
        chunks = f._chunks(sequences)
        tasks, slices = self.client._session.calls(self.flags, f.func, chunks)
        return self._submitted(f._joined(Joined, self, tasks), slices)

    def _prepare(self, f: Function, args: tuple[Any, ...]) -> tuple[AsyncResult, Task]:
        """Return a call of ``f``, to be posted."""
        tasks, task = self.client._session.call(self.flags, f, args, {})
        result = AsyncResult(self.client, tasks, task.function.name, single=True)
        self._history.append(task.task_id)
        return result, task

    def _post(self, task: Task) -> Letter | None:
        """Submit like ``apply_async``, but do not wait for that unless it is durable.

        Returns what tells when it is submitted; None: it is.
        """
        client, durability = self.client, self.flags.durability
        if durability == MEMORY:
            return client._post(task)
        client._assure(durability)
        client._enter(task)
        client._confirm(durability, [task.task_id])
        return None

    # -- many

    def map(  # noqa: PLR0913 - all by name
        self,
        f: Function,
        *sequences: Any,
        block: bool | None = None,
        chunksize: int | None = 1,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
        progress: Callable[[int], Any] | None = None,
        balanced: bool = True,  # noqa: ARG002 - as in IPython.parallel: it always is
    ) -> Any:
        """Call ``f`` for each item, like the builtin ``map``, on many engines.

        ``chunksize`` items share a task. Returns the list if the view (or ``block``)
        says so, else an ``AsyncMapResult``, which can be iterated as results arrive.
        Stops at the end of the shortest sequence.

        An input without a length, such as a generator, is sent as it is read, so it may
        exceed memory. ``progress(items)`` is called with the number of items sent so
        far; if it or an input raises, what was sent is aborted.
        """
        flags = self.flags if label is None else self.flags.replaced(label=label)
        wait = self.block if block is None else block
        core = self.client._session
        tasks, slices, sizes = core.map(flags, f, sequences, chunksize, progress)
        result = AsyncMapResult(
            self.client,
            tasks,
            payload.name_of(f),
            sizes=sizes,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        return self._maybe_wait(self._submitted(result, slices), wait)

    @overload
    def map_async(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> AsyncMapResult[V_co | Exception]: ...
    @overload
    def map_async(
        self, f: CoroutineFunction[V_co], *sequences: Any, **options: Any
    ) -> AsyncMapResult[V_co]: ...
    @overload
    def map_async(
        self,
        f: Callable[..., V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> AsyncMapResult[V_co | Exception]: ...
    @overload
    def map_async(
        self, f: Callable[..., V_co], *sequences: Any, **options: Any
    ) -> AsyncMapResult[V_co]: ...
    @overload
    def map_async(self, f: str, *sequences: Any, **options: Any) -> AsyncMapResult: ...
    def map_async(self, f: Function, *sequences: Any, **options: Any) -> AsyncMapResult:
        """Map without waiting; as ``map(block=False)``."""
        no_block(options)
        return self.map(f, *sequences, block=False, **options)  # type: ignore[no-any-return]

    @overload
    def map_sync(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> list[V_co | Exception]: ...
    @overload
    def map_sync(
        self, f: CoroutineFunction[V_co], *sequences: Any, **options: Any
    ) -> list[V_co]: ...
    @overload
    def map_sync(
        self,
        f: Callable[..., V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> list[V_co | Exception]: ...
    @overload
    def map_sync(
        self, f: Callable[..., V_co], *sequences: Any, **options: Any
    ) -> list[V_co]: ...
    @overload
    def map_sync(self, f: str, *sequences: Any, **options: Any) -> list[Any]: ...
    def map_sync(self, f: Function, *sequences: Any, **options: Any) -> list[Any]:
        """Map and return the list; as ``map(block=True)``."""
        no_block(options)
        return self.map(f, *sequences, block=True, **options)  # type: ignore[no-any-return]

    @overload
    def imap(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Iterable[Any],
        ordered: bool = ...,
        max_outstanding: int | str = ...,
        return_exceptions: Literal[True],
    ) -> LazyMap[V_co | Exception]: ...
    @overload
    def imap(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Iterable[Any],
        ordered: bool = ...,
        max_outstanding: int | str = ...,
        return_exceptions: bool = ...,
    ) -> LazyMap[V_co]: ...
    @overload
    def imap(
        self,
        f: Callable[..., V_co],
        *sequences: Iterable[Any],
        ordered: bool = ...,
        max_outstanding: int | str = ...,
        return_exceptions: Literal[True],
    ) -> LazyMap[V_co | Exception]: ...
    @overload
    def imap(
        self,
        f: Callable[..., V_co],
        *sequences: Iterable[Any],
        ordered: bool = ...,
        max_outstanding: int | str = ...,
        return_exceptions: bool = ...,
    ) -> LazyMap[V_co]: ...
    @overload
    def imap(
        self,
        f: str,
        *sequences: Iterable[Any],
        ordered: bool = ...,
        max_outstanding: int | str = ...,
        return_exceptions: bool = ...,
    ) -> LazyMap[Any]: ...
    def imap(
        self,
        f: Function,
        *sequences: Iterable[Any],
        ordered: bool = True,
        max_outstanding: int | str = "auto",
        return_exceptions: bool = False,
    ) -> LazyMap:
        """Map lazily: the inputs may be endless, and are read as results are.

        At most ``max_outstanding`` tasks are submitted ahead (0: no limit; "auto":
        twice the number of engines). Later changes of the flags have no effect.
        """
        ahead = ahead_of(sequences, max_outstanding)
        # What cannot be called is told at once, not when the first result is read.
        payload.pack_function(f)
        if ahead is None:
            ahead = max(2, 2 * len(self))
        view = self.with_flags(block=False)
        view._history = self._history
        return LazyMap(
            view,
            f,
            zip(*sequences, strict=False),
            ahead,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )

    # -- graphs

    def submit_graph(self, graph: Any, jobs: Any) -> dict[Hashable, AsyncResult]:
        """Submit a task for each node of a graph, each after its predecessors.

        :param graph: a ``DiGraph`` of networkx, or a mapping of each node to its
            predecessors: an iterable of nodes, or a ``Dependency`` to wait for
            something other than the success of all.
        :param jobs: what each node calls: a mapping of nodes to functions, ``(function,
            args)`` or ``(function, args, kwargs)``; or one function for all nodes.

        ``Ref(node)`` among the arguments stands for the result of a predecessor.
        Returns {node: AsyncResult} in the order of submission. All tasks enter or
        none. Nodes without predecessors wait for the view's ``after``; the other flags
        apply to all.

        Raises ``ValueError`` naming a cycle, an unknown predecessor, a node without
        a job, or a ``Ref`` to something other than a predecessor; ``TypeError`` for an
        invalid graph or job, or one that cannot be pickled.
        """
        made = functools.partial(AsyncResult, self.client, single=True)
        session = self.client._session
        with seldom_collecting(operator.length_hint(graph)):
            names, results, pieces = session.graph(self.flags, graph, jobs, made)
            self.client._assure(self.flags.durability)
            self.client._submit(pieces)
        ids = list(names.values())
        self._history.extend(ids)
        self.client._confirm(self.flags.durability, ids)
        return results

    @property
    def executor(self) -> ViewExecutor:
        """A ``concurrent.futures.Executor`` whose calls are tasks of this view."""
        return ViewExecutor(self)

    def register_joblib_backend(
        self, name: str = "redtask", make_default: bool = False
    ) -> None:
        """Let joblib run its calls as tasks of this view.

        As ``redtask.register_joblib_backend``.
        """
        joblib_backend().register(name, lambda: self, make_default=make_default)


def joblib_backend() -> ModuleType:
    """Import the module that needs joblib. Raises ``ModuleNotFoundError``."""
    try:
        return importlib.import_module("redtask.backend")
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            f"{problem}: pip install joblib, here and where engines run",
            name=problem.name,
        ) from None


def no_block(options: dict[str, Any]) -> None:
    """Raise ``TypeError`` for an option that the name of a method contradicts."""
    if "block" in options:
        raise TypeError("map_async and map_sync do not take a block argument")


class RemoteFunction(Wrapped):
    """A function that runs on an engine when it is called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function on the view."""
        view = self._bound()
        try:
            return view.apply(self.func, *args, **kwargs)
        finally:
            self._record(view)


class ParallelFunction(WrappedParallel):
    """A function whose ``map`` runs on engines.

    Called directly, it is given sub-sequences of ``chunksize`` items (default: 1), as
    in IPython.parallel; lists and arrays of NumPy that come back are joined.
    """

    def map(self, *sequences: Any) -> Any:
        """Call the function for each item, as ``view.map``."""
        view = self._bound()
        try:
            return view.map(self.func, *sequences, **self._options())
        finally:
            self._record(view)

    def __call__(self, *sequences: Any) -> Any:
        """Call the function once per sub-sequence and join what comes back."""
        view = self._bound()
        result = view._apply_to_parts(self, sequences)
        self._record(view)
        return view._maybe_wait(result, view.block)


class Joined(Pieces, AsyncResult):
    """The result of a parallel function."""


def remote(
    view: View, block: bool | None = None, **flags: Any
) -> Callable[[Callable[..., Any]], RemoteFunction]:
    """Decorate a function so that calling it is ``view.apply``."""
    must_be_called("remote", view, block)
    return lambda f: RemoteFunction(view, f, block, **flags)


def parallel(
    view: View,
    dist: str = "b",
    block: bool | None = None,
    ordered: bool = True,
    **options: Any,
) -> Callable[[Callable[..., Any]], ParallelFunction]:
    """Decorate a function so that ``f.map(...)`` runs on the view."""
    must_be_called("parallel", view, dist)
    return lambda f: ParallelFunction(
        view, f, dist=dist, block=block, ordered=ordered, **options
    )
