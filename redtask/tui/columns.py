"""Rows in columns that fit: the least important are omitted, some take the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from redtask.tui.text import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.tui.text import Glyphs


@dataclass(frozen=True, slots=True)
class Column:
    #: Its header.
    title: str
    #: Width in cells; for a growing one, the minimum.
    width: int
    #: Columns with the highest rank are omitted first.
    rank: int = 0
    #: Is it right-aligned, for numbers?
    right: bool = False
    #: Does it take a share of the remaining width?
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a style of its own."""

    #: Untrusted text.
    text: str
    #: A style of rich.
    style: str = ""


def layout(columns: Sequence[Column], width: int) -> list[tuple[int, int]]:
    """Return the indices of the columns shown, with their widths in cells."""
    shown = sorted(range(len(columns)), key=lambda at: (columns[at].rank, at))
    while len(shown) > 1 and _needed(columns, shown) > width:
        shown.pop()
    left = max(0, width - _needed(columns, shown))
    growing = [at for at in shown if columns[at].grows]
    more = {at: left // len(growing) for at in growing}
    if growing:
        more[growing[0]] += left % len(growing)
    return [
        (at, min(width, columns[at].width + more.get(at, 0))) for at in sorted(shown)
    ]


def _needed(columns: Sequence[Column], shown: Sequence[int]) -> int:
    return sum(columns[at].width for at in shown) + 2 * (len(shown) - 1)


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    width: int,
    glyphs: Glyphs,
    *,
    chosen: int | None = None,
) -> list[Text]:
    """Return a line of headers and one for each row, each ``width`` cells wide.

    The chosen row is marked, in case the terminal shows no styles.
    """
    marked = chosen is not None
    inner = width - 2 if marked else width
    places = layout(columns, inner)
    head = Text("  " if marked else "", end="", no_wrap=True)
    head.append(_row(columns, [column.title for column in columns], places, glyphs))
    head.stylize("bold")
    lines = [head]
    for number, row in enumerate(rows):
        here = number == chosen
        line = Text("", end="", no_wrap=True)
        if marked:
            line.append(f"{glyphs.here} " if here else "  ")
        line.append(_row(columns, row, places, glyphs))
        if here:
            line.stylize("reverse")
        lines.append(line)
    return lines


def _row(
    columns: Sequence[Column],
    row: Sequence[str | Cell],
    places: Sequence[tuple[int, int]],
    glyphs: Glyphs,
) -> Text:
    line = Text("", end="", no_wrap=True)
    for order, (at, width) in enumerate(places):
        if order:
            line.append("  ")
        cell = row[at]
        text, style = (cell.text, cell.style) if isinstance(cell, Cell) else (cell, "")
        line.append(fit(text, width, glyphs, right=columns[at].right), style or None)
    return line
