"""Listings of stored tasks: records that match a query, as dicts. No I/O here.

The client pages through the hub's indexes, so that no script has to look at more than a
page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redtask.dependency import is_id
from redtask.error import VERDICTS
from redtask.flows import Commands, ask, reading
from redtask.functions import Functions
from redtask.hub import calls, holding, states
from redtask.hub.records import text
from redtask.metadata import members, metadata
from redtask.query import BUFFERS, CALLED, Query, check_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.session import Session

#: Ids per page.
_PAGE: Final = 500
#: Rows of a page for screens.
_SHOWN: Final = 200
#: The line of tasks of a queue whose records say who may take them.
_PICKY: Final = "?"


# -- listing


def _scan(index: str, visit: Callable[[list[str]], Flow[None]]) -> Flow[None]:
    """Visit the members of an index page by page.

    Members that are there throughout are visited, some possibly twice.
    """
    if is_held(index):
        ids = yield from held(index)
        for at in range(0, len(ids), _PAGE):
            yield from visit(ids[at : at + _PAGE])
        return
    cursor = "0"
    while True:
        scan = ("ZSCAN", index, cursor, "COUNT", _PAGE)
        ((cursor, members),) = yield Commands([scan])
        cursor = text(cursor)
        page = [text(member) for member in members[::2]]
        for at in range(0, len(page), _PAGE):
            yield from visit(page[at : at + _PAGE])
        if cursor == "0":
            return


def is_held(index: str) -> bool:
    """Is an index what an engine has taken, instead of a sorted set?"""
    return index.endswith(":held")


def held(index: str) -> Flow[list[str]]:
    """Return what an engine has taken: only a few."""
    lots, entries = yield Commands(holding.words(index))
    return holding.ids(lots, entries)


def _members(index: str) -> tuple[str, ...]:
    return "ZRANGE", index, "0", "-1"


def indexes(keys: Keys, wanted: Sequence[str]) -> Flow[list[str]]:
    """Return the indexes that hold the ids of tasks in these states.

    In the order in which tasks pass them, so that a task that moves on meanwhile is met
    later.
    """
    queues, engines = yield Commands(
        [("HKEYS", keys.queues()), _members(keys.engines())]
    )
    names = sorted(map(text, queues))
    uuids = [text(one) for one in engines]
    found = [keys.waiting()] if "waiting" in wanted else []
    if "ready" in wanted:
        found += yield from _lines(keys, names, uuids)
    if "assigned" in wanted:
        found += [keys.engine(uuid, "assigned") for uuid in uuids]
    if "running" in wanted:
        found += [keys.held(uuid) for uuid in uuids]
    return found + [keys.ended(state) for state in wanted if state in states.ENDED]


def _lines(
    keys: Keys, queues: Sequence[str], engines: Sequence[str]
) -> Flow[list[str]]:
    """Return the keys of all lines of ready tasks."""
    commands = [_members(keys.classes(queue)) for queue in queues]
    commands += [_members(keys.engine(uuid, "classes")) for uuid in engines]
    replies: list[Any] = (yield Commands(commands)) if commands else []
    lines = {(queue, line) for queue in queues for line in ("", _PICKY)}
    for queue, found in zip(queues, replies, strict=False):
        lines |= {(queue, text(line)) for line in found}
    for found in replies[len(queues) :]:
        for one in found:
            queue, _, line = text(one).partition(":")
            lines.add((queue, line))
    return [keys.ready(queue, line) for queue, line in sorted(lines)]


def walk(
    keys: Keys, wanted: Sequence[str], visit: Callable[[list[str]], Flow[None]]
) -> Flow[None]:
    """Visit the ids of all tasks in these states, at most 500 at a time."""
    for index in (yield from indexes(keys, wanted)):
        yield from _scan(index, visit)


def read(
    keys: Keys, ids: Sequence[str], names: Sequence[str]
) -> Flow[list[dict[str, str]]]:
    """Read some fields of at most 500 records, without what is stored beside them.

    Invalid and unknown ids have no fields.
    """
    asked = [name for name in ids if is_id(name)]
    if not asked:
        return [{} for _ in ids]
    replies = yield from reading.fields(keys, asked, names)
    found = {
        one: {
            name: text(value)
            for name, value in zip(names, reply, strict=True)
            if value is not None
        }
        for one, reply in zip(asked, replies, strict=True)
    }
    return [found.get(one, {}) for one in ids]


def complete(
    keys: Keys, records: Mapping[str, dict[str, str]], parts: Iterable[str]
) -> Flow[None]:
    """Add those of these fields that are stored beside the records."""
    missing = [
        (name, part)
        for part in parts
        for name, fields in records.items()
        if fields.get(part) == ""
    ]
    if missing:
        values = yield Commands([("GET", keys.task(*one)) for one in missing])
        for (name, part), value in zip(missing, values, strict=True):
            records[name][part] = text(value or b"")


# -- records as dicts

#: The fields that may be stored beside the record, by the keys that need them.
_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "after": ("after",),
    "follow": ("follow",),
    "targets": ("targets",),
    "metadata": ("after", "follow", "targets"),
}
_ALL: Final = frozenset(_BESIDE)
#: What is asked of a task for which it has to be known where its function comes from.
_PLACED: Final = frozenset({"module", CALLED})
#: Keys that the order of a listing depends on.
_SORTED_BY: Final = ("msg_id", "submitted")
_SORTED_BY_LATEST: Final = (*_SORTED_BY, "started", "completed")
#: The fields with the dependencies of a task.
EDGES: Final = ("after", "follow")
#: Keys that are fields of records, unchanged.
_AS_THEY_ARE: Final = frozenset(
    {"state", "label", "verdict", "reason", "evalue", "repr"}
    | {"resubmitted", "resubmit_of"}
)


def parents_of(record: Mapping[str, str]) -> list[str]:
    """Return the ids that a task depends on, without duplicates."""
    return list(
        dict.fromkeys(one for part in EDGES for one in members(record.get(part)))
    )


def numbers_of(ranges: str) -> list[int]:
    """Parse numbers such as ``0-2,5``."""
    found: list[int] = []
    for part in ranges.split(",") if ranges else ():
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def _number(fields: Mapping[str, str], name: str) -> int:
    return int(fields.get(name) or 0)


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _error(fields: Mapping[str, str]) -> str | None:
    if fields["state"] != "failed":
        return None
    if "verdict" in fields:
        return f"{fields['verdict']}: {fields.get('reason', '')}"
    return f"{fields.get('ename', '?')}: {fields.get('evalue', '')}"


def _ename(fields: Mapping[str, str]) -> str | None:
    """Return the name of the exception, also if that is a verdict of the hub."""
    kind = VERDICTS.get(fields.get("verdict", ""))
    return kind.__name__ if kind else fields.get("ename")


def as_dict(
    task_id: str, fields: Mapping[str, str], function: str, module: str | None
) -> dict[str, Any]:
    """Return a record as a dict: with IPython.parallel's keys, and ours.

    Times are timezone-aware, by the server's clock. Missing values are None.
    """
    times = metadata(task_id, fields, 0.0)
    state = fields["state"]
    status = times.status
    client = task_id.partition("-")[0]
    flags = {
        "after": times.after,
        "follow": times.follow,
        "targets": numbers_of(fields.get("targets", "")) or None,
        "timeout": _seconds(fields.get("timeout")),
        "retries": _number(fields, "retries"),
        "label": fields.get("label"),
    }
    content: dict[str, Any] | None = {"status": status} if status else None
    if status == "error":
        content = {
            "status": status,
            "ename": _ename(fields),
            "evalue": fields.get("evalue") or fields.get("reason"),
        }
    return {
        "msg_id": task_id,
        "header": {
            "msg_id": task_id,
            "msg_type": "apply_request",
            "session": client,
            "date": times.submitted,
        },
        "metadata": flags,
        "content": {},
        "submitted": times.submitted,
        "client_uuid": client,
        "engine_uuid": times.engine_uuid,
        "started": times.started,
        "completed": times.completed if status else None,
        "received": times.completed if status else None,
        "resubmitted": fields.get("resubmitted"),
        "result_header": {"date": times.completed} if status else None,
        "result_metadata": {"status": status, "engine": times.engine_uuid}
        if status
        else None,
        "result_content": content,
        "queue": fields.get("queue", "default"),
        "execute_input": None,
        "execute_result": None,
        "error": _error(fields),
        "stdout": fields.get("stdout", ""),
        "stderr": fields.get("stderr", ""),
        # Ours:
        **flags,
        "state": state,
        "status": status,
        "function": function,
        "module": module,
        "engine_id": times.engine_id,
        "took": int(fields["took"].split()[1]) / 1e6 if "took" in fields else None,
        "priority": _number(fields, "priority"),
        "tries": _number(fields, "tries"),
        "deaths": _number(fields, "deaths"),
        "resubmit_of": fields.get("resubmit_of"),
        "root": fields.get("root", task_id),
        "verdict": fields.get("verdict"),
        "reason": fields.get("reason"),
        "repr": fields.get("repr"),
        "ename": _ename(fields),
        "evalue": fields.get("evalue"),
        "progress": times.progress,
        "doing": times.doing or None,
    }


class Finder:
    """Finds the records that match a query, with the keys wanted of each.

    Only records of tasks to which something happened ``since`` are considered; with
    ``open_too`` also those of all that have not ended.
    """

    def __init__(
        self,
        keys: Keys,
        query: Query,
        wanted: list[str] | None,
        since: datetime | None = None,
        *,
        open_too: bool = False,
    ) -> None:
        self._keys = keys
        self._query = query
        self._since = None if since is None else since.timestamp() * 1000
        self._open_too = open_too
        self._wanted = wanted
        self._sorted_by: tuple[str, ...] = _SORTED_BY
        self._functions = Functions(keys)
        asked = query.keys | _PLACED if wanted is None else query.keys.union(wanted)
        self._places = not _PLACED.isdisjoint(asked)
        #: Of each record what is wanted and what they are sorted by: a whole one takes
        #: 3 KB.
        self._found: dict[str, dict[str, Any]] = {}

    def find(self) -> Flow[list[dict[str, Any]]]:
        """Return the records in order of submission."""
        ids = self._query.only("msg_id")
        if ids is None:
            yield from walk(self._keys, self._query.states(), self._visit)
        else:
            known = [name for name in ids if is_id(name)]
            for at in range(0, len(known), _PAGE):
                yield from self._visit(known[at : at + _PAGE])
        found = sorted(
            self._found.values(), key=lambda one: (one["submitted"], one["msg_id"])
        )
        if self._wanted is None:
            return found
        yield from self._add_buffers(found)
        return [_some(one, self._wanted) for one in found]

    def newest(self, most: int) -> Flow[list[dict[str, Any]]]:
        """Return the most recently changed records, the latest first.

        Each index is read from its end until there are enough: cheap even if many
        match.
        """
        self._sorted_by = _SORTED_BY_LATEST
        if self._query.only("msg_id") is not None:
            yield from self.find()
        else:
            wanted = self._query.states()
            open_ = [state for state in wanted if state not in states.ENDED]
            for index in (yield from indexes(self._keys, open_)):
                yield from self._downwards(index, most)
            for state in wanted:
                if state in states.ENDED:
                    yield from self._latest(state, most)
        found = sorted(
            self._found.values(), key=lambda one: (latest(one), one["msg_id"])
        )
        found = found[: -most - 1 : -1]
        yield from self._add_buffers(found)
        keys = self._wanted
        return found if keys is None else [_some(one, keys) for one in found]

    def _downwards(self, index: str, most: int) -> Flow[None]:
        """Visit the members of an index from its end, until enough of them match."""
        if is_held(index):
            ids = yield from held(index)
            for at in range(0, len(ids), _PAGE):
                yield from self._visit(ids[at : at + _PAGE])
            return
        before, at = len(self._found), 0
        size = min(most, _PAGE)
        while len(self._found) - before < most:
            (page,) = yield Commands([("ZREVRANGE", index, at, at + size - 1)])
            yield from self._visit([text(one) for one in page])
            if len(page) < size:
                return
            at, size = at + size, _PAGE

    def _latest(self, state: str, most: int) -> Flow[None]:
        """Visit ended tasks, the latest first, until enough of them match."""
        before, size = len(self._found), min(most, _SHOWN)
        more: str | None = ""
        while more is not None and len(self._found) - before < most:
            page = yield from ask(calls.tasks(state, more, size))
            yield from self._visit([row.task_id for row in page.rows])
            more, size = page.more, _SHOWN

    def _visit(self, ids: Sequence[str]) -> Flow[None]:
        records = yield from reading.records(self._keys, ids)
        # A gate is not a task: it has no function.
        there = {
            name: fields
            for name, fields in zip(ids, records, strict=True)
            if "fn" in fields and name not in self._found and self._is_late(fields)
        }
        yield from self._add(there, self._query.keys)
        yield from self._learn({_digest(fields) for fields in there.values()})
        matching = {
            name: fields
            for name, fields in there.items()
            if self._query.holds(self._getter(name, fields))
        }
        yield from self._add(matching, _ALL if self._wanted is None else self._wanted)
        for name, fields in matching.items():
            self._found[name] = self._kept(self._dict(name, fields))

    def _learn(self, digests: set[str]) -> Flow[None]:
        functions = self._functions
        learn = functions.learn_all if self._places else functions.learn
        yield from learn(digests)

    def _getter(self, name: str, fields: Mapping[str, str]) -> Callable[[str], Any]:
        """Return a getter for the values of a record, which are computed lazily."""

        def get(key: str) -> Any:
            if key in _AS_THEY_ARE:
                return fields.get(key)
            if key == "function":
                return self._functions.name(_digest(fields))
            if key == CALLED:
                return self._functions.names(_digest(fields))
            return self._dict(name, fields)[key]

        return get

    def _is_late(self, fields: Mapping[str, str]) -> bool:
        if self._since is None:
            return True
        if self._open_too and fields["state"] not in states.ENDED:
            return True
        return moved_at(fields) >= self._since

    def _dict(self, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
        digest, known = _digest(fields), self._functions
        return as_dict(name, fields, known.name(digest), known.module(digest))

    def _kept(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return as much of a record as is needed once all are found."""
        if self._wanted is None:
            return record
        keys = {*self._wanted, *self._sorted_by}
        return _some(record, (key for key in keys if key not in BUFFERS))

    def _add(
        self, records: Mapping[str, dict[str, str]], wanted: Iterable[str]
    ) -> Flow[None]:
        """Read what is stored beside the records, as far as these keys need it."""
        parts = dict.fromkeys(one for key in wanted for one in _BESIDE.get(key, ()))
        yield from complete(self._keys, records, parts)

    def _add_buffers(self, found: Sequence[dict[str, Any]]) -> Flow[None]:
        """Add the signed arguments and results, if wanted."""
        ids = [one["msg_id"] for one in found]
        for key, names in zip(BUFFERS, (("args",), ("result", "error")), strict=True):
            if key not in (self._wanted or ()):
                continue
            for one in found:
                one[key] = []
            for name in names:
                values = yield from reading.parts(self._keys, ids, name)
                for one, value in zip(found, values, strict=True):
                    one[key] += [] if value is None else [value]


def _some(record: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: record[key] for key in keys}


def _digest(fields: Mapping[str, str]) -> str:
    return fields["fn"].split()[0]


def moved_at(fields: Mapping[str, str]) -> float:
    """Return when something last happened to a task, from its fields, in ms."""
    if "took" in fields:
        before, took = map(int, fields["took"].split())
        return float(fields["started"]) + (took - before) / 1000
    last = fields.get("ended") or fields.get("started") or fields["submitted"]
    return float(last)


def latest(record: Mapping[str, Any]) -> datetime:
    """Return when something last happened to a task."""
    found: datetime = record["completed"] or record["started"] or record["submitted"]
    return found


def find(
    session: Session, query: Mapping[str, Any], keys: str | Iterable[str] | None
) -> Flow[list[dict[str, Any]]]:
    """Return the records that match a query, or some keys of them."""
    finder = Finder(session.keys, Query.parse(query), check_keys(keys))
    return (yield from finder.find())


def history(session: Session) -> Flow[list[str]]:
    """Return the ids of all tasks that the hub knows, in order of submission."""
    found: dict[str, tuple[int, str]] = {}

    def visit(ids: list[str]) -> Flow[None]:
        for name, fields in zip(
            ids,
            (yield from read(session.keys, ids, ("submitted", "fn"))),
            strict=True,
        ):
            if "fn" in fields:
                client, _, number = name.partition("-")
                found[name] = int(fields["submitted"]), f"{client}-{int(number):020}"

    yield from walk(session.keys, Query().states(), visit)
    return sorted(found, key=found.__getitem__)
