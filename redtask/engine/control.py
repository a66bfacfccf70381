"""Push notifications to a worker: signed messages, and the hub's alarm.

Its wire is reopened when it breaks. While Redis is unreachable, or does not permit
this, the worker does its work all the same.
"""

from __future__ import annotations

import logging
import selectors
import time
from typing import TYPE_CHECKING, Final

from redtask import link
from redtask.engine.wire import Wire
from redtask.error import ConnectionLost, RedtaskError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.engine.herald import Herald
    from redtask.signing import Keyring
    from redtask.store import Store

#: Pause after Redis refuses the wire, in seconds.
_REFUSED_PAUSE: Final = 30.0

_log = logging.getLogger("redtask.worker")


class Control:
    """Listens for one worker."""

    def __init__(
        self,
        store: Store,
        worker: str,
        keyring: Keyring,
        herald: Herald,
        told: Callable[[str], None],
    ) -> None:
        """``told`` is called with each message signed with one of our keys."""
        self._store = store
        self._worker = worker
        self._keyring = keyring
        self._herald = herald
        self._told = told
        self._selector: selectors.BaseSelector | None = None
        self._wire: Wire | None = None
        #: When to open the wire, s of the monotonic clock.
        self._open_at = 0.0
        self._pauses = link.pauses()
        #: The last problem logged, so as not to repeat it.
        self._complaint = ""

    def serve(self, selector: selectors.BaseSelector) -> None:
        """Use this selector, of the worker's event loop."""
        self._selector = selector

    @property
    def due(self) -> float:
        """When to open the wire, again if it is dead; s of the monotonic clock."""
        if self._wire is not None:
            return self._wire.dead_at
        # While Redis is unreachable, the herald finds out when it is back.
        return self._open_at if self._herald.is_heard else float("inf")

    def open(self) -> None:
        """Open the wire, or reopen it."""
        assert self._selector is not None  # noqa: S101 - the loop has begun
        self._hang_up()
        keys = self._store.keys
        try:
            wire = Wire(self._store, (keys.control(self._worker), keys.alarm()))
        except RedtaskError as problem:
            self._cut(problem)
            return
        self._wire = wire
        self._selector.register(wire.socket, selectors.EVENT_READ, self._listen)
        # An alarm may have been missed.
        self._herald.sweep_now()

    def _cut(self, problem: RedtaskError) -> None:
        """Schedule another attempt, because the wire is dead."""
        pause = next(self._pauses)
        if isinstance(problem, ConnectionLost):
            # If Redis is unreachable, the herald logs it.
            _log.debug("%s", problem)
        else:
            pause = _REFUSED_PAUSE
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                _log.error("nobody can tell us anything: %s", problem)
        self._open_at = time.monotonic() + pause

    def _hang_up(self) -> None:
        if self._wire is not None:
            assert self._selector is not None  # noqa: S101 - the wire is in it
            self._selector.unregister(self._wire.socket)
            self._wire.close()
            self._wire = None

    def _listen(self) -> None:
        if self._wire is None:
            return
        try:
            came = self._wire.read()
        except RedtaskError as problem:
            self._hang_up()
            self._cut(problem)
            return
        self._pauses = link.pauses()
        for key, message in came:
            if key == self._store.keys.alarm().encode():
                self._herald.sweep_now()
            else:
                self._hear(message, self._wire)

    def _hear(self, message: bytes, wire: Wire) -> None:
        try:
            try:
                text = self._open(message, wire)
            except SignatureError:
                # Either clock may have been set since they were compared.
                wire.ahead = link.clock_ahead(self._store.command("TIME"))
                text = self._open(message, wire)
        except RedtaskError as problem:
            _log.warning("a message is refused: %s", problem)
        else:
            self._told(text)

    def _open(self, message: bytes, wire: Wire) -> str:
        now = time.time() * 1000 + wire.ahead
        return self._keyring.open_control(self._worker, now, message)

    def close(self) -> None:
        """Close the wire in this process only."""
        if self._wire is not None:
            self._wire.close()
