"""The lines of a detail: record, why, logs or traceback. No I/O here."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, chop_cells

from redtask.tui.looks import style_of
from redtask.tui.state import FRAME
from redtask.tui.text import clean, line, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.text import Text

    from redtask.tui.state import Card, State

#: Fields that are times, in ms since the epoch.
_MOMENTS: Final = frozenset({
    "submitted", "started", "ended", "start", "joined", "at",
})  # fmt: skip
#: Width of the labels of fields.
_LABEL: Final = 14
#: The least width to wrap lines at.
_NARROW: Final = 10


def room(state: State) -> int:
    """Return how many lines of a detail are visible at once."""
    return max(1, state.size.height - FRAME)


def lines(state: State) -> list[Text]:
    """Return all lines of a detail, wrapped to the screen."""
    card, subject = state.card, state.subject
    if subject is None or card is None:
        return [line("reading ...")]
    width = state.size.width
    if card.gone:
        return [line(f"{clean(subject.name)} is no more.")]
    if subject.view == "logs":
        return _logs(card, state.said, width)
    if subject.view == "record":
        stamp = state.seen.overview.stamp if state.seen else 0
        return _record(card, stamp, width)
    return _wrapped(_why(card) if subject.view == "why" else _traceback(card), width)


def _traceback(card: Card) -> Sequence[str]:
    return (card.traceback or "It has raised nothing.").splitlines()


def _why(card: Card) -> Sequence[str]:
    return str(card.why).splitlines() if card.why else ["Nothing is known."]


def _logs(card: Card, said: str, width: int) -> list[Text]:
    if said and not card.stdout and not card.stderr:
        return [line(("output so far", "bold")), *_wrapped(said.splitlines(), width)]
    if not card.stdout and not card.stderr:
        return [line("It has printed nothing, or nothing yet.")]
    found: list[Text] = []
    for title, told in (("output", card.stdout), ("errors", card.stderr)):
        if told:
            found.append(line((title, "bold")))
            found += _wrapped(told.splitlines(), width)
    return found


def _record(card: Card, stamp: int, width: int) -> list[Text]:
    found = []
    for name, value in card.fields.items():
        shown = _value(name, value, stamp)
        style = style_of(value) if name == "state" else ""
        inner = max(_NARROW, width - _LABEL - 1)
        first, *rest = _cut(shown, inner) or [""]
        found.append(line((f"{clean(name):<{_LABEL}} ", "bold"), (first, style)))
        found += [line(" " * (_LABEL + 1), (one, style)) for one in rest]
    for title, told in card.lists.items():
        found += [line(""), line((clean(title), "bold"))]
        found += _wrapped(told, width)
    return found


def _value(name: str, value: str, stamp: int) -> str:
    if name in _MOMENTS:
        return moment(value, stamp)
    if name == "took" and value.isdigit():
        return span(int(value) / 1e6)
    return value


def moment(value: str, stamp: int) -> str:
    """Format a time in ms since the epoch as UTC, and how long ago it was."""
    try:
        seconds = float(value) / 1000
        shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return value
    passed = stamp / 1000 - seconds
    ago = f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}"
    return f"{shown} UTC, {ago}" if stamp else f"{shown} UTC"


def _wrapped(told: Iterable[str], width: int) -> list[Text]:
    return [line(one) for text in told for one in _cut(text, width) or [""]]


def _cut(text: str, width: int) -> list[str]:
    """Wrap text into lines; indentation, as in code, is kept."""
    found, width = clean(text.expandtabs(4)), max(_NARROW, width)
    if cell_len(found) != len(found):
        # textwrap counts wide characters as one cell.
        return chop_cells(found, width)
    return textwrap.wrap(
        found,
        width,
        drop_whitespace=False,
        replace_whitespace=False,
    )
