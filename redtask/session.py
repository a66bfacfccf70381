"""One client's state and its exchanges with the hub: ids, inbox, keys. No I/O here.

Both faces have one. It turns function calls into slices of signed tasks, outcomes into
values and exceptions, and a client's actions into flows.
"""

from __future__ import annotations

import itertools
import numbers
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from redtask import durability, error, flows, inputs, payload, slices
from redtask.dependency import is_id
from redtask.error import ConnectionLost, HubFull
from redtask.flows import acting, entering, reading, waiting
from redtask.graph import Graph, Job, Node, jobs_of
from redtask.hub import calls
from redtask.hub.calls import Call
from redtask.hub.records import Try
from redtask.inbox import Inbox, TaskSet
from redtask.interrupt import is_of_handler, let_through
from redtask.mint import Mint, needing_nodes, waits_of
from redtask.names import random_name
from redtask.positions import id_at, is_position
from redtask.recent import Contact, Recent
from redtask.slices import Gate, Piece, Queue, Task, Waits
from redtask.timeouts import limit_of

if TYPE_CHECKING:
    from redtask.ferry import Passenger
    from redtask.flags import Flags
    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.hub.records import Outcome, Status
    from redtask.hub.why import Why
    from redtask.payload import Function
    from redtask.rope import Written
    from redtask.signing import Keyring

R = TypeVar("R")
_HISTORY: Final = 100_000
_MOST_ENGINES: Final = 10_000
#: Stands before the number in the id of a task that is submitted with many others:
#: lua/lib/newest.lua then knows that they are new, without looking for each.
MANY: Final = "0"
#: The queue of engines that were not told of others.
DEFAULT: Final = "default"
#: How long items read from an input wait for more, in seconds.
_PAUSE: Final = 0.05


#: What a submit sends; made lazily.
Slices: TypeAlias = Iterable[Piece]


class Session:
    """Makes tasks and reads outcomes for one client.

    ``contact`` is what its store knows of the server.
    """

    def __init__(self, keys: Keys, keyring: Keyring, contact: Contact) -> None:
        self.keys = keys
        self.keyring = keyring
        #: Digests of functions that the hub should know.
        self.sent: set[str] = set()
        self._contact = contact
        self._pack = payload.Packer()
        #: The latest mint, with the flags and the second it was made for.
        self._minted: tuple[Flags, int, Mint] | None = None
        #: For each kind of durability, the server's epoch and the words to send.
        self._ways: dict[str, tuple[int, durability.Words]] = {}
        self._begin()

    def _begin(self) -> None:
        """Become a new client."""
        client = random_name()
        # All locks of a client are re-entrant: a signal handler may use it anywhere.
        self._inbox = Inbox(
            client,
            Recent(self._contact, threading.RLock()),
            threading.RLock(),
            self.keys,
        )
        self._lock = threading.RLock()
        self._history: deque[str] = deque()
        self._numbers = itertools.count()
        self._pid = os.getpid()

    def renew(self) -> None:
        """Become another client after a fork."""
        if os.getpid() != self._pid:
            self._become()

    def _become(self) -> None:
        before, parent = self._inbox, self._pid
        self._begin()
        # The child may still wait for its parent's tasks.
        self._inbox.adopt(before)
        if underway := frozenset(before.underway):
            # The parent may still be submitting some: they may come while it lives.
            self._inbox.recent.elsewhere = lambda task_id: (
                task_id in underway and os.getppid() == parent
            )

    @property
    def inbox(self) -> Inbox:
        """What the client waits for."""
        self.renew()
        return self._inbox

    @property
    def client(self) -> str:
        """The name of the client."""
        return self.inbox.client

    @property
    def history(self) -> list[str]:
        """Ids submitted, each once, oldest first; the last 100,000."""
        self.renew()
        with self._lock:
            return list(self._history)

    def _id(self) -> str:
        return f"{self.inbox.client}-{next(self._numbers)}"

    def _ids(self, count: int) -> list[str]:
        if count == 1:
            return [self._id()]
        client = self.inbox.client
        numbers = itertools.islice(self._numbers, count)
        return [f"{client}-{MANY}{number}" for number in numbers]

    def _remember(self, ids: Sequence[str]) -> None:
        history, still_open = self._history, self._inbox.open
        with self._lock:
            history.extend(ids)
            while len(history) > _HISTORY:
                history.popleft()
            for name in ids:
                still_open[name] = None
            while len(still_open) > _HISTORY:
                still_open.popitem(last=False)

    def remember(self, ids: Sequence[str]) -> None:
        """Remember submitted ids; some of the tasks may have ended by now."""
        self._remember(ids)
        inbox = self._inbox
        for name in ids:
            if not inbox.expects(name):
                inbox.open.pop(name, None)

    def forget(self) -> None:
        """Clear the history."""
        with self._lock:
            self._history.clear()

    # -- exchanges with the hub

    def submit(self, pieces: Slices) -> Flow[None]:
        """Submit slices of tasks that this session made."""
        inbox = self.inbox
        yield from entering.listen(inbox)
        queue = pieces if isinstance(pieces, Queue) else Queue(pieces)
        queue.then(self._remember_piece)
        yield from entering.submit(queue, self.sent, inbox.recent, queue.make)

    def assure(self, kind: str) -> Flow[durability.Words]:
        """Find out, once per connection to a server, how to make submits durable.

        Raises ``ConfigurationError`` where that is impossible.
        """
        epoch = self._contact.epoch
        known = self._ways.get(kind)
        if known is None or known[0] != epoch:
            known = epoch, (yield from durability.way(kind))
            self._ways[kind] = known
        return known[1]

    def confirm(self, kind: str, ids: Sequence[str]) -> Flow[None]:
        """Wait until submitted tasks are durable; raises ``NotDurable``."""
        words = yield from self.assure(kind)
        yield from durability.confirm(self.inbox, words, kind, ids)

    def cut(self, tasks: Iterable[Task]) -> Iterator[Piece]:
        """Return slices of tasks, each slice submitted independently."""
        return slices.cut(tasks, Gate(self.gate))

    def cross(self, aboard: Sequence[Passenger]) -> Flow[None]:
        """Submit tasks of several callers in one slice; record the outcome of each.

        Errors that are not of a particular task are raised.
        """
        try:
            yield from self._enter([one.task for one in aboard])
        except (ConnectionLost, HubFull):
            raise
        except Exception as problem:
            if len(aboard) == 1 or is_of_handler(problem):
                raise
            # The error names no task, and nothing was stored, so try each alone.
            yield from self._enter_each(aboard)
        else:
            for one in aboard:
                one.ends()

    def _enter_each(self, aboard: Sequence[Passenger]) -> Flow[None]:
        for one in aboard:
            try:
                yield from self._enter([one.task])
            except (ConnectionLost, HubFull):
                raise
            except Exception as problem:  # noqa: BLE001 - passed to the task's owner
                let_through(problem)
                one.ends(problem)
            else:
                one.ends()

    def _enter(self, tasks: Sequence[Task]) -> Flow[None]:
        inbox, piece = self.inbox, slices.together(tasks)
        yield from entering.listen(inbox)
        opened = inbox.recent.opened()
        yield from entering.with_room(lambda: entering.enter(piece, self.sent))
        inbox.recent.add(piece, opened)
        self.remember([task.task_id for task in tasks])

    def _remember_piece(self, piece: Piece) -> None:
        """Remember the ids of a slice that has been submitted."""
        if not isinstance(piece, Call):
            self.remember([str(name) for group in piece for name in group.tasks[::2]])

    @property
    def must_recover(self) -> bool:
        """Has Redis been away, so that it may have lost writes?"""
        recent = self._inbox.recent
        recent.prune()
        return recent.is_due

    def recover(self) -> Flow[None]:
        """Repeat what Redis may have lost."""
        yield from entering.recover(self.inbox, self.sent)

    def open_of(self, ids: Iterable[str]) -> list[str]:
        """Return those of this client's own ids that are not known to have ended."""
        still = self.inbox.open
        return [name for name in ids if name in still]

    def status(self) -> Flow[Status]:
        """Return a snapshot of the hub and its engines."""
        return (yield from flows.ask(calls.status(_MOST_ENGINES)))

    def outstanding(self, ids: Sequence[str] | None = None) -> Flow[set[str]]:
        """Return which of these have not ended; None: of all submitted here."""
        inbox = self.inbox
        tasks = TaskSet(list(inbox.open) if ids is None else ids)
        yield from waiting.recheck(inbox, tasks, 0)
        return set(tasks.open_ids())

    def find(self, jobs: Any) -> Flow[TaskSet]:
        """Return the tasks that jobs name, with the outcomes known so far.

        One that is named twice is there twice. Raises ``KeyError`` for one that the hub
        does not know.
        """
        ids = self._named(jobs)
        check_kept(ids)
        tasks = TaskSet(ids)
        # Possibly: others submitted them.
        tasks.timed = True
        self.inbox.expect(tasks)
        yield from waiting.recheck(self.inbox, tasks)
        for name in tasks.ids:
            if tasks.state(name) == "unknown":
                raise error.TaskLost(f"{name}: {error.GONE}")
        return tasks

    def wait(self, jobs: Any, timeout: float | None) -> Flow[bool]:
        """Wait for jobs, or (None) all that was submitted here; did all end?"""
        inbox, limit = self.inbox, limit_of(timeout)
        ids = (
            list(inbox.open) if jobs is None else list(filter(is_id, self.ids_of(jobs)))
        )
        tasks = TaskSet(ids)
        tasks.timed = True
        inbox.expect(tasks)
        try:
            yield from waiting.recheck(inbox, tasks, 0)
            if limit != 0:
                yield from waiting.wait(inbox, tasks, limit)
        except error.StillAway:
            # Without the hub, from what is known.
            pass
        return tasks.done

    def abort(
        self,
        jobs: Any,
        *,
        running: bool = False,
        dependents: bool = False,
        progress: Callable[[int], Any] | None = None,
    ) -> Flow[dict[str, str]]:
        """Abort jobs, or (None) what was submitted here and has not ended.

        Optionally also running ones, and all that depend on them. ``progress`` is
        called with the number of tasks done so far.
        """
        if jobs is None:
            named = ids = sorted((yield from self.outstanding()))
        else:
            named = self.ids_of(jobs)
            ids = list(filter(is_id, named))
        order = ids
        if dependents:
            order = yield from reading.dependents(self.keys, ids)
        elif len(ids) > flows.CALL:
            order = yield from reading.latest_first(self.keys, ids)
        sign = self.keyring.sign_control if running else None
        words = yield from acting.abort(order, sign, progress)
        found = dict.fromkeys((*named, *words))
        return {name: words.get(name, "unknown") for name in found}

    def why(self, job: Any) -> Flow[Why]:
        """Return why a task is where it is."""
        ids = self.ids_of(job)
        if len(ids) != 1:
            raise ValueError(f"one task at a time, not {len(ids)}")
        check_ids(ids)
        (found,) = yield from reading.why(self.keys, ids)
        if found.state == "running" and found.engine_uuid is not None:
            key = self.keys.engine(found.engine_uuid)
            (leaving,) = yield flows.Commands([("HEXISTS", key, "leaving")])
            found = found.on_drained if leaving else found
        if found.is_tried_again:
            key = self.keys.task(found.task_id, "attempts")
            (last,) = yield flows.Commands([("LRANGE", key, -1, -1)])
            if last:
                found = found.after_failure(Try.read(last[0]).what)
        return found

    def ids_of(self, jobs: Any) -> list[str]:
        """Return the ids that jobs name, each once."""
        return list(dict.fromkeys(self._named(jobs)))

    def _named(self, jobs: Any) -> list[str]:
        """Return the ids that jobs name: id, position, result, or several of them."""
        if isinstance(jobs, str):
            return [jobs]
        if _has_ids(jobs):
            return list(jobs.msg_ids)
        if is_position(jobs):
            return [id_at(self.history, jobs)]
        if isinstance(jobs, Iterable) and not isinstance(jobs, (bytes, bytearray)):
            return [name for one in jobs for name in self._named(one)]
        raise TypeError(
            f"jobs are ids, positions or results, not {type(jobs).__name__}"
        )

    # -- tasks

    def call(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[TaskSet, Task]:
        """Return the task of one call, and the set that waits for it."""
        body, packed = payload.pack_call(args, kwargs), self._pack(function)
        name, mint = self._id(), self._mint_for(flags)
        task = mint.task(name, packed, body, mint.waits)
        found = self._expect((name,), timed=mint.timed)
        self._inbox.underway.add(name)
        return found, task

    def arrived(self, ids: Iterable[str]) -> None:
        """Note that tasks of single calls are in the hub, or were given up."""
        self._inbox.underway.difference_update(ids)

    def calls(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        chunks: Sequence[tuple[Any, ...]],
    ) -> tuple[TaskSet, Iterator[Piece]]:
        """Return the tasks of one call per chunk, and their slices."""
        packed = self._pack(function)
        bodies = (payload.pack_call(chunk, {}) for chunk in chunks)
        return self._prepare(flags, packed, bodies, len(chunks))

    def direct(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        bodies: Sequence[Written],
        places: Iterable[tuple[int, str]],
    ) -> tuple[TaskSet, list[Task]]:
        """Return a task for each packed call, each for one engine, and their set.

        ``places`` are ids of engines, and queues that these serve.
        """
        packed, mint = self._pack(function), self._mint_for(flags)
        ids, tasks = self._ids(len(bodies)), []
        for name, body, (engine, queue) in zip(ids, bodies, places, strict=False):
            task = mint.task(name, packed, body, mint.waits)
            own = {**task.flags, "targets": str(engine)}
            if queue != DEFAULT:
                own.setdefault("queue", queue)
            tasks.append(task._replace(flags=own))
        return self._expect(ids, timed=mint.timed), tasks

    def whole(self, tasks: Iterable[Task]) -> Queue:
        """Return the slices of tasks that enter all or none."""
        return Queue(slices.cut_whole(tasks, Gate(self.gate)), ahead=True)

    def living(self) -> Flow[dict[int, str]]:
        """Return the engines by id, each with a queue that it serves, in order."""
        status = yield from self.status()
        return {
            one.engine_id: DEFAULT if DEFAULT in one.queues else one.queues[0]
            for one in status.engines
        }

    def map(
        self,
        flags: Flags,
        function: Callable[..., Any] | str,
        sequences: Sequence[Any],
        chunksize: int | None,
        progress: Callable[[int], Any] | None = None,
    ) -> tuple[TaskSet, Queue, list[int]]:
        """Return the tasks of a map, their slices, and the number of items of each.

        Slices are made lazily. If the inputs have no length, the tasks and their sizes
        are complete only when all are sent. ``progress`` is called after each slice
        with the number of items sent so far. Raises ``TypeError`` and ``ValueError``
        for inputs that cannot be mapped.
        """
        size = inputs.chunk_of(chunksize)
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable, not {type(progress).__name__}")
        packed = self._pack(function)
        if inputs.is_stream(sequences):
            sizes: list[int] = []
            tasks = self._expect((), timed=flags.has_timers)
            chunks = inputs.chunks_of(sequences, size)
            made = self._stream(flags, packed, chunks, tasks, sizes)
            pieces = Queue(slices.cut(made, Gate(self.gate), _PAUSE))
        else:
            items, length = inputs.as_sequences(sequences)
            sizes = inputs.chunk_sizes(length, size)
            bodies = map(payload.pack_chunk, inputs.cut(items, sizes))
            tasks, pieces = self._prepare(flags, packed, bodies, len(sizes))
        if progress is not None:
            pieces.then(_reporter(sizes, progress))
        return tasks, pieces, sizes

    def _stream(
        self,
        flags: Flags,
        function: Function,
        chunks: Iterable[tuple[Any, ...]],
        tasks: TaskSet,
        sizes: list[int],
    ) -> Iterator[Task]:
        """Yield tasks of chunks as they are read; record ids and sizes."""
        mint, ids, expect = Mint(self.keyring, flags), [], self.inbox.expect_also
        for number, chunk in enumerate(chunks, 1):
            if number % slices.MOST_TASKS == 0:
                # The input may take days: renew the time until which tasks may run.
                mint = Mint(self.keyring, flags)
            name = f"{self.inbox.client}-{MANY}{next(self._numbers)}"
            task = mint.task(name, function, payload.pack_chunk(chunk), mint.waits)
            ids.append(name)
            sizes.append(len(chunk[0]))
            expect(tasks, name)
            yield task
        tasks.become(ids)

    def graph(
        self, flags: Flags, graph: Any, jobs: Any, result: Callable[[TaskSet, str], R]
    ) -> tuple[dict[Node, str], dict[Node, R], Queue]:
        """Return the ids and results of nodes, and the slices to submit.

        The results are what ``result`` makes of a node's task and the name of its
        function. They are made with the slices, each while the one before is on its
        way. The tasks enter all or none. Raises ``TypeError`` and ``ValueError``, and
        ``SerializationError`` for a job that cannot be sent, before anything is sent.
        """
        found = Graph.of(graph)
        calling = jobs_of(jobs, found.parents)
        ids = dict(zip(found.parents, self._ids(len(found.parents)), strict=True))
        mint = Mint(self.keyring, flags)
        rows = self._rows_of(found, calling, ids, mint.waits)
        results: dict[Node, R] = {}

        def tasks() -> Iterator[Task]:
            sign, expect, timed = mint.sign, self._expect, mint.timed
            for (node, name), (function, body, waits) in zip(
                ids.items(), rows, strict=True
            ):
                results[node] = result(expect((name,), timed=timed), function.name)
                yield sign(name, function, body, waits)

        pieces = slices.cut_whole(tasks(), Gate(self.gate))
        return ids, results, Queue(pieces, ahead=True)

    def _rows_of(
        self,
        found: Graph,
        calling: Mapping[Node, Job],
        ids: Mapping[Node, str],
        given: Waits,
    ) -> list[tuple[Function, Written, Waits]]:
        """Return function, arguments and dependencies of each node."""
        names = {name: node for node, name in ids.items()}
        packed: dict[int, Function] = {}
        rows = []
        before, waits = None, given
        for node, job in calling.items():
            try:
                function = packed.get(id(job.function))
                if function is None:
                    function = packed[id(job.function)] = self._pack(job.function)
                body = payload.pack_call(job.args, job.kwargs, ids)
                after = found.parents[node], found.letters.get(node)
                if after != before:
                    # Neighbours often come after the same.
                    before, waits = after, waits_of(node, found, ids, given)
                wanted = needing_nodes(body, waits, names, given)
            except (TypeError, ValueError) as problem:
                raise type(problem)(f"node {node!r}: {problem}") from problem
            rows.append((function, body, wanted))
        return rows

    def gate(self) -> str:
        """Return a new id for a gate."""
        return self._id()

    def _mint_for(self, flags: Flags) -> Mint:
        """Return a mint for these flags; calls within a second share one."""
        known, second = self._minted, int(time.time())
        if known is not None and known[0] is flags and known[1] == second:
            return known[2]
        mint = Mint(self.keyring, flags)
        if not mint.timed:
            self._minted = flags, second, mint
        return mint

    def _expect(self, ids: Sequence[str], *, timed: bool) -> TaskSet:
        """Return new tasks, and expect their outcomes. ``timed``: have they timers?"""
        inbox, tasks = self.inbox, TaskSet(ids, distinct=True)
        if timed:
            tasks.timed = True
            # Its timer may be due before any that is known.
            inbox.sweep_at = 0.0
        inbox.expect_new(tasks)
        return tasks

    def _prepare(
        self, flags: Flags, function: Function, bodies: Iterable[Written], count: int
    ) -> tuple[TaskSet, Queue]:
        ids, mint = self._ids(count), Mint(self.keyring, flags)
        made = mint.tasks(ids, function, bodies)
        pieces = Queue(slices.cut(made, Gate(self.gate)), ahead=True)
        return self._expect(ids, timed=mint.timed), pieces

    def expected(self, count: int) -> TaskSet:
        """Return new tasks, still to be submitted, and expect their outcomes."""
        # Possibly timed: only the hub knows their flags.
        return self._expect(self._ids(count), timed=True)

    # -- outcomes

    def decode(self, task_id: str, outcome: Outcome) -> tuple[bool, Any]:
        """Return True and the value of an outcome, or False and its exception.

        Nothing is unpickled unless an engine with one of our keys signed it for this
        very attempt: otherwise the exception is a ``SignatureError``.
        """
        if outcome.kind == "v":
            return False, _verdict(task_id, outcome.payload)
        try:
            body = self.keyring.open_result(
                task_id, outcome.token, outcome.kind, outcome.payload
            )
        except error.SignatureError as problem:
            return False, error.SignatureError(f"outcome of {task_id}: {problem}")
        if outcome.kind == "e":
            own = task_id.partition("-")[0] == self.client
            return False, payload.unpack_error(body, own=own)
        try:
            return True, payload.unpack_result(body)
        except BaseException as problem:
            if _is_not_its_own(problem):
                raise
            # E.g. a module is missing here, or unpickling raised SystemExit.
            failure = error.SerializationError(
                f"the result of {task_id} cannot be unpickled here: {problem}"
            )
            failure.__cause__ = problem
            return False, failure


def _is_not_its_own(problem: BaseException) -> bool:
    """Did it come from outside, while a result was being unpickled?"""
    from asyncio import CancelledError  # noqa: PLC0415 - not needed for help

    outside = (KeyboardInterrupt, GeneratorExit, CancelledError)
    return isinstance(problem, outside) or is_of_handler(problem)


def _reporter(
    sizes: Sequence[int], progress: Callable[[int], Any]
) -> Callable[[Piece], None]:
    """Return a callback that reports, after each slice, how many items were sent."""
    tasks = items = 0

    def report(piece: Piece) -> None:
        nonlocal tasks, items
        if isinstance(piece, Call):
            return
        before, tasks = tasks, tasks + sum(len(group.tasks) // 2 for group in piece)
        items += sum(sizes[before:tasks])
        progress(items)

    return report


def _verdict(task_id: str, text: bytes) -> Exception:
    verdict, _, reason = text.decode("utf-8", "replace").partition(" ")
    if verdict == "aborted":
        return error.TaskAborted(f"{task_id} was aborted")
    if verdict in error.VERDICTS:
        return error.VERDICTS[verdict](reason)
    return error.TaskLost(f"{task_id}: {reason}")


def _has_ids(jobs: object) -> bool:
    """Is it a result: anything that knows the ids of its tasks?"""
    return hasattr(jobs, "msg_ids")


def check_ids(ids: Iterable[str]) -> None:
    """Raise ``UnknownTask`` for what is no id: no hub knows it, nor can be asked."""
    for name in ids:
        if not is_id(name):
            raise error.UnknownTask(f"No such task: {name!r}")


def check_kept(ids: Iterable[str]) -> None:
    """Raise ``TaskLost`` for what is no id: there is no record of it."""
    for name in ids:
        if not is_id(name):
            raise error.TaskLost(f"{name!r}: {error.GONE}")


def is_single(jobs: Any) -> bool:
    """Do jobs name one task, so that the value is not a list?"""
    if _has_ids(jobs):
        return bool(getattr(jobs, "_single", False))
    return isinstance(jobs, (str, numbers.Integral))
