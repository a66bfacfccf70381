"""Conversations of several steps, as generators. No I/O here.

A flow yields what is to be done - a ``Call``, plain ``Commands``, or a ``Wait`` - and
gets back what came of it. A driver performs the steps, one blocking, one awaiting; so
both faces share every flow, and a test can hold the conversation by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from redtask.error import HubFull, UnknownFunction
from redtask.hub import calls
from redtask.hub.calls import Call, Group
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome, mapping
from redtask.inbox import Inbox, TaskSet

T = TypeVar("T")

#: When nothing has arrived for so many seconds, the records are asked.
QUIET: Final = 5.0
#: A stream lives an hour without a reader; it is made sure of well before.
_FRESH: Final = 1800.0
#: Ids in one call.
_SLICE: Final = 500


@dataclass(frozen=True, slots=True)
class Commands:
    """Plain reads, in one round trip."""

    #: The words of each.
    commands: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until something arrives; True if it did."""

    #: Whose stream tells.
    inbox: Inbox
    #: Where it is to arrive: one set, or anywhere in the inbox.
    tasks: TaskSet | Inbox
    #: How many had arrived when the flow last looked.
    seen: int
    #: At most so many seconds.
    seconds: float


Step: TypeAlias = Call[Any] | Commands | Wait
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """Perform one call."""
    value: T = yield call
    return value


def listen(inbox: Inbox) -> Flow[None]:
    """Make sure that the client's stream is there, before what it is to tell of."""
    if inbox.position is None or time.monotonic() - inbox.listening_since > _FRESH:
        try:
            watched = yield from ask(calls.watch(inbox.client, ()))
        except HubFull:
            return
        inbox.listens(watched.position)


def submit(slices: Iterable[Sequence[Group]], sent: set[str]) -> Flow[int]:
    """Enter slices of tasks, each all or none; return how many tasks.

    ``sent`` has the digests that the hub is believed to know; a function goes along
    with its first slice, and again when the hub has forgotten it.
    """
    total = 0
    for groups in slices:
        lean = [
            replace(group, blob=b"") if group.digest in sent else group
            for group in groups
        ]
        try:
            submitted = yield from ask(calls.submit(lean))
        except UnknownFunction:
            submitted = yield from ask(calls.submit(groups))
        sent.update(group.digest for group in groups)
        total += submitted.new + submitted.known
    return total


_LOST: Final = Outcome("unknown", "", "v", b"record_gone there is no such record")


def recheck(inbox: Inbox, tasks: TaskSet) -> Flow[None]:
    """Ask the records what has become of the open tasks; the stream tells the rest.

    A waiter is right with the stream switched off: this is where.
    """
    open_ids = tasks.open_ids()
    while open_ids:
        ids, open_ids = open_ids[:_SLICE], open_ids[_SLICE:]
        try:
            watched = yield from ask(calls.watch(inbox.client, ids))
            inbox.listens(watched.position)
        except HubFull:
            watched = yield from ask(calls.watch("", ids))
        for name, outcome in zip(ids, watched.outcomes, strict=True):
            if outcome.ended:
                tasks.deliver(name, outcome)
                inbox.deliver(name, outcome)
            elif outcome.state == "unknown":
                tasks.deliver(name, _LOST)
                inbox.deliver(name, _LOST)


def until(
    inbox: Inbox, tasks: TaskSet, ready: Callable[[], bool], timeout: float | None
) -> Flow[bool]:
    """Wait until ``ready()``, at most ``timeout`` seconds (None: for ever).

    Returns whether it is. With 0 it looks once.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if ready():
        return True
    if inbox.position is None or (timeout is not None and timeout <= 0):
        yield from recheck(inbox, tasks)
    quiet = QUIET
    while not ready():
        seconds = quiet
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                return False
        seen = tasks.arrived
        arrived = yield Wait(inbox, tasks, seen, seconds)
        if not arrived:
            yield from recheck(inbox, tasks)
            # Nothing new in the records either: ask less and less often.
            quiet = QUIET if tasks.arrived != seen else min(2 * quiet, 30.0)
    return True


def any_done(inbox: Inbox, sets: Sequence[TaskSet]) -> Flow[None]:
    """Wait until one of the sets is done, or something else has come in between."""
    if inbox.position is None:
        yield from listen(inbox)
    seen = inbox.arrived
    if not any(tasks.done for tasks in sets):
        arrived = yield Wait(inbox, inbox, seen, QUIET)
        if not arrived:
            for tasks in sets:
                yield from recheck(inbox, tasks)


def complete(tasks: TaskSet, ids: Iterable[str] | None = None) -> Flow[None]:
    """Fetch the payloads that were too large to be told."""
    for name in tasks.ids if ids is None else ids:
        outcome = tasks.outcomes.get(name)
        if outcome is not None and outcome.kind == "-":
            watched = yield from ask(calls.watch("", (name,)))
            found = watched.outcomes[0]
            tasks.deliver(name, found if found.ended else _LOST)


def wait(inbox: Inbox, tasks: TaskSet, timeout: float | None) -> Flow[bool]:
    """Wait until every task has ended; return whether they have."""
    return (yield from until(inbox, tasks, lambda: tasks.done, timeout))


def records(keys: Keys, ids: Sequence[str]) -> Flow[list[dict[str, str]]]:
    """Read whole records, without what stands beside them; {} where there is none."""
    found: list[dict[str, str]] = []
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        replies = yield Commands([("HGETALL", keys.task(name)) for name in part])
        found += map(_record, replies)
    return found


def _record(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        reply = [word for pair in reply.items() for word in pair]
    return mapping(reply)


def outputs(keys: Keys, ids: Sequence[str], name: str) -> Flow[list[str]]:
    """Read ``stdout`` or ``stderr`` of tasks, wherever it stands."""
    texts: list[str] = []
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        words: list[tuple[str, ...]] = []
        for task_id in part:
            words.append(("HGET", keys.task(task_id), name))
            words.append(("GET", keys.task(task_id, name)))
        replies = yield Commands(words)
        for inline, beside in zip(replies[::2], replies[1::2], strict=True):
            texts.append((inline or beside or b"").decode("utf-8", "replace"))
    return texts


def abort(ids: Sequence[str]) -> Flow[dict[str, str]]:
    """Abort tasks; return one word for each: aborted, running, ended, unknown."""
    words: dict[str, str] = {}
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        answered = yield from ask(calls.abort(part))
        words.update(zip(part, answered, strict=True))
    return words
