"""States of screens for tests, without a hub."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from redtask.hub.views import (
    Ended,
    EngineRow,
    Event,
    Failures,
    Oldest,
    Overview,
    Queue,
    TaskRow,
    Times,
)
from redtask.tui import model
from redtask.tui.state import Card, Rows, Size, Snapshot, State, Subject

NOW = 1_800_000_000_000
COUNTS = {
    "waiting": 3, "ready": 120_000, "assigned": 1, "running": 4, "completed": 99_999,
    "failed": 2, "aborted": 0,
}  # fmt: skip


def overview(**changes: Any) -> Overview:
    """Return an overview of a busy hub."""
    seen = Overview(
        {
            "format": "2 leastload",
            "stamp": str(NOW),
            "registered": "2",
            "span": "60000",
            "hwm": "0",
            "completed": "10",
            "used_memory": "45000000",
            "maxmemory": "100000000",
        },
        COUNTS,
        (Queue("default", 2, 120_000, NOW - 90_000), Queue("gpu", 0, 7, NOW - 5000)),
        Ended(600, 30, 0),
        (Ended(20, 1, 0), Ended(40, 0, 0)),
        {"ready": Oldest("abcdefgh-1", NOW - 90_000)},
        (Times(0.02, 1.5), Times(0.04, 2.5)),
        (Failures("mod:train", "MemoryError", 30, "abcdefgh-7"),),
    )
    return replace(seen, **changes)


def engine(number: int, **changes: Any) -> EngineRow:
    """Return an engine that runs something."""
    row = EngineRow(
        f"uuid{number}", number, "node01", ("default", "gpu"), 0, 1, 14_000,
        NOW - 3_600_000, 12, "", f"abcdefgh-{number}", "mod:train", NOW - 2000.0,
    )  # fmt: skip
    return replace(row, **changes)


def task(number: int, **fields: str) -> TaskRow:
    """Return a task of some function."""
    known = {"function": "mod:train", "submitted": str(NOW - 60_000), **fields}
    return TaskRow(f"abcdefgh-{number}", known)


def event(number: int, what: str = "lost", **about: str) -> Event:
    """Return an event."""
    return Event(f"{NOW}-{number}", NOW - 1000, what, about)


def screen(width: int = 80, height: int = 24) -> Any:
    """Return the screen before anything was read."""
    return State("night", "redis://localhost", size=Size(width, height))


def read(
    state: State,
    *items: Any,
    more: str | None = None,
    card: Card | None = None,
    seen: Overview | None = None,
    searched: int = 0,
) -> Any:
    """Return the screen when what it wished for was read."""
    listed = state.tab != "overview" and not state.subject
    rows = Rows(items, more, searched) if listed else None
    snapshot = Snapshot(
        state.wish, seen or overview(), rows, card, 0.0012, {"redis_version": "7.0.15"}
    )
    return model.receive(state, snapshot, 100.0)


def press(state: State, *keys: str) -> Any:
    """Return the screen after some keys."""
    for key in keys:
        state = model.press(state, key)
    return state


def failed_card(name: str = "abcdefgh-1", **fields: str) -> Any:
    """Return all that is known of a task that failed."""
    known = {
        "state": "failed",
        "function": "mod:train",
        "ename": "ValueError",
        **fields,
    }
    return Card(
        Subject("task", name),
        fields=known,
        lists={"failed tries": ("engine 0: ValueError: no",)},
        stdout="first\nsecond\n",
        traceback="Traceback (most recent call last):\n  File x\nValueError: no",
    )
