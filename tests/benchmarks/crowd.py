"""What one turn costs among many tasks that it does not take, and how long scripts run.

Stand-ins speak the real scripts, so nothing but Redis is measured. Hubs with and
without a crowd lie on the same server and have their turns in turn: what slows one
slows the other, and the ratio is what counts.
"""

from __future__ import annotations

import statistics
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redtask.hub import calls, scripts
from redtask.hub.calls import Call, Group, Report
from redtask.hub.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redtask.hub.records import Work
    from tests.benchmarks.contestants.base import Contestant
    from tests.benchmarks.rows import Plan

#: Turns that are measured at once, and how often.
TURNS: Final = 40
TIMES: Final = 9
#: A slice of tasks that just enter the line, and of others.
SLICE: Final = 500
SMALL: Final = 100
#: Timers that are due at once.
TIMERS: Final = 10_000
#: No script may hold Redis for longer, in us.
LONG: Final = 10_000
#: From here on they are counted among the slow, to know the worst.
SLOW: Final = 1000
MANY_ENGINES: Final = 200


class Hub:
    """A hub that is told the time, and engines that do nothing."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.keys = Keys(uuid.uuid4().hex)
        self.now = 1
        self._tasks = 0
        self._turns: dict[str, int] = {}
        self._loaded: set[str] = set()
        self.do(calls.configure({"testing": 1}, create=True, now=""))

    def do(self, call: Call[Any]) -> Any:
        """Perform a call."""
        script = scripts.bundle(call.script)
        if script.sha not in self._loaded:
            self._loaded.add(self.redis.script_load(script.text))
        reply = self.redis.evalsha(script.sha, 1, self.keys.root, *call.args)
        return call.read(reply)

    def submit(self, count: int, fn: str = "fn", **flags: Any) -> list[str]:
        """Submit tasks of one kind."""
        ids = [f"c-{self._tasks + at}" for at in range(count)]
        self._tasks += count
        size = SMALL if flags else SLICE
        for at in range(0, count, size):
            tasks: list[str | bytes] = []
            for name in ids[at : at + size]:
                tasks += (name, b"args")
            group = Group(fn, b"function", fn, flags, tasks)
            self.do(calls.submit([group], now=self.now))
        return ids

    def join(self, *engines: str) -> None:
        """Let engines join and come for work that there is not."""
        for engine in engines:
            self.do(calls.register(engine, "w", now=self.now))
            self.turn(engine)

    def turn(self, engine: str, *reports: Report, want: int = 1) -> list[Work]:
        """Report and take tasks."""
        number = self._turns[engine] = self._turns.get(engine, 0) + 1
        call = calls.turn(engine, number, f"n{number}", want, reports, now=self.now)
        work: list[Work] = self.do(call).work
        return work

    def sweep(self) -> Any:
        """Sweep once."""
        return self.do(calls.sweep(now=self.now))

    def size(self, task_id: str) -> int:
        """Return the bytes of a record and what stands beside it."""
        names = self.redis.scan_iter(f"{self.keys.task(task_id)}*", count=10_000)
        return sum(self.redis.memory_usage(name, samples=0) for name in names)


def done(work: Work) -> Report:
    """Say that a task returned."""
    fields = ("result", b"value", "repr", "'value'")
    return Report("ok", work.task_id, work.token, 0, 0, fields, work.folded)


def unmet(work: Work, *, by: str = "") -> Report:
    """Say that an engine lacks what a task needs."""
    fields = ("words", "no such thing") + (("by", by) if by else ())
    return Report("unmet", work.task_id, work.token, 0, 0, fields)


class Scripts(NamedTuple):
    """How long scripts ran, in us."""

    calls: int
    total: int

    @classmethod
    def read(cls, redis: Any) -> Scripts:
        """Ask the server."""
        about = redis.info("commandstats")["cmdstat_evalsha"]
        return cls(about["calls"], about["usec"])


def _mean(hub: Hub, steps: Iterable[Callable[[], Any]]) -> float:
    """Return how long a script of these steps runs, in us."""
    before = Scripts.read(hub.redis)
    for step in steps:
        step()
    after = Scripts.read(hub.redis)
    return (after.total - before.total) / (after.calls - before.calls)


def ratio(
    one: Callable[[], float], other: Callable[[], float], times: int = TIMES
) -> float:
    """Return how much longer one takes than the other, measured in turn."""
    found = []
    for number in range(times):
        if number % 2:
            mine, theirs = one(), other()
        else:
            theirs, mine = other(), one()
        found.append(mine / theirs)
    return statistics.median(found)


class Taker:
    """An engine that takes one task after the other."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        hub.submit(TURNS * (TIMES + 1) + 1)
        self.work = self._first()
        self()

    def _first(self) -> Work:
        # What it was rung for, or what waits in the line.
        (work,) = self.hub.turn("near")
        return work

    def _step(self) -> None:
        (self.work,) = self.hub.turn("near", done(self.work))

    def __call__(self) -> float:
        """Return how long a turn runs."""
        return _mean(self.hub, [self._step] * TURNS)


def _plain(redis: Any) -> Hub:
    hub = Hub(redis)
    hub.join("near")
    return hub


def _pinned(redis: Any, count: int) -> Hub:
    """Tasks for another engine alone, which is busy."""
    hub = _plain(redis)
    hub.join("far")
    hub.submit(count, targets="1")
    return hub


def _refused(redis: Any, count: int) -> Hub:
    """Tasks of a function that the engine has refused for good."""
    hub = _plain(redis)
    hub.submit(1, "picky")
    (work,) = hub.turn("near")
    hub.turn("near", unmet(work, by="require"))
    hub.submit(count, "picky")
    return hub


def _waiting(redis: Any, count: int) -> Hub:
    """Tasks that wait for one that does not end."""
    hub = _plain(redis)
    hub.join("far")
    (first,) = hub.submit(1, targets="1")
    hub.submit(count, after=f"as {first}")
    return hub


def crowd(contestant: Contestant, plan: Plan) -> dict[str, float]:
    """Measure it all, on a server of its own."""
    assert contestant.server is not None
    redis = contestant.server.redis
    return {
        **takes(redis, plan.crowd),
        **refusals(redis),
        **timers(redis),
        **release(redis, plan.dependents),
    }


def takes(redis: Any, count: int) -> dict[str, float]:
    """Return how much longer a turn takes beside each kind of crowd than alone."""
    alone = Taker(_plain(redis))
    figures = {"turn alone": alone()}
    for name, make in (
        ("pinned", _pinned),
        ("refused", _refused),
        ("waiting", _waiting),
    ):
        beside = Taker(make(redis, count))
        again = Taker(_plain(redis))
        figures[f"beside {name}"] = ratio(beside, again)
    return figures


def refusals(redis: Any) -> dict[str, float]:
    """Return what a refusal costs with many engines, in those with two."""

    def refuser(engines: int) -> Callable[[], float]:
        hub = Hub(redis)
        names = [f"e{number}" for number in range(engines)]
        hub.join(*names)

        def refuse() -> float:
            """Let some tasks be refused once each, by whoever has them."""
            found = []
            for _ in range(TURNS):
                (name,) = hub.submit(1)
                record = hub.redis.hgetall(hub.keys.task(name))
                engine = record[b"engine"].decode().partition("/")[2]
                (work,) = hub.turn(engine)
                found.append(_mean(hub, [partial(hub.turn, engine, unmet(work))]))
                hub.do(calls.abort([name], now=hub.now))
            return statistics.median(found)

        return refuse

    figures = {"refusal, 200 engines": ratio(refuser(MANY_ENGINES), refuser(2), 5)}
    sizes = [_size_of_refused(redis, engines) for engines in (20, MANY_ENGINES)]
    return {**figures, "bytes refused, 200 engines": sizes[1] / sizes[0]}


def _size_of_refused(redis: Any, engines: int) -> int:
    """Return the bytes of a task that all but one of the engines have refused."""
    hub = Hub(redis)
    names = [f"e{number}" for number in range(engines)]
    for name in names:
        hub.do(calls.register(name, "w", now=hub.now))
    (task,) = hub.submit(1)
    for name in names[:-1]:
        for work in hub.turn(name):
            hub.turn(name, unmet(work))
    return hub.size(task)


class Watch:
    """Finds scripts that hold Redis for long."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        redis.config_set("slowlog-log-slower-than", SLOW)
        redis.config_set("slowlog-max-len", 100_000)
        redis.slowlog_reset()
        self._before = Scripts.read(redis)

    def figures(self, what: str) -> Mapping[str, float]:
        """Return the typical and the worst, in ms, and the share that was too long."""
        after = Scripts.read(self._redis)
        count = after.calls - self._before.calls
        slow = [
            entry["duration"]
            for entry in self._redis.slowlog_get(100_000)
            if entry["command"].startswith(b"EVALSHA")
        ]
        return {
            f"{what} mean ms": (after.total - self._before.total) / count / 1000,
            f"{what} worst ms": max(slow, default=0) / 1000,
            f"{what} % too long": sum(one > LONG for one in slow) / count * 100,
        }


def release(redis: Any, count: int) -> dict[str, float]:
    """Release so many tasks that wait for the same one."""
    hub = Hub(redis)
    hub.join("near")
    (first,) = hub.submit(1)
    watch = Watch(redis)
    begun = time.perf_counter()
    hub.submit(count, after=f"as {first}")
    submitted = time.perf_counter() - begun
    figures = dict(watch.figures("submit"))
    (work,) = hub.turn("near")
    watch = Watch(redis)
    begun = time.perf_counter()
    hub.turn("near", done(work))
    while hub.sweep().more:
        pass
    released = time.perf_counter() - begun
    waiting = redis.zcard(hub.keys.root + ":waiting")
    if waiting:
        raise AssertionError(f"{waiting} of {count} tasks were not released")
    figures.update(watch.figures("release"))
    return {"entered/s": count / submitted, "released/s": count / released, **figures}


def timers(redis: Any) -> dict[str, float]:
    """Let many timers be due at once."""
    hub = Hub(redis)
    hub.submit(TIMERS, start_in=50)
    hub.now += 50
    watch = Watch(redis)
    begun = time.perf_counter()
    while hub.sweep().more:
        pass
    fired = time.perf_counter() - begun
    if redis.zcard(hub.keys.root + ":timers"):
        raise AssertionError("not all timers were fired")
    return {"timers/s": TIMERS / fired, **watch.figures("timers")}
