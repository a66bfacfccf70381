"""The current task, as its own code sees it.

::

    def convert(paths):
        for number, path in enumerate(paths):
            redtask.current_task().progress(number / len(paths), path.name)
            ...
"""

from __future__ import annotations

import functools
import logging
import math
import numbers
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CurrentTask", "Desk", "TaskFilter", "current_task", "desk"]

#: The longest message, in bytes: it is one line on a screen, and records are compact.
_MESSAGE: Final = 52


class _Work(Protocol):
    """What an engine knows of the task it runs."""

    @property
    def task_id(self) -> str: ...

    @property
    def token(self) -> str: ...


@dataclass(slots=True)
class Desk:
    """Where the engine of this process publishes its current task."""

    #: Returns the current task; None: there is none.
    work: Callable[[], _Work | None] = lambda: None
    #: Reports its progress.
    progress: Callable[[str, Any], None] = lambda _text, _work: None
    #: Reads fields of its record, by its id.
    fields: Callable[[str, tuple[str, ...]], list[str | None]] = lambda _id, names: (
        [None] * len(names)
    )
    #: Reports what the engine has ended before the current task.
    settle: Callable[[], None] = lambda: None
    #: ``engine_id engine_uuid host pid worker hub``.
    about: Mapping[str, Any] = field(default_factory=dict)


@functools.cache
def desk(pid: int) -> Desk:  # noqa: ARG001 - a fork of an engine is none
    """Return the desk of this process."""
    return Desk()


@dataclass(frozen=True, slots=True)
class CurrentTask:
    """The running task; outside of one, ``id`` is None and reports are ignored.

    So a function that reports progress can also be called directly.
    """

    #: Its id, as in ``AsyncResult.msg_ids``.
    id: str | None = None
    #: The number of this attempt: 1, 2, ...
    attempt: int = 0
    #: Id of the engine that runs it.
    engine_id: int | None = None
    #: The engine's uuid.
    engine_uuid: str | None = None
    #: Name of the engine's worker.
    worker: str | None = None
    #: Name of the hub.
    hub: str | None = None
    _desk: Desk = field(default_factory=Desk, repr=False, compare=False)
    _work: Any = field(default=None, repr=False, compare=False)

    def progress(self, done: float, message: str = "", *, total: float = 1.0) -> None:
        """Report progress: ``done`` of ``total``, with a short message.

        Shown in ``metadata``, ``stream_output``, ``redtask logs -f`` and ``redtask
        status``. Call it as often as you like: reports that come too fast are dropped,
        except the last. Raises ``TypeError`` if a value is not a number, and
        ``ValueError`` for NaN or a total that is not positive.
        """
        for value in (done, total):
            if not isinstance(value, numbers.Real):
                kind = type(value).__name__
                raise TypeError(f"progress is a number, not {kind}")
        if math.isnan(done) or not 0 < total < math.inf:
            raise ValueError(f"no progress: {done!r} of {total!r}")
        if self._work is not None and self._work is self._desk.work():
            share = min(1.0, max(0.0, float(done / total)))
            words = " ".join(str(message).split())
            told = words.encode("utf-8", "replace")[:_MESSAGE].decode("utf-8", "ignore")
            self._desk.progress(f"{share:.4g} {told}".rstrip(), self._work)

    def _field(self, name: str) -> str | None:
        if self.id is None:
            return None
        return self._desk.fields(self.id, (name,))[0]

    @property
    def label(self) -> str | None:
        """The label given at the submit. Asks Redis."""
        return self._field("label")

    @property
    def queue(self) -> str | None:
        """The queue it was submitted to. Asks Redis."""
        return None if self.id is None else self._field("queue") or "default"

    @property
    def retries(self) -> int:
        """The number of retries it is allowed. Asks Redis."""
        return int(self._field("retries") or 0)


def current_task() -> CurrentTask:
    """Return the task that this code runs in; its threads see it too.

    Outside a task, ``id`` of the returned one is None.
    """
    found = desk(os.getpid())
    work = found.work()
    if work is None:
        return CurrentTask()
    attempt, _, _ = work.token.partition(":")
    about = found.about
    return CurrentTask(
        work.task_id,
        int(attempt),
        about.get("engine_id"),
        about.get("engine_uuid"),
        about.get("worker"),
        about.get("hub"),
        found,
        work,
    )


class TaskFilter(logging.Filter):
    """Adds the current task to log records.

    For an application's own handlers, whose formats may then use ``task_id``,
    ``attempt`` and ``engine_id``; outside a task these are ``-``, 0 and ``-``. ::

        handler.addFilter(redtask.TaskFilter())
        handler.setFormatter(logging.Formatter("%(task_id)s/%(attempt)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes unless they are set; let every record pass."""
        if hasattr(record, "task_id"):
            return True
        task = current_task()
        record.task_id = task.id or "-"
        record.attempt = task.attempt
        record.engine_id = "-" if task.engine_id is None else task.engine_id
        return True
