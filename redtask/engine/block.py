"""Memory shared by a supervisor and one of its engines.

The engine records in it which tasks it has started and which have ended, and how. So a
crash is blamed on exactly the task that was running, the supervisor reports what was
finished, and the rest is returned unharmed. The supervisor can also take back tasks
that have not started, and outcomes that wait too long for the engine's next turn. A
lock decides between starting a task and taking it back.

Each side writes fields of its own, and fields that must be consistent with each other
change under the lock. Writes are ordered so that the engine may die at any instant:
the supervisor then reads without the lock.

A block is created before its engine is forked and is never reused for another one.
"""

from __future__ import annotations

import marshal
import mmap
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context
from typing import Any, Final, NamedTuple, TypeAlias

from redtask.engine.slate import Slate
from redtask.rope import Rope

#: States of an engine.
STARTING: Final = 0
TALKING: Final = 1  # to Redis, in a turn
IDLE: Final = 2  # blocked on its bell
RUNNING: Final = 3  # a batch

#: Reasons to stop a task.
BY_LIMIT: Final = 1  # it exceeds its time limit
BY_ABORT: Final = 2  # somebody aborted it
BY_STOP: Final = 3  # its worker is stopping
#: A time that never comes, ns.
NEVER: Final = 1 << 62

# The fields, 64 bits each.
_FIELDS: Final = 30
(
    # Written by the engine:
    _STATE,
    _LOOPS,
    _ENGINE_ID,  # plus one; 0: not registered
    _LEASE,  # also by the supervisor, once it is registered
    _NUMBER,
    _COUNT,
    _BEGUN,
    _BEGUN_AT,
    _ENDED,
    _ENDED_BEFORE,  # tasks of earlier batches
    _BATCH_AT,
    _BATCH_SIZE,
    _UUID_SIZE,
    _LOG_END,
    _LEAVING,  # it does what was left for its end
    # Written by both, under the lock:
    _LIMIT,
    _TAKEN,  # bytes of the log
    _TAKEN_COUNT,  # outcomes of the log
    _WATCHED,
    # Written by the supervisor:
    _DEADLINE,
    _DRAIN,
    _QUIET,  # drained by the hub; by the engine until it is registered
    _LOOPS_SEEN,  # when it last looked for something to take
    # For stopping the running task. It is identified by its start time, which no two
    # share, so what is meant for one never hits another. Written by the engine:
    _LIMITED,  # start time of the task that has a time limit
    _LIMIT_MS,
    _LIMIT_AT,
    _SPARED,  # start time of the task that must no longer be stopped
    # Written by the supervisor:
    _STOP,  # start time of the task that must stop
    _STOP_WHY,
    # Written by both, under the lock:
    _LOOK_AT,  # when the supervisor next checks the time limit
) = range(_FIELDS)

_UUID: Final = slice(8 * _FIELDS, 8 * _FIELDS + 64)
_BATCH_FROM: Final = 1024
#: Ids and tokens of 500 tasks take less than half of it.
_BATCH_BYTES: Final = 128 * 1024
_LOG_FROM: Final = _BATCH_FROM + _BATCH_BYTES
#: Outcomes that do not fit are reported immediately.
LOG_BYTES: Final = 1 << 20
_SIZE: Final = _LOG_FROM + LOG_BYTES
_HEAD: Final = 4

#: The part of a lease that an engine relies on, in ns per ms.
SURE: Final = 900_000
#: How long a supervisor waits for the lock, s: an engine may be stopped holding it.
_PATIENCE: Final = 0.05


class Outcome(NamedTuple):
    """How one task of a batch ended."""

    #: As ``Report.kind``.
    kind: str
    #: The task.
    task_id: str
    #: The token under which the engine took it.
    token: str
    #: Start and end, ns of the monotonic clock, which processes share.
    begun: int
    ended: int
    #: Fields for its record, names and values.
    fields: Sequence[Any]


#: An outcome in the engine and in the log: kind, index, begun, ended, fields.
Entry: TypeAlias = tuple[str, int, int, int, Sequence[Any]]


class Picture(NamedTuple):
    """A supervisor's snapshot of an engine."""

    #: STARTING, TALKING, IDLE or RUNNING.
    state: int
    #: Advances with every round of the engine's loop.
    loops: int
    #: Its uuid; "" before it tries to register.
    uuid: str
    #: Its label; None until it is registered.
    engine_id: int | None
    #: Number of the latest turn whose reply it received.
    number: int
    #: Ids and tokens of the batch, in order.
    batch: tuple[tuple[str, str], ...]
    #: How many of them were started, and ended.
    begun: int
    ended: int
    #: When the running task started; 0 if none is running, or it is being reported.
    since: int

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the batch."""
        return tuple(task_id for task_id, _ in self.batch)

    @property
    def attempt(self) -> tuple[str, str] | None:
        """Id and token of the running task."""
        return self.batch[self.begun - 1] if self.begun > self.ended else None

    @property
    def running(self) -> str | None:
        """Id of the running task."""
        return self.attempt[0] if self.attempt else None


class Taken(NamedTuple):
    """What a supervisor took from an engine."""

    #: The engine.
    uuid: str
    #: Outcomes that the supervisor must report.
    outcomes: list[Outcome]
    #: Is the engine running a task?
    inside: bool
    #: May there be more to take soon?
    more: bool

    @classmethod
    def nothing(cls, *, more: bool = False) -> Taken:
        """Return an empty one: there was nothing, or the lock was held."""
        return cls("", [], inside=False, more=more)


class Limit(NamedTuple):
    """The state of the running task's time limit."""

    #: Has this look found it exceeded?
    exceeded: bool
    #: When to look next, ns of the monotonic clock.
    look_at: int
    #: The limit, ms.
    limit: int
    #: When the task started, which identifies it.
    begun_at: int


class Stopped(NamedTuple):
    """The result of stopping a task."""

    #: When it started, if it must be interrupted; otherwise 0.
    begun_at: int
    #: What was taken back, including the task, if it had not started.
    taken: Taken

    @property
    def found(self) -> bool:
        """Was the task here?"""
        return self.begun_at > 0 or len(self.taken.outcomes) > 0


def _logged(entry: Entry) -> tuple[bytes, Sequence[bytes]]:
    """Return an entry as it is logged, and what follows it there.

    That is a rope of its fields, in pieces: it is not copied more often than it must
    be. The entry then has a hole in its place, the hole's number, and its length.
    Raises ``ValueError`` if the log cannot have it.
    """
    try:
        return marshal.dumps(entry), ()  # type: ignore[arg-type]
    except ValueError:
        if Rope not in map(type, entry[-1]):
            raise
    kind, index, begun, ended, fields = entry
    number = next(at for at, one in enumerate(fields) if type(one) is Rope)
    rope, given = fields[number], list(fields)
    given[number] = None
    parts = kind, index, begun, ended, given, number, len(rope)
    return marshal.dumps(parts), rope.pieces


class Block:
    """One engine's block."""

    __slots__ = (
        "_acquire",
        "_fields",
        "_lock",
        "_memory",
        "_release",
        "_text",
        "slate",
    )

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._text = memoryview(self._memory)
        self._fields = self._text[: 8 * _FIELDS].cast("Q")
        # Unlinked on creation; vanishes with the last process that has it.
        self._lock = get_context("fork").Lock()
        self._acquire = self._lock.acquire
        self._release = self._lock.release
        self._fields[_LOOK_AT] = NEVER
        #: Live output of its tasks.
        self.slate = Slate()

    # -- the engine

    def join(self, uuid: str) -> None:
        """Note that the engine is about to register under this uuid."""
        self._acquire()
        fields = self._fields
        fields[_ENGINE_ID] = fields[_COUNT] = fields[_BEGUN] = fields[_ENDED] = 0
        fields[_LIMIT] = 0
        fields[_LOG_END] = fields[_TAKEN] = fields[_TAKEN_COUNT] = fields[_NUMBER] = 0
        data = uuid.encode()
        self._text[_UUID.start : _UUID.start + len(data)] = data
        fields[_UUID_SIZE] = len(data)
        fields[_STATE] = TALKING
        fields[_LOOPS] += 1
        self._release()

    def joined(self, engine_id: int, lease: int, deadline: int) -> None:
        """Note that the engine is registered."""
        self._acquire()
        fields = self._fields
        fields[_DEADLINE] = deadline
        fields[_LEASE] = lease
        fields[_ENGINE_ID] = engine_id + 1
        self._release()

    def talk(self) -> int:
        """Note that the engine is about to call the hub.

        Returns how many of its outcomes the supervisor has taken from the log; it takes
        no more of them.
        """
        self._acquire()
        fields = self._fields
        fields[_STATE] = TALKING
        fields[_LOOPS] += 1
        taken = fields[_TAKEN_COUNT]
        self._release()
        return taken

    def idle(self) -> None:
        """Note that the engine is about to wait for its bell."""
        self._fields[_STATE] = IDLE

    def open(self, number: int, pairs: Iterable[str]) -> bool:
        """Record the batch that the engine took: id, token, id, token ...

        Discards what is left of the previous one. Returns True if the supervisor must
        be notified, because it is not watching.
        """
        data = "\n".join(pairs).encode()
        count = (data.count(b"\n") + 1) // 2
        self._acquire()
        fields = self._fields
        fields[_ENDED_BEFORE] += fields[_ENDED]
        # The supervisor must not apply old counts to the new batch.
        fields[_COUNT] = fields[_BEGUN] = fields[_ENDED] = 0
        fields[_LOG_END] = fields[_TAKEN] = fields[_TAKEN_COUNT] = 0
        self._text[_BATCH_FROM : _BATCH_FROM + len(data)] = data
        fields[_BATCH_SIZE] = len(data)
        fields[_NUMBER] = number
        fields[_LIMIT] = 0 if fields[_DRAIN] else count
        fields[_BATCH_AT] = time.monotonic_ns()
        fields[_COUNT] = count
        fields[_STATE] = RUNNING
        tell = count > 1 and not fields[_WATCHED]
        if tell:
            fields[_WATCHED] = 1
        self._release()
        return tell

    def open_none(self, number: int) -> None:
        """Record a turn that brought no tasks."""
        self._acquire()
        fields = self._fields
        fields[_ENDED_BEFORE] += fields[_ENDED]
        fields[_COUNT] = fields[_BEGUN] = fields[_ENDED] = fields[_LIMIT] = 0
        fields[_LOG_END] = fields[_TAKEN] = fields[_TAKEN_COUNT] = 0
        fields[_NUMBER] = number
        self._release()

    def begin(self, index: int, now: int) -> bool:
        """Start a task, unless it was taken back or the lease has expired."""
        self._acquire()
        fields = self._fields
        if index >= fields[_LIMIT] or now >= fields[_DEADLINE]:
            self._release()
            return False
        fields[_BEGUN_AT] = now
        fields[_BEGUN] = index + 1
        self._release()
        return True

    def limit(self, milliseconds: int, now: int) -> bool:
        """Limit the time of the current task, from now on.

        Returns True if the supervisor must be notified, because it would look too late.
        """
        self._acquire()
        fields = self._fields
        at = min(NEVER, now + milliseconds * 1_000_000)
        fields[_LIMIT_MS], fields[_LIMIT_AT] = milliseconds, at
        fields[_LIMITED] = fields[_BEGUN_AT]
        tell = at < fields[_LOOK_AT]
        if tell:
            fields[_LOOK_AT] = at
        self._release()
        return tell

    @property
    def stopped_by(self) -> int:
        """Why the current task must stop; 0 if it need not.

        Reads without the lock, because it may be called in the middle of the task.
        """
        fields = self._fields
        return fields[_STOP_WHY] if fields[_STOP] == fields[_BEGUN_AT] else 0

    def spare(self) -> None:
        """Protect the current task, which is done, from being stopped."""
        self._acquire()
        self._fields[_SPARED] = self._fields[_BEGUN_AT]
        self._release()

    def end(self, entry: Entry) -> bool:
        """Log the outcome of the current task; False if the log cannot have it."""
        try:
            data, pieces = _logged(entry)
        except ValueError:
            return False
        fields = self._fields
        at = fields[_LOG_END]
        after = at + _HEAD + len(data) + sum(map(len, pieces))
        if after > LOG_BYTES:
            return False
        data = len(data).to_bytes(_HEAD, "little") + data
        to = _LOG_FROM + at
        for piece in (data, *pieces):
            self._text[to : to + len(piece)] = piece
            to += len(piece)
        self._acquire()
        fields[_LOG_END] = after
        fields[_ENDED] = entry[1] + 1
        self._release()
        return True

    def flushed(self, ended: int) -> bool:
        """Note that all outcomes so far were reported in the middle of the batch.

        Returns True if the supervisor must be notified, like ``open``.
        """
        self._acquire()
        fields = self._fields
        fields[_LOG_END] = fields[_TAKEN] = fields[_TAKEN_COUNT] = 0
        fields[_ENDED] = ended
        fields[_STATE] = RUNNING
        tell = fields[_LIMIT] > ended and not fields[_WATCHED]
        if tell:
            fields[_WATCHED] = 1
        self._release()
        return tell

    def forsake(self) -> bool:
        """Start no more of the batch; False if the supervisor took the rest back."""
        self._acquire()
        fields = self._fields
        first = fields[_LIMIT] > fields[_BEGUN]
        fields[_LIMIT] = fields[_BEGUN]
        self._release()
        return first

    def leave(self) -> None:
        """Note that the engine does what was left for its end."""
        self._fields[_LEAVING] = 1

    @property
    def leaving(self) -> bool:
        """Does the engine do what was left for its end?"""
        return self._fields[_LEAVING] != 0

    @property
    def heard(self) -> float:
        """When the last acknowledged beat was sent, s of the monotonic clock."""
        fields = self._fields
        return (fields[_DEADLINE] - fields[_LEASE] * SURE) / 1e9

    @property
    def lease_over(self) -> bool:
        """Has no beat been acknowledged for too long?"""
        return time.monotonic_ns() >= self._fields[_DEADLINE]

    @property
    def draining(self) -> bool:
        """Must the engine take no more tasks, and end?"""
        return self._fields[_DRAIN] != 0

    @property
    def quiet(self) -> bool:
        """Has the hub drained the engine, so that it gets no new tasks?"""
        return self._fields[_QUIET] != 0

    @quiet.setter
    def quiet(self, quiet: bool) -> None:
        self._fields[_QUIET] = quiet

    # -- the supervisor

    def _lock_for_a_while(self) -> bool:
        return self._acquire(timeout=_PATIENCE)

    @property
    def lease(self) -> int:
        """The engine's lease in ms; 0 before it is registered."""
        return self._fields[_LEASE]

    @lease.setter
    def lease(self, lease: int) -> None:
        self._fields[_LEASE] = lease

    def renew(self, deadline: int) -> None:
        """Let the engine start tasks until ``deadline``, ns of the monotonic clock."""
        self._fields[_DEADLINE] = deadline

    def look(self) -> Picture | None:
        """Return a snapshot; None if the engine holds the lock: try later."""
        if not self._lock_for_a_while():
            return None
        try:
            return self._picture()
        finally:
            self._release()

    def _picture(self) -> Picture:
        fields = self._fields
        count = fields[_COUNT]
        batch: tuple[tuple[str, str], ...] = ()
        if count:
            words = self._words()
            batch = tuple(zip(words[: 2 * count : 2], words[1::2], strict=False))
        engine_id = fields[_ENGINE_ID]
        return Picture(
            state=fields[_STATE],
            loops=fields[_LOOPS],
            uuid=self.uuid,
            engine_id=engine_id - 1 if engine_id else None,
            number=fields[_NUMBER],
            batch=batch,
            begun=min(fields[_BEGUN], count),
            ended=min(fields[_ENDED], count),
            since=self.inside_since,
        )

    @property
    def uuid(self) -> str:
        """The engine's uuid; "" before it tries to register."""
        size = self._fields[_UUID_SIZE]
        return bytes(self._text[_UUID.start : _UUID.start + size]).decode()

    @property
    def registered(self) -> bool:
        """Is the engine registered?"""
        return self._fields[_ENGINE_ID] != 0

    @property
    def ended(self) -> int:
        """How many tasks have ended on the engine."""
        return self._fields[_ENDED_BEFORE] + self._fields[_ENDED]

    @property
    def has_worked(self) -> bool:
        """Has any task ended on the engine?"""
        return self.ended > 0

    def _words(self) -> list[str]:
        size = self._fields[_BATCH_SIZE]
        text = bytes(self._text[_BATCH_FROM : _BATCH_FROM + size])
        return text.decode().split("\n")

    def _untaken(self) -> list[Outcome]:
        fields = self._fields
        at, end = fields[_TAKEN], fields[_LOG_END]
        if at >= end or not fields[_COUNT]:
            return []
        words = self._words()
        outcomes = []
        while at < end:
            begins = _LOG_FROM + at + _HEAD
            size = int.from_bytes(self._text[begins - _HEAD : begins], "little")
            entry = marshal.loads(self._text[begins : begins + size])  # noqa: S302 - a process of ours wrote it
            kind, index, begun, ended, given, *hole = entry
            at += _HEAD + size
            if hole:
                number, length = hole
                given[number] = bytes(self._text[_LOG_FROM + at :][:length])
                at += length
            pair = words[2 * index], words[2 * index + 1]
            outcomes.append(Outcome(kind, *pair, begun, ended, given))
        fields[_TAKEN] = at
        fields[_TAKEN_COUNT] += len(outcomes)
        return outcomes

    def _unbegun(self, first: int = 0) -> list[Outcome]:
        """Take back what has not started, from index ``first`` of the batch on."""
        fields = self._fields
        begun, limit = max(first, fields[_BEGUN]), fields[_LIMIT]
        if limit <= begun:
            return []
        fields[_LIMIT] = begun
        words = self._words()
        return [
            Outcome("unbegun", words[2 * index], words[2 * index + 1], 0, 0, ())
            for index in range(begun, limit)
        ]

    @property
    def inside(self) -> bool:
        """Has a task begun of which neither the log nor the hub has the outcome?"""
        return self._fields[_BEGUN] > self._fields[_ENDED]

    @property
    def inside_since(self) -> int:
        """When the running task started; 0 if none is running, or it is reported."""
        fields = self._fields
        since = fields[_BEGUN_AT]
        inside = self.inside and fields[_SPARED] != since
        return since if inside else 0

    def check_limit(self, now: int) -> Limit | None:
        """Check whether the running task exceeds its time limit, and mark it if so.

        Returns None if the engine holds the lock: try again.
        """
        fields = self._fields
        if not self._lock_for_a_while():
            return None
        try:
            since = self.inside_since
            counts = since and since == fields[_LIMITED] and since != fields[_STOP]
            at = fields[_LIMIT_AT] if counts else NEVER
            exceeded = now >= at
            if exceeded:
                # In this order, because the engine reads without the lock.
                fields[_STOP_WHY] = BY_LIMIT
                fields[_STOP] = since
                at = NEVER
            fields[_LOOK_AT] = at
            return Limit(exceeded, at, fields[_LIMIT_MS], since)
        finally:
            self._release()

    def stop(self, task_id: str, token: str, *, why: int = BY_ABORT) -> Stopped | None:
        """Stop a task, if it is here: mark it, or take it back if it has not started.

        Those after it are taken back as well. Returns None if the engine holds the
        lock: try again.
        """
        fields = self._fields
        if not self._lock_for_a_while():
            return None
        try:
            begun_at, outcomes = 0, []
            batch = self._picture().batch
            index = batch.index((task_id, token)) if (task_id, token) in batch else -1
            if index >= fields[_BEGUN]:
                outcomes = self._unbegun(index)
            elif index >= 0 and index == fields[_BEGUN] - 1:
                begun_at = self.inside_since
                if begun_at:
                    fields[_STOP_WHY] = why
                    fields[_STOP] = begun_at
            return Stopped(begun_at, Taken(self.uuid, outcomes, False, False))
        finally:
            self._release()

    def while_inside(self, since: int, act: Callable[[], None]) -> bool | None:
        """Call ``act`` if the task that started at ``since`` is running and cannot end.

        Returns whether it is; None if the engine holds the lock: try again.
        """
        if not self._lock_for_a_while():
            return None
        try:
            inside = self.inside_since == since
            if inside:
                act()
            return inside
        finally:
            self._release()

    def take(self, *, waited: int, patience: int, now: int) -> Taken:
        """Take what has waited too long from an engine in the middle of a batch.

        Outcomes are taken if the current task runs for more than ``waited`` ns, or the
        batch for more than ``patience``; tasks not yet started only in the latter case.
        Once nothing more can be taken, the engine must announce its next batch. While
        it is going through one batch after another, there is more: to be woken for each
        of them would cost the supervisor more than to go on looking.
        """
        fields = self._fields
        if not self._lock_for_a_while():
            return Taken.nothing(more=True)
        try:
            taken: list[Outcome] = []
            more = False
            inside = self.inside
            if fields[_STATE] == RUNNING:
                late = now > fields[_BATCH_AT] + patience
                if late or (inside and now > fields[_BEGUN_AT] + waited):
                    taken += self._untaken()
                if late:
                    taken += self._unbegun()
                left = fields[_LIMIT] > fields[_BEGUN]
                more = left or fields[_LOG_END] > fields[_TAKEN]
            if fields[_LOOPS] != fields[_LOOPS_SEEN]:
                fields[_LOOPS_SEEN] = fields[_LOOPS]
                more = more or fields[_COUNT] > 1
            if not more:
                fields[_WATCHED] = 0
            return Taken(self.uuid, taken, inside, more)
        finally:
            self._release()

    def take_back(self, *, for_good: bool = False) -> Taken | None:
        """Take back what has not started, so that no more of this batch starts.

        ``for_good``: nor of later ones. Returns None if the engine holds the lock.
        """
        if not self._lock_for_a_while():
            return None
        try:
            fields = self._fields
            if for_good:
                fields[_DRAIN] = 1
            return Taken(self.uuid, self._unbegun(), self.inside, more=False)
        finally:
            self._release()

    def bequeath(self) -> tuple[list[Outcome], list[str]]:
        """Return what a dead engine left: outcomes, and ids of tasks that were running.

        If its log is corrupt, everything started and not reported counts as running.
        """
        picture = self._picture()
        blamed = [picture.running] if picture.running else []
        try:
            return self._untaken(), blamed
        except (ValueError, EOFError, TypeError, IndexError):
            taken = min(self._fields[_TAKEN_COUNT], picture.begun)
            return [], list(picture.ids[taken : picture.begun])
