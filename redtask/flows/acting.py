"""Aborting tasks, and messages to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redtask.flows import CALL, Commands, ask
from redtask.hub import calls

if TYPE_CHECKING:
    from redtask.flows import Flow

#: A message to a worker expires after this many seconds.
_OBEYED: Final = 60

#: Signs a message to a worker: worker, expiry, text.
Sign: TypeAlias = Callable[[str, int, str], bytes]


def abort(
    ids: Sequence[str],
    sign: Sign | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Flow[dict[str, str]]:
    """Abort tasks; return one word for each: aborted, running, ended, unknown.

    A call takes 100, and dependents of an aborted task fail, so ``ids`` must have
    dependents before what they depend on. With ``sign`` running tasks are interrupted;
    it signs the message to a worker, given worker, expiry (ms since the epoch, by the
    server's clock) and text. ``progress`` is called with the number of tasks done so
    far.
    """
    words: dict[str, str] = {}
    for at in range(0, len(ids), CALL):
        part = ids[at : at + CALL]
        messages: list[tuple[str, str]] = []
        answered = yield from ask(calls.abort(part, running=sign is not None))
        for name, answer in zip(part, answered, strict=True):
            words[name], *about = answer.split(" ")
            if about:
                worker, _, token = about
                messages.append((worker, f"abort {name} {token}"))
        if sign is not None and messages:
            yield from tell(messages, sign)
        if progress is not None:
            progress(at + len(part))
    return words


def tell(messages: Iterable[tuple[str, str]], sign: Sign) -> Flow[list[bool]]:
    """Leave signed messages for workers; return for each whether it exists."""
    ((seconds, _),) = yield Commands([("TIME",)])
    expiry = (int(seconds) + _OBEYED) * 1000
    there = []
    for worker, message in messages:
        call = calls.tell(worker, sign(worker, expiry, message))
        there.append((yield from ask(call)))
    return there
