"""Records of tasks, formatted for commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from redtask.cli.output import ago, duration, iso, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.dossier import Dossier

#: The keys of a record that are shown, as named in ``db_query``.
FIELDS: Final = (
    "state", "function", "module", "queue", "label", "priority", "submitted", "started",
    "completed", "took", "engine_id", "engine_uuid", "tries", "deaths", "retries",
    "timeout", "after", "follow", "targets", "repr", "ename", "evalue", "verdict",
    "reason", "progress", "doing", "resubmit_of", "resubmitted", "root",
)  # fmt: skip


def as_json(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON values; ``id`` first."""
    return {
        "id": record["msg_id"],
        **{name: record[name] for name in FIELDS},
        "what": what_came(record) or None,
    }


def what_came(record: Mapping[str, Any]) -> str:
    """Format a task's outcome: short result, error, or progress."""
    if record["state"] == "completed":
        return record["repr"] or "None"
    if record["state"] == "failed":
        return str(record["error"])
    if record["state"] == "running":
        return progress(record)
    return record["reason"] or ""


def progress(record: Mapping[str, Any]) -> str:
    """Format a task's progress."""
    share = "" if record["progress"] is None else f"{record['progress']:.0%}"
    return " ".join(one for one in (share, record["doing"]) if one)


def engine(record: Mapping[str, Any]) -> str:
    """Return the id of the engine that has or had a task."""
    return "" if record["engine_id"] is None else str(record["engine_id"])


def when(at: datetime | None) -> str:
    """Format a time for display: without the date if today, and how long ago."""
    if at is None:
        return ""
    here = at.astimezone()
    today = here.date() == datetime.now(UTC).astimezone().date()
    form = "%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S"
    return f"{here.strftime(form)} ({ago(at.timestamp())} ago)"


def short_ago(at: datetime) -> str:
    """Format briefly how long ago a time was."""
    return ago(at.timestamp())


def took(seconds: float | None) -> str:
    """Format a duration briefly."""
    if seconds is None:
        return ""
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else duration(seconds)  # noqa: PLR2004


def dossier_json(found: Dossier) -> dict[str, Any]:
    """Return all that is known of a task as JSON values."""

    groups = {
        "after": found.after,
        "follow": found.follow,
        "refs": found.refs,
        "dependents": found.dependents,
        "runs": found.runs,
    }
    related = {one.task_id: one for some in groups.values() for one in some}
    return {
        **as_json(found.record),
        **{name: [one.task_id for one in some] for name, some in groups.items()},
        "runs_complete": found.runs_complete,
        "after_what": found.after_what or None,
        "follow_what": found.follow_what or None,
        "related": [
            {"id": one.task_id, "state": one.state, "function": one.function}
            for one in related.values()
        ],
        "attempts": [
            {
                "attempt": one.attempt,
                "engine_uuid": one.engine,
                "engine_id": found.labels.get(one.engine),
                "started": moment(one.started),
                "completed": moment(one.ended),
                "what": one.what,
            }
            for one in found.tries
        ],
        "refusals": [
            {"engine_id": label, "words": words} for label, words in found.refusals
        ],
        "stdout": found.record["stdout"],
        "stderr": found.record["stderr"],
        "traceback": found.traceback,
    }


def plain(value: Any) -> str:
    """Format a record's value for a tab-separated line."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=str)
    return str(value)
