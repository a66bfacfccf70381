"""Run stored tasks again: those that match a query, and those that failed due to them.

Flows for both faces. No I/O here.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redtask import ended, payload
from redtask.graph import in_order
from redtask.hub import states
from redtask.listing import EDGES, complete, find, parents_of, read, walk
from redtask.query import Query
from redtask.session import check_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from redtask.ended import Copy
    from redtask.flows import Flow
    from redtask.hub.calls import Argument
    from redtask.inbox import TaskSet
    from redtask.rope import Read
    from redtask.session import Session

#: The most dependencies of failed tasks held in memory, when looking for those that
#: failed due to others: some 200 bytes each.
_MOST_EDGES: Final = 1_000_000
#: Ids per page.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to run again."""

    #: Tasks that match a query: of these, the ended ones.
    query: Mapping[str, Any] | None = None
    #: Or tasks by id, position or result; all must have ended.
    ids: Any = None
    #: Also those that failed because of them?
    downstream: bool = False
    #: New arguments, for a single task; None: unchanged.
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    #: New values for some arguments of each task, by name or position: JSON values.
    edit: Mapping[Any, Any] | None = None
    #: Tasks like these that were replayed before: with ``downstream``, what failed
    #: because of them runs as well, unless it was replayed, too. None: nobody looked.
    begun: Sequence[str] | None = None
    #: Are the ids, too, of whatever matched: is what is gone by then left out?
    matched: bool = False

    def check(self) -> None:
        """Raise ``ValueError`` or ``TypeError`` for an invalid wish."""
        if (self.query is None) == (self.ids is None):
            raise ValueError("choose what to replay, by a query or by ids")
        if self.edit and self.is_changed:
            raise ValueError("replace all arguments or edit some, not both")
        for name, value in self.edits.items():
            if not (name.isdecimal() or name.isidentifier()):
                raise ValueError(
                    f"neither the name of an argument nor a position: {name!r}"
                )
            try:
                json.dumps(value)
            except (TypeError, ValueError) as problem:
                raise TypeError(f"the value of {name} is not JSON: {problem}") from None

    @property
    def edits(self) -> dict[str, Any]:
        """The new values as an overlay has them, with positions as text.

        Raises ``TypeError`` for a key that is neither a name nor a position.
        """
        found = {}
        for name, value in (self.edit or {}).items():
            if isinstance(name, bool) or not isinstance(name, (str, int)):
                raise TypeError(
                    f"neither the name of an argument nor a position: {name!r}"
                )
            found[str(name)] = value
        return found

    @property
    def is_changed(self) -> bool:
        """Are there new arguments?"""
        return self.args is not None or self.kwargs is not None


class Replay:
    """One replay."""

    def __init__(self, session: Session, wish: Wish) -> None:
        wish.check()
        self._session = session
        self._wish = wish
        self._changed: str | None = None
        #: Tasks whose arguments are edited.
        self._edited: frozenset[str] = frozenset()
        #: None: named tasks all run, or none.
        self._gone: list[str] | None = (
            [] if wish.matched or wish.query is not None else None
        )
        #: Failed or aborted tasks outside the replay, and their latest resubmits.
        self._newest: dict[str, str] = {}

    @property
    def gone(self) -> list[str]:
        """The tasks that were left out, as the hub had forgotten them by then."""
        return list(self._gone or ())

    def plan(self) -> Flow[list[Copy]]:
        """Return what is to run, each task after those that it depends on.

        Raises ``UnknownTask`` and ``TaskPending``, and ``ValueError`` for new arguments
        of more than one task, and for edits of some that cannot be edited.
        """
        ids = yield from self._chosen()
        if self._wish.is_changed:
            if len(ids) != 1:
                raise ValueError(
                    f"new arguments are for one task, and {len(ids)} are chosen"
                )
            self._changed = ids[0]
        self._edited = frozenset(ids if self._wish.edit else ())
        if self._wish.downstream:
            ids += yield from downstream(self._session, ids, self._wish.begun)
        wanted = yield from ended.copies(self._session, ids, self._gone)
        yield from self._check_edits(wanted)
        yield from self._find_newest(wanted)
        return _in_order(wanted, self._newest)

    def _chosen(self) -> Flow[list[str]]:
        session, wish = self._session, self._wish
        if wish.ids is not None:
            ids = list(dict.fromkeys(session.ids_of(wish.ids)))
            check_ids(ids)
            return ids
        query = wish.query or {}
        done = [state for state in Query.parse(query).states() if state in states.ENDED]
        if "state" not in query:
            query = {**query, "state": {"$in": done}}
        found = yield from find(session, query, "state")
        return [one["msg_id"] for one in found if one["state"] in states.ENDED]

    def run(
        self,
        progress: Callable[[int, int], object] | None = None,
        *,
        wanted: Sequence[Copy] | None = None,
        at_once: int = ended.MOST,
        keep: bool = False,
    ) -> Flow[TaskSet]:
        """Submit what is to run, possibly planned by this before; return the new tasks.

        At most ``at_once`` per call; ``progress`` is called after each. If a later one
        fails, what had entered is aborted, or is to ``keep``.
        """
        if wanted is None:
            wanted = yield from self.plan()
        return (
            yield from ended.enter(
                self._session,
                wanted,
                self._anew,
                progress=progress,
                at_once=at_once,
                gone=self._gone,
                keep=keep,
            )
        )

    def _check_edits(self, wanted: Iterable[Copy]) -> Flow[None]:
        """Edit arguments in vain, before anything runs."""
        edited = [copy for copy in wanted if copy.old in self._edited]
        yield from ended.each_body(
            self._session, edited, lambda copy, body: self._laid_over(copy, body, {})
        )

    def _laid_over(self, copy: Copy, body: bytes, names: Mapping[str, str]) -> bytes:
        """Return packed arguments that refer to new tasks, and are edited."""
        edits = self._wish.edits if copy.old in self._edited else {}
        try:
            return payload.lay_over(body, names, edits)
        except ValueError as problem:
            raise ValueError(f"{copy.old}: {problem}") from None

    def _find_newest(self, wanted: Iterable[Copy]) -> Flow[None]:
        """Look up the resubmits of other dependencies that did not succeed."""
        own = {copy.old for copy in wanted}
        others = {one for copy in wanted for one in copy.members} - own
        places = {one: one for one in others}
        left = sorted(others)
        while left:
            ahead: list[str] = []
            for at in range(0, len(left), _PAGE):
                part = left[at : at + _PAGE]
                ids = [places[name] for name in part]
                records = yield from read(
                    self._session.keys, ids, ("state", "resubmitted")
                )
                for name, record in zip(part, records, strict=True):
                    if record.get("state") in {"failed", "aborted"} and (
                        newer := record.get("resubmitted")
                    ):
                        places[name] = newer
                        if newer not in own:
                            ahead.append(name)
            left = ahead
        self._newest = {old: new for old, new in places.items() if old != new}

    def _anew(self, copy: Copy, names: Mapping[str, str]) -> Flow[dict[str, Argument]]:
        """Return the changed fields of a copy: dependencies and arguments."""
        newest = {one: self._newest.get(one, one) for one in copy.members}
        names = {
            one: place
            for one, last in newest.items()
            if (place := names.get(last, last)) != one
        }
        fields: dict[str, Argument] = {
            name: moved
            for name, said in copy.sets.items()
            if (moved := " ".join(names.get(word, word) for word in said.split()))
            != said
        }
        if copy.old == self._changed:
            body = payload.pack_call(self._wish.args or (), self._wish.kwargs or {})
            fields.update(_needing(body, copy))
        elif "refs" in fields or copy.old in self._edited:
            body = yield from ended.body_of(self._session, copy)
            body = self._laid_over(copy, body, names)
        else:
            return {**fields, **(yield from ended.renewed(self._session, copy))}
        return {**fields, **ended.signed(self._session, copy, body)}


def _needing(body: Read, copy: Copy) -> dict[str, Argument]:
    """Return the fields of a copy with new arguments: refs and after."""
    refs, _ = payload.unpack_refs(body)
    after = copy.sets.get("after", "as")
    missing = [one for one in refs if one not in after.split()]
    if missing and after.split()[0] != "as":
        raise ValueError(
            f"{copy.old} depends on other tasks in a way that a Ref cannot be added to"
        )
    fields: dict[str, Argument] = {"refs": " ".join(refs)} if refs else {}
    if not refs and "refs" in copy.sets:
        fields["refs"] = ""
    if missing:
        fields["after"] = " ".join([after, *missing])
    return fields


def downstream(
    session: Session, ids: Sequence[str], begun: Sequence[str] | None = None
) -> Flow[list[str]]:
    """Return the tasks that failed because of these, and those because of them, ...

    Also because of earlier runs of these, unless they were replayed since. Of several
    runs of a task only the latest. With ``begun`` also those that failed because of
    these, but none that was replayed before. It pages through all failed tasks. Raises
    ``ValueError`` if they have more than a million dependencies.
    """
    family = _Family()
    yield from walk(session.keys, ("failed",), lambda page: family.add(session, page))
    earlier = yield from _earlier(session, ids)
    return family.downstream(ids, earlier, begun)


def _earlier(session: Session, ids: Sequence[str]) -> Flow[set[str]]:
    """Return those of which these are later runs."""
    found: set[str] = set()
    left = list(ids)
    while left:
        named: set[str] = set()
        for at in range(0, len(left), _PAGE):
            part = left[at : at + _PAGE]
            records = yield from read(session.keys, part, ("resubmit_of",))
            named.update(filter(None, (one.get("resubmit_of") for one in records)))
        left = list(named - found)
        found |= named
    return found - set(ids)


class _Family:
    """Tasks that failed because of others."""

    def __init__(self) -> None:
        #: Those that depend on a task, by its id.
        self._children: dict[str, list[str]] = {}
        self._edges = 0
        #: The first run of each that was replayed, and when it was submitted.
        self._runs: dict[str, tuple[str, int]] = {}
        #: Those that were replayed.
        self._replayed: set[str] = set()

    def add(self, session: Session, page: list[str]) -> Flow[None]:
        """Add those of a page of failed tasks."""
        names = ("verdict", "root", "submitted", "resubmitted", *EDGES)
        records = yield from read(session.keys, page, names)
        there = {
            name: record
            for name, record in zip(page, records, strict=True)
            if record.get("verdict") == "impossible"
        }
        yield from complete(session.keys, there, EDGES)
        for name, record in there.items():
            if "root" in record:
                self._runs[name] = record["root"], int(record["submitted"])
            if "resubmitted" in record:
                self._replayed.add(name)
            parents = parents_of(record)
            self._edges += len(parents)
            for one in parents:
                self._children.setdefault(one, []).append(name)
        if self._edges > _MOST_EDGES:
            raise ValueError(
                f"failed tasks have more than {_MOST_EDGES:,} dependencies: too many "
                "to look for those that failed because of others"
            )

    def downstream(
        self, ids: Sequence[str], earlier: AbstractSet[str], begun: Sequence[str] | None
    ) -> list[str]:
        """Return those that failed because of these, or of earlier runs, in turn."""
        given = dict.fromkeys([*ids, *(begun or ())])
        found, line = dict(given), deque([*given, *sorted(earlier)])
        while line:
            before = line.popleft()
            for name in self._children.get(before, ()):
                is_settled = before in earlier and name in self._replayed
                if name not in found and not is_settled:
                    found[name] = None
                    line.append(name)
        latest: dict[str, str] = {}
        for name in sorted(found, key=self._age):
            latest[self._root(name)] = name
        latest.update((self._root(name), name) for name in ids)
        return [
            name
            for name in found
            if name not in given
            and latest[self._root(name)] == name
            and (begun is None or name not in self._replayed)
        ]

    def _root(self, name: str) -> str:
        return self._runs.get(name, (name, 0))[0]

    def _age(self, name: str) -> int:
        # What is no run of another was there before those that are.
        return self._runs.get(name, (name, 0))[1]


def _in_order(copies: Sequence[Copy], newest: Mapping[str, str]) -> list[Copy]:
    """Return copies, each after those that it depends on, or their newest runs."""
    places = {copy.old: copy for copy in copies}
    before = {
        name: {newest.get(one, one) for one in copy.members} & places.keys()
        for name, copy in places.items()
    }
    # By edited arguments they may depend on one another: then the hub refuses them.
    return [places[name] for name in dict.fromkeys([*in_order(before), *places])]
