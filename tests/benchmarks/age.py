"""What each path costs Redis on a hub a week old, and on one of today.

Stand-ins speak the real scripts. The old hub has an entry in its history, an engine, a
client and a queued task for thousands of the new one's; both lie on the same server,
and each path is measured on one and the other in turn.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from redtask.hub import calls
from redtask.hub.calls import Group, Life, Report
from tests.benchmarks.crowd import Scripts, ratio
from tests.benchmarks.paths import ARGS, DIGEST, SLICE, TURN, Stand, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redtask.hub.records import Work

#: What is measured.
Act: TypeAlias = "Callable[[], object]"

#: How often a path is measured, and that is done at once.
TIMES: Final = 5
EACH: Final = 8
#: How often it is looked whether Redis still rewrites its log, in seconds.
WAIT: Final = 0.5
#: Tasks named in one call of abort, resubmit or purge, and told at once.
NAMED: Final = 40
TOLD: Final = 500
#: Engines of a worker.
CREW: Final = 4
#: One of so many tasks of the history has failed.
ODD: Final = 50
LEASE: Final = 3_600_000
#: Bytes that ended tasks may take: nothing is forgotten by itself.
ROOM: Final = 1 << 40
#: So many tasks of the history are named again.
KNOWN: Final = 10_000


class Size(NamedTuple):
    """How much a hub has."""

    #: Tasks that have ended, that are queued, and that wait for another.
    history: int
    queued: int
    waiting: int
    engines: int
    #: Clients with streams; the history was theirs.
    clients: int

    @classmethod
    def of(cls, history: int) -> Size:
        """Return one that fits: 2,000,000 ended, 1,000,000 queued, 10,000 engines."""
        return cls(
            history,
            history // 2,
            history // 20,
            max(2 * CREW, history // 200),
            max(2, history // 2000),
        )


#: As many engines as what looks at some looks at.
YOUNG: Final = Size(10_000, 5000, 500, 1200, 4)


class World(Stand):
    """A hub of some size, and what happens on it."""

    def __init__(self, redis: Any, hub: str, size: Size) -> None:
        super().__init__(redis, hub)
        self._size = size
        #: Some tasks of the history.
        self._ended: list[str] = []
        self._guests = 0
        self._has: dict[str, list[Work]] = {}
        self.do(calls.configure({"lease": LEASE, "keep_bytes": ROOM}))
        first: list[str | bytes] = [name := self.ids(1)[0], signed(name, ARGS)]
        self.submit(Group(DIGEST, b"blob", "work.nothing", {}, first))
        self._crew("past", "many", "single", "links", "short")
        self._live()
        for number in range(0, size.engines, CREW):
            for engine in range(number, number + CREW):
                self._join(f"engine{engine:06}", f"worker{number:06}", "default")
        self._wait()
        self.submit_many("long", size.queued)

    def _join(self, engine: str, worker: str, queue: str) -> None:
        about = {"host": worker, "pid": "4000", "boot": worker, "begun": "1"}
        self.do(calls.register(engine, worker, (queue,), about))
        self.turn(engine, 1, [])

    def _crew(self, *engines: str) -> None:
        """Let engines join that serve queues of their own; two serve the long one."""
        for engine in engines:
            queue = "long" if engine in {"many", "single"} else engine
            self._join(engine, "crew", queue)

    def submit_many(self, queue: str, count: int, client: str = "") -> None:
        """Submit tasks in slices."""
        for at in range(0, count, SLICE):
            ids = self.ids(min(SLICE, count - at))
            if client:
                ids = [f"{client}-{one.partition('-')[2]}" for one in ids]
            self.submit(self.group(ids, queue=queue))

    def _live(self) -> None:
        """Have clients do what they have done in a week."""
        size = self._size
        each = size.history // size.clients
        for number in range(size.clients):
            client = f"{number:016x}"
            self.do(calls.watch(client, []))
            self.submit_many("past", each, client)
            self._drain("past")

    def _drain(self, engine: str) -> None:
        """Let an engine do all that is queued for it."""
        works = self.turn(engine, TURN, self._has.pop(engine, []))
        while works:
            if len(self._ended) < KNOWN:
                self._ended += [work.task_id for work in works]
            works = self._end(engine, works)

    def _end(self, engine: str, works: Sequence[Work]) -> list[Work]:
        """Report tasks, of which some have failed, and take more."""
        odd = works[::ODD]
        self._report_odd(engine, odd)
        return self.turn(engine, TURN, [work for work in works if work not in odd])

    def _report_odd(self, engine: str, works: Sequence[Work]) -> None:
        """Report that tasks have failed."""
        told = ("error", signed("e", ARGS), "ename", "ValueError", "evalue", "no")
        self.do(
            calls.turn(
                engine,
                None,
                "",
                0,
                [
                    Report("error", one.task_id, one.token, 9, 9, told, one.folded)
                    for one in works
                ],
            )
        )

    def _wait(self) -> None:
        """Let tasks wait for one that no engine serves."""
        first, self._waiting = self.ids(1) + self.ids(1)
        self.submit(self.group([first], queue="never"))
        behind = {"after": f"as {first}", "queue": "never"}
        self.submit(self.group([self._waiting], **behind))
        for _ in range(0, self._size.waiting, NAMED):
            self.submit(self.group(self.ids(NAMED), **behind))

    # -- the paths: each returns what is measured, when all is there for it

    def one(self) -> Act:
        """Submit one task."""
        return partial(self.submit, self.group(self.ids(1), queue="long"))

    def slice(self) -> Act:
        """Submit many at once."""
        return partial(self.submit, self.group(self.ids(SLICE), queue="long"))

    def many(self) -> Act:
        """Report many, and take as many."""

        def turn() -> None:
            self._has["many"] = self.turn("many", TURN, self._has.get("many", []))

        return turn

    def single(self) -> Act:
        """Report one, and take one."""

        def turn() -> None:
            self._has["single"] = self.turn("single", 1, self._has.get("single", []))

        return turn

    def trip(self) -> Act:
        """Submit one that an idle engine does at once."""

        def act() -> None:
            (name,) = self.ids(1)
            self.submit(self.group([name]))
            run = self.redis.hget(self.keys.runs(), name)
            engine = run.decode().split(" ")[2].partition("/")[2]
            self.turn(engine, 1, [self.heard(engine)])

        return act

    def links(self) -> Act:
        """Submit one and another after it, which an idle engine does."""

        def act() -> None:
            first, second = self.ids(2)
            self.submit(
                self.group([first], queue="links"),
                self.group([second], queue="links", after=f"as {first}"),
            )
            works = [self.heard("links")]
            while works:
                works = self.turn("links", 1, works)

        return act

    def failure(self) -> Act:
        """Submit one that fails."""

        def act() -> None:
            self.submit(self.group(self.ids(1), queue="short"))
            self._report_odd("short", [self.heard("short")])
            self.turn("short", 1, [])

        return act

    def abort(self) -> Act:
        """Abort some that are queued."""
        ids = self.ids(NAMED)
        self.submit(self.group(ids, queue="long"))
        return partial(self.do, calls.abort(ids))

    def _some(self, count: int) -> list[str]:
        """Return tasks of the history, each once."""
        found, self._ended = self._ended[:count], self._ended[count:]
        return found

    def resubmit(self) -> Act:
        """Run some again."""
        old = self._some(NAMED)
        pairs = zip(old, self.ids(len(old)), strict=True)
        return partial(self.do, calls.resubmit(list(pairs)))

    def purge(self) -> Act:
        """Delete some."""
        return partial(self.do, calls.purge(self._some(NAMED)))

    def forget(self) -> Act:
        """Forget some whose time is over."""
        self.submit(self.group(self.ids(NAMED), queue="short", ttl=1))
        works = self.turn("short", NAMED, [])
        while works:
            works = self.turn("short", NAMED, works)
        return partial(self.do, calls.sweep(NAMED))

    def sweep(self) -> Act:
        """Sweep where nothing is due."""
        return partial(self.do, calls.sweep())

    def outcomes(self) -> Act:
        """Ask how many tasks have ended."""
        return partial(self.do, calls.watch("", self._ended[-NAMED:]))

    def client(self) -> Act:
        """Let a client come."""
        return partial(self.do, calls.watch(self._new("client"), []))

    def beat(self) -> Act:
        """Renew the leases of a worker's engines."""
        names = [name for name in self._numbers if name.startswith("engine")]
        lives = [Life(name, self._numbers[name], []) for name in names[-CREW:]]
        return partial(self.do, calls.beat("worker", lives))

    def engine(self) -> Act:
        """Let an engine come and go."""
        name = self._new("guest")

        def act() -> None:
            self._join(name, "guests", "default")
            self.do(calls.beat("guests", [Life(name, 1, [], gone="it went")]))

        return act

    def pause(self) -> Act:
        """Pause a queue that all engines serve, and resume it."""

        def act() -> None:
            self.do(calls.pause(["default"]))
            self.do(calls.pause(["default"], resume=True))

        return act

    def overview(self) -> Act:
        """Look at the first screen of ``redtask status``."""
        return partial(self.do, calls.overview(60))

    def engines(self) -> Act:
        """Look at the first engines."""
        return partial(self.do, calls.engines())

    def tasks(self) -> Act:
        """Look at the latest tasks."""

        def act() -> None:
            for state in ("completed", "failed", "ready", "waiting", "running"):
                self.do(calls.tasks(state))

        return act

    def events(self) -> Act:
        """Look at the latest events."""
        return partial(self.do, calls.events())

    def why(self) -> Act:
        """Ask why a task waits."""
        return partial(self.do, calls.why(self._waiting))

    def _new(self, what: str) -> str:
        self._guests += 1
        return f"{what}{self._guests}"


#: By name: as tables have it, and what is done.
PATHS: Final[Mapping[str, Callable[[World], Act]]] = {
    "submit of one": World.one,
    "submit of 500": World.slice,
    "turn of 200": World.many,
    "turn of one": World.single,
    "round trip": World.trip,
    "link of a chain": World.links,
    "failure": World.failure,
    "abort of 40": World.abort,
    "resubmit of 40": World.resubmit,
    "purge of 40": World.purge,
    "40 forgotten": World.forget,
    "sweep": World.sweep,
    "results of 40": World.outcomes,
    "new client": World.client,
    "beat of 4": World.beat,
    "engine comes and goes": World.engine,
    "pause, resume": World.pause,
    "overview": World.overview,
    "page of engines": World.engines,
    "pages of tasks": World.tasks,
    "page of events": World.events,
    "why": World.why,
}


def _cost(world: World, path: Callable[[World], Act]) -> float:
    """Return what a path costs Redis, in us."""
    acts = [path(world) for _ in range(EACH)]
    before = Scripts.read(world.redis)
    for act in acts:
        act()
    return (Scripts.read(world.redis).total - before.total) / EACH


def age(redis: Any, history: int) -> dict[str, float]:
    """Return what each path costs on an old hub, and that in what it does on a new."""
    # While Redis rewrites its log, the first write to each page copies it.
    redis.config_set("auto-aof-rewrite-percentage", 0)
    young, old = World(redis, "young", YOUNG), World(redis, "old", Size.of(history))
    while redis.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(WAIT)
    figures = {}
    for name, path in PATHS.items():
        on_old, on_young = partial(_cost, old, path), partial(_cost, young, path)
        on_young()
        figures[f"{name}, us"] = on_old()
        figures[name] = ratio(on_old, on_young, TIMES)
    return {**figures, "worst": max(figures[name] for name in PATHS)}
