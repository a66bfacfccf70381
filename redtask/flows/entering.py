"""Submitting tasks to a hub, and again if it has lost them."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redtask.error import (
    ConfigurationError,
    ConnectionLost,
    HubError,
    HubFull,
    RedtaskError,
    UnknownFunction,
)
from redtask.flows import CALL, Commands, Meanwhile, ask
from redtask.flows.acting import abort
from redtask.hub import calls
from redtask.hub.calls import Call, Group
from redtask.hub.records import info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redtask.flows import Flow
    from redtask.inbox import Inbox
    from redtask.recent import Recent, Slice

T = TypeVar("T")

#: Sections of the server's INFO.
_ABOUT: Final = ("server", "memory", "persistence", "replication")
#: A stream expires an hour after its last reader; refresh it well before, in seconds.
_FRESH: Final = 1800.0
#: How many functions the hub is believed to have; of more, all are sent again.
_MOST_KNOWN: Final = 10_000
#: How many sweeps are to make room for a submit, and how much each may do.
_MOST_SWEEPS: Final = 50
_TRIMMED: Final = 100


def listen(inbox: Inbox) -> Flow[None]:
    """Ensure that the client's stream exists before anything is reported in it."""
    if inbox.position is None or time.monotonic() - inbox.listening_since > _FRESH:
        try:
            watched = yield from ask(calls.watch(inbox.client, ()))
        except HubFull:
            return
        inbox.listens(watched.position)


def enter(
    groups: Sequence[Group],
    sent: set[str],
    meanwhile: Callable[[], None] | None = None,
) -> Flow[None]:
    """Submit one slice, without functions that the hub is believed to have."""
    try:
        call = calls.submit(groups, sent)
        yield call if meanwhile is None else Meanwhile(call, meanwhile)
    except UnknownFunction:
        yield from ask(calls.submit(groups))
    for group in groups:
        if len(sent) >= _MOST_KNOWN:
            # Each closure is another one. To send some twice does no harm.
            sent.clear()
        sent.add(group.digest)


def with_room(act: Callable[[], Flow[T]]) -> Flow[T]:
    """Run a flow; if Redis is full, once more when what may be dropped is gone.

    What is kept of ended tasks is trimmed by time, which a fast producer may outrun.
    """
    try:
        return (yield from act())
    except HubFull as problem:
        for _ in range(_MOST_SWEEPS):
            try:
                swept = yield from ask(calls.sweep(_TRIMMED))
            except HubError:
                raise problem from None
            if not swept.more:
                break
    return (yield from act())


def submit(
    pieces: Iterable[Sequence[Group] | Call[Any]],
    sent: set[str],
    recent: Recent,
    meanwhile: Callable[[], None] | None = None,
) -> Flow[None]:
    """Submit slices of tasks, each all or none, and perform the calls among them.

    ``sent`` has the digests that the hub is believed to have; a function is sent with
    its first slice, and again if the hub has lost it. ``meanwhile`` is called while
    slices are in flight. If a later slice is refused, or cannot be made, or the caller
    is interrupted, the earlier ones are aborted, those behind a gate by aborting that;
    after an interrupt, the one in flight as well.
    """
    entered: dict[str, None] = {}
    gate = ""
    in_flight: Sequence[Group] = ()
    try:
        for piece in pieces:
            opened = recent.opened()
            if isinstance(piece, Call):
                yield from with_room(partial(ask, piece))
            else:
                in_flight = piece
                yield from with_room(partial(enter, piece, sent, meanwhile))
                gate = _gate_of(piece) or gate
                entered.update(dict.fromkeys(_handles(piece)))
            recent.add(piece, opened, gate)
    except ConnectionLost:
        # The hub cannot be asked to abort them either.
        raise
    except Exception:
        yield from _take_back(entered)
        raise
    except GeneratorExit:
        raise
    except BaseException:
        # A Ctrl-C, or a coroutine that is cancelled. Nobody gets the results, and so
        # nobody could abort the tasks.
        entered.update(dict.fromkeys(_handles(in_flight)))
        with contextlib.suppress(RedtaskError):
            yield from _take_back(entered)
        raise


def _take_back(entered: dict[str, None]) -> Flow[None]:
    """Abort what was submitted, latest first: a task comes after what it needs."""
    if entered:
        yield from abort([*reversed(entered)])


def _gate_of(groups: Sequence[Group]) -> str:
    """Return the gate that some of them wait for; "" if there is none."""
    return next(
        (str(group.flags["gate"]) for group in groups if "gate" in group.flags), ""
    )


def _handles(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what to abort to get rid of the tasks: their ids, or their gate's."""
    for group in groups:
        if "gate" in group.flags:
            yield str(group.flags["gate"])
        else:
            yield from map(str, group.tasks[::2])


def server_info() -> Flow[dict[str, str]]:
    """Return the server's INFO; {} if we are not permitted to read it."""
    try:
        replies = yield Commands([("INFO", name) for name in _ABOUT])
    except (ConfigurationError, HubError) as problem:
        told = str(problem).lower()
        if "'info" not in told and "unknown command" not in told:
            raise
        return {}
    return info(b"\n".join(replies))


def recover(inbox: Inbox, sent: set[str]) -> Flow[None]:
    """Submit again what Redis may have lost while it was unreachable.

    If only the connection was lost and the server is still the same process, nothing is
    done. Otherwise it costs one round trip per 100 tasks of the last moments, and one
    per slice that Redis has lost.
    """
    recent = inbox.recent
    due = recent.take_due()
    if due is None:
        # Another thread or coroutine is at it. If a thousand did it at once,
        # Redis would be busy with nothing else.
        return
    inbox.disturbed()
    try:
        with recent.saying(due):
            yield from _say_again(recent, due, sent)
    except HubError:
        # Retried next time; it is no business of the current caller.
        recent.put_back()
    except BaseException:
        recent.put_back()
        raise


def _say_again(recent: Recent, due: Sequence[Slice], sent: set[str]) -> Flow[None]:
    """Submit slices again, unless the server is still the same process."""
    server = ""
    if recent.server:
        server = (yield from server_info()).get("run_id", "")
    if server and server == recent.server:
        return
    ids = [
        name
        for one in due
        if not isinstance(one.piece, Call)
        for name in _ids_of(one.piece)
    ]
    states = yield from _states_of(ids)
    for one in due:
        yield from enter_again(recent, one, sent, states)
    recent.server = server


def enter_again(
    recent: Recent,
    one: Slice,
    sent: set[str],
    states: Mapping[str, str] | None = None,
) -> Flow[None]:
    """Submit a slice again unless the hub has all of it, as ``states`` tells."""
    if isinstance(one.piece, Call):
        try:
            yield from ask(one.piece)
        except HubFull:
            raise
        except HubError:
            # The hub has lost nothing: the gate was opened, and is gone.
            pass
    else:
        if states is None:
            states = yield from _states_of(_ids_of(one.piece))
        if any(states[name] == "unknown" for name in _ids_of(one.piece)):
            yield from enter(_not_purged(one.piece, states), sent)
    recent.renew(one)


def _ids_of(groups: Sequence[Group]) -> list[str]:
    return [str(name) for group in groups for name in group.tasks[::2]]


def _states_of(ids: Sequence[str]) -> Flow[dict[str, str]]:
    """Return the states of tasks; "unknown" for those that the hub does not have."""
    states = {}
    for at in range(0, len(ids), CALL):
        part = ids[at : at + CALL]
        watched = yield from ask(calls.watch("", part, 0))
        for name, outcome in zip(part, watched.outcomes, strict=True):
            states[name] = outcome.state
    return states


def _not_purged(groups: Sequence[Group], states: Mapping[str, str]) -> list[Group]:
    """Leave out tasks that somebody purged: they must not run again."""
    left = []
    for group in groups:
        pairs = zip(group.tasks[::2], group.tasks[1::2], strict=True)
        tasks = [
            part for pair in pairs if states[str(pair[0])] != "purged" for part in pair
        ]
        if len(tasks) == len(group.tasks):
            left.append(group)
        elif tasks:
            left.append(group._replace(tasks=tasks))
    return left
