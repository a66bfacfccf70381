"""Operators' orders to a worker: stop or restart engines, or show their stacks.

An order names the exact process that it is for, and has a nonce: it is obeyed once, by
one worker, within a minute of being signed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redtask.engine.stacks import Stacks, about
from redtask.error import RedtaskError
from redtask.hub import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redtask.engine.seat import Seat
    from redtask.store import Store

#: How long to remember a nonce, in seconds: longer than messages are valid.
_REMEMBERED: Final = 180.0
#: Words of an order after its name: nonce, process, verb, engines.
_WORDS: Final = 4

_log = logging.getLogger("redtask.worker")


class Orders:
    """Executes orders for one worker."""

    def __init__(
        self,
        store: Store,
        worker: str,
        seats: Sequence[Seat],
        stop: Callable[[str], None],
    ) -> None:
        self._store = store
        self._worker = worker
        self._seats = seats
        self._stop = stop
        #: Identifier of this process; "" until it is known.
        self.instance = ""
        #: Must the cluster that manages this worker end, too?
        self.ends_cluster = False
        self.stacks = Stacks()
        self._heard: dict[str, float] = {}

    def obey(self, words: Sequence[str]) -> None:
        """Execute an order: nonce, process, verb, engines, and arguments."""
        if len(words) < _WORDS:
            _log.warning("an order is not understood: %.80r", " ".join(words))
            return
        nonce, process, verb, names, *more = words
        now = time.monotonic()
        self._heard = {one: until for one, until in self._heard.items() if until > now}
        if process != self.instance or nonce in self._heard:
            _log.warning("an order is refused: it is not for us, or was obeyed before")
            return
        self._heard[nonce] = now + _REMEMBERED
        chosen = names.split(",")
        seats = [
            seat
            for seat in self._seats
            if names == "*" or (seat.pid and seat.block.uuid in chosen)
        ]
        if verb == "stack":
            self.stacks.ask(seats, partial(self._answer, nonce))
            return
        found = {seat.block.uuid: about(seat) for seat in seats if seat.pid}
        if self._do(verb, seats, more):
            self._answer(nonce, found)
        else:
            _log.warning("an order is not understood: %.80r", verb)

    def _do(self, verb: str, seats: Sequence[Seat], more: Sequence[str]) -> bool:
        """Execute a verb; False if there is no such verb.

        ``keys`` asks for what each answer tells.
        """
        if verb == "stop":
            self._stop_engines(seats)
        elif verb == "kill":
            self._kill(seats)
        elif verb == "restart":
            self._restart(seats)
        elif verb == "signal":
            self._signal(seats, more)
        elif verb == "shutdown":
            # Like a signal.
            self.ends_cluster = "hub" in more
            self._stop("an order")
        elif verb != "keys":
            return False
        return True

    def _answer(self, nonce: str, engines: Mapping[str, Mapping[str, Any]]) -> None:
        keys = self._store.keyring.keys if self._store.keyring is not None else ()
        told = {
            "worker": self._worker,
            "engines": engines,
            # Their ids: the first signs, all verify.
            "keys": [key.kid.hex() for key in keys],
        }
        text = json.dumps(told)
        try:
            self._store.do(calls.answer(nonce, text.encode()))
        except RedtaskError as problem:
            _log.debug("an answer is not told: %s", problem)

    def _stop_engines(self, seats: Sequence[Seat]) -> None:
        """Stop engines after their running tasks, without replacement."""
        for seat in seats:
            _log.info("%s is to stop", seat.called)
            seat.closed, seat.start_at = True, None
            seat.to_drain = seat.pid != 0

    def _kill(self, seats: Sequence[Seat]) -> None:
        """Kill engines now, without replacement."""
        for seat in seats:
            seat.closed, seat.start_at = True, None
            if seat.pid:
                seat.kill("an operator ended it")

    def _restart(self, seats: Sequence[Seat]) -> None:
        """Replace engines after their running tasks."""
        for seat in seats:
            _log.info("%s is to be replaced", seat.called)
            seat.closed = False
            seat.to_drain = seat.pid != 0
            if not seat.pid and seat.start_at is None:
                seat.start_at = time.monotonic()

    def _signal(self, seats: Sequence[Seat], words: Sequence[str]) -> None:
        """Send a signal to engines, like ``kill``."""
        for seat in seats:
            with contextlib.suppress(ProcessLookupError, ValueError, IndexError):
                signal.pidfd_send_signal(seat.pidfd, int(words[0]))
