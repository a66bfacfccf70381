"""Output of commands: tables on a terminal, lines for programs, JSON.

Colour never carries information that the text does not.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

#: Units of time and size, the largest first.
_TIMES: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_FEW: Final = 10
_SIZES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

#: Styles of states.
STATES: Final[Mapping[str, str]] = {
    "waiting": "yellow",
    "ready": "cyan",
    "assigned": "blue",
    "running": "bold blue",
    "completed": "green",
    "failed": "bold red",
    "aborted": "magenta",
}
#: Space between columns; the width down to which the last one gives way before others
#: do; that down to which any does; and that where there is no other way.
_PADDING: Final = 2
_LEAST: Final = 20
_NARROW: Final = 14
_LETTERS: Final = 3
#: How many letters of a client's name are shown.
_SHOWN: Final = 6
#: How many letters of an engine's uuid are shown if its number is not known.
SHORT: Final = 8
_CONTROLS: Final = re.compile("[\x7f-\x9f\u2028\u2029]")
_COLOURING: Final = re.compile(r"\x1b\[[0-9;:]*m")
_LONG_ID: Final = re.compile(r"\b[a-z0-9]{12}-[0-9]+\b")


@dataclass(frozen=True, slots=True)
class Output:
    """The output format of a command."""

    #: JSON, one object per line?
    as_json: bool = False
    #: Tab-separated lines, even on a terminal?
    plain: bool = False

    @property
    def for_people(self) -> bool:
        """Is it for a person at a terminal?"""
        return not self.as_json and not self.plain and is_terminal()

    def task(self, task_id: str) -> str:
        """Return a task's id as shown: short on a terminal."""
        return short_id(task_id) if self.for_people else task_id

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        colours: Mapping[str, Mapping[str, str]] | None = None,
        *,
        wrap: bool = False,
        lesser: Sequence[str] = (),
    ) -> None:
        """Print rows: a table on a terminal, else tab-separated lines.

        ``colours`` has styles of words, by column. With ``wrap``, what does not fit in
        columns behind the first is wrapped, not cut. On a narrow terminal columns that
        are ``lesser`` are left out, the first of them first.
        """
        if self.for_people:
            _print_for_people(
                columns, list(rows), colours or {}, wrap=wrap, lesser=lesser
            )
            return
        for row in rows:
            click.echo("\t".join(one_line(str(value)) for value in row))


def short_id(task_id: str) -> str:
    """Return a short id for display: with the beginning of the client's name.

    Commands accept it.
    """
    client, dash, number = task_id.partition("-")
    return f"{client[:_SHOWN]}{dash}{number}"


def short_ids(text: str) -> str:
    """Shorten the ids in a sentence for display."""
    return _LONG_ID.sub(lambda found: short_id(found[0]), text)


def one_line(text: str) -> str:
    """Return text without line breaks and control sequences."""
    return "".join(one if one.isprintable() else " " for one in text)


def safe_lines(text: str) -> str:
    """Return multi-line text without colours and control sequences."""
    lines = _COLOURING.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(
        "\t".join(one_line(part) for part in line.split("\t")) for line in lines
    )


def json_line(value: Any, plain: Callable[[Any], Any] = str) -> str:
    """Return JSON on one line; ``plain`` converts values that JSON does not have.

    Characters that are valid in JSON but control a terminal or end a line are escaped;
    all but ASCII if standard output does not take UTF-8.
    """
    told = getattr(sys.stdout, "encoding", None) or "utf-8"
    whole = told.lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not whole, sort_keys=False, default=plain)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say_json(value: Any) -> None:
    """Print one JSON object on one line."""
    click.echo(json_object(value))


def json_object(value: Any) -> str:
    """Return one JSON object on one line, with times as ``iso`` has them."""
    return json_line(value, _plain)


def iso(at: datetime) -> str:
    """Return a time as ISO 8601: UTC, in microseconds, so that all are equally long."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} is not JSON")


def moment(milliseconds: float | None) -> datetime | None:
    """Return a time of the hub, in ms since the epoch, for ``say_json``."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def is_terminal() -> bool:
    """Is standard output a terminal? It may be closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_table(
    kind: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Print rows: a table on a terminal, else tab-separated lines after their kind.

    Numbers are right-aligned.
    """
    listed = list(rows)
    if not is_terminal():
        for row in listed:
            click.echo("\t".join([kind, *map(str, row)]))
        return
    _print_for_people(columns, listed, {})


def _print_for_people(
    columns: Sequence[str],
    listed: Sequence[Sequence[Any]],
    colours: Mapping[str, Mapping[str, str]],
    *,
    wrap: bool = False,
    lesser: Sequence[str] = (),
) -> None:
    from rich import box  # noqa: PLC0415 - only on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_header=any(columns),
        padding=(0, 1, 0, 0),
    )
    console = Console(highlight=False, markup=False)
    cells = [[short_ids(one_line(str(value))) for value in row] for row in listed]
    numbers = {
        column
        for at, column in enumerate(columns)
        if listed and all(isinstance(row[at], int) for row in listed)
    }
    widths = _widths(
        columns, cells, console.width, {"task", *colours, *numbers}, lesser
    )
    for at, width in widths.items():
        wrapped = wrap and at > 0
        table.add_column(
            columns[at],
            justify="right" if columns[at] in numbers else "left",
            no_wrap=not wrapped,
            max_width=None if wrapped else width,
            overflow="fold" if wrapped else "ellipsis",
        )
    for row in cells:
        texts = [
            Text(row[at], style=colours.get(columns[at], {}).get(row[at], ""))
            for at in widths
        ]
        table.add_row(*texts)
    console.print(table)
    console.print()


def _widths(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    room: int,
    whole: Collection[str],
    lesser: Sequence[str],
) -> dict[int, int]:
    """Return the columns shown, by position, with their widths.

    The last gives way first, then the widest; then the lesser ones are left out; and
    then any but those that are to be whole, such as ids, states and numbers.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - only on a terminal

    needed = {
        at: max(map(cell_len, texts))
        for at, texts in enumerate(zip(columns, *rows, strict=True))
    }
    widths = _fitted(needed, room)
    for name in lesser:
        if _taken(widths) > room:
            del needed[columns.index(name)]
            widths = _fitted(needed, room)
    supple = [at for at in widths if columns[at] not in whole]
    while _taken(widths) > room and any(widths[at] > _LETTERS for at in supple):
        widths[max(supple, key=widths.__getitem__)] -= 1
    return widths


def _fitted(needed: Mapping[int, int], room: int) -> dict[int, int]:
    """Return widths that fit, unless columns would be too narrow to be read."""
    widths, last = dict(needed), max(needed)
    spare = room - _taken(widths) + widths[last]
    widths[last] = min(widths[last], max(_LEAST, spare))
    while _taken(widths) > room and max(widths.values()) > _NARROW:
        widths[max(widths, key=widths.__getitem__)] -= 1
    return widths


def _taken(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _PADDING * (len(widths) - 1)


def shorten(text: str, most: int) -> str:
    """Cut a text to this many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def cut(text: str, width: int) -> str:
    """Cut a line to this many columns of a terminal."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 - for a terminal

    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def short_path(path: str | Path) -> str:
    """Return a path with ~ for the user's home."""
    text, home = str(path), os.path.expanduser("~")  # noqa: PTH111 - as text
    below = home != "/" and text.startswith(home + "/")
    return "~" + text[len(home) :] if below else text


def short_url(url: str) -> str:
    """Return a URL for display: the path of a socket with ~."""
    path = url.removeprefix("unix://")
    return url if path == url else "unix:" + short_path(path)


def ago(since: float) -> str:
    """Format how long ago a time was, in seconds since the epoch."""
    return duration(max(0.0, time.time() - since))


def duration(seconds: float) -> str:
    """Format a duration in the largest unit of which it has at least one."""
    for size, unit in _TIMES:
        if seconds >= size:
            return f"{in_units(seconds / size)} {unit}"
    return f"{seconds:.0f} s"


def in_units(value: float) -> str:
    """Format a number of minutes, hours or days, with one decimal if small."""
    return f"{value:.1f}".removesuffix(".0") if value < _FEW else f"{value:.0f}"


def size(amount: int) -> str:
    """Format a number of bytes."""
    for unit, name in _SIZES:
        if amount >= unit:
            return f"{amount / unit:.1f} {name}"
    return f"{amount} B"


__all__ = [
    "SHORT",
    "STATES",
    "Output",
    "ago",
    "cut",
    "duration",
    "in_units",
    "is_terminal",
    "iso",
    "json_object",
    "moment",
    "one_line",
    "print_table",
    "safe_lines",
    "say_json",
    "short_id",
    "short_ids",
    "short_path",
    "short_url",
    "shorten",
    "size",
]
