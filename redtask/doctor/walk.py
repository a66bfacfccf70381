"""Enumerate everything that a hub stores: keys, and the members of its indexes.

With SCAN, so that no call takes long; what is added or removed meanwhile may be missed
until the next time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redtask.doctor import plain
from redtask.hub import holding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.store import Store

#: A kind and a name, as defined in ``lua/examine.lua``.
Thing = tuple[str, str]
#: The kind of things that plain reads have shown to be right.
WELL: Final = "well"

_SCANNED: Final = 1000
_MEMBERS: Final = 500
_ID: Final = r"[a-z0-9]+-[0-9]+"
_KEY: Final = re.compile(
    rf"""
      (?P<index>waiting|timers|unsettled|functions:idle|engines|unranked|labels
        |(?:ended|latest):(?:completed|failed|aborted)|free:[a-z0-9_-]+)
    | (?P<other>hub|queues|story|apart|alarm|gone|hidden|scheme|paused
        |rows|runs|classes:[a-z0-9_-]+)
    | task:(?P<task>{_ID})(?::(?P<part>[a-z]+))?
    | engine:(?P<engine>[A-Za-z0-9_-]+)(?::(?P<of_engine>[a-z]+))?
    | fn:(?P<fn>[A-Za-z0-9_-]+)
    | ready:(?P<queue>[a-z0-9_-]+)(?::(?P<line>[=!][0-9,-]+|\?))?
    | (?P<expiring>(?:done|newest):[a-z0-9]+|worker:[A-Za-z0-9_.-]+(?::control)?
        |answer:[A-Za-z0-9_-]+|parcel:{_ID}(?::[0-9]+:[A-Za-z0-9_-]+)?)
    """,
    re.VERBOSE,
)
#: Types of keys; all others are sorted sets.
_TYPES: Final = {
    "hub": "hash", "queues": "hash", "apart": "hash", "scheme": "hash",
    "rows": "hash", "runs": "hash", "paused": "set", "story": "stream",
    "alarm": "list", "task": "hash", "engine": "hash", "fn": "hash",
    "parcel": "string", "done": "stream", "worker": "hash", "answer": "list",
    "newest": "string",
}  # fmt: skip
#: Types of keys beside others; all but these are strings beside tasks, and sorted sets
#: beside engines.
_BESIDE: Final = {
    "attempts": "list", "refusals": "list", "watchers": "set", "live": "stream",
    "dependents": "zset", "bell": "list", "held": "hash",
    "lots": "hash",
}  # fmt: skip


class Walk:
    """Yields things to examine, and collects unknown keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: What all names of keys begin with.
        self.root = store.keys.root
        #: Names of keys of unknown kinds.
        self.unknown: list[str] = []
        #: Names of keys of a wrong type, that type, and the right one.
        self.mistyped: list[tuple[str, str, str]] = []

    def things(self) -> Iterator[Thing]:
        """Yield every key as a thing, then every member of every index."""
        indexes: list[str] = []
        for name, found in self.names():
            if found["index"]:
                indexes.append(name)
            elif found["queue"]:
                indexes.append(name)
                yield "line", " ".join(filter(None, (found["queue"], found["line"])))
            elif found["of_engine"]:
                if found["of_engine"] in ("held", "lots", "assigned"):
                    indexes.append(name)
                yield "owned", f"{found['engine']} {found['of_engine']}"
            elif name == "hub":
                yield "hub", "-"
            else:
                yield from _plain(name, found)
        yield from self._on_sheet()
        for name in indexes:
            for page in self._pages(name):
                yield from self._entries(name, page)

    def _entries(self, index: str, page: list[str]) -> Iterator[Thing]:
        """Yield the entries of an index. What is in lots is held, too."""
        index = re.sub(r"^(engine:.*):lots$", r"\1:held", index)
        right = [False] * len(page)
        if plain.is_of_ended(index):
            right = plain.of_ended(self._store, index, page)
        for member, is_right in zip(page, right, strict=True):
            yield WELL if is_right else "entry", f"{index} {member}"

    def _on_sheet(self) -> Iterator[Thing]:
        """Yield the tasks on the sheet."""
        for page in self._pages("rows"):
            yield from (("task", member) for member in page)
        for page in self._pages("runs"):
            right = plain.of_runs(self._store, page)
            for member, is_right in zip(page, right, strict=True):
                yield WELL if is_right else "beside", f"{member} run"

    def names(self) -> Iterator[tuple[str, re.Match[str]]]:
        """Yield every key that is right in itself, by name, and what the name says."""
        for name, kind in self._typed():
            found = _KEY.fullmatch(name)
            if not found:
                self.unknown.append(name)
            elif kind not in (right := _type(found), "none"):
                self.mistyped.append((name, kind, right))
            else:
                yield name, found

    def _typed(self) -> Iterator[tuple[str, str]]:
        """Yield the names of all keys, and their types: ``none`` if gone meanwhile."""
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self.root) + ":*"
        cursor, skip = b"0", len(self.root) + 1
        while True:
            cursor, keys = self._store.command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED
            )
            types = self._store.commands([("TYPE", key) for key in keys])
            for key, kind in zip(keys, types, strict=True):
                yield key.decode("utf-8", "replace")[skip:], kind.decode()
            if cursor == b"0":
                return

    def _pages(self, name: str) -> Iterator[list[str]]:
        """Yield the members of an index or hash, some at a time."""
        cursor = b"0"
        while True:
            are_lots = name.endswith(":lots")
            is_hash = are_lots or name.endswith(":held") or name in ("rows", "runs")
            verb = "HSCAN" if is_hash else "ZSCAN"
            cursor, flat = self._store.command(
                verb, f"{self.root}:{name}", cursor, "COUNT", _MEMBERS
            )
            if are_lots:
                yield holding.ids(flat[1::2], ())
            elif flat:
                yield [member.decode("utf-8", "replace") for member in flat[::2]]
            if cursor == b"0":
                return


def _type(found: re.Match[str]) -> str:
    """Return the type that a key has to have."""
    kind, _, beside = found[0].partition(":")
    if part := found["part"] or found["of_engine"]:
        return _BESIDE.get(part, "string" if found["part"] else "zset")
    if beside.endswith(":control"):
        return "list"
    return _TYPES.get(kind, "zset")


def _plain(name: str, found: re.Match[str]) -> Iterator[Thing]:
    if found["part"]:
        yield "beside", f"{found['task']} {found['part']}"
    elif found["task"]:
        yield "task", found["task"]
    elif found["engine"]:
        yield "engine", found["engine"]
    elif found["fn"]:
        yield "function", found["fn"]
    elif found["expiring"]:
        yield "expiring", name
