"""Run one task: verify, unpickle, call, pickle, sign.

Nothing is parsed or unpickled unless a key holder signed it for this very task.
Whatever the user's code raises, a task ends with an outcome unless it kills its engine.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redtask import link, namespace, payload
from redtask.engine.coroutines import awaited, finished
from redtask.engine.guard import Guard
from redtask.engine.parents import Parents
from redtask.error import (
    ConfigurationError,
    EngineError,
    PayloadTooLarge,
    RedtaskError,
    RemoteError,
    SerializationError,
    SignatureError,
    TaskLost,
    UnmetDependency,
)
from redtask.functional import MissingModule, dependent
from redtask.hub import sheet
from redtask.hub.records import Try, text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from types import TracebackType

    from redtask.engine.output import Output
    from redtask.hub.records import Work
    from redtask.rope import Read, Written
    from redtask.signing import Keyring
    from redtask.store import Store

#: Limits of the caches of functions, and of pickles to be unpickled each time (bytes).
_MOST_KEPT: Final = 1000
_MOST_BLOBS: Final = 64 << 20
#: Arguments that did not come along are fetched with those of so many more tasks, of
#: which each takes so much memory at most, in bytes.
_SOON: Final = 7
_MODEST: Final = 1 << 18
#: Fields of a record stay compact up to this length, in bytes.
_SHORT: Final = 64
#: Pause after Redis has refused what a task needs, in seconds: so as not to spin if it
#: does not refuse the next turn.
_REFUSED: Final = 0.1
#: Maximum length of the reason of an unmet dependency, in bytes.
_WORDS: Final = 200
#: The hub's verdicts that an engine gives, by the kind of outcome.
_VERDICTS: Final = {"late": "time_limit", "stopped": "engine_lost"}
#: Tolerance for clock skew when checking whether a task is too late, ms.
_LATE: Final = 60_000
#: Modules whose frames are hidden from users' tracebacks.
_OURS: Final = frozenset(
    {
        __name__,
        "redtask.engine.guard",
        "redtask.functional",
        "redtask.namespace",
        "redtask.payload",
        # What runs a coroutine for them.
        "redtask.engine.coroutines",
        "asyncio.runners",
        "asyncio.base_events",
        "asyncio.events",
        # What imports functions for them.
        "importlib",
        "importlib._bootstrap",
        "cloudpickle.cloudpickle",
    }
)

_log = logging.getLogger("redtask.engine")

#: Kind of the outcome, and fields of the record: alternating names and values.
Result: TypeAlias = tuple[str, list[Any]]


def _packed(
    function: Callable[..., Any], body: Read, resolver: Callable[[str], Any] | None
) -> tuple[Written, str]:
    """Call a function; return its result as it is sent, and a short text of it."""
    value = finished(payload.call(function, body, resolver), body)
    return payload.pack_result(value), payload.short_repr(value)


class Runner:
    """Runs tasks, one at a time."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        output: Output,
        largest: int,
        guard: Guard | None = None,
    ) -> None:
        self._store = store
        self._open = keyring.open_task
        self._sign = keyring.sign_result
        self._parents = Parents(store, keyring)
        self._output = output
        self._largest = largest
        #: The longest result that Redis takes, in bytes, whatever the hub says.
        self.longest = sys.maxsize
        self._guard = guard or Guard()
        #: The engine's namespace, as a module, and the names in there.
        self.main = namespace.module()
        self.names: dict[str, Any] = vars(self.main)
        #: How many names it has without any that somebody gave.
        self._own = len(self.names)
        #: What was lent of it last.
        self._loan: namespace.Loan | None = None
        #: Attached to errors.
        self.engine_info: dict[str, Any] = {}
        #: How far the server's clock is ahead of ours, in ms.
        self.ahead = 0.0
        #: The latest expiry and options found valid, which all tasks of a slice share;
        #: reset after each batch.
        self.fresh: str | None = None
        #: The options: time limit in ms (0: none), errors to retry (None: all).
        self._limit = 0
        self._retry_on: Collection[str] | None = None
        self._batch: Sequence[Work] = ()
        #: How many of the batch have begun, and do some wait for others?
        self.begun = 0
        self.chained = False
        #: Verified arguments of tasks that have not begun, by id.
        self._opened: dict[str, Read] = {}
        #: Arguments of such tasks that did not come along; were the last such small?
        self._ahead: dict[str, Read] = {}
        self._were_small = False
        #: Why Redis refused us last.
        self._told = ""
        #: Is a functional dependency being checked?
        self._asking = False
        self._kept: dict[str, Callable[..., Any]] = {}
        #: Where those are that were sent by name: the module, and what gets it of that.
        self._places: dict[str, tuple[str, Callable[[Any], Any]]] = {}
        #: The function that ran last in this batch.
        self._latest = ""
        self._blobs: dict[str, bytes] = {}
        self._blobs_size = 0

    def forget(self) -> None:
        """Become another engine: drop cached results, which the hub may have lost.

        And all names: engines that join anew do so in any order, so what was scattered
        would come back in another.
        """
        self._parents.forget()
        namespace.reset(self.names)

    def become_main(self) -> None:
        """Let the namespace be the ``__main__`` of this process, which is ours alone.

        Code that looks there finds what the names are, as in a script: pickle, say. It
        is still of the same file, which processes that a task spawns are told.
        """
        before = vars(sys.modules["__main__"])
        for name in ("__file__", "__spec__", "__package__", "__loader__"):
            if name in before:
                self.names[name] = before[name]
        self._own = len(self.names)
        sys.modules["__main__"] = self.main

    def begin(self, batch: Sequence[Work]) -> None:
        """Note that these tasks are about to run, in this order."""
        self._batch, self.begun, self.fresh, self._latest = batch, 0, None, ""
        self.chained = any(one.along for one in batch)
        self._opened.clear()
        self._ahead.clear()
        # A thread that a task has left may have changed the streams.
        self._output.install()

    def reported(self, *, all_count: bool) -> None:
        """Note that the hub has heard of the batch, and whether all of it counts."""
        if self.chained:
            self._parents.reported(all_count=all_count)

    def __call__(self, work: Work) -> Result:
        """Run a task and return its outcome."""
        task_id, token = work[:2]
        output, guard = self._output, self._guard
        output.work = work
        self.begun += 1
        called = False
        try:
            function, body, resolver = self._prepare(work)
            output.inside = True
            if guard.pending:
                guard.check()
            if isinstance(function, dependent):
                self._asking = True
                function = function.ready(awaited=awaited)
                self._asking = False
            called = True
            if len(self.names) > self._own:
                packed, shown = self._lending(function, body, resolver)
            else:
                packed, shown = _packed(function, body, resolver)
            output.inside = False
            if sys.stdout is not output.stdout or sys.stderr is not output.stderr:
                output.restore()
            if len(packed) > self._largest:
                self._refuse_larger(len(packed))
        except BaseException as problem:  # noqa: BLE001 - whatever the user's code does
            # No function call in between, so no signal handler runs there.
            inside, output.inside = output.inside, False
            return self._problem(work, problem, inside=inside, called=called)
        if self.chained:
            self._parents.made(task_id, packed)
        if not shown.isascii():
            shown = _short(shown)
        envelope = self._sign(task_id, token, "r", packed)
        fields: list[Any] = ["result", envelope, "repr", shown]
        if output.printed:
            fields += output.collect()
        return "ok", fields

    def _lending(
        self,
        function: Callable[..., Any],
        body: Read,
        resolver: Callable[[str], Any] | None,
    ) -> tuple[Written, str]:
        """Call a function that may use names of the namespace.

        So may its result, while it is packed.
        """
        output, guard = self._output, self._guard
        # Nothing interrupts lending and taking back.
        output.inside = False
        loan = self._loan = namespace.Loan(self.names, function)
        try:
            output.inside = True
            if guard.pending:
                guard.check()
            return _packed(function, body, resolver)
        finally:
            output.inside = False
            loan.end()
            output.inside = True

    def _prepare(
        self, work: Work
    ) -> tuple[Callable[..., Any], Read, Callable[[str], Any] | None]:
        """Return function, packed arguments, and a resolver of references in these.

        Raises ``SignatureError``, before anything is parsed, unless a key holder signed
        the task.
        """
        task_id, _, digest, args, root, until = work[:6]
        if not args:
            args = self._ahead.pop(task_id, b"") or self._fetch_args(task_id)
        body = self._opened.pop(task_id, None) if self._opened else None
        if body is None:
            body = self._open(digest, until, root, args)
        if until != self.fresh:
            self._read_until(task_id, until)
        function = self._kept.get(digest)
        if digest != self._latest:
            function = self._looked_up(digest, function)
        blob = self._blob(digest) if function is None else b""
        resolver = None
        if body[:1] == b"R":
            ids, body = payload.unpack_refs(body)
            resolver = self._parents.resolver(ids, self._needed_soon)
        if self._limit:
            self._guard.limit(self._limit)
        if function is None:
            function = self._unpack(digest, blob)
        return function, body, resolver

    def _looked_up(
        self, digest: str, function: Callable[..., Any] | None
    ) -> Callable[..., Any] | None:
        """Return a kept function; None if its module has another one by now.

        Asked where another function has run since, such as one that loads it again.
        """
        self._latest = digest
        if (place := self._places.get(digest)) is None:
            return function
        module, get = place
        try:
            return function if get(sys.modules[module]) is function else None
        except (KeyError, AttributeError):
            return None

    def _unpack(self, digest: str, blob: bytes) -> Callable[..., Any]:
        output = self._output
        output.inside = True
        if self._guard.pending:
            self._guard.check()
        function, keep = payload.unpack_function(blob)
        output.inside = False
        self._keep(digest, blob, function if keep else None)
        return function

    def _needed_soon(self) -> Iterator[str]:
        """Yield the tasks whose results the rest of the batch needs."""
        for work in self._batch[self.begun :]:
            if work.args and work.task_id not in self._opened:
                # If it is forged, it will be refused when it begins.
                with contextlib.suppress(SignatureError):
                    self._opened[work.task_id] = self._open(
                        work.function, work.until, work.root, work.args
                    )
            body = self._opened.get(work.task_id)
            if body is not None:
                yield from payload.unpack_refs(body)[0]

    def _read_until(self, task_id: str, until: str) -> None:
        """Parse expiry and options of a task, and check the expiry."""
        self.fresh, self._limit, self._retry_on = None, 0, None
        end, *options = until.split(" ")
        if end and self._is_late(int(end) * 60_000):
            raise self._too_late(task_id, int(end))
        for option in options:
            letter, value = option[:1], option[1:]
            if letter == "l":
                self._limit = int(value)
            elif letter == "o":
                self._retry_on = frozenset(value.split(","))
            else:
                raise SerializationError(
                    f"this engine does not know the option {option!r}: it is of an "
                    "older redtask than the client"
                )
        self.fresh = until

    def _too_late(self, task_id: str, end: int) -> SignatureError:
        """Return the error of a task that was to begin earlier, and what went before.

        Most likely it has waited long, and nobody has repeated it.
        """
        moment = dt.datetime.fromtimestamp(end * 60, dt.UTC)
        words = (
            f"it was to begin by {moment:%Y-%m-%d %H:%M} UTC: resubmit it, which signs "
            "it anew"
        )
        key = self._store.keys.task(task_id, "attempts")
        last = self._store.command("LRANGE", key, -1, -1)
        return SignatureError(
            f"{words}; before that: {Try.read(last[0]).what}" if last else words
        )

    def compare_clocks(self) -> None:
        """Find out how far the server's clock is ahead of ours."""
        self.ahead = link.clock_ahead(self._store.command("TIME"))

    def _is_late(self, end: int) -> bool:
        """Is a time over, in ms since the epoch?"""
        end += _LATE
        if time.time() * 1000 + self.ahead <= end:
            return False
        # Either clock may have been set since they were compared.
        self.compare_clocks()
        return time.time() * 1000 + self.ahead > end

    def read_limit(self) -> None:
        """Find out how large a result may be."""
        key = self._store.keys.hub()
        found = self._store.command("HGET", key, "max_payload") or b""
        # Whoever has damaged the setting must not end engines.
        if found.isdigit():
            self._largest = min(int(found), self.longest)

    def _refuse_larger(self, size: int) -> None:
        """Raise if a result is too large, even if the limit was raised meanwhile."""
        with contextlib.suppress(RedtaskError):
            self.read_limit()
        if size > self._largest:
            raise PayloadTooLarge(
                f"the result has {size} bytes; the limit is {self._largest}"
            )

    # -- functions and arguments

    def _fetch_args(self, task_id: str) -> Read:
        """Return arguments that did not come along.

        If the last such ones were small, those of the next tasks probably are: they
        come with them, unless they turn out to be large.
        """
        key_of = self._store.keys.task
        soon: list[str] = []
        if self._were_small:
            later = self._batch[self.begun :]
            lacking = (work.task_id for work in later if not work.args)
            soon += itertools.islice(
                (one for one in lacking if one not in self._ahead), _SOON
            )
        args, *more = self._store.fetch(
            [("GET", key_of(task_id, "args"))]
            + [("GETRANGE", key_of(one, "args"), "0", _MODEST) for one in soon]
        )
        self._ahead |= {
            one: found
            for one, found in zip(soon, more, strict=True)
            if len(found) <= _MODEST
        }
        args = args or b""
        self._were_small = len(args) <= _MODEST
        return args

    def _blob(self, digest: str) -> bytes:
        """Return a pickled function, fetched from the hub if it is new here."""
        blob = self._blobs.get(digest)
        if blob is None:
            key = self._store.keys.function(digest)
            blob = self._store.command("HGET", key, "blob")
            if not blob:
                raise SerializationError("the hub has not got the function any more")
            # The signature covers the digest, which covers the function.
            if payload.digest_of(blob) != digest:
                raise SignatureError("the function is not the one that was signed")
        return blob

    def _keep(
        self, digest: str, blob: bytes, function: Callable[..., Any] | None
    ) -> None:
        """Cache a function, or its pickle if it must be unpickled for each task."""
        place = payload.place_of(blob)
        if function is not None:
            if len(self._kept) >= _MOST_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._places.pop(oldest, None)
            self._kept[digest] = function
            if place is not None:
                self._places[digest] = place
        # What may be needed again is not fetched again.
        if (function is None or place is not None) and digest not in self._blobs:
            self._blobs[digest] = blob
            self._blobs_size += len(blob)
            while self._blobs_size > _MOST_BLOBS:
                first = next(iter(self._blobs))
                self._blobs_size -= len(self._blobs.pop(first))

    # -- failures

    def _problem(
        self, work: Work, problem: BaseException, *, inside: bool, called: bool
    ) -> Result:
        """Return the outcome of a task that raised.

        ``inside``: in the user's code; ``called``: its function had been called.
        """
        asking, self._asking = self._asking, False
        if self._loan is not None:
            # An interrupt may have come just before it ended.
            self._loan.end()
        output = self._output
        output.restore()
        problem = self._guard.found(problem)
        kind = self._guard.kind(problem)
        if not (inside or called) and self._is_to_come_again(work, problem):
            kind = "unbegun"
        elif kind == "unbegun" and called and not self._may_begin_again(work):
            kind, problem = "stopped", _stopped(problem)
        elif isinstance(problem, SignatureError) and not inside:
            kind, problem = "final", _refused(work, problem)
        elif kind == "error" and _is_unmet(problem):
            kind = "unmet"
        elif kind == "error" and not self._is_to_retry(problem):
            kind = "final"
        if kind in {"unmet", "unbegun"}:
            # It has not run: its output is discarded.
            output.collect()
            return kind, _unmet(problem, asking=asking) if kind == "unmet" else []
        if kind == "aborted":
            return kind, output.collect() if output.printed else []
        fields = self._failed(work, problem, _VERDICTS.get(kind, ""))
        if output.printed:
            fields += output.collect()
        return "final" if kind == "stopped" else kind, fields

    def _is_to_come_again(self, work: Work, problem: BaseException) -> bool:
        """Is what a task needs only not to be had now? Then it goes back."""
        if isinstance(problem, TaskLost):
            # It is not in our memory, and the task comes again when the hub has it.
            return work.along
        if not isinstance(problem, ConfigurationError):
            return False
        # An administrator can fix it; mostly, the next turn waits until that is done.
        if str(problem) != self._told:
            self._told = str(problem)
            _log.error("%s", problem)
        time.sleep(_REFUSED)
        return True

    def _may_begin_again(self, work: Work) -> bool:
        """May a task that was interrupted by nobody's fault begin once more?

        Without retries it is promised to run at most once.
        """
        (retries,) = fields_of(self._store, work.task_id, ("retries",))
        # A damaged record must not end the engine.
        return bool(retries and retries.isdecimal() and int(retries))

    def _is_to_retry(self, problem: BaseException) -> bool:
        """Should this error be retried, according to the task's ``retry_on``?"""
        if self._retry_on is None:
            return True
        return any(
            kind.__name__ in self._retry_on
            or f"{kind.__module__}.{kind.__qualname__}" in self._retry_on
            for kind in type(problem).__mro__
        )

    def _failed(self, work: Work, problem: BaseException, verdict: str) -> list[Any]:
        try:
            text = traceback_of(problem) + _advice(problem)
            body = payload.pack_error(problem, text, self.engine_info, verdict)
            ename, evalue = type(problem).__name__, payload.safe_text(problem)
        except BaseException as another:  # noqa: BLE001 - e.g. a __str__ that exits
            ename = type(problem).__name__
            evalue = f"it could not be told: {type(another).__name__}"
            untold = RuntimeError(f"{ename}: {evalue}")
            body = payload.pack_error(untold, "", self.engine_info)
        envelope = self._sign(work.task_id, work.token, "e", body)
        fields = ["error", envelope, "ename", _short(ename)]
        if verdict and isinstance(problem, RemoteError):
            evalue = problem.evalue
        # No empty fields: they mean that the value is stored beside the record.
        return [*fields, "evalue", _short(evalue)] if evalue else fields


def fields_of(store: Store, task_id: str, names: tuple[str, ...]) -> list[str | None]:
    """Read fields of a task's record, for its own code."""
    own = ("HMGET", store.keys.task(task_id), *names)
    found = store.commands([*sheet.words(store.keys, task_id), own])
    values = sheet.pick(names, *found)
    return [None if value is None else text(value) for value in values]


def _stopped(problem: BaseException) -> EngineError:
    """Return the error for a task that was interrupted and must not begin again."""
    words = "its worker was stopped while it ran, and it has no retries"
    return EngineError(words).with_traceback(problem.__traceback__)


def _refused(work: Work, problem: SignatureError) -> SignatureError:
    """Log and return an error for a task that no key holder signed."""
    _log.warning("task %s is refused: %s", work.task_id, problem)
    return SignatureError(f"refused: {problem}")


def _is_unmet(problem: BaseException) -> bool:
    """Is it an unmet functional dependency, rather than one re-raised from a result?"""
    return isinstance(problem, UnmetDependency) and not isinstance(problem, RemoteError)


def _unmet(problem: BaseException, *, asking: bool) -> list[Any]:
    """Return why a task cannot run here, and whether that holds for its function."""
    try:
        words = _short(" ".join(str(problem).split()), _WORDS)
    except BaseException:  # noqa: BLE001 - it is the user's code
        words = ""
    fields = ["words", words or type(problem).__name__]
    if asking and isinstance(problem, MissingModule):
        fields += ("by", "require")
    return fields


def _short(text: str, most: int = _SHORT) -> str:
    """Truncate text to ``most`` bytes, by default to what a compact record admits."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - 3].decode("utf-8", "ignore") + "..."


def traceback_of(problem: BaseException) -> str:
    """Return the traceback without our frames around the user's function."""
    try:
        about = traceback.TracebackException(
            type(problem), problem, _theirs(problem.__traceback__), compact=True
        )
        return "".join(about.format())
    except Exception:  # noqa: BLE001 - it runs the user's code
        name = type(problem).__name__
        return f"{name}: {payload.safe_text(problem)}\n"


def _advice(problem: BaseException) -> str:
    """Return a line on where engines look for modules, if one was missing."""
    if not isinstance(problem, ModuleNotFoundError):
        return ""
    return (
        "Engines import from the folder where their worker was started "
        f"({sys.path[0]}), PYTHONPATH, and the packages of {sys.executable}.\n"
    )


def _theirs(frames: TracebackType | None) -> TracebackType | None:
    while frames and _is_ours(frames):
        frames = frames.tb_next
    last = frames
    while last:
        if last.tb_next and _is_interruption(last.tb_next):
            last.tb_next = None
        last = last.tb_next
    return frames


def _is_ours(frames: TracebackType) -> bool:
    return frames.tb_frame.f_globals.get("__name__") in _OURS


def _is_interruption(frames: TracebackType) -> bool:
    """Is all from here on ours, as when the guard has interrupted the task?"""
    while frames.tb_next and _is_ours(frames):
        frames = frames.tb_next
    return _is_ours(frames)
