"""Abbreviated task ids. No I/O here.

``k3f9ab-17`` is task 17 of the only client whose name begins with ``k3f9ab``, and
``k3f9ab`` the only task of that client.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Final

from redtask.error import AmbiguousTask, UnknownTask
from redtask.flows import Commands
from redtask.hub.records import text
from redtask.listing import held, indexes, is_held, read
from redtask.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.flows import Flow
    from redtask.hub.keys import Keys

_FORM: Final = re.compile(r"([a-z0-9]+)(-[0-9]+)?", re.ASCII)
#: Members that Redis scans at a time, and matches named in an error.
_PAGE: Final = 500
_TOLD: Final = 3
#: Ids per round trip.
_MOST: Final = 500


def expand(keys: Keys, names: Sequence[str]) -> Flow[list[str]]:
    """Return the ids that names mean, each once.

    For a name that is not an id, all ids are scanned. Raises ``UnknownTask`` for a name
    that matches no task, or several.
    """
    found: dict[str, None] = {}
    for at in range(0, len(names), _MOST):
        part = names[at : at + _MOST]
        records = yield from read(keys, part, ("fn",))
        for name, record in zip(part, records, strict=True):
            found[name if record else (yield from _only(keys, name))] = None
    return list(found)


def _only(keys: Keys, name: str) -> Flow[str]:
    """Return the only id that a name abbreviates."""
    form = _FORM.fullmatch(name)
    found: list[str] = []
    if form is not None:
        found = yield from _matching(keys, f"{form[1]}*{form[2] or ''}")
    if not found:
        raise UnknownTask(f"no such task: {name!r}")
    if len(found) > 1:
        told = ", ".join(found[:_TOLD])
        more = " and more" if len(found) > _TOLD else ""
        raise AmbiguousTask(f"{name!r} matches several tasks: {told}{more}")
    return found[0]


def _matching(keys: Keys, pattern: str) -> Flow[list[str]]:
    """Return the ids of tasks that match; if there are several, only some of them."""
    found: dict[str, None] = {}
    for index in (yield from indexes(keys, Query().states())):
        if is_held(index):
            ids = yield from held(index)
            yield from _add(keys, fnmatch.filter(ids, pattern), found)
            continue
        cursor = "0"
        while len(found) <= _TOLD:
            ((cursor, members),) = yield Commands(
                [("ZSCAN", index, cursor, "MATCH", pattern, "COUNT", _PAGE)]
            )
            cursor = text(cursor)
            yield from _add(keys, [text(one) for one in members[::2]], found)
            if cursor == "0":
                break
    return list(found)


def _add(keys: Keys, ids: Sequence[str], found: dict[str, None]) -> Flow[None]:
    """Add those of these ids that are tasks'."""
    for at in range(0, len(ids), _MOST):
        part = ids[at : at + _MOST]
        records = yield from read(keys, part, ("fn",))
        # A gate is not a task: it has no function.
        found.update((one, None) for one, it in zip(part, records, strict=True) if it)
