"""Script replies and records as immutable values. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from redtask.hub import sheet

Reply: TypeAlias = Sequence[Any]
#: Schema version of hubs created by this release, as in ``lua/lib/hub.lua``.
SCHEMA: Final = "4"
#: Numbers of the hub have no more digits.
_MOST_DIGITS: Final = 20
#: The last day that a calendar has, ms since the epoch.
_LAST_MOMENT: Final = 253_402_214_400_000


def text(value: bytes | str) -> str:
    """Return a string of a reply as text; invalid UTF-8 is replaced."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def groups(values: Reply, size: int) -> Iterator[tuple[Any, ...]]:
    """Split a flat reply into groups of ``size``."""
    turns = iter(values)
    return zip(*[turns] * size, strict=True)


def mapping(flat: Reply) -> dict[str, str]:
    """Return a flat list of names and values as a dict of strings."""
    return {text(name): text(value) for name, value in groups(flat, 2)}


def number(told: str | None) -> int | None:
    """Return a whole number of a reply; None for what is none, whoever wrote it."""
    if told and told.isdecimal() and len(told) <= _MOST_DIGITS:
        return int(told)
    return None


def moment(entry: str, told: str | None) -> int:
    """Return when an event was, in ms since the epoch, as a calendar has it.

    As it is told; where it is not, its entry in the log says when it was written.
    """
    known = number(told)
    if known is None:
        known = number(entry.partition("-")[0]) or 0
    return min(known, _LAST_MOMENT)


def info(reply: bytes | str) -> dict[str, str]:
    """Return a reply to INFO as a dict."""
    lines = text(reply).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt that did not succeed."""

    #: Its number, from 1.
    attempt: int
    #: The uuid of the engine.
    engine: str
    #: When it began and ended, ms since the epoch; None: unknown.
    started: float | None
    ended: float | None
    #: What went wrong.
    what: str

    @classmethod
    def read(cls, line: bytes | str) -> Try:
        """Parse ``token engine began ended what``, separated by tabs."""
        parts = text(line).split("\t", 4)
        token, engine, began, ended, what = (parts + [""] * 4)[:5]
        attempt, _, _ = token.partition(":")
        return cls(
            int(attempt) if attempt.isdigit() else 0,
            engine,
            float(began) if began else None,
            float(ended) if ended else None,
            what,
        )


class Submitted(NamedTuple):
    """The result of submitting a slice."""

    #: Tasks that were new to the hub.
    new: int
    #: Tasks that it already knew: the submit, or part of it, was repeated.
    known: int

    @classmethod
    def read(cls, reply: Reply) -> Submitted:
        """Read ``{"ok", new, known}``."""
        return cls(reply[1], reply[2])


@dataclass(frozen=True, slots=True)
class Purged:
    """The result of purging tasks."""

    #: How many were deleted.
    purged: int
    #: How many were kept, because other tasks need them.
    kept: int = 0
    #: How many need the results of so many others that they go with a further call.
    left: int = 0

    @classmethod
    def read(cls, reply: Reply) -> Purged:
        """Read ``{"ok", purged, kept, left}``."""
        return cls(*reply[1:])

    def __add__(self, other: Purged) -> Purged:
        """Return the sum of both."""
        return Purged(
            self.purged + other.purged,
            self.kept + other.kept,
            self.left + other.left,
        )


class Outcome(NamedTuple):
    """How a task ended, as far as is known."""

    #: ``ready assigned running completed failed aborted``, or ``unknown``, ``purged``.
    state: str
    #: ``attempt:nonce`` of the final attempt; "" if there was none.
    token: str
    #: r: a result, e: an error, v: a verdict of the hub, -: too large to be
    #: included, "": not ended.
    kind: str
    #: The envelope (r, e), or verdict and reason (v).
    payload: bytes

    @property
    def ended(self) -> bool:
        """Is the task's state final?"""
        return self.kind != ""

    @classmethod
    def read_all(cls, values: Reply) -> list[Outcome]:
        """Read ``(state token kind payload)*``."""
        return [
            cls(text(state), text(token), text(kind), payload)
            for state, token, kind, payload in groups(values, 4)
        ]


#: How a task ended; of one on the sheet, the value of the done stream as it came. There
#: may be very many of these, and Python's garbage collector does not look at bytes.
Told: TypeAlias = Outcome | bytes
_ON_SHEET: Final = b"c\0"


def outcome_of(told: Told) -> Outcome:
    """Return the outcome."""
    return read_done(told) if isinstance(told, bytes) else told


def state_of(told: Told) -> str:
    """Return the state: on the sheet, tasks only succeed."""
    return "completed" if isinstance(told, bytes) else told.state


def told_of(value: bytes) -> Told:
    """Read one value of the done stream, or keep it to be read when it is needed."""
    return value if value.startswith(_ON_SHEET) else read_done(value)


#: State letters in the done stream.
_MARKS = {b"c": "completed", b"f": "failed", b"a": "aborted"}


def read_done(value: bytes) -> Outcome:
    r"""Read one value of the done stream: mark, token, \0, kind, payload.

    A payload too large to be included is missing: kind ``-``. For a task on the sheet
    the value is c, engine, token, started, took, repr and payload, separated by \0.
    Raises ``ValueError`` or ``LookupError`` for what is neither.
    """
    if value.startswith(_ON_SHEET):
        parts = value.split(b"\0", 6)
        if len(parts) <= 6:  # noqa: PLR2004 - as above
            # It is no outcome, but was taken for one: nobody has signed it.
            return Outcome("completed", "", "r", b"")
        return Outcome("completed", text(parts[2]), "r", parts[6])
    head, _, rest = value.partition(b"\0")
    kind, payload = rest[:1].decode(), rest[1:]
    if not payload and kind != "v":
        kind = "-"
    return Outcome(_MARKS[head[:1]], head[1:].decode(), kind, payload)


@dataclass(frozen=True, slots=True)
class Watched:
    """Reply of ``watch``."""

    #: Where to continue reading the done stream; "" for a call without a client.
    position: str
    #: One outcome per id, in order.
    outcomes: list[Outcome]

    @classmethod
    def read(cls, reply: Reply) -> Watched:
        """Read ``{"ok", position, (state token kind payload)*}``."""
        return cls(text(reply[1]), Outcome.read_all(reply[2:]))


class Attended(NamedTuple):
    """A task whose live stream somebody follows."""

    #: ``waiting ready assigned running completed failed aborted``, or ``unknown``.
    state: str
    #: If running, the name of the worker ("" if that is gone), ...
    worker: str
    #: ... the engine, as ``label/uuid``, ...
    engine: str
    #: ... and the token of the attempt; otherwise "".
    token: str

    @classmethod
    def read_all(cls, reply: Reply) -> list[Attended]:
        """Read ``{"ok", (state worker engine token)*}``."""
        return [cls(*map(text, one)) for one in groups(reply[1:], 4)]


class Work(NamedTuple):
    """A task taken by an engine."""

    #: Its id.
    task_id: str
    #: ``attempt:nonce``: the fencing token of everything the engine reports of it.
    token: str
    #: Digest of the function.
    function: str
    #: The signed arguments; empty if the engine must fetch them.
    args: bytes
    #: The id that the signature binds: the first ancestor's.
    root: str
    #: Latest start in minutes since the epoch, then options, as signed; may be "".
    until: str
    #: Is its record on the sheet?
    folded: bool = False
    #: Was it taken along with a task that it waits for? Then the engine begins it only
    #: if all that precede it in the batch have succeeded.
    along: bool = False


#: The root of a task on the sheet, in replies.
_FOLDED: Final = b"="
#: First attempts in replies; negative ones are of tasks that were taken along.
_FIRST: Final = (1, -1)
#: What comes of reading a row that was damaged.
_UNREADABLE: Final = (ValueError, StopIteration)


class Turn(NamedTuple):
    """Reply of ``turn``."""

    #: False if the hub has given this engine up.
    registered: bool
    #: How many of the reported outcomes were stale.
    stale: int
    #: The tasks that the engine took.
    work: list[Work]

    @classmethod
    def read(cls, reply: Reply, nonce: str) -> Turn:
        """Read ``{"gone"}`` or ``{word, stale, (id attempt fn args root)*}``.

        Tasks on the sheet may come as two lists, ids and rows.
        """
        if reply[0] == b"gone":
            return cls(registered=False, stale=0, work=[])
        if len(reply) > 2 and isinstance(reply[2], list):  # noqa: PLR2004 - word, stale
            work = _read_rows(reply[2], reply[3], f"1:{nonce}")
        else:
            work = _read_flat(reply[2:], nonce)
        return cls(registered=True, stale=reply[1], work=work)


def _read_flat(values: Reply, nonce: str) -> list[Work]:
    """Read ``(id attempt fn args root)*``."""
    try:
        return _decoded(values, nonce, bytes.decode)
    except UnicodeDecodeError:
        # The signature refuses a task whose record was damaged; the others may run.
        return _decoded(values, nonce, text)


def _decoded(values: Reply, nonce: str, decode: Callable[[bytes], str]) -> list[Work]:
    work = []
    # Most tasks of a turn share one function and are first attempts.
    known: bytes = b""
    digest = until = ""
    first = f"1:{nonce}"
    for task_id, attempt, function, args, root in groups(values, 5):
        if function != known:
            known = function
            digest, _, until = decode(function).partition(" ")
        name = decode(task_id)
        token = first if attempt in _FIRST else f"{abs(attempt)}:{nonce}"
        folded = root == _FOLDED
        bound = decode(root) if root and not folded else name
        along = attempt < 0
        work.append(Work(name, token, digest, args, bound, until, folded, along))
    return work


def _read_rows(ids: list[bytes], rows: list[bytes], token: str) -> list[Work]:
    """Read tasks on the sheet."""
    try:
        return _parsed(ids, rows, token)
    except _UNREADABLE:
        return [_read_row(*pair, token) for pair in zip(ids, rows, strict=True)]


def _read_row(task_id: bytes, row: bytes, token: str) -> Work:
    """Read a task on the sheet; one that was damaged is refused by its signature."""
    try:
        (work,) = _parsed([task_id], [row], token)
    except _UNREADABLE:
        name = text(task_id)
        return Work(name, token, "", row, name, "", True)
    return work


def _parsed(ids: list[bytes], rows: list[bytes], token: str) -> list[Work]:
    """Read tasks on the sheet, parsing what consecutive rows share only once."""
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
    """Return the nonce of a turn and the task it hands over; None if there is no task.

    A ring is ``nonce id attempt fn root args``, one per line; args are arbitrary bytes.
    A malformed one only rings: the next turn brings the task, if there is one.
    """
    parts = ring.split(b"\n", 5)
    if len(parts) == 1:
        return None
    *words, args = parts
    try:
        nonce, name, attempt, function, root = map(bytes.decode, words)
        token = f"{int(attempt)}:{nonce}"
    except ValueError:
        return None
    digest, _, until = function.partition(" ")
    folded = words[-1] == _FOLDED
    bound = root if root and not folded else name
    return nonce, Work(name, token, digest, args, bound, until, folded)


@dataclass(frozen=True, slots=True)
class Registered:
    """Reply of ``register``."""

    #: The engine's label: 0, 1, ...
    engine_id: int
    #: How long the hub waits for a heartbeat, in ms.
    lease: int
    #: Is it drained, so that it gets no tasks?
    drained: bool

    @classmethod
    def read(cls, reply: Reply) -> Registered:
        """Read ``{"ok", id, lease, drained}``."""
        return cls(reply[1], reply[2], bool(reply[3]))


@dataclass(frozen=True, slots=True)
class Beaten:
    """The hub's answer about one engine of a beat."""

    #: The engine's uuid.
    engine: str
    #: ``live``, ``drained`` (alive, but gets no new tasks), ``unknown`` (given up),
    #: ``gone``, or ``more`` (repeat the call).
    word: str
    #: Tasks that no longer belong to this engine.
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

    #: In how many ms the next sweep is needed; -1 if nothing is scheduled.
    due: int
    #: Was the budget exhausted?
    more: bool

    @classmethod
    def read(cls, reply: Reply) -> Swept:
        """Read ``{"ok", due, more}``."""
        return cls(reply[1], bool(reply[2]))


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine, as ``status`` shows it."""

    #: Its name in keys.
    uuid: str
    #: Its label.
    engine_id: int
    #: Name of its worker.
    worker: str
    #: Queues it serves.
    queues: tuple[str, ...]
    #: Tasks placed on it but not yet taken.
    assigned: int
    #: Tasks it has taken.
    held: int
    #: Remaining lease in ms; negative if expired.
    lease: int
    #: When it joined, ms since the epoch.
    joined: int
    #: Does it get no new tasks?
    drained: bool = False

    @property
    def load(self) -> int:
        """Assigned and held tasks."""
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
    #: Ready tasks in it.
    ready: int
    #: Is it paused?
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """A consistent snapshot of the hub."""

    #: Settings and counters of the hub, as strings.
    hub: Mapping[str, str]
    #: How many tasks are in each state.
    states: Mapping[str, int]
    #: Every queue with engines or tasks.
    queues: tuple[QueueStatus, ...]
    #: The engines by label, at most as many as were asked for.
    engines: tuple[EngineStatus, ...]

    @property
    def scheme(self) -> str:
        """The hub's name for the scheme."""
        return self.hub["format"].partition(" ")[2]

    @property
    def is_earlier(self) -> bool:
        """Was the hub created by an earlier release, and not yet upgraded?"""
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
    """An inconsistency in a hub's data."""

    #: What kind of thing: task, entry, engine, ...
    kind: str
    #: Which one.
    name: str
    #: The kind of flaw, in one word; ``kind`` and ``code`` identify an invariant.
    code: str
    #: A description.
    words: str
    #: ``found`` (can be repaired), ``mended``, or ``left`` (cannot be repaired).
    fate: str


@dataclass(frozen=True, slots=True)
class Examined:
    """Flaws found in some things, and what these imply about others."""

    #: How many of the things were examined.
    done: int
    #: The flaws found.
    flaws: tuple[Flaw, ...]
    #: Expected values of counters elsewhere, by name.
    tallies: Mapping[str, int]

    @classmethod
    def read(cls, reply: Reply) -> Examined:
        """Read ``{"ok", done, findings, tallies}``."""
        return cls(
            reply[1],
            tuple(Flaw(*map(text, flaw)) for flaw in groups(reply[2], 5)),
            {name: int(number) for name, number in mapping(reply[3]).items()},
        )
