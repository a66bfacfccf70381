"""Waiting for events in the log: engines that join, or become idle."""

from __future__ import annotations

import numbers
import time
from typing import TYPE_CHECKING

from redtask.error import ConnectionLost, NoEnginesRegistered, StillAway
from redtask.flows import QUIET, Commands, Hear, ask
from redtask.hub import calls
from redtask.hub.records import text

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.hub.records import Status


def latest(keys: Keys) -> Flow[str]:
    """Return the stream id of the latest event."""
    (page,) = yield Commands([("XREVRANGE", keys.story(), "+", "-", "COUNT", 1)])
    return text(page[0][0]) if page else "0-0"


def hear(keys: Keys, position: str, seconds: float) -> Flow[str]:
    """Wait for events after ``position``; return the stream id of the last."""
    patience = max(1, int(seconds * 1000))
    words = ("XREAD", "COUNT", 100, "BLOCK", patience, "STREAMS")
    try:
        reply = yield Hear((*words, keys.story(), position))
    except ConnectionLost:
        # The caller's next call waits for Redis to return.
        return position
    return text(reply[0][1][-1][0]) if reply else position


def joined(
    number: int, keys: Keys, timeout: float | None, *, block: bool
) -> Flow[None]:
    """Wait until at least ``number`` engines have joined.

    Raises ``TimeoutError``; without ``block`` it looks once and raises
    ``NoEnginesRegistered``. Raises ``TypeError`` for what is no number of engines.
    """
    if not isinstance(number, numbers.Integral):
        kind = type(number).__name__
        raise TypeError(f"n must be a whole number of engines, not {kind}")
    try:
        yield from _joined(number, keys, timeout, block=block)
    except StillAway as problem:
        raise TimeoutError(str(problem)) from problem


def _joined(
    number: int, keys: Keys, timeout: float | None, *, block: bool
) -> Flow[None]:
    deadline = None if timeout is None else time.monotonic() + timeout
    position = yield from latest(keys)
    while True:
        status = yield from ask(calls.status(0))
        there = int(status.hub["registered"])
        if there >= number:
            return
        sentence = f"{there} of {number} engines have joined"
        if not block:
            raise NoEnginesRegistered(sentence)
        left = QUIET if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(sentence)
        position = yield from hear(keys, position, min(left, QUIET))


def idle(
    keys: Keys, engines: Container[str], look: Callable[[], Flow[Status]]
) -> Flow[None]:
    """Wait until these engines, which are drained, have no tasks left, or are gone.

    ``look`` takes a snapshot of the hub with all its engines.
    """
    position = yield from latest(keys)
    while True:
        status = yield from look()
        if not any(one.load for one in status.engines if one.uuid in engines):
            return
        position = yield from hear(keys, position, QUIET)
