"""What follows from what happens: who is told, who may run, and where."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING, Any

from tests.model.things import (
    DAY,
    ENDED,
    FAILED_TTL,
    FOREVER,
    GATE_KEPT,
    MAX_DEATHS,
    MOST_ORDERS,
    Engine,
    Members,
    Outcome,
    Places,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


class Rules:
    """A hub, and what follows from what happens in it."""

    def __init__(self, cell: Callable[[str, str, str], None]) -> None:
        #: Hears of each cell of the truth table that was looked up.
        self.cell = cell
        self.hwm = 0
        self.tasks: dict[str, Task] = {}
        self.engines: dict[str, Engine] = {}
        #: By engine, the task that it has still to take from its bell.
        self.rung: dict[str, str] = {}
        #: Queues of which nothing is to begin.
        self.paused: set[str] = set()
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
        self.last = self.skew = self.grace = self.far = 0
        self.counts: Counter[str] = Counter()
        self.seen: Any = None
        self._start(0, None)

    def _start(self, stamp: int, seen: Any) -> None:
        """Begin a call that left the hub as was seen."""
        self.stamp = stamp
        pictures = [picture for picture in (self.seen, seen) if picture]
        tied = [
            {name for name, fields in one.engines.items() if "tied" in fields}
            for one in pictures
        ]
        #: Engines that look for tasks of their own, before or after this call.
        self.tied: set[str] = set().union(*tied)
        #: Those that began or ceased to, before or after they took.
        self.tying = self.tied - set.intersection(*tied) if tied else set()
        #: Has the hub begun or ceased to have classes, likewise?
        self.turned = len({"c" in one.hub.get("rare", "") for one in pictures}) > 1
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
        return max(self.last, self.far, self.stamp + self.skew)

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
        elif task.name in self.back:
            # It may have been placed for a moment.
            self.unclear = True
        if task.state != "running":
            # Not where it was to run next, nor who gave it back.
            task.engine = task.ran_on[0] if task.ran_on else ""
            task.token = task.token if task.ran_on else ""
        task.state, task.verdict = state, verdict
        task.timers.clear()
        task.start = None
        if task.fn:
            ttl = FAILED_TTL if state == "failed" and not task.floor else task.ttl
            task.expiry = task.floor + self.stamp + (ttl or FOREVER)
            self.ended[state] += 1
        else:
            task.timers["g"] = self.now() + GATE_KEPT
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
        if pause <= 0 and self._is_along(task):
            task.state = "waiting"
            return
        if pause > 0:
            task.state, task.start = "waiting", self.stamp + pause
            task.timers["w"] = self.now() + pause
            return
        if task.state == "running":
            self._resume_budget(task)
        task.state = "ready"
        self.back[task.name] = engine.name
        self._look_again(task)

    @staticmethod
    def _is_along(task: Task) -> bool:
        """Was it taken along with what it waits for, of which nothing was heard?"""
        return task.state == "running" and task.is_open("a")

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
            task.engine = task.token = ""
            if self._is_along(task):
                task.state = "waiting"
                return None
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
        # One that was lost with what it waits for has hardly killed anything.
        task.deaths += bool(verdict) and not self._is_along(task)
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
        lost = task.after and task.after.verdict(whole=True) == "never"
        if state == "running" and lost:
            # It was taken along with what has failed, and never began.
            self.engines[task.engine].held.remove(task)
            task.state = "waiting"
            self._end(task, "failed", "impossible")
        elif state == "waiting":
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
            and not engine.closed
            and task.queue not in self.paused
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
