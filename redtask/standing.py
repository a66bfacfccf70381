"""The current state of engines and of tasks.

Flows for both faces. No I/O here.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

from redtask.error import GONE, CompositeError, TaskLost
from redtask.flows import Commands, waiting
from redtask.hub import holding
from redtask.hub.records import text
from redtask.inbox import TaskSet
from redtask.listing import find
from redtask.session import check_kept
from redtask.targets import engines_in, is_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.flows import Flow
    from redtask.hub.records import EngineStatus
    from redtask.session import Session


def queue_status(
    session: Session, targets: Any, *, verbose: bool
) -> Flow[dict[Any, Any]]:
    """Return what each engine has, and the number of tasks without an engine.

    Raises ``IndexError`` for a number, ``KeyError`` for one in a list, that is not a
    living engine, and ``TypeError`` for what is no number.
    """
    everybody = is_all(targets)
    wanted = None if everybody else engines_in(targets)
    single = isinstance(targets, numbers.Integral)
    status = yield from session.status()
    living = {engine.engine_id: engine for engine in status.engines}
    found: dict[Any, Any] = {}
    for number in _chosen(living, wanted, single=single):
        found[number] = yield from _engine(session, living[number], verbose=verbose)
    if verbose:
        yield from _add_completed(session, found)
    if wanted is not None and single:
        return found[wanted[0]]  # type: ignore[no-any-return]
    if verbose:
        found["unassigned"] = yield from _unassigned(session)
    else:
        waits = ("waiting", "ready")
        found["unassigned"] = sum(status.states.get(state, 0) for state in waits)
    return found


def _chosen(
    living: Mapping[int, EngineStatus], wanted: list[int] | None, *, single: bool
) -> list[int]:
    for one in () if wanted is None else wanted:
        if one not in living:
            raise (IndexError if single else KeyError)(f"there is no engine {one}")
    return list(living) if wanted is None else wanted


def _engine(
    session: Session, engine: EngineStatus, *, verbose: bool
) -> Flow[dict[str, Any]]:
    """Return an engine's tasks: placed on it or taken, and waiting for it alone."""
    keys, number = session.keys, engine.engine_id
    done, lines = yield Commands([
        ("HGET", keys.engine(engine.uuid), "done"),
        ("ZRANGE", keys.engine(engine.uuid, "classes"), "0", "-1"),
    ])  # fmt: skip
    own = [queue for queue, _, line in (text(one).partition(":") for one in lines)
           if line == f"={number}"]  # fmt: skip
    held = holding.words(keys.held(engine.uuid))
    indexes = [keys.engine(engine.uuid, "assigned")]
    indexes += [keys.ready(queue, f"={number}") for queue in own]
    if not verbose:
        cards = [("ZCARD", index) for index in indexes]
        lots, entries, *counts = yield Commands([*held, *cards])
        return {
            "queue": sum(counts[1:]),
            "completed": int(done or 0),
            "tasks": len(holding.ids(lots, entries)) + counts[0],
        }
    ranges = [("ZRANGE", index, "0", "-1") for index in indexes]
    lots, entries, *listed = yield Commands([*held, *ranges])
    ids = [[text(name) for name in names] for names in listed]
    queue = [name for names in ids[1:] for name in names]
    return {
        "queue": queue,
        "completed": [],
        "tasks": ids[0] + holding.ids(lots, entries),
    }


def _add_completed(session: Session, found: Mapping[Any, Any]) -> Flow[None]:
    """Add the ids of stored tasks that ended on the engines."""
    query = {"engine_id": {"$in": list(found)}, "status": {"$in": ["ok", "error"]}}
    for one in (yield from find(session, query, "engine_id")):
        found[one["engine_id"]]["completed"].append(one["msg_id"])


def _unassigned(session: Session) -> Flow[list[str]]:
    query = {"state": {"$in": ["waiting", "ready"]}}
    return [one["msg_id"] for one in (yield from find(session, query, "msg_id"))]


def result_status(
    session: Session, jobs: Any, *, status_only: bool
) -> Flow[dict[str, Any]]:
    """Return which jobs are pending and which have ended, optionally with results."""
    ids = session.ids_of(jobs)
    check_kept(ids)
    tasks = TaskSet(ids)
    inbox = session.inbox
    yield from waiting.look(inbox, tasks, tasks.ids, 0 if status_only else 4 << 20)
    unknown = [name for name in tasks.ids if tasks.state(name) == "unknown"]
    if unknown:
        raise TaskLost(f"{unknown[0]}: {GONE}")
    found: dict[str, Any] = {
        "status": "ok",
        "pending": tasks.open_ids(),
        "completed": [name for name in tasks.ids if name in tasks.told],
    }
    if not status_only:
        yield from waiting.complete(inbox, tasks)
        found.update(_values(session, tasks))
    return found


def _values(session: Session, tasks: TaskSet) -> dict[str, Any]:
    decoded = {
        name: session.decode(name, outcome) for name, outcome in tasks.outcomes.items()
    }
    errors = [value for good, value in decoded.values() if not good]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise CompositeError("one or more exceptions raised in: result_status", errors)
    return {name: value for name, (_, value) in decoded.items()}
