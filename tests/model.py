"""What a hub does, in plain sets and dicts: for the state machine to compare with.

The model says what becomes of every task: when it may run and where, and how it ends.
What the rules leave open it takes from the hub, if it is allowed: how far a bounded
script got, and in which order one script placed tasks that became ready in it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

LEASE = 15000
TTL = 86_400_000
MAX_DEATHS = 3
ENDED = ("completed", "failed", "aborted")
GATE = 600_000
GATE_KEPT = 3_600_000
#: A record that is needed is looked at again after so many ms.
LATER = 3_600_000
#: A function that nobody needs stays so long.
IDLE = 3_600_000
#: Kept until there is no room.
FOREVER = 2**52
DAY = 86_400_000
#: More placements of one script than these are not tried in every order.
MOST_ORDERS = 5


def numbers(text: str) -> frozenset[int]:
    """Return the numbers in a text like "0-2,5"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


@dataclass(frozen=True)
class Places:
    """The engines, by their labels, that may run a task."""

    labels: frozenset[int]
    #: Only those; else all but those.
    only: bool

    def admits(self, label: int) -> bool:
        """Is it one of them?"""
        return (label in self.labels) == self.only

    @classmethod
    def read(cls, text: str) -> Places:
        """Read the name of a class."""
        return cls(numbers(text[1:]), text[:1] == "=")


@dataclass
class Members:
    """A set of tasks that one depends on: IPython.parallel's Dependency."""

    #: a or n: all or any; then s and f: whether success and failure count.
    letters: str
    names: list[str] = field(default_factory=list)
    #: How each ended, and where it last ran, as far as the dependent was told.
    heard: dict[str, tuple[str, int | None]] = field(default_factory=dict)

    @property
    def pending(self) -> list[str]:
        """Those not heard of."""
        return [name for name in self.names if name not in self.heard]

    def counts(self, state: str) -> bool:
        """Is a member that ended so one of those that are meant?"""
        return ("s" if state == "completed" else "f") in self.letters[1:]

    def counted(self) -> list[str]:
        """Return the members that ended as is meant."""
        return [name for name in self.names if self._counts(name) is True]

    def fatal(self) -> list[str]:
        """Return the members that ended otherwise."""
        return [name for name in self.names if self._counts(name) is False]

    def _counts(self, name: str) -> bool | None:
        told = self.heard.get(name)
        return None if told is None else self.counts(told[0])

    def verdict(self, *, whole: bool) -> str:
        """Return met, never or open. Not ``whole``: members may be added."""
        count = len(self.names)
        if self.letters[0] == "a":
            if self.fatal():
                return "never"
            return "met" if whole and len(self.counted()) == count else "open"
        if self.counted():
            return "met"
        return "never" if whole and len(self.fatal()) == count else "open"

    def labels(self) -> frozenset[int]:
        """Return where members that count ran."""
        places = [self.heard[name][1] for name in self.counted()]
        return frozenset(label for label in places if label is not None)

    def cell(self) -> str:
        """Return what became of the members: S, F, P for each."""
        letters = []
        for name in self.names:
            state = self.heard.get(name, ("",))[0]
            letters.append({"": "P", "completed": "S"}.get(state, "F"))
        return "".join(sorted(letters, key="SFP".index))


@dataclass
class Task:
    """One task, or (without a function) a gate."""

    name: str
    #: Sorts by priority, then submission: its score in every index.
    rank: int
    #: Which of all submitted ones it is.
    submitted: int = 0
    fn: str = ""
    queue: str = "default"
    args: bytes = b""
    retries: int = 0
    ttl: int = TTL
    after: Members | None = None
    follow: Members | None = None
    targets: frozenset[int] | None = None
    timeout: int | None = None
    pause: tuple[int, float] | None = None
    elsewhere: bool = False
    gate: str | None = None
    refs: list[str] = field(default_factory=list)
    state: str = "waiting"
    verdict: str = ""
    tries: int = 0
    deaths: int = 0
    #: Where it is, or was last.
    engine: str = ""
    #: The engine that it last ran on, and its label.
    ran_on: tuple[str, int] | None = None
    token: str = ""
    #: Labels of the engines that are not to have it.
    refused: set[int] = field(default_factory=set)
    #: Is it to be interrupted?
    unwanted: bool = False
    start: int | None = None
    left: int | None = None
    #: By letter: when its timer is due.
    timers: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    expiry: float = 0
    watchers: set[str] = field(default_factory=set)
    #: What was said of it, to be said of a copy; and whose copy it is.
    group: dict[str, Any] = field(default_factory=dict)
    copy_of: str = ""
    #: How often an engine refused it.
    refusals: int = 0
    #: The line it was last seen in.
    stands: str = ""

    @property
    def ran(self) -> int | None:
        """Label of the engine that it last ran on."""
        return self.ran_on[1] if self.ran_on else None

    def sets(self) -> list[tuple[str, Members]]:
        """Return what it depends on, by letter."""
        both = (("a", self.after), ("f", self.follow))
        return [(letter, members) for letter, members in both if members]

    def place(self) -> frozenset[int]:
        """Return where the members it is to follow have run."""
        return self.follow.labels() if self.follow else frozenset()

    def is_open(self, letter: str) -> bool:
        """Is it still told of members of that set?"""
        members = self.after if letter == "a" else self.follow
        if members is None or self.state in ENDED:
            return False
        if letter == "f" or members.letters[0] == "a":
            return bool(members.pending or self.gate)
        return not members.counted() and bool(members.pending or self.gate)


@dataclass
class Engine:
    """One engine."""

    name: str
    label: int
    queues: list[str]
    lease: int
    number: int = 0
    nonce: str = ""
    #: The nonce of its next turn, in which a task may be handed to it.
    next: str = ""
    used: int = 0
    #: It is being taken apart.
    leaving: bool = False
    #: It said that it wants nothing, so its bell may be silent.
    away: bool = False
    assigned: list[Task] = field(default_factory=list)
    held: list[Task] = field(default_factory=list)

    @property
    def load(self) -> int:
        """Tasks it has."""
        return len(self.assigned) + len(self.held)


@dataclass(frozen=True)
class Outcome:
    """What an engine reports of a task."""

    #: ok error late final unbegun unmet aborted
    kind: str
    name: str
    token: str
    #: Of an unmet one: the function can never run there.
    by: bool = False


class Model:
    """A hub."""

    def __init__(self, cell: Callable[[str, str, str], None]) -> None:
        #: Hears of each cell of the truth table that was looked up.
        self.cell = cell
        self.hwm = 0
        self.tasks: dict[str, Task] = {}
        self.engines: dict[str, Engine] = {}
        self.submitted = 0
        self.used = 0
        self.labels = 0
        self.ended: Counter[str] = Counter()
        self.told: dict[str, list[str]] = {}
        #: Per function: records that need it, when it goes, who can never run it.
        self.needed: Counter[str] = Counter()
        self.idle: dict[str, int] = {}
        self.incapable: dict[str, set[int]] = {}
        #: How purged tasks ended.
        self.tombs: dict[str, str] = {}
        self.last = self.skew = self.grace = 0
        self.counts: Counter[str] = Counter()
        self._start(0, None)

    def _start(self, stamp: int, seen: Any) -> None:
        """Begin a call that left the hub as was seen."""
        self.stamp = stamp
        self.seen = seen
        #: Tasks that were put back in this call, by engines that are not to have them.
        self.back: dict[str, str] = {}
        #: Tasks ready before this call, or at the latest moment that matters.
        self.before = {one.name for one in self.tasks.values() if one.state == "ready"}
        #: Tasks of whose members something was heard.
        self.news: set[str] = set()
        #: Tasks that were submitted in this call.
        self.new: set[str] = set()
        #: Engines that must get nothing in this call.
        self.barred: set[str] = set()
        #: Does it do several things, one after the other?
        self.several = False
        #: Did an engine get room before the last placement? Then loads are not known.
        self.unclear = False
        #: Is this the end of the call?
        self.late = False

    # Views

    def now(self) -> int:
        """Return logical time."""
        return max(self.last, self.stamp + self.skew)

    def line(self, *queues: str) -> list[Task]:
        """Return who is ready in these queues, best first."""
        waiting = [
            task
            for task in self.tasks.values()
            if task.state == "ready" and task.queue in queues
        ]
        return sorted(waiting, key=lambda task: task.rank)

    def places(self, task: Task) -> Places:
        """Return the engines that may run a task."""
        no = task.refused | self.incapable.get(task.fn, set())
        place = task.place()
        if task.targets is not None or place:
            only = task.targets if task.targets is not None else place
            only = only & place if place else only
            return Places(frozenset(only - no), only=True)
        return Places(frozenset(no), only=False)

    def serving(self, queue: str, places: Places) -> list[Engine]:
        """Return the living engines of a queue that are among those."""
        return [
            one
            for one in self.engines.values()
            if queue in one.queues and places.admits(one.label) and not one.leaving
        ]

    def standing(self, task: Task) -> str:
        """Return where a task may go: somewhere, never, or wait for a member."""
        places = self.places(task)
        if not places.only or self.serving(task.queue, places):
            return "somewhere"
        grows = task.follow and task.follow.letters[0] == "n" and task.is_open("f")
        if grows:
            targets = task.targets
            wide = Places(
                frozenset((targets or set()) - task.refused), targets is not None
            )
            if targets is not None:
                no = task.refused | self.incapable.get(task.fn, set())
                wide = Places(frozenset(targets - no), only=True)
            if not wide.only or self.serving(task.queue, wide):
                return "wait"
        return "never"

    def judge(self, task: Task) -> str:
        """Return what is to become of a waiting task: ready, wait or never."""
        whole = task.gate is None
        verdicts = []
        for letter, members in task.sets():
            verdict = members.verdict(whole=whole)
            if letter == "f" and verdict != "never":
                verdict = self._follow(members, verdict, whole=whole)
            if len(members.names) == 2 and whole:
                self.cell(letter, members.letters, members.cell())
            verdicts.append(verdict)
        if "never" in verdicts:
            return "never"
        where = "somewhere"
        if verdicts[-1:] != ["open"] or task.targets is not None or task.place():
            where = self.standing(task)
        if where == "never":
            return "never"
        waits = where == "wait" or task.gate or task.start is not None
        return "wait" if waits or "open" in verdicts else "ready"

    @staticmethod
    def _follow(members: Members, verdict: str, *, whole: bool) -> str:
        """Return the verdict with where the members ran."""
        labels = members.labels()
        if members.letters[0] == "a":
            if len(labels) > 1:
                return "never"
            return "never" if verdict == "met" and not labels else verdict
        if labels:
            return "met"
        return "never" if whole and not members.pending else "open"

    # Moves

    def _end(self, task: Task, state: str, verdict: str = "") -> None:
        assert task.state not in ENDED, f"{task.name} ends twice"
        if task.state == "assigned":
            self.engines[task.engine].assigned.remove(task)
            self.unclear = True
        if task.state != "running":
            # Not where it was to run next, nor who gave it back.
            task.engine = task.ran_on[0] if task.ran_on else ""
            task.token = task.token if task.ran_on else ""
        task.state, task.verdict = state, verdict
        task.timers.clear()
        task.start = None
        task.expiry = self.stamp + (task.ttl or FOREVER)
        self.ended[state] += 1
        for client in {task.name.partition("-")[0], *task.watchers}:
            if client in self.told:
                self.told[client].append(task.name)
        task.watchers = set()

    def _resume_budget(self, task: Task) -> None:
        if task.timeout is not None:
            task.timers["t"] = self.now() + (task.left or task.timeout)

    def _run(self, task: Task, engine: Engine, nonce: str) -> None:
        task.state, task.engine = "running", engine.name
        task.token = f"{task.tries + 1}:{nonce}"
        if "t" in task.timers:
            task.left = max(1, task.timers.pop("t") - self.now())
        engine.held.append(task)
        engine.held.sort(key=lambda one: one.rank)

    def _put_back(self, task: Task, engine: Engine, pause: int = 0) -> None:
        """Let a task that an engine had look for another."""
        if pause > 0:
            task.state, task.start = "waiting", self.stamp + pause
            task.timers["w"] = self.now() + pause
            return
        if task.state == "running":
            self._resume_budget(task)
        task.state = "ready"
        self.back[task.name] = engine.name
        self._look_again(task)

    def _look_again(self, task: Task) -> None:
        """Find out what a ready task may hope for."""
        where = self.standing(task)
        if where == "never":
            self._end(task, "failed", "impossible")
        elif where == "wait":
            task.state = "waiting"

    def _apply(self, outcome: Outcome, engine: Engine, verdict: str = "") -> int | None:
        """Let an outcome count; return after which pause it runs again, if it does."""
        task = self.tasks[outcome.name]
        engine.held.remove(task)
        if task.unwanted or outcome.kind not in ("unbegun", "unmet"):
            task.ran_on = (engine.name, engine.label)
        if outcome.kind == "ok":
            self._end(task, "completed")
        elif task.unwanted or outcome.kind == "aborted":
            self._end(task, "aborted", "aborted")
        elif outcome.kind == "unbegun":
            return 0
        elif outcome.kind == "unmet":
            self._refuse(task, engine, by=outcome.by)
            return 0
        else:
            return self._fail(task, engine, verdict, final=outcome.kind == "final")
        return None

    def _refuse(self, task: Task, engine: Engine, *, by: bool) -> None:
        task.refusals += 1
        if by:
            living = {one.label for one in self.engines.values() if not one.leaving}
            known = self.incapable.get(task.fn, set()) & living
            self.incapable[task.fn] = known | {engine.label}
        else:
            task.refused.add(engine.label)

    def _fail(
        self, task: Task, engine: Engine, verdict: str, *, final: bool
    ) -> int | None:
        task.tries += 1
        task.deaths += bool(verdict)
        again = task.tries <= task.retries and task.deaths < MAX_DEATHS
        if final or not again:
            self._end(task, "failed", verdict)
            return None
        if task.elsewhere:
            task.refused.add(engine.label)
        if task.pause is None:
            return 0
        delay, factor = task.pause
        return int(min(DAY, delay * factor ** (task.tries - 1)))

    # What follows from what ended

    def _resolve(self) -> None:
        """Let every task hear of what ended, as far as the hub got with that."""
        changed = True
        while changed:
            changed = False
            for task in list(self.tasks.values()):
                if task.state not in ENDED and self._hear(task):
                    changed = True

    def _hear(self, task: Task) -> bool:
        heard = self._hear_gate(task)
        for letter, members in task.sets():
            for name in members.pending if task.is_open(letter) else ():
                if self._was_told(name, letter + task.name) and task.is_open(letter):
                    member = self.tasks[name]
                    members.heard[name] = (member.state, member.ran)
                    heard = True
        if heard and task.state not in ENDED:
            self.news.add(task.name)
        return self._follow_up(task) or heard

    def _was_told(self, name: str, entry: str) -> bool:
        member = self.tasks.get(name)
        ended = member is not None and member.state in ENDED
        return ended and entry not in self.seen.edges.get(name, {})

    def _hear_gate(self, task: Task) -> bool:
        if not task.gate or not self._was_told(task.gate, "g" + task.name):
            return False
        if self.tasks[task.gate].state == "completed":
            task.gate = None
            return True
        # Told of the gate and of a member: which was first is the hub's choice.
        if self.seen.tasks[task.name].get("verdict") == "aborted":
            self._end(task, "aborted", "aborted")
            return True
        return False

    def _follow_up(self, task: Task) -> bool:
        """Let a waiting or ready task be what it is to be now; did it change?"""
        state = task.state
        if state == "waiting":
            what = self.judge(task)
            # Where it could go may have gone since: that is found at the next news.
            if what != "wait" and task.name in self.news:
                self._decide(task, what)
        elif state == "ready" and self.standing(task) != "somewhere":
            # Found by news, or by who looks for work: after it has taken its own.
            found = self.seen.tasks[task.name]["state"]
            if task.name in self.news or (self.late and found != state):
                self._look_again(task)
        return task.state != state

    def _decide(self, task: Task, what: str) -> None:
        if what == "never":
            self._end(task, "failed", "impossible")
        elif what == "ready":
            task.state = "ready"

    # Placement

    def _adopt(self) -> None:
        """Place what the hub has placed, if it may."""
        placed = []
        for task in self.tasks.values():
            found = self.seen.tasks.get(task.name)
            if task.state != "ready" or not found:
                continue
            if found["state"] in ("assigned", "running"):
                name = found["engine"].partition("/")[2]
                placed.append((task, name, found["state"] == "running"))
        if placed:
            placed.sort(key=lambda one: one[0].rank)
            self._check_order(placed)
            self._place(placed)
        self._check_offers({task.name for task, _, _ in placed})

    def _may_get(self, engine: Engine, task: Task) -> bool:
        return (
            engine.number > 0
            and not engine.leaving
            and engine.name not in self.barred
            and task.queue in engine.queues
            and self.places(task).admits(engine.label)
            and self.back.get(task.name) != engine.name
        )

    def _place(self, placed: list[tuple[Task, str, bool]]) -> None:
        for task, name, _ in placed:
            engine = self.engines.get(name)
            assert engine, f"{task.name} was placed on {name}, which is gone"
            assert self._may_get(engine, task), f"{task.name} must not go to {name}"
        orders: Iterable[Any] = [placed]
        if len(placed) <= MOST_ORDERS:
            orders = permutations(placed)
        else:
            self.counts["orders not tried"] += 1
        best = None
        for order in orders:
            used = self._rehearse(order)
            if used is not None:
                best = order, used
                break
        if best is None:
            loose = len(placed) > MOST_ORDERS or self.unclear
            assert loose, f"no scheme places so: {placed}"
            self.counts["loads not known"] += 1
            best = placed, None
        self._perform(*best)

    def _room(self) -> int:
        return self.hwm or 1

    def _rehearse(self, order: Iterable[tuple[Task, str, bool]]):
        """Return who was used when, if the scheme chooses so in this order."""
        load = {one.name: one.load for one in self.engines.values()}
        used = {one.name: one.used for one in self.engines.values()}
        named = {one.name for one in self.engines.values() if one.next}
        count = self.used
        for task, name, begun in order:
            free = [
                (load[one.name], used[one.name], one.name)
                for one in self.engines.values()
                if load[one.name] < self._room() and self._may_get(one, task)
            ]
            if not free or min(free)[2] != name:
                return None
            if begun != (self.hwm == 0 and name in named):
                return None
            load[name] += 1
            named.discard(name)
            if begun or self.hwm:
                count += 1
                used[name] = count
        found = {name: int(one["used"]) for name, one in self.seen.engines.items()}
        return used if all(used[name] == found[name] for name in found) else None

    def _perform(
        self, order: Iterable[tuple[Task, str, bool]], used: dict[str, int] | None
    ) -> None:
        for task, name, begun in order:
            engine = self.engines[name]
            if begun:
                engine.number += 1
                self._run(task, engine, engine.next)
                engine.nonce, engine.next = engine.next, ""
            else:
                task.state, task.engine = "assigned", name
                engine.assigned.append(task)
                engine.assigned.sort(key=lambda one: one.rank)
            if begun or self.hwm:
                self.used += 1
            assert engine.load <= self._room(), f"{name} got too much"
            seen = int(self.seen.engines[name]["used"])
            engine.used = used[name] if used else seen

    def _check_order(self, placed: list[tuple[Task, str, bool]]) -> None:
        """Nobody is overtaken by a task that is no better."""
        chosen = {task.name for task, _, _ in placed}
        for task, name, _ in placed:
            engine = self.engines.get(name)
            if engine is None:
                continue
            for other in self.line(task.queue):
                if other.rank >= task.rank:
                    break
                if other.name in chosen or not self._may_get(engine, other):
                    continue
                # Of those submitted in one call each is placed before the next comes.
                if other.submitted > task.submitted and other.name in self.new:
                    continue
                self.overtaken(other, task, engine)

    def overtaken(self, other: Task, task: Task, engine: Engine) -> None:
        """Judge that a task was placed before a better one."""
        where = "stood" if other.name in self.before else "came"
        where = "came one after the other" if self.several else where
        self.counts[f"overtaken: {where} {'away' if engine.away else ''}"] += 1
        if where == "came":
            raise AssertionError(
                f"{other.name} came, was overtaken by {task.name} on {engine.name}"
            )

    def _check_offers(self, placed: Collection[str]) -> None:
        """Whoever became ready is placed if anybody has room."""
        if placed:
            return
        for task in self.tasks.values():
            if task.state != "ready" or task.name in self.before:
                continue
            for engine in self.engines.values():
                room = engine.load < self._room() and self._may_get(engine, task)
                # Rung for what it lost in this very call, it comes by itself.
                room = room and not self.seen.rings(engine.name)
                assert not room, f"{task.name} is ready, and {engine.name} has room"

    def _finish(self) -> None:
        """End a call: what follows, and what the hub placed."""
        self.late = True
        self._resolve()
        self._adopt()

    # Calls of clients

    def submit(
        self, stamp: int, groups: list[dict[str, Any]]
    ) -> Callable[[Any], tuple[int, int]] | None:
        """Enter groups of tasks; None: a conflict.

        Returns what is to be called with the hub afterwards, and returns how many are
        new and known.
        """
        for group in groups:
            for name in group["names"]:
                known = self.tasks.get(name)
                if known and (known.args, known.fn) != (group["args"], group["fn"]):
                    return None
        return lambda seen: self._submit(stamp, seen, groups)

    def _submit(
        self, stamp: int, seen: Any, groups: list[dict[str, Any]]
    ) -> tuple[int, int]:
        self._start(stamp, seen)
        known = set(self.tasks)
        total = 0
        gates = []
        # What is only sent again needs no gate any more.
        enters = any(name not in known for one in groups for name in one["names"])
        for group in groups:
            gate = group.get("gate")
            if enters and gate and gate not in self.tasks and gate not in gates:
                gates.append(gate)
        base = self.submitted
        for number, gate in enumerate(gates):
            task = Task(gate, base + len(gates) - number, ttl=GATE_KEPT, gate=gate)
            task.timers["g"] = self.now() + GATE
            self.tasks[gate] = task
            self.submitted += 1
        new = 0
        for group in groups:
            for name in group["names"]:
                total += 1
                if name not in known:
                    new += 1
                    self.submitted += 1
                    self._enter(name, group)
        self._finish()
        return new, total - new

    def _enter(self, name: str, group: dict[str, Any]) -> None:
        rank = self.submitted - group.get("priority", 0) * 2**42
        fn = group["fn"]
        task = Task(name, rank, self.submitted, fn, group["queue"], group["args"])
        task.group = group
        self.new.add(name)
        task.copy_of = group.get("copy_of", "")
        task.retries = group.get("retries", 0)
        task.ttl = group.get("ttl", TTL)
        task.targets = group.get("targets")
        task.timeout = group.get("timeout")
        task.pause = group.get("pause")
        task.elsewhere = group.get("elsewhere", False)
        task.gate = group.get("gate")
        for parent in group.get("refs", ()):
            task.refs.append(parent)
            if parent in self.tasks:
                self.tasks[parent].kept += 1
        self.needed[fn] += 1
        self.idle.pop(fn, None)
        given_up = self._stand_behind(task)
        wrong = self._join(task, group)
        self.tasks[name] = task
        self._delay(task, group)
        if given_up:
            self._end(task, "aborted", "aborted")
        elif wrong:
            self._end(task, "failed", wrong)
        else:
            self._decide(task, self.judge(task))

    def _stand_behind(self, task: Task) -> bool:
        gate = self.tasks.get(task.gate) if task.gate else None
        if gate is not None and gate.state not in ENDED:
            return False
        given_up = task.gate is not None and (gate is None or gate.state != "completed")
        task.gate = None
        return given_up

    def _delay(self, task: Task, group: dict[str, Any]) -> None:
        start = group.get("start_at", self.stamp + group.get("start_in", 0))
        if start > self.stamp:
            task.start = start
            task.timers["w"] = self.now() + start - self.stamp
        elif task.timeout is not None:
            task.timers["t"] = self.now() + task.timeout

    def _join(self, task: Task, group: dict[str, Any]) -> str:
        """Let a task depend on others; return the verdict if that cannot be."""
        later = group.get("later") and task.gate
        for kind in ("after", "follow"):
            if kind in group:
                letters, names = group[kind]
                members = Members(letters)
                setattr(task, kind, members)
                wrong = "" if later else self._add(task, kind, names)
                if wrong:
                    return wrong
        return ""

    def _add(self, task: Task, kind: str, names: Iterable[str]) -> str:
        """Add members to a set; return the verdict when one cannot be."""
        members: Members = getattr(task, kind)
        for name in dict.fromkeys(names):
            member = self.tasks.get(name)
            if member is None and name in self.tombs:
                member = Task(name, 0, state=self.tombs[name])
            if member is None or name == task.name:
                return "invalid"
            if name not in members.names:
                members.names.append(name)
            if member.state not in ENDED:
                continue
            # One that is told twice may have been heard already, or not yet.
            members.heard.setdefault(name, (member.state, member.ran))
            if members.letters[0] == "a" and members.fatal():
                return "impossible"
            parted = len(members.labels()) > 1
            if kind == "follow" and members.letters[0] == "a" and parted:
                return "impossible"
            if kind == "after" and members.letters[0] == "n" and members.counted():
                return ""
        return ""

    def link(
        self, stamp: int, seen: Any, name: str, kind: str, names: list[str]
    ) -> int:
        """Add members to a set of a task behind a gate; return how many."""
        self._start(stamp, seen)
        task = self.tasks[name]
        letter = kind[0]
        open_ = task.state == "waiting" and task.gate and task.is_open(letter)
        if not open_ or task.gate == name:
            return 0
        wrong = self._add(task, kind, names)
        if wrong:
            self._end(task, "failed", wrong)
        self._finish()
        return len(set(names))

    def open_gate(self, stamp: int, seen: Any, name: str) -> bool:
        """Open a gate; was it this call?"""
        self._start(stamp, seen)
        gate = self.tasks[name]
        if gate.state != "waiting":
            return False
        self._end(gate, "completed")
        self._finish()
        return True

    def abort(
        self, stamp: int, seen: Any, names: list[str], *, running: bool
    ) -> list[str]:
        """Return one word each."""
        self._start(stamp, seen)
        words = []
        for name in names:
            task = self.tasks.get(name)
            if task is None:
                words.append("unknown")
            elif task.state in ENDED:
                words.append("ended")
            elif task.state == "running":
                task.unwanted = task.unwanted or running
                told = f"running w {task.engine} {task.token}"
                words.append(told if running else "running")
            else:
                self._end(task, "aborted", "aborted")
                words.append("aborted")
        self.unclear = False
        self._finish()
        return words

    def watch(self, client: str, names: list[str]) -> list[str]:
        """Return the state of each."""
        if client:
            self.told.setdefault(client, [])
        states = []
        for name in names:
            task = self.tasks.get(name)
            missing = "purged" if name in self.tombs else "unknown"
            states.append(task.state if task else missing)
            foreign = client and not name.startswith(f"{client}-")
            if task and foreign and task.state not in ENDED:
                task.watchers.add(client)
        return states

    def purge(self, stamp: int, seen: Any, names: list[str]) -> tuple[int, int] | None:
        """Return how many went and how many are needed; None: one has not ended."""
        self._start(stamp, seen)
        ended = {name: self.tasks[name] for name in names if name in self.tasks}
        if any(task.state not in ENDED for task in ended.values()):
            return None
        purged = 0
        for name, task in ended.items():
            if task.kept == 0 and name not in seen.unsettled:
                self.tombs[name] = task.state
                self._drop(task)
                purged += 1
        return purged, len(ended) - purged

    def may_resubmit(self, pairs: list[tuple[str, str]]) -> bool:
        """May these tasks run once more, under new names?"""
        olds = [
            self.tasks.get(old)
            for old, new in pairs
            if new not in self.tasks or self.tasks[new].copy_of != old
        ]
        return all(old and old.fn and old.state in ENDED for old in olds)

    def resubmit(
        self,
        stamp: int,
        seen: Any,
        pairs: list[tuple[str, str]],
        anew: dict[str, dict[str, Any]],
    ) -> None:
        """Let ended tasks run once more."""
        self._start(stamp, seen)
        for old, new in pairs:
            if new in self.tasks:
                continue
            task = self.tasks[old]
            kept = {
                name: value
                for name, value in task.group.items()
                if name not in ("gate", "later", "start_in", "start_at")
            }
            kept |= anew.get(old, {})
            group = {name: value for name, value in kept.items() if value is not None}
            self.submitted += 1
            self._enter(new, {**group, "copy_of": old})
        self._finish()

    def configure(self, hwm: int) -> None:
        """Change the bound on the load."""
        self.hwm = hwm

    # Calls of engines

    def register(self, stamp: int, seen: Any, name: str, queues: list[str]) -> int:
        """Let an engine join; return its label."""
        self._start(stamp, seen)
        if name not in self.engines:
            lease = self.now() + LEASE
            self.engines[name] = Engine(name, self.labels, queues, lease)
            self.labels += 1
        return self.engines[name].label

    def turn(
        self,
        stamp: int,
        seen: Any,
        name: str,
        turn: tuple[int | None, str, int, str],
        outcomes: list[Outcome],
        taken: list[tuple[str, str]],
    ) -> tuple[str, int]:
        """Return the word and how many are stale; check what was taken."""
        self._start(stamp, seen)
        number, nonce, want, upcoming = turn
        engine = self.engines.get(name)
        if engine is None:
            assert not taken
            return "gone", 0
        repeated = number is not None and engine.nonce == nonce
        late = number is not None and number < engine.number
        stale, good = self._judge_outcomes(name, outcomes)
        again = []
        for outcome in good:
            pause = self._apply(outcome, engine)
            if pause is not None:
                again.append((self.tasks[outcome.name], pause))
        self._resolve()
        if number is not None and not repeated and not late:
            self._take(engine, nonce, want, taken)
            engine.number, engine.nonce, engine.next = number, nonce, upcoming
            engine.away = want == 0
        else:
            theirs = [
                (task.name, task.token)
                for task in engine.held
                if repeated and task.token.endswith(f":{nonce}")
            ]
            assert taken == theirs, f"{name} got {taken} again, not {theirs}"
        for task, pause in again:
            self._put_back(task, engine, pause)
        self._finish()
        return "again" if repeated or late else "ok", stale

    def _judge_outcomes(
        self, name: str, outcomes: list[Outcome]
    ) -> tuple[int, list[Outcome]]:
        """Return how many are stale, and those that count."""
        stale = 0
        good: dict[str, Outcome] = {}
        for outcome in outcomes:
            task = self.tasks.get(outcome.name)
            stolen = task and task.state == "running" and task.engine != name
            if task is None or stolen or task.token != outcome.token:
                stale += 1
            elif task.state == "running":
                good.setdefault(outcome.name, outcome)
        return stale, list(good.values())

    def _take(
        self, engine: Engine, nonce: str, want: int, taken: list[tuple[str, str]]
    ) -> None:
        """Check that the engine took the best that it may have, and not too much."""
        if engine.leaving:
            want = 0
        if self.hwm:
            want = max(0, min(want, self.hwm - len(engine.held)))
        tasks = [self.tasks[name] for name, _ in taken]
        placed = engine.assigned[:want]
        want -= len(placed)
        line = [
            task
            for task in self.line(*engine.queues)
            if self.places(task).admits(engine.label)
        ]
        allowed = {len(line[:share]) for share in self._shares(engine, want)}
        expected = placed + line[: len(tasks) - len(placed)]
        assert tasks == expected, (
            f"{engine.name} took {[one.name for one in tasks]}, "
            f"not {[one.name for one in expected]}"
        )
        found = len(tasks) - len(placed)
        assert found in allowed, (
            f"{engine.name} took {found} of {[one.name for one in line]}, not {allowed}"
        )
        del engine.assigned[: len(placed)]
        for task, (_, token) in zip(tasks, taken, strict=True):
            self._run(task, engine, nonce)
            assert task.token == token
        if taken:
            self.used += 1
            engine.used = self.used

    def _shares(self, engine: Engine, want: int) -> set[int]:
        """Return how many an engine may take of what is ready.

        Whether tasks of classes count depends on what the engine was told of.
        """
        if want <= 1:
            return {want}
        serving = max(
            sum(queue in other.queues for other in self.engines.values())
            for queue in engine.queues
        )
        line = self.line(*engine.queues)
        plain = [task for task in line if not task.stands]
        return {max(1, min(want, len(some) // (2 * serving))) for some in (line, plain)}

    # Calls of supervisors

    def _tick(self) -> int:
        now = self.now()
        passed, skew = now - self.last, now - self.stamp
        if skew > 0:
            skew = max(0, skew - passed // 10)
            now = max(self.last, self.stamp + skew)
        if self.last > 0 and passed > LEASE / 2:
            self.grace = now + LEASE
        self.last, self.skew = now, max(0, now - self.stamp)
        return now

    def live(
        self, stamp: int, seen: Any, name: str, number: int, ids: list[str]
    ) -> tuple[str, list[str]]:
        """Return the word and what is not the engine's."""
        self._start(stamp, seen)
        now = self._tick()
        engine = self.engines.get(name)
        if engine is None:
            return "unknown", []
        engine.lease, engine.leaving = now + LEASE, False
        if number == engine.number:
            forgotten = [task for task in engine.held if task.name not in ids]
            for task in forgotten:
                if self._apply(Outcome("unbegun", task.name, ""), engine) is not None:
                    self._put_back(task, engine)
        held = {task.name for task in engine.held}
        engine.away = False
        self._finish()
        return "live", sorted(set(ids) - held)

    def gone(
        self, stamp: int, seen: Any, name: str, begun: list[str], verdict: str
    ) -> str:
        """Return the word."""
        self._start(stamp, seen)
        self._tick()
        engine = self.engines.get(name)
        if engine:
            self._lose(engine, begun, verdict)
            self._finish()
        return "gone"

    def _lose(self, engine: Engine, begun: list[str] | None, verdict: str) -> None:
        """Take an engine apart, as far as the hub got with that."""
        engine.leaving = True
        left = set(self.seen.assigned.get(engine.name, ()))
        left |= set(self.seen.held.get(engine.name, ()))
        stays = engine.name in self.seen.engines
        placed = [task for task in engine.assigned if task.name not in left]
        held = [task for task in engine.held if task.name not in left]
        assert placed == engine.assigned[: len(placed)], "not the first ones"
        assert held == engine.held[: len(held)], "not the first ones"
        assert stays or not left
        assert not held or len(placed) == len(engine.assigned)
        back = []
        for task in held:
            lost = begun is None or task.name in begun
            outcome = Outcome("lost" if lost else "unbegun", task.name, "")
            pause = self._apply(outcome, engine, verdict if lost else "")
            if pause is not None:
                back.append((task, pause))
        for task, pause in back:
            self._put_back(task, engine, pause)
        for task in placed:
            engine.assigned.remove(task)
            self._put_back(task, engine)
        if not stays:
            del self.engines[engine.name]

    def sweep(self, stamp: int, seen: Any, *, more: bool) -> None:
        """Do what time brings about, as far as the hub got with that."""
        self._start(stamp, seen)
        now = self._tick()
        over = [one for one in self.engines.values() if one.lease < now]
        over.sort(key=lambda one: (one.lease, one.name))
        over = over if now >= self.grace else []
        self.barred = {one.name for one in over}
        # What each leaves is placed before the next is looked at, and the timers.
        self.several = bool(over)
        for engine in over:
            self._lose(engine, None, "engine_lost")
        # The hub stops where its budget ends: these it has not begun with.
        for engine in over:
            if str(engine.label) in seen.labels:
                engine.leaving = False
        self._time_out(now)
        self._resolve()
        self._wake(now)
        self._finish()
        self._forget()
        if not more:
            self._check_done(now, over)

    def _time_out(self, now: int) -> None:
        for task in list(self.tasks.values()):
            found = self.seen.tasks.get(task.name, {})
            timed = found.get("verdict") == "timeout" and task.state not in ENDED
            if timed:
                assert task.timers["t"] <= now, f"{task.name} is out of time too early"
                self._end(task, "failed", "timeout")
            due = task.timers.get("g", now + 1) <= now
            if due and found.get("state") == "aborted" and task.state == "waiting":
                self._end(task, "aborted", "aborted")

    def _wake(self, now: int) -> None:
        for task in self.tasks.values():
            due = task.timers.get("w", now + 1) <= now and task.state == "waiting"
            if due and f"w:{task.name}" not in self.seen.timers:
                task.start = None
                del task.timers["w"]
                self.news.add(task.name)
                self._resume_budget(task)

    def _forget(self) -> None:
        for task in list(self.tasks.values()):
            over = task.state in ENDED and task.expiry <= self.stamp
            needed = task.kept > 0 or task.name in self.seen.unsettled
            if task.name not in self.seen.tasks:
                assert over, f"{task.name} is gone, and was not due"
                self._drop(task)
            elif over and needed:
                expiry = self.seen.ended[task.state][task.name]
                assert expiry in (task.expiry, self.stamp + LATER), task.name
                task.expiry = expiry
        for fn, due in list(self.idle.items()):
            if fn not in self.seen.functions:
                assert due <= self.stamp, f"function {fn} is gone too early"
                del self.idle[fn]
                self.incapable.pop(fn, None)

    def _drop(self, task: Task) -> None:
        del self.tasks[task.name]
        for parent in task.refs:
            if parent in self.tasks:
                self.tasks[parent].kept -= 1
        if task.fn:
            self.needed[task.fn] -= 1
            if self.needed[task.fn] == 0:
                self.idle[task.fn] = self.stamp + IDLE

    def _check_done(self, now: int, over: list[Engine]) -> None:
        """A sweep that had budget left has left nothing."""
        assert not [one.name for one in over if one.name in self.engines]
        for task in self.tasks.values():
            late = [kind for kind, due in task.timers.items() if due <= now]
            assert not late, f"{task.name}: timers {late} are due"
            over_ = task.state in ENDED and task.expiry <= self.stamp
            assert not over_, f"{task.name} is kept too long"
        assert not [fn for fn, due in self.idle.items() if due <= self.stamp]

    # The whole

    def compare(self) -> None:
        """Raise an AssertionError unless the hub is as this."""
        seen = self.seen
        for task in self.tasks.values():
            found = seen.tasks.get(task.name)
            assert found, f"there is no {task.name}"
            told, expected = _shown(seen, task, found), self._expected(task)
            assert told == expected, f"{task.name} is {told}, not {expected}"
            task.stands = found.get("class", "") if task.state == "ready" else ""
            if task.state == "ready":
                self._check_line(task)
            self._check_edges(task)
        assert set(seen.tasks) == set(self.tasks)
        timers = {
            f"{kind}:{task.name}": due
            for task in self.tasks.values()
            for kind, due in task.timers.items()
        }
        assert seen.timers == timers, f"{seen.timers}, not {timers}"
        assert seen.leases.keys() == self.engines.keys()
        if self.several:
            self._learn_use()
        for engine in self.engines.values():
            self._compare_engine(engine)
        clock = tuple(int(seen.hub[name]) for name in ("last", "skew", "grace"))
        assert clock == (self.last, self.skew, self.grace)
        ended = {state: int(seen.hub.get(state, 0)) for state in ENDED}
        assert ended == {state: self.ended[state] for state in ENDED}
        for fn, labels in self.incapable.items():
            assert numbers(seen.functions[fn].get("refused", "")) == labels

    def _learn_use(self) -> None:
        """What was placed in this call, and ended in it, has used an engine as well."""
        most = int(self.seen.hub.get("used", 0))
        assert most >= self.used
        self.used = most
        for name, engine in self.engines.items():
            used = int(self.seen.engines[name]["used"])
            assert engine.used <= used <= most, name
            engine.used = used

    def _compare_engine(self, engine: Engine) -> None:
        seen, name = self.seen, engine.name
        about = seen.engines[name]
        assert list(seen.assigned[name]) == [one.name for one in engine.assigned]
        assert list(seen.held[name]) == [one.name for one in engine.held]
        assert seen.leases[name] in (engine.lease, 0)
        engine.lease = int(seen.leases[name])
        found = (int(about["number"]), about["nonce"], about.get("next", ""))
        assert found == (engine.number, engine.nonce, engine.next), name
        assert int(about["used"]) == engine.used, name
        assert int(about["id"]) == engine.label
        room = engine.number > 0 and not engine.leaving
        room = room and engine.load < self._room()
        for queue in engine.queues:
            free = name in seen.free.get(queue, {})
            assert free == room, f"{name} is {'' if free else 'not '}free in {queue}"

    def _expected(self, task: Task) -> dict[str, Any]:
        open_ = {letter: task.is_open(letter) for letter in "af"}
        return {
            "state": task.state,
            "verdict": task.verdict,
            "tries": (task.tries, task.deaths),
            "token": task.token,
            "engine": task.engine,
            "place": task.place() if task.state not in ENDED else None,
            "not": task.refused if task.state not in ENDED else None,
            "open": {
                letter: len(members.pending) if open_[letter] else None
                for letter, members in task.sets()
            },
            "gate": task.gate if task.state not in ENDED else None,
            "start": task.start,
            "left": task.left,
            "unwanted": task.unwanted,
            "kept": task.kept,
            "expiry": task.expiry if task.state in ENDED else None,
        }

    def _check_line(self, task: Task) -> None:
        """Whoever may take a task looks where it stands."""
        places = self.places(task)
        there = Places.read(task.stands)
        if task.stands == "?":
            return
        finders = {one.name for one in self.serving(task.queue, there)}
        for engine in self.serving(task.queue, places):
            assert engine.name in finders, f"{engine.name} cannot find {task.name}"
        if self.standing(task) == "somewhere":
            return
        # Whoever looks there next, or goes on with what is leaving, finds that out.
        looks = any(
            task.queue in one.queues and there.admits(one.label)
            for one in self.engines.values()
        )
        assert looks, f"{task.name} stands where nobody comes"

    def _check_edges(self, task: Task) -> None:
        """Whoever a task waits for will tell it."""
        for letter, members in task.sets():
            for name in members.pending if task.is_open(letter) else ():
                edges = self.seen.edges.get(name, {})
                assert letter + task.name in edges, f"{name} tells not {task.name}"
                ended = self.tasks[name].state in ENDED
                assert not ended or name in self.seen.unsettled

    def timers(self) -> list[int]:
        """Return what is due, and when."""
        return [due for one in self.tasks.values() for due in one.timers.values()]

    @staticmethod
    def gate_of(task: Task) -> str | None:
        """Return the gate that it stands behind."""
        return task.gate if task.state not in ENDED else None

    def why(self, task: Task) -> str:
        """Return what an unended task waits for, in a word; "" for nothing."""
        if task.state == "waiting":
            waits = [letter for letter, _ in task.sets() if task.is_open(letter)]
            if task.gate or task.start is not None:
                waits.append("gate" if task.gate else "start")
            return " ".join(waits)
        if task.state == "ready" and not self.serving(task.queue, self.places(task)):
            return "an engine"
        return ""


def _shown(seen: Any, task: Task, found: dict[str, str]) -> dict[str, Any]:
    """Return what a record says, as the model would."""
    ended = found["state"] in ENDED
    opened: dict[str, int | None] = {}
    for letter, _ in task.sets():
        text = found.get(f"n{letter}")
        # One that ran may end with its follow open: nobody asks any more.
        opened[letter] = None
        if text and not ended:
            opened[letter] = int(text.removesuffix("!").partition(":")[2])
    start = found.get("start")
    left = found.get("left")
    return {
        "state": found["state"],
        "verdict": found.get("verdict", ""),
        "tries": (int(found.get("tries", 0)), int(found.get("deaths", 0))),
        "token": found.get("token", ""),
        "engine": found.get("engine", "").partition("/")[2],
        "place": None if ended else numbers(found.get("place", "")),
        "not": None if ended else set(numbers(found.get("not", ""))),
        "open": opened,
        "gate": None if ended else found.get("gate"),
        "start": int(start) if start else None,
        "left": int(left) if left else None,
        "unwanted": "x" in found.get("marks", ""),
        "kept": int(found.get("kept", 0)),
        "expiry": seen.ended[found["state"]][task.name] if ended else None,
    }
