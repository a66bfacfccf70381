"""Enumerate everything that a hub stores: keys, and the members of its indexes.

With SCAN, so that no call takes long; what is added or removed meanwhile may be missed
until the next time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redtask.doctor import plain

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
        |ended:(?:completed|failed|aborted)|free:[a-z0-9_-]+)
    | (?P<other>hub|queues|story|apart|alarm|gone|hidden|scheme|paused
        |rows|runs|classes:[a-z0-9_-]+)
    | task:(?P<task>{_ID})(?::(?P<part>[a-z]+))?
    | engine:(?P<engine>[A-Za-z0-9_-]+)(?::(?P<of_engine>[a-z]+))?
    | fn:(?P<fn>[A-Za-z0-9_-]+)
    | ready:(?P<queue>[a-z0-9_-]+)(?::(?P<line>[=!][0-9,-]+|\?))?
    | (?P<expiring>done:[a-z0-9]+|worker:[A-Za-z0-9_.-]+(?::control)?
        |answer:[A-Za-z0-9_-]+|parcel:{_ID}(?::[0-9]+:[A-Za-z0-9_-]+)?)
    """,
    re.VERBOSE,
)


class Walk:
    """Yields things to examine, and collects unknown keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.keys.root
        #: Names of keys of unknown kinds.
        self.unknown: list[str] = []

    def things(self) -> Iterator[Thing]:
        """Yield every key as a thing, then every member of every index."""
        indexes: list[str] = []
        for name in self._names():
            found = _KEY.fullmatch(name)
            if not found:
                self.unknown.append(name)
                continue
            if found["index"]:
                indexes.append(name)
            elif found["queue"]:
                indexes.append(name)
                yield "line", " ".join(filter(None, (found["queue"], found["line"])))
            elif found["of_engine"]:
                if found["of_engine"] in ("held", "assigned"):
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
        """Yield the entries of an index."""
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

    def _names(self) -> Iterator[str]:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._root) + ":*"
        cursor, skip = b"0", len(self._root) + 1
        while True:
            cursor, keys = self._store.command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED
            )
            for key in keys:
                yield key.decode("utf-8", "replace")[skip:]
            if cursor == b"0":
                return

    def _pages(self, name: str) -> Iterator[list[str]]:
        """Yield the members of an index or hash, some at a time."""
        cursor = b"0"
        while True:
            is_hash = name.endswith(":held") or name in ("rows", "runs")
            verb = "HSCAN" if is_hash else "ZSCAN"
            cursor, flat = self._store.command(
                verb, f"{self._root}:{name}", cursor, "COUNT", _MEMBERS
            )
            if flat:
                yield [member.decode("utf-8", "replace") for member in flat[::2]]
            if cursor == b"0":
                return


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
