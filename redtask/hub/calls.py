"""One function per script: what to send and how to read the reply, side by side.

A ``Call`` is a value. It says nothing of how it is sent, so the blocking and the
asyncio API share it, and a test can look at it without a server. Every call is
safe to repeat after a lost reply. ``now`` is for tests: ms on a hub made for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeAlias, TypeVar

from redtask.hub import sheet
from redtask.hub.records import (
    Attended,
    Beaten,
    Examined,
    Purged,
    Registered,
    Reply,
    Status,
    Submitted,
    Swept,
    Turn,
    Watched,
    text,
)
from redtask.hub.views import EnginePage, Event, Overview, TaskPage, read_events
from redtask.hub.why import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redtask.rope import Written

T = TypeVar("T")
#: Large bytes may be a ``rope.Rope``.
Argument: TypeAlias = str | bytes | int
Now: TypeAlias = int | str


#: Arguments of more bytes are sent ahead of their call, by a plain SET.
LARGE: Final = 16384
#: What a call ends in that is sent again.
_AGAIN: Final = "@again"


class Parcel(NamedTuple):
    """An argument that is large: it may come ahead of its call.

    What is given to a script is copied there and back, and since Redis 7 each byte of
    it is hashed: that takes ten times as long as a SET, and Redis does nothing else.
    """

    #: Its place in ARGV.
    at: int
    #: The task that it is of.
    task_id: str
    #: Of a result the token of its try; "" of a task's arguments.
    token: str = ""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of one script."""

    #: The command: name of the Lua file.
    script: str
    #: ARGV.
    args: Sequence[Argument]
    #: Turns the reply into a value.
    read: Callable[[Reply], T] = field(repr=False)
    #: Those of them that may be sent ahead.
    parcels: Sequence[Parcel] = ()
    #: Does it say so when it is sent again? What it made may be gone meanwhile.
    tells: bool = False

    def again(self) -> Call[T]:
        """Return the call as it is sent when its reply was lost."""
        return replace(self, args=[*self.args, _AGAIN]) if self.tells else self


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks of one slice that have function and flags in common."""

    #: Digest of the function.
    digest: str
    #: The function; empty when the hub is believed to know it.
    blob: bytes
    #: Its name, for people.
    name: str
    #: Flags that become fields of the record, as the script knows them.
    flags: Mapping[str, Argument]
    #: Id and signed arguments of each task, flat.
    tasks: Sequence[str | Written]


def submit(groups: Iterable[Group], *, now: Now = "") -> Call[Submitted]:
    """Enter a slice of at most 500 tasks, all or none."""
    args: list[Argument] = [now]
    parcels: list[Parcel] = []
    for group in groups:
        args += (group.digest, group.blob, group.name, len(group.flags))
        for flag in group.flags.items():
            args += flag
        args.append(len(group.tasks) // 2)
        if max(map(len, group.tasks), default=0) > LARGE:
            first = len(args)
            parcels += (
                Parcel(first + at, str(group.tasks[at - 1]))
                for at in range(1, len(group.tasks), 2)
                if len(group.tasks[at]) > LARGE
            )
        args += group.tasks
    return Call("submit", args, Submitted.read, parcels, tells=True)


class Report(NamedTuple):
    """What became of one task on its engine."""

    #: ``ok``; ``error``, ``late`` (over its time limit), ``final`` (not to be tried
    #: again); ``unbegun`` (given back, no try used), ``unmet`` (this engine lacks what
    #: it needs), ``aborted`` (interrupted).
    kind: str
    #: The task.
    task_id: str
    #: The token under which the engine took it.
    token: str
    #: How long ago it began, in us.
    ago: int
    #: How long it ran, in us.
    took: int
    #: Fields for its record: first ``result`` or ``error`` with the envelope, then
    #: any of repr, ename, evalue, stdout, stderr. Of an unmet one: ``words``, and
    #: ``by``, ``require`` to remember it for the function. Else empty.
    fields: Sequence[Argument]
    #: Does its record stand on the sheet, as the engine was told?
    folded: bool = False


#: Of an outcome of a usual task: result, repr.
_USUAL: Final = 4
#: So many outcomes are worth a block.
SEVERAL: Final = 4
#: Results over this are counted, in bytes.
_COMPACT: Final = 64


class _Blocks:
    """Outcomes that are told together, as ``lua/lib/folded.lua`` reads them."""

    def __init__(self) -> None:
        #: By client and token: the reports, id and value of each, flat, and what
        #: results of over 64 bytes take.
        self._blocks: dict[tuple[str, str], tuple[list[Report], list[Argument]]] = {}
        self._prefix = self._token = ""
        self._reports: list[Report] = []
        self._pairs: list[Argument] = []

    def _turn_to(self, task_id: str, token: str) -> None:
        """Most come in a row: what they have in common is looked up once."""
        client = task_id.partition("-")[0]
        self._prefix, self._token = f"{client}-", token
        self._reports, self._pairs = self._blocks.setdefault((client, token), ([], []))

    def add(self, report: Report) -> bool:
        """Add an outcome, if it may stand there."""
        kind, task_id, token, ago, took, fields, _ = report
        if kind != "ok" or len(fields) != _USUAL or fields[2] != "repr":
            return False
        _, result, _, text = fields
        if type(result) is not bytes or type(text) is not str:
            return False
        if not 0 < len(result) <= sheet.MOST or not text or "\0" in text:
            return False
        if token != self._token or not task_id.startswith(self._prefix):
            self._turn_to(task_id, token)
        value = b"%d %d\0%b\0%b" % (ago, took, text.encode(), result)
        self._reports.append(report)
        self._pairs += (task_id, value)
        return True

    def say(self, args: list[Argument]) -> list[Report]:
        """Add the arguments; return what is not worth a block."""
        others: list[Report] = []
        for (_, token), (reports, pairs) in self._blocks.items():
            if len(reports) < SEVERAL:
                others += reports
                continue
            sizes = [len(fields[1]) for *_, fields, _ in reports]  # type: ignore[arg-type]
            weight = sum(size for size in sizes if size > _COMPACT)
            args += (f"folded:{len(reports)}", token, weight, *pairs)
        return others


def turn(  # noqa: PLR0913 - an engine says that much
    engine: str,
    number: int | None,
    nonce: str,
    want: int,
    reports: Iterable[Report] = (),
    *,
    upcoming: str = "",
    now: Now = "",
) -> Call[Turn]:
    """Report outcomes and take at most ``want`` tasks.

    Without a ``number`` it only reports. ``upcoming`` is the nonce of the next turn:
    an engine that names it may be handed a task in that turn by its bell.
    """
    nonces = f"{nonce} {upcoming}" if upcoming else nonce
    args: list[Argument] = [now, engine, "" if number is None else number, nonces, want]
    parcels: list[Parcel] = []
    blocks = _Blocks()
    others = [one for one in reports if not (one.folded and blocks.add(one))]
    others += blocks.say(args)
    for kind, task_id, token, ago, took, fields, _ in others:
        # The body is the first field: its name follows from the kind.
        bare = not fields or kind == "unmet"
        body, more = ("", fields) if bare else (fields[1], fields[2:])
        if kind == "ok" and not isinstance(body, int) and len(body) > LARGE:
            parcels.append(Parcel(len(args) + 4, task_id, token))
        args += (f"{kind}:{len(more) // 2}", task_id, token, f"{ago} {took}", body)
        args += more
    return Call("turn", args, lambda reply: Turn.read(reply, nonce), parcels)


def register(
    engine: str,
    worker: str,
    queues: Iterable[str] = ("default",),
    about: Mapping[str, Argument] | None = None,
    *,
    now: Now = "",
) -> Call[Registered]:
    """Let an engine join. ``about`` describes its worker process."""
    args: list[Argument] = [now, engine, worker, ",".join(queues)]
    for pair in (about or {}).items():
        args += pair
    return Call("register", args, Registered.read)


@dataclass(frozen=True, slots=True)
class Life:
    """What a supervisor says of one of its engines."""

    #: The engine's uuid.
    engine: str
    #: Number of the latest turn whose reply it has.
    number: int
    #: Ids it believes to hold; of a dead one: ids it had begun.
    ids: Sequence[str]
    #: Why it is gone, in words; None: it lives.
    gone: str | None = None
    #: Was it killed because what it had begun was over its time limit?
    late: bool = False
    #: Of a dead one, what the task that it was inside of said last: id and token, then
    #: names and values of ``stdout``, ``stderr`` and ``progress``.
    last: Sequence[Argument] = ()


def beat(worker: str, lives: Iterable[Life], *, now: Now = "") -> Call[list[Beaten]]:
    """Renew leases, and say which engines are gone."""
    args: list[Argument] = [now, worker]
    for life in lives:
        if life.gone is None:
            args += ("live", life.engine, life.number, len(life.ids))
        else:
            if life.last:
                task, token, *said = life.last
                args += ("said", life.engine, token, len(said) + 1, task, *said)
            verb = "late" if life.late else "gone"
            args += (verb, life.engine, life.gone, len(life.ids))
        args += life.ids
    return Call("beat", args, Beaten.read_all)


def sweep(budget: int = 100, *, now: Now = "") -> Call[Swept]:
    """Do what time alone brings about, at most ``budget`` things."""
    return Call("sweep", (now, budget), Swept.read)


def watch(
    client: str, ids: Sequence[str], budget: int = 4 << 20, *, now: Now = ""
) -> Call[Watched]:
    """Ask for outcomes, of at most 500 ids and ``budget`` bytes.

    The client's stream is told of the others. Without a client it only reads.
    """
    return Call("watch", (now, client, budget, *ids), Watched.read)


def _ok(reply: Reply) -> bool:
    return bool(reply[0] == b"ok")


def resubmit(
    pairs: Sequence[tuple[str, str]],
    anew: Mapping[str, Mapping[str, Argument]] | None = None,
    *,
    now: Now = "",
) -> Call[list[str]]:
    """Let ended tasks run once more: old and new id of each, at most 500; all or none.

    ``anew`` has, by old id, fields that differ: args, until, after, follow, refs;
    gate, and later when the members are told with ``link``.
    """
    args: list[Argument] = [now]
    for old, new in pairs:
        fields = (anew or {}).get(old, {})
        args += (old, new, len(fields))
        for pair in fields.items():
            args += pair
    return Call("resubmit", args, lambda _: [new for _, new in pairs], tells=True)


def purge(ids: Sequence[str], *, now: Now = "") -> Call[Purged]:
    """Forget ended tasks before their time, at most 500, all or none."""
    return Call("purge", (now, *ids), Purged.read)


def why(task_id: str, *, now: Now = "") -> Call[Why]:
    """Ask why a task is where it is."""
    return Call("why", (now, task_id), lambda reply: Why.read(task_id, reply))


def _words(reply: Reply) -> list[str]:
    return [text(word) for word in reply[1:]]


def abort(
    ids: Sequence[str], *, running: bool = False, now: Now = ""
) -> Call[list[str]]:
    """End tasks that no engine has begun.

    One word each: aborted, running, ended, unknown. With ``running`` a running task
    is marked, so that it ends aborted unless it completes first, and its word is
    ``running WORKER ENGINE TOKEN``.
    """
    return Call("abort", (now, int(running), *ids), _words)


def tell(worker: str, message: bytes, *, now: Now = "") -> Call[bool]:
    """Leave a signed message for a supervisor; is there one of this name?"""
    return Call("tell", (now, worker, message), _ok)


def answer(nonce: str, message: bytes, *, now: Now = "") -> Call[bool]:
    """Answer an order."""
    return Call("answer", (now, nonce, message), _ok)


def drain(
    engines: Sequence[str], *, worker: str = "", resume: bool = False, now: Now = ""
) -> Call[list[str]]:
    """Have at most 500 engines get nothing new, or (``resume``) tasks again.

    One word each: drained, resumed, unknown, or more: say it again. With a ``worker``
    those that it is yet to start, too.
    """
    verb = "resume" if resume else "drain"
    return Call("drain", (now, verb, worker, *engines), _words)


def pause(
    queues: Sequence[str], *, resume: bool = False, now: Now = ""
) -> Call[list[str]]:
    """Have nothing begin of these queues, or (``resume``) go on: what each is now."""
    verb = "resume" if resume else "pause"
    return Call("pause", (now, verb, *queues), _words)


def attend(ids: Sequence[str], *, now: Now = "") -> Call[list[Attended]]:
    """Have the streams of at most 500 tasks tell of their begin and end."""
    return Call("attend", (now, *ids), Attended.read_all)


#: What a task says: id and token, then names and values of ``progress`` (a share of 1
#: and what it is about), ``stdout`` and ``stderr`` (a position and what is there).
Said: TypeAlias = "tuple[str, str, Sequence[Argument]]"


def say(said: Iterable[Said], *, now: Now = "") -> Call[list[bool]]:
    """Tell what at most 500 tasks say while they run; which of these tries do run?"""
    args: list[Argument] = [now]
    for task, token, fields in said:
        args += (task, token, len(fields) // 2, *fields)
    return Call("say", args, lambda reply: [word == b"heard" for word in reply[1:]])


def _count(reply: Reply) -> int:
    return int(reply[1])


def link(task: str, name: str, ids: Sequence[str], *, now: Now = "") -> Call[int]:
    """Tell a task behind a gate at most 2,000 more members of a set.

    ``name`` is ``after`` or ``follow``. Returns how many were looked at; 0 when the
    gate is open or the task has ended.
    """
    return Call("link", (now, task, name, *ids), _count)


def open_gate(gate: str, *, now: Now = "") -> Call[bool]:
    """Open a gate; was it this call that did?"""
    return Call("open", (now, gate), _ok)


@dataclass(frozen=True, slots=True)
class Configured:
    """Reply of ``configure``."""

    #: Was the hub made by this call?
    created: bool
    #: Fingerprint of the key that signs the hub's work; "" when it is unsigned.
    fingerprint: str
    #: How many engines are to be ranked anew by further calls.
    left: int = 0

    @classmethod
    def read(cls, reply: Reply) -> Configured:
        """Read ``{"created" | "ok", fingerprint, left}``."""
        return cls(reply[0] == b"created", text(reply[1]), reply[2])


def configure(
    settings: Mapping[str, Argument] | None = None,
    *,
    create: bool = False,
    fingerprint: str = "",
    upgrade: bool = False,
    now: Now = "",
) -> Call[Configured]:
    """Change settings; make the hub first if it is not there and ``create`` is set.

    Numbers by their names; ``scheme``, and of one's own ``scheme_text`` and
    ``scheme_signature``. Is to be repeated without settings while engines are left.
    ``upgrade`` a hub of an earlier release: it refuses workers of that from then on.
    """
    args: list[Argument] = [now, "upgrade" if upgrade else int(create), fingerprint]
    for pair in (settings or {}).items():
        args += pair
    return Call("configure", args, Configured.read)


def status(most: int = 1000, *, now: Now = "") -> Call[Status]:
    """Take a consistent picture of the hub, with at most ``most`` engines."""
    return Call("status", (now, most), Status.read)


def overview(
    buckets: int = 0, width: int = 10000, *, brief: bool = False, now: Now = ""
) -> Call[Overview]:
    """Ask how the hub does, and what ended in so many spans of ``width`` ms before.

    It costs Redis about half a millisecond whatever the hub has. A ``brief`` one has
    no states, queues, oldest and failures, and costs much less.
    """
    return Call("overview", (now, buckets, width, int(brief)), Overview.read)


def engines(
    first: int = 0, count: int = 50, text: str = "", *, now: Now = ""
) -> Call[EnginePage]:
    """Read up to 200 engines with ``text`` in them, by label from ``first`` on."""
    return Call("engines", (now, first, count, text), EnginePage.read)


def tasks(
    state: str, start: str = "", count: int = 50, text: str = "", *, now: Now = ""
) -> Call[TaskPage]:
    """Read up to 200 tasks of one state that have ``text`` in what is shown of them.

    ``start`` is "", or what a page before said of ``more``.
    """
    return Call("tasks", (now, state, start, count, text), TaskPage.read)


def events(
    before: str = "", count: int = 50, *, now: Now = ""
) -> Call[tuple[Event, ...]]:
    """Read up to 200 entries of the story, the latest first, or those before one."""
    return Call("events", (now, before, count), read_events)


def examine(
    things: Iterable[tuple[str, str]], *, mend: bool = False, now: Now = ""
) -> Call[Examined]:
    """Ask whether what the hub keeps of at most 500 things is consistent.

    Each is a kind and a name, as ``lua/examine.lua`` has them. Is to be repeated with
    those that were not looked at.
    """
    args: list[Argument] = [now, int(mend)]
    for thing in things:
        args += thing
    return Call("examine", args, Examined.read)
