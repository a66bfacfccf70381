"""How a run is shown: tables for people, JSON for programs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from typing import TYPE_CHECKING, Any

from rich.table import Table

import redtask
from redtask.server.binary import find_binary
from tests.benchmarks.rows import ROWS
from tests.benchmarks.targets import Target, judged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.figures import Collection, Spread

#: Units of figures, for people.
_UNITS = {
    "rate": "tasks/s",
    "submit one": "tasks/s",
    "submit many": "tasks/s",
    "drain": "tasks/s",
    "p50": "us",
    "p99": "us",
    "redis": "us/task",
    "redis cpu": "us/task",
    "bare script": "us",
    "in bare scripts": "per task",
    "engines cpu": "us/task",
    "client cpu": "us/task",
    "commands": "per task",
    "scripts": "per task",
    "bytes": "per task",
}


def number(value: float) -> str:
    """Write a figure as short as it is meaningful."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(found: Spread) -> str:
    """Write the least and the most."""
    return f"{number(found.least)} - {number(found.most)}"


def tables(collection: Collection) -> Iterable[Table]:
    """Yield a table for each row, and the closing one."""
    for name, row in ROWS.items():
        table = Table(title=f"{name}: {row.about}", title_justify="left")
        for column in ("", "figure", "median", "min - max", "unit"):
            right = column in {"median", "min - max"}
            table.add_column(column, justify="right" if right else "left")
        before = ""
        for place, found in collection.spreads():
            if place.row != name:
                continue
            if before and before != place.contestant:
                table.add_section()
            shown = "" if place.contestant == before else place.contestant
            before = place.contestant
            unit = _UNITS.get(place.figure, "")
            table.add_row(
                shown, place.figure, number(found.median), spread(found), unit
            )
        if before:
            yield table
    closing = _closing(collection)
    if closing.row_count:
        yield closing


def _closing(collection: Collection) -> Table:
    table = Table(title="targets", title_justify="left")
    table.add_column("")
    for column in ("median", "min - max", "target"):
        table.add_column(column, justify="right")
    table.add_column("")
    for target, found in judged(collection):
        table.add_row(
            target.about,
            number(found.median),
            spread(found),
            _bound(target),
            "met" if target.met(found) else "NOT MET",
        )
    return table


def _bound(target: Target) -> str:
    return f"{'>=' if target.at_least else '<='} {target.bound:g}"


def machine() -> str:
    """Say where this was measured."""
    return ", ".join(f"{name} {value}" for name, value in _machine().items())


def _machine() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "redis-server": find_binary().version,
        "redtask": redtask.__version__,
        "redis-py": importlib.metadata.version("redis"),
        "hiredis": importlib.metadata.version("hiredis"),
    }


def as_json(collection: Collection) -> str:
    """Return everything, samples too."""
    rows = [
        {**place._asdict(), **found._asdict(), "samples": collection.samples[place]}
        for place, found in collection.spreads()
    ]
    targets = [
        {
            "about": target.about,
            **found._asdict(),
            "target": _bound(target),
            "met": target.met(found),
        }
        for target, found in judged(collection)
    ]
    found = {"without": collection.without, "rows": rows, "targets": targets}
    return json.dumps({**_machine(), **found}, indent=2)
