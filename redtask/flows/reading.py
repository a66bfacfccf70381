"""Reading records, and the keys beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redtask.flows import SLICE, Commands, ask
from redtask.hub import calls, sheet
from redtask.hub.records import groups, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.hub.why import Why

#: Score distance between adjacent priorities of waiting tasks.
_PRIORITY: Final = 1 << 42


def records(keys: Keys, ids: Sequence[str]) -> Flow[list[dict[str, str]]]:
    """Read whole records, without the keys beside them; {} where there is none."""
    found: list[dict[str, str]] = []
    for at in range(0, len(ids), SLICE):
        words: list[tuple[str, ...]] = []
        for name in ids[at : at + SLICE]:
            words += (*sheet.words(keys, name), ("HGETALL", keys.task(name)))
        replies = yield Commands(words)
        for run, row, own in groups(replies, 3):
            fields = sheet.unfold(run, row)
            found.append(
                {name: text(value) for name, value in fields.items()}
                if fields
                else mapping(own)
            )
    return found


def fields(
    keys: Keys, ids: Sequence[str], names: Sequence[str]
) -> Flow[list[list[bytes | None]]]:
    """Read some fields of at most 500 records, without the keys beside them."""
    words: list[tuple[str, ...]] = []
    for name in ids:
        words += (*sheet.words(keys, name), ("HMGET", keys.task(name), *names))
    replies = yield Commands(words)
    return [sheet.pick(names, *found) for found in groups(replies, 3)]


def parts(keys: Keys, ids: Sequence[str], name: str) -> Flow[list[bytes | None]]:
    """Read a field that may be stored in the record or beside it."""
    values: list[bytes | None] = []
    for at in range(0, len(ids), SLICE):
        words: list[tuple[str, ...]] = []
        for task_id in ids[at : at + SLICE]:
            words += sheet.words(keys, task_id)
            words.append(("HGET", keys.task(task_id), name))
            words.append(("GET", keys.task(task_id, name)))
        replies = yield Commands(words)
        for run, row, inline, beside in groups(replies, 4):
            folded = sheet.unfold(run, row)
            values.append(folded.get(name) if folded else inline or beside)
    return values


def outputs(keys: Keys, ids: Sequence[str], name: str) -> Flow[list[str]]:
    """Read ``stdout`` or ``stderr`` of tasks."""
    found = yield from parts(keys, ids, name)
    return [(value or b"").decode("utf-8", "replace") for value in found]


def why(keys: Keys, ids: Sequence[str]) -> Flow[list[Why]]:
    """Return why tasks are where they are."""
    # The script looks at so many engines, and does not say whether there are more.
    (engines,) = yield Commands([("ZCARD", keys.engines())])
    found = []
    for name in ids:
        one = yield from ask(calls.why(name, int(engines)))
        found.append(one)
    return found


def latest_first(keys: Keys, ids: Sequence[str]) -> Flow[list[str]]:
    """Sort tasks so that each comes before those that it waits for.

    Waiting tasks are in reverse order of submission, by whichever client: what a task
    waits for existed before it. The others wait for nothing.
    """
    places: list[float] = []
    for at in range(0, len(ids), SLICE):
        words = ("ZMSCORE", keys.waiting(), *ids[at : at + SLICE])
        (scores,) = yield Commands([words])
        places += (
            -1 if score is None else float(score) % _PRIORITY for score in scores
        )
    order = sorted(range(len(ids)), key=places.__getitem__, reverse=True)
    return [ids[at] for at in order]


def dependents(keys: Keys, ids: Iterable[str]) -> Flow[list[str]]:
    """Return tasks and their remaining dependents, direct or indirect.

    Each comes after all that depend on it.
    """
    order: list[str] = []
    seen: set[str] = set()
    for name in ids:
        todo = [(name, iter((name,)))]
        while todo:
            above, others = todo[-1]
            other = next((one for one in others if one not in seen), None)
            if other is not None:
                seen.add(other)
                todo.append((other, iter((yield from _told_by(keys, other)))))
            else:
                todo.pop()
                if todo:
                    order.append(above)
    return order


def _told_by(keys: Keys, name: str) -> Flow[list[str]]:
    others: list[str] = []
    while True:
        key, at = keys.task(name, "dependents"), len(others)
        (page,) = yield Commands([("ZRANGE", key, at, at + SLICE - 1)])
        # The first letter tells which set.
        others += (entry[1:].decode() for entry in page)
        if len(page) < SLICE:
            return list(dict.fromkeys(others))
