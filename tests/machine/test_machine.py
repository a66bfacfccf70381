"""Random walks: every script in any order, against a model in plain dicts.

``--machine-profile=long`` walks further and prints what it saw,
``--machine-server=system`` walks on a real server.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group, Life, Report
from tests import invariants, servers
from tests.hubs import Hub
from tests.model import ENDED, Model
from tests.recorder import Recorder

# Shrinking takes minutes; the steps of a walk that failed can be cut by hand.
_ALL = settings(phases=[Phase.generate], report_multiple_bugs=False)
PROFILES = {
    "ci": settings(_ALL, max_examples=60, stateful_step_count=25, derandomize=True),
    "long": settings(_ALL, max_examples=400, stateful_step_count=60),
}
QUEUES = st.sampled_from([["a"], ["a", "b"], ["b"], ["b", "a"]])
CLIENTS = ("c", "d")
FLAGS = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([0, 0, 0, 5, -5]),
        "retries": st.sampled_from([0, 0, 1, 4]),
    },
    optional={"ttl": st.sampled_from([0, 50])},
)
BODIES = {"ok": ("result", b"r"), "error": ("error", b"e"), "unbegun": ()}
KINDS = st.lists(st.sampled_from(["ok", "ok", "error", "unbegun", "keep"]), max_size=5)
KIND = st.sampled_from(sorted(BODIES))
OLD = st.lists(st.integers(0, 20), max_size=2)
HWM = st.sampled_from([0, 0, 1, 2, 4])
# Small numbers that pick one of what there is.
WHICH = st.integers(0, 7)
STEPS = [0, 1, 100, 5000, 16000, 60000, 3_700_000, 90_000_000, -1, -4000, -40000]


def pick(things, which):
    """Return one of these, whatever their number."""
    things = sorted(things)
    return things[which % len(things)]


class Walk(RuleBasedStateMachine):
    """One walk through one hub."""

    server: servers.Server
    counts: Counter[str]
    recorder: Recorder

    def __init__(self):
        super().__init__()
        server = servers.FakeServer() if not self.server.real else self.server
        with server.redis() as client:
            client.flushall()
        self.hub = Hub(server)
        self.model = Model()
        self.stamp = 1_000_000
        self.next_task = self.next_engine = self.nonces = 0
        #: Everything ever sent or given, to be sent again.
        self.turns: list[tuple[Any, ...]] = []
        self.submits: list[tuple[Any, ...]] = []
        self.works: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.before = {}
        self.counts["sequences"] += 1

    def teardown(self):
        self.drain()
        self.hub.close()

    def do(self, call):
        """Call a script, after the model did; then both agree."""
        self.counts["steps"] += 1
        reply = self.hub.send(call)
        self.recorder.heard(call.script, reply)
        self.agrees()
        return call.read(reply)

    # Clients

    @initialize(
        watched=st.booleans(),
        hwm=HWM,
        engines=st.lists(QUEUES, min_size=1, max_size=3),
        first=st.booleans(),
        count=st.integers(1, 9),
        flags=FLAGS,
    )
    def begin(self, watched, hwm, engines, first, count, flags):
        """Every walk begins with some engines and some work."""
        self.configure(hwm)
        if watched:
            for client in CLIENTS:
                self.model.watch(client, [])
                self.do(calls.watch(client, [], now=self.stamp))
        if first:
            self.submit("c", "a", count, flags, 3)
        for queues in engines:
            self.register(queues)
        if not first:
            self.submit("c", "a", count, flags, 100)

    @rule(
        client=st.sampled_from(CLIENTS),
        queue=st.sampled_from(["a", "b"]),
        count=st.integers(1, 4),
        flags=FLAGS,
        size=st.sampled_from([3, 100]),
    )
    def submit(self, client, queue, count, flags, size):
        names = [f"{client}-{self.next_task + n}" for n in range(count)]
        self.next_task += count
        self.names += names
        self.submits.append((queue, names, b"x" * size, flags))
        self.send_submit(*self.submits[-1])

    @precondition(lambda self: self.submits)
    @rule(which=WHICH, how=st.sampled_from(["same", "more", "other"]))
    def submit_again(self, which, how):
        queue, names, args, flags = self.submits[-1 - which % len(self.submits)]
        if how == "more":
            names = [*names, f"c-{self.next_task}"]
            self.next_task += 1
        self.send_submit(queue, names, b"other" if how == "other" else args, flags)

    def send_submit(self, queue, names, args, flags):
        expected = self.model.submit(self.stamp, queue, names, args, **flags)
        tasks = [part for name in names for part in (name, args)]
        group = Group("fn", b"blob", "fn", {"queue": queue, **flags}, tasks)
        call = calls.submit([group], now=self.stamp)
        if expected is None:
            with pytest.raises(error.SubmitConflict):
                self.do(call)
            self.counts["conflict"] += 1
        else:
            reply = self.do(call)
            assert (reply.new, reply.known) == expected

    @precondition(lambda self: self.names)
    @rule(which=st.lists(WHICH, min_size=1, max_size=3))
    def abort(self, which):
        names = [self.names[-1 - one % len(self.names)] for one in which]
        names.append("c-999999")
        expected = self.model.abort(self.stamp, names)
        assert self.do(calls.abort(names, now=self.stamp)) == expected

    @precondition(lambda self: self.names)
    @rule(
        client=st.sampled_from(["", *CLIENTS]),
        which=st.lists(WHICH, min_size=1, max_size=4),
    )
    def watch(self, client, which):
        names = [self.names[-1 - one % len(self.names)] for one in which]
        if client and client not in self.model.told:
            client = ""
        expected = self.model.watch(client, names)
        told = self.do(calls.watch(client, names, now=self.stamp)).outcomes
        assert [one.state for one in told] == expected
        for name, one in zip(names, told, strict=True):
            assert one.ended == (one.state in ENDED)
            if one.state == "completed":
                assert (one.kind, one.payload) == ("r", b"r")
                assert one.token == self.model.tasks[name].token

    @rule(hwm=HWM)
    def configure(self, hwm):
        self.model.configure(hwm)
        self.do(calls.configure({"hwm": hwm}, now=self.stamp))

    # Engines

    @rule(queues=QUEUES)
    def register(self, queues):
        if len(self.model.engines) < 4:
            name = f"e{self.next_engine}"
            self.next_engine += 1
            self.model.register(self.stamp, name, queues)
            self.do(calls.register(name, "w", queues, now=self.stamp))
            self.send_turn(name, 1, self.fresh(), 1, [])

    @precondition(lambda self: self.model.engines)
    @rule(which=WHICH)
    def register_again(self, which):
        engine = self.model.engines[pick(self.model.engines, which)]
        self.model.register(self.stamp, engine.name, engine.queues)
        self.do(calls.register(engine.name, "w", engine.queues, now=self.stamp))

    def fresh(self):
        """Return a nonce that was never used."""
        self.nonces += 1
        return f"n{self.nonces}"

    def send_turn(self, name, number, nonce, want, reports):
        self.turns.append((name, number, nonce, want, reports))
        word, stale, work = self.model.turn(
            self.stamp, name, number, nonce, want, reports
        )
        said = [
            Report(kind, task, token, 3, 5, BODIES[kind])
            for kind, task, token in reports
        ]
        call = calls.turn(name, number, nonce, want, said, now=self.stamp)
        reply = self.do(call)
        assert reply.registered == (word != "gone")
        assert reply.stale == stale
        found = [(one.task_id, one.token) for one in reply.work]
        expected = [(task.name, task.token) for task in work]
        if word == "again":
            found, expected = sorted(found), sorted(expected)
        assert found == expected
        self.works += found

    def outcomes(self, name, kinds):
        """Report so many of what the engine has, in the order of its taking."""
        engine = self.model.engines.get(name)
        held = engine.held if engine else []
        return [
            (kind, task.name, task.token)
            for kind, task in zip(kinds, held, strict=False)
            if kind in BODIES
        ]

    def old(self, kind, which):
        """Report what was taken once."""
        works = [self.works[-1 - one % len(self.works)] for one in which if self.works]
        return [(kind, *work) for work in works]

    @precondition(lambda self: self.model.engines)
    @rule(which=WHICH, want=st.integers(0, 5), kinds=KINDS, kind=KIND, old=OLD)
    def turn(self, which, want, kinds, kind, old):
        engine = self.model.engines[pick(self.model.engines, which)]
        reports = self.outcomes(engine.name, kinds) + self.old(kind, old)
        self.send_turn(engine.name, engine.number + 1, self.fresh(), want, reports)

    @precondition(lambda self: self.model.engines)
    @rule(which=WHICH, kinds=KINDS, kind=KIND, old=OLD)
    def only_report(self, which, kinds, kind, old):
        name = pick(self.model.engines, which)
        reports = self.old(kind, old) + self.outcomes(name, kinds)
        self.send_turn(name, None, "", 0, reports)

    @precondition(lambda self: self.turns)
    @rule(which=st.integers(0, 9), more=KINDS)
    def turn_again(self, which, more):
        name, number, nonce, want, reports = self.turns[-1 - which % len(self.turns)]
        self.counts["turns again"] += 1
        self.send_turn(
            name, number, nonce, want, [*reports, *self.outcomes(name, more)]
        )

    # Supervisors and time

    @precondition(lambda self: self.next_engine)
    @rule(which=WHICH, back=st.integers(0, 1), wrong=st.booleans(), skip=WHICH)
    def live(self, which, back, wrong, skip):
        name = f"e{which % self.next_engine}"
        engine = self.model.engines.get(name)
        number = engine.number - back if engine else 1
        ids = [task.name for task in engine.held] if engine else []
        if wrong:
            ids = [name for at, name in enumerate(ids) if at != skip]
            ids += self.names[:1]
        expected = self.model.live(self.stamp, name, number, ids)
        lives = [Life(name, number, list(dict.fromkeys(ids)))]
        (one,) = self.do(calls.beat("w", lives, now=self.stamp))
        assert (one.word, list(one.foreign)) == expected

    @precondition(lambda self: self.next_engine)
    @rule(which=WHICH, begun=st.integers(0, 3))
    def gone(self, which, begun):
        name = f"e{which % self.next_engine}"
        engine = self.model.engines.get(name)
        ids = [task.name for task in engine.held[:begun]] if engine else []
        word = self.model.gone(self.stamp, name, ids)
        lives = [Life(name, 0, ids, "killed")]
        (one,) = self.do(calls.beat("w", lives, now=self.stamp))
        assert one.word == word

    @rule(budget=st.sampled_from([1, 2, 3, 200, 200]))
    def sweep(self, budget):
        more = self.model.sweep(self.stamp, budget)
        swept = self.do(calls.sweep(budget, now=self.stamp))
        # What the model does not know, functions, counts as well.
        assert swept.more or not more

    @rule(step=st.sampled_from(STEPS))
    def time_passes(self, step):
        self.stamp = max(1, self.stamp + step)

    @rule(steps=st.integers(1, 5))
    def the_living_beat(self, steps):
        for _ in range(steps):
            self.stamp += 5000
            for engine in list(self.model.engines.values())[1:]:
                ids = [task.name for task in engine.held]
                self.model.live(self.stamp, engine.name, engine.number, ids)
                life = Life(engine.name, engine.number, ids)
                self.do(calls.beat("w", [life], now=self.stamp))
            self.sweep(200)

    # What must hold

    def agrees(self):
        """Compare all of the hub with the model, and check what always holds."""
        model = self.model
        draining = any(one.load > model.hwm > 0 for one in model.engines.values())
        away = {one.name for one in model.engines.values() if one.away}
        seen = invariants.check(
            self.hub.redis, self.hub.root, quiet=True, draining=draining, away=away
        )
        found = {
            "tasks": {
                name: (
                    task["state"],
                    int(task.get("tries", 0)),
                    int(task.get("deaths", 0)),
                    task.get("token", ""),
                )
                for name, task in seen.tasks.items()
            },
            "ready": {queue: list(line) for queue, line in seen.ready.items()},
            "assigned": {name: list(ids) for name, ids in seen.assigned.items()},
            "held": {name: list(ids) for name, ids in seen.held.items()},
            "leases": {name: int(lease) for name, lease in seen.leases.items()},
            "clock": tuple(int(seen.hub[name]) for name in ("last", "skew", "grace")),
            "ended": {state: int(seen.hub.get(state, 0)) for state in ENDED},
        }
        assert found == model.picture()
        after = {
            name: (task["state"], task.get("engine"), task.get("token"))
            for name, task in seen.tasks.items()
        }
        self.recorder.moved(self.before, after)
        self.before = after
        for client, told in model.told.items():
            heard = [name for name, _ in self.hub.done(client)]
            assert sorted(heard) == sorted(told)

    def drain(self):
        """With one healthy engine and no more faults everything ends."""
        self.configure(0)
        name = "last"
        self.model.register(self.stamp, name, ["a", "b"])
        self.do(calls.register(name, "w", ["a", "b"], now=self.stamp))
        for other in [one for one in self.model.engines if one != name]:
            self.model.gone(self.stamp, other, [])
            life = Life(other, 0, [], "stopped")
            self.do(calls.beat("w", [life], now=self.stamp))
        while True:
            engine = self.model.engines[name]
            reports = self.outcomes(name, ["ok"] * len(engine.held))
            self.send_turn(name, engine.number + 1, self.fresh(), 500, reports)
            if not self.model.engines[name].held:
                break
        states = {task.state for task in self.model.tasks.values()}
        assert states <= set(ENDED)


@pytest.mark.timeout(3600)
def test_any_walk_agrees_with_the_model(request, start_server, capsys):
    """A walk of any calls leaves the hub as the model says it is."""
    name = request.config.getoption("machine_server")
    profile = request.config.getoption("machine_profile")
    counts: Counter[str] = Counter()
    recorder = Recorder()
    where = servers.FakeServer() if name == "fake" else start_server(name)
    walk = type(
        "Walk", (Walk,), {"server": where, "counts": counts, "recorder": recorder}
    )
    chosen = settings(
        PROFILES[profile],
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(walk, settings=chosen)

    if profile == "long":
        with capsys.disabled():
            print(f"\n{dict(counts)}")  # noqa: T201
            print(dict(recorder.arrows))  # noqa: T201
            print(  # noqa: T201
                {
                    " ".join(pair): count
                    for pair, count in sorted(recorder.words.items())
                    if len(pair[1]) < 10
                }
            )
    assert counts["sequences"] >= PROFILES[profile].max_examples
