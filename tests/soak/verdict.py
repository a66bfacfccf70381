"""What clients, the hub and the ledger say, compared."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redtask.hub import sheet
from tests import invariants
from tests.soak.load import Told
from tests.soak.world import KEYS, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.soak.ledger import Ledger, Run

_FIELDS: Final = ("state", "verdict", "ename", "reason")
_ENDED: Final = ("completed", "failed", "aborted")
#: Errors that a task may end with though nothing in it failed: its engine died.
_LOST: Final = ("EngineError",)
#: Ends of a dependent whose parent did not complete.
_SPREAD: Final = ("ImpossibleDependency", "InvalidDependency", "DependencyTimeout")


def read(path: Path) -> list[Told]:
    """Read what a client knows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Told(**json.loads(line)) for line in lines]


@dataclass(slots=True)
class Verdict:
    """What came of one round."""

    #: What does not hold.
    wrong: list[str] = field(default_factory=list)
    #: Tasks by kind, and by how they ended.
    kinds: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    #: How often tasks ran, and how often in a further try.
    runs: int = 0
    again: int = 0
    #: What the hub's story tells, by event.
    story: Counter[str] = field(default_factory=Counter)


def judge(told: Sequence[Told], ledger: Ledger, redis: Any, *, lossy: bool) -> Verdict:
    """Compare. ``lossy``: Redis may have forgotten what it acknowledged."""
    verdict = Verdict()
    records = _records(redis, [one.task_id for one in told if one.task_id])
    for entry in redis.xrange(f"{ROOT}:story"):
        verdict.story[entry[1].get(b"event", b"?").decode()] += 1
    runs = ledger.runs
    verdict.wrong += ledger.broken
    verdict.runs = sum(map(len, runs.values()))
    verdict.again = sum(len(one) - 1 for one in runs.values())
    for one in told:
        verdict.kinds[one.kind] += 1
        verdict.ends[f"{one.state} {one.ename}".strip()] += 1
        record = records.get(one.task_id)
        if lossy and record is not None and record["state"] in _ENDED:
            # What Redis forgot ran once more, and may have ended otherwise.
            record = {**record, "state": one.state}
        problem = _check(one, record, runs.get(one.key, []))
        if problem:
            verdict.wrong.append(f"{one.key} ({one.kind}, {one.task_id}): {problem}")
    if not lossy:
        verdict.wrong += _too_often(told, runs)
        verdict.wrong += _too_early(told, runs)
    known = {one.key for one in told}
    verdict.wrong += [
        f"{key} ran, and nobody knows it" for key in runs if key not in known
    ]
    try:
        invariants.check(redis, ROOT)
    except AssertionError as problem:
        verdict.wrong.append(f"invariants:\n{problem}")
    return verdict


def _records(redis: Any, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found = {}
    for at in range(0, len(ids), 1000):
        part = ids[at : at + 1000]
        with redis.pipeline(transaction=False) as pipe:
            for task_id in part:
                # The sheet first: a record leaves it, and never comes back.
                for words in sheet.words(KEYS, task_id):
                    pipe.execute_command(*words)
                pipe.hmget(KEYS.task(task_id), _FIELDS)
            replies = pipe.execute()
        for task_id, *values in zip(
            part, replies[::3], replies[1::3], replies[2::3], strict=True
        ):
            texts = [(one or b"").decode() for one in sheet.pick(_FIELDS, *values)]
            found[task_id] = dict(zip(_FIELDS, texts, strict=True))
    return found


def _check(one: Told, record: Mapping[str, str] | None, runs: Sequence[Run]) -> str:
    """Return what is wrong with one task; "" if nothing is."""
    if one.state == "refused":
        return f"it was refused and ran {len(runs)} times" if runs else ""
    if one.state in ("unsure", "unanswered", "wrong"):
        return f"{one.state}: {one.ename}"
    if one.purged and record is not None and not record["state"]:
        record = {"state": one.state}
    if record is None or record["state"] != one.state:
        return f"its client was told {one.state} {one.ename}, and it is {record}"
    if one.state == "completed" and not any(run.ended for run in runs):
        return "it is completed and never ran to its end"
    return _check_end(one, record)


def _check_end(one: Told, record: Mapping[str, str]) -> str:
    """May a task of this kind end so?"""
    fails = {
        "flaky": ("ValueError",),
        "kills": ("MemoryError",),
        "graph": _SPREAD,
        "after": _SPREAD,
        "follow": _SPREAD,
    }
    if one.kind == "kills" and one.state == "completed":
        return "it kills its engine, and is completed"
    if one.state != "failed":
        return ""
    allowed = (
        *_LOST,
        *fails.get(one.kind, ()),
        *(fails["flaky"] if one.kind == "again" else ()),
    )
    return "" if one.ename in allowed else f"it failed with {one.ename}: {record}"


def _too_often(told: Sequence[Told], runs: Mapping[str, Sequence[Run]]) -> list[str]:
    most: Counter[str] = Counter()
    for one in told:
        most[one.key] += one.most
    return [
        f"{key} ran {len(runs[key])} times, and may {allowed}: {list(runs[key])}"
        for key, allowed in most.items()
        if len(runs.get(key, ())) > allowed
    ]


def _too_early(told: Sequence[Told], runs: Mapping[str, Sequence[Run]]) -> list[str]:
    wrong = []
    for one in told:
        if not (mine := runs.get(one.key)):
            continue
        for parent in one.after:
            ended = [run.ended for run in runs.get(parent, ()) if run.ended]
            if not ended or min(ended) > mine[0].began:
                wrong.append(f"{one.key} began before {parent} had ended")
    return wrong
