"""All runs of one task: what it was resubmitted from and as, once or several times.

A record names the task that it was resubmitted from, and only the latest one that it
was resubmitted as. So others are looked for among the latest tasks. No I/O here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redtask.flows import Commands
from redtask.hub.records import text
from redtask.listing import held, indexes, is_held, read
from redtask.query import Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redtask.flows import Flow
    from redtask.hub.keys import Keys

#: The most runs that are followed from one to the next, in each direction.
_MOST_LINKS: Final = 100
#: How many tasks of an index are looked through, the latest.
_MOST: Final = 3000
#: Tasks per round trip.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one task, itself included; none if it was never resubmitted."""

    #: Their ids, in order of submission.
    ids: tuple[str, ...] = ()
    #: Were all tasks of the hub looked through?
    complete: bool = True


def runs_of(keys: Keys, task_id: str) -> Flow[Runs]:
    """Return the known runs of a task."""
    links = yield from _links(keys, task_id, "resubmit_of")
    later = yield from _links(keys, task_id, "resubmitted")
    if not links and not later:
        return Runs()
    links.update((new, old) for old, new in later.items())
    complete = yield from _look_through(keys, links)
    ids = sorted(_related(task_id, links))
    submitted: dict[str, int] = {}
    for at in range(0, len(ids), _PAGE):
        part = ids[at : at + _PAGE]
        records = yield from read(keys, part, ("submitted",))
        for name, record in zip(part, records, strict=True):
            # One that the hub has forgotten came before those that name it.
            submitted[name] = int(record.get("submitted", 0))
    return Runs(tuple(sorted(ids, key=submitted.__getitem__)), complete)


def _links(keys: Keys, task_id: str, field: str) -> Flow[dict[str, str]]:
    """Return which task names which in this field, beginning with one."""
    found: dict[str, str] = {}
    name = task_id
    while len(found) < _MOST_LINKS and name not in found:
        (record,) = yield from read(keys, [name], (field,))
        if field not in record:
            break
        found[name] = record[field]
        name = record[field]
    return found


def _look_through(keys: Keys, links: dict[str, str]) -> Flow[bool]:
    """Add what the latest tasks were resubmitted from; were these all?"""
    complete = True
    for index in (yield from indexes(keys, Query().states())):
        if is_held(index):
            yield from _read_links(keys, (yield from held(index)), links)
            continue
        at, size = 0, _PAGE
        while size == _PAGE and at < _MOST:
            last = at + min(_PAGE, _MOST - at) - 1
            (page,) = yield Commands([("ZREVRANGE", index, at, last)])
            size = len(page)
            yield from _read_links(keys, [text(one) for one in page], links)
            at += size
        if at >= _MOST:
            (count,) = yield Commands([("ZCARD", index)])
            complete = complete and count <= _MOST
    return complete


def _read_links(keys: Keys, ids: list[str], links: dict[str, str]) -> Flow[None]:
    for at in range(0, len(ids), _PAGE):
        part = ids[at : at + _PAGE]
        records = yield from read(keys, part, ("resubmit_of",))
        links.update(
            (name, record["resubmit_of"])
            for name, record in zip(part, records, strict=True)
            if "resubmit_of" in record
        )


def _related(task_id: str, links: Mapping[str, str]) -> set[str]:
    """Return the tasks that links lead to, in either direction."""
    beside: dict[str, list[str]] = {}
    for one, other in links.items():
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    found: set[str] = set()
    left: Iterable[str] = [task_id]
    while left := [one for one in left if one not in found]:
        found.update(left)
        left = [name for one in left for name in beside.get(one, ())]
    return found
