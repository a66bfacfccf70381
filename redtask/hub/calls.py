"""One function per script: what to send and how to read the reply, side by side.

A ``Call`` is a value, independent of how it is sent, so the blocking and the asyncio
API share it, and tests can inspect it without a server. Every call may safely be
repeated after its reply was lost. ``now`` is for tests: ms, on a hub made for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeAlias, TypeVar

from redtask.error import PayloadTooLarge
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
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from redtask.rope import Written

T = TypeVar("T")
#: Large byte strings may be a ``rope.Rope``.
Argument: TypeAlias = str | bytes | int
Now: TypeAlias = int | str


#: Arguments over this size, in bytes, are sent ahead of their call by a plain SET.
LARGE: Final = 16384
#: No hub accepts larger ones, in bytes: by default, Redis closes the connection.
_MOST: Final = 512 << 20
#: Last argument of a call that is repeated.
_AGAIN: Final = "@again"


class Parcel(NamedTuple):
    """A large argument, which may be sent ahead of its call.

    Script arguments are copied there and back, and since Redis 7 each byte of them is
    hashed: that takes ten times as long as a SET, and blocks Redis meanwhile.
    """

    #: Its index in ARGV.
    at: int
    #: The task it belongs to.
    task_id: str
    #: For a result, the token of its attempt; "" for a task's arguments.
    token: str = ""


@dataclass(slots=True)
class Call(Generic[T]):
    """One call of one script. Nobody changes it: not frozen, as that is made slower."""

    #: The command: name of the Lua file.
    script: str
    #: ARGV.
    args: Sequence[Argument]
    #: Turns the reply into a value.
    read: Callable[[Reply], T] = field(repr=False)
    #: Arguments that may be sent ahead.
    parcels: Sequence[Parcel] = ()
    #: Must a repetition be marked? What the first call made may be gone meanwhile.
    tells: bool = False
    #: Makes it anew for another try, if it says how long ago something was.
    remake: Callable[[], Call[T]] | None = field(default=None, repr=False)

    def again(self) -> Call[T]:
        """Return the call to send after its reply was lost."""
        return replace(self, args=[*self.args, _AGAIN]) if self.tells else self

    def anew(self) -> Call[T]:
        """Return the call to send in another try."""
        return self if self.remake is None else self.remake()


def remade(make: Callable[[], Call[T]]) -> Call[T]:
    """Return a call that is made anew for each try."""
    call = make()
    call.remake = make
    return call


#: Id and arguments of one task.
_ONE: Final = 2
#: In place of a digest: a task like the group before it, but for its ``after``.
_LIKE: Final = "^"
#: In these it may differ.
_DIFFERING: Final = frozenset({"after", "refs"})


class Group(NamedTuple):
    """Tasks of one slice that share function and flags."""

    #: Digest of the function.
    digest: str
    #: The pickled function; empty if the hub is believed to have it.
    blob: bytes
    #: Its name, for display.
    name: str
    #: Flags that become fields of the record, in the script's terms.
    flags: Mapping[str, Argument]
    #: Id and signed arguments of each task, flat.
    tasks: Sequence[str | Written]

    def is_like(self, other: Group) -> bool:
        """Is it one task that differs from the other's only in its ``after``?

        Or also in its ``refs``, if both need the results of all that they come after.
        """
        flags, others = self.flags, other.flags
        if len(self.tasks) != _ONE or self.digest != other.digest:
            return False
        if "after" not in flags or flags.keys() != others.keys():
            return False
        if "refs" in flags and not (_needs_all(flags) and _needs_all(others)):
            return False
        return all(
            name in _DIFFERING or value == others[name] for name, value in flags.items()
        )


def _needs_all(flags: Mapping[str, Argument]) -> bool:
    """Does a task need the results of all that it comes after, in this order?"""
    return flags["refs"] == str(flags["after"]).partition(" ")[2]


def submit(
    groups: Iterable[Group], known: Collection[str] = (), *, now: Now = ""
) -> Call[Submitted]:
    """Submit a slice of at most 500 tasks, all or none.

    A function is sent once, and not at all if its digest is ``known``. Raises
    ``PayloadTooLarge`` for arguments that cannot be sent.
    """
    args: list[Argument] = [now]
    told: set[str] = set()
    parcels: list[Parcel] = []
    before: Group | None = None
    for group in groups:
        digest, blob, name, flags, tasks = group
        if before is not None and group.is_like(before):
            args += (_LIKE, flags["after"])
        else:
            before = group
            if digest in known or digest in told:
                blob = b""
            told.add(digest)
            args += (digest, blob, name, len(flags))
            for flag in flags.items():
                args += flag
            args.append(len(tasks) // 2)
        if tasks and (largest := max(map(len, tasks))) > LARGE:
            if largest > _MOST:
                raise _too_large(tasks)
            first = len(args)
            parcels += (
                Parcel(first + at, str(tasks[at - 1]))
                for at in range(1, len(tasks), 2)
                if len(tasks[at]) > LARGE
            )
        args += tasks
    return Call("submit", args, Submitted.read, parcels, tells=True)


def _too_large(tasks: Sequence[str | Written]) -> PayloadTooLarge:
    task_id, size = next(
        (tasks[at - 1], len(tasks[at]))
        for at in range(1, len(tasks), 2)
        if len(tasks[at]) > _MOST
    )
    return PayloadTooLarge(
        f"the payload of {task_id} has {size} bytes; no hub accepts more than {_MOST}"
    )


class Report(NamedTuple):
    """How a task ended on its engine."""

    #: ``ok``; ``error``, ``late`` (exceeded its time limit), ``final`` (not to be
    #: retried); ``unbegun`` (returned, no attempt used), ``unmet`` (this engine lacks
    #: what it needs), ``aborted`` (interrupted).
    kind: str
    #: The task.
    task_id: str
    #: The token under which the engine took it.
    token: str
    #: How long ago it started, in us.
    ago: int
    #: How long it ran, in us.
    took: int
    #: Fields for its record: first ``result`` or ``error`` with the envelope, then any
    #: of repr, ename, evalue, stdout, stderr, progress. For ``unmet``: ``words``, and
    #: ``by``, ``require`` if that holds for the function. For ``aborted``: any of
    #: stdout, stderr, progress. Otherwise empty.
    fields: Sequence[Argument]
    #: Is its record on the sheet, as the engine was told?
    folded: bool = False


#: Outcomes that bring neither result nor error.
_BARE: Final = frozenset({"unmet", "aborted"})
#: Number of field names and values in the usual outcome: result, repr.
_USUAL: Final = 4
#: Results over this size, in bytes, count towards the weight of a block; and no short
#: text of one is longer.
_COMPACT: Final = 64


class _Blocks:
    """Outcomes reported together, as ``lua/lib/folded.lua`` reads them."""

    def __init__(self) -> None:
        #: By client and token: id and value of each, flat.
        self._blocks: dict[tuple[str, str], list[Argument]] = {}
        #: What counts of the results in each, in bytes.
        self._weights: dict[tuple[str, str], int] = {}
        self._prefix = self._token = ""
        self._pairs: list[Argument] = []

    def _turn_to(self, task_id: str, token: str) -> None:
        """Select the block; consecutive outcomes mostly share one."""
        client = task_id.partition("-")[0]
        self._prefix, self._token = f"{client}-", token
        self._pairs = self._blocks.setdefault((client, token), [])

    def add(self, report: Report) -> bool:
        """Add an outcome, if it is eligible; return whether it was."""
        kind, task_id, token, ago, took, fields, _ = report
        if kind != "ok" or len(fields) != _USUAL or fields[2] != "repr":
            return False
        _, result, _, text = fields
        if type(result) is not bytes or type(text) is not str:
            return False
        if not 0 < len(result) <= sheet.MOST or not text or "\0" in text:
            return False
        shown = text.encode()
        if len(shown) > _COMPACT:
            return False
        if token != self._token or not task_id.startswith(self._prefix):
            self._turn_to(task_id, token)
        self._pairs += (task_id, b"%d %d\0%b\0%b" % (ago, took, shown, result))
        if len(result) > _COMPACT:
            key = self._prefix[:-1], token
            self._weights[key] = self._weights.get(key, 0) + len(result)
        return True

    def say(self, args: list[Argument]) -> None:
        """Append the blocks to the arguments."""
        for key, pairs in self._blocks.items():
            args += (f"folded:{len(pairs) // 2}", key[1], self._weights.get(key, 0))
            args += pairs


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

    Without a ``number`` it only reports. ``upcoming`` is the nonce of the next turn: it
    permits the hub to hand over a task in that turn with a ring of the engine's bell.
    """
    nonces = f"{nonce} {upcoming}" if upcoming else nonce
    args: list[Argument] = [now, engine, "" if number is None else number, nonces, want]
    parcels: list[Parcel] = []
    blocks = _Blocks()
    others = [one for one in reports if not (one.folded and blocks.add(one))]
    blocks.say(args)
    for kind, task_id, token, ago, took, fields, _ in others:
        # The first field is sent as body: its name follows from the kind.
        bare = not fields or kind in _BARE
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
    """Register an engine. ``about`` describes its worker process."""
    args: list[Argument] = [now, engine, worker, ",".join(queues)]
    for pair in (about or {}).items():
        args += pair
    return Call("register", args, Registered.read)


@dataclass(frozen=True, slots=True)
class Life:
    """What a supervisor reports of one of its engines."""

    #: The engine's uuid.
    engine: str
    #: Number of the latest turn whose reply it received.
    number: int
    #: Ids it believes to hold; for a dead one, ids it had started.
    ids: Sequence[str]
    #: Why it is gone; None if it is alive.
    gone: str | None = None
    #: Was it killed because its task exceeded the time limit?
    late: bool = False
    #: Was it killed because its worker stops?
    stopped: bool = False
    #: For a dead one, the last output of its running task: id and token, then names
    #: and values of ``stdout``, ``stderr`` and ``progress``.
    last: Sequence[Argument] = ()


def beat(worker: str, lives: Iterable[Life], *, now: Now = "") -> Call[list[Beaten]]:
    """Renew leases, and report engines that are gone."""
    args: list[Argument] = [now, worker]
    for life in lives:
        if life.gone is None:
            args += ("live", life.engine, life.number, len(life.ids))
        else:
            if life.last:
                task, token, *said = life.last
                args += ("said", life.engine, token, len(said) + 1, task, *said)
            verb = "late" if life.late else "stopped" if life.stopped else "gone"
            args += (verb, life.engine, life.gone, len(life.ids))
        args += life.ids
    return Call("beat", args, Beaten.read_all)


def sweep(budget: int = 100, *, now: Now = "") -> Call[Swept]:
    """Fire timers and expire what is due, at most ``budget`` items."""
    return Call("sweep", (now, budget), Swept.read)


def watch(
    client: str, ids: Sequence[str], budget: int = 4 << 20, *, now: Now = ""
) -> Call[Watched]:
    """Ask for the outcomes of at most 500 ids, up to ``budget`` bytes.

    Others will be reported in the client's stream. Without a client it only reads.
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
    """Run at most 500 ended tasks again, given old and new id of each; all or none.

    ``anew`` has, by old id, fields that differ: args, until, after, follow, refs; gate,
    and later if the members are sent with ``link``.
    """
    args: list[Argument] = [now]
    for old, new in pairs:
        fields = (anew or {}).get(old, {})
        args += (old, new, len(fields))
        for pair in fields.items():
            args += pair
    return Call("resubmit", args, lambda _: [new for _, new in pairs], tells=True)


def purge(ids: Sequence[str], *, now: Now = "") -> Call[Purged]:
    """Delete at most 500 ended tasks before their time, all or none."""
    return Call("purge", (now, *ids), Purged.read)


def why(task_id: str, engines: int | None = None, *, now: Now = "") -> Call[Why]:
    """Ask why a task is in its state; ``engines``: how many live, if that is known."""
    return Call("why", (now, task_id), lambda reply: Why.read(task_id, reply, engines))


def _words(reply: Reply) -> list[str]:
    return [text(word) for word in reply[1:]]


def abort(
    ids: Sequence[str], *, running: bool = False, now: Now = ""
) -> Call[list[str]]:
    """Abort tasks that no engine has started.

    Returns one word each: aborted, running, ended, unknown. With ``running`` a running
    task is marked, so that it ends aborted unless it completes first, and its word is
    ``running WORKER ENGINE TOKEN``.
    """
    return Call("abort", (now, int(running), *ids), _words)


def tell(worker: str, message: bytes, *, now: Now = "") -> Call[bool]:
    """Leave a signed message for a supervisor; return whether it exists."""
    return Call("tell", (now, worker, message), _ok)


def answer(nonce: str, message: bytes, *, now: Now = "") -> Call[bool]:
    """Answer an order."""
    return Call("answer", (now, nonce, message), _ok)


def drain(
    engines: Sequence[str], *, worker: str = "", resume: bool = False, now: Now = ""
) -> Call[list[str]]:
    """Drain at most 500 engines, or (``resume``) let them take tasks again.

    Returns one word each: drained, resumed, unknown, or more (repeat the call). With a
    ``worker`` this applies to engines that it starts later, too.
    """
    verb = "resume" if resume else "drain"
    return Call("drain", (now, verb, worker, *engines), _words)


def pause(
    queues: Sequence[str], *, resume: bool = False, now: Now = ""
) -> Call[list[str]]:
    """Pause queues, or (``resume``) resume them; return the new state of each."""
    verb = "resume" if resume else "pause"
    return Call("pause", (now, verb, *queues), _words)


def attend(ids: Sequence[str], *, now: Now = "") -> Call[list[Attended]]:
    """Have the streams of at most 500 tasks report their start and end."""
    return Call("attend", (now, *ids), Attended.read_all)


#: Live output of a task: id and token, then names and values of ``progress`` (a
#: fraction and a text), ``stdout`` and ``stderr`` (a position and the text there).
Said: TypeAlias = "tuple[str, str, Sequence[Argument]]"


def say(said: Iterable[Said], *, now: Now = "") -> Call[list[bool]]:
    """Pass on live output of at most 500 tasks; return which attempts are running."""
    args: list[Argument] = [now]
    for task, token, fields in said:
        args += (task, token, len(fields) // 2, *fields)
    return Call("say", args, lambda reply: [word == b"heard" for word in reply[1:]])


def _count(reply: Reply) -> int:
    return int(reply[1])


def link(task: str, name: str, ids: Sequence[str], *, now: Now = "") -> Call[int]:
    """Add at most 2,000 members to a dependency set of a task behind a gate.

    ``name`` is ``after`` or ``follow``; or ``refs:N`` for tasks whose results are among
    its arguments, after N of these were told. Returns how many were processed; 0 if the
    gate is open or the task has ended.
    """
    return Call("link", (now, task, name, *ids), _count)


def open_gate(gate: str, *, now: Now = "") -> Call[bool]:
    """Open a gate; return whether this call did so."""
    return Call("open", (now, gate), _ok)


@dataclass(frozen=True, slots=True)
class Configured:
    """Reply of ``configure``."""

    #: Did this call create the hub?
    created: bool
    #: Fingerprint of the key that signs the hub's tasks; "" if they are unsigned.
    fingerprint: str
    #: How many engines further calls still have to rank again.
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
    """Change settings; with ``create``, create the hub first if there is none.

    Settings are numbers by name, ``scheme``, and for a user's own ``scheme_text`` and
    ``scheme_signature``. Repeat without settings while engines are left. ``upgrade``
    converts a hub of an earlier release, which then refuses that release's workers.
    """
    args: list[Argument] = [now, "upgrade" if upgrade else int(create), fingerprint]
    for pair in (settings or {}).items():
        args += pair
    return Call("configure", args, Configured.read)


def status(most: int = 1000, *, now: Now = "") -> Call[Status]:
    """Read a consistent snapshot of the hub, with at most ``most`` engines."""
    return Call("status", (now, most), Status.read)


def overview(
    buckets: int = 0, width: int = 10000, *, brief: bool = False, now: Now = ""
) -> Call[Overview]:
    """Read an overview, with counts of ended tasks in ``buckets`` of ``width`` ms.

    It takes Redis about half a millisecond whatever the size of the hub. A ``brief``
    one has no states, queues, oldest and failures, and is much cheaper.
    """
    return Call("overview", (now, buckets, width, int(brief)), Overview.read)


def engines(
    first: int = 0, count: int = 50, text: str = "", *, now: Now = ""
) -> Call[EnginePage]:
    """Read up to 200 engines that match ``text``, by label from ``first`` on."""
    return Call("engines", (now, first, count, text), EnginePage.read)


def tasks(
    state: str, start: str = "", count: int = 50, text: str = "", *, now: Now = ""
) -> Call[TaskPage]:
    """Read up to 200 tasks of one state that show ``text``.

    ``start`` is "", or ``more`` of the previous page.
    """
    return Call("tasks", (now, state, start, count, text), TaskPage.read)


def events(
    before: str = "", count: int = 50, *, now: Now = ""
) -> Call[tuple[Event, ...]]:
    """Read up to 200 entries of the event log, latest first, or those before one."""
    return Call("events", (now, before, count), read_events)


def examine(
    things: Iterable[tuple[str, str]], *, mend: bool = False, now: Now = ""
) -> Call[Examined]:
    """Check the consistency of at most 500 things.

    Each is a kind and a name, as defined in ``lua/examine.lua``. Repeat with those that
    were not examined.
    """
    args: list[Argument] = [now, int(mend)]
    for thing in things:
        args += thing
    return Call("examine", args, Examined.read)
