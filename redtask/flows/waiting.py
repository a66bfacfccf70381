"""Waiting for tasks: notified by the stream, with polling as a fallback."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from redtask.error import GONE, HubError, HubFull, NoHub, SchemaMismatch
from redtask.flows import QUIET, SLICE, Fetch, Wait, anybody, ask, nobody, reading
from redtask.flows.entering import enter_again
from redtask.hub import calls
from redtask.hub.records import Outcome, text

if TYPE_CHECKING:
    from redtask.flows import Awaited, Flow
    from redtask.inbox import Inbox, TaskSet

#: The interval of polling backs off up to this while nothing changes, in seconds.
MOST_QUIET: Final = 30.0
#: No client sweeps more often than this, in seconds.
_BRIEF: Final = 0.02
#: How long a glance listens, how long what it heard is as good as new, and how long
#: nobody glances at a Redis that is away, in seconds.
_GLANCE: Final = 0.0002
_FRESH: Final = 0.004
_ABSENT: Final = 1.0
#: While one sweep is running, others look again after this, in seconds.
_SOON: Final = 0.1

_LOST: Final = Outcome("unknown", "", "v", f"record_gone {GONE}".encode())
#: Ids in one call of ``watch``: more would keep Redis from others for too long.
_ASKED: Final = 200
#: Limit on the payloads in one reply of ``watch``, in bytes.
_BUDGET: Final = 4 << 20
#: Limit on payloads read by one script call, in bytes; number of larger ones fetched
#: per round trip; and from what size on a plain read is better.
_SMALL: Final = 1 << 20
_LARGE_ONES: Final = 16
_BULKY: Final = 16384


_NONE: Final[Mapping[str, TaskSet]] = MappingProxyType({})
#: What waits may wait for a time; and who runs a task, or is to, may be gone, without a
#: supervisor left that would say so.
_TIMED: Final = frozenset({"waiting", "assigned", "running"})


def _told(inbox: Inbox, tasks: TaskSet | None, name: str, outcome: Outcome) -> None:
    inbox.deliver(name, outcome)
    if tasks is not None:
        # The inbox may not know this set.
        tasks.deliver(name, outcome)


def look(
    inbox: Inbox,
    tasks: TaskSet,
    ids: Sequence[str],
    budget: int = _BUDGET,
    *,
    others: Mapping[str, TaskSet] = _NONE,
) -> Flow[None]:
    """Read the outcomes of tasks; the stream will report those still open.

    With a ``budget`` of 0 only whether they have ended is read. ``others`` among the
    ids do not belong to the set, but to these.
    """
    if underway := inbox.underway:
        ids = [name for name in ids if name not in underway]
    for at in range(0, len(ids), _ASKED):
        part = ids[at : at + _ASKED]
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
                # Another waiter may have resubmitted its slice meanwhile.
                if not inbox.recent.was_said_since(turn, name):
                    yield from _miss(inbox, own, name)
            elif outcome.state in _TIMED:
                others.get(name, tasks).timed = True
            elif outcome.state == "purged":
                _told(inbox, own, name, _LOST)


def _miss(inbox: Inbox, tasks: TaskSet | None, name: str) -> Flow[None]:
    """There is no record: submit the task again if Redis may have lost it."""
    forgotten = inbox.recent.find(name)
    if not forgotten:
        _told(inbox, tasks, name, _LOST)
        return
    try:
        with inbox.recent.saying(forgotten):
            for one in forgotten:
                yield from enter_again(inbox.recent, one, set())
    except HubFull:
        # There may be room at the next poll.
        return


def recheck(inbox: Inbox, tasks: TaskSet, budget: int = _BUDGET) -> Flow[None]:
    """Read the outcomes of the open tasks of a set."""
    tasks.checked = time.monotonic()
    yield from look(inbox, tasks, tasks.open_ids(), budget)


def check_quiet(inbox: Inbox, tasks: TaskSet, since: float) -> Flow[None]:
    """Poll the records, because nothing has arrived for some time.

    This makes waiting correct even without the stream. It is skipped if they were read
    after ``since`` and the stream has been undisturbed.
    """
    since = max(since, inbox.disturbed_at)
    if tasks.checked < since:
        yield from _recheck_several(inbox, tasks, since)


def _recheck_several(inbox: Inbox, tasks: TaskSet, since: float) -> Flow[None]:
    """Read the outcomes of a set, and of others not read after ``since``.

    Each call is filled up with tasks of other waiters, so ten thousand waiters on one
    task each cost fifty calls.
    """
    tasks.checked = now = time.monotonic()
    own = tasks.open_ids()
    others: dict[str, TaskSet] = {}
    for name, other in islice(inbox.unchecked(since), -len(own) % _ASKED):
        other.checked = now
        others[name] = other
    yield from look(inbox, tasks, [*own, *others], others=others)


def _idle() -> Flow[None]:
    """Do nothing."""
    yield from ()


def until(  # noqa: PLR0913 - all but the first four are options
    inbox: Inbox,
    tasks: TaskSet,
    ready: Callable[[], bool],
    timeout: float | None,
    *,
    sure: bool = True,
    meanwhile: Callable[[], Flow[None]] = _idle,
    wanted: Callable[[], bool] = anybody,
) -> Flow[bool]:
    """Wait until ``ready()``, at most ``timeout`` seconds (None: forever).

    Returns whether it is. The records are read once with a timeout of 0; otherwise, if
    ``sure``, when time runs out at the latest. ``meanwhile`` is run whenever something
    has arrived, and more is waited for. ``wanted`` is that of the ``Wait``.
    """
    begun = time.monotonic()
    deadline = None if timeout is None else begun + timeout
    if ready():
        return True
    yield from _look_first(inbox, tasks, timeout)
    quiet, rest = QUIET, begun
    while True:
        seen = tasks.arrived
        if ready():
            return True
        yield from meanwhile()
        seconds = rest + quiet - time.monotonic()
        if tasks.timed:
            seconds = min(seconds, (yield from sweep(inbox)))
        patience = math.inf if deadline is None else deadline - time.monotonic()
        if patience <= 0:
            return False
        seconds = max(0.0, min(seconds, patience))
        arrived = yield Wait(inbox, tasks, seen, seconds, patience, wanted)
        now = time.monotonic()
        over = deadline is not None and now >= deadline
        if not arrived:
            since = begun if sure and over else now - quiet / 2
            yield from check_quiet(inbox, tasks, since)
            if tasks.timed and not over and now < rest + quiet:
                # Only a sweep was due.
                continue
            # Nothing new in the records either: back off.
            quiet = QUIET if tasks.arrived != seen else min(2 * quiet, MOST_QUIET)
        rest = now


def _look_first(inbox: Inbox, tasks: TaskSet, timeout: float | None) -> Flow[None]:
    """Read the records before waiting, if that is wanted or something was missed."""
    if timeout is not None and timeout <= 0:
        yield from recheck(inbox, tasks)
    elif inbox.position is None or tasks.checked < inbox.disturbed_at:
        yield from _recheck_several(inbox, tasks, inbox.disturbed_at)


def may_glance(inbox: Inbox, tasks: TaskSet, now: float) -> bool:
    """Is it worth while to ask for the outcomes of a set again?

    Not if its client has just heard of all its tasks, or Redis is away.
    """
    if now < inbox.absent_until:
        return False
    return now >= inbox.glance_at or _must_ask(inbox, tasks, now)


def _must_ask(inbox: Inbox, tasks: TaskSet, now: float) -> bool:
    """May the stream not tell of these tasks?"""
    # Very many are asked for as seldom as by those who have waited for long.
    quiet = QUIET if len(tasks.ids) <= _ASKED else MOST_QUIET
    since = max(inbox.disturbed_at, now - quiet)
    return inbox.position is None or tasks.checked < since


def glance(inbox: Inbox, tasks: TaskSet) -> Flow[None]:
    """Take what has arrived by now, for all tasks of the client.

    If Redis is away, others need not find out for some time.
    """
    now = time.monotonic()
    inbox.absent_until = now + _ABSENT
    if tasks.timed:
        yield from sweep(inbox)
    if _must_ask(inbox, tasks, now):
        yield from _recheck_several(inbox, tasks, now)
    else:
        inbox.glance_at = now + _FRESH
        yield Wait(inbox, tasks, tasks.arrived, _GLANCE, _GLANCE, nobody)
        if tasks.checked < inbox.disturbed_at:
            yield from _recheck_several(inbox, tasks, inbox.disturbed_at)
    inbox.absent_until = 0.0


def runs(inbox: Inbox, tasks: TaskSet) -> Flow[bool]:
    """Return whether an engine runs one of these tasks, as the records say.

    If Redis is away, others need not find out for some time, as for a glance.
    """
    now = time.monotonic()
    if now < inbox.absent_until:
        return False
    inbox.absent_until = now + _ABSENT
    names, found = tasks.open_ids(), False
    for at in range(0, len(names), SLICE):
        part = names[at : at + SLICE]
        records = yield from reading.fields(inbox.keys, part, ("state",))
        if found := any(state == b"running" for (state,) in records):
            break
    inbox.absent_until = 0.0
    return found


def sweep(inbox: Inbox) -> Flow[float]:
    """Sweep if due; return in how many seconds to call again.

    Supervisors sweep as well, but there may be none. All waiters of this client share
    one sweep.
    """
    if time.monotonic() >= inbox.sweep_at:
        inbox.sweep_at = time.monotonic() + _SOON
        pause = QUIET
        try:
            swept = yield from ask(calls.sweep())
        except (NoHub, SchemaMismatch):
            raise
        except HubError:
            # Who waits need not hear of it: what he waits for may come all the same.
            pass
        else:
            due = swept.due / 1000 if swept.due >= 0 else QUIET
            pause = 0.0 if swept.more else max(_BRIEF, min(due, QUIET))
        inbox.sweep_at = time.monotonic() + pause
    return max(0.0, inbox.sweep_at - time.monotonic())


@dataclass(slots=True)
class Vigil:
    """Repeated waiting for the first of several sets to be done.

    The cost of an arrival does not depend on the number of sets: ``left`` is only
    called when the records are polled.
    """

    #: Is any set done?
    ready: Callable[[], bool]
    #: Returns the sets that are not done.
    left: Callable[[], Sequence[TaskSet]]
    #: May they depend on time, so that sweeps are needed?
    timed: bool = False
    #: When the records were last read, ``time.monotonic()``.
    asked: float = -math.inf
    #: Those of each ``Wait``.
    wanted: Callable[[], bool] = anybody
    awaited: Callable[[], Awaited] | None = None

    def wait(self, inbox: Inbox, seen: int, seconds: float, patience: float) -> Wait:
        """Return the step that waits for any set."""
        return Wait(inbox, inbox, seen, seconds, patience, self.wanted, self.awaited)


def first_done(inbox: Inbox, vigil: Vigil, timeout: float | None) -> Flow[bool]:
    """Wait at most ``timeout`` seconds (None: forever); return whether one is done."""
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
        patience = math.inf if deadline is None else deadline - now
        if patience <= 0:
            return False
        seconds = max(0.0, vigil.asked + quiet - now)
        if vigil.timed:
            seconds = min(seconds, (yield from sweep(inbox)))
        yield vigil.wait(inbox, seen, min(seconds, patience), patience)
        now = time.monotonic()
        over = deadline is not None and now >= deadline
        # Even if something arrived: other arrivals must not hide a missed one.
        due = now >= vigil.asked + quiet
        if over or due or vigil.asked < inbox.disturbed_at:
            yield from _ask_for(inbox, vigil, begun if over else now - quiet / 2)
        if due:
            quiet = QUIET if inbox.arrived != seen else min(2 * quiet, MOST_QUIET)


def _ask_for(inbox: Inbox, vigil: Vigil, since: float) -> Flow[None]:
    """Read the records of sets that were not read after ``since``."""
    since = max(since, inbox.disturbed_at)
    vigil.asked = time.monotonic()
    sets = vigil.left()
    names: dict[str, TaskSet] = {}
    for tasks in sets:
        if tasks.checked < since:
            tasks.checked = vigil.asked
            names.update(dict.fromkeys(tasks.open_ids(), tasks))
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
    """Fetch payloads that were too large for the stream; ``large``: of any size.

    A task whose end Redis has lost meanwhile is open again afterwards.
    """
    names = [
        name
        for name in (tasks.ids if ids is None else ids)
        if tasks.size(name) == math.inf
    ]
    if tasks.bulky is None and large:
        # The first shows how large they are.
        yield from _fetch(inbox, tasks, names[:1])
        names = names[1:]
    for at in range(0, len(names), _ASKED):
        part = late = names[at : at + _ASKED]
        if len(part) > 1 and not tasks.bulky:
            watched = yield from ask(calls.watch("", part, _SMALL))
            late = []
            for name, found in zip(part, watched.outcomes, strict=True):
                if found.kind == "-":
                    late.append(name)
                else:
                    yield from _completed(inbox, tasks, name, found)
        # Large values cost much more in a script than in a plain read.
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
    """Fetch payloads by plain reads."""
    if not names:
        return
    keys, commands = inbox.keys, list[Sequence[str]]()
    parts = [
        "result" if tasks.state(name) == "completed" else "error" for name in names
    ]
    for name, part in zip(names, parts, strict=True):
        commands.append(("HMGET", keys.task(name), "state", "token", part, "verdict"))
        commands.append(("GET", keys.task(name, part)))
    replies = yield Fetch(commands)
    pairs = zip(replies[::2], replies[1::2], strict=True)
    for name, part, (record, beside) in zip(names, parts, pairs, strict=True):
        state, token, inside, verdict = record
        body = inside or beside
        if not body or verdict or state != tasks.state(name).encode():
            # The record has changed.
            watched = yield from ask(calls.watch("", (name,)))
            yield from _completed(inbox, tasks, name, watched.outcomes[0])
            continue
        found = Outcome(text(state), text(token or b""), part[0], body)
        tasks.bulky = len(body) >= _BULKY
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
    meanwhile: Callable[[], Flow[None]] = _idle,
) -> Flow[bool]:
    """Wait like ``until``, then fetch payloads of ended tasks except ``known``."""
    while True:
        if not (yield from until(inbox, tasks, ready, timeout, meanwhile=meanwhile)):
            return False
        yield from complete(
            inbox, tasks, [one for one in tasks.ids if one not in known]
        )
        if ready():
            return True
