"""Signed tasks, made of functions, packed arguments and flags. No I/O here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redtask import payload
from redtask.dependency import no_predecessor
from redtask.slices import FREE, Task, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redtask.flags import Flags
    from redtask.graph import Graph, Node
    from redtask.payload import Function
    from redtask.rope import Written
    from redtask.signing import Keyring

#: Work must not begin later than so many seconds, three months, after it might have
#: been forgotten if it had begun at once: this bounds the replay of stolen payloads.
LONGEST_WAIT: Final = 90 * 86400.0
_DAY: Final = 86400.0
#: The hub lets no retry wait for longer, in seconds.
LONGEST_PAUSE: Final = 86400.0


def until(
    begins: float | None = None,
    kept: float | None = None,
    *,
    wait: float = 0.0,
    pauses: float = 0.0,
) -> str:
    """Return until when work may begin, in minutes since the epoch.

    Not in ms: that would make the record of an empty task a third longer. It begins by
    now, or later (seconds since the epoch), and is ``kept`` for a day, or so many
    seconds. It may ``wait`` for longer than usual, and as long as its retries pause.
    """
    begins = time.time() if begins is None else begins
    kept = _DAY if kept is None else kept
    return str(int(begins + kept + max(wait, LONGEST_WAIT) + pauses) // 60)


def pauses_of(retries: int, delay: float, backoff: float, jitter: float) -> float:
    """Return how long all retries of a task may pause together, in seconds."""
    pause, total = delay * (1 + jitter), 0.0
    for left in range(retries, 0, -1):
        if pause >= LONGEST_PAUSE or backoff == 1 or not pause:
            return total + left * min(pause, LONGEST_PAUSE)
        total += pause
        pause *= backoff
    return total


class Mint:
    """Makes signed tasks under one set of flags."""

    def __init__(self, keyring: Keyring, flags: Flags) -> None:
        self._keyring = keyring
        begins = max(time.time() + flags.delay, flags.eta or 0.0)
        pauses = _pauses_under(flags) if flags.retry_delay else 0.0
        last = until(begins, flags.result_ttl, wait=flags.timeout, pauses=pauses)
        self._flags = {**flags.fields(), "until": last}
        #: Do its tasks have timers?
        self.timed = flags.has_timers
        #: Dependencies of every task, from the flags.
        self.waits = FREE
        after, follow = flags.after, flags.follow
        if after is not None or follow is not None:
            self._flags.pop("after", None)
            self._flags.pop("follow", None)
            self.waits = Waits(
                letters="as" if after is None else after.letters,
                after=() if after is None else tuple(after.ordered()),
                place="as" if follow is None else follow.letters,
                follow=() if follow is None else tuple(follow.ordered()),
            )
        opts = self._flags.get("opts")
        self._bound = f"{last} {opts}" if opts else last
        self._signers: dict[str, Callable[[str, Written], Written]] = {}

    def _signer(self, function: Function) -> Callable[[str, Written], Written]:
        signer = self._signers.get(function.digest)
        if signer is None:
            signer = self._keyring.task_signer(function.digest, self._bound)
            self._signers[function.digest] = signer
        return signer

    def task(
        self, task_id: str, function: Function, body: Written, waits: Waits
    ) -> Task:
        """Return one task, which also waits for what its arguments refer to."""
        return self.sign(task_id, function, body, needing(body, waits))

    def sign(
        self, task_id: str, function: Function, body: Written, waits: Waits
    ) -> Task:
        """Return one task, which waits for no more than this."""
        envelope = self._signer(function)(task_id, body)
        return Task(task_id, envelope, function, self._flags, waits)

    def tasks(
        self, ids: Sequence[str], function: Function, bodies: Iterable[Written]
    ) -> Iterator[Task]:
        """Yield tasks of one function lazily."""
        sign, flags, waits = self._signer(function), self._flags, self.waits
        for task_id, body in zip(ids, bodies, strict=True):
            if payload.refers(body):
                yield self.task(task_id, function, body, waits)
            else:
                yield Task(task_id, sign(task_id, body), function, flags, waits)


def _pauses_under(flags: Flags) -> float:
    return pauses_of(
        flags.retries, flags.retry_delay, flags.retry_backoff, flags.retry_jitter
    )


def needing(body: Written, waits: Waits) -> Waits:
    """Return what a task with these arguments waits for: also what they refer to."""
    if payload.refers(body):
        return waits.needing(tuple(payload.unpack_refs(body)[0]))
    return waits


def waits_of(node: Node, graph: Graph, ids: Mapping[Node, str], given: Waits) -> Waits:
    """Return what a node waits for: its predecessors, or ``given`` if it has none."""
    before = graph.parents[node]
    if not before:
        return given
    return Waits(
        graph.letters.get(node, "as"),
        tuple(map(ids.__getitem__, before)),
        given.place,
        given.follow,
    )


def needing_nodes(
    body: Written, waits: Waits, names: Mapping[str, Node], given: Waits
) -> Waits:
    """Return what a node with these arguments waits for, as ``needing`` does.

    Rejects a Ref to a node that is not among the predecessors, and one beside other
    conditions than success. ``given`` is what nodes without predecessors wait for.
    """
    if not payload.refers(body):
        return waits
    refs = tuple(payload.unpack_refs(body)[0])
    for name in refs:
        if name in names and name not in waits.after:
            raise no_predecessor(names[name])
    if waits is not given and waits.letters != "as":
        said = ", ".join(repr(names[one]) if one in names else one for one in refs[:3])
        raise ValueError(
            "a Dependency must be on the success of all members, since the call needs "
            f"the results of {said}"
        )
    return waits.needing(refs)
