"""What every AsyncResult knows by itself, whichever face it has. No I/O here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from redtask.error import CompositeError
from redtask.inbox import TaskSet
from redtask.session import Session

_STATUS: Final = {"completed": "ok", "failed": "error", "aborted": "aborted"}


class Metadata(dict[str, Any]):
    """What is known of one task's run: keys also as attributes.

    ``msg_id submitted started completed received engine_id engine_uuid status error
    stdout stderr label after follow`` and those that IPython.parallel has besides.
    Times are timezone-aware, by the server's clock; ``received`` by ours.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _moment(milliseconds: str | None, more: float = 0.0) -> datetime | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(int(milliseconds) / 1000 + more, UTC)


def metadata(task_id: str, record: Mapping[str, str], received: float) -> Metadata:
    """Build the metadata of a task from its record."""
    state = record.get("state", "")
    took = int(record.get("took", 0)) / 1e6
    began = record.get("started")
    if "took" in record:
        completed = _moment(began, took)
    else:
        completed = _moment(record.get("ended"))
    number, _, uuid = record.get("engine", "").partition("/")
    return Metadata(
        msg_id=task_id,
        submitted=_moment(record.get("submitted")),
        started=_moment(began),
        completed=completed,
        received=datetime.fromtimestamp(received, UTC) if state in _STATUS else None,
        engine_id=int(number) if number else None,
        engine_uuid=uuid or None,
        status=_STATUS.get(state),
        error=None,
        stdout="",
        stderr="",
        label=record.get("label"),
        after=[],
        follow=[],
        execute_input=None,
        execute_result=None,
        outputs=[],
        data={},
        is_broadcast=False,
        is_coalescing=False,
    )


#: The keys of every metadata, also attributes of an AsyncResult.
METADATA: Final = frozenset(metadata("", {}, 0.0))


class Results:
    """The tasks of one AsyncResult, and what can be said of them without asking.

    ``sizes`` has the number of items per task of a map; None for other shapes.
    ``single`` is a result of one call, whose value is no list.
    """

    def __init__(
        self,
        session: Session,
        tasks: TaskSet,
        fname: str = "unknown",
        *,
        single: bool = False,
        sizes: Sequence[int] | None = None,
        return_exceptions: bool = False,
    ) -> None:
        self._session = session
        self._tasks = tasks
        self._fname = fname
        self._single = single
        self._sizes = sizes
        self._return_exceptions = return_exceptions
        self._decoded: dict[str, tuple[bool, Any]] = {}

    @property
    def msg_ids(self) -> list[str]:
        """The ids of the tasks, in order of submission."""
        return list(self._tasks.ids)

    def __len__(self) -> int:
        """Return the number of items: of a map its inputs, else its tasks."""
        return len(self._tasks.ids) if self._sizes is None else sum(self._sizes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._fname}): {self._state()}>"

    def _state(self) -> str:
        if not self._tasks.done:
            return "pending"
        ended = self._tasks.outcomes.values()
        ok = all(outcome.state == "completed" for outcome in ended)
        return "finished" if ok else "failed"

    def done(self) -> bool:
        """Is every outcome here already? Does not ask the hub."""
        return self._tasks.done

    def _arrived_items(self) -> int:
        ended = self._tasks.outcomes
        if self._sizes is None:
            return len(ended)
        return sum(
            size
            for name, size in zip(self._tasks.ids, self._sizes, strict=True)
            if name in ended
        )

    @property
    def elapsed(self) -> float:
        """Seconds since submission; when all is done, until the last result came."""
        end = self._tasks.received if self._tasks.done else time.time()
        return max(0.0, end - self._tasks.submitted)

    def _outcome(self, task_id: str) -> tuple[bool, Any]:
        """Return whether a task has a value, and value or exception; decoded once."""
        try:
            return self._decoded[task_id]
        except KeyError:
            decoded = self._session.decode(task_id, self._tasks.outcomes[task_id])
            self._decoded[task_id] = decoded
            return decoded

    def _errors(self) -> list[Exception]:
        outcomes = map(self._outcome, self._tasks.ids)
        return [value for good, value in outcomes if not good]

    def _items(self, task_id: str, at: int) -> list[Any]:
        """Return what a task contributes to the list: of a map, one per item."""
        good, value = self._outcome(task_id)
        if self._sizes is None:
            return [value]
        return list(value) if good else [value] * self._sizes[at]

    def _composite(self, errors: list[Exception]) -> CompositeError:
        message = f"one or more exceptions raised in: {self._fname}"
        return CompositeError(message, errors)

    def _collect(self, *, return_exceptions: bool | None) -> Any:
        """Return the value of what is all done, or raise."""
        keep = (
            self._return_exceptions if return_exceptions is None else return_exceptions
        )
        ids = self._tasks.ids
        if self._single:
            good, value = self._outcome(ids[0])
            if not good and not keep:
                raise value
            return value
        if not keep and (errors := self._errors()):
            raise self._composite(errors)
        values: list[Any] = []
        for at, name in enumerate(ids):
            values += self._items(name, at)
        return values

    def _part(self, at: int) -> list[Any]:
        """Return the items of the task at this place, or raise for it."""
        task_id = self._tasks.ids[at]
        good, value = self._outcome(task_id)
        if not good and not self._return_exceptions:
            raise self._composite([value])
        return self._items(task_id, at)
