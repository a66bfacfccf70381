"""Rows in columns that fit: the least important are omitted, some take the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from redtask.tui.text import clean, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    #: Width down to which it shrinks before columns of rank 0 are omitted; 0: it does
    #: not.
    least: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a style of its own."""

    #: Untrusted text.
    text: str
    #: A style of rich.
    style: str = ""


def layout(
    columns: Sequence[Column], width: int, needs: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Return the indices of the columns shown, with their widths in cells.

    ``needs`` are the widths of what is in them: what one does not need goes to growing
    ones that do.
    """
    shown = sorted(range(len(columns)), key=lambda at: (columns[at].rank, at))
    usual = {at: columns[at].width for at in shown}
    least = {at: columns[at].least or columns[at].width for at in shown}
    while len(shown) > 1 and columns[shown[-1]].rank and _sum(usual, shown) > width:
        shown.pop()
    if _sum(usual, shown) > width:
        usual = least
    while len(shown) > 1 and _sum(usual, shown) > width:
        shown.pop()
    shown.sort()
    growing = [at for at in shown if columns[at].grows]
    widths = {
        at: usual[at] if needs is None else min(usual[at], needs[at]) for at in shown
    }
    if needs is not None:
        _grow(widths, width, growing, dict(enumerate(needs)))
        _grow(widths, width, shown, usual)
    _grow(widths, width, growing, dict.fromkeys(growing, width))
    return [(at, min(width, widths[at])) for at in shown]


def _sum(widths: Mapping[int, int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + 2 * (len(shown) - 1)


def _grow(
    widths: dict[int, int], width: int, some: Sequence[int], most: Mapping[int, int]
) -> None:
    """Give room that is left to some columns, in equal shares, up to so much each."""
    left = width - _sum(widths, list(widths))
    while left > 0 and (wanting := [at for at in some if widths[at] < most[at]]):
        share = max(1, left // len(wanting))
        for at in wanting[:left]:
            more = min(share, most[at] - widths[at])
            widths[at] += more
            left -= more


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
    places = layout(columns, inner, _needs(columns, rows, glyphs))
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


def _needs(
    columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], glyphs: Glyphs
) -> list[int]:
    """Return the widths at which nothing would be cut."""
    return [
        max(
            cell_len(clean(text, glyphs.unfit))
            for text in (column.title, *(_text(row[at]) for row in rows))
        )
        for at, column in enumerate(columns)
    ]


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


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
        style = cell.style if isinstance(cell, Cell) else ""
        text = fit(_text(cell), width, glyphs, right=columns[at].right)
        line.append(text, style or None)
    return line
