"""What scripts reply and records hold, as frozen values. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from redtask.hub import sheet

Reply: TypeAlias = Sequence[Any]
#: Of hubs that this release makes, as ``lua/lib/hub.lua`` has it.
SCHEMA: Final = "4"


def text(value: bytes | str) -> str:
    """Return a reply's string as text, whatever was in it."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def groups(values: Reply, size: int) -> Iterator[tuple[Any, ...]]:
    """Cut a flat reply into groups of ``size``."""
    turns = iter(values)
    return zip(*[turns] * size, strict=True)


def mapping(flat: Reply) -> dict[str, str]:
    """Return a flat list of names and values as a dict of text."""
    return {text(name): text(value) for name, value in groups(flat, 2)}


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a slice."""

    #: Tasks that the hub did not know before.
    new: int
    #: Tasks that it knew: this submit, or part of it, was repeated.
    known: int

    @classmethod
    def read(cls, reply: Reply) -> Submitted:
        """Read ``{"ok", new, known}``."""
        return cls(reply[1], reply[2])


@dataclass(frozen=True, slots=True)
class Purged:
    """What became of tasks that were to be forgotten."""

    #: How many are gone.
    purged: int
    #: How many stay, because other tasks need them.
    kept: int = 0

    @classmethod
    def read(cls, reply: Reply) -> Purged:
        """Read ``{"ok", purged, kept}``."""
        return cls(reply[1], reply[2])

    def __add__(self, other: Purged) -> Purged:
        """Return what became of both."""
        return Purged(self.purged + other.purged, self.kept + other.kept)


class Outcome(NamedTuple):
    """What is known of a task's end."""

    #: ``ready assigned running completed failed aborted``, or ``unknown``, ``purged``.
    state: str
    #: ``attempt:nonce`` of the final attempt, "" when there was none.
    token: str
    #: r: a result, e: an error, v: the hub's verdict, -: too large to be sent
    #: along, "": not ended.
    kind: str
    #: The envelope (r, e), or verdict and reason (v).
    payload: bytes

    @property
    def ended(self) -> bool:
        """Is the task final?"""
        return self.kind != ""

    @classmethod
    def read_all(cls, values: Reply) -> list[Outcome]:
        """Read ``(state token kind payload)*``."""
        return [
            cls(text(state), text(token), text(kind), payload)
            for state, token, kind, payload in groups(values, 4)
        ]


#: Letters of the done stream.
_MARKS = {b"c": "completed", b"f": "failed", b"a": "aborted"}


def read_done(value: bytes) -> Outcome:
    r"""Read one value of the done stream: mark, token, \0, kind, payload.

    A payload that was too large to ride along is missing: kind ``-``. Or it is what
    stands on the sheet: c, engine, token, started, took, repr, payload, parted by \0.
    """
    if value.startswith(b"c\0"):
        parts = value.split(b"\0", 6)
        return Outcome("completed", parts[2].decode(), "r", parts[6])
    head, _, rest = value.partition(b"\0")
    kind, payload = rest[:1].decode(), rest[1:]
    if not payload and kind != "v":
        kind = "-"
    return Outcome(_MARKS[head[:1]], head[1:].decode(), kind, payload)


@dataclass(frozen=True, slots=True)
class Watched:
    """Reply of ``watch``."""

    #: Where to read the done stream on from; "" when it only read.
    position: str
    #: One outcome per id, in order.
    outcomes: list[Outcome]

    @classmethod
    def read(cls, reply: Reply) -> Watched:
        """Read ``{"ok", position, (state token kind payload)*}``."""
        return cls(text(reply[1]), Outcome.read_all(reply[2:]))


class Attended(NamedTuple):
    """A task that somebody listens to."""

    #: ``waiting ready assigned running completed failed aborted``, or ``unknown``.
    state: str
    #: Of a running one: the name of the worker, "" if that is gone, ...
    worker: str
    #: ... the engine, as ``label/uuid``, ...
    engine: str
    #: ... and the token of the try. Else "".
    token: str

    @classmethod
    def read_all(cls, reply: Reply) -> list[Attended]:
        """Read ``{"ok", (state worker engine token)*}``."""
        return [cls(*map(text, one)) for one in groups(reply[1:], 4)]


class Work(NamedTuple):
    """One task that an engine took."""

    #: Its id.
    task_id: str
    #: ``attempt:nonce``: fences everything the engine says of it.
    token: str
    #: Digest of the function.
    function: str
    #: The signed arguments; empty: the engine fetches them.
    args: bytes
    #: Id that the signature binds: of the first ancestor.
    root: str
    #: Not to be run after this time (ms since the epoch); "" is never too late.
    until: str
    #: Does its record stand on the sheet?
    folded: bool = False


#: In a reply, the root of a task that stands on the sheet.
_FOLDED: Final = b"="


@dataclass(frozen=True, slots=True)
class Turn:
    """Reply of ``turn``."""

    #: False: the hub has given this engine up.
    registered: bool
    #: How many of the reported outcomes came too late.
    stale: int
    #: What the engine took.
    work: list[Work]

    @classmethod
    def read(cls, reply: Reply, nonce: str) -> Turn:
        """Read ``{"gone"}`` or ``{word, stale, (id attempt fn args root)*}``.

        Of tasks that stand on the sheet there may be two lists: ids and rows.
        """
        if reply[0] == b"gone":
            return cls(registered=False, stale=0, work=[])
        if len(reply) > 2 and isinstance(reply[2], list):  # noqa: PLR2004 - word, stale
            work = _read_rows(reply[2], reply[3], f"1:{nonce}")
            return cls(registered=True, stale=reply[1], work=work)
        work = []
        # Most tasks of a turn are of one function, and first attempts.
        known: bytes = b""
        digest = until = ""
        first = f"1:{nonce}"
        for task_id, attempt, function, args, root in groups(reply[2:], 5):
            if function != known:
                known = function
                digest, _, until = function.decode().partition(" ")
            name = task_id.decode()
            token = first if attempt == 1 else f"{attempt}:{nonce}"
            folded = root == _FOLDED
            bound = root.decode() if root and not folded else name
            work.append(Work(name, token, digest, args, bound, until, folded))
        return cls(registered=True, stale=reply[1], work=work)


def _read_rows(ids: list[bytes], rows: list[bytes], token: str) -> list[Work]:
    """Read tasks that stand on the sheet: what most have in common is read once."""
    work = []
    known, size = b"", -1
    digest = until = ""
    for task_id, row in zip(ids, rows, strict=True):
        at = row.index(b" ")
        if size < 0 or not row.startswith(known, at):
            fields, args = sheet.read(row)[2:]
            function = next(islice(sheet.texts(fields), 1, None))
            digest, _, until = function.decode().partition(" ")
            size = len(row) - at - len(args)
            known = row[at : at + size]
        name = task_id.decode()
        work.append(Work(name, token, digest, row[at + size :], name, until, True))
    return work


def read_bell(ring: bytes) -> tuple[str, Work] | None:
    """Return the nonce of a turn and the task that came in it; None: a mere ring.

    A ring is ``nonce id attempt fn root args``, one to a line; args hold anything.
    """
    parts = ring.split(b"\n", 5)
    if len(parts) == 1:
        return None
    nonce, name, attempt, function, root = (part.decode() for part in parts[:5])
    digest, _, until = function.partition(" ")
    token, folded = f"{attempt}:{nonce}", parts[4] == _FOLDED
    bound = root if root and not folded else name
    return nonce, Work(name, token, digest, parts[5], bound, until, folded)


@dataclass(frozen=True, slots=True)
class Registered:
    """Reply of ``register``."""

    #: The engine's label for people: 0, 1, ...
    engine_id: int
    #: How long the hub waits for a sign of life, in ms.
    lease: int

    @classmethod
    def read(cls, reply: Reply) -> Registered:
        """Read ``{"ok", id, lease}``."""
        return cls(reply[1], reply[2])


@dataclass(frozen=True, slots=True)
class Beaten:
    """What the hub answers about one engine of a beat."""

    #: The engine's uuid.
    engine: str
    #: ``live``, ``drained`` (it lives, and is to get nothing new), ``unknown`` (given
    #: up), ``gone``, or ``more``: say it again.
    word: str
    #: Tasks that are no longer this engine's.
    foreign: tuple[str, ...]

    @classmethod
    def read_all(cls, reply: Reply) -> list[Beaten]:
        """Read ``{"ok", (engine word n (id)*n)*}``."""
        answers, at = [], 1
        while at < len(reply):
            count = reply[at + 2]
            ids = tuple(text(name) for name in reply[at + 3 : at + 3 + count])
            answers.append(cls(text(reply[at]), text(reply[at + 1]), ids))
            at += 3 + count
        return answers


@dataclass(frozen=True, slots=True)
class Swept:
    """Reply of ``sweep``."""

    #: In how many ms a sweep is next needed; -1: nothing will be due.
    due: int
    #: Was the budget used up?
    more: bool

    @classmethod
    def read(cls, reply: Reply) -> Swept:
        """Read ``{"ok", due, more}``."""
        return cls(reply[1], bool(reply[2]))


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine, as ``status`` shows it."""

    #: Known by this in every key.
    uuid: str
    #: Label for people.
    engine_id: int
    #: Name of its worker.
    worker: str
    #: Queues it serves.
    queues: tuple[str, ...]
    #: Tasks placed on it, not yet taken.
    assigned: int
    #: Tasks it took.
    held: int
    #: Rest of its lease in ms; negative: over.
    lease: int
    #: When it joined, ms since the epoch.
    joined: int
    #: Does it get nothing new?
    drained: bool = False

    @property
    def load(self) -> int:
        """Tasks it has."""
        return self.assigned + self.held

    @classmethod
    def read_all(cls, values: Reply) -> list[EngineStatus]:
        """Read ``(uuid id worker queues assigned held lease joined drained)*``."""
        return [
            cls(
                text(uuid),
                number,
                text(worker),
                tuple(text(queues).split(",")),
                assigned,
                held,
                lease,
                joined,
                bool(drained),
            )
            for (
                uuid,
                number,
                worker,
                queues,
                assigned,
                held,
                lease,
                joined,
                drained,
            ) in groups(values, 9)
        ]


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue, as ``status`` shows it."""

    #: Its name.
    name: str
    #: Engines that serve it.
    engines: int
    #: Tasks that wait in it for an engine.
    ready: int
    #: Does nothing of it begin?
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """A consistent picture of the hub."""

    #: Settings and counters of the hub, as text.
    hub: Mapping[str, str]
    #: How many tasks are in each state.
    states: Mapping[str, int]
    #: Every queue with engines or tasks.
    queues: tuple[QueueStatus, ...]
    #: The engines, at most as many as were asked for, by id.
    engines: tuple[EngineStatus, ...]

    @property
    def scheme(self) -> str:
        """The scheme, by the name that the hub has for it."""
        return self.hub["format"].partition(" ")[2]

    @property
    def is_earlier(self) -> bool:
        """Is it a hub that an earlier release made, and none of ours yet?"""
        return self.hub["format"].partition(" ")[0] != SCHEMA

    @classmethod
    def read(cls, reply: Reply) -> Status:
        """Read ``{"ok", hub, states, queues, engines}``."""
        engines = EngineStatus.read_all(reply[4])
        return cls(
            mapping(reply[1]),
            {text(state): count for state, count in groups(reply[2], 2)},
            tuple(
                QueueStatus(text(name), count, ready, bool(paused))
                for name, count, ready, paused in groups(reply[3], 4)
            ),
            tuple(sorted(engines, key=lambda engine: engine.engine_id)),
        )


class Flaw(NamedTuple):
    """Something that a hub keeps and that is not consistent."""

    #: What kind of thing: task, entry, engine, ...
    kind: str
    #: Which one.
    name: str
    #: What is wrong, in one word; kinds and words together name an invariant.
    code: str
    #: What is wrong, for people.
    words: str
    #: ``found`` (it can be mended), ``mended``, or ``left`` (it cannot).
    fate: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What is wrong with some things, and what they mean for others."""

    #: How many of the things were looked at.
    done: int
    #: What is wrong.
    flaws: tuple[Flaw, ...]
    #: Numbers that should be found elsewhere, by their names.
    tallies: Mapping[str, int]

    @classmethod
    def read(cls, reply: Reply) -> Examined:
        """Read ``{"ok", done, findings, tallies}``."""
        return cls(
            reply[1],
            tuple(Flaw(*map(text, flaw)) for flaw in groups(reply[2], 5)),
            {name: int(number) for name, number in mapping(reply[3]).items()},
        )
