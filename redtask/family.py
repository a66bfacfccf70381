"""A task's ancestors and dependents: a graph. No I/O here.

A task's dependencies are in its record. Its dependents are known to the hub only while
they wait; to find ended ones, all records are read, page by page.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redtask.graph import in_order
from redtask.listing import EDGES, Finder, complete, parents_of, read, walk
from redtask.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redtask.flows import Flow
    from redtask.session import Session

#: The most dependencies held in memory while all records are read.
_MOST_EDGES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks and what each depends on."""

    #: The tasks asked for.
    chosen: tuple[str, ...]
    #: Records by id, each after those of its dependencies; None for those that are
    #: gone.
    records: Mapping[str, dict[str, Any] | None]
    #: The ids that each depends on, without duplicates.
    parents: Mapping[str, tuple[str, ...]]
    #: Were some left out because of the limit?
    is_cut: bool = False

    def children(self) -> dict[str, list[str]]:
        """Return the dependents of each, in order."""
        found: dict[str, list[str]] = {name: [] for name in self.records}
        for name, parents in self.parents.items():
            for one in parents:
                found[one].append(name)
        return found

    def depths(self) -> dict[str, int]:
        """Return the length of the longest chain of tasks before each."""
        found: dict[str, int] = {}
        for name in self.records:
            before = [found[one] for one in self.parents.get(name, ()) if one in found]
            found[name] = 1 + max(before) if before else 0
        return found


def family(
    session: Session,
    ids: Sequence[str],
    *,
    up: bool = True,
    down: bool = True,
    most: int = 1000,
    progress: Callable[[int], object] | None = None,
) -> Flow[Family]:
    """Return tasks with their ancestors and dependents, at most ``most``.

    ``progress`` is called with the number of records read. Raises ``ValueError`` if
    these have more than a million dependencies.
    """
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(ids)
    if up:
        yield from _climb(session, found, most)
    if down:
        children = yield from _children(session, progress)
        line = deque(ids)
        while line and len(found) <= most:
            for name in children.pop(line.popleft(), ()):
                if name not in found:
                    found[name] = None
                    line.append(name)
    is_cut = len(found) > most
    names = list(found)[:most]
    query = Query.parse({"msg_id": {"$in": names}})
    records = yield from Finder(session.keys, query, None).find()
    known = {one["msg_id"]: one for one in records}
    kept = set(names)
    parents = {
        name: tuple(
            dict.fromkeys(
                one for part in EDGES for one in known[name][part] if one in kept
            )
        )
        for name in names
        if name in known
    }
    before = {name: parents.get(name, ()) for name in sorted(names, key=place)}
    ordered = {name: known.get(name) for name in in_order(before)}
    return Family(tuple(ids), ordered, parents, is_cut=is_cut)


def _climb(
    session: Session, found: dict[str, dict[str, Any] | None], most: int
) -> Flow[None]:
    """Add dependencies, level by level, until there are enough."""
    level = list(found)
    while level and len(found) <= most:
        above: dict[str, None] = {}
        for at in range(0, len(level), 500):
            part = level[at : at + 500]
            records = yield from _sets(session, part)
            for record in records.values():
                above.update(dict.fromkeys(parents_of(record)))
        level = [name for name in above if name not in found]
        found.update(dict.fromkeys(level))


def _sets(session: Session, ids: Sequence[str]) -> Flow[dict[str, dict[str, str]]]:
    records = dict(zip(ids, (yield from read(session.keys, ids, EDGES)), strict=True))
    yield from complete(session.keys, records, EDGES)
    return records


def _children(
    session: Session, progress: Callable[[int], object] | None
) -> Flow[dict[str, list[str]]]:
    """Return the dependents of each task, from all records of the hub."""
    children: dict[str, list[str]] = {}
    edges = seen = 0

    def visit(page: list[str]) -> Flow[None]:
        nonlocal edges, seen
        records = yield from _sets(session, page)
        seen += len(page)
        if progress is not None:
            progress(seen)
        for name, record in records.items():
            parents = parents_of(record)
            edges += len(parents)
            for one in parents:
                children.setdefault(one, []).append(name)
        if edges > _MOST_EDGES:
            raise ValueError(
                f"tasks have more than {_MOST_EDGES:,} dependencies: too many to look "
                "for dependents; leave them out"
            )

    yield from walk(session.keys, Query().states(), visit)
    return children


def place(name: str) -> tuple[str, int]:
    """Sort key that orders a client's ids by number."""
    client, _, number = name.partition("-")
    return client, int(number)
