"""The paths that are hot, and stand-ins that go them: nothing but scripts is called."""

from __future__ import annotations

import itertools
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redtask.ended import MOST
from redtask.flows import CALL
from redtask.hub import calls, scripts
from redtask.hub.calls import Group, Report
from redtask.hub.keys import Keys
from redtask.hub.records import read_bell
from redtask.slices import MOST_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redtask.hub.calls import Call
    from redtask.hub.records import Work

#: As long as those of an empty task are. They are signed, so no two are the same:
#: Lua keeps texts in a table by some of their letters, and is slow with similar ones.
ARGS: Final = 56
RESULT: Final = 46
DIGEST: Final = "d" * 22
#: Tasks of a turn and of a slice in bulk.
TURN: Final = 200
SLICE: Final = 500
SLICES: Final = 6
#: How often what is small is done.
TIMES: Final = 100
#: Tasks of a chain that are submitted in one call, and of a fan.
LINKS: Final = 100
FAN: Final = 100
#: Most links that a turn takes along.
ALONG: Final = 48
#: Tasks of each layer of a graph, each after some of the layer before.
LAYER: Final = 100
LAYERS: Final = 5
GRAPH: Final = LAYER * LAYERS
PARENTS: Final = 3


def signed(name: str, size: int) -> bytes:
    """Return so many bytes as if they were signed: a key's name, a MAC, a pickle."""
    return (b"kid0" + sha256(name.encode()).digest()[:16]).ljust(size, b"p")


class Stand:
    """A hub on a server, and engines that do nothing."""

    def __init__(self, redis: Any, hub: str = "counted") -> None:
        self.redis = redis
        self.keys = Keys(hub)
        self._tasks = 0
        self._numbers: dict[str, int] = {}
        self._shas: set[str] = set()
        self.do(calls.configure({}, create=True))

    def send(self, call: Call[Any]) -> Any:
        """Perform a call and return its bare reply."""
        return self.redis.evalsha(self.load(call.script), 1, self.keys.root, *call.args)

    def load(self, name: str) -> str:
        """Let the server have a script, if it has not; return its digest."""
        script = scripts.bundle(name)
        if script.sha not in self._shas:
            self._shas.add(self.redis.script_load(script.text))
        return script.sha

    def do(self, call: Call[Any]) -> Any:
        """Perform a call."""
        return call.read(self.send(call))

    def ids(self, count: int) -> list[str]:
        """Return names for tasks."""
        self._tasks += count
        first = self._tasks - count
        zero = "0" if count > 1 else ""
        return [f"c0ffee00c0ffee00-{zero}{first + at}" for at in range(count)]

    def group(self, ids: list[str], **flags: Any) -> Group:
        """Return tasks of one kind."""
        tasks: list[str | bytes] = []
        for name in ids:
            tasks += (name, signed(name, ARGS))
        return Group(DIGEST, b"", "work.nothing", flags, tasks)

    def submit(self, *groups: Group) -> None:
        """Submit them."""
        self.do(calls.submit(groups))

    def turn(self, engine: str, want: int, works: list[Work]) -> list[Work]:
        """Report that these are done, and take some."""
        number = self._numbers[engine] = self._numbers.get(engine, 0) + 1
        reports = [
            Report(
                "ok",
                work.task_id,
                work.token,
                3210,
                12,
                ("result", signed(work.task_id, RESULT), "repr", "None"),
                work.folded,
            )
            for work in works
        ]
        now, after = self.nonce(number), self.nonce(number + 1)
        call = calls.turn(engine, number, now, want, reports, upcoming=after)
        taken: list[Work] = self.do(call).work
        return taken

    @staticmethod
    def nonce(number: int) -> str:
        """Return the nonce of a turn."""
        return f"nonce{number:07}"

    def heard(self, engine: str) -> Work:
        """Return what came in the bell."""
        ring = self.redis.lpop(self.keys.bell(engine))
        found = read_bell(ring)
        assert found is not None
        self._numbers[engine] += 1
        return found[1]


class Step(NamedTuple):
    """Something to be measured, in its turn."""

    #: What is done.
    path: str
    #: Of so many tasks, with so many calls.
    tasks: int
    calls: int
    act: Callable[[], None]


class Paths:
    """What is done on each path; there are two engines, and one has other work."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        first: list[str | bytes] = [name := stand.ids(1)[0], signed(name, ARGS)]
        stand.submit(Group(DIGEST, b"blob", "work.nothing", {}, first))
        engines = ["engine-number-one", "engine-number-two"]
        for engine in engines:
            stand.do(calls.register(engine, "worker", ("default",), {"host": "here"}))
        free = [engine for engine in engines if not stand.turn(engine, 1, [])]
        #: The engine that is free, and what it has.
        self.engine = free[0]
        self.has: list[Work] = []

    def __iter__(self) -> Iterator[Step]:
        self.trips()
        yield Step("round trip", TIMES, 2 * TIMES, self.trips)
        self.busy()
        yield Step("submit of one", TIMES, TIMES, self.singles)
        yield Step("submit of a slice", SLICE * SLICES, SLICES, self.slices)
        self.turns(TURN, 2)
        yield Step("turn in bulk", TURN * 4, 4, lambda: self.turns(TURN, 4))
        self.turns(1, 1)
        yield Step("turn with one", TIMES, TIMES, lambda: self.turns(1, TIMES))
        self.drain()
        yield Step("submit of a chain", LINKS, 1, self.chain)
        self.hear()
        yield Step("turn in a chain", LINKS, LINKS, lambda: self.turns(1, LINKS))
        self.drain()
        yield Step("submit of a fan", FAN, 1, self.fan)
        self.hear()
        yield Step("release of a fan", FAN, 1, lambda: self.turns(1, 1))
        self.drain()
        self.join()
        self.hear()
        self.turns(FAN, 1)
        yield Step("end of a fan", len(self.has), 1, lambda: self.turns(1, 1))
        self.drain()
        self.chain()
        self.hear()
        yield Step("links taken along", LINKS, LINKS // ALONG + 1, self.drain)
        first = self._stand.ids(LAYER)
        self._stand.submit(self._stand.group(first))
        yield Step("submit of a graph", GRAPH, LAYERS, lambda: self.graph(first))
        self.hear()
        yield Step("turns of a graph", GRAPH + LAYER, LAYERS + 3, self.drain)
        yield from self.acts()

    def acts(self) -> Iterator[Step]:
        """Yield what clients do with as many tasks as they name in one call."""
        stand = self._stand
        # What is measured is not that it is loaded.
        for name in ("link", "abort", "resubmit", "purge"):
            stand.load(name)
        last, gate, parent, *members = stand.ids(MOST_MEMBERS + 3)
        stand.submit(stand.group(members))
        waits = {"after": f"as {members[0]}", "gate": gate, "later": 1}
        stand.submit(stand.group([last], **waits))
        link = calls.link(last, "after", members)
        yield Step("link", len(members), 1, lambda: stand.do(link))
        stand.do(calls.abort([last, gate, *members]))
        some, again = stand.ids(CALL), stand.ids(MOST)
        stand.submit(stand.group([parent]))
        stand.submit(stand.group(some, after=f"as {parent}"))
        yield Step("abort", CALL, 1, lambda: stand.do(calls.abort(some)))
        pairs = list(zip(some, again, strict=False))
        yield Step("resubmit", MOST, 1, lambda: stand.do(calls.resubmit(pairs)))
        yield Step("purge", CALL, 1, lambda: stand.do(calls.purge(some)))

    def trips(self) -> None:
        """Let tasks come one by one to an engine that is idle."""
        stand = self._stand
        for _ in range(TIMES):
            stand.submit(stand.group(stand.ids(1)))
            stand.turn(self.engine, 1, [stand.heard(self.engine)])

    def busy(self) -> None:
        """Give the engine something."""
        self._stand.submit(self._stand.group(self._stand.ids(1)))
        self.hear()

    def hear(self) -> None:
        """Let the engine have what it was rung for."""
        self.has = [self._stand.heard(self.engine)]

    def singles(self) -> None:
        """Submit tasks one by one while nobody is idle."""
        for _ in range(TIMES):
            self._stand.submit(self._stand.group(self._stand.ids(1)))

    def slices(self) -> None:
        """Submit many."""
        for _ in range(SLICES):
            self._stand.submit(self._stand.group(self._stand.ids(SLICE)))

    def turns(self, want: int, times: int) -> None:
        """Report what there is and take more."""
        for _ in range(times):
            self.has = self._stand.turn(self.engine, want, self.has)

    def drain(self) -> None:
        """Leave nothing."""
        while self.has:
            self.turns(SLICE, 1)

    def chain(self) -> None:
        """Submit a chain in one call."""
        stand = self._stand
        ids = stand.ids(LINKS + 1)
        after = itertools.pairwise(ids)
        groups = [stand.group([one], after=f"as {before}") for before, one in after]
        stand.submit(stand.group(ids[:1]), *groups)

    def graph(self, first: list[str]) -> None:
        """Submit layers of tasks behind these, a layer in a call."""
        stand, before = self._stand, first
        for step in range(1, LAYERS + 1):
            ids, groups = stand.ids(LAYER), []
            for number, one in enumerate(ids):
                places = {(number + step * more) % LAYER for more in range(PARENTS)}
                parents = " ".join(before[place] for place in sorted(places))
                groups.append(stand.group([one], after=f"as {parents}"))
            stand.submit(*groups)
            before = ids

    def fan(self) -> None:
        """Submit tasks that wait for the same one."""
        stand = self._stand
        first, *others = stand.ids(FAN + 1)
        stand.submit(stand.group([first]), stand.group(others, after=f"as {first}"))

    def join(self) -> None:
        """Submit tasks, and one that waits for all of them, which it is told later."""
        stand = self._stand
        last, gate, *others = stand.ids(4 * FAN + 2)
        after = f"as {others[0]}"
        stand.submit(
            stand.group(others), stand.group([last], after=after, gate=gate, later=1)
        )
        stand.do(calls.link(last, "after", others))
        stand.do(calls.open_gate(gate))
