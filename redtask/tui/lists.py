"""The lists: engines, tasks, failures, events. No I/O here."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from redtask.cli.output import short_id
from redtask.hub.views import EngineRow, Event, TaskRow
from redtask.live import read_progress
from redtask.tui.columns import Cell, Column, table
from redtask.tui.looks import BAD, GOOD, QUIET, style_of
from redtask.tui.text import Glyphs, bar, clean, line, number, span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

    from redtask.hub.views import Overview
    from redtask.tui.state import Item, Rows, State

T = TypeVar("T")

#: From this number on, tasks of an engine are shown in thousands.
_MANY: Final = 10_000
_ENGINES: Final = (
    Column("engine", 6, right=True),
    Column("load", 8),
    Column("tasks", len(f"{_MANY - 1:,}"), right=True),
    Column("state", 8, rank=1),
    Column("runs", 18, grows=True),
    Column("for", 7, right=True, rank=1),
    Column("done", 7, right=True, rank=2),
    Column("worker", 16, rank=3, grows=True),
    Column("queues", 10, rank=5, grows=True),
    Column("lease", 7, right=True, rank=6),
    Column("up", 7, right=True, rank=7),
)
_ID: Final = Column("task", 14)
_FUNCTION: Final = Column("function", 20, grows=True)
_LABEL: Final = Column("label", 10, rank=1, grows=True)
#: The widths of others where there are labels, so that these fit into 80 cells.
_BESIDE_LABELS: Final = {"function": 12, "error": 20}
_COLUMNS: Final = {
    "waiting": (
        _ID, _FUNCTION, _LABEL,
        Column("queue", 10, rank=2, grows=True),
        Column("submitted", 11, right=True),
        Column("waits for", 14, rank=1),
    ),
    "ready": (
        _ID, _FUNCTION, _LABEL,
        Column("queue", 10, rank=1, grows=True),
        Column("tries", 5, right=True, rank=5),
        Column("submitted", 11, right=True),
    ),
    "assigned": (
        _ID, _FUNCTION, _LABEL,
        Column("engine", 6, right=True),
        Column("submitted", 11, right=True),
    ),
    "running": (
        _ID, _FUNCTION, _LABEL,
        Column("engine", 6, right=True),
        Column("for", 8, right=True),
        Column("progress", 10, rank=1, grows=True),
        Column("waited", 8, right=True, rank=2),
        Column("tries", 5, right=True, rank=5),
        Column("queue", 10, rank=6, grows=True),
    ),
    "completed": (
        _ID, _FUNCTION, _LABEL,
        Column("engine", 6, right=True, rank=3),
        Column("took", 8, right=True),
        Column("ended", 11, right=True, rank=1),
        Column("result", 12, rank=2, grows=True),
    ),
    "failed": (
        _ID,
        Column("function", 20, grows=True, least=10),
        _LABEL,
        Column("error", 26, grows=True, least=10),
        Column("engine", 6, right=True, rank=5),
        Column("tries", 5, right=True, rank=6),
        Column("ended", 11, right=True, rank=1),
        Column("again as", 14, rank=8),
    ),
    "aborted": (
        _ID, _FUNCTION, _LABEL,
        Column("reason", 20, rank=1, grows=True),
        Column("ended", 11, right=True),
    ),
}  # fmt: skip
_EVENTS: Final = (
    Column("ago", 8, right=True),
    Column("event", 15),
    Column("task", 14, rank=1),
    Column("engine", 10, rank=2),
    Column("about", 20, grows=True, least=10),
)


def lines(state: State) -> list[Text]:
    """Return the headers and a line per row, or why there are none."""
    rows, seen = state.rows, state.seen
    if rows is None or seen is None:
        return [line("reading ...")]
    if not rows.items:
        # Cleaned before, as that replaces line breaks, too.
        told = textwrap.wrap(clean(_nothing(state, rows)), state.size.width)
        return [line(one) for one in told]
    stamp, top = seen.overview.stamp, _top(seen.overview, rows)
    chosen = min(state.place.row, len(rows.items) - 1)
    columns = _columns(state)
    labels = _labels(rows)
    cells = [_cells(state, item, stamp, top, labels) for item in rows.items]
    if _LABEL in columns:
        at = columns.index(_LABEL)
        if any(row[at] for row in cells):
            columns = [_beside_labels(one) for one in columns]
        else:
            columns = _without(columns, at)
            cells = [_without(row, at) for row in cells]
    return table(columns, cells, state.size.width, state.glyphs, chosen=chosen)


def _beside_labels(column: Column) -> Column:
    return replace(column, width=_BESIDE_LABELS.get(column.title, column.width))


def _without(items: Sequence[T], at: int) -> list[T]:
    return [*items[:at], *items[at + 1 :]]


def _columns(state: State) -> Sequence[Column]:
    if state.tab == "engines":
        return _ENGINES
    return _EVENTS if state.tab == "events" else _COLUMNS[state.state]


def _labels(rows: Rows) -> dict[str, str]:
    """Return the labels of engines by uuid, as far as these events tell them."""
    abouts = [row.about for row in rows.items if isinstance(row, Event)]
    return {
        about["engine"]: about["id"]
        for about in abouts
        if "engine" in about and "id" in about
    }


def _cells(
    state: State, item: Item, stamp: int, top: int, labels: Mapping[str, str]
) -> Sequence[str | Cell]:
    if isinstance(item, EngineRow):
        return engine(item, stamp, top, state.glyphs)
    if isinstance(item, Event):
        return event(item, stamp, labels)
    return task(item, state.state, stamp)


def _nothing(state: State, rows: Rows) -> str:
    what = {"engines": "engine lives", "events": "event is known"}.get(
        state.tab, f"task is {state.state}"
    )
    if state.place.text and rows.more is not None:
        those = f"the {rows.searched} read" if rows.searched else "those read"
        text = repr(state.place.text)
        return f"None of {those} has {text}: PgDn reads on, Esc shows all."
    if len(state.place.pages) > 1:
        what = f"further {what}"
    if state.place.text:
        return f"No {what} that has {state.place.text!r}: Esc shows all."
    if state.tab == "engines":
        return "No engine lives: start some with 'redtask worker'."
    return f"No {what}."


def _top(seen: Overview, rows: Rows) -> int:
    """Return the load of a full bar: the high-water mark, or the highest load seen."""
    loads = [row.load for row in rows.items if isinstance(row, EngineRow)]
    return int(seen.hub.get("hwm", 0)) or max([1, *loads])


def engine(row: EngineRow, stamp: int, top: int, glyphs: Glyphs) -> list[str | Cell]:
    """Return the cells of an engine."""
    if row.state == "drained" and row.load:
        # As ``redtask engine ls`` has it: what it holds, it still runs.
        state = Cell("draining", BAD)
    elif row.state:
        state = Cell(row.state, BAD)
    elif row.lease < 0:
        state = Cell("silent", BAD)
    else:
        state = Cell("busy", GOOD) if row.load else Cell("idle", QUIET)
    return [
        str(row.engine_id),
        Cell(bar(row.load / top, 8, glyphs), GOOD if row.load else QUIET),
        number(row.load, _MANY),
        state,
        row.function or ("" if not row.task_id else short_id(row.task_id)),
        since(row.started, stamp) if row.task_id else "",
        number(row.done),
        row.worker,
        ",".join(row.queues),
        span(max(0, row.lease) / 1000),
        since(row.joined, stamp),
    ]


def since(moment: float, stamp: int) -> str:
    """Format how long ago a time in ms was."""
    return span(max(0.0, (stamp - moment) / 1000)) if moment else ""


def task(row: TaskRow, state: str, stamp: int) -> list[str | Cell]:
    """Return the cells of a task in this state."""
    f, course = row.fields, row.course
    function = f.get("function") or ("(gate)" if f.get("gate") == row.task_id else "")
    first: list[str | Cell] = [short_id(row.task_id), function, f.get("label", "")]
    submitted, ended = _ago(course.submitted, stamp), _ago(course.ended, stamp)
    queue, tries = f.get("queue", "default"), f.get("tries", "")
    engine = f.get("engine", "").partition("/")[0]
    waited = max(0.0, course.began - course.submitted) / 1000
    more: dict[str, list[str | Cell]] = {
        "waiting": [queue, submitted, _waits_for(row, stamp)],
        "ready": [queue, tries, submitted],
        "assigned": [engine, submitted],
        "running": [
            engine, since(course.began, stamp), progress(f.get("progress", "")),
            span(waited), tries, queue,
        ],
        "completed": [engine, span(course.took), ended, f.get("repr", "")],
        "failed": [
            Cell(error_of(f), style_of("failed")), engine, tries, ended,
            short_id(f.get("resubmitted", "")),
        ],
        "aborted": [f.get("reason", ""), ended],
    }  # fmt: skip
    return first + more[state]


def _ago(moment: float, stamp: int) -> str:
    told = since(moment, stamp)
    return f"{told} ago" if told else ""


def progress(told: str) -> str:
    """Format a task's progress."""
    share, message = read_progress(told)
    return "" if share is None else f"{share:.0%} {message}".rstrip()


def _waits_for(row: TaskRow, stamp: int) -> str:
    f = row.fields
    if f.get("gate"):
        return "a gate"
    start = f.get("start", "")
    ahead = (float(start) - stamp) / 1000 if start.isdigit() else 0.0
    return f"in {span(ahead)}" if ahead > 0 else "other tasks"


def error_of(fields: Mapping[str, str]) -> str:
    """Format a task's error."""
    name = fields.get("verdict") or fields.get("ename") or "?"
    words = fields.get("reason") or fields.get("evalue") or ""
    return f"{name}: {words}" if words else name


def event(row: Event, stamp: int, labels: Mapping[str, str]) -> list[str | Cell]:
    """Return the cells of an event; not all tell their engine's label."""
    about = dict(row.about)
    task, engine = about.pop("task", ""), about.pop("engine", "")
    label = about.pop("id", labels.get(engine, ""))
    why = about.pop("why", "")
    more = " ".join(f"{name} {value}" for name, value in about.items())
    bad = row.event in ("failed", "lost", "engine gone", "corrupt", "refused")
    return [
        since(row.at, stamp),
        Cell(row.event, BAD if bad else ""),
        short_id(task),
        label or engine[:8],
        " ".join(one for one in (why, more) if one),
    ]
