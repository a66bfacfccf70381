"""Everything known of one task: its record, its attempts, and its relations.

Nothing is unpickled, so no key is needed. No I/O here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redtask import payload, signing
from redtask.error import UnknownTask
from redtask.flows import Commands, reading
from redtask.functions import Functions, import_name_of
from redtask.hub.records import Try, text
from redtask.labels import labels_of, of_records
from redtask.listing import Finder, read
from redtask.query import Query
from redtask.runs import runs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.session import Session

#: Tasks per round trip.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Relative:
    """A task related to this one."""

    #: Its id.
    task_id: str
    #: Its state; ``gone`` if the hub has forgotten it.
    state: str
    #: Name of its function; "" if unknown.
    function: str


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything known of one task."""

    #: Its record, as ``db_query`` returns it.
    record: dict[str, Any]
    #: Failed attempts: the first and the last nine.
    tries: tuple[Try, ...]
    #: Engines that rejected it, by label, and their reasons.
    refusals: tuple[tuple[int, str], ...]
    #: Its dependencies.
    after: tuple[Relative, ...]
    follow: tuple[Relative, ...]
    #: ``all`` or ``any``, and of which outcome: ``success``, ``failure`` or ``end``.
    after_what: str
    follow_what: str
    #: Tasks whose results are among its arguments.
    refs: tuple[Relative, ...]
    #: Tasks that wait for it, at most 500.
    dependents: tuple[Relative, ...]
    #: Earlier and later runs of the same task, oldest first, itself included.
    runs: tuple[Relative, ...]
    #: Are these all of them, or only those among the latest tasks?
    runs_complete: bool
    #: ``module:name`` of its function; "": it is sent by value; None: unknown.
    imported: str | None
    #: Text of the traceback; None: there is none.
    traceback: str | None
    #: Labels of engines by uuid, as far as known.
    labels: Mapping[str, int]


def dossier(session: Session, task_id: str) -> Flow[Dossier]:
    """Return everything known of a task. Raises ``UnknownTask``."""
    keys = session.keys
    query = Query.parse({"msg_id": task_id})
    found = yield from Finder(keys, query, None).find()
    if not found:
        raise UnknownTask(f"no such task: {task_id!r}")
    replies = yield Commands(
        [
            ("LRANGE", keys.task(task_id, "attempts"), 0, -1),
            ("LRANGE", keys.task(task_id, "refusals"), 0, -1),
            ("ZRANGE", keys.task(task_id, "dependents"), 0, _PAGE - 1),
        ]
    )
    tries, refusals, told = ([text(one) for one in reply] for reply in replies)
    runs = yield from runs_of(keys, task_id)
    refs = (yield from _part(keys, task_id, "refs")).split()
    names = {
        "after": found[0]["after"],
        "follow": found[0]["follow"],
        "refs": refs,
        "dependents": list(dict.fromkeys(one[1:] for one in told)),
        "runs": runs.ids,
    }
    related = yield from relatives(
        keys, [one for some in names.values() for one in some]
    )
    parts = {name: tuple(related[one] for one in some) for name, some in names.items()}
    read_tries = tuple(map(Try.read, tries))
    return Dossier(
        found[0],
        read_tries,
        tuple(_refusal(line) for line in refusals),
        after_what=what_of((yield from _part(keys, task_id, "after"))),
        follow_what=what_of((yield from _part(keys, task_id, "follow"))),
        traceback=(yield from traceback_of(keys, task_id)),
        runs_complete=runs.complete,
        imported=(yield from _imported(keys, task_id)),
        labels=(
            yield from labels_of(
                keys,
                [one.engine for one in read_tries if one.engine],
                of_records(found),
            )
        ),
        **parts,
    )


def _imported(keys: Keys, task_id: str) -> Flow[str | None]:
    """Return the name by which engines import a task's function, if they do."""
    (record,) = yield from read(keys, [task_id], ("fn",))
    return (yield from import_name_of(keys, record.get("fn", "").partition(" ")[0]))


def _part(keys: Keys, task_id: str, name: str) -> Flow[str]:
    (value,) = yield from reading.parts(keys, [task_id], name)
    return text(value or b"")


def _refusal(line: str) -> tuple[int, str]:
    label, _, words = line.partition("\t")
    return int(label), words


def what_of(dependency: str) -> str:
    """Describe what a record's dependency waits for: ``all success``."""
    letters = dependency.partition(" ")[0]
    if not letters:
        return ""
    ends = {"s": "success", "f": "failure"}.get(letters[1:], "end")
    return f"{'all' if letters[0] == 'a' else 'any'} {ends}"


def relatives(keys: Keys, ids: Sequence[str]) -> Flow[dict[str, Relative]]:
    """Return what is shown of related tasks, by their ids."""
    found: dict[str, Relative] = {}
    names = list(dict.fromkeys(ids))
    functions = Functions(keys)
    for at in range(0, len(names), _PAGE):
        part = names[at : at + _PAGE]
        records = yield from read(keys, part, ("state", "fn"))
        yield from functions.learn(
            one["fn"].split()[0] for one in records if "fn" in one
        )
        for name, record in zip(part, records, strict=True):
            digest = record.get("fn", " ").split(" ")[0]
            found[name] = Relative(
                name, record.get("state", "gone"), functions.name(digest)
            )
    return found


def traceback_of(keys: Keys, task_id: str) -> Flow[str | None]:
    """Return the traceback of a failed task, without checking signatures, or None."""
    (envelope,) = yield from reading.parts(keys, [task_id], "error")
    if not envelope:
        return None
    traceback, _ = payload.shown_error(signing.unverified(envelope))
    return traceback or None
