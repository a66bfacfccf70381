"""The metadata of a task's run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from redtask.hub.states import STATUS
from redtask.live import read_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Fields:
    """The keys of metadata that are attributes elsewhere, too: for type checkers."""

    #: The id of the task.
    msg_id: str
    #: Times, timezone-aware; None: it is not so far, or the record is gone.
    submitted: datetime | None
    started: datetime | None
    completed: datetime | None
    received: datetime | None
    #: The engine that has it, or had it most recently.
    engine_id: int | None
    engine_uuid: str | None
    #: ``ok error aborted``; None: it has not ended.
    status: str | None
    #: What it raised.
    error: Exception | None
    #: What it printed.
    stdout: str
    stderr: str
    #: What it says that it does.
    doing: str
    #: As submitted: a name of the user's, and ids of other tasks.
    label: str | None
    after: list[str]
    follow: list[str]
    #: Always the same: IPython.parallel has them.
    execute_input: None
    execute_result: None
    outputs: list[Any]
    data: dict[str, Any]
    is_broadcast: bool
    is_coalescing: bool


class Metadata(dict[str, Any], Fields):
    """The metadata of a task's run: keys are also attributes.

    ``msg_id submitted started completed received engine_id engine_uuid status error
    stdout stderr progress doing label after follow`` and IPython.parallel's other keys.
    ``progress`` (0 to 1) and ``doing`` are reported by the task itself. Times are
    timezone-aware, by the server's clock; ``received`` by the client's.
    """

    #: What share is done, as the task says; of a result it is the number of items.
    progress: float | None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                raise AttributeError(name) from None


def _moment(milliseconds: str | None, more: int = 0) -> datetime | None:
    """Return the time this many ms, and ``more`` us, after the epoch."""
    if not milliseconds:
        return None
    return _EPOCH + timedelta(microseconds=round(float(milliseconds) * 1000) + more)


def members(text: str | None) -> list[str]:
    """Return the ids of a record's dependency, without its letters."""
    return text.split()[1:] if text else []


def metadata(task_id: str, record: Mapping[str, str], received: float) -> Metadata:
    """Build the metadata of a task from its record."""
    state = record.get("state", "")
    began = record.get("started")
    if "took" in record:
        # As the engine reported: us since the start, and the run time in us.
        ago, took = map(int, record["took"].split())
        started, completed = _moment(began, -ago), _moment(began, took - ago)
    else:
        started, completed = _moment(began), _moment(record.get("ended"))
    number, _, uuid = record.get("engine", "").partition("/")
    share, message = read_progress(record.get("progress"))
    return Metadata(
        msg_id=task_id,
        submitted=_moment(record.get("submitted")),
        started=started,
        completed=completed,
        received=datetime.fromtimestamp(received, UTC) if state in STATUS else None,
        engine_id=int(number) if number else None,
        engine_uuid=uuid or None,
        status=STATUS.get(state),
        error=None,
        stdout="",
        stderr="",
        progress=share,
        doing=message,
        label=record.get("label"),
        after=members(record.get("after")),
        follow=members(record.get("follow")),
        execute_input=None,
        execute_result=None,
        outputs=[],
        data={},
        is_broadcast=False,
        is_coalescing=False,
    )


#: All keys of metadata, which are also attributes of an AsyncResult.
METADATA: Final = frozenset(metadata("", {}, 0.0))
