"""Several results, returned as they are done."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic

from redtask.flows import waiting
from redtask.outcomes import R, Results, is_result, results_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from redtask.flows import Flow
    from redtask.session import Session

#: How long each of several hubs is listened to in turn, in seconds.
_SHORT: Final = 0.05


def _any_of(results: Mapping[int, R]) -> R | None:
    """Return any one of the results, while other threads may remove some."""
    while results:
        with contextlib.suppress(RuntimeError, StopIteration):
            return next(iter(results.values()))
    return None


class _Ready(deque[R]):
    """Results that are done and were not returned yet."""

    #: How many were returned.
    returned = 0

    def popleft(self) -> R:
        """Return one."""
        found = super().popleft()
        self.returned += 1
        return found


class Completions(Generic[R]):
    """Several results, each returned once it is done.

    Outcomes may be delivered in any thread.
    """

    def __init__(self, results: Iterable[R]) -> None:
        if isinstance(results, Results):
            results = results._split()
        listed = results_of([results] if is_result(results) else results)
        #: Results that are done and were not returned yet.
        self.ready = _Ready[R]()
        # The others, by hub and identity.
        self._open: dict[object, dict[int, R]] = {}
        for result in listed:
            self._open.setdefault(result._client._key, {})[id(result)] = result
        self._watches: dict[object, tuple[Session, waiting.Vigil]] = {}
        self._notes = {
            id(result): functools.partial(self._note, result) for result in listed
        }
        for result in {id(result): result for result in listed}.values():
            result._tasks.wakers.append(self._notes[id(result)])
            self._note(result)

    def __len__(self) -> int:
        """Return the number of results that were not returned yet."""
        # Not counted where they are: in another thread, or in a signal handler, one may
        # just be on its way from those that are open to those that are done.
        return len(self._notes) - self.ready.returned

    def _note(self, result: R) -> None:
        if result._tasks.done:
            still = self._open[result._client._key]
            if still.pop(id(result), None) is not None:
                self._forget(result)
                self.ready.append(result)

    def _forget(self, result: R) -> None:
        with contextlib.suppress(ValueError):
            result._tasks.wakers.remove(self._notes[id(result)])

    def turns(self, deadline: float | None) -> Iterator[tuple[Any, float | None]]:
        """Yield a client of each hub to ask next, and for how many seconds.

        Raises ``TimeoutError`` if the deadline has passed and none is ready.
        """
        clients = [one._client for one in map(_any_of, self._open.values()) if one]
        for client in clients:
            left = None if deadline is None else deadline - time.monotonic()
            if len(clients) > 1:
                # A thread can listen to one hub at a time, so take turns.
                left = _SHORT if left is None else min(left, _SHORT)
            yield client, left if left is None else max(0.0, left)
        over = deadline is not None and time.monotonic() >= deadline
        if over and not self.ready and len(self):
            raise TimeoutError(
                f"{len(self)} (of {len(self._notes)}) results unfinished"
            )

    def wait(self, client: Any, timeout: float | None) -> Flow[bool]:
        """Wait until one more is ready, listening to this client's hub."""
        found = self._watch(client._key)
        if found is None:
            return True
        session, vigil = found
        return (yield from waiting.first_done(session.inbox, vigil, timeout))

    def _watch(self, key: object) -> tuple[Session, waiting.Vigil] | None:
        still = self._open[key]
        results = () if key in self._watches else list(still.values())
        if results:
            # Asking for the session makes results of other processes expected.
            sessions = [one._session for one in results]
            vigil = waiting.Vigil(
                functools.partial(bool, self.ready),
                lambda: [one._tasks for one in list(still.values())],
                any(one._tasks.timed for one in results),
            )
            self._watches[key] = sessions[0], vigil
        return self._watches.get(key)

    def close(self) -> None:
        """Stop watching."""
        for still in self._open.values():
            for result in list(still.values()):
                self._forget(result)
