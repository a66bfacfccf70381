"""Run one task: verify, unpickle, call, pickle, sign.

Nothing is parsed or unpickled that no key holder has signed for this very task. Every
way in which a task can end without killing its engine is an outcome, whatever the
user's code raises.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redtask import payload
from redtask.error import PayloadTooLarge, SerializationError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from redtask.engine.output import Output
    from redtask.hub.records import Work
    from redtask.signing import Keyring
    from redtask.store import Store

#: Functions that are kept, and functions that are unpickled for each task.
_MOST_KEPT: Final = 1000
_MOST_BLOBS: Final = 64 << 20
#: Short fields stay in the record, which is compact as long as none is longer.
_SHORT: Final = 64
#: Clocks differ; work is refused only when it is late beyond doubt. In ms.
_LATE: Final = 60_000
#: Modules of which a user's traceback needs to know nothing.
_OURS: Final = frozenset({__name__, "redtask.payload"})

_log = logging.getLogger("redtask.engine")

#: Kind of the outcome, and fields of the record: names and values in turn.
Result: TypeAlias = tuple[str, list[Any]]


class Runner:
    """Runs tasks, one at a time."""

    def __init__(
        self, store: Store, keyring: Keyring, output: Output, largest: int
    ) -> None:
        self._store = store
        self._open = keyring.open_task
        self._sign = keyring.sign_result
        self._output = output
        self._largest = largest
        #: Told along with errors.
        self.engine_info: dict[str, Any] = {}
        #: How far the hub's clock is ahead of ours, in ms.
        self.ahead = 0.0
        #: The latest not-after time that was found to be ahead; forgotten after each
        #: batch. All tasks of a slice have the same.
        self.fresh = ""
        self._kept: dict[str, Callable[..., Any]] = {}
        self._blobs: dict[str, bytes] = {}
        self._blobs_size = 0

    def __call__(self, work: Work) -> Result:
        """Run a task to its end, whatever that is."""
        task_id, token = work[:2]
        output = self._output
        prepared = False
        try:
            function, body = self._prepare(work)
            prepared = output.inside = True
            value = payload.call(function, body)
            packed = payload.pack_result(value)
            shown = payload.short_repr(value)
            output.inside = False
            if len(packed) > self._largest:
                self._too_large(len(packed))
        except BaseException as problem:  # noqa: BLE001 - whatever the user's code does
            output.inside = False
            if isinstance(problem, SignatureError) and not prepared:
                problem = _refused(work, problem)
            kind, fields = "error", self._failed(task_id, token, problem)
        else:
            if not shown.isascii():
                shown = _short(shown)
            envelope = self._sign(task_id, token, "r", packed)
            kind, fields = "ok", ["result", envelope, "repr", shown]
        if output.printed:
            fields += output.collect()
        return kind, fields

    def _prepare(self, work: Work) -> tuple[Callable[..., Any], bytes]:
        """Return function and packed arguments, if somebody with a key wants it.

        Raises ``SignatureError`` before anything is parsed.
        """
        task_id, _, digest, args, root, until = work
        if not args:
            args = self._fetch_args(task_id)
        body = self._open(digest, until, root, args)
        if until != self.fresh:
            self._check_time(until)
        output = self._output
        if sys.stdout is not output.stdout or sys.stderr is not output.stderr:
            output.install()
        function = self._kept.get(digest)
        if function is None:
            blob = self._blob(digest)
            output.inside = True
            function = self._unpack(digest, blob)
        return function, body

    def _check_time(self, until: str) -> None:
        if until and time.time() * 1000 + self.ahead > int(until) + _LATE:
            raise SignatureError("its time is over: it was not to run that late")
        self.fresh = until

    def _too_large(self, size: int) -> None:
        raise PayloadTooLarge(
            f"the result has {size} bytes; the limit is {self._largest}"
        )

    # -- what the hub has

    def _fetch_args(self, task_id: str) -> bytes:
        args = self._store.command("GET", self._store.keys.task(task_id, "args"))
        return args or b""

    def _blob(self, digest: str) -> bytes:
        """Return what a function is made of, from the hub when it is new here."""
        blob = self._blobs.get(digest)
        if blob is None:
            key = self._store.keys.function(digest)
            blob = self._store.command("HGET", key, "blob")
            if not blob:
                raise SerializationError("the hub has not got the function any more")
            # The signature covers the digest, and the digest the function.
            if payload.digest_of(blob) != digest:
                raise SignatureError("the function is not the one that was signed")
        return blob

    def _unpack(self, digest: str, blob: bytes) -> Callable[..., Any]:
        function, keep = payload.unpack_function(blob)
        if keep:
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[digest] = function
        elif digest not in self._blobs:
            self._blobs[digest] = blob
            self._blobs_size += len(blob)
            while self._blobs_size > _MOST_BLOBS:
                oldest = next(iter(self._blobs))
                self._blobs_size -= len(self._blobs.pop(oldest))
        return function

    # -- ends that are not good

    def _failed(self, task_id: str, token: str, problem: BaseException) -> list[Any]:
        try:
            text = _traceback(problem)
            body = payload.pack_error(problem, text, self.engine_info)
            ename, evalue = type(problem).__name__, payload.safe_text(problem)
        except BaseException as another:  # noqa: BLE001 - e.g. a __str__ that exits
            ename = type(problem).__name__
            evalue = f"it could not be told: {type(another).__name__}"
            untold = RuntimeError(f"{ename}: {evalue}")
            body = payload.pack_error(untold, "", self.engine_info)
        envelope = self._sign(task_id, token, "e", body)
        fields = ["error", envelope, "ename", _short(ename)]
        # An empty field of a record means that its value is too long to be there.
        return [*fields, "evalue", _short(evalue)] if evalue else fields


def _refused(work: Work, problem: SignatureError) -> SignatureError:
    """Tell of work that nobody with a key has signed as it is."""
    _log.warning("task %s is refused: %s", work.task_id, problem)
    return SignatureError(f"refused: {problem}")


def _short(text: str) -> str:
    """Cut a text to the bytes that a compact record admits."""
    data = text.encode("utf-8", "replace")
    return data[:_SHORT].decode("utf-8", "ignore")


def _traceback(problem: BaseException) -> str:
    """Return the traceback without the frames that called the user's function."""
    try:
        about = traceback.TracebackException(
            type(problem), problem, _theirs(problem.__traceback__), compact=True
        )
        return "".join(about.format())
    except Exception:  # noqa: BLE001 - it runs the user's code
        name = type(problem).__name__
        return f"{name}: {payload.safe_text(problem)}\n"


def _theirs(frames: TracebackType | None) -> TracebackType | None:
    while frames and frames.tb_frame.f_globals.get("__name__") in _OURS:
        frames = frames.tb_next
    return frames
