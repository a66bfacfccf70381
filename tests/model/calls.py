"""What each call does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tests.model.compared import Compared
from tests.model.things import (
    ENDED,
    GATE,
    GATE_KEPT,
    IDLE,
    LATER,
    LEASE,
    OWN,
    TTL,
    Engine,
    Members,
    Outcome,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Model(Compared):
    """A hub, and what its calls do."""

    # Calls of clients

    def submit(
        self, stamp: int, groups: list[dict[str, Any]], *, again: bool = False
    ) -> Callable[[Any], tuple[int, int]] | None:
        """Enter groups of tasks; None: a conflict. ``again``: the reply was lost.

        Returns what is to be called with the hub afterwards, and returns how many are
        new and known.
        """
        for group in groups:
            for name in group["names"]:
                known = self.tasks.get(name)
                if known and (known.args, known.fn) != (group["args"], group["fn"]):
                    return None
        return lambda seen: self._submit(stamp, seen, groups, again=again)

    def _submit(
        self, stamp: int, seen: Any, groups: list[dict[str, Any]], *, again: bool
    ) -> tuple[int, int]:
        self._start(stamp, seen)
        known = self._known(again=again)
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
            task = Task(gate, base + len(gates) - number, gate=gate)
            task.timers["g"] = self.now() + GATE
            self.tasks[gate] = task
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

    def _known(self, *, again: bool) -> set[str]:
        """Return what does not enter; ``again``: nor what was purged meanwhile."""
        return {*self.tasks, *(self.tombs if again else ())}

    def _enter(self, name: str, group: dict[str, Any]) -> None:
        rank = self.submitted - group.get("priority", 0) * 2**42
        fn = group["fn"]
        task = Task(name, rank, self.submitted, fn, group["queue"], group["args"])
        task.group = group
        self.new.add(name)
        task.copy_of = group.get("copy_of", "")
        task.retries = group.get("retries", 0)
        task.ttl = group.get("ttl", TTL)
        task.floor = OWN if "ttl" in group else 0
        task.targets = group.get("targets")
        task.timeout = group.get("timeout")
        task.pause = group.get("pause")
        task.elsewhere = group.get("elsewhere", False)
        task.gate = group.get("gate")
        self.needed[fn] += 1
        self.idle.pop(fn, None)
        given_up = self._stand_behind(task)
        if not (group.get("later") and task.gate):
            self._keep(task, group.get("refs", ()))
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
        letter = "f" if kind == "follow" else "a"
        open_ = task.state == "waiting" and task.gate and task.is_open(letter)
        if not open_ or task.gate == name:
            return 0
        if kind in ("after", "follow"):
            wrong = self._add(task, kind, names)
            if wrong:
                self._end(task, "failed", wrong)
        elif kind == f"refs:{task.told}":
            task.told += len(set(names))
            self._keep(task, dict.fromkeys(names))
        self._finish()
        return len(set(names))

    def _keep(self, task: Task, names: Iterable[str]) -> None:
        """Let a task need the results of others, if they are there."""
        for parent in names:
            if parent in self.tasks:
                task.refs.append(parent)
                self.tasks[parent].kept += 1

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

    def may_resubmit(
        self, pairs: list[tuple[str, str]], *, again: bool = False
    ) -> bool:
        """May these tasks run once more, under new names?"""
        known = self._known(again=again)
        olds = [
            self.tasks.get(old)
            for old, new in pairs
            if new not in known
            or (new in self.tasks and self.tasks[new].copy_of != old)
        ]
        return all(old and old.fn and old.state in ENDED for old in olds)

    def resubmit(
        self,
        stamp: int,
        seen: Any,
        pairs: list[tuple[str, str]],
        anew: dict[str, dict[str, Any]],
        *,
        again: bool = False,
    ) -> None:
        """Let ended tasks run once more."""
        self._start(stamp, seen)
        known = self._known(again=again)
        for old, new in pairs:
            if new in known:
                continue
            task = self.tasks[old]
            kept = {
                name: value
                for name, value in task.group.items()
                if name not in ("gate", "later", "start_in", "start_at")
            }
            if task.refs or "refs" in kept:
                # Of parents that were gone already nothing is known. Some may have been
                # told later.
                kept["refs"] = list(task.refs)
            kept |= anew.get(old, {})
            group = {name: value for name, value in kept.items() if value is not None}
            self.submitted += 1
            self._enter(new, {**group, "copy_of": old})
        self._finish()

    def configure(self, stamp: int, seen: Any, hwm: int) -> None:
        """Change the bound on the load."""
        self._start(stamp, seen)
        self.hwm = hwm
        # An engine that is asked may find tasks that are not for it any more.
        self._finish()

    # Calls of operators

    def drain(self, stamp: int, seen: Any, name: str, *, resume: bool) -> str:
        """Return the word."""
        self._start(stamp, seen)
        engine = self.engines.get(name)
        if engine is None:
            return "unknown"
        engine.drained = not resume
        for task in [] if resume else list(engine.assigned):
            engine.assigned.remove(task)
            self._put_back(task, engine)
        self._finish()
        return "resumed" if resume else "drained"

    def pause(self, stamp: int, seen: Any, queue: str, *, resume: bool) -> None:
        """Have nothing begin of a queue, or let it go on."""
        self._start(stamp, seen)
        if resume:
            self.paused.discard(queue)
        else:
            self.paused.add(queue)
        self._finish()

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
        if engine.closed:
            want = 0
        if self.hwm:
            want = max(0, min(want, self.hwm - len(engine.held)))
        tasks = [self.tasks[name] for name, _ in taken]
        first: list[Task] = []
        placed: list[Task] = []
        for task in engine.assigned:
            if len(placed) == want:
                break
            first.append(task)
            if task.queue not in self.paused:
                placed.append(task)
        want -= len(placed)
        served = [queue for queue in engine.queues if queue not in self.paused]
        line = [
            task
            for task in self.line(*served)
            if self.places(task).admits(engine.label)
        ]
        allowed = {len(line[:share]) for share in self._shares(served, want)}
        along = [task for task in tasks if task.state == "waiting"]
        first_ones = tasks[: len(tasks) - len(along)]
        expected = placed + line[: len(first_ones) - len(placed)]
        more = want - (len(first_ones) - len(placed))
        # What was put back later in this call may have made a class, or tied this one.
        unclear = self.turned or engine.name in self.tying
        expected += (
            along if unclear else self._along(engine, served, line, expected, more)
        )
        assert tasks == expected, (
            f"{engine.name} took {[one.name for one in tasks]}, "
            f"not {[one.name for one in expected]}"
        )
        found = len(first_ones) - len(placed)
        assert found in allowed, (
            f"{engine.name} took {found} of {[one.name for one in line]}, not {allowed}"
        )
        del engine.assigned[: len(first)]
        for task, (_, token) in zip(tasks, taken, strict=True):
            self._run(task, engine, nonce)
            assert task.token == token
        if taken:
            self.used += 1
            engine.used = self.used
        for task in first:
            if task.queue in self.paused:
                # It was placed before, and waits in its line again.
                task.state = "ready"
                self._look_again(task)

    def _along(
        self,
        engine: Engine,
        queues: list[str],
        line: list[Task],
        taken: list[Task],
        most: int,
    ) -> list[Task]:
        """Return what is taken along with these: the only ones that wait for them.

        Not by an engine that has to look at several lines, even if one of them has just
        been emptied, or filled and emptied.
        """
        rare = set(self.seen.hub.get("rare", ""))
        passing = any(
            task.targets is not None or task.place()
            for task in taken
            if task.name not in self.before
        )
        tied = passing or engine.name in self.tied
        if len(queues) != 1 or rare & set("crp") or tied:
            return []
        rest = [task for task in line if task not in taken]
        best = rest[0].rank if rest else math.inf
        parents = list(taken)
        for parent in parents:
            edges = self.seen.edges.get(parent.name, {})
            if len(parents) - len(taken) == most or not edges:
                continue
            if min(edges.values()) >= best:
                break
            ((letter, *name), *more) = edges
            task = self.tasks.get("".join(name))
            if more or letter != "a" or not task or task.queue not in queues:
                continue
            fits = parent.rank < task.rank and parent.retries <= task.retries
            if fits and self._waits_for_one(task):
                parents.append(task)
        return parents[len(taken) :]

    def _waits_for_one(self, task: Task) -> bool:
        """Does a task wait for one more success, and was it always simple?

        Somebody who listens must not hear of its start early.
        """
        record = self.seen.tasks[task.name]
        listened_to = "l" in record.get("marks", "")
        waits = task.state == "waiting" and record.get("na") == "as:1!"
        return waits and not listened_to

    def _shares(self, queues: list[str], want: int) -> set[int]:
        """Return how many an engine may take of what is ready.

        Whether tasks of classes count depends on what the engine was told of.
        """
        if want <= 1:
            return {want}
        serving = max(
            sum(queue in other.queues for other in self.engines.values())
            for queue in [*queues, ""]
        )
        serving = max(1, serving)
        line = self.line(*queues)
        plain = [task for task in line if not task.stands]
        return {max(1, min(want, len(some) // (2 * serving))) for some in (line, plain)}

    # Calls of supervisors

    def _tick(self) -> int:
        now = self.now()
        passed, skew = now - self.last, now - self.stamp
        if skew > 0:
            skew = max(0, skew - passed // 10)
            now = max(self.last, self.far, self.stamp + skew)
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
        word = "drained" if engine.drained else "live"
        return word, sorted(set(ids) - held)

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
        assert held == engine.held[len(engine.held) - len(held) :], "not the last ones"
        assert stays or not left
        assert not held or len(placed) == len(engine.assigned)
        back = []
        for task in held:
            lost = begun is None or task.name in begun
            # What it has not taken from its bell, it has not begun.
            lost = lost and task.name != self.rung.get(engine.name)
            outcome = Outcome("lost" if lost else "unbegun", task.name, "")
            pause = self._apply(outcome, engine, verdict if lost else "")
            if pause is not None:
                back.append((task, pause))
        # These are placed before what became ready as others of them ended.
        self.several |= any(task.state in ENDED for task in held)
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
            if not task.fn:
                self._forget_gate(task)
        while gone := [
            one for one in self.tasks.values() if one.name not in self.seen.tasks
        ]:
            # With these others may go that only they needed.
            over = [one for one in gone if self._is_over(one)]
            assert over, f"{gone[0].name} is gone, and was not due"
            for task in over:
                self._drop(task)
        for task in self.tasks.values():
            if task.fn and self._is_over(task):
                self._put_off(task)
        for fn, due in list(self.idle.items()):
            if fn not in self.seen.functions:
                assert due <= self.stamp, f"function {fn} is gone too early"
                del self.idle[fn]
                self.incapable.pop(fn, None)

    def _is_over(self, task: Task) -> bool:
        """Is the retention of a task over?"""
        return task.state in ENDED and task.expiry - task.floor <= self.stamp

    def _put_off(self, task: Task) -> None:
        """Keep one that is needed, or that was until now; if the hub got so far."""
        needed = task.kept > 0 or task.name in self.seen.unsettled
        expiry = self.seen.ended[task.state][task.name]
        looked = self.stamp + (task.floor + LATER if needed else 0)
        assert expiry in (task.expiry, looked), task.name
        task.put_off = expiry == looked and task.kept > 0
        task.expiry, task.floor = expiry, OWN if expiry >= OWN else 0

    def _forget_gate(self, gate: Task) -> None:
        over = gate.state in ENDED and gate.timers["g"] <= self.now()
        if gate.name not in self.seen.tasks:
            assert over, f"the gate {gate.name} is gone, and was not due"
            self._drop(gate)
        elif over and self.seen.timers[f"g:{gate.name}"] > self.now():
            # It had still somebody to tell.
            gate.timers["g"] = self.now() + GATE_KEPT

    def _drop(self, task: Task) -> None:
        del self.tasks[task.name]
        for one in task.refs:
            parent = self.tasks.get(one)
            if parent:
                parent.kept -= 1
                if parent.kept == 0 and parent.put_off:
                    parent.expiry, parent.put_off = self.stamp, False
                    parent.floor = 0
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
            over_ = task.fn and self._is_over(task)
            assert not over_, f"{task.name} is kept too long"
        assert not [fn for fn, due in self.idle.items() if due <= self.stamp]
