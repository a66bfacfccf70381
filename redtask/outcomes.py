"""The part of every AsyncResult that both faces share. No I/O here."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from redtask import flows, inputs
from redtask.error import (
    CompositeError,
    SerializationError,
    SignatureError,
    StillAway,
    TaskError,
)
from redtask.flows import reading, waiting
from redtask.hub import states
from redtask.hub.why import Whys
from redtask.inbox import TaskSet
from redtask.metadata import Metadata, members, metadata
from redtask.timeouts import limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from redtask.flows import Flow
    from redtask.inbox import Inbox
    from redtask.place import Place
    from redtask.session import Session

_log = logging.getLogger("redtask")

ALL_COMPLETED: Final = concurrent.futures.ALL_COMPLETED
FIRST_COMPLETED: Final = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION: Final = concurrent.futures.FIRST_EXCEPTION
_WHENS: Final = (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION)

R = TypeVar("R", bound="Results")

#: Attributes that are pickled: the shape of a result.
_TRAVELLING: Final = (
    "_fname",
    "_single",
    "_sizes",
    "_return_exceptions",
    "_chunk",
    "_ordered",
    "stripes",
)

#: What those use of a result who are given one: futures of ``view.executor`` have it,
#: too.
INSIDE: Final = frozenset({
    "_chunk", "_client", "_fname", "_make", "_return_exceptions", "_session", "_single",
    "_sizes", "_tasks",
})  # fmt: skip

#: Results of this many bytes are not kept when they are read one by one.
_LARGE: Final = 65536
#: How many smaller ones are read ahead at once.
_AHEAD: Final = 200
#: How many are decoded at most before the stream is read again: some milliseconds.
_AT_ONCE: Final = 2000
_STREAMS: Final = ("stdout", "stderr")
#: What a task may have raised, or what reading its outcome may raise. Other errors are
#: of the client.
OF_TASKS: Final = (TaskError, SerializationError, SignatureError)


class _ReleasedError(Exception):
    """Another reader of this result has released the payload: fetch it again."""


class Results:
    """The tasks of one AsyncResult: what is known without asking the hub, and flows.

    ``sizes`` has the number of items per task of a map; None for other shapes.
    ``single`` is a result of one call, whose value is not a list. Whatever asks the hub
    is a flow here, and a method of the same name without underscore in both faces.
    """

    #: The module of the face that made it.
    _face = "redtask"

    def __init__(
        self,
        client: Any,
        tasks: TaskSet,
        fname: str = "",
        *,
        single: bool = False,
        sizes: Sequence[int] | None = None,
        return_exceptions: bool = False,
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._fname = fname
        self._single = single
        self._sizes = sizes
        self._return_exceptions = return_exceptions
        self._decoded: dict[str, tuple[bool, Any]] = {}
        #: How many arrivals ``_take_some`` has looked at.
        self._looked = 0
        #: The number of items, if this is a part of a map.
        self._chunk: int | None = None
        self._parts: tuple[Any, ...] = ()

    @staticmethod
    def _check_callback(callback: object) -> None:
        if not callable(callback):
            kind = type(callback).__name__
            raise TypeError(f"callback must be callable, not {kind}")

    @property
    def _session(self) -> Session:
        return self._client._session  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the ids only: where it is unpickled it asks the hub for the rest.

        It connects when first used, with the profile, ``REDTASK_URL`` and key of that
        process: no secret is pickled.
        """
        known = vars(self)
        about = {name: known[name] for name in _TRAVELLING if name in known}
        return self._client._revive, (
            self._client._place,
            type(self),
            self._tasks.ids,
            self._tasks.submitted,
            about,
        )

    @classmethod
    def _revived(cls, client: Any, tasks: TaskSet, about: Mapping[str, Any]) -> Self:
        """Rebuild a result from what was pickled."""
        result = cls.__new__(cls)
        vars(result).update(
            about, _client=client, _tasks=tasks, _decoded={}, _parts=(), _looked=0
        )
        return result

    @property
    def msg_ids(self) -> list[str]:
        """The ids of the tasks, in order of submission."""
        return list(self._tasks.ids)

    def __len__(self) -> int:
        """Return the number of items: the inputs of a map, else the tasks."""
        return len(self._tasks.ids) if self._sizes is None else sum(self._sizes)

    def __repr__(self) -> str:
        return self._shown(now=False)

    def _shown(self, *, now: bool) -> str:
        """Return what a person is shown; ``now``: was the hub asked just now?"""
        return f"<{type(self).__name__}({self._name}): {self._state(now=now)}>"

    @property
    def _name(self) -> str:
        """The name of the function; if that is not known, the ids."""
        if self._fname or not self._tasks.ids:
            return self._fname or "no tasks"
        first, *more = self._tasks.ids
        return f"{first} and {len(more)} more" if more else first

    def _state(self, *, now: bool) -> str:
        total = len(self)
        if not self._tasks.done:
            done = self._items(self._tasks.told)
            if now:
                return f"pending, {done} of {total} done" if done else "pending"
            # The rest may have ended long ago.
            some = f"{done} of {total}" if done else "not"
            return f"{some} known to have ended"
        tasks = self._tasks
        bad = {name for name in tasks.ids if tasks.state(name) != "completed"}
        if not bad:
            return "finished"
        word = "aborted" if self.cancelled() else "failed"
        return word if total == 1 else f"{word}, {self._items(bad)} of {total}"

    def done(self) -> bool:
        """Is every outcome known here? Does not ask the hub."""
        return self._tasks.done

    def _items(self, names: Collection[str]) -> int:
        """Return how many items these tasks have."""
        if self._sizes is None:
            # One may be there twice.
            return sum(name in names for name in self._tasks.ids)
        return sum(
            size
            for name, size in zip(self._tasks.ids, self._sizes, strict=True)
            if name in names
        )

    def _arrived_items(self) -> int:
        return self._items(self._tasks.told)

    @property
    def elapsed(self) -> float:
        """Seconds since submission; once all is done, until the last result came."""
        end = self._tasks.received if self._tasks.done else time.time()
        return max(0.0, end - self._tasks.submitted)

    @staticmethod
    def timedelta(
        start: datetime | Iterable[datetime | None] | None,
        end: datetime | Iterable[datetime | None] | None,
        start_key: Callable[[list[datetime]], datetime] = min,
        end_key: Callable[[list[datetime]], datetime] = max,
    ) -> float:
        """Return the seconds from one time to another, of metadata.

        Of several times the first and the last are taken, or what the keys choose;
        those that are None, as of tasks that never ran, do not count. Raises
        ``ValueError`` if there is none.
        """
        begin, until = start_key(_times(start)), end_key(_times(end))
        return (until - begin).total_seconds()

    def _outcome(self, task_id: str) -> tuple[bool, Any]:
        """Return True and the value of a task, or False and its exception.

        Raises ``_ReleasedError``: threads may iterate and ``get`` at the same time.
        """
        decoded = self._decoded.get(task_id)
        if decoded is None:
            outcome = self._tasks.outcome(task_id)
            if outcome.kind == "-":
                raise _ReleasedError(task_id)
            good, value = self._session.decode(task_id, outcome)
            if good and self._sizes is not None:
                # The garbage collector stops looking at tuples of numbers and texts,
                # but not at lists, of which there may be a million.
                value = tuple(value)
            decoded = self._decoded[task_id] = good, value
            if len(outcome.payload) >= _LARGE:
                # The decoded value is enough.
                self._tasks.release(task_id)
        return decoded

    def _take_some(self) -> Flow[None]:
        """Fetch and decode what has arrived, while engines are busy with the rest."""
        names = self._tasks.order[self._looked : self._looked + _AT_ONCE]
        self._looked += len(names)
        late = [name for name in names if not self._is_taken(name)]
        yield from waiting.complete(self._session.inbox, self._tasks, late)
        for name in late:
            self._is_taken(name)

    def _is_taken(self, task_id: str) -> bool:
        """Decode an outcome; return False if it has to be fetched."""
        try:
            self._outcome(task_id)
        except _ReleasedError:
            # Or another thread has read it.
            return task_id in self._decoded
        except KeyError:
            # Lost.
            return True
        return True

    def _is_large(self, task_id: str) -> bool:
        tasks = self._tasks
        return task_id not in self._decoded and tasks.size(task_id) >= _LARGE

    def _composite(self, errors: list[Exception]) -> CompositeError:
        message = f"one or more exceptions raised in: {self._name}"
        return CompositeError(message, errors)

    def _collect(self, *, return_exceptions: bool | None) -> Any:
        """Return the value once all is done, or raise."""
        keep = (
            self._return_exceptions if return_exceptions is None else return_exceptions
        )
        ids = self._tasks.ids
        if self._single:
            good, value = self._outcome(ids[0])
            if not good and not keep:
                # It was raised before, perhaps: do not keep those frames as well.
                raise value.with_traceback(None)
            return value
        outcomes = list(map(self._outcome, ids))
        if not keep:
            errors = [value for good, value in outcomes if not good]
            if errors:
                raise self._composite(errors)
        if self._sizes is None:
            return [value for _, value in outcomes]
        values: list[Any] = []
        for (good, value), size in zip(outcomes, self._sizes, strict=True):
            values += value if good else [value] * size
        return values

    def _part(self, at: int) -> list[Any]:
        """Return the items of the task at this index, or raise its exception."""
        good, value = self._outcome(self._tasks.ids[at])
        if not good and not self._return_exceptions:
            raise self._composite([value])
        if self._sizes is None:
            return [value]
        return list(value) if good else [value] * self._sizes[at]

    # -- flows

    def _predicate(self, return_when: str | None) -> Callable[[], bool]:
        tasks = self._tasks
        if return_when is None or return_when == ALL_COMPLETED:
            return lambda: tasks.done
        if return_when == FIRST_COMPLETED:
            return lambda: bool(tasks.told) or tasks.done
        if return_when == FIRST_EXCEPTION:
            return lambda: (
                tasks.done or any(state != "completed" for state in tasks.states())
            )
        raise ValueError(f"return_when must be one of {_WHENS}, not {return_when!r}")

    def _until(
        self, ready: Callable[[], bool], timeout: float | None, *, sure: bool = True
    ) -> Flow[bool]:
        inbox = self._session.inbox
        return waiting.until(inbox, self._tasks, ready, timeout, sure=sure)

    def _wait(self, timeout: float | None, return_when: str | None) -> Flow[bool]:
        ready = self._predicate(return_when)
        try:
            return (yield from self._until(ready, limit_of(timeout)))
        except StillAway:
            self._tasks.checked = 0.0
            return ready()

    def _listen(self) -> Flow[bool]:
        """Wait for ever, while somebody else sees to it that all ends."""
        # A flow of its own: a client from elsewhere has no session before it runs one.
        inbox, tasks = self._session.inbox, self._tasks
        return (
            yield from waiting.until(
                inbox, tasks, lambda: tasks.done, None, wanted=flows.nobody
            )
        )

    def _here(
        self, return_exceptions: bool | None, return_when: str | None
    ) -> tuple[bool, Any]:
        """Return True and the value, or raise, if all has arrived; else False.

        As ``_get`` does, which asks the hub, but at once: many read results one by one.
        """
        self._predicate(return_when)  # Raises for what is none.
        if self._tasks.done:
            with contextlib.suppress(_ReleasedError):
                return True, self._gathered(return_exceptions=return_exceptions)
        return False, None

    def _get(
        self,
        timeout: float | None,
        return_exceptions: bool | None,
        return_when: str | None,
    ) -> Flow[Any]:
        if return_when == FIRST_COMPLETED:
            return_when = None
        ready = self._predicate(return_when)
        inbox, tasks, limit = self._session.inbox, self._tasks, limit_of(timeout)
        known = self._decoded
        while True:
            try:
                arrived = yield from waiting.collect(
                    inbox, tasks, ready, limit, known, self._take_some
                )
            except StillAway as problem:
                tasks.checked = 0.0
                raise TimeoutError(f"{self._not_ready()} {problem}") from problem
            if not arrived:
                raise TimeoutError(self._not_ready())
            with contextlib.suppress(_ReleasedError):
                return self._gathered(return_exceptions=return_exceptions)

    def _not_ready(self) -> str:
        first, *more = self._tasks.open_ids() or self._tasks.ids
        pending = f"{first} and {len(more)} more are" if more else f"{first} is"
        return f"Result not ready: {pending} pending."

    def _gathered(self, *, return_exceptions: bool | None) -> Any:
        """Return the value of what is done, or raise what has failed so far."""
        tasks = self._tasks
        if tasks.done:
            return self._collect(return_exceptions=return_exceptions)
        ended = [name for name in tasks.ids if name in tasks.told]
        outcomes = map(self._outcome, ended)
        raise self._composite([value for good, value in outcomes if not good])

    def _fetched(self, name: str) -> Flow[tuple[bool, Any]]:
        """Return the outcome of a task that has ended, fetching it if necessary."""
        while True:
            with contextlib.suppress(_ReleasedError):
                return self._outcome(name)
            yield from waiting.complete(self._session.inbox, self._tasks, (name,))

    def _exception(self, timeout: float | None) -> Flow[Exception | None]:
        try:
            yield from self._get(timeout, None, None)
        except OF_TASKS as problem:
            return problem.with_traceback(None)
        return None

    def _ready(self) -> Flow[bool]:
        return (yield from self._wait(0, None))

    def _check_ready(self) -> Flow[None]:
        if not (yield from self._ready()):
            raise TimeoutError(self._not_ready())

    def _successful(self) -> Flow[bool]:
        if not (yield from self._ready()):
            raise RuntimeError("Cannot check successful() if not done.")
        return self._return_exceptions or all(
            state == "completed" for state in self._tasks.states()
        )

    def _abort(self, *, running: bool, dependents: bool) -> Flow[None]:
        if (yield from self._ready()):
            raise RuntimeError("Can't abort, I am already done!")
        ids = self._tasks.open_ids()
        yield from self._session.abort(ids, running=running, dependents=dependents)

    def _cancel(self) -> Flow[bool]:
        if (yield from self._ready()):
            return False
        yield from self._session.abort(self._tasks.open_ids())
        yield from self._ready()
        return self.cancelled()

    def cancelled(self) -> bool:
        """Were all tasks aborted? Does not ask the hub."""
        return self._tasks.done and all(
            state == "aborted" for state in self._tasks.states()
        )

    def _progress(self) -> Flow[int]:
        yield from self._ready()
        return self._arrived_items()

    def _metadata(self) -> Flow[list[Metadata]]:
        """Return the metadata of each task, from its record."""
        tasks, keys = self._tasks, self._session.keys
        records = yield from reading.records(keys, tasks.ids)
        found = [
            metadata(name, record, tasks.received)
            for name, record in zip(tasks.ids, records, strict=True)
        ]
        yield from self._note_ended(records)
        for name in ("stdout", "stderr", "after", "follow"):
            # Long values are stored beside the record.
            having = [
                about
                for about, record in zip(found, records, strict=True)
                if name in record and (name in _STREAMS or not record[name])
            ]
            ids = [about["msg_id"] for about in having]
            texts = yield from reading.outputs(keys, ids, name)
            for about, text in zip(having, texts, strict=True):
                about[name] = text if name in _STREAMS else members(text)
        failed = [
            about
            for about in found
            if about["status"] == "error" and about["msg_id"] in tasks.told
        ]
        yield from waiting.complete(
            self._session.inbox, tasks, [about["msg_id"] for about in failed]
        )
        for about in failed:
            if about["msg_id"] in tasks.told:
                about["error"] = (yield from self._fetched(about["msg_id"]))[1]
        return found

    def _note_ended(self, records: Sequence[Mapping[str, str]]) -> Flow[None]:
        """Take over that tasks have ended, as their records say."""
        tasks = self._tasks
        late = [
            name
            for name, record in zip(tasks.ids, records, strict=True)
            if name not in tasks.told and record.get("state") in states.ENDED
        ]
        if late:
            yield from waiting.look(self._session.inbox, tasks, late, budget=0)

    def _shaped(self, values: list[Any]) -> Any:
        """Return one value per task, in the shape of the result."""
        return values[0] if self._single else values

    def _about(self, key: str | None) -> Flow[Any]:
        """Return the metadata, or one field of them."""
        found = yield from self._metadata()
        return self._shaped([about if key is None else about[key] for about in found])

    def _why(self) -> Flow[Any]:
        """Return why each task is where it is."""
        found = yield from reading.why(self._session.keys, self._tasks.ids)
        return self._shaped(Whys(found))

    def _serial_time(self) -> Flow[float]:
        yield from self._check_ready()
        found = yield from self._metadata()
        return sum(
            float((about["completed"] - about["started"]).total_seconds())
            for about in found
            if about["completed"] and about["started"]
        )

    def _wall_time(self) -> Flow[float]:
        yield from self._check_ready()
        return self.elapsed

    def _get_dict(self, timeout: float | None) -> Flow[dict[int, Any]]:
        value = yield from self._get(timeout, None, None)
        found = yield from self._metadata()
        ids = [about["engine_id"] for about in found]
        if len(set(ids)) < len(ids):
            raise ValueError("Cannot build dict, multiple jobs ran on one engine")
        values = yield from self._of_tasks(value)
        return dict(zip(ids, values, strict=True))

    def _of_tasks(self, value: Any) -> Flow[list[Any]]:
        """Return what each task has of the value."""
        yield from ()
        if self._single:
            return [value]
        if self._sizes is None or set(self._sizes) == {1}:
            return list(value)
        items = iter(value)
        return [list(itertools.islice(items, size)) for size in self._sizes]

    def _outputs(self, groupby: str) -> Flow[list[str]]:
        """Return what the tasks printed, each with its origin."""
        if groupby not in {"type", "engine", "order"}:
            raise ValueError(
                f"groupby must be one of 'type', 'engine', 'order', not {groupby!r}"
            )
        yield from self._check_ready()
        found = yield from self._metadata()
        if groupby == "engine":
            found.sort(
                key=lambda about: (about["engine_id"] is None, about["engine_id"] or 0)
            )
        order = (
            [(about, stream) for stream in _STREAMS for about in found]
            if groupby == "type"
            else [(about, stream) for about in found for stream in _STREAMS]
        )
        return [
            about[stream]
            if self._single
            else f"[{stream}:{about['engine_id']}] {about[stream]}"
            for about, stream in order
            if about[stream]
        ]

    # -- iteration

    def _has(self, name: str) -> bool:
        return name in self._tasks.told

    def _at_hand(self) -> bool:
        """Is all done, and nothing large or failed, which is met one by one?"""
        tasks = self._tasks
        return tasks.done and all(
            tasks.state(name) == "completed" and not self._is_large(name)
            for name in tasks.ids
        )

    def _places(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self._tasks.ids)}

    def _arriving(
        self, number: int, places: Mapping[str, int], *, ordered: bool
    ) -> Flow[list[Any]]:
        """Return the items of the task at this position, or raise its exception."""
        tasks = self._tasks
        while True:
            if ordered:
                name = tasks.ids[number]
                yield from self._until(functools.partial(self._has, name), None)
            else:
                yield from self._until(lambda: len(tasks.order) > number, None)
                name = tasks.order[number]
            if name not in self._decoded:
                yield from self._have(name, number, ordered=ordered)
            if name in tasks.told:
                large = self._is_large(name)
                try:
                    items = self._part(places[name])
                except _ReleasedError:
                    continue
                if large:
                    # Together they may exceed memory.
                    self._decoded.pop(name, None)
                return items

    def _have(self, name: str, number: int, *, ordered: bool) -> Flow[None]:
        """Fetch the payload of a task; if it is small, also those of the next ones."""
        inbox, tasks = self._session.inbox, self._tasks
        if tasks.size(name) < math.inf:
            return
        yield from waiting.complete(inbox, tasks, (name,))
        if name in tasks.told and tasks.size(name) < _LARGE:
            names = tasks.ids if ordered else tasks.order
            later = names[number + 1 : number + 1 + _AHEAD]
            ahead = [one for one in later if one not in self._decoded]
            yield from waiting.complete(inbox, tasks, ahead, large=False)

    # -- parts

    def _make(self, tasks: TaskSet, fname: str, **options: Any) -> Any:
        """Make another result of this face."""
        raise NotImplementedError

    def _split(self) -> tuple[Any, ...]:
        if self._single:
            return (self,)
        if not self._parts:
            self._parts = tuple(
                self._sub(at, name) for at, name in enumerate(self._tasks.ids)
            )
        return self._parts

    def _sub(self, at: int, task_id: str) -> Any:
        whole, tasks = self._tasks, TaskSet((task_id,))
        tasks.submitted, tasks.checked = whole.submitted, whole.checked
        tasks.timed = whole.timed
        self._session.inbox.expect(tasks)
        # Look only after registering, so that nothing is missed in between.
        if (told := whole.told.get(task_id)) is not None:
            tasks.deliver(task_id, told)
            tasks.received = whole.received
        part = self._make(
            tasks, self._fname, single=True, return_exceptions=self._return_exceptions
        )
        part._chunk = None if self._sizes is None else self._sizes[at]
        return part


def tasks_elsewhere(ids: Sequence[str], submitted: float) -> TaskSet:
    """Return tasks of another process, of which nothing is known here yet."""
    tasks = TaskSet(ids)
    tasks.submitted = tasks.received = submitted
    # So that their records are asked first.
    tasks.checked = -1.0
    tasks.timed = True
    return tasks


class Elsewhere:
    """The client of a result made by another process: connects when first used."""

    def __init__(self, place: Place, tasks: TaskSet) -> None:
        self._place = place
        self._tasks = tasks
        self._inbox: Inbox | None = None

    def __repr__(self) -> str:
        return f"<Client of hub {self._place.hub}>"

    @property
    def _key(self) -> object:
        """Distinguishes this client from others."""
        return self._place

    def _expect(self, session: Session) -> Session:
        """Let the session of a connected client expect the tasks; return it."""
        inbox = session.inbox
        if inbox is not self._inbox:
            self._inbox = inbox
            inbox.expect(self._tasks)
        return session


def call_back(result: R, callback: Callable[[R], Any]) -> None:
    """Run the callback of a result that is done; log what it raises."""
    try:
        callback(result)
    except Exception:  # noqa: BLE001 - it is the user's code
        _log.exception("a callback of %r raised", result)


class Pieces(Results):
    """A result of sub-sequences: lists and arrays are joined, others are listed."""

    #: Did each task get every n-th item, instead of consecutive ones?
    stripes = False

    def _collect(self, *, return_exceptions: bool | None) -> Any:
        values = super()._collect(return_exceptions=return_exceptions)
        return inputs.rejoined(values, stripes=self.stripes)

    def _part(self, at: int) -> list[Any]:
        (value,) = super()._part(at)
        return self._unfolded(value)

    def _unfolded(self, value: Any) -> list[Any]:
        """Return the items of one task's value."""
        return list(value) if inputs.is_piece(value) else [value]

    def _arriving(
        self, number: int, places: Mapping[str, int], *, ordered: bool
    ) -> Flow[list[Any]]:
        if not self.stripes:
            return (yield from super()._arriving(number, places, ordered=ordered))
        # The second item is in the second task, so all come at once.
        return [] if number else list((yield from self._get(None, None, None)))

    def _of_tasks(self, value: Any) -> Flow[list[Any]]:  # noqa: ARG002 - it is joined
        found = []
        for name in self._tasks.ids:
            _, one = yield from self._fetched(name)
            found.append(one)
        return found


def _times(given: datetime | Iterable[datetime | None] | None) -> list[datetime]:
    listed = given if isinstance(given, Iterable) else [given]
    found = [one for one in listed if one is not None]
    if not found:
        raise ValueError("none of the tasks has such a time")
    return found


def is_result(one: object) -> bool:
    """Is it a result, or the future of one, as of ``view.executor``?"""
    return isinstance(one, Results) or isinstance(getattr(one, "task", None), Results)


def results_of(given: Iterable[R]) -> list[R]:
    """Return results as a list. Raises ``TypeError`` for anything else."""
    listed = list(given)
    for one in listed:
        if not is_result(one):
            raise TypeError(f"expected results, not {type(one).__name__}: {one!r}")
    return listed


def of_face(given: Any, face: str) -> Any:
    """Return what ``as_completed`` is given: one result, or several as a list.

    Raises ``TypeError`` for a result of another face: this one's cannot wait for it.
    """
    several: list[Any] = [given] if is_result(given) else list(given)
    for one in filter(is_result, several):
        theirs = (one if isinstance(one, Results) else one.task)._face
        if theirs != face:
            raise TypeError(
                f"{one!r} is a result of {theirs}: use {theirs}.as_completed"
            )
    return given if is_result(given) else several


def joined(results: Iterable[Any]) -> Any:
    """Return one result of the tasks of several: the inverse of ``split``."""
    listed = results_of(results)
    if not listed:
        raise ValueError("Must specify at least one AsyncResult to join")
    first = listed[0]
    tasks = TaskSet([name for one in listed for name in one.msg_ids])
    tasks.submitted = min(one._tasks.submitted for one in listed)
    tasks.timed = any(one._tasks.timed for one in listed)
    first._session.inbox.expect(tasks)
    for one in listed:
        for name, told in list(one._tasks.told.items()):
            tasks.deliver(name, told)
    if tasks.done:
        tasks.received = max(one._tasks.received for one in listed)
    chunks = [
        size
        for one in listed
        for size in ([one._chunk] if one._sizes is None else one._sizes)
    ]
    options: dict[str, Any] = {
        "return_exceptions": all(one._return_exceptions for one in listed)
    }
    if all(size is not None for size in chunks):
        options["sizes"] = chunks
    return first._make(tasks, first._fname, **options)
