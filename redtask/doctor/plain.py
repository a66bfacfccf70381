"""Entries that plain reads show to be right: most of them, at a tenth of the cost.

A plain read that shows nothing wrong needs no script: each record was in its place when
it was read. Whatever else it shows may only be due to a move between two reads, so that
is left to the script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redtask.hub import sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.store import Store

_ENDED: Final = "ended:"


def of_ended(store: Store, index: str, ids: Sequence[str]) -> list[bool]:
    """Which of these members of an index of ended tasks certainly belong there?"""
    keys, state = store.keys, index.removeprefix(_ENDED)
    (runs,) = store.commands([("HMGET", keys.runs(), *ids)])
    folded = [sheet.ended(run) == state for run in runs]
    replies = store.commands(
        [
            ("HEXISTS", keys.rows(), name)
            if on_sheet
            else ("HMGET", keys.task(name), "state", "fn", "ttl")
            for name, on_sheet in zip(ids, folded, strict=True)
        ]
    )
    return [
        bool(reply) if on_sheet else _is_task(reply, state)
        for reply, on_sheet in zip(replies, folded, strict=True)
    ]


def _is_task(fields: Sequence[bytes | None], state: str) -> bool:
    """Is it a task, and not a gate, and in this state?"""
    found, *of_tasks = fields
    return found == state.encode() and any(one is not None for one in of_tasks)


def of_runs(store: Store, ids: Sequence[str]) -> list[bool]:
    """Which of these runs on the sheet certainly belong to a row?"""
    rows = store.keys.rows()
    return [bool(one) for one in store.commands([("HEXISTS", rows, n) for n in ids])]


def is_of_ended(index: str) -> bool:
    """Does this index have tasks that have ended?"""
    return index.startswith(_ENDED)
