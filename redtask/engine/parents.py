"""Results of other tasks that arguments refer to: fetched, verified and cached.

A result never changes, so an engine that runs many children of one task fetches it
once. What an engine has just made, and not reported yet, it gives to those tasks that
it took along.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from redtask import payload
from redtask.error import SignatureError, TaskLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redtask.rope import Written
    from redtask.signing import Keyring
    from redtask.store import Store

#: Size of the cache, and of the largest result in it, in bytes.
_MOST_KEPT: Final = 32 << 20
_LARGEST_KEPT: Final = 8 << 20
#: Most results that are fetched along with those that are needed now, and the largest
#: of them, in bytes.
_MOST_AHEAD: Final = 200
_LARGEST_AHEAD: Final = 16 << 10
#: What is read of a record; a longer result is stored beside it.
_FIELDS: Final = ("state", "token", "result")


class Parents:
    """Looks up results by task id."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._open = keyring.open_result
        #: Verified results, still pickled, oldest first.
        self._kept: dict[str, bytes] = {}
        self._kept_size = 0
        #: Results made here, of which the hub has not heard.
        self._made: dict[str, bytes] = {}

    def forget(self) -> None:
        """Clear the cache: Redis may have lost its latest writes, and so results."""
        self._kept.clear()
        self._made.clear()
        self._kept_size = 0

    def made(self, task_id: str, body: Written) -> None:
        """Note a result for tasks that were taken along, until it is reported."""
        if len(body) <= _LARGEST_KEPT:
            self._made[task_id] = bytes(body)

    def reported(self, *, all_count: bool) -> None:
        """Keep what was made, if the hub has accepted all that was reported."""
        made, self._made = self._made, {}
        for name, body in made.items() if all_count else ():
            self._keep(name, body)

    def resolver(
        self, ids: Sequence[str], more: Callable[[], Iterable[str]] | None = None
    ) -> Callable[[str], Any]:
        """Fetch results in one round trip; return a function from id to result.

        That unpickles a new value on each call. ``more`` returns ids of which the
        results are needed soon, and are fetched in the same round trip if there is one.
        Raises ``TaskLost`` if there is no result, and ``SignatureError`` if no engine
        with a key signed it.
        """
        found = {one: body for one in ids if (body := self._known(one))}
        missing = [one for one in ids if one not in found]
        if missing:
            needed, soon = set(missing), dict.fromkeys(more() if more else ())
            ahead = [one for one in soon if one not in needed and not self._known(one)]
            found.update(self._fetch(missing, ahead[:_MOST_AHEAD]))

        def resolve(task_id: str) -> Any:
            return payload.unpack_result(found[task_id])

        return resolve

    def _known(self, task_id: str) -> bytes | None:
        # A packed result is never empty.
        return self._kept.get(task_id) or self._made.get(task_id)

    def _fetch(self, ids: Sequence[str], ahead: Sequence[str]) -> dict[str, bytes]:
        """Return the results of ``ids``, and keep those that exist of ``ahead``."""
        keys, most = self._store.keys, str(_LARGEST_AHEAD)
        commands: list[Sequence[str]] = []
        for one in ids:
            commands += (
                ("HMGET", keys.task(one), *_FIELDS),
                ("GET", keys.task(one, "result")),
            )
        for one in ahead:
            commands += (
                ("HMGET", keys.task(one), *_FIELDS),
                # A longer one is read in whole when it is needed.
                ("GETRANGE", keys.task(one, "result"), "0", most),
            )
        replies = iter(self._store.fetch(commands))
        found = {}
        for one, record, beside in zip(ids, replies, replies, strict=False):
            state, token, inside = record
            envelope = inside or beside
            if state != b"completed" or not envelope:
                raise TaskLost(
                    f"an argument is the result of {one}, which the hub has not got: "
                    f"{'it is ' + state.decode() if state else 'there is no record'}"
                )
            found[one] = self._open(one, token.decode(), "r", envelope)
            self._keep(one, found[one])
        for one, record, beside in zip(ahead, replies, replies, strict=True):
            state, token, inside = record
            envelope = inside or beside
            if state == b"completed" and 0 < len(envelope) <= _LARGEST_AHEAD:
                # If it is forged, who needs it will say so.
                with contextlib.suppress(SignatureError):
                    self._keep(one, self._open(one, token.decode(), "r", envelope))
        return found

    def _keep(self, task_id: str, body: bytes) -> None:
        if len(body) > _LARGEST_KEPT or task_id in self._kept:
            return
        self._kept[task_id] = body
        self._kept_size += len(body)
        while self._kept_size > _MOST_KEPT:
            self._kept_size -= len(self._kept.pop(next(iter(self._kept))))
