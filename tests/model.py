"""What a hub does, in plain dicts: for the state machine to compare with."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

LEASE = 15000
TTL = 86_400_000
MAX_DEATHS = 3
ENDED = ("completed", "failed", "aborted")


@dataclass
class Task:
    """One task."""

    name: str
    queue: str
    #: Sorts by priority, then submission.
    rank: tuple[int, int]
    retries: int
    ttl: int
    args: bytes
    state: str = "ready"
    tries: int = 0
    deaths: int = 0
    engine: str = ""
    token: str = ""
    expiry: float = 0
    watchers: set[str] = field(default_factory=set)


@dataclass
class Engine:
    """One engine."""

    name: str
    queues: list[str]
    lease: int
    number: int = 0
    nonce: str = ""
    used: int = 0
    #: It is being taken apart.
    hidden: bool = False
    #: It said that it wants nothing, so its bell may be silent.
    away: bool = False
    assigned: list[Task] = field(default_factory=list)
    held: list[Task] = field(default_factory=list)

    @property
    def load(self) -> int:
        """Tasks it has."""
        return len(self.assigned) + len(self.held)


class Model:
    """A hub."""

    def __init__(self) -> None:
        self.hwm = 0
        self.draining = False
        self.tasks: dict[str, Task] = {}
        self.engines: dict[str, Engine] = {}
        self.submitted = 0
        self.used = 0
        self.ended: Counter[str] = Counter()
        self.told: dict[str, list[str]] = {}
        self.deaths: Counter[str] = Counter()
        self.last = self.skew = self.grace = 0

    # Views

    def line(self, *queues: str) -> list[Task]:
        """Return who waits in these queues, best first."""
        waiting = [
            task
            for task in self.tasks.values()
            if task.state == "ready" and task.queue in queues
        ]
        return sorted(waiting, key=lambda task: task.rank)

    def has_room(self, engine: Engine) -> bool:
        """May it be given another task?"""
        return engine.load < (self.hwm or 1)

    def choose(self, queue: str, besides: str = "") -> Engine | None:
        """Return the least loaded engine with room, the least recently used."""
        free = [
            engine
            for engine in self.engines.values()
            if queue in engine.queues
            and engine.number
            and not engine.hidden
            and self.has_room(engine)
            and engine.name != besides
        ]
        return min(free, key=lambda one: (one.load, one.used, one.name), default=None)

    def now(self, stamp: int) -> int:
        """Return logical time."""
        return max(self.last, stamp + self.skew)

    # Moves

    def _use(self, engine: Engine) -> None:
        self.used += 1
        engine.used = self.used

    def _assign(self, task: Task, besides: str = "") -> bool:
        engine = self.choose(task.queue, besides)
        if engine is None:
            return False
        task.state, task.engine = "assigned", engine.name
        engine.assigned.append(task)
        engine.assigned.sort(key=lambda one: one.rank)
        if self.hwm:
            # Without a bound the turn that takes the task is the use.
            self._use(engine)
        return True

    def _put_back(self, tasks: list[Task], besides: str) -> int:
        """Return how many found no engine."""
        for task in tasks:
            task.state = "ready"
        # Until its turn comes a task is in no line.
        return sum(not self._assign(task, besides) for task in tasks)

    def _end(self, task: Task, state: str, stamp: int) -> None:
        assert task.state not in ENDED, f"{task.name} ends twice"
        task.state = state
        task.expiry = stamp + task.ttl if task.ttl else float("inf")
        self.ended[state] += 1
        for client in {task.name.partition("-")[0], *task.watchers}:
            if client in self.told:
                self.told[client].append(task.name)
        task.watchers = set()

    def _fail(self, task: Task, stamp: int, *, death: bool = False) -> bool:
        """Use a try up; return whether it may run again."""
        task.tries += 1
        task.deaths += death
        if task.tries <= task.retries and task.deaths < MAX_DEATHS:
            return True
        self._end(task, "failed", stamp)
        return False

    # Calls

    def submit(self, stamp: int, queue: str, names: list[str], args: bytes, **flags):
        """Enter tasks; return how many are new, and known, or None: a conflict."""
        if any(name in self.tasks and self.tasks[name].args != args for name in names):
            return None
        priority, retries = flags.get("priority", 0), flags.get("retries", 0)
        new = [name for name in names if name not in self.tasks]
        waited = bool(self.line(queue))
        entering = []
        for name in new:
            self.submitted += 1
            rank = (-priority, self.submitted)
            ttl = flags.get("ttl", TTL)
            entering.append(Task(name, queue, rank, retries, ttl, args))
        if waited:
            self.tasks.update((task.name, task) for task in entering)
            for _ in entering:
                self._assign(self.line(queue)[0])
        else:
            for task in entering:
                self.tasks[task.name] = task
                self._assign(task)
        return len(new), len(names) - len(new)

    def register(self, stamp: int, name: str, queues: list[str]) -> None:
        """Let an engine join."""
        if name not in self.engines:
            lease = self.now(stamp) + LEASE
            self.engines[name] = Engine(name, queues, lease)

    def turn(
        self,
        stamp: int,
        name: str,
        number: int | None,
        nonce: str,
        want: int,
        reports: list[tuple[str, str, str]],
    ):
        """Return the word, how many are stale, and what was taken."""
        engine = self.engines.get(name)
        if engine is None:
            return "gone", 0, []
        repeated = number is not None and engine.nonce == nonce
        late = number is not None and number < engine.number
        stale, good = self._judge(name, reports)
        again = []
        for kind, task in good:
            if kind == "ok":
                self._end(task, "completed", stamp)
            elif kind == "unbegun" or self._fail(task, stamp):
                again.append(task)
            engine.held.remove(task)
        engine.hidden = False
        if repeated or late:
            work = []
            if repeated:
                work = [
                    task for task in engine.held if task.token.endswith(f":{nonce}")
                ]
            self._put_back(again, name)
            return "again", stale, work
        work = []
        if number is not None:
            work = self._take(engine, nonce, want)
            engine.number, engine.nonce = number, nonce
            engine.away = want == 0
        self._put_back(again, name)
        return "ok", stale, work

    def _judge(self, name: str, reports: list[tuple[str, str, str]]):
        """Return how many reports are stale, and those that count."""
        stale = 0
        good: dict[str, tuple[str, Task]] = {}
        for kind, task_name, token in reports:
            task = self.tasks.get(task_name)
            stolen = task and task.state == "running" and task.engine != name
            if task is None or stolen or task.token != token:
                stale += 1
            elif task.state == "running":
                good.setdefault(task_name, (kind, task))
        return stale, good.values()

    def _take(self, engine: Engine, nonce: str, want: int) -> list[Task]:
        if self.hwm:
            want = max(0, min(want, self.hwm - len(engine.held)))
        taken = engine.assigned[:want]
        del engine.assigned[:want]
        want -= len(taken)
        if want > 0:
            line = self.line(*engine.queues)
            if want > 1:
                serving = max(
                    sum(queue in other.queues for other in self.engines.values())
                    for queue in engine.queues
                )
                want = max(1, min(want, len(line) // (2 * serving)))
            taken += line[:want]
        for task in taken:
            task.state, task.engine = "running", engine.name
            task.token = f"{task.tries + 1}:{nonce}"
        engine.held += taken
        engine.held.sort(key=lambda one: one.rank)
        if taken:
            self._use(engine)
        return taken

    def _tick(self, stamp: int) -> int:
        now = self.now(stamp)
        passed, skew = now - self.last, now - stamp
        if skew > 0:
            skew = max(0, skew - passed // 10)
            now = max(self.last, stamp + skew)
        if self.last > 0 and passed > LEASE / 2:
            self.grace = now + LEASE
        self.last, self.skew = now, max(0, now - stamp)
        return now

    def live(self, stamp: int, name: str, number: int, ids: list[str]):
        """Return the word and what is not the engine's."""
        now = self._tick(stamp)
        engine = self.engines.get(name)
        if engine is None:
            return "unknown", []
        engine.lease = now + LEASE
        if number == engine.number:
            forgotten = [task for task in engine.held if task.name not in ids]
            engine.held = [task for task in engine.held if task.name in ids]
            if forgotten:
                engine.hidden = False
            self._put_back(forgotten, name)
        held = {task.name for task in engine.held}
        engine.away = False
        return "live", sorted(set(ids) - held)

    def gone(self, stamp: int, name: str, begun: list[str]) -> str:
        """Return the word."""
        self._tick(stamp)
        engine = self.engines.get(name)
        if engine:
            self._lose(engine, stamp, begun, 500)
        return "gone"

    def _lose(self, engine: Engine, stamp: int, begun: Any, budget: int) -> int:
        engine.hidden = True
        placed = engine.assigned[:budget]
        del engine.assigned[:budget]
        held = engine.held[: budget - len(placed)]
        del engine.held[: budget - len(placed)]
        lost = [task for task in held if begun is None or task.name in begun]
        back = [task for task in held if task not in lost]
        back += [task for task in lost if self._fail(task, stamp, death=True)]
        self._put_back(back, engine.name)
        self._put_back(placed, engine.name)
        moved = len(placed) + len(held)
        if moved < budget:
            del self.engines[engine.name]
        return moved

    def sweep(self, stamp: int, budget: int) -> bool:
        """Return whether the budget was used up."""
        now = self._tick(stamp)
        left = budget
        if now >= self.grace:
            over = [one for one in self.engines.values() if one.lease < now]
            over.sort(key=lambda one: (one.lease, one.name))
            for engine in over[:left]:
                if left > 0:
                    left -= self._lose(engine, stamp, None, left) + 1
        for state in ENDED:
            due = [task for task in self.tasks.values() if task.state == state]
            due = [task for task in due if task.expiry <= stamp]
            due.sort(key=lambda one: (one.expiry, one.name))
            for task in due[: max(0, left)]:
                del self.tasks[task.name]
                left -= 1
        return left <= 0

    def abort(self, stamp: int, names: list[str]) -> list[str]:
        """Return one word each."""
        words = []
        for name in names:
            task = self.tasks.get(name)
            if task is None:
                words.append("unknown")
            elif task.state in ENDED:
                words.append("ended")
            elif task.state == "running":
                words.append("running")
            else:
                if task.state == "assigned":
                    engine = self.engines[task.engine]
                    engine.assigned.remove(task)
                    engine.hidden = False
                self._end(task, "aborted", stamp)
                words.append("aborted")
        return words

    def watch(self, client: str, names: list[str]) -> list[str]:
        """Return the state of each."""
        if client:
            self.told.setdefault(client, [])
        states = []
        for name in names:
            task = self.tasks.get(name)
            states.append(task.state if task else "unknown")
            foreign = client and not name.startswith(f"{client}-")
            if task and foreign and task.state not in ENDED:
                task.watchers.add(client)
        return states

    def configure(self, hwm: int) -> None:
        """Change the bound on the load."""
        if hwm != self.hwm:
            for engine in self.engines.values():
                engine.hidden = False if engine.number else engine.hidden
        self.hwm = hwm

    # The whole

    def picture(self) -> dict[str, Any]:
        """Return all that the hub is to show."""
        lines: dict[str, list[str]] = defaultdict(list)
        for task in sorted(self.tasks.values(), key=lambda one: one.rank):
            if task.state == "ready":
                lines[task.queue].append(task.name)
        return {
            "tasks": {
                task.name: (task.state, task.tries, task.deaths, task.token)
                for task in self.tasks.values()
            },
            "ready": dict(lines),
            "assigned": {
                one.name: [task.name for task in one.assigned]
                for one in self.engines.values()
            },
            "held": {
                one.name: [task.name for task in one.held]
                for one in self.engines.values()
            },
            "leases": {one.name: one.lease for one in self.engines.values()},
            "clock": (self.last, self.skew, self.grace),
            "ended": {state: self.ended[state] for state in ENDED},
        }
