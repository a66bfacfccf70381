"""``LoadBalancedView``, and ``remote`` or ``parallel`` functions, awaitable."""

from __future__ import annotations

import collections
import contextlib
import functools
import operator
import types
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from redtask import absent, payload
from redtask.aio.batch import Batch
from redtask.aio.lazy import LazyMap
from redtask.aio.result import AsyncMapResult, AsyncResult
from redtask.collector import seldom_collecting
from redtask.durability import MEMORY
from redtask.flags import Flagged, Flags
from redtask.lookahead import ahead_of
from redtask.outcomes import Pieces
from redtask.positions import ids_at
from redtask.wrapped import Wrapped, WrappedParallel, must_be_called

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from typing import Unpack

    from redtask.aio.client import Client
    from redtask.aio.pier import Letter
    from redtask.hub.records import Purged
    from redtask.session import Slices
    from redtask.slices import Task
    from redtask.value import CoroutineFunction, V_co

R = TypeVar("R", bound=AsyncResult)

#: Views inside ``temp_flags``, and their flags: in a coroutine and those it starts.
_temporary: ContextVar[Mapping[View, Flags]] = ContextVar(
    "flags", default=types.MappingProxyType({})
)


class _MapOptions(TypedDict, total=False):
    """Options of a map that do not concern the type of its result."""

    chunksize: int | None
    ordered: bool
    label: str | None
    progress: Callable[[int], Any] | None
    balanced: bool


class View(Flagged):
    """What all views have: flags, a client, and what was submitted."""

    def __init__(self, client: Client, flags: Flags | None = None) -> None:
        super().__init__(flags or Flags())
        self.client = client
        self._history: collections.deque[str] = collections.deque(maxlen=100_000)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            owner = f"{type(self).__name__!r} object"
            if name in {"apply_sync", "map_sync"}:
                verb = name.partition("_")[0]
                raise AttributeError(
                    f"{owner} has no attribute {name!r}: use 'await view.{verb}(...)'"
                )
            raise AttributeError(absent.words(owner, name, awaited=True))

    @property
    def flags(self) -> Flags:
        """The flags of tasks submitted from now on, in this coroutine."""
        return _temporary.get().get(self, self._flags)

    @flags.setter
    def flags(self, flags: Flags) -> None:
        temporary = _temporary.get()
        if self in temporary:
            _temporary.set({**temporary, self: flags})
        else:
            self._flags = flags

    @contextlib.contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Set flags for a ``with`` block: in this coroutine, and those started there.

        Others meanwhile use the view as it is.
        """
        before = _temporary.get()
        _temporary.set({**before, self: self._checked(flags)})
        try:
            yield
        finally:
            _temporary.set(before)

    async def _submitted(self, result: R, slices: Slices) -> R:
        durability = self.flags.durability
        await self.client._assure(durability)
        await self.client._submit(slices)
        self._history.extend(result.msg_ids)
        await self.client._confirm(durability, result.msg_ids)
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
        return parallel(self, dist=dist, block=block, **flags)

    # -- what was submitted

    @property
    def history(self) -> list[str]:
        """Ids that this view submitted, oldest first; the last 100,000."""
        return list(self._history)

    def _open(self) -> list[str]:
        return self.client._session.open_of(self.history)

    async def outstanding(self) -> set[str]:
        """Return the ids that this view submitted and that have not ended."""
        return await self.client._open(self.history)

    async def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids, or (None) all that this view submitted."""
        return await self.client.wait(self._open() if jobs is None else jobs, timeout)

    async def abort(
        self,
        jobs: Any = None,
        targets: Any = None,
        block: bool | None = None,
        **options: bool,
    ) -> dict[str, str]:
        """Abort tasks, or (None) all that this view submitted, as ``Client.abort``."""
        wanted = await self.outstanding() if jobs is None else jobs
        return await self.client.abort(wanted, targets, block, **options)

    async def get_result(
        self,
        indices_or_msg_ids: Any = None,
        block: bool | None = None,
        owner: bool = False,
    ) -> AsyncResult:
        """Return the result of ids, or of positions in this view's history."""
        wanted = ids_at(self.history, indices_or_msg_ids)
        return await self.client.get_result(wanted, block, owner)

    async def queue_status(
        self, targets: Any = None, verbose: bool = False
    ) -> dict[Any, Any]:
        """Return the load of this view's engines, or others; as ``Client``'s."""
        chosen = self._or_own(targets)
        return await self.client.queue_status(chosen, verbose)

    async def purge_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Forget ended tasks, as ``Client``'s; ``targets="all"`` means the view's."""
        if targets is None or (isinstance(targets, str) and targets == "all"):
            targets = self._or_own(None)
        return await self.client.purge_results(jobs, targets)

    def _or_own(self, targets: Any) -> Any:
        if targets is not None:
            return targets
        return "all" if self.targets is None else self.targets


class LoadBalancedView(View):
    """Submits tasks that run on whichever engine the hub chooses.

    Made by ``Client.load_balanced_view``. The flag ``block`` has no effect here:
    ``apply`` and ``map`` await the value, ``apply_async`` and ``map_async`` the
    submit. Cancelling a waiter only ends its wait: the task goes on.

    Its flags are attributes, and arguments of ``with_flags``, ``set_flags`` and
    ``temp_flags``: ``block after follow targets queue priority delay eta timeout
    time_limit retries retry_delay retry_backoff retry_jitter retry_on retry_elsewhere
    label result_ttl durability track``. What they mean is in ``docs/tasks.rst``.
    """

    def with_flags(self, **flags: Any) -> LoadBalancedView:
        """Return a new view with some flags replaced."""
        return LoadBalancedView(self.client, self.flags.replaced(**flags))

    async def _resolved(self) -> Flags:
        """Return the flags with targets resolved, which takes a call."""
        flags = self.flags
        if flags.targets is None or flags.targets.ids is not None:
            return flags
        targets = flags.targets.resolved(await self.client.ids())
        found = flags.replaced(targets=targets)
        if self.flags is flags:
            self.flags = found
        return found

    async def _apply_to_parts(
        self, f: ParallelFunction, sequences: tuple[Any, ...]
    ) -> AsyncResult:
        chunks = f._chunks(sequences)
        flags = await self._resolved()
        tasks, slices = self.client._session.calls(flags, f.func, chunks)
        return await self._submitted(f._joined(Joined, self, tasks), slices)

    async def _prepare(
        self, f: Callable[..., Any] | str, args: tuple[Any, ...]
    ) -> tuple[AsyncResult, Task]:
        """Return a call of ``f``, to be posted."""
        flags = await self._resolved()
        tasks, task = self.client._session.call(flags, f, args, {})
        result = AsyncResult(self.client, tasks, task.function.name, single=True)
        self._history.append(task.task_id)
        return result, task

    async def _post(self, task: Task) -> Letter | None:
        """Submit like ``apply_async``, but do not wait for that unless it is durable.

        Returns what tells when it is submitted; None: it is.
        """
        client, durability = self.client, self.flags.durability
        if durability == MEMORY:
            return await client._post(task)
        await client._assure(durability)
        await client._enter(task)
        await client._confirm(durability, [task.task_id])
        return None

    # -- one call

    @overload
    async def apply(
        self, f: CoroutineFunction[V_co], /, *args: Any, **kwargs: Any
    ) -> V_co: ...
    @overload
    async def apply(
        self, f: Callable[..., V_co], /, *args: Any, **kwargs: Any
    ) -> V_co: ...
    @overload
    async def apply(self, f: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def apply(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call ``f(*args, **kwargs)`` on an engine and return its value."""
        return await (await self.apply_async(f, *args, **kwargs))

    @overload
    async def apply_async(
        self, f: CoroutineFunction[V_co], /, *args: Any, **kwargs: Any
    ) -> AsyncResult[V_co]: ...
    @overload
    async def apply_async(
        self, f: Callable[..., V_co], /, *args: Any, **kwargs: Any
    ) -> AsyncResult[V_co]: ...
    @overload
    async def apply_async(
        self, f: str, /, *args: Any, **kwargs: Any
    ) -> AsyncResult: ...
    async def apply_async(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> AsyncResult:
        """Call ``f`` on an engine and return an ``AsyncResult``, once it is submitted.

        When this returns, the task is in Redis. ``f`` may also be the name of a
        function that only engines can import, ``"package.module:function"``. Raises
        ``TypeError`` if it is not callable or cannot be pickled.
        """
        flags = await self._resolved()
        await self.client._assure(flags.durability)
        tasks, task = self.client._session.call(flags, f, args, kwargs)
        result = AsyncResult(self.client, tasks, task.function.name, single=True)
        await self.client._enter(task)
        self._history.append(task.task_id)
        await self.client._confirm(flags.durability, tasks.ids)
        return result

    # -- many

    @overload
    async def map(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Any,
        block: Literal[True] | None = None,
        return_exceptions: Literal[True],
        **options: Unpack[_MapOptions],
    ) -> list[V_co | Exception]: ...
    @overload
    async def map(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Any,
        block: Literal[True] | None = None,
        **options: Unpack[_MapOptions],
    ) -> list[V_co]: ...
    @overload
    async def map(
        self,
        f: Callable[..., V_co],
        *sequences: Any,
        block: Literal[True] | None = None,
        return_exceptions: Literal[True],
        **options: Unpack[_MapOptions],
    ) -> list[V_co | Exception]: ...
    @overload
    async def map(
        self,
        f: Callable[..., V_co],
        *sequences: Any,
        block: Literal[True] | None = None,
        **options: Unpack[_MapOptions],
    ) -> list[V_co]: ...
    @overload
    async def map(
        self, f: Callable[..., Any] | str, *sequences: Any, **options: Any
    ) -> Any: ...
    async def map(  # noqa: PLR0913 - all by name
        self,
        f: Callable[..., Any] | str,
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

        ``chunksize`` items share a task. Returns the list, or with ``block=False`` an
        ``AsyncMapResult``, which can be iterated as results arrive. Stops at the end of
        the shortest sequence.

        An input without a length, such as a generator, is sent as it is read, so it may
        exceed memory. ``progress(items)`` is called with the number of items sent so
        far; if it or an input raises, what was sent is aborted.
        """
        flags = await self._resolved()
        if label is not None:
            flags = flags.replaced(label=label)
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
        await self._submitted(result, slices)
        return result if block is False else await result

    @overload
    async def map_async(
        self,
        f: CoroutineFunction[V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> AsyncMapResult[V_co | Exception]: ...
    @overload
    async def map_async(
        self, f: CoroutineFunction[V_co], *sequences: Any, **options: Any
    ) -> AsyncMapResult[V_co]: ...
    @overload
    async def map_async(
        self,
        f: Callable[..., V_co],
        *sequences: Any,
        return_exceptions: Literal[True],
        **options: Any,
    ) -> AsyncMapResult[V_co | Exception]: ...
    @overload
    async def map_async(
        self, f: Callable[..., V_co], *sequences: Any, **options: Any
    ) -> AsyncMapResult[V_co]: ...
    @overload
    async def map_async(
        self, f: str, *sequences: Any, **options: Any
    ) -> AsyncMapResult: ...
    async def map_async(
        self, f: Callable[..., Any] | str, *sequences: Any, **options: Any
    ) -> AsyncMapResult:
        """Map without waiting for results; as ``map(block=False)``."""
        if "block" in options:
            raise TypeError("map_async does not take a block argument")
        return await self.map(f, *sequences, block=False, **options)  # type: ignore[no-any-return]

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
        f: Callable[..., Any] | str,
        *sequences: Iterable[Any],
        ordered: bool = True,
        max_outstanding: int | str = "auto",
        return_exceptions: bool = False,
    ) -> LazyMap:
        """Map lazily: the inputs may be endless, and are read as results are.

        At most ``max_outstanding`` tasks are submitted ahead (0: no limit; "auto":
        twice the number of engines). Later changes of the flags have no effect.
        ``async for`` gives the values.
        """
        ahead = ahead_of(sequences, max_outstanding)
        # What cannot be called is told at once, not when the first result is read.
        payload.pack_function(f)
        view = self.with_flags()
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

    async def submit_graph(self, graph: Any, jobs: Any) -> dict[Hashable, AsyncResult]:
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
        flags = await self._resolved()
        made = functools.partial(AsyncResult, self.client, single=True)
        session = self.client._session
        with seldom_collecting(operator.length_hint(graph)):
            names, results, pieces = session.graph(flags, graph, jobs, made)
            await self.client._assure(flags.durability)
            await self.client._submit(pieces)
        ids = list(names.values())
        self._history.extend(ids)
        await self.client._confirm(flags.durability, ids)
        return results


class RemoteFunction(Wrapped):
    """A function that runs on an engine when it is called."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function on the view; with ``block=False``, return its result."""
        view = self._bound()
        call = view.apply_async if self.block is False else view.apply
        try:
            return await call(self.func, *args, **kwargs)
        finally:
            self._record(view)


class ParallelFunction(WrappedParallel):
    """A function whose ``map`` runs on engines.

    Called directly, it is given sub-sequences of ``chunksize`` items (default: 1), as
    in IPython.parallel; lists and arrays of NumPy that come back are joined. With
    ``block=False`` both return a result to be awaited.
    """

    async def map(self, *sequences: Any) -> Any:
        """Call the function for each item, as ``view.map``."""
        view = self._bound()
        try:
            return await view.map(
                self.func, *sequences, block=self.block, **self._options()
            )
        finally:
            self._record(view)

    async def __call__(self, *sequences: Any) -> Any:
        """Call the function once per sub-sequence and join what comes back."""
        view = self._bound()
        result = await view._apply_to_parts(self, sequences)
        self._record(view)
        return result if self.block is False else await result


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
