"""Results of tasks: ``AsyncResult``, ``AsyncMapResult``, ``AsyncHubResult``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from redtask import flows
from redtask.error import RedtaskError
from redtask.inbox import TaskSet
from redtask.outcomes import METADATA, Metadata, Results, metadata

if TYPE_CHECKING:
    from redtask.client import Client

ALL_COMPLETED: Final = concurrent.futures.ALL_COMPLETED
FIRST_COMPLETED: Final = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION: Final = concurrent.futures.FIRST_EXCEPTION
_WHENS: Final = (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION)
_NOT_READY: Final = "Result not ready."


def _limit(timeout: float | None) -> float | None:
    """Return the timeout as flows know it: IPython.parallel's -1 is for ever."""
    return None if timeout is None or timeout < 0 else timeout


class AsyncResult(Results):
    """The result of tasks that may not have ended: a future.

    Any process that can reach the hub may ask for it again by ``msg_ids``.
    Thread-safe.
    """

    def __init__(self, client: Client, *args: Any, **kwargs: Any) -> None:
        super().__init__(client._session, *args, **kwargs)  # noqa: SLF001 - its own
        self._client = client

    def _run(self, flow: flows.Flow[Any]) -> Any:
        return self._client._run(flow)  # noqa: SLF001 - a result is its client's

    # -- waiting

    def _predicate(self, return_when: str | None) -> Callable[[], bool]:
        tasks = self._tasks
        if return_when is None or return_when == ALL_COMPLETED:
            return lambda: tasks.done
        if return_when == FIRST_COMPLETED:
            return lambda: bool(tasks.outcomes) or tasks.done
        if return_when == FIRST_EXCEPTION:
            return lambda: (
                tasks.done
                or any(
                    outcome.state != "completed"
                    for outcome in list(tasks.outcomes.values())
                )
            )
        raise ValueError(f"return_when must be one of {_WHENS}, not {return_when!r}")

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait at most ``timeout`` seconds; None or negative is for ever.

        Returns whether all is done; with ``return_when`` (a constant of
        ``concurrent.futures``) the sets of done and pending parts.
        """
        ready = self._predicate(return_when)
        inbox = self._session.inbox
        reached = self._run(flows.until(inbox, self._tasks, ready, _limit(timeout)))
        if return_when is None:
            return reached
        parts = self.split()
        done = {part for part in parts if part.done()}
        return done, set(parts) - done

    def get(
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
        if return_when == FIRST_COMPLETED:
            return_when = None
        ready = self._predicate(return_when)
        inbox = self._session.inbox
        if not self._run(flows.until(inbox, self._tasks, ready, _limit(timeout))):
            raise TimeoutError(_NOT_READY)
        if not self._tasks.done:
            return self._raise_first()
        self._run(flows.complete(self._tasks))
        return self._collect(return_exceptions=return_exceptions)

    def _raise_first(self) -> Any:
        """Raise for the parts that have failed while others still run."""
        ended = [name for name in self._tasks.ids if name in self._tasks.outcomes]
        self._run(flows.complete(self._tasks, ended))
        outcomes = map(self._outcome, ended)
        raise self._composite([value for good, value in outcomes if not good])

    @property
    def r(self) -> Any:
        """The value, as ``get()``."""
        return self.get()

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, as a ``concurrent.futures.Future`` does."""
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Return what ``get`` would raise, or None."""
        if not self.wait(timeout):
            raise TimeoutError(_NOT_READY)
        try:
            self.get(0)
        except RedtaskError as problem:
            return problem
        return None

    def ready(self) -> bool:
        """Have all tasks ended? Asks the hub."""
        return bool(self.wait(0))

    def running(self) -> bool:
        """Return False, as in IPython.parallel: use ``metadata``."""
        return False

    def successful(self) -> bool:
        """Did all tasks succeed? Raises ``RuntimeError`` while some have not ended."""
        if not self.ready():
            raise RuntimeError("Cannot check successful() if not done.")
        return self._return_exceptions or all(
            outcome.state == "completed" for outcome in self._tasks.outcomes.values()
        )

    def add_done_callback(self, callback: Callable[[AsyncResult], Any]) -> None:
        """Call ``callback(self)`` when all has ended, in a thread of the client's."""
        self._client._call_back(self, callback)  # noqa: SLF001 - a result is its client's

    # -- stopping

    def abort(self) -> None:
        """Abort what no engine has begun. Raises ``RuntimeError`` when all is done."""
        if self.ready():
            raise RuntimeError("Can't abort, I am already done!")
        self._client.abort(self)

    def cancel(self) -> bool:
        """Abort if nothing has begun; return whether everything is aborted."""
        if self.ready():
            return False
        self._client.abort(self)
        self.ready()
        return self.cancelled()

    def cancelled(self) -> bool:
        """Were all tasks aborted?"""
        return self._tasks.done and all(
            outcome.state == "aborted" for outcome in self._tasks.outcomes.values()
        )

    # -- what is known of the runs

    @property
    def metadata(self) -> Any:
        """One ``Metadata``, or a list of them; also while tasks are pending."""
        found = self._metadata()
        return found[0] if self._single else found

    def _metadata(self) -> list[Metadata]:
        tasks = self._tasks
        keys = self._session.keys
        records = self._run(flows.records(keys, tasks.ids))
        found = [
            metadata(name, record, tasks.received)
            for name, record in zip(tasks.ids, records, strict=True)
        ]
        for stream in ("stdout", "stderr"):
            having = [
                about
                for about, record in zip(found, records, strict=True)
                if stream in record
            ]
            ids = [about["msg_id"] for about in having]
            texts = self._run(flows.outputs(keys, ids, stream))
            for about, text in zip(having, texts, strict=True):
                about[stream] = text
        for about in found:
            if about["status"] == "error" and about["msg_id"] in tasks.outcomes:
                self._run(flows.complete(tasks, (about["msg_id"],)))
                about["error"] = self._outcome(about["msg_id"])[1]
        return found

    def __getattr__(self, name: str) -> Any:
        if name not in METADATA:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return self[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *METADATA})

    def __getitem__(self, key: int | slice | str) -> Any:
        """Return an element of the value, or one key of the metadata."""
        if isinstance(key, str):
            found = [about[key] for about in self._metadata()]
            return found[0] if self._single else found
        if not isinstance(key, (int, slice)):
            raise TypeError(f"Invalid key type {type(key).__name__}")
        return self.get(0)[key]

    @property
    def progress(self) -> int:
        """How many items have ended."""
        self.ready()
        return self._arrived_items()

    def _check_ready(self) -> None:
        if not self.ready():
            raise TimeoutError(_NOT_READY)

    @property
    def serial_time(self) -> float:
        """Seconds that the tasks ran, added up. Raises ``TimeoutError`` before."""
        self._check_ready()
        return sum(
            (about["completed"] - about["started"]).total_seconds()
            for about in self._metadata()
            if about["completed"] and about["started"]
        )

    @property
    def wall_time(self) -> float:
        """Seconds from submission until the last result was here."""
        self._check_ready()
        return self.elapsed

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return {engine_id: value}.

        Raises ``ValueError`` when two tasks ran on one engine.
        """
        values = self.get(timeout)
        ids = [about["engine_id"] for about in self._metadata()]
        if self._single:
            values = [values]
        if len(set(ids)) < len(ids) or self._sizes is not None:
            raise ValueError("Cannot build dict, multiple jobs ran on one engine")
        return dict(zip(ids, values, strict=True))

    @property
    def result_dict(self) -> dict[int, Any]:
        """As ``get_dict()``."""
        return self.get_dict()

    def display_outputs(self, groupby: str = "type") -> None:
        """Print what the tasks printed, by ``type``, ``engine`` or ``order``."""
        if groupby not in {"type", "engine", "order"}:
            raise ValueError(
                f"groupby must be one of 'type', 'engine', 'order', not {groupby!r}"
            )
        self._check_ready()
        found = self._metadata()
        if groupby == "engine":
            found.sort(
                key=lambda about: (about["engine_id"] is None, about["engine_id"])
            )
        streams = ("stdout", "stderr")
        order = (
            [(about, stream) for stream in streams for about in found]
            if groupby == "type"
            else [(about, stream) for about in found for stream in streams]
        )
        for about, stream in order:
            if text := about[stream]:
                if not self._single:
                    print(f"[{stream}:{about['engine_id']}] ", end="")  # noqa: T201
                print(text, end="" if text.endswith("\n") else "\n")  # noqa: T201

    # -- progress

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        return_when: str = ALL_COMPLETED,
    ) -> None:
        """Wait under a progress bar on standard error; returns at the timeout too."""
        ready = self._predicate(return_when)
        limit = _limit(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        with _bar(self._fname, len(self)) as show:
            while True:
                left = interval
                if deadline is not None:
                    left = min(left, deadline - time.monotonic())
                inbox = self._session.inbox
                self._run(flows.until(inbox, self._tasks, ready, max(0.001, left)))
                show(self._arrived_items())
                if ready() or (deadline is not None and time.monotonic() >= deadline):
                    return

    # -- parts

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result per task; of a map each is a list of its items."""
        if len(self._tasks.ids) == 1 and self._sizes is None:
            return (self,)
        if "_parts" not in self.__dict__:
            self.__dict__["_parts"] = tuple(
                self._sub(at, name) for at, name in enumerate(self._tasks.ids)
            )
        return self.__dict__["_parts"]  # type: ignore[no-any-return]

    def _sub(self, at: int, task_id: str) -> AsyncResult:
        tasks = TaskSet((task_id,))
        tasks.submitted = self._tasks.submitted
        if (outcome := self._tasks.outcomes.get(task_id)) is not None:
            tasks.deliver(task_id, outcome)
        else:
            self._session.inbox.expect(tasks)
            # It may have arrived between the look and the wish to be told.
            if (late := self._tasks.outcomes.get(task_id)) is not None:
                tasks.deliver(task_id, late)
        return AsyncResult(
            self._client,
            tasks,
            self._fname,
            single=True,
            return_exceptions=self._return_exceptions,
        )

    @classmethod
    def join(cls, *results: AsyncResult) -> AsyncResult:
        """Return one result of the tasks of several: the inverse of ``split``."""
        if not results:
            raise ValueError("Must specify at least one AsyncResult to join")
        first = results[0]
        tasks = TaskSet([name for one in results for name in one.msg_ids])
        tasks.submitted = min(one._tasks.submitted for one in results)  # noqa: SLF001
        for one in results:
            for name, outcome in list(one._tasks.outcomes.items()):  # noqa: SLF001
                tasks.deliver(name, outcome)
        first._session.inbox.expect(tasks)  # noqa: SLF001
        return AsyncResult(first._client, tasks, first._fname)  # noqa: SLF001

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in order as they arrive."""
        if self._single:
            raise TypeError("This AsyncResult is a single result, not iterable.")
        return self._iterate(ordered=True)

    def _iterate(self, *, ordered: bool) -> Iterator[Any]:
        tasks = self._tasks
        if tasks.done:
            yield from self.get(0)
            return
        places = {name: at for at, name in enumerate(tasks.ids)}
        for number, expected in enumerate(tasks.ids):
            if ordered:
                self._run_until(lambda name=expected: name in tasks.outcomes)
                name = expected
            else:
                self._run_until(lambda number=number: len(tasks.order) > number)
                name = tasks.order[number]
            self._run(flows.complete(tasks, (name,)))
            yield from self._part(places[name])

    def _run_until(self, ready: Callable[[], bool]) -> None:
        self._run(flows.until(self._session.inbox, self._tasks, ready, None))


class AsyncMapResult(AsyncResult):
    """The result of a map: a list, iterable as results arrive.

    ``ordered=False`` yields in the order of arrival while tasks are running; the
    value of ``get()`` is always in the order of the input.
    """

    def __init__(self, *args: Any, ordered: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ordered = ordered

    def __iter__(self) -> Iterator[Any]:
        """Yield results as they arrive."""
        return self._iterate(ordered=self._ordered)


class AsyncHubResult(AsyncResult):
    """The result of tasks that any client submitted, by their ids.

    The chunks of a map stand in it as lists.
    """


@contextlib.contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error where that is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - only who wants a bar
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tasks"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
    )
    with progress:
        bar = progress.add_task(name, total=total)
        yield lambda done: progress.update(bar, completed=done)


class CallbackThread:
    """Waits for results that have callbacks; one thread per client, when needed."""

    def __init__(self, run: Callable[[flows.Flow[Any]], Any]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._pending: list[tuple[AsyncResult, Callable[[AsyncResult], Any]]] = []
        self._thread: threading.Thread | None = None

    def add(self, result: AsyncResult, callback: Callable[[AsyncResult], Any]) -> None:
        """Have the callback called when the result is done; at once if it is."""
        if result.done():
            _call(result, callback)
            return
        with self._lock:
            self._pending.append((result, callback))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="redtask callbacks", daemon=True
                )
                self._thread.start()

    def _loop(self) -> None:
        while True:
            with self._lock:
                pending = list(self._pending)
                if not pending:
                    self._thread = None
                    return
            done = [pair for pair in pending if pair[0].done()]
            for pair in done:
                with self._lock:
                    self._pending.remove(pair)
                _call(*pair)
            if not done:
                inbox = pending[0][0]._session.inbox  # noqa: SLF001 - its own kind
                sets = [result._tasks for result, _ in pending]  # noqa: SLF001
                with contextlib.suppress(RedtaskError):
                    self._run(flows.any_done(inbox, sets))


def _call(result: AsyncResult, callback: Callable[[AsyncResult], Any]) -> None:
    import logging  # noqa: PLC0415 - only when something is wrong

    try:
        callback(result)
    except Exception:
        logging.getLogger("redtask").exception("a callback of %r raised", result)


__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
]
