"""Engines, formatted for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redtask.cli.output import moment
from redtask.hub import calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.hub.views import EngineRow
    from redtask.store import Store

#: Styles of states.
STYLES: Final[Mapping[str, str]] = {
    "busy": "bold blue",
    "idle": "green",
    "draining": "yellow",
    "drained": "yellow",
    "leaving": "bold red",
}
#: Engines per read.
_PAGE: Final = 200


def read_engines(store: Store, most: int | None = None) -> list[EngineRow]:
    """Return the living engines, by id: all of them, or the first."""
    found: list[EngineRow] = []
    first: int | None = 0
    while first is not None:
        page = store.do(calls.engines(first, _PAGE if most is None else most))
        found += page.rows
        first = page.more if most is None else None
    return found


def state_of(engine: EngineRow) -> str:
    """Return an engine's state in one word.

    ``busy`` or ``idle``; ``draining`` or ``drained`` if it gets nothing new, with tasks
    or without; ``leaving`` while the hub takes its tasks back.
    """
    if engine.state == "drained":
        return "draining" if engine.load else "drained"
    return engine.state or ("busy" if engine.load else "idle")


def engine_json(engine: EngineRow, stamp: float) -> dict[str, Any]:
    """Return an engine as JSON values; ``stamp`` is the hub's time, in ms."""
    task = {
        "id": engine.task_id,
        "function": engine.function,
        "started": moment(engine.started) if engine.started else None,
    }
    return {
        "engine_id": engine.engine_id,
        "engine_uuid": engine.uuid,
        "state": state_of(engine),
        "worker": engine.worker,
        "queues": list(engine.queues),
        "assigned": engine.assigned,
        "running": engine.held,
        "done": engine.done,
        "task": task if engine.task_id else None,
        "joined": moment(engine.joined),
        "age": max(0.0, (stamp - engine.joined) / 1000),
        "lease": engine.lease / 1000,
    }
