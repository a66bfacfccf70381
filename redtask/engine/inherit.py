"""Recover tasks of this machine's dead workers, without waiting for their leases."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from redtask import process
from redtask.engine.remains import end_remains
from redtask.error import NameTaken
from redtask.hub import calls, holding
from redtask.hub.calls import Argument, Life
from redtask.hub.records import mapping
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.hub.records import EngineStatus
    from redtask.store import Store

_log = logging.getLogger("redtask.worker")


def inherit(store: Store, name: str, about: Mapping[str, Argument]) -> None:
    """Report the engines of dead workers as gone.

    ``name`` and ``about`` describe the starting worker. That a worker is dead can only
    be determined on its own machine: no process has its pid, or one with another start
    time, that we may see. Raises ``NameTaken`` if a worker of our name is alive here.
    """
    left: dict[str, list[EngineStatus]] = defaultdict(list)
    for engine in store.do(calls.status()).engines:
        left[engine.worker].append(engine)
    for worker in {*left, name}:
        card = mapping(store.command("HGETALL", store.keys.worker(worker)))
        if card.get("boot") != about["boot"]:
            continue
        if _is_dead(card):
            _bury(store, worker, left.get(worker, ()))
        elif worker == name:
            raise NameTaken(
                f"a worker named {name} is alive (process {card['pid']}): stop it, or "
                "choose another --name"
            )


def _is_dead(card: Mapping[str, str]) -> bool:
    pid = int(card["pid"])
    if process.birth(pid) == card["begun"]:
        return False
    # If it is hidden from us, the end of its leases tells.
    return not process.is_hidden(pid)


def _bury(store: Store, worker: str, engines: Sequence[EngineStatus]) -> None:
    lives = []
    # What their tasks have started must not go on beside the next try.
    if engines and end_remains():
        _log.warning("ended what tasks of dead engines had started")
    # Look at all of them first: what goes back from one may be placed on the next, and
    # would count as begun there.
    for engine in engines:
        # Only its worker knew which of them had started, so all count.
        words = holding.words(store.keys.held(engine.uuid))
        ids = holding.ids(*store.commands(words))
        lives.append(Life(engine.uuid, 0, ids, gone="its worker died"))
    for life in lives:
        while any(
            answer.word == "more" for answer in store.do(calls.beat(worker, [life]))
        ):
            pass
    if engines:
        are = count(len(engines), "engine")
        _log.info("took over %s of the dead worker %s", are, worker)
