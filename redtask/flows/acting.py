"""Aborting tasks, and messages to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from redtask.flows import SLICE, Commands, ask
from redtask.hub import calls

if TYPE_CHECKING:
    from redtask.flows import Flow

#: For so many seconds a message to a worker is to be obeyed.
_OBEYED: Final = 60

#: Signs a message to a worker: worker, expiry, text.
Sign: TypeAlias = Callable[[str, int, str], bytes]


def abort(ids: Sequence[str], sign: Sign | None = None) -> Flow[dict[str, str]]:
    """Abort tasks; return one word for each: aborted, running, ended, unknown.

    A call takes 500, and what depends on an aborted task fails: who depends on others
    of them must stand before these.
    With ``sign`` those that run are interrupted: it signs the message to a worker, of
    worker, expiry (ms since the epoch, the server's clock) and text.
    """
    words: dict[str, str] = {}
    messages: list[tuple[str, str]] = []
    for at in range(0, len(ids), SLICE):
        part = ids[at : at + SLICE]
        answered = yield from ask(calls.abort(part, running=sign is not None))
        for name, answer in zip(part, answered, strict=True):
            words[name], *about = answer.split(" ")
            if about:
                worker, _, token = about
                messages.append((worker, f"abort {name} {token}"))
    if sign is not None and messages:
        yield from tell(messages, sign)
    return words


def tell(messages: Iterable[tuple[str, str]], sign: Sign) -> Flow[list[bool]]:
    """Leave messages for workers, signed; is there one of each name?"""
    ((seconds, _),) = yield Commands([("TIME",)])
    expiry = (int(seconds) + _OBEYED) * 1000
    there = []
    for worker, message in messages:
        call = calls.tell(worker, sign(worker, expiry, message))
        there.append((yield from ask(call)))
    return there
