"""A table and a plot of redtask and other queues, for the README and the docs."""

from __future__ import annotations

import math
import textwrap
import time
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.benchmarks import report
from tests.benchmarks.figures import Collection, Place, Spread
from tests.benchmarks.lineup import FLOORS, KINDS
from tests.benchmarks.venvs import Venv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_BEGIN: Final = ".. peers: made by scripts/bench --peers --write\n"
_END: Final = ".. peers: end\n"


class Column(NamedTuple):
    """One figure that all are compared by."""

    #: Its head in the table, and what it is in some words.
    head: str
    about: str
    row: str
    figure: str
    #: A shown figure is the measured one times this.
    scale: float = 1.0
    #: Is more better?
    more: bool = True


COLUMNS: Final = (
    Column("map", "tasks/s, empty, one map, results read", "bulk", "rate"),
    Column("one by one", "tasks/s, one call per task, results read", "single", "rate"),
    Column("round trip", "ms, median, idle cluster", "trip", "p50", 0.001, more=False),
    Column("100 kB", "tasks/s with 100 kB in and out", "payload", "rate"),
    Column("chain", "tasks/s, each after the one before", "chain", "rate"),
    Column("fan", "tasks/s, 1 - 5,000 - 1", "fan", "rate"),
    Column("graph", "tasks/s, 10,000 nodes with 3 parents", "dag", "rate"),
)


class Standing:
    """Who was how good at what."""

    def __init__(self, collection: Collection) -> None:
        #: Who is missing, and why.
        self.without = collection.without
        self._found: dict[tuple[str, Column], float] = {}
        for column in COLUMNS:
            for name in KINDS:
                samples = collection.samples.get(Place(column.row, name, column.figure))
                if samples:
                    median = Spread.of(samples).median * column.scale
                    self._found[name, column] = median
        #: The columns for which anybody has a figure.
        self.columns = [
            one for one in COLUMNS if any(one is it for _, it in self._found)
        ]

    def figure(self, name: str, column: Column) -> float | None:
        """Return a figure; None: it was not measured."""
        return self._found.get((name, column))

    def names(self, column: Column | None = None) -> list[str]:
        """Return the contestants, the best at a column first, the floors last."""
        column = column or self.columns[0]
        floors = {kind.name for kind in FLOORS}

        def rank(name: str) -> tuple[bool, bool, float]:
            figure = self.figure(name, column)
            better = (figure or 0.0) * (-1 if column.more else 1)
            return name in floors, figure is None, better

        taking_part = dict.fromkeys(name for name, _ in self._found)
        return sorted(taking_part, key=rank)

    def measured(self, column: Column) -> dict[str, float]:
        """Return the figures of a column by contestant, as ``names`` orders them."""
        figures = {name: self.figure(name, column) for name in self.names(column)}
        return {name: figure for name, figure in figures.items() if figure}

    def best(self, column: Column) -> str | None:
        """Return who is best, of those that are no floors."""
        first = self.names(column)[0]
        return first if self.figure(first, column) is not None else None


def _shown(figure: float | None) -> str:
    return "" if figure is None else report.number(figure)


def _table(standing: Standing) -> Iterator[str]:
    """Yield the lines of the table, in reStructuredText."""
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for at, head in enumerate(["", *(column.head for column in standing.columns)]):
        yield f"   {'* -' if at == 0 else '  -'} {head}".rstrip()
    for name in standing.names():
        yield f"   * - {name}"
        for column in standing.columns:
            shown = _shown(standing.figure(name, column))
            if shown and standing.best(column) == name:
                shown = f"**{shown}**"
            yield f"     - {shown}".rstrip()
    yield ""


def _versions(names: Iterable[str]) -> Iterator[str]:
    """Yield what each environment holds."""
    for name in names:
        found = Venv(name, KINDS[name].needs).versions()
        if told := ", ".join(f"{package} {version}" for package, version in found):
            yield told


def _where(load: float) -> str:
    """Say where and when this was measured, and what else the machine had to do."""
    day = time.strftime("%Y-%m-%d")
    return f"{report.machine()}, {day}, load average {load:.1f} before it began"


def _notes(standing: Standing, times: int, load: float) -> Iterator[str]:
    """Yield what the figures are, and where they are from."""
    for column in standing.columns:
        yield f"*{column.head}*: {column.about}."
    names = standing.names()
    yield (
        "The best in each column, floors aside, is bold; an empty cell means that a "
        "queue has no way to do it."
    )
    yield (
        "Each of the others is installed by itself, with the versions it asks for, and "
        "set up for throughput as its own manual says."
    )
    yield (
        f"Medians of {times} from one run, 2 processes each, on {_where(load)}. "
        f"{'; '.join(dict.fromkeys(_versions(names)))}."
    )
    for name, why in standing.without.items():
        yield f"Without {name}: {why}."


def _contestants(standing: Standing) -> Iterator[str]:
    for name in standing.names():
        yield f"``{name}``"
        yield f"    {KINDS[name].about}"


_LINE: Final = 18
_LEFT: Final = 110
_WIDTH: Final = 330
_PANEL: Final = _LEFT + _WIDTH + 90
#: Letters in a line at the foot.
_FOOT: Final = 150
_COLOURS: Final = {"redtask": "#b3261e", "floor": "#c9ccd1", "": "#5b7db1"}


def _bar(name: str, figure: float, share: float, y: int) -> str:
    colour = _COLOURS.get(name, _COLOURS["floor" if name.startswith("floor") else ""])
    width = max(1, round(share * _WIDTH))
    return (
        f'<text x="{_LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{width}" height="13" fill="{colour}"/>'
        f'<text x="{_LEFT + width + 5}" y="{y + 11}">{_shown(figure)}</text>'
    )


def _panel(standing: Standing, column: Column, x: int, y: int) -> str:
    """Draw the bars of a column; lengths are logarithms, from a tenth of the least."""
    there = standing.measured(column)
    least = min(there.values()) / 10
    most = math.log(max(there.values()) / least)
    parts = [f'<g transform="translate({x},{y})">']
    parts.append(
        f'<text x="0" y="12" font-weight="bold">{escape(column.head)}</text>'
        f'<text x="{_LEFT}" y="12" fill="#555">{escape(column.about)}</text>'
    )
    for at, (name, figure) in enumerate(there.items(), 1):
        parts.append(
            _bar(name, figure, math.log(figure / least) / most, at * _LINE + 2)
        )
    return "\n".join([*parts, "</g>"])


def plot(standing: Standing, load: float) -> str:
    """Return the plot, as SVG: two panels side by side, as high as the larger one."""
    parts, y = list[str](), 10
    columns = standing.columns
    for row in (columns[at : at + 2] for at in range(0, len(columns), 2)):
        for at, column in enumerate(row):
            parts.append(_panel(standing, column, 10 + at * _PANEL, y))
        y += (max(len(standing.measured(column)) for column in row) + 2) * _LINE
    for line in textwrap.wrap(f"Scales are logarithmic. {_where(load)}.", _FOOT):
        parts.append(f'<text x="10" y="{y + 12}" fill="#555">{escape(line)}</text>')
        y += _LINE
    size = f'width="{2 * _PANEL + 20}" height="{y + 10}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        'font-family="sans-serif" font-size="12">'
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def write(
    collection: Collection, house: Path, times: int, load: float
) -> Sequence[Path]:
    """Write the page and the plot, and the README's table; return their places.

    ``load`` is the load average from before.
    """
    standing = Standing(collection)
    docs = house / "docs"
    docs.mkdir(parents=True, exist_ok=True)
    page, picture, readme = docs / "peers.rst", docs / "peers.svg", house / "README.rst"
    title = "redtask compared with other queues"
    lines = [title, "=" * len(title), "", ".. image:: peers.svg", ""]
    lines += [*_table(standing), *_notes(standing, times, load), ""]
    lines += [*_contestants(standing), ""]
    lines += ["Made by ``scripts/bench --peers --write``.", ""]
    page.write_text("\n".join(lines), encoding="utf-8")
    picture.write_text(plot(standing, load), encoding="utf-8")
    written = [page, picture]
    if readme.exists():
        before, begin, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if begin and end:
            told = [*_table(standing), *_notes(standing, times, load)]
            table = "\n".join(["", ".. image:: docs/peers.svg", "", *told, "", ""])
            readme.write_text(before + begin + table + end + after, encoding="utf-8")
            written.append(readme)
    return written
