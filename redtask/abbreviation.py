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
from redtask.names import is_whole
from redtask.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def clients(keys: Keys, begun: str) -> Flow[list[str]]:
    """Return the names of clients that begin so and have tasks; of many, only some.

    Only the one that is called so, if there is one.
    """
    if is_whole(begun):
        return (yield from _matching(keys, f"{begun}-*", _client_of, most=1))
    found = yield from _matching(keys, f"{begun}*-*", _client_of)
    return [begun] if begun in found else found


def _client_of(name: str) -> str:
    return name.partition("-")[0]


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


def _matching(
    keys: Keys, pattern: str, of: Callable[[str], str] = str, most: int = _TOLD + 1
) -> Flow[list[str]]:
    """Return the ids of tasks that match, or what is made ``of`` them.

    If there are ``most`` or more, only some of them.
    """
    found: dict[str, None] = {}
    for index in (yield from indexes(keys, Query().states())):
        if is_held(index):
            ids = fnmatch.filter((yield from held(index)), pattern)
            yield from _add(keys, ids, of, found)
            continue
        cursor = "0"
        while len(found) < most:
            ((cursor, members),) = yield Commands(
                [("ZSCAN", index, cursor, "MATCH", pattern, "COUNT", _PAGE)]
            )
            cursor = text(cursor)
            yield from _add(keys, [text(one) for one in members[::2]], of, found)
            if cursor == "0":
                break
    return list(found)


def _add(
    keys: Keys, ids: Sequence[str], of: Callable[[str], str], found: dict[str, None]
) -> Flow[None]:
    """Add those of these ids that are tasks', or what is made ``of`` them."""
    new = [one for one in ids if of(one) not in found]
    for at in range(0, len(new), _MOST):
        part = new[at : at + _MOST]
        records = yield from read(keys, part, ("fn",))
        # A gate is not a task: it has no function.
        pairs = zip(part, records, strict=True)
        found.update((of(one), None) for one, it in pairs if it)
