"""One client's own state: its name, its ids, its inbox, its keys. No I/O here.

Both faces have one. It turns calls of functions into slices of signed tasks, and
outcomes into values and exceptions.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from redtask import error, payload
from redtask.flags import Flags
from redtask.hub.calls import Group
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome
from redtask.inbox import Inbox, TaskSet
from redtask.signing import Keyring

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
#: Of 12 letters: 62 bits, so that no two clients ever share a name.
_NAME: Final = 12
#: A slice ends at so many tasks or bytes, whichever comes first.
_MOST_TASKS: Final = 500
_MOST_BYTES: Final = 4 << 20
#: Work is not to be run later than its retention and a week after it was submitted:
#: what a thief of old payloads could replay is bounded.
_WEEK: Final = 7 * 86400.0
_DAY: Final = 86400.0
_HISTORY: Final = 100_000


class Session:
    """Makes tasks and reads outcomes for one client."""

    def __init__(self, keys: Keys, keyring: Keyring) -> None:
        self.keys = keys
        self.keyring = keyring
        #: Digests that the hub is believed to know.
        self.sent: set[str] = set()
        #: Ids submitted, each once, oldest first; the last 100,000.
        self.history: dict[str, None] = {}
        self._pack = payload.Packer()
        self._begin()

    def _begin(self) -> None:
        """Become a client. A forked child becomes another one."""
        self.client = "".join(secrets.choice(_LETTERS) for _ in range(_NAME))
        self.inbox = Inbox(self.client)
        self._numbers = itertools.count()
        self._pid = os.getpid()

    def _ids(self, count: int) -> list[str]:
        if os.getpid() != self._pid:
            self._begin()
        return [f"{self.client}-{next(self._numbers)}" for _ in range(count)]

    def _remember(self, ids: Sequence[str]) -> None:
        self.history.update(dict.fromkeys(ids))
        while len(self.history) > _HISTORY:
            self.history.pop(next(iter(self.history)), None)

    # -- tasks

    def call(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[TaskSet, list[list[Group]]]:
        """Return the task of one call, and the one slice to submit."""
        bodies = [payload.pack_call(args, kwargs)]
        tasks, slices = self._prepare(flags, self._pack(function), bodies, 1)
        return tasks, list(slices)

    def calls(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        chunks: Sequence[tuple[Any, ...]],
        *,
        whole: bool = False,
    ) -> tuple[TaskSet, Iterator[list[Group]]]:
        """Return the tasks of a map, one per chunk, and their slices, made lazily.

        With ``whole`` the function gets each chunk as it is, not item by item.
        """
        packed = self._pack(function)
        if whole:
            bodies = (payload.pack_call(chunk, {}) for chunk in chunks)
        else:
            bodies = (payload.pack_chunk(chunk) for chunk in chunks)
        return self._prepare(flags, packed, bodies, len(chunks))

    def _prepare(
        self,
        flags: Flags,
        function: payload.Function,
        bodies: Iterator[bytes] | list[bytes],
        count: int,
    ) -> tuple[TaskSet, Iterator[list[Group]]]:
        ids = self._ids(count)
        tasks = TaskSet(ids)
        self.inbox.expect(tasks)
        self._remember(ids)
        return tasks, self._slices(flags, function, ids, bodies)

    def _slices(
        self,
        flags: Flags,
        function: payload.Function,
        ids: Sequence[str],
        bodies: Iterator[bytes] | list[bytes],
    ) -> Iterator[list[Group]]:
        kept = _DAY if flags.result_ttl is None else flags.result_ttl
        until = str(int(time.time() + kept + _WEEK) * 1000)
        fields = {**flags.fields(), "until": until}
        sign = self.keyring.task_signer(function.digest, until)

        def group(tasks: list[str | bytes]) -> list[Group]:
            return [Group(function.digest, function.blob, function.name, fields, tasks)]

        tasks: list[str | bytes] = []
        size = 0
        for task_id, body in zip(ids, bodies, strict=True):
            envelope = sign(task_id, body)
            tasks += (task_id, envelope)
            size += len(envelope)
            if len(tasks) >= 2 * _MOST_TASKS or size >= _MOST_BYTES:
                yield group(tasks)
                tasks, size = [], 0
        if tasks:
            yield group(tasks)

    # -- outcomes

    def decode(self, task_id: str, outcome: Outcome) -> tuple[bool, Any]:
        """Return True and the value of an outcome, or False and its exception.

        Nothing is unpickled that no engine with our key has signed for this very
        attempt: else the exception is a ``SignatureError``.
        """
        if outcome.kind == "v":
            return False, _verdict(task_id, outcome.payload)
        try:
            body = self.keyring.open_result(
                task_id, outcome.token, outcome.kind, outcome.payload
            )
        except error.SignatureError as problem:
            return False, error.SignatureError(f"outcome of {task_id}: {problem}")
        if outcome.kind == "e":
            return False, payload.unpack_error(body)
        try:
            return True, payload.unpack_result(body)
        except Exception as problem:  # noqa: BLE001 - e.g. a module missing here
            failure = error.SerializationError(
                f"the result of {task_id} cannot be unpickled here: {problem}"
            )
            failure.__cause__ = problem
            return False, failure


def _verdict(task_id: str, text: bytes) -> Exception:
    verdict, _, reason = text.decode("utf-8", "replace").partition(" ")
    if verdict == "aborted":
        return error.TaskAborted(task_id)
    if verdict == "engine_lost":
        return error.EngineError("EngineError", reason or "its engine died")
    return error.TaskLost(f"{task_id}: {reason}")


def chunk_sizes(length: int, chunksize: int) -> list[int]:
    """Cut ``length`` items into balanced chunks of at most ``chunksize``.

    Ten items by four are 4, 3, 3, as in IPython.parallel.
    """
    if chunksize <= 1:
        return [1] * length
    count = -(-length // chunksize)
    if count == 0:
        return []
    size, larger = divmod(length, count)
    return [size + 1] * larger + [size] * (count - larger)


def cut(sequences: Sequence[Any], sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Cut parallel sequences into chunks: one tuple of pieces per chunk."""
    if all(size == 1 for size in sizes):
        return [
            tuple((item,) for item in items) for items in zip(*sequences, strict=False)
        ]
    chunks, at = [], 0
    for size in sizes:
        chunks.append(tuple(sequence[at : at + size] for sequence in sequences))
        at += size
    return chunks


def as_sequences(inputs: Sequence[Any]) -> tuple[list[Any], int]:
    """Return inputs as sequences, and the length of the shortest.

    Raises ``TypeError`` when there is none or one cannot be iterated.
    """
    if not inputs:
        raise TypeError("map needs at least one sequence")
    sequences = [
        one
        if hasattr(one, "__len__")
        and hasattr(one, "__getitem__")
        and not isinstance(one, Mapping)
        else list(one)
        for one in inputs
    ]
    return sequences, min(len(one) for one in sequences)
