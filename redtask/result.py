"""Results of tasks: ``AsyncResult``, ``AsyncMapResult``, ``AsyncHubResult``."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    Never,
    Protocol,
    Self,
    TypeVar,
    overload,
)

from redtask import absent, flows
from redtask.completions import Completions
from redtask.error import ConnectionLost, RedtaskError, StillAway
from redtask.flows import waiting
from redtask.live import Listener, show_output
from redtask.metadata import METADATA
from redtask.outcomes import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Results,
    call_back,
    joined,
    of_face,
)
from redtask.progress import progress_bar
from redtask.timeouts import interval_of, limit_of, span_of, until_of
from redtask.value import V_co

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from redtask.client import Client
    from redtask.executor import TaskFuture
    from redtask.hub.why import Why, Whys
    from redtask.inbox import TaskSet
    from redtask.live import Output
    from redtask.metadata import Metadata

T = TypeVar("T")

_log = logging.getLogger("redtask")
#: The callback thread ends when nothing was added for so long, in seconds: to start one
#: takes longer than to submit a task.
_IDLE: Final = 0.1
#: How long a result may ask the hub to be shown, or whether it is done, in seconds.
_GLANCE: Final = 1.0
#: How many tasks an error names, of those that are awaited in vain.
_SOME: Final = 3
#: Pause of the callback thread after trouble with the hub, in seconds.
_PAUSE: Final = 1.0


if TYPE_CHECKING:

    class About(Generic[T]):
        """What a result has of each task: of one as it is, of a map a list.

        A result may also have one or several, as that of a direct view or of ids. Then
        the type of its value is not known, so that both of the latter overloads
        match, and nothing is known here either.
        """

        @overload
        def __get__(self, result: AsyncMapResult[Any], kind: object) -> list[T]: ...
        @overload
        def __get__(self, result: AsyncResult[Never], kind: object) -> Any: ...
        @overload
        def __get__(self, result: AsyncResult[object], kind: object) -> T: ...
        def __get__(self, result: Any, kind: object) -> Any: ...


class AsyncResult(Results, Generic[V_co]):
    """The result of tasks that may not have ended: a future.

    Any process that can reach the hub may ask for it again by ``msg_ids``.
    Thread-safe.
    """

    _client: Client

    def _run(self, flow: flows.Flow[Any], until: float | None = None) -> Any:
        return self._client._run(flow, until)

    def _make(self, tasks: TaskSet, fname: str, **options: Any) -> AsyncResult:
        kind = AsyncMapResult if "sizes" in options else AsyncResult
        return kind(self._client, tasks, fname, **options)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Tell IPython how far it is: shown in a cell, it should not be out of date."""
        asked = False
        with contextlib.suppress(RedtaskError):
            self._run(self._ready(), time.monotonic() + _GLANCE)
            asked = True
        printer.text(self._shown(now=asked))

    # -- waiting

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait at most ``timeout`` seconds; None or negative is forever.

        Returns whether all is done; with ``return_when`` (a constant of
        ``concurrent.futures``), the sets of done and pending parts.
        """
        reached = self._run(self._wait(timeout, return_when), until_of(timeout))
        if return_when is None:
            return reached
        parts = self.split()
        done = {part for part in parts if part._tasks.done}
        return done, set(parts) - done

    @overload
    def get(
        self,
        timeout: float | None = None,
        return_exceptions: Literal[False] | None = None,
        return_when: str | None = None,
    ) -> V_co: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: str | None = None,
    ) -> Any: ...
    def get(
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
        return self._run(self._get(timeout, return_exceptions, return_when), until)

    @property
    def r(self) -> V_co:
        """The value, as ``get()``."""
        return self.get()

    def result(self, timeout: float | None = None) -> V_co:
        """Return the value, like that of a ``concurrent.futures.Future``.

        As ``get``, but a negative timeout is 0.
        """
        return self.get(span_of(timeout))

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Return what ``get`` would raise, or None; a negative timeout is 0."""
        limit = span_of(timeout)
        until = until_of(limit)
        return self._run(self._exception(limit), until)  # type: ignore[no-any-return]

    def ready(self) -> bool:
        """Have all tasks ended? Asks the hub."""
        return self._run(self._ready())  # type: ignore[no-any-return]

    def done(self) -> bool:
        """Have all tasks ended? As of some milliseconds ago; does not wait.

        To be polled: the hub tells of all tasks of a client at once, and while Redis is
        away this is what was known before. ``ready()`` asks anew.
        """
        tasks = self._tasks
        if not tasks.done:
            with contextlib.suppress(ConnectionLost):
                inbox, now = self._session.inbox, time.monotonic()
                if waiting.may_glance(inbox, tasks, now):
                    self._run(waiting.glance(inbox, tasks), now + _GLANCE)
        return tasks.done

    def running(self) -> bool:
        """Does an engine run one of the tasks just now?

        Asks the hub each time; while Redis is away, nothing is known to run.
        """
        tasks = self._tasks
        if not tasks.done:
            with contextlib.suppress(ConnectionLost):
                flow = waiting.runs(self._session.inbox, tasks)
                return bool(self._run(flow, time.monotonic() + _GLANCE))
        return False

    def successful(self) -> bool:
        """Did all tasks succeed? Raises ``RuntimeError`` while some have not ended."""
        return self._run(self._successful())  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[AsyncResult[V_co]], Any]) -> None:
        """Call ``callback(self)`` in a thread of the client when all has ended."""
        self._check_callback(callback)
        self._client._call_back(self, callback)

    @overload
    def why(self: AsyncResult[Never]) -> Any: ...
    @overload
    def why(self) -> Why: ...
    def why(self) -> Any:
        """Return why the task is where it is: a ``Why``; for several, a list of them.

        Both have sentences as ``str``, and ``as_dict()``; that of a list is by id.
        """
        return self._run(self._why())

    # -- stopping

    def abort(self, *, running: bool = False, dependents: bool = False) -> None:
        """Abort what no engine has begun; if asked, also running tasks or dependents.

        As ``Client.abort``. Raises ``RuntimeError`` when all is done.
        """
        self._run(self._abort(running=running, dependents=dependents))

    def cancel(self) -> bool:
        """Abort if nothing has begun; return whether everything is aborted."""
        return self._run(self._cancel())  # type: ignore[no-any-return]

    # -- metadata

    if TYPE_CHECKING:
        metadata = About[Metadata]()
        msg_id = About[str]()
        submitted = About[datetime | None]()
        started = About[datetime | None]()
        completed = About[datetime | None]()
        received = About[datetime | None]()
        engine_id = About[int | None]()
        engine_uuid = About[str | None]()
        status = About[str | None]()
        error = About[Exception | None]()
        stdout = About[str]()
        stderr = About[str]()
        doing = About[str]()
        label = About[str | None]()
        after = About[list[str]]()
        follow = About[list[str]]()
        execute_input = About[None]()
        execute_result = About[None]()
        outputs = About[list[Any]]()
        data = About[dict[str, Any]]()
        is_broadcast = About[bool]()
        is_coalescing = About[bool]()
    else:

        @property
        def metadata(self) -> Any:
            """One ``Metadata``, or a list of them; also while tasks are pending."""
            return self._run(self._about(None))

        def __getattr__(self, name: str) -> Any:
            if name not in METADATA:
                owner = f"{type(self).__name__!r} object"
                raise AttributeError(absent.words(owner, name))
            return self[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *METADATA})

    def __getitem__(self, key: int | slice | str) -> Any:
        """Return an element of the value, or one field of the metadata."""
        if isinstance(key, str):
            if key not in METADATA:
                raise KeyError(key)
            return self._run(self._about(key))
        if not isinstance(key, (int, slice)):
            raise TypeError(f"Invalid key type {type(key).__name__}")
        value: Any = self.get(0)
        return value[key]

    @property
    def progress(self) -> int:
        """Number of items that have ended."""
        return self._run(self._progress())  # type: ignore[no-any-return]

    @property
    def serial_time(self) -> float:
        """Total run time in seconds. ``TimeoutError`` before all have ended."""
        return self._run(self._serial_time())  # type: ignore[no-any-return]

    @property
    def wall_time(self) -> float:
        """Seconds from submission until the last result arrived."""
        return self._run(self._wall_time())  # type: ignore[no-any-return]

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Return {engine_id: value}.

        Raises ``ValueError`` if two tasks ran on the same engine.
        """
        until = until_of(timeout)
        return self._run(self._get_dict(timeout), until)  # type: ignore[no-any-return]

    @property
    def result_dict(self) -> dict[int, Any]:
        """As ``get_dict()``."""
        return self.get_dict()

    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Print what the tasks printed, by ``type``, ``engine`` or ``order``.

        With ``result_only`` nothing of it, as in IPython.parallel after
        ``stream_output`` has shown it.
        """
        texts = self._run(self._outputs(groupby))
        for text in () if result_only else texts:
            print(text, end="" if text.endswith("\n") else "\n")  # noqa: T201

    @property
    def sent(self) -> bool:
        """Return True, as in IPython.parallel: what was submitted has been sent."""
        return True

    def wait_for_send(self, timeout: float | None = -1) -> bool:
        """Return True at once: what was submitted has been sent."""
        limit_of(timeout)
        return True

    def wait_for_output(self, timeout: float | None = -1) -> bool:
        """Wait, as ``wait``: when tasks have ended, their output has arrived."""
        return bool(self.wait(timeout))

    # -- progress

    def wait_interactive(
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
                self._run(self._until(ready, max(0.001, left), sure=False))
                show(self._arrived_items())
                if ready():
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    return

    def stream_output(self) -> OutputStream:
        """Return the output and progress of the tasks while they run.

        An iterator of ``Output`` that ends when the tasks have. As a context manager
        it prints them meanwhile, as in IPython.parallel::

            with result.stream_output():
                result.wait()
        """
        return OutputStream(self)

    # -- parts

    def split(self) -> tuple[AsyncResult, ...]:
        """Return one result per task; each part of a map is a list of its items."""
        return self._split()

    @classmethod
    def join(cls, *results: AsyncResult | TaskFuture[Any]) -> AsyncResult:
        """Return one result of the tasks of several: the inverse of ``split``."""
        return joined(results)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in order as they arrive."""
        if self._single:
            raise TypeError("This AsyncResult is a single result, not iterable.")
        return self._iterate(ordered=True)

    def _iterate(self, *, ordered: bool) -> Iterator[Any]:
        if self._at_hand():
            values: Any = self.get(0)
            yield from values
            return
        places = self._places()
        for number in range(len(self._tasks.ids if ordered else places)):
            yield from self._run(self._arriving(number, places, ordered=ordered))


class AsyncMapResult(AsyncResult[list[V_co]]):
    """The result of a map: a list, iterable as results arrive.

    ``ordered=False`` yields in the order of arrival while tasks are running; the
    value of ``get()`` is always in the order of the input.
    """

    def __init__(self, *args: Any, ordered: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ordered = ordered

    if TYPE_CHECKING:

        def why(self) -> Whys: ...  # type: ignore[override] # of several tasks

    def __iter__(self) -> Iterator[V_co]:
        """Yield results as they arrive."""
        return self._iterate(ordered=self._ordered)


class AsyncHubResult(AsyncResult[V_co]):
    """The result of tasks that any client submitted, by their ids.

    Each chunk of a map is a list in its value.
    """


@overload
def as_completed(
    results: AsyncMapResult[V_co], timeout: float | None = None
) -> Iterator[AsyncResult[list[V_co]]]: ...
@overload
def as_completed(
    results: AsyncResult[Any], timeout: float | None = None
) -> Iterator[AsyncResult[Any]]: ...
@overload
def as_completed(
    results: Iterable[AsyncResult[V_co]], timeout: float | None = None
) -> Iterator[AsyncResult[V_co]]: ...
@overload
def as_completed(
    results: Iterable[TaskFuture[T]] | TaskFuture[T], timeout: float | None = None
) -> Iterator[TaskFuture[T]]: ...
def as_completed(results: Any, timeout: float | None = None) -> Iterator[Any]:
    """Yield results as they are done, each once; also futures of ``view.executor``.

    Given one result of several tasks, it yields its parts. Raises ``TimeoutError``
    if not all are done ``timeout`` seconds after the first ``next()``; negative is 0.
    Raises ``TypeError`` for anything else, also for results of ``redtask.aio``.
    """
    limit = span_of(timeout)
    deadline = None if limit is None else time.monotonic() + limit
    found = Completions(of_face(results, "redtask"))
    try:
        while len(found):
            while found.ready:
                yield found.ready.popleft()
            for client, left in found.turns(deadline):
                # The next turn raises TimeoutError when the time is up.
                with contextlib.suppress(StillAway):
                    client._run(found.wait(client, left), deadline)
    finally:
        found.close()


class OutputStream:
    """Output of running tasks; made by ``AsyncResult.stream_output``."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._listener = Listener(result._session, result._tasks.ids)
        self._ready: deque[Output] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Output]:
        """Yield output until all tasks have ended."""
        return self

    def __next__(self) -> Output:
        """Wait for the next output."""
        while not self._ready:
            if self._listener.done or self._stop.is_set():
                raise StopIteration
            self._ready += self._result._run(self._listener.hear())
        return self._ready.popleft()

    def __enter__(self) -> Self:
        """Start to print output."""
        # Who only prints does not wait.
        self._listener.wanted = flows.nobody
        self._thread = threading.Thread(
            target=self._print, name="redtask output", daemon=True
        )
        self._thread.start()
        return self

    def _print(self) -> None:
        try:
            for said in self:
                if self._stop.is_set():
                    return
                show_output(said)
        except RedtaskError as problem:
            if not self._stop.is_set():
                _log.warning("what tasks print cannot be heard: %s", problem)

    def __exit__(self, *_: object) -> None:
        """Stop; if all tasks have ended, only after everything is printed."""
        if self._thread is not None and self._result._tasks.done:
            self._thread.join()
        # Otherwise it is blocked in a read, and ends after that.
        self._stop.set()


class CallbackThread:
    """Waits for results that have callbacks; one thread per client, on demand."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._added = threading.Condition(self._lock)
        #: Held while a callback is called.
        self._calling = threading.RLock()
        self._numbers = itertools.count()
        #: Results waited for, by number, and the numbers of those that are done.
        self._pending: dict[int, _Awaited] = {}
        self._ready: deque[int] = deque()
        #: The numbers of those to try again, and when, as ``time.monotonic()``.
        self._late: deque[tuple[float, int]] = deque()
        self._vigil = waiting.Vigil(
            functools.partial(bool, self._ready),
            self._left,
            wanted=self._is_wanted,
            awaited=self._awaited,
        )
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def renew(self) -> None:
        """Begin anew after a fork: thread and callbacks stayed behind."""
        if os.getpid() != self._pid:
            self._begin()

    def add(self, result: AsyncResult, callback: Callable[[AsyncResult], Any]) -> None:
        """Call the callback when the result is done; at once if it already is."""
        self.renew()
        if result._tasks.done:
            call_back(result, callback)
            return
        number = self._expect(result, callback)
        if result._tasks.done:
            # It was delivered before it was registered.
            self._settle(number)

    def later(
        self,
        result: AsyncResult,
        callback: Callable[[AsyncResult], Any],
        asker: Asker,
    ) -> None:
        """Call the callback in the thread; if the result is done, after a pause.

        For one that needs more of the hub than to know that the result is done, and
        whom others may wait for.
        """
        self.renew()
        self._expect(result, callback, asker)

    def _expect(
        self,
        result: AsyncResult,
        callback: Callable[[AsyncResult], Any],
        asker: Asker | None = None,
    ) -> int:
        """Register a result; return its number."""
        number, tasks = next(self._numbers), result._tasks

        def note() -> None:
            if tasks.done:
                self._ready.append(number)

        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._loop, name="redtask callbacks", daemon=True
                )
                thread.start()
                self._thread = thread
            self._pending[number] = _Awaited(result, callback, note, asker)
            self._vigil.timed |= tasks.timed
            tasks.wakers.append(note)
            if asker is not None and tasks.done:
                # The thread must know of it before it begins to wait.
                self._late.append((time.monotonic() + _PAUSE, number))
            self._added.notify()
        return number

    def close(self) -> None:
        """Let the thread see that the client is closed."""
        if os.getpid() == self._pid:
            # After a fork nobody might be left to release the lock.
            with self._lock:
                self._added.notify()

    def _settle(self, number: int) -> None:
        """Run the callback, unless another thread does."""
        with self._lock:
            one = self._pending.pop(number, None)
            if one is None:
                return
            one.result._tasks.wakers.remove(one.note)
        call_back(one.result, one.callback)

    def _settle_safely(self, number: int) -> None:
        try:
            self._settle(number)
        except BaseException:  # noqa: BLE001 - sys.exit() must not end the thread
            _log.exception("a callback raised")

    def finish(self) -> None:
        """Wait until callbacks of what the thread has told of have returned.

        Within one of them it returns at once.
        """
        with self._calling:
            pass

    def _loop(self) -> None:
        while True:
            while self._late and self._late[0][0] <= time.monotonic():
                self._ready.append(self._late.popleft()[1])
            while self._ready:
                with self._calling:
                    self._settle_safely(self._ready.popleft())
            with self._lock:
                if not self._pending and not self._client.closed:
                    self._added.wait(_IDLE)
                if not self._pending or self._client.closed:
                    self._thread = None
                    return
            self._await()

    def _left(self) -> list[TaskSet]:
        with self._lock:
            return [one.result._tasks for one in self._pending.values()]

    def _is_wanted(self) -> bool:
        with self._lock:
            return any(one.asker is not None for one in self._pending.values())

    def _awaited(self) -> flows.Awaited:
        """Return for what somebody surely waits."""
        seconds, ids = 0.0, []
        with self._lock:
            for one in self._pending.values():
                patience = one.asker.patience if one.asker is not None else 0.0
                seconds = max(seconds, patience)
                if math.isinf(patience):
                    ids += one.result._tasks.open_ids()
                    if len(ids) >= _SOME:
                        break
        return flows.Awaited(seconds, ids)

    def _fail(self, problem: Exception) -> None:
        """Tell those who wait for ever that they do so in vain."""
        with self._lock:
            for number, one in self._pending.items():
                if one.asker is not None and math.isinf(one.asker.patience):
                    one.asker.vain = problem
                    self._ready.append(number)

    def _await(self) -> None:
        client = self._client
        try:
            # Bounded, since results added meanwhile may have timers.
            seconds = flows.QUIET
            if self._late:
                seconds = min(seconds, max(0.0, self._late[0][0] - time.monotonic()))
            inbox = client._session.inbox
            client._run(waiting.first_done(inbox, self._vigil, seconds))
        except RedtaskError as problem:
            # Callers of get() see the problem. Here we only wait until it is over.
            _log.debug("callbacks wait: %s", problem)
            if not client.closed:
                time.sleep(_PAUSE)
        except TimeoutError as problem:
            # In a test, nothing can happen any more.
            self._fail(problem)


class Asker(Protocol):
    """On whose behalf the thread waits, and for whom others may wait."""

    #: Why it never ends; None: it may.
    vain: Exception | None

    @property
    def patience(self) -> float:
        """For how long somebody surely waits for it, in seconds; 0: nobody does."""


class _Awaited(NamedTuple):
    """One result that has a callback."""

    result: AsyncResult
    callback: Callable[[AsyncResult], Any]
    #: Called at each outcome of the result.
    note: Callable[[], None]
    #: Who perhaps waits for it, rather than listens.
    asker: Asker | None


__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
    "as_completed",
]
