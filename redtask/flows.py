"""Conversations of several steps, as generators. No I/O here.

A flow yields what is to be done - a ``Call``, plain ``Commands``, what is large to
``Fetch``, a blocking read to ``Hear``, or a ``Wait`` - and gets back what came of it.
A driver performs the steps, one blocking, one awaiting; so both faces share every flow,
and a test can hold the conversation by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import (
    Callable,
    Container,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from redtask.error import (
    ConfigurationError,
    ConnectionLost,
    HubError,
    HubFull,
    NoEnginesRegistered,
    UnknownFunction,
)
from redtask.hub import calls
from redtask.hub.calls import Call, Group
from redtask.hub.records import Outcome, mapping

if TYPE_CHECKING:
    from redtask.hub.keys import Keys
    from redtask.inbox import Inbox, TaskSet
    from redtask.recent import Recent, Slice

T = TypeVar("T")

#: When nothing has arrived for so many seconds, the records are asked.
QUIET: Final = 5.0
#: ... and when nothing was found there either, less and less often, up to this.
MOST_QUIET: Final = 30.0
#: A stream lives an hour without a reader; it is made sure of well before.
_FRESH: Final = 1800.0
#: No client sweeps more often than this, in seconds.
_BRIEF: Final = 0.02
#: While a sweep is under way, others look again after this, in seconds.
_SOON: Final = 0.1
#: Ids in one call.
_SLICE: Final = 500
#: For so many seconds a message to a worker is to be obeyed.
_OBEYED: Final = 60


@dataclass(frozen=True, slots=True)
class Commands:
    """Plain reads, in one round trip."""

    #: The words of each.
    commands: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Plain reads of what may be large, in one round trip."""

    #: The words of each.
    commands: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Hear:
    """One blocking read, of ``link.LONGEST_BLOCK`` seconds at most, not repeated."""

    #: Its words.
    words: Sequence[Any]


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


#: Signs a message to a worker: worker, expiry, text.
Sign: TypeAlias = Callable[[str, int, str], bytes]
Step: TypeAlias = Call[Any] | Commands | Fetch | Hear | Wait
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """Perform one call."""
    value: T = yield call
    return value


# -- submitting


def listen(inbox: Inbox) -> Flow[None]:
    """Make sure that the client's stream is there, before what it is to tell of."""
    if inbox.position is None or time.monotonic() - inbox.listening_since > _FRESH:
        try:
            watched = yield from ask(calls.watch(inbox.client, ()))
        except HubFull:
            return
        inbox.listens(watched.position)


def _enter(groups: Sequence[Group], sent: set[str]) -> Flow[None]:
    """Submit one slice. Functions that the hub is believed to know stay here."""
    told: set[str] = set()
    lean = []
    for group in groups:
        digest = group.digest
        if digest in told or digest in sent:
            # Once is enough for all groups of the slice.
            group = Group(digest, b"", group.name, group.flags, group.tasks)  # noqa: PLW2901
        lean.append(group)
        told.add(digest)
    try:
        yield from ask(calls.submit(lean))
    except UnknownFunction:
        yield from ask(calls.submit(groups))
    sent.update(group.digest for group in groups)


def submit(
    pieces: Iterable[Sequence[Group] | Call[Any]], sent: set[str], recent: Recent
) -> Flow[None]:
    """Enter slices of tasks, each all or none, and make the calls among them.

    ``sent`` has the digests that the hub is believed to know; a function goes along
    with its first slice, and again when the hub has forgotten it. Should a later
    slice be refused, or be impossible to make, the earlier ones are aborted; those
    behind a gate, with the gate.
    """
    entered: dict[str, None] = {}
    gate = ""
    try:
        for piece in pieces:
            opened = recent.opened()
            if isinstance(piece, Call):
                yield from ask(piece)
            else:
                yield from _enter(piece, sent)
                gate = _gate_of(piece) or gate
                entered.update(dict.fromkeys(_handles(piece)))
            recent.add(piece, opened, gate)
    except ConnectionLost:
        # It cannot be told to abort them either.
        raise
    except Exception:
        if entered:
            yield from abort(list(entered))
        raise


def _gate_of(groups: Sequence[Group]) -> str:
    """Return the gate that some of them stand behind; "": none."""
    return next(
        (str(group.flags["gate"]) for group in groups if "gate" in group.flags), ""
    )


def _handles(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what is to be aborted if the tasks are to go: ids, but for a gate's own."""
    for group in groups:
        if "gate" in group.flags:
            yield str(group.flags["gate"])
        else:
            yield from map(str, group.tasks[::2])


def server_info() -> Flow[dict[str, str]]:
    """Return what the server says of itself; {} where we may not ask."""
    try:
        replies = yield Commands([("INFO", "server"), ("INFO", "memory")])
    except (ConfigurationError, HubError) as problem:
        told = str(problem).lower()
        if "'info" not in told and "unknown command" not in told:
            raise
        return {}
    lines = b"\n".join(replies).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def recover(inbox: Inbox, sent: set[str]) -> Flow[None]:
    """Say again what Redis may have forgotten when it was away.

    A connection that was lost is no reason while the server is the process it was.
    Else it costs one round trip per 500 tasks of the last moments, and one per slice of
    them that Redis has forgotten.
    """
    recent = inbox.recent
    if not recent.is_due:
        # Another thread was faster.
        return
    server = ""
    if recent.server:
        server = (yield from server_info()).get("run_id", "")
    due = recent.take_due()
    if server and server == recent.server:
        return
    try:
        ids = [
            name
            for one in due
            if not isinstance(one.piece, Call)
            for name in _ids_of(one.piece)
        ]
        states = yield from _states_of(ids)
        for one in due:
            yield from _enter_again(recent, one, sent, states)
        recent.server = server
    except HubError:
        # What cannot be said now is said next time; it is not who asks now that
        # has to hear of it.
        recent.put_back()
    except BaseException:
        recent.put_back()
        raise


def _enter_again(
    recent: Recent,
    one: Slice,
    sent: set[str],
    states: Mapping[str, str] | None = None,
) -> Flow[None]:
    """Say a slice again, unless the hub knows all of it; ``states``: what it knows."""
    if isinstance(one.piece, Call):
        try:
            yield from ask(one.piece)
        except HubFull:
            raise
        except HubError:
            # The hub has not forgotten: the gate was opened, and is gone.
            pass
    else:
        if states is None:
            states = yield from _states_of(_ids_of(one.piece))
        if any(states[name] == "unknown" for name in _ids_of(one.piece)):
            yield from _enter(_not_purged(one.piece, states), sent)
    recent.renew(one)


def _ids_of(groups: Sequence[Group]) -> list[str]:
    return [str(name) for group in groups for name in group.tasks[::2]]


def _states_of(ids: Sequence[str]) -> Flow[dict[str, str]]:
    """Return the states of tasks; "unknown" for those that the hub does not know."""
    states = {}
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        watched = yield from ask(calls.watch("", part, 0))
        for name, outcome in zip(part, watched.outcomes, strict=True):
            states[name] = outcome.state
    return states


def _not_purged(groups: Sequence[Group], states: Mapping[str, str]) -> list[Group]:
    """Leave out the tasks that somebody had forgotten: they must not run again."""
    left = []
    for group in groups:
        pairs = zip(group.tasks[::2], group.tasks[1::2], strict=True)
        tasks = [
            part for pair in pairs if states[str(pair[0])] != "purged" for part in pair
        ]
        if len(tasks) == len(group.tasks):
            left.append(group)
        elif tasks:
            left.append(replace(group, tasks=tasks))
    return left


# -- waiting

_LOST: Final = Outcome("unknown", "", "v", b"record_gone there is no such record")
#: Enough for the payloads of one call of ``watch``.
_BUDGET: Final = 4 << 20
#: Payloads that a script tells with others; and so many larger ones are fetched in
#: one round trip.
_SMALL: Final = 1 << 20
_LARGE_ONES: Final = 16


def _told(inbox: Inbox, tasks: TaskSet | None, name: str, outcome: Outcome) -> None:
    inbox.deliver(name, outcome)
    if tasks is not None:
        # It may be a set that nobody but the caller knows.
        tasks.deliver(name, outcome)


def look(
    inbox: Inbox,
    tasks: TaskSet,
    ids: Sequence[str],
    budget: int = _BUDGET,
    *,
    others: Container[str] = (),
) -> Flow[None]:
    """Ask the records what has become of tasks; the stream tells of the rest.

    With a ``budget`` of 0 it is only found out whether they have ended. ``others``
    among the ids are not of the set.
    """
    if underway := inbox.underway:
        ids = [name for name in ids if name not in underway]
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        turn = inbox.recent.turn
        try:
            watched = yield from ask(calls.watch(inbox.client, part, budget))
            inbox.listens(watched.position)
        except HubFull:
            watched = yield from ask(calls.watch("", part, budget))
        for name, outcome in zip(part, watched.outcomes, strict=True):
            own = None if name in others else tasks
            if outcome.ended:
                _told(inbox, own, name, outcome)
            elif outcome.state == "unknown":
                # Others of its slice, or who else waits, may have seen to it by now.
                if not inbox.recent.was_said_since(turn, name):
                    yield from _miss(inbox, own, name)
            elif outcome.state == "waiting" and own is not None:
                # Perhaps for a time.
                own.timed = True
            elif outcome.state == "purged":
                _told(inbox, own, name, _LOST)


def _miss(inbox: Inbox, tasks: TaskSet | None, name: str) -> Flow[None]:
    """There is no record: submit the task again if Redis may have forgotten it."""
    forgotten = inbox.recent.find(name)
    if not forgotten:
        _told(inbox, tasks, name, _LOST)
        return
    try:
        for one in forgotten:
            yield from _enter_again(inbox.recent, one, set())
    except HubFull:
        # There may be room when the records are asked next.
        return


def recheck(inbox: Inbox, tasks: TaskSet, budget: int = _BUDGET) -> Flow[None]:
    """Ask the records what has become of the open tasks of a set."""
    tasks.checked = time.monotonic()
    yield from look(inbox, tasks, tasks.open_ids(), budget)


def check_quiet(inbox: Inbox, tasks: TaskSet, since: float) -> Flow[None]:
    """Ask the records, as nothing has arrived for some time.

    A waiter is right with the stream switched off: this is where. Not, however, when
    they were asked later than ``since`` and the stream has been well: single tasks
    that others wait for are asked along, so ten thousand waiters cost twenty calls.
    """
    since = max(since, inbox.disturbed_at)
    if tasks.checked >= since:
        return
    tasks.checked = now = time.monotonic()
    own, others = tasks.open_ids(), dict[str, None]()
    for name, other in islice(inbox.unchecked(since), -len(own) % _SLICE):
        other.checked = now
        others[name] = None
    yield from look(inbox, tasks, [*own, *others], others=others)


def until(
    inbox: Inbox,
    tasks: TaskSet,
    ready: Callable[[], bool],
    timeout: float | None,
    *,
    sure: bool = True,
) -> Flow[bool]:
    """Wait until ``ready()``, at most ``timeout`` seconds (None: for ever).

    Returns whether it is. With 0 it looks once; else, to be ``sure``, at the latest
    when time is over.
    """
    begun = time.monotonic()
    deadline = None if timeout is None else begun + timeout
    if ready():
        return True
    missed = inbox.position is None or tasks.checked < inbox.disturbed_at
    if missed or (timeout is not None and timeout <= 0):
        yield from recheck(inbox, tasks)
    quiet, rest = QUIET, begun
    while True:
        seen = tasks.arrived
        if ready():
            return True
        seconds = rest + quiet - time.monotonic()
        if tasks.timed:
            seconds = min(seconds, (yield from sweep(inbox)))
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0 and time.monotonic() >= deadline:
                return False
        arrived = yield Wait(inbox, tasks, seen, max(0.0, seconds))
        now = time.monotonic()
        over = deadline is not None and now >= deadline
        if not arrived:
            since = begun if sure and over else now - quiet / 2
            yield from check_quiet(inbox, tasks, since)
            if tasks.timed and not over and now < rest + quiet:
                # It was only time to sweep.
                continue
            # Nothing new in the records either: ask less and less often.
            quiet = QUIET if tasks.arrived != seen else min(2 * quiet, MOST_QUIET)
        rest = now


def sweep(inbox: Inbox) -> Flow[float]:
    """Do what is due by time alone; return in how many seconds to come again.

    A supervisor does that as well, but there may be none. All who wait in this
    client share one sweep.
    """
    if time.monotonic() >= inbox.sweep_at:
        inbox.sweep_at = time.monotonic() + _SOON
        swept = yield from ask(calls.sweep())
        due = swept.due / 1000 if swept.due >= 0 else QUIET
        pause = 0.0 if swept.more else max(_BRIEF, min(due, QUIET))
        inbox.sweep_at = time.monotonic() + pause
    return max(0.0, inbox.sweep_at - time.monotonic())


def any_done(inbox: Inbox, sets: Sequence[TaskSet]) -> Flow[None]:
    """Wait until one of the sets is done, or something else has come in between."""
    if inbox.position is None:
        yield from listen(inbox)
    seen = inbox.arrived
    if any(tasks.done for tasks in sets):
        return
    seconds = QUIET
    if any(tasks.timed for tasks in sets):
        seconds = yield from sweep(inbox)
    yield Wait(inbox, inbox, seen, seconds)
    # Also when something has come: it may go on coming, and this still be missing.
    since = time.monotonic() - QUIET
    for tasks in sets:
        if not tasks.done:
            yield from check_quiet(inbox, tasks, since)


@dataclass(slots=True)
class Vigil:
    """Several sets, of which the first to be done is waited for, again and again.

    However many they are, an arrival costs no more than among few: who holds the
    vigil is only asked which are left when it was quiet.
    """

    #: Is one done?
    ready: Callable[[], bool]
    #: The sets that are not.
    left: Callable[[], Sequence[TaskSet]]
    #: May something happen to them by time alone?
    timed: bool = False
    #: When the records were last asked, ``time.monotonic()``.
    asked: float = -math.inf


def first_done(inbox: Inbox, vigil: Vigil, timeout: float | None) -> Flow[bool]:
    """Wait at most ``timeout`` seconds (None: for ever); return whether one is done."""
    begun = time.monotonic()
    deadline = None if timeout is None else begun + timeout
    if vigil.ready():
        return True
    deaf = inbox.position is None or (timeout is not None and timeout <= 0)
    if deaf or vigil.asked < inbox.disturbed_at:
        yield from _ask_for(inbox, vigil, math.inf if deaf else 0.0)
    quiet = QUIET
    while True:
        seen = inbox.arrived
        if vigil.ready():
            return True
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            return False
        seconds = max(0.0, vigil.asked + quiet - now)
        if vigil.timed:
            seconds = min(seconds, (yield from sweep(inbox)))
        if deadline is not None:
            seconds = min(seconds, max(0.0, deadline - time.monotonic()))
        yield Wait(inbox, inbox, seen, seconds)
        now = time.monotonic()
        over = deadline is not None and now >= deadline
        # Also when something has come: it may go on coming, and this be missing.
        due = now >= vigil.asked + quiet
        if over or due or vigil.asked < inbox.disturbed_at:
            yield from _ask_for(inbox, vigil, begun if over else now - quiet / 2)
        if due:
            quiet = QUIET if inbox.arrived != seen else min(2 * quiet, MOST_QUIET)


def _ask_for(inbox: Inbox, vigil: Vigil, since: float) -> Flow[None]:
    """Ask the records of sets that were not asked since then."""
    since = max(since, inbox.disturbed_at)
    vigil.asked = time.monotonic()
    sets = vigil.left()
    names: dict[str, None] = {}
    for tasks in sets:
        if tasks.checked < since:
            tasks.checked = vigil.asked
            names.update(dict.fromkeys(tasks.open_ids()))
    if names:
        yield from look(inbox, sets[0], list(names), others=names)
    vigil.timed = vigil.timed or any(tasks.timed for tasks in sets)


def complete(
    inbox: Inbox,
    tasks: TaskSet,
    ids: Iterable[str] | None = None,
    *,
    large: bool = True,
) -> Flow[None]:
    """Fetch the payloads that were too large to be told; those ``large``, or not.

    A task whose end Redis has forgotten meanwhile is open again afterwards.
    """
    names = [
        name
        for name in (tasks.ids if ids is None else ids)
        if name in tasks.outcomes and tasks.outcomes[name].kind == "-"
    ]
    for at in range(0, len(names), _SLICE):
        part = late = names[at : at + _SLICE]
        if len(part) > 1:
            watched = yield from ask(calls.watch("", part, _SMALL))
            late = []
            for name, found in zip(part, watched.outcomes, strict=True):
                if found.kind == "-":
                    late.append(name)
                else:
                    yield from _completed(inbox, tasks, name, found)
        # What is large costs a script much more than a plain read.
        for first in range(0, len(late) if large else 0, _LARGE_ONES):
            yield from _fetch(inbox, tasks, late[first : first + _LARGE_ONES])


def _completed(inbox: Inbox, tasks: TaskSet, name: str, found: Outcome) -> Flow[None]:
    if found.ended:
        tasks.deliver(name, found)
    else:
        tasks.reopen(name)
        inbox.expect(tasks)
        yield from look(inbox, tasks, (name,))


def _fetch(inbox: Inbox, tasks: TaskSet, names: Sequence[str]) -> Flow[None]:
    """Fetch payloads without a script."""
    keys, commands = inbox.keys, list[Sequence[str]]()
    parts = [
        "result" if tasks.outcomes[name].state == "completed" else "error"
        for name in names
    ]
    for name, part in zip(names, parts, strict=True):
        commands.append(("HMGET", keys.task(name), "state", "token", part, "verdict"))
        commands.append(("GET", keys.task(name, part)))
    replies = yield Fetch(commands)
    pairs = zip(replies[::2], replies[1::2], strict=True)
    for name, part, (record, beside) in zip(names, parts, pairs, strict=True):
        state, token, inside, verdict = record
        body = inside or beside
        if not body or verdict or state != tasks.outcomes[name].state.encode():
            # It is not what it was.
            watched = yield from ask(calls.watch("", (name,)))
            yield from _completed(inbox, tasks, name, watched.outcomes[0])
            continue
        found = Outcome(state.decode(), token.decode(), part[0], body)
        tasks.deliver(name, found)


def wait(inbox: Inbox, tasks: TaskSet, timeout: float | None) -> Flow[bool]:
    """Wait until every task has ended; return whether they have."""
    return (yield from until(inbox, tasks, lambda: tasks.done, timeout))


def collect(
    inbox: Inbox,
    tasks: TaskSet,
    ready: Callable[[], bool],
    timeout: float | None,
    known: Container[str] = (),
) -> Flow[bool]:
    """Wait as ``until``, and have the payloads of what has ended, but for ``known``."""
    while True:
        if not (yield from until(inbox, tasks, ready, timeout)):
            return False
        yield from complete(
            inbox, tasks, [one for one in tasks.ids if one not in known]
        )
        if ready():
            return True


# -- reading


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


def parts(keys: Keys, ids: Sequence[str], name: str) -> Flow[list[bytes | None]]:
    """Read a field of tasks that may stand beside the record, wherever it stands."""
    values: list[bytes | None] = []
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
        words: list[tuple[str, ...]] = []
        for task_id in part:
            words.append(("HGET", keys.task(task_id), name))
            words.append(("GET", keys.task(task_id, name)))
        replies = yield Commands(words)
        for inline, beside in zip(replies[::2], replies[1::2], strict=True):
            values.append(inline or beside)
    return values


def outputs(keys: Keys, ids: Sequence[str], name: str) -> Flow[list[str]]:
    """Read ``stdout`` or ``stderr`` of tasks, wherever it stands."""
    found = yield from parts(keys, ids, name)
    return [(value or b"").decode("utf-8", "replace") for value in found]


def abort(ids: Sequence[str], sign: Sign | None = None) -> Flow[dict[str, str]]:
    """Abort tasks; return one word for each: aborted, running, ended, unknown.

    With ``sign`` those that run are interrupted: it signs the message to a worker, of
    worker, expiry (ms since the epoch, the server's clock) and text.
    """
    words: dict[str, str] = {}
    messages: list[tuple[str, str]] = []
    for at in range(0, len(ids), _SLICE):
        part = ids[at : at + _SLICE]
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


def dependents(keys: Keys, ids: Iterable[str]) -> Flow[list[str]]:
    """Return tasks and what still depends on them, directly or not.

    Each stands behind all that depend on it.
    """
    order: list[str] = []
    seen: set[str] = set()
    for name in ids:
        todo = [(name, iter((name,)))]
        while todo:
            above, others = todo[-1]
            other = next((one for one in others if one not in seen), None)
            if other is not None:
                seen.add(other)
                todo.append((other, iter((yield from _told_by(keys, other)))))
            else:
                todo.pop()
                if todo:
                    order.append(above)
    return order


def _told_by(keys: Keys, name: str) -> Flow[list[str]]:
    others: list[str] = []
    while True:
        key, at = keys.task(name, "dependents"), len(others)
        (page,) = yield Commands([("ZRANGE", key, at, at + _SLICE - 1)])
        # The first letter says of which set it is.
        others += (entry[1:].decode() for entry in page)
        if len(page) < _SLICE:
            return list(dict.fromkeys(others))


# -- engines


def engines(
    number: int, keys: Keys, timeout: float | None, *, block: bool
) -> Flow[None]:
    """Wait until at least so many engines have joined.

    Raises ``TimeoutError``; without ``block`` it looks once and raises
    ``NoEnginesRegistered``.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    # The story tells of every engine that joins.
    latest = yield Commands([("XREVRANGE", keys.story(), "+", "-", "COUNT", 1)])
    position = latest[0][0][0].decode() if latest[0] else "0-0"
    while True:
        status = yield from ask(calls.status(0))
        joined = int(status.hub["registered"])
        if joined >= number:
            return
        sentence = f"{joined} of {number} engines have joined"
        if not block:
            raise NoEnginesRegistered(sentence)
        left = QUIET if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(sentence)
        patience = max(1, int(min(left, QUIET) * 1000))
        words = ("XREAD", "COUNT", 100, "BLOCK", patience, "STREAMS")
        try:
            reply = yield Hear((*words, keys.story(), position))
        except ConnectionLost:
            # The next look has patience.
            continue
        if reply:
            position = reply[0][1][-1][0].decode()
