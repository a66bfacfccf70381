"""Control of engines, workers and queues by an operator. No I/O here.

The hub itself drains engines and pauses queues: that works with no worker in reach, and
lasts. The rest are *orders* to workers: signed, each for one process, and obeyed once.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redtask import flows
from redtask.error import ConnectionLost, NoWorker
from redtask.flows import QUIET, SLICE, Commands, Hear, Pause, acting
from redtask.hub import calls
from redtask.hub.records import mapping
from redtask.targets import engines_in, is_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redtask.flows import Flow
    from redtask.hub.records import EngineStatus
    from redtask.session import Session

__all__ = [
    "Answer",
    "cards",
    "chosen",
    "drain",
    "drain_chosen",
    "drain_worker",
    "engines_of",
    "instance",
    "order",
    "order_chosen",
    "order_workers",
    "own_frames",
    "pause",
    "shutdown",
]

#: Engines per message, which must be short.
_MOST: Final = 100
#: How long a worker may take to answer, in seconds.
ANSWER: Final = 10.0
#: Pause after Redis could not be reached, in seconds.
_AWAY: Final = 0.1
#: What comes of reading an answer that is none: it is not signed.
_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
#: redtask's own frames, which call a task's code.
_OURS: Final = re.compile(
    r'File ".*/redtask/(payload|functional|namespace|engine/\w+)\.py"'
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer about one of its engines."""

    #: The engine's uuid.
    uuid: str
    #: Its id; None: it has none yet, or cannot be asked.
    engine: int | None
    #: Its process id.
    pid: int
    #: The id of its current task.
    task: str | None
    #: For how long, in seconds.
    seconds: float | None
    #: Its stack, in faulthandler's format; None: not requested, or no answer.
    stack: str | None = None
    #: The ids of its worker's keys: the first signs, all verify.
    keys: tuple[str, ...] = ()


def chosen(session: Session, targets: Any) -> Flow[list[EngineStatus]]:
    """Return the engines chosen by ``targets``, as in ``Fleet``.

    Raises ``IndexError`` for an id that no living engine has, ``KeyError`` for a uuid,
    and ``TypeError`` for what is neither.
    """
    everybody = is_all(targets)
    wanted = [] if everybody else engines_in(targets, uuids=True)
    status = yield from session.status()
    if everybody:
        return list(status.engines)
    by_id: dict[Any, EngineStatus] = {one.engine_id: one for one in status.engines}
    by_id |= {one.uuid: one for one in status.engines}
    found = []
    for one in wanted:
        if one not in by_id:
            kind = IndexError if isinstance(one, int) else KeyError
            raise kind(f"there is no engine {one}")
        found.append(by_id[one])
    return found


def drain(
    session: Session, engines: Sequence[EngineStatus], *, resume: bool = False
) -> Flow[dict[str, str]]:
    """Drain or resume engines; return a word for each, by uuid."""
    return (yield from _drain(session, engines, "", resume=resume))


def drain_worker(
    session: Session, worker: str, *, resume: bool = False
) -> Flow[dict[str, str]]:
    """Drain or resume all engines of a worker, including future ones.

    Raises ``NoWorker``.
    """
    engines = yield from engines_of(session, worker)
    return (yield from _drain(session, engines, worker, resume=resume))


def _drain(
    session: Session, engines: Sequence[EngineStatus], worker: str, *, resume: bool
) -> Flow[dict[str, str]]:
    words: dict[str, str] = {}
    for at in range(0, max(1, len(engines)), SLICE):
        left = [one.uuid for one in engines[at : at + SLICE]]
        while left or worker:
            call = calls.drain(left, worker=worker, resume=resume)
            words |= zip(left, (yield from flows.ask(call)), strict=True)
            left, worker = [one for one in left if words[one] == "more"], ""
    # They learn of it with their next heartbeat; a message makes that immediate.
    workers = dict.fromkeys(one.worker for one in engines)
    messages = [(name, "look") for name in workers]
    yield from acting.tell(messages, session.keyring.sign_control)
    return words


def pause(queues: Sequence[str], *, resume: bool = False) -> Flow[dict[str, str]]:
    """Pause or resume queues; return the state of each."""
    words = yield from flows.ask(calls.pause(queues, resume=resume))
    return dict(zip(queues, words, strict=True))


def cards(session: Session, workers: Sequence[str]) -> Flow[dict[str, dict[str, str]]]:
    """Return the cards of workers, by name; {} for an unknown one."""
    keys = session.keys
    replies = yield Commands([("HGETALL", keys.worker(name)) for name in workers])
    return dict(zip(workers, map(mapping, replies), strict=True))


def order(
    session: Session,
    verb: str,
    engines: Sequence[EngineStatus],
    words: Iterable[Any] = (),
    *,
    whole: bool = False,
) -> Flow[list[Answer]]:
    """Send an order to the workers of engines; return their answers.

    Verbs: ``stop``, ``kill``, ``restart``, ``signal``, ``stack``, ``shutdown``, and
    ``keys``, which only asks. With ``whole``, it is for all engines of their workers.
    Raises ``TimeoutError`` if one does not answer.
    """
    if not engines:
        return []
    mine: dict[str, list[str]] = defaultdict(list)
    for one in engines:
        mine[one.worker].append(one.uuid)
    known = yield from cards(session, list(mine))
    more = " ".join(map(str, words))
    said = []
    for name, uuids in mine.items():
        for at in range(0, 1 if whole else len(uuids), _MOST):
            names = "*" if whole else ",".join(uuids[at : at + _MOST])
            said.append((name, f"{verb} {names} {more}".rstrip()))
    return (yield from _order(session, known, said))


def _order(
    session: Session,
    known: Mapping[str, Mapping[str, str]],
    said: Sequence[tuple[str, str]],
) -> Flow[list[Answer]]:
    """Send orders to workers, given their cards; return their answers."""
    # Each has a nonce of its own, since each is obeyed once.
    orders = {secrets.token_urlsafe(12): one for one in said}
    messages = [
        (name, f"order {nonce} {instance(known[name])} {text}")
        for nonce, (name, text) in orders.items()
    ]
    yield from acting.tell(messages, session.keyring.sign_control)
    return (yield from _answers(session, set(orders), time.monotonic() + ANSWER))


def _answers(
    session: Session, awaited: set[str], deadline: float
) -> Flow[list[Answer]]:
    found: list[Answer] = []
    while awaited:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                "a worker does not answer: it is stopped, or cut off from Redis"
            )
        by_key = {session.keys.answer(nonce): nonce for nonce in awaited}
        words = ("BLPOP", *by_key, max(0.01, round(min(left, QUIET), 3)))
        try:
            reply = yield Hear(words)
        except ConnectionLost:
            yield Pause(min(left, _AWAY))
            continue
        if reply:
            try:
                found += _read(reply[1])
            except _UNREADABLE:
                # Somebody else has written it: the worker's may still come.
                continue
            awaited.discard(by_key[reply[0].decode()])
    return sorted(found, key=lambda one: (one.engine is None, one.engine))


def instance(card: Mapping[str, Any]) -> str:
    """Identify a worker's process by its card: an order is for no other."""
    return f"{card.get('pid', '')}.{card.get('begun', '')}"


def _read(text: bytes) -> list[Answer]:
    told = json.loads(text)
    return [
        Answer(
            uuid,
            None if (engine := about.get("engine")) is None else int(engine),
            int(about.get("pid") or 0),
            about.get("task"),
            about.get("for"),
            about.get("stack"),
            tuple(told.get("keys", ())),
        )
        for uuid, about in told["engines"].items()
    ]


def drain_chosen(session: Session, targets: Any, *, resume: bool = False) -> Flow[None]:
    """Drain or resume the chosen engines."""
    engines = yield from chosen(session, targets)
    yield from drain(session, engines, resume=resume)


def order_chosen(
    session: Session, verb: str, targets: Any, words: Iterable[Any] = ()
) -> Flow[list[Answer]]:
    """Send an order to the workers of the chosen engines."""
    engines = yield from chosen(session, targets)
    return (yield from order(session, verb, engines, words))


def shutdown(session: Session, targets: Any, *, restart: bool, hub: bool) -> Flow[None]:
    """Stop or restart engines; if all are chosen, stop their workers as well."""
    everybody = is_all(targets)
    if hub and (restart or not everybody):
        raise ValueError("hub=True stops everything: no targets, and no restart")
    engines = yield from chosen(session, targets)
    if restart or not everybody:
        yield from order(session, "restart" if restart else "stop", engines)
    else:
        words = ("hub",) if hub else ()
        yield from order(session, "shutdown", engines, words, whole=True)


def engines_of(session: Session, worker: str) -> Flow[list[EngineStatus]]:
    """Return the engines of a worker."""
    status = yield from session.status()
    return [one for one in status.engines if one.worker == worker]


def order_workers(
    session: Session, verb: str, workers: Sequence[str]
) -> Flow[list[Answer]]:
    """Send an order to workers for all their seats. Raises ``NoWorker``."""
    known = yield from cards(session, workers)
    for name in workers:
        if not known[name].get("pid"):
            raise NoWorker(f"No such worker: {name}")
    return (
        yield from _order(session, known, [(name, f"{verb} *") for name in workers])
    )


def own_frames(stack: str, *, whole: bool = False) -> str:
    """Return a stack without redtask's own frames below those of a task."""
    kept: list[str] = []
    ours = False
    for line in stack.splitlines():
        if not line.startswith("  "):
            ours = False
        elif not whole and _OURS.search(line):
            ours = True
        if not ours:
            kept.append(line)
    return "\n".join(kept)
