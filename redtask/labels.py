"""The labels of engines: the numbers by which people know them. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redtask.flows import Commands
from redtask.hub.records import mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redtask.flows import Flow
    from redtask.hub.keys import Keys

#: Engines, or events, per round trip.
_PAGE: Final = 500


def of_records(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the labels of engines that records of tasks name, by uuid."""
    return {
        one["engine_uuid"]: one["engine_id"]
        for one in records
        if one["engine_id"] is not None
    }


def of_events(abouts: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """Return the labels of engines that events tell, by uuid."""
    return {
        about["engine"]: label
        for about in abouts
        if "engine" in about and (label := number(about.get("id"))) is not None
    }


def labels_of(
    keys: Keys, uuids: Iterable[str], known: Mapping[str, int]
) -> Flow[dict[str, int]]:
    """Return the labels of engines by uuid, with those known before.

    The hub knows them while an engine lives, and then as long as the log of events
    goes back: others are missing.
    """
    found = dict(known)
    new = sorted(set(uuids) - found.keys())
    for at in range(0, len(new), _PAGE):
        part = new[at : at + _PAGE]
        labels = yield Commands([("HGET", keys.engine(one), "id") for one in part])
        read = (number(text(label or b"")) for label in labels)
        found.update(
            (one, label)
            for one, label in zip(part, read, strict=True)
            if label is not None
        )
    yield from _look_back(keys, [one for one in new if one not in found], found)
    return found


def _look_back(keys: Keys, missing: Sequence[str], found: dict[str, int]) -> Flow[None]:
    """Add what the log tells of engines, from its end until all are found."""
    end = "+"
    while not found.keys() >= set(missing):
        (page,) = yield Commands(
            [("XREVRANGE", keys.story(), end, "-", "COUNT", _PAGE)]
        )
        told = of_events(mapping(fields) for _, fields in page)
        found.update((one, told[one]) for one in missing if one in told)
        if len(page) < _PAGE:
            return
        end = "(" + text(page[-1][0])
