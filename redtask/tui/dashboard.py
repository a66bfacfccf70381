"""The tab Overview. No I/O here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from redtask.cli.output import STATES, short_id, size
from redtask.tui.columns import Cell, Column, table
from redtask.tui.lists import since
from redtask.tui.looks import BAD, QUIET, TITLE, style_of
from redtask.tui.text import (
    bar,
    clean,
    counted,
    line,
    number,
    of_failures,
    rate,
    span,
    spark,
)

if TYPE_CHECKING:
    from rich.text import Text

    from redtask.hub.views import Overview
    from redtask.tui.state import State

#: The hub tells of so many queues, the longest; there may be more.
_MOST_QUEUES: Final = 50
_QUEUES: Final = (
    Column("queue", 12, grows=True),
    Column("engines", 7, right=True),
    Column("ready", 7, right=True),
    Column("oldest", 8, right=True),
)
_FAILURES: Final = (
    Column("failed", 7, right=True),
    Column("function", 14, grows=True),
    Column("error", 12, grows=True),
    Column("latest", 14, rank=1),
)
#: Cells of the longest name of a state.
_CELLS: Final = max(map(len, STATES)) + 1
#: Cells in front of a sparkline, and behind it.
_BEFORE: Final = 12
_BEHIND: Final = 26
#: Width of a sparkline, if there is room; it grows with more points.
_POINTS: Final = 60
#: From this width on, queues and failures are side by side.
_WIDE: Final = 120
#: The most rows of queues on a small screen, to leave room for failures.
_SOME: Final = 4


def lines(state: State) -> list[Text]:
    """Return the lines of the overview, as many as fit."""
    if state.seen is None:
        return [line("reading ...")]
    seen = state.seen.overview
    room = state.size.height - 4
    found = _states(seen, state.size.width)
    found += _history(state)
    found += [*_facts(state, seen), line("")]
    return found + _tables(state, seen, room - len(found))


def _states(seen: Overview, width: int) -> list[Text]:
    """Return names and counts: in one row, or two, which then need no blank line."""
    names = list(STATES)
    if width < _CELLS * len(names):
        half = (len(names) + 1) // 2
        rows, rest = [names[:half], names[half:]], []
    else:
        rows, rest = [names], [line("")]
    cells = min(14, width // len(rows[0]))
    found = []
    for row in rows:
        counts = [number(seen.states.get(name, 0)) for name in row]
        found.append(line(*((f"{name:>{cells - 1}} ", STATES[name]) for name in row)))
        found.append(line(*((f"{told:>{cells - 1}} ", TITLE) for told in counts)))
    return found + rest


def _history(state: State) -> list[Text]:
    points, glyphs = state.history.points, state.glyphs
    most = max(10, state.size.width - _BEFORE - _BEHIND)
    width = min(most, max(_POINTS, len(points)))
    now = state.history.latest
    peak = max((one.ended for one in points), default=0.0)
    behind = state.size.width - _BEFORE - width
    seen = state.seen.overview if state.seen else None
    lately = [f"{number(seen.lately.failed)} in {span(seen.span)}"] if seen else []
    found = [
        line(
            (f"{'ended':<{_BEFORE}}", TITLE),
            (
                spark([one.ended for one in points], width, glyphs),
                style_of("completed"),
            ),
            _whole([f"  {rate(now.ended)}", f"most {rate(peak)}"], behind),
        ),
        line(
            (f"{'failed':<{_BEFORE}}", TITLE),
            (spark([one.failed for one in points], width, glyphs), style_of("failed")),
            _whole([f"  {rate(now.failed)}", *lately], behind),
        ),
    ]
    for title, times in (
        ("run time", [one.ran for one in points]),
        ("wait before", [one.waited for one in points]),
    ):
        latest = times[-1] if times else None
        both = [f"  p50 {span(latest[0])}", f"p95 {span(latest[1])}"] if latest else []
        told = _whole(both, behind) or "  -"
        drawn = spark([one[0] if one else 0.0 for one in times], width, glyphs)
        found.append(line((f"{title:<{_BEFORE}}", TITLE), (drawn, "cyan"), told))
    return found


def _whole(parts: list[str], most: int) -> str:
    """Return the first of these parts, and those that fit after it."""
    while len(parts) > 1 and len(", ".join(parts)) > most:
        parts = parts[:-1]
    return ", ".join(parts)


def _facts(state: State, seen: Overview) -> list[Text]:
    width = max(8, min(20, state.size.width // 5))
    busy = seen.states.get("running", 0)
    share = min(1.0, busy / seen.engines) if seen.engines else 0.0
    used = int(seen.hub.get("used_memory", 0))
    most = int(seen.hub.get("maxmemory", 0))
    found = [
        line(
            (f"{'engines':<{_BEFORE}}", TITLE),
            bar(share, width, state.glyphs),
            f"  {number(seen.engines)}, {counted(busy, 'task')} run"
            + ("s" if busy == 1 else "")
            if seen.engines
            else ("  none lives: start some with 'redtask worker'", BAD),
        )
    ]
    if used:
        told = f"  {size(used)}" + (f" of {size(most)}" if most else ", no limit")
        width = max(2, min(width, state.size.width - _BEFORE - len(told)))
        drawn = bar(used / most if most else 0.0, width, state.glyphs)
        full = most and used / most > 0.9  # noqa: PLR2004 - nearly
        found.append(
            line((f"{'memory':<{_BEFORE}}", TITLE), drawn, (told, BAD if full else ""))
        )
    found.append(line((f"{'oldest':<{_BEFORE}}", TITLE), _oldest(state, seen)))
    return found


def _oldest(state: State, seen: Overview) -> str:
    """Return the oldest tasks, with their ids if there is room."""
    ages = {
        name: f"{name} {since(one.submitted, seen.stamp)}"
        for name, one in seen.oldest.items()
    }
    ids = {name: short_id(clean(one.task_id)) for name, one in seen.oldest.items()}
    told = ", ".join(f"{age} ({ids[name]})" for name, age in ages.items())
    if len(told) > state.size.width - _BEFORE:
        told = ", ".join(ages.values())
    return told or "-"


def _tables(state: State, seen: Overview, room: int) -> list[Text]:
    width = state.size.width
    if room < 2:  # noqa: PLR2004 - a title and a row
        return []
    if width >= _WIDE:
        half = (width - 2) // 2
        left = _queues(state, seen, half, room)
        right = _failures(state, seen, width - 2 - half, room)
        blank = line(" " * half)
        found = []
        for at in range(max(len(left), len(right))):
            one = (left[at] if at < len(left) else blank).copy()
            one.append("  ")
            if at < len(right):
                one.append(right[at])
            found.append(one)
        return found
    some = min(len(seen.queues), max(_SOME, room - len(seen.failures) - 3))
    queues = _queues(state, seen, width, min(room, some + 1))
    rest = room - len(queues) - 1
    if rest < 2:  # noqa: PLR2004
        return queues
    return [*queues, line(""), *_failures(state, seen, width, rest)]


def _queues(state: State, seen: Overview, width: int, room: int) -> list[Text]:
    if not seen.queues:
        return [line(("no queue is in use".ljust(width)[:width], QUIET))]
    rows = [
        (
            one.name,
            Cell("paused", BAD)
            if one.paused
            else (number(one.engines) if one.engines else Cell("none", BAD)),
            number(one.ready),
            since(one.oldest, seen.stamp),
        )
        for one in seen.queues[: room - 1]
    ]
    known, more = len(seen.queues), "+" if len(seen.queues) == _MOST_QUEUES else ""
    first, *columns = _QUEUES
    if len(rows) < known or more:
        first = replace(first, title=f"queue, {len(rows)} of {known}{more}")
    return table((first, *columns), rows, width, state.glyphs)


def _failures(state: State, seen: Overview, width: int, room: int) -> list[Text]:
    ordered = sorted(seen.failures, key=lambda one: -one.count)
    if not ordered:
        return [line(("nothing failed".ljust(width)[:width], QUIET))]
    rows = [
        (number(one.count), one.function, Cell(one.error, BAD), short_id(one.task_id))
        for one in ordered[: room - 1]
    ]
    shown = sum(one.count for one in ordered)
    first, *columns = _FAILURES
    first = replace(first, title=of_failures(shown, seen.states.get("failed", 0)))
    return table((first, *columns), rows, width, state.glyphs)
