"""``DirectView``: one call on each of some engines, and the names that these keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from redtask import cells, inputs, spread
from redtask.imports import Imports
from redtask.result import AsyncMapResult, AsyncResult
from redtask.targets import Row
from redtask.view import Joined, View, no_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redtask.client import Client
    from redtask.flags import Flags
    from redtask.inbox import TaskSet
    from redtask.spread import Spread
    from redtask.value import CoroutineFunction, V_co
    from redtask.view import Function, ParallelFunction

R = TypeVar("R", bound=AsyncResult)


class DirectView(View):
    """Calls functions on each of its engines, and reaches the names that they keep.

    Made by ``rc[0]``, ``rc[:]`` and ``Client.direct_view``. Of one engine, as ``rc[0]``
    is, results are values; of several, as ``rc[:2]`` and ``rc[[0]]`` are, lists in the
    order of the engines.

    What engines keep is in the memory of their processes: it is gone when an engine
    ends. Its calls are tasks, which are not.

    Its flags are attributes, and arguments of ``with_flags``, ``set_flags`` and
    ``temp_flags``: ``block targets after queue priority delay eta timeout time_limit
    retries retry_delay retry_backoff retry_jitter retry_on label result_ttl durability
    track``. What they mean is in ``docs/tasks.rst``.
    """

    def __init__(self, client: Client, flags: Flags | None = None) -> None:
        super().__init__(client, flags)
        if self.flags.targets is None:
            self.flags = self.flags.replaced(targets=Row.of("all"))

    def _checked(self, flags: Mapping[str, Any]) -> Flags:
        """Return this view's flags with some replaced; look up targets."""
        flags = dict(flags)
        if "targets" in flags:
            flags["targets"] = Row.of(flags["targets"])
        found = super()._checked(flags)
        spread.check(found)
        row = found.targets
        if isinstance(row, Row) and row.ids is None and not row.every:
            found = found.replaced(targets=self._found(row))
        return found

    def _found(self, row: Row) -> Row:
        return row.among(self.client._run(self.client._session.living()))

    def _row(self, targets: Any = None) -> Row:
        """Return the engines to call now."""
        row = Row.of(self.flags.targets if targets is None else targets)
        return self._found(row) if row.ids is None else row

    def __len__(self) -> int:
        """Return how many engines there are."""
        row = Row.of(self.flags.targets)
        return len(self.client if row.ids is None else row.ids)

    def with_flags(self, **flags: Any) -> DirectView:
        """Return a new view with some flags replaced."""
        return DirectView(self.client, self._checked(flags))

    def _submit(
        self, calls: Spread, row: Row, make: Callable[[TaskSet], R], label: Any = None
    ) -> R:
        """Submit a call on each engine; ``make`` returns their result."""
        client, flags = self.client, self.flags
        if label is not None:
            flags = flags.replaced(label=label)
        client._assure(flags.durability)
        bodies, session = calls.bodies(len(row.places)), client._session
        tasks, made = session.direct(flags, calls.function, bodies, row.places)
        result = make(tasks)
        client._enter_all(made)
        self._history.extend(tasks.ids)
        client._confirm(flags.durability, tasks.ids)
        return result

    def _call(self, calls: Spread, targets: Any = None) -> AsyncResult:
        """Submit a call on each engine; of one, its result is single."""
        row = self._row(targets)
        return self._submit(
            calls,
            row,
            lambda tasks: AsyncResult(
                self.client, tasks, calls.name, single=row.single
            ),
        )

    def _given(self, result: AsyncResult, block: bool | None) -> Any:
        return self._maybe_wait(result, self.block if block is None else block)

    # -- calls

    def apply(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on each engine.

        Returns the value or values when the view blocks, else an ``AsyncResult``.
        """
        return self._given(self.apply_async(f, *args, **kwargs), None)

    def apply_async(self, f: Function, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f`` on each engine and return an ``AsyncResult`` at once.

        When this returns, the tasks are in Redis: all or none. As
        ``LoadBalancedView.apply_async``.
        """
        return self._call(spread.applied(f, args, kwargs))

    def apply_sync(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f`` on each engine and return the value or values."""
        return self._given(self.apply_async(f, *args, **kwargs), block=True)

    def map(
        self,
        f: Function,
        *sequences: Any,
        block: bool | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
        track: bool = False,  # noqa: ARG002 - as in IPython.parallel
    ) -> Any:
        """Call ``f`` for each item, like the builtin ``map``: each engine gets a part.

        The parts are equal, and consecutive. Returns the list if the view (or
        ``block``) says so, else an ``AsyncMapResult``, which can be iterated as results
        arrive. Stops at the end of the shortest sequence.
        """
        row = self._row()
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

        return self._given(self._submit(calls, row, make, label), block)

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

    def imap(self, f: Function, *sequences: Any, **options: Any) -> Iterator[Any]:
        """Map, and yield the values as they arrive; as ``iter(map_async(...))``."""
        return iter(self.map_async(f, *sequences, **options))

    def _apply_to_parts(
        self, f: ParallelFunction, sequences: tuple[Any, ...]
    ) -> AsyncResult:
        row = self._row()
        calls = spread.called(f.func, f._chunks(sequences, len(row.places)))
        return self._submit(calls, row, lambda tasks: f._joined(Joined, self, tasks))

    # -- names that engines keep

    def push(
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
        return self._given(self._call(spread.pushed(ns), targets), block)

    def update(self, ns: Mapping[str, Any]) -> Any:
        """Set names on the engines; as ``push``."""
        return self.push(ns)

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a name on the engines; as ``push``."""
        self.push({name: value})

    def pull(
        self,
        names: str | Sequence[str],
        targets: Any = None,
        block: bool | None = None,
    ) -> Any:
        """Return the value of a name on the engines, or for a list the values.

        A name may be any expression: ``"a[0] + 1"``.
        """
        return self._given(self._call(spread.pulled(names), targets), block)

    def get(self, names: str | Sequence[str]) -> Any:
        """Return the value of a name, or for a list the values; waits for them."""
        return self.pull(names, block=True)

    def __getitem__(self, names: str | Sequence[str]) -> Any:
        """Return the value of a name; as ``get``."""
        return self.get(names)

    def scatter(  # noqa: PLR0913, PLR0917 - IPython.parallel's
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
        calls, row = (
            spread.scattered(key, seq, dist, flatten=flatten),
            self._row(targets),
        )
        result = self._submit(
            calls, row, lambda tasks: AsyncResult(self.client, tasks, calls.name)
        )
        return self._given(result, block)

    def gather(
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

        calls = spread.pulled(key)
        return self._given(self._submit(calls, self._row(targets), make), block)

    def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Any = None,
        block: bool | None = None,
    ) -> AsyncResult:
        """Execute code on the engines, whose global names are those that they keep.

        Returns the result in any case; if this waits, it raises what the code raised.
        What it prints is in the result. Unless ``silent``, the value is that of the
        expression that the code ends with. Raises ``SyntaxError``.
        """
        return self._execute(code, None, silent, targets, block)

    def _execute(
        self,
        code: str,
        file: str | None,
        silent: bool,
        targets: Any,
        block: bool | None,
    ) -> AsyncResult:
        calls = spread.executed(code, file, silent=silent)
        result = self._call(calls, targets)
        self._given(result, block)
        return result

    def run(
        self, filename: str, targets: Any = None, block: bool | None = None
    ) -> AsyncResult:
        """Execute the code of a file, which is here, on the engines; as ``execute``."""
        code = Path(filename).read_text(encoding="utf-8")
        return self._execute(code, str(filename), True, targets, block)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Clear all names that the engines keep.

        Returns None if that is waited for, else an ``AsyncResult``.
        """
        found = self._given(self._call(spread.cleared(), targets), block)
        return found if isinstance(found, AsyncResult) else None

    def sync_imports(self, local: bool = True, quiet: bool = False) -> SyncImports:
        """Return a context manager: engines import what is imported in its block.

        ::

            with rc[:].sync_imports():
                import numpy

        By the names that it gets there. Without ``local``, only engines import it.
        """
        return SyncImports(self, Imports(local=local, quiet=quiet))

    def activate(self, suffix: str = "") -> None:
        """Let ``%px``, ``%pxresult``, ``%pxconfig`` and ``%autopx`` mean this view.

        With a suffix, ``%px_gpu`` and so on, they have names of their own. Does nothing
        outside of IPython.
        """
        if (shell := cells.shell()) is not None:
            from redtask import magics  # noqa: PLC0415 - needs IPython

            magics.activate(shell, self, suffix)

    @property
    def importer(self) -> SyncImports:
        """As ``sync_imports()``."""
        return self.sync_imports()


class SyncImports:
    """Lets engines import what is imported in a block."""

    def __init__(self, view: DirectView, imports: Imports) -> None:
        self._view = view
        self._imports = imports

    def __enter__(self) -> None:
        self._imports.begin(sys._getframe(1))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        found = self._imports.end()
        if found and kind is None:
            self._view._call(spread.brought(found)).get()


class _Gathered(spread.Gathered, AsyncResult):
    """The result of ``gather``."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the items, as they arrive if they were consecutive."""
        return iter(self.get()) if self.stripes else super().__iter__()


__all__ = ["DirectView"]
