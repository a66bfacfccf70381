"""``DirectView``: one call on each of some engines, and the names that these keep."""

from __future__ import annotations

import asyncio
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from redtask import inputs, spread
from redtask.aio.result import AsyncMapResult, AsyncResult
from redtask.aio.stream import Stream
from redtask.aio.view import Joined, View
from redtask.imports import Imports
from redtask.targets import Row

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )
    from types import FrameType

    from redtask.aio.client import Client
    from redtask.aio.view import ParallelFunction
    from redtask.flags import Flags
    from redtask.inbox import TaskSet
    from redtask.spread import Spread
    from redtask.value import CoroutineFunction, V_co

R = TypeVar("R", bound=AsyncResult)


class DirectView(View):
    """Calls functions on each of its engines, and reaches the names that they keep.

    Made by ``rc[0]``, ``rc[:]`` and ``Client.direct_view``, which ask nothing of the
    hub: engines are looked up by the first call. Of one engine, as ``rc[0]`` is,
    results are values; of several, as ``rc[:2]`` and ``rc[[0]]`` are, lists in the
    order of the engines.

    What engines keep is in the memory of their processes: it is gone when an engine
    ends. Its calls are tasks, which are not.

    The flag ``block`` has no effect here: what ends with ``_async`` awaits the submit,
    and all else the values, unless it is given ``block=False``. The other flags are
    attributes, and arguments of ``with_flags``, ``set_flags`` and ``temp_flags``:
    ``targets after queue priority delay eta timeout time_limit retries retry_delay
    retry_backoff retry_jitter retry_on label result_ttl durability track``. What they
    mean is in ``docs/tasks.rst``.
    """

    def __init__(self, client: Client, flags: Flags | None = None) -> None:
        super().__init__(client, flags)
        if self.flags.targets is None:
            self.flags = self.flags.replaced(targets=Row.of("all"))

    def _checked(self, flags: Mapping[str, Any]) -> Flags:
        """Return this view's flags with some replaced."""
        flags = dict(flags)
        if "targets" in flags:
            flags["targets"] = Row.of(flags["targets"])
        found = super()._checked(flags)
        spread.check(found)
        return found

    async def _row(self, targets: Any = None) -> Row:
        """Return the engines to call now."""
        flags = self.flags
        row = Row.of(flags.targets if targets is None else targets)
        if row.ids is not None:
            return row
        client = self.client
        found = row.among(await client._run(client._session.living()))
        if targets is None and not row.every and self.flags is flags:
            self.flags = flags.replaced(targets=found)
        return found

    def with_flags(self, **flags: Any) -> DirectView:
        """Return a new view with some flags replaced."""
        return DirectView(self.client, self._checked(flags))

    async def _submit(
        self, calls: Spread, row: Row, make: Callable[[TaskSet], R], label: Any = None
    ) -> R:
        """Submit a call on each engine; ``make`` returns their result."""
        client, flags = self.client, self.flags
        if label is not None:
            flags = flags.replaced(label=label)
        await client._assure(flags.durability)
        bodies, session = calls.bodies(len(row.places)), client._session
        tasks, made = session.direct(flags, calls.function, bodies, row.places)
        result = make(tasks)
        await client._enter_all(made)
        self._history.extend(tasks.ids)
        await client._confirm(flags.durability, tasks.ids)
        return result

    async def _call(self, calls: Spread, targets: Any = None) -> AsyncResult:
        """Submit a call on each engine; of one, its result is single."""
        row = await self._row(targets)
        return await self._submit(
            calls,
            row,
            lambda tasks: AsyncResult(
                self.client, tasks, calls.name, single=row.single
            ),
        )

    # -- calls

    async def apply(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call ``f(*args, **kwargs)`` on each engine; return the value or values."""
        return await (await self.apply_async(f, *args, **kwargs))

    async def apply_async(
        self, f: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> AsyncResult:
        """Call ``f`` on each engine; return an ``AsyncResult``, once it is submitted.

        When this returns, the tasks are in Redis: all or none. As
        ``LoadBalancedView.apply_async``.
        """
        return await self._call(spread.applied(f, args, kwargs))

    async def map(
        self,
        f: Callable[..., Any] | str,
        *sequences: Any,
        block: bool | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
        track: bool = False,  # noqa: ARG002 - as in IPython.parallel
    ) -> Any:
        """Call ``f`` for each item, like the builtin ``map``: each engine gets a part.

        The parts are equal, and consecutive. Returns the list, or with ``block=False``
        an ``AsyncMapResult``, which can be iterated as results arrive. Stops at the end
        of the shortest sequence.
        """
        row = await self._row()
        calls, sizes = spread.mapped(f, sequences, len(row.places))

        def make(tasks: TaskSet) -> AsyncMapResult:
            return AsyncMapResult(
                self.client,
                tasks,
                calls.name,
                sizes=sizes,
                ordered=ordered,
                return_exceptions=return_exceptions,
            )

        return await _given(await self._submit(calls, row, make, label), block)

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

    def imap(
        self, f: Callable[..., Any] | str, *sequences: Any, **options: Any
    ) -> AsyncIterator[Any]:
        """Map, and yield the values as they arrive: for ``async for``."""
        return _Mapped(functools.partial(self.map_async, f, *sequences, **options))

    async def _apply_to_parts(
        self, f: ParallelFunction, sequences: tuple[Any, ...]
    ) -> AsyncResult:
        row = await self._row()
        calls = spread.called(f.func, f._chunks(sequences, len(row.places)))
        return await self._submit(
            calls, row, lambda tasks: f._joined(Joined, self, tasks)
        )

    # -- names that engines keep

    async def push(
        self,
        ns: Mapping[str, Any],
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,  # noqa: ARG002 - as in IPython.parallel
    ) -> Any:
        """Set names on the engines to values.

        ``Reference`` and ``Ref`` may be among the values. Raises ``TypeError`` and
        ``ValueError`` for what is no name.
        """
        return await _given(await self._call(spread.pushed(ns), targets), block)

    async def update(self, ns: Mapping[str, Any]) -> Any:
        """Set names on the engines; as ``push``."""
        return await self.push(ns)

    def __setitem__(self, name: str, value: Any) -> None:
        """Refuse: an assignment cannot be awaited."""
        raise TypeError(f"use 'await view.push({{{name!r}: ...}})'")

    async def pull(
        self,
        names: str | Sequence[str],
        targets: Any = None,
        block: bool | None = None,
    ) -> Any:
        """Return the value of a name on the engines, or for a list the values.

        A name may be any expression: ``"a[0] + 1"``.
        """
        return await _given(await self._call(spread.pulled(names), targets), block)

    async def get(self, names: str | Sequence[str]) -> Any:
        """Return the value of a name, or for a list the values."""
        return await self.pull(names)

    def __getitem__(self, names: str | Sequence[str]) -> Coroutine[Any, Any, Any]:
        """Return the value of a name, to be awaited; as ``get``."""
        return self.get(names)

    if not TYPE_CHECKING:
        # Python would ask __getitem__ for 0, 1 ... instead, without an end.
        __contains__ = None

        def __iter__(self) -> NoReturn:
            raise TypeError("a view is not iterable: use 'await view.gather(name)'")

    async def scatter(  # noqa: PLR0913, PLR0917 - IPython.parallel's
        self,
        key: str,
        seq: Any,
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,  # noqa: ARG002 - as in IPython.parallel
    ) -> Any:
        """Set a name to another part of a sequence on each engine.

        ``dist`` is ``"b"``, consecutive items, or ``"r"``, every n-th. With
        ``flatten``, a part of one item is the item.
        """
        calls = spread.scattered(key, seq, dist, flatten=flatten)
        result = await self._submit(
            calls,
            await self._row(targets),
            lambda tasks: AsyncResult(self.client, tasks, calls.name),
        )
        return await _given(result, block)

    async def gather(
        self,
        key: str,
        dist: str = "b",
        targets: Any = None,
        block: bool | None = None,
    ) -> Any:
        """Return as one sequence what a name is on the engines; undoes ``scatter``.

        Lists and arrays of NumPy are joined; of anything else there is a list.
        """
        inputs.check_dist(dist)

        def make(tasks: TaskSet) -> _Gathered:
            result = _Gathered(self.client, tasks, "gather")
            result.stripes = dist == "r"
            return result

        calls, row = spread.pulled(key), await self._row(targets)
        return await _given(await self._submit(calls, row, make), block)

    async def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Any = None,
        block: bool | None = None,
    ) -> AsyncResult:
        """Execute code on the engines, whose global names are those that they keep.

        Returns the result in any case; unless ``block=False``, once it is there, and
        raises what the code raised. What it prints is in the result. Unless ``silent``,
        the value is that of the expression that the code ends with. Raises
        ``SyntaxError``.
        """
        return await self._execute(code, None, silent, targets, block)

    async def _execute(
        self,
        code: str,
        file: str | None,
        silent: bool,
        targets: Any,
        block: bool | None,
    ) -> AsyncResult:
        calls = spread.executed(code, file, silent=silent)
        result = await self._call(calls, targets)
        await _given(result, block)
        return result

    async def run(
        self, filename: str, targets: Any = None, block: bool | None = None
    ) -> AsyncResult:
        """Execute the code of a file, which is here, on the engines; as ``execute``."""
        code = await asyncio.to_thread(Path(filename).read_text, encoding="utf-8")
        return await self._execute(code, str(filename), True, targets, block)

    async def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Clear all names that the engines keep.

        Returns None if that is waited for, else an ``AsyncResult``.
        """
        found = await _given(await self._call(spread.cleared(), targets), block)
        return found if isinstance(found, AsyncResult) else None

    def sync_imports(self, local: bool = True, quiet: bool = False) -> SyncImports:
        """Return a context manager: engines import what is imported in its block.

        ::

            async with rc[:].sync_imports():
                import numpy

        By the names that it gets there. Without ``local``, only engines import it.
        """
        return SyncImports(self, Imports(local=local, quiet=quiet))

    @property
    def importer(self) -> SyncImports:
        """As ``sync_imports()``."""
        return self.sync_imports()


class SyncImports:
    """Lets engines import what is imported in a block."""

    def __init__(self, view: DirectView, imports: Imports) -> None:
        self._view = view
        self._imports = imports

    def __aenter__(self) -> Awaitable[None]:
        # No coroutine: its caller would be the event loop's.
        return self._begin(sys._getframe(1))

    async def _begin(self, frame: FrameType) -> None:
        self._imports.begin(frame)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        found = self._imports.end()
        if found and kind is None:
            await (await self._view._call(spread.brought(found)))


class _Mapped(Stream[Any]):
    """The values of a map that is submitted when the first one is asked for."""

    def __init__(
        self, submit: Callable[[], Coroutine[Any, Any, AsyncMapResult]]
    ) -> None:
        super().__init__()
        self._submit = submit
        self._submitting: asyncio.Task[AsyncMapResult] | None = None
        self._values: AsyncIterator[Any] | None = None

    async def _more(self) -> Iterable[Any]:
        if self._values is None:
            if self._submitting is None:
                self._submitting = asyncio.create_task(self._submit())
            # Shielded: the inputs can be read only once.
            self._values = aiter(await asyncio.shield(self._submitting))
        return (await anext(self._values),)


class _Gathered(spread.Gathered, AsyncResult):
    """The result of ``gather``."""


async def _given(result: AsyncResult, block: bool | None) -> Any:
    return result if block is False else await result


__all__ = ["DirectView"]
