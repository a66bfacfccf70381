"""Results of other tasks that arguments refer to: fetched, verified and cached.

A result never changes, so an engine that runs many children of one task fetches it
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redtask import payload
from redtask.error import TaskLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.signing import Keyring
    from redtask.store import Store

#: Size of the cache, and of the largest result in it, in bytes.
_MOST_KEPT: Final = 32 << 20
_LARGEST_KEPT: Final = 8 << 20


class Parents:
    """Looks up results by task id."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._open = keyring.open_result
        #: Verified results, still pickled, oldest first.
        self._kept: dict[str, bytes] = {}
        self._kept_size = 0

    def forget(self) -> None:
        """Clear the cache: Redis may have lost its latest writes, and so results."""
        self._kept.clear()
        self._kept_size = 0

    def resolver(self, ids: Sequence[str]) -> Callable[[str], Any]:
        """Fetch results in one round trip; return a function from id to result.

        That unpickles a new value on each call. Raises ``TaskLost`` if there is no
        result, and ``SignatureError`` if no engine with a key signed it.
        """
        found = {one: self._kept[one] for one in ids if one in self._kept}
        missing = [one for one in ids if one not in found]
        if missing:
            found.update(self._fetch(missing))

        def resolve(task_id: str) -> Any:
            return payload.unpack_result(found[task_id])

        return resolve

    def _fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        keys = self._store.keys
        commands: list[Sequence[str]] = []
        for one in ids:
            commands += (
                ("HMGET", keys.task(one), "state", "token", "result"),
                ("GET", keys.task(one, "result")),
            )
        replies = iter(self._store.fetch(commands))
        found = {}
        for one, record, beside in zip(ids, replies, replies, strict=True):
            state, token, inside = record
            envelope = inside or beside
            if state != b"completed" or not envelope:
                raise TaskLost(
                    f"an argument is the result of {one}, which the hub has not got: "
                    f"{'it is ' + state.decode() if state else 'there is no record'}"
                )
            found[one] = self._open(one, token.decode(), "r", envelope)
            self._keep(one, found[one])
        return found

    def _keep(self, task_id: str, body: bytes) -> None:
        if len(body) > _LARGEST_KEPT:
            return
        self._kept[task_id] = body
        self._kept_size += len(body)
        while self._kept_size > _MOST_KEPT:
            self._kept_size -= len(self._kept.pop(next(iter(self._kept))))
