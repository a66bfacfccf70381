"""What is measured, one function for each row."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests import shapes
from tests.benchmarks.usage import Commands, bare_script, processor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.contestants.base import Contestant

_THREADS: Final = 8
#: Figures by name.
Figures: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to be done."""

    #: Tasks of a bulk run; other rows have a share of them.
    tasks: int = 20_000
    #: Tasks of the backlog.
    backlog: int = 100_000
    #: For how long the idle worker is watched, in seconds.
    idle: float = 10.0
    #: Size of a payload, in bytes.
    payload: int = 100_000
    #: Tasks of a chain.
    links: int = 3000
    #: Tasks of a fan, between its first and its last.
    fan: int = 5000
    #: Nodes of the layered graph.
    nodes: int = 10_000
    #: Tasks that are pinned, refused or waiting while others are taken; and that many
    #: engines do.
    crowd: int = 100_000
    #: Tasks that wait for the same one, with stand-ins and with real engines.
    dependents: int = 100_000
    very_many: int = 1_000_000
    #: Tasks that have ended on an old hub.
    history: int = 2_000_000

    @classmethod
    def quick(cls) -> Plan:
        """Return one that takes seconds."""
        return cls(
            tasks=2000,
            backlog=4000,
            idle=1.0,
            links=200,
            fan=500,
            nodes=1000,
            crowd=2000,
            dependents=2000,
            very_many=2000,
            history=20_000,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the tables."""

    #: As ``--only`` has it.
    name: str
    #: What it is, in some words.
    about: str
    #: Measures a contestant. One that is fresh is closed, else open and manned.
    measure: Callable[[Contestant, Plan], Figures]
    #: Does it need a contestant of its own each time?
    fresh: bool = False
    #: It is not repeated more often than this.
    most: int = 100


def _check(values: Sequence[Any], expected: Sequence[Any]) -> None:
    if sorted(values) != sorted(expected):
        raise AssertionError(f"{len(values)} results are not those of the tasks")


def _count(contestant: Contestant, tasks: int) -> int:
    return max(20, int(tasks * contestant.share))


def bulk(contestant: Contestant, plan: Plan) -> Figures:
    """Submit many tasks in one call and read their results."""
    numbers = range(_count(contestant, plan.tasks))
    meter = contestant.meter()
    meter.start()
    contestant.submit_many(numbers)
    values = contestant.gather()
    figures = meter.stop(len(numbers))
    _check(values, numbers)
    if contestant.scripts and contestant.server is not None:
        figures["bare script"] = bare_script(contestant.server.redis)
        figures["in bare scripts"] = figures["redis"] / figures["bare script"]
    return figures


def single(contestant: Contestant, plan: Plan) -> Figures:
    """Submit tasks one by one, then read their results."""
    numbers = range(_count(contestant, plan.tasks // 5))
    meter = contestant.meter()
    meter.start()
    contestant.submit_each(numbers)
    values = contestant.gather()
    figures = meter.stop(len(numbers))
    _check(values, numbers)
    return figures


def threads(contestant: Contestant, plan: Plan) -> Figures:
    """Submit tasks one by one from one thread and from eight, and read the results."""
    count = _count(contestant, plan.tasks // 5) // _THREADS * _THREADS
    figures: Figures = {}
    for number in (1, _THREADS):
        share = range(count // number)
        submitting = [
            threading.Thread(target=contestant.submit_each, args=(share,))
            for _ in range(number)
        ]
        meter = contestant.meter()
        meter.start()
        for thread in submitting:
            thread.start()
        for thread in submitting:
            thread.join()
        values = contestant.gather()
        found = meter.stop(count)
        _check(values, [*share] * number)
        figures[f"rate of {number}"] = found["rate"]
        figures[f"scripts of {number}"] = found["scripts"]
    figures["8 / 1"] = figures[f"rate of {_THREADS}"] / figures["rate of 1"]
    return figures


def trip(contestant: Contestant, plan: Plan) -> Figures:
    """Run one task after the other, each on an idle cluster."""
    count = _count(contestant, max(100, plan.tasks // 20))
    taken = []
    meter = contestant.meter()
    meter.start()
    for number in range(count):
        begun = time.perf_counter()
        value = contestant.trip(number)
        taken.append(time.perf_counter() - begun)
        assert value == number
    figures = meter.stop(count)
    centiles = statistics.quantiles(taken, n=100)
    return {"p50": centiles[49] * 1e6, "p99": centiles[98] * 1e6, **figures}


def payload(contestant: Contestant, plan: Plan) -> Figures:
    """Send large arguments and get them back."""
    count = max(10, plan.tasks // 200)
    data = bytes(plan.payload)
    meter = contestant.meter()
    meter.start()
    contestant.submit_many([data] * count)
    values = contestant.gather()
    figures = meter.stop(count)
    _check(values, [data] * count)
    return {"MB/s": figures["rate"] * len(data) / 1e6, **figures}


def chain(contestant: Contestant, plan: Plan) -> Figures:
    """Run tasks each after the one before."""
    return _graph(contestant, shapes.chain(_count(contestant, plan.links)))


def fan(contestant: Contestant, plan: Plan) -> Figures:
    """Run one task, many after it, and one after all of those."""
    return _graph(contestant, shapes.fan(_count(contestant, plan.fan)))


def dag(contestant: Contestant, plan: Plan) -> Figures:
    """Run layers of 100 tasks, each after three of the layer before."""
    return _graph(contestant, shapes.layered(_count(contestant, plan.nodes), 100))


def _graph(contestant: Contestant, shape: shapes.Shape) -> Figures:
    meter = contestant.meter()
    meter.start()
    contestant.submit_graph(shape)
    values = contestant.gather()
    figures = meter.stop(len(shape))
    _check(values, range(len(shape)))
    return figures


def schemes(contestant: Contestant, plan: Plan) -> Figures:
    """Do tasks by each scheme in turn: those of a map, and one by one.

    Many at once come to engines that are busy, and no scheme is asked; each of those
    submitted one by one may find an engine idle, which is then chosen.
    """
    figures = {}
    for scheme in contestant.schemes():
        contestant.choose_by(scheme)
        contestant.trip(0)
        for name, submit, count in (
            ("drain", contestant.submit_many, plan.tasks // 2),
            ("one by one", contestant.submit_each, plan.tasks // 10),
        ):
            meter = contestant.meter()
            meter.start()
            submit(range(count))
            values = contestant.gather()
            figures[f"{scheme} {name}"] = meter.stop(count)["rate"]
            _check(values, range(count))
    contestant.choose_by("leastload")
    return figures


def queue(contestant: Contestant, plan: Plan) -> Figures:
    """Submit while nobody works, then let them work."""
    return _queue(contestant, plan.tasks)


def backlog(contestant: Contestant, plan: Plan) -> Figures:
    """Do the same with many."""
    return _queue(contestant, plan.backlog)


def _queue(contestant: Contestant, count: int) -> Figures:
    contestant.open()
    assert contestant.server is not None
    redis = contestant.server.redis
    few, numbers = range(count // 20), range(count)
    begun = time.perf_counter()
    contestant.submit_each(few)
    one_by_one = time.perf_counter() - begun
    memory = _memory(redis)
    begun = time.perf_counter()
    contestant.submit_many(numbers)
    at_once = time.perf_counter() - begun
    memory = _memory(redis) - memory
    contestant.man()
    meter = contestant.meter()
    meter.start()
    values = contestant.gather()
    figures = meter.stop(len(few) + count)
    _check(values, [*few, *numbers])
    return {
        "submit one": len(few) / one_by_one,
        "submit many": count / at_once,
        "bytes": memory / count,
        "drain": figures["rate"],
    }


def _memory(redis: Any) -> int:
    """Return what the data take: without the buffers of connections and the log."""
    about = redis.info("memory")
    buffers = about["mem_clients_normal"] + about["mem_aof_buffer"]
    return int(about["used_memory"] - buffers)


def crowd(contestant: Contestant, plan: Plan) -> Figures:
    """See what scripts cost among many other tasks."""
    # Of redtask's, which other queues' environments have not.
    from tests.benchmarks.crowd import crowd as measured  # noqa: PLC0415

    return measured(contestant, plan)


def crew(contestant: Contestant, plan: Plan) -> Figures:
    """See what tasks cost with many engines."""
    from tests.benchmarks.crew import crew as measured  # noqa: PLC0415 - as above

    assert contestant.server is not None
    return measured(contestant.server.redis, plan.crowd)


def age(contestant: Contestant, plan: Plan) -> Figures:
    """See what each path costs on a hub that has much."""
    from tests.benchmarks.age import age as measured  # noqa: PLC0415 - as above

    assert contestant.server is not None
    return measured(contestant.server.redis, plan.history)


def dependents(contestant: Contestant, plan: Plan) -> Figures:
    """Submit very many tasks that wait for one, and let engines do them all."""
    # Of redtask's, which other queues' environments have not.
    from tests.benchmarks.crowd import Watch  # noqa: PLC0415

    contestant.open()
    assert contestant.server is not None
    numbers = range(plan.very_many)
    watch, begun = Watch(contestant.server.redis), time.perf_counter()
    contestant.submit_after(0, numbers)
    figures = {"submit": len(numbers) / (time.perf_counter() - begun)}
    figures.update(watch.figures("submit"))
    contestant.man()
    watch, begun = Watch(contestant.server.redis), time.perf_counter()
    values = contestant.gather()
    figures["rate"] = len(numbers) / (time.perf_counter() - begun)
    figures.update(watch.figures("work"))
    _check(values, [0, *numbers])
    return figures


def idle(contestant: Contestant, plan: Plan) -> Figures:
    """Watch a worker of four engines that has nothing to do."""
    contestant.open()
    contestant.man()
    assert contestant.server is not None
    redis, pid = contestant.server.redis, contestant.server.pid
    # What starting leaves to do is not idleness.
    time.sleep(min(2.0, plan.idle))
    pids = list(contestant.pids())
    commands, begun = Commands.read(redis).total, time.perf_counter()
    used, used_by_redis = sum(map(processor, pids)), processor(pid)
    time.sleep(plan.idle)
    used = sum(map(processor, pids)) - used
    used_by_redis = processor(pid) - used_by_redis
    seconds = time.perf_counter() - begun
    commands = Commands.read(redis).total - commands
    return {
        "cpu %": used / seconds * 100,
        "redis cpu %": used_by_redis / seconds * 100,
        "commands/s": commands / seconds,
        "MB per engine": _private(pids) / len(pids) / 1e6,
    }


def _private(pids: Sequence[int]) -> int:
    """Return how much memory processes have to themselves, in bytes."""
    total = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        for line in rollup.splitlines():
            name, _, rest = line.partition(":")
            if name in {"Private_Clean", "Private_Dirty"}:
                total += int(rest.split()[0]) * 1024
    return total


ROWS: Final = {
    row.name: row
    for row in (
        Row("bulk", "one map of empty tasks, results read back", bulk),
        Row("single", "one apply_async per task, then the results", single),
        Row("threads", "one apply_async per task, from 1 and 8 threads", threads),
        Row("trip", "one apply_sync after the other", trip),
        Row("payload", "100 kB in and out", payload),
        Row("chain", "tasks each after the one before", chain, most=3),
        Row("fan", "one task, many after it, one after those", fan, most=3),
        Row("dag", "layers of 100 tasks, each after 3 of the last", dag, most=3),
        Row("schemes", "tasks/s by each scheme: a map, and one by one", schemes),
        Row("crowd", "scripts among many other tasks", crowd, fresh=True, most=1),
        Row("crew", "us of Redis per task, by engines", crew, fresh=True, most=1),
        Row("age", "us of Redis, and old hub / new", age, fresh=True, most=1),
        Row("dependents", "very many after one", dependents, fresh=True, most=1),
        Row("queue", "submit with no engines, then drain", queue, fresh=True),
        Row("backlog", "the same, long", backlog, fresh=True, most=3),
        Row("idle", "a worker of 4 with nothing to do", idle, fresh=True, most=2),
    )
}
