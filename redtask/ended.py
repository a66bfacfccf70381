"""Actions on ended tasks: run them again, forget them. No I/O here.

Flows for both faces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redtask import flows, mint
from redtask.dependency import is_id
from redtask.error import ConnectionLost, TaskPending, UnknownTask
from redtask.flows import Commands, acting, entering, reading
from redtask.hub import calls, states
from redtask.hub.records import Purged
from redtask.listing import complete, read, walk
from redtask.session import check_ids
from redtask.slices import MOST_MEMBERS as _MOST_MEMBERS
from redtask.slices import Waits
from redtask.targets import engines_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redtask.flows import Flow
    from redtask.hub.calls import Argument
    from redtask.inbox import TaskSet
    from redtask.session import Session

#: Tasks that one call runs again: some 4 ms of Redis. A copy costs three times as much
#: as any other change.
MOST: Final = 40
#: The most bytes of arguments copied or sent by one call of ``resubmit``.
_MOST_BYTES: Final = 8 << 20
#: Work that expires sooner than this is signed again, in seconds: a month.
_SOON: Final = 30 * 86400

_SETS: Final = ("after", "follow", "refs")
#: What a new expiry depends on.
_TIMES: Final = ("ttl", "retries", "pause")


@dataclass(frozen=True, slots=True)
class Copy:
    """An ended task that is to run again."""

    old: str
    #: Its function, and until when it may run, as in its record.
    fn: str
    #: The id that its signature covers.
    root: str
    #: Size of its arguments, in bytes.
    size: int
    #: Its dependencies, as in its record: ``after``, ``follow``, ``refs``.
    sets: Mapping[str, str]
    #: As in its record, in ms: how long its result is kept; None: as usual.
    ttl: str | None
    #: How long its retries may pause together, in seconds.
    pauses: float

    @property
    def function(self) -> str:
        """Digest of the function."""
        return self.fn.partition(" ")[0]

    @property
    def until(self) -> str:
        """The rest of what the signature covers: expiry, and options for the engine."""
        return self.fn.partition(" ")[2]

    @property
    def is_stale(self) -> bool:
        """Has its expiry passed, or will it soon?"""
        latest = self.until.partition(" ")[0]
        return bool(latest) and int(latest) * 60 < time.time() + _SOON

    @property
    def members(self) -> list[str]:
        """The ids that it depended on."""
        return [
            one
            for name, text in self.sets.items()
            for one in text.split()[name != "refs" :]
        ]


def copies(
    session: Session, ids: Sequence[str], gone: list[str] | None = None
) -> Flow[list[Copy]]:
    """Return what must be known of ended tasks before they run again.

    Raises ``UnknownTask``, unless those that are ``gone`` are added to a list; and
    ``TaskPending``.
    """
    keys, found = session.keys, []
    check_ids(ids)
    for part in _parts(ids, flows.SLICE):
        names = ("state", "fn", "root", "args", *_SETS, *_TIMES)
        records = yield from read(keys, part, names)
        there = {}
        for name, record in zip(part, records, strict=True):
            if gone is not None and not _is_there(record):
                gone.append(name)
                continue
            _check_ended(name, record)
            there[name] = record
        if not there:
            continue
        yield from complete(keys, there, _SETS)
        sizes = yield Commands([("STRLEN", keys.task(name, "args")) for name in there])
        for (name, record), beside in zip(there.items(), sizes, strict=True):
            found.append(
                Copy(
                    name,
                    record["fn"],
                    record.get("root", name),
                    beside or len(record["args"]),
                    {one: record[one] for one in _SETS if one in record},
                    record.get("ttl"),
                    _pauses_of(record),
                )
            )
    return found


def _pauses_of(record: Mapping[str, str]) -> float:
    if "pause" not in record:
        return 0.0
    delay, backoff, jitter = map(float, record["pause"].split())
    return mint.pauses_of(int(record.get("retries", 0)), delay / 1000, backoff, jitter)


def _is_there(record: Mapping[str, str]) -> bool:
    # A gate is not a task: it has no function.
    return "state" in record and "fn" in record


def _check_ended(name: str, record: Mapping[str, str]) -> None:
    if not _is_there(record):
        raise UnknownTask(f"No such task: {name}")
    if (state := record["state"]) not in states.ENDED:
        raise TaskPending(f"{name} is {state}: it has not ended")


def body_of(session: Session, copy: Copy) -> Flow[bytes]:
    """Return the packed arguments of an ended task.

    Raises ``SignatureError`` unless they are signed with one of our keys, and
    ``UnknownTask`` if it is gone by now.
    """
    (envelope,) = yield from reading.parts(session.keys, [copy.old], "args")
    if envelope is None:
        raise UnknownTask(f"No such task: {copy.old}")
    return _opened(session, copy, envelope)


def each_body(
    session: Session, wanted: Sequence[Copy], visit: Callable[[Copy, bytes], object]
) -> Flow[None]:
    """Visit the packed arguments of ended tasks, some at a time: they may be large.

    Except of those that are gone by now. Raises ``SignatureError`` as ``body_of`` does.
    """
    for part in _slices(wanted, MOST):
        ids = [copy.old for copy in part]
        envelopes = yield from reading.parts(session.keys, ids, "args")
        for copy, envelope in zip(part, envelopes, strict=True):
            if envelope is not None:
                visit(copy, _opened(session, copy, envelope))


def _opened(session: Session, copy: Copy, envelope: bytes) -> bytes:
    return bytes(
        session.keyring.open_task(copy.function, copy.until, copy.root, envelope)
    )


def signed(session: Session, copy: Copy, body: bytes) -> dict[str, Argument]:
    """Return newly signed arguments for a copy, and their expiry, as fields."""
    kept = None if copy.ttl is None else int(copy.ttl) / 1000
    until = mint.until(kept=kept, pauses=copy.pauses)
    options = copy.until.partition(" ")[2]
    bound = f"{until} {options}" if options else until
    args = session.keyring.sign_task(copy.function, bound, copy.root, body)
    return {"args": args, "until": until}


def renewed(session: Session, copy: Copy) -> Flow[dict[str, Argument]]:
    """Return the fields to renew of a copy that is otherwise unchanged."""
    if not copy.is_stale:
        return {}
    body = yield from body_of(session, copy)
    return signed(session, copy, body)


#: Returns the new fields of a copy, given it and the new ids by the old ones.
Anew: TypeAlias = "Callable[[Copy, Mapping[str, str]], Flow[dict[str, Argument]]]"


def resubmit(session: Session, jobs: Any) -> Flow[TaskSet]:
    """Run ended tasks again; return the new ones."""
    ids = list(dict.fromkeys(session.ids_of(jobs)))
    wanted = yield from copies(session, ids)
    return (yield from enter(session, wanted, lambda copy, _: renewed(session, copy)))


def enter(  # noqa: PLR0913 - all but three by name
    session: Session,
    wanted: Sequence[Copy],
    anew: Anew,
    *,
    progress: Callable[[int, int], object] | None = None,
    at_once: int = MOST,
    gone: list[str] | None = None,
    keep: bool = False,
) -> Flow[TaskSet]:
    """Submit copies in order, at most ``at_once`` per call; return the new tasks.

    Raises ``UnknownTask``, unless those that are ``gone`` are added to a list. If a
    later slice is rejected, the earlier ones are aborted, or are to ``keep``.
    ``progress`` is called with the numbers of those submitted and of all.
    """
    tasks, inbox = session.expected(len(wanted)), session.inbox
    names = dict(zip((copy.old for copy in wanted), tasks.ids, strict=True))
    yield from entering.listen(inbox)
    entered: list[str] = []
    try:
        for part in _slices(wanted, at_once):
            yield from _enter_there(session, part, names, anew, entered, gone)
            if progress is not None:
                progress(len(entered), len(names))
    except ConnectionLost:
        # Aborting them would fail, too.
        raise
    except Exception:
        if entered and not keep:
            # In reverse order: dependents before what they depend on.
            yield from acting.abort(entered[::-1])
        raise
    if len(entered) < len(tasks.ids):
        tasks.become(entered)
    return tasks


def _enter_there(
    session: Session,
    part: Sequence[Copy],
    names: dict[str, str],
    anew: Anew,
    entered: list[str],
    gone: list[str] | None,
) -> Flow[None]:
    """Submit those of a slice that are not gone.

    Those that are lose their new names, so that none is told to depend on these.
    """
    while part:
        new = [names[copy.old] for copy in part]
        before = len(entered)
        try:
            said = {}
            for copy in part:
                said[copy.old] = yield from anew(copy, names)
            # Even if this fails: its reply may be what was lost.
            entered += new
            pairs = [(copy.old, names[copy.old]) for copy in part]
            yield from _enter_slice(session, part, pairs, said)
        except UnknownTask:
            there = yield from _those_there(session, part)
            if gone is None or len(there) == len(part):
                raise
            # All or none of a slice enter: none did.
            del entered[before:]
        else:
            session.remember(new)
            return
        for copy in part:
            if copy.old not in there:
                gone.append(copy.old)
                del names[copy.old]
        part = [copy for copy in part if copy.old in there]


def _those_there(session: Session, part: Sequence[Copy]) -> Flow[set[str]]:
    ids = [copy.old for copy in part]
    records = yield from read(session.keys, ids, ("state", "fn"))
    return {one for one, it in zip(ids, records, strict=True) if _is_there(it)}


def _enter_slice(
    session: Session,
    part: Sequence[Copy],
    pairs: Sequence[tuple[str, str]],
    said: dict[str, dict[str, Argument]],
) -> Flow[None]:
    """Submit one slice.

    A single task with more members than one call may have waits behind a gate while the
    hub is told of them.
    """
    copy, (_, new) = part[0], pairs[0]
    if len(copy.members) <= _MOST_MEMBERS:
        call = calls.resubmit(pairs, said)
        yield from entering.with_room(lambda: flows.ask(call))
        return
    sets = {**copy.sets, **said[copy.old]}
    after, follow = (str(sets.get(name, "as")).split() for name in ("after", "follow"))
    refs = tuple(str(sets.get("refs", "")).split())
    waits = Waits(after[0], tuple(after[1:]), follow[0], tuple(follow[1:]), refs)
    gate = session.gate()
    said[copy.old] = {**said[copy.old], "gate": gate, "later": 1}
    yield from flows.ask(calls.resubmit(pairs, said))
    for link in waits.links(new):
        yield from flows.ask(link)
    yield from flows.ask(calls.open_gate(gate))


def _slices(wanted: Sequence[Copy], most: int) -> Iterator[list[Copy]]:
    part: list[Copy] = []
    size = members = 0
    for copy in wanted:
        count = len(copy.members)
        full = size + copy.size > _MOST_BYTES or members + count > _MOST_MEMBERS
        if part and (len(part) >= most or full):
            yield part
            part, size, members = [], 0, 0
        part.append(copy)
        size, members = size + copy.size, members + count
    if part:
        yield part


# -- forgetting


def check_purge(jobs: Any, targets: Any) -> None:
    """Raise ``ValueError`` if neither jobs nor targets are given.

    And ``TypeError`` for an iterator of jobs: it can be read once, and they are checked
    first.
    """
    if isinstance(jobs, Iterator):
        raise TypeError(f"jobs must be a list, not {type(jobs).__name__}")
    if _is_nothing(jobs) and _is_nothing(targets):
        raise ValueError(
            "Must specify at least one of `targets` and `jobs`: 'all', ids, results "
            "or engines"
        )


def _is_nothing(said: Any) -> bool:
    # A future of ``view.executor`` has ids, and no length.
    listed = getattr(said, "msg_ids", said)
    return said is None or (isinstance(listed, Sized) and len(listed) == 0)


def purge_local(session: Session, jobs: Any, targets: Any) -> Flow[None]:
    """Check that none of the jobs is outstanding here; only results keep anything."""
    check_purge(jobs, targets)
    if _is_nothing(jobs):
        return
    still = yield from session.outstanding()
    if not (isinstance(jobs, str) and jobs == "all"):
        still &= set(session.ids_of(jobs))
    if still:
        raise RuntimeError(f"Can't purge outstanding tasks: {sorted(still)[:10]}")


def purge_hub(
    session: Session,
    jobs: Any,
    targets: Any,
    progress: Callable[[int], Any] | None = None,
) -> Flow[Purged]:
    """Forget ended tasks: jobs, or those that ended on engines, or all; count them.

    ``progress`` is called with the number of tasks done so far.
    """
    check_purge(jobs, targets)
    done = _Purging(progress)
    if _is_all(jobs) or _is_all(targets):
        yield from _purge_where(session, None, done)
        return (yield from done.rest())
    if not _is_nothing(targets):
        engines = engines_in(targets, uuids=True)
        yield from _check_engines(engines)
        yield from _purge_where(session, {str(one) for one in engines}, done)
    if not _is_nothing(jobs):
        ids = list(filter(is_id, session.ids_of(jobs)))
        yield from _purge_ids(session, ids, done)
    return (yield from done.rest())


class _Purging:
    """What has been purged so far.

    The hub keeps what others need, even if these have ended. Who needs a result was
    submitted later: so the latest go first, and what was kept is tried again.
    """

    def __init__(self, progress: Callable[[int], Any] | None) -> None:
        self._purged = Purged(0)
        self._progress = progress
        #: Some of these were kept.
        self._again: list[str] = []

    def purge(self, ids: Iterable[str]) -> Flow[None]:
        """Forget these."""
        for part in _parts(_latest_first(ids)):
            yield from self._ask(part)
            if self._progress is not None:
                self._progress(self._purged.purged + self._purged.kept)

    def _ask(self, ids: Sequence[str]) -> Flow[None]:
        purged = yield from flows.ask(calls.purge(ids))
        self._purged += purged
        if purged.kept or purged.left:
            self._again += ids

    def rest(self) -> Flow[Purged]:
        """Forget those, too, that only purged ones needed; return the counts."""
        before = -1
        while self._again and (self._purged.purged > before or self._purged.left):
            before = self._purged.purged
            self._purged = Purged(before)
            ids, self._again = _latest_first(self._again), []
            for part in _parts(ids):
                yield from self._ask(part)
        return self._purged


def _parts(ids: Sequence[str], most: int = flows.CALL) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), most):
        yield ids[at : at + most]


def _latest_first(ids: Iterable[str]) -> list[str]:
    """Sort ids so that of each client the latest comes first."""
    return sorted(ids, key=_number, reverse=True)


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _is_all(said: Any) -> bool:
    return isinstance(said, str) and said == "all"


def _check_engines(engines: Iterable[Any]) -> Flow[None]:
    """Raise ``IndexError`` for an id that no engine ever had."""
    known = int((yield from flows.ask(calls.status(0))).hub.get("next_engine", 0))
    for one in engines:
        if one not in range(known):
            raise IndexError(f"there never was an engine {one}")


def _purge_ids(session: Session, ids: Sequence[str], done: _Purging) -> Flow[None]:
    """Forget these; if one call cannot take them, all are checked first."""
    if len(ids) > flows.CALL:
        for part in _parts(ids, flows.SLICE):
            records = yield from read(session.keys, part, ("state", "fn"))
            for name, record in zip(part, records, strict=True):
                if record:
                    _check_ended(name, record)
    yield from done.purge(ids)


def _purge_where(
    session: Session, engines: set[str] | None, done: _Purging
) -> Flow[None]:
    """Forget all ended tasks, or those that ended on these engines."""

    def visit(ids: list[str]) -> Flow[None]:
        if engines is not None:
            records = yield from read(session.keys, ids, ("engine",))
            ids = [
                name
                for name, record in zip(ids, records, strict=True)
                if record.get("engine", "").partition("/")[0] in engines
            ]
        if ids:
            yield from done.purge(ids)

    yield from walk(session.keys, sorted(states.ENDED), visit)
