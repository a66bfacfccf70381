"""Random walks: every script in any order, against a model in plain dicts.

``--machine-profile=long`` walks further and prints what it saw,
``--machine-sequences=N`` walks that often, ``--machine-server=system`` on a real
server. Processes with different ``--hypothesis-seed`` walk elsewhere.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from random import Random
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
from tests import servers
from tests.machine.dealer import CLIENTS, Dealer
from tests.model.things import ENDED, Outcome
from tests.recorder import Recorder

# Shrinking takes minutes; the steps of a walk that failed can be cut by hand.
_ALL = settings(phases=[Phase.generate], report_multiple_bugs=False)
PROFILES = {
    "ci": settings(_ALL, max_examples=30, stateful_step_count=25, derandomize=True),
    "long": settings(_ALL, max_examples=400, stateful_step_count=32),
}
# One number is drawn per step and all else made of it: drawing costs more than a step.
DICE = st.integers(0, 2**40).map(Random)
QUEUES = (["a"], ["a", "b"], ["b"], ["b", "a"], ["a"])
HWM = (0, 0, 0, 1, 2, 4)
STEPS = (0, 1, 10, 100, 100, 1000, 5000, 16000, 60000, 700_000, 3_700_000)
JUMPS = (90_000_000, -1, -4000, -40000)
MOST_ENGINES = 4


class Walk(Dealer, RuleBasedStateMachine):
    """One walk through one hub."""

    def __init__(self):
        super().__init__()
        self.next_engine = 0
        self.copies: list[tuple[Any, ...]] = []

    def teardown(self):
        if self.agreed:
            self.drain()
            self.vanish()
        self.hub.close()

    # Clients

    @initialize(dice=DICE)
    def begin(self, dice):
        """Every walk begins with some engines and some work."""
        self.plain = dice.random() < 0.35
        self.set_hwm(0 if self.plain else dice.choice(HWM))
        if dice.random() < 0.5:
            for client in CLIENTS:
                self.model.watch(client, [])
                self.ask(calls.watch(client, [], now=self.stamp))
                self.agrees()
        first = dice.random() < 0.5
        if first:
            self.submit(dice)
        for _ in range(dice.randint(1, 3)):
            self.register(dice)
        if not first:
            self.submit(dice)
        for _ in range(dice.randint(1, 4) if self.plain else 0):
            self.links(dice)

    @rule(dice=DICE)
    def submit(self, dice):
        self.send_submit(self.new_groups(dice))

    @precondition(lambda self: self.submits)
    @rule(dice=DICE)
    def submit_again(self, dice):
        groups = [dict(one) for one in dice.choice(self.submits[-4:])]
        again = dice.random() < 0.5
        if not self.are_known(
            [one for group in groups for one in group["names"]], again=again
        ):
            return
        how = dice.choice(("same", "more", "other", "others"))
        if how == "more":
            more = self.new_names(dice, "c", 1)
            groups[-1]["names"] = [*groups[-1]["names"], *more]
            self.names += more
        elif how == "other":
            groups[0]["args"] = b"other"
        elif how == "others":
            groups += self.new_groups(dice)
        self.send_submit(groups, again=again)

    @precondition(lambda self: self.gates)
    @rule(dice=DICE)
    def link(self, dice):
        behind = [one for one in self.model.tasks.values() if one.gate and one.fn]
        name = dice.choice(behind).name if behind else self.pick(dice)
        if name not in self.model.tasks or dice.random() < 0.15:
            self.expect(calls.link("x-1", "after", ["c-1"], now=self.stamp), KeyError)
            return
        kind = dice.choice(("after", "follow", "refs"))
        names = self.some(dice, name)
        if kind == "refs":
            told = self.model.tasks[name].told
            kind = f"refs:{told if dice.random() < 0.8 else dice.randint(0, 3)}"
            # No client makes a circle: what a task needs was there before it.
            names = [one for one in names if name not in self.needed(one)] or ["x-9"]
        told = self.ask(calls.link(name, kind, names, now=self.stamp))
        if told and kind in ("after", "follow"):
            self.linked.add(name)
        assert told == self.model.link(self.stamp, self.seen, name, kind, names)
        self.agrees()

    def needed(self, name):
        """Return a task and those whose results it needs, and these, and so on."""
        found, todo = set(), [name]
        while todo:
            one = todo.pop()
            if one in self.seen.tasks and one not in found:
                todo += (self.seen.text(one, "refs") or "").split()
            found.add(one)
        return found

    @precondition(lambda self: self.gates)
    @rule(dice=DICE)
    def open_gate(self, dice):
        name = dice.choice(self.gates[-3:])
        if name not in self.model.tasks:
            self.expect(calls.open_gate(name, now=self.stamp), KeyError)
            return
        told = self.ask(calls.open_gate(name, now=self.stamp))
        assert told == self.model.open_gate(self.stamp, self.seen, name)
        self.agrees()

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def abort(self, dice):
        names = [self.pick(dice) for _ in range(dice.choice((1, 2, 3, 9)))]
        names.append("c-999999")
        running = dice.random() < 0.5
        words = self.ask(calls.abort(names, running=running, now=self.stamp))
        expected = self.model.abort(self.stamp, self.seen, names, running=running)
        assert words == expected
        self.agrees()

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def purge(self, dice):
        ended = [one.name for one in self.model.tasks.values() if one.state in ENDED]
        names = dice.sample(ended, min(len(ended), dice.choice((0, 1, 2, 9))))
        names += ["c-999999"] if ended and dice.random() < 0.8 else [self.pick(dice)]
        call = calls.purge(names, now=self.stamp)
        if any(self.is_pending(name) for name in names):
            self.expect(call, error.TaskPending)
            return
        told = self.ask(call)
        expected = self.model.purge(self.stamp, self.seen, names)
        assert (told.purged, told.kept) == expected
        self.agrees()

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def resubmit(self, dice):
        ended = [
            one.name
            for one in self.model.tasks.values()
            if one.state in ENDED and one.fn
        ]
        olds = dice.sample(ended, min(len(ended), dice.randint(1, 3)))
        if dice.random() < 0.1 or not olds:
            olds = list(dict.fromkeys([*olds, self.pick(dice)]))
        pairs = [(old, *self.new_names(dice, "c", 1)) for old in olds]
        anew = {old: self.anew(dice) for old in olds if dice.random() < 0.3}
        self.copies.append((pairs, anew))
        self.send_resubmit(pairs, anew)

    @precondition(lambda self: self.copies)
    @rule(dice=DICE)
    def resubmit_again(self, dice):
        pairs, anew = dice.choice(self.copies[-3:])
        again = dice.random() < 0.5
        if self.are_known([new for _, new in pairs], again=again):
            self.send_resubmit(pairs, anew, again=again)

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def why(self, dice):
        name = self.pick(dice)
        call = calls.why(name, now=self.stamp)
        task = self.model.tasks.get(name)
        if task is None:
            self.expect(call, error.UnknownTask)
            return
        told = self.ask(call)
        assert (told.state, told.gate) == (task.state, self.model.gate_of(task))
        assert told.reasons
        pending = {
            letter: len(members.pending) if task.is_open(letter) else 0
            for letter, members in task.sets()
        }
        if task.state == "waiting":
            opened = (pending.get("a", 0), pending.get("f", 0))
            assert (told.open_after, told.open_follow) == opened
        # Behind a gate it names those that it has not been told of yet as well.
        assert told.gate or {one.task_id for one in told.members} <= {
            one for _, members in task.sets() for one in members.pending
        }
        if task.state == "ready":
            able = self.model.serving(task.queue, self.model.places(task))
            assert told.engines.admitted == len(able)
        self.agrees()

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def watch(self, dice):
        client = dice.choice(("", *CLIENTS))
        names = [self.pick(dice, recent=False) for _ in range(dice.randint(1, 4))]
        if dice.random() < 0.1:
            names.append("x-9")
        if client and client not in self.model.told:
            client = ""
        expected = self.model.watch(client, names)
        told = self.ask(calls.watch(client, names, now=self.stamp)).outcomes
        assert [one.state for one in told] == expected
        for name, one in zip(names, told, strict=True):
            assert one.ended == (one.state in ENDED)
            task = self.model.tasks.get(name)
            if task is None:
                continue
            if one.state == "completed" and task.fn:
                assert (one.kind, set(one.payload)) == ("r", set(b"r"))
                assert one.token == task.token
            elif one.ended and task.verdict:
                assert one.payload.startswith(f"{task.verdict} ".encode())
        self.agrees()

    @precondition(lambda self: self.names)
    @rule(dice=DICE)
    def attend(self, dice):
        names = [self.pick(dice) for _ in range(dice.randint(1, 3))]
        told = self.ask(calls.attend(names, now=self.stamp))
        there = [self.model.tasks.get(name) for name in names]
        assert [one.state for one in told] == [
            task.state if task else "unknown" for task in there
        ]
        self.model._start(self.stamp, self.seen)
        self.agrees()

    @precondition(lambda self: self.works)
    @rule(dice=DICE)
    def say(self, dice):
        """Engines tell how far they are; some are not any more."""
        works = [dice.choice(self.works[-9:]) for _ in range(dice.randint(1, 2))]
        said = [(name, token, ("progress", "0.5 half")) for name, token in works]
        heard = self.ask(calls.say(said, now=self.stamp))
        running = {
            (task.name, task.token)
            for task in self.model.tasks.values()
            if task.state == "running"
        }
        assert heard == [work in running for work in works]
        self.model._start(self.stamp, self.seen)
        self.agrees()

    @rule(dice=DICE)
    def configure(self, dice):
        if dice.random() < 0.3:
            self.set_hwm(dice.choice(HWM))
        else:
            for _ in range(6):
                self.send_refused(dice)

    @rule(dice=DICE)
    def look(self, dice):
        """Ask for a picture, or how all is, or leave a message."""
        # Where an engine has refused a function, the doctor moves what stands wrong, as
        # whoever asks whether an engine has work: then it counts what is on the way.
        if dice.random() < 0.2 and not any(self.model.incapable.values()):
            self.examine()
        if dice.random() < 0.5:
            told = self.ask(calls.status(now=self.stamp))
            living = {one.uuid for one in told.engines}
            assert living == set(self.model.engines)
            seen = self.ask(calls.overview(now=self.stamp))
            assert seen.states == told.states
        else:
            name = dice.choice(("w", "nobody"))
            heard = self.ask(calls.tell(name, b"message", now=self.stamp))
            assert heard == (name == "w" and self.model.labels > 0)
        self.model._start(self.stamp, self.seen)
        self.agrees()

    # Operators

    @precondition(lambda self: self.next_engine)
    @rule(dice=DICE)
    def operate(self, dice):
        """Drain an engine, pause a queue, or let them go on."""
        resume = dice.random() < 0.5
        if dice.random() < 0.5:
            self.send_drain(f"e{dice.randrange(self.next_engine)}", resume=resume)
        elif not self.plain:
            self.send_pause(dice.choice(("a", "b")), resume=resume)

    # Engines

    @precondition(lambda self: len(self.model.engines) < MOST_ENGINES)
    @rule(dice=DICE)
    def register(self, dice):
        name = f"e{self.next_engine}"
        self.next_engine += 1
        self.send_register(name, dice.choice(QUEUES))
        self.send_turn(name, 1, 1, [], upcoming=dice.random() < 0.6)

    @precondition(lambda self: self.model.engines)
    @rule(dice=DICE)
    def register_again(self, dice):
        engine = dice.choice(list(self.model.engines.values()))
        self.send_register(engine.name, engine.queues)

    @precondition(lambda self: self.model.engines)
    @rule(dice=DICE)
    def turn(self, dice):
        self.take_turn(dice)

    @precondition(lambda self: self.model.engines)
    @rule(dice=DICE)
    def turns(self, dice):
        """Engines work on."""
        for _ in range(dice.randint(1, 3)):
            self.take_turn(dice)

    def links(self, dice):
        """Submit a chain, let engines have it in turn, and something happen then."""
        self.submit(dice)
        for _ in range(dice.randint(1, 3)):
            self.take_turn(dice)
        fault = dice.choice((self.abort, self.gone, self.live, self.only_report))
        fault(dice)
        if self.model.engines:
            self.take_turn(dice)
        else:
            self.register(dice)

    def take_turn(self, dice):
        engine = dice.choice(list(self.model.engines.values()))
        reports = self.outcomes(dice, engine.name) + self.old(dice)
        want = dice.choice((1, 3, 5, 9, 9) if self.plain else (1, 1, 1, 2, 5, 0))
        number = engine.number + 1
        # One that was handed a task has heard of that turn.
        self.send_turn(engine.name, number, want, reports, upcoming=dice.random() < 0.6)

    @precondition(lambda self: self.model.engines and not self.plain)
    @rule(dice=DICE)
    def two_end_at_once(self, dice):
        """Let both members of a set end in one turn, as they seldom do else."""
        for one in list(self.model.engines.values()):
            # Nobody is idle, to be handed one of them.
            self.send_turn(one.name, one.number + 1, 0, [], upcoming=False)
        engine = dice.choice(list(self.model.engines.values()))
        names = self.new_names(dice, "c", 3)
        plain = {
            "fn": "f",
            "queue": dice.choice(engine.queues),
            "args": b"xxx",
            "priority": 5,
            "retries": 0,
        }
        members = {**plain, "names": names[:2]}
        # Those of which one member alone often decides.
        letters = dice.choice(("as", "as", "af", "asf", "nf"))
        kind = dice.choice(("after", "follow"))
        after = {**plain, kind: (letters, names[:2]), "names": names[2:]}
        self.names += names
        self.submits.append([members, after])
        self.send_submit([members, after])
        self.send_turn(engine.name, engine.number + 1, 9, [], upcoming=False)
        ends = dice.choice((("ok", "ok"), ("ok", "error"), ("error", "error")))
        taken = [task for task in engine.held if task.name in members["names"]]
        reports = [
            Outcome(end, task.name, task.token, by=False)
            for end, task in zip(ends, taken, strict=False)
        ]
        self.send_turn(engine.name, engine.number + 1, 1, reports, upcoming=False)

    @precondition(lambda self: self.model.engines)
    @rule(dice=DICE)
    def only_report(self, dice):
        name = dice.choice(sorted(self.model.engines))
        reports = self.reports(dice, name)
        self.repeat_turn(name, (None, "", 0, ""), reports)

    @precondition(lambda self: self.sent)
    @rule(dice=DICE)
    def turn_again(self, dice):
        name, turn, outcomes = dice.choice(self.sent[-6:])
        self.counts["turns again"] += 1
        more = self.outcomes(dice, name) if dice.random() < 0.3 else []
        self.repeat_turn(name, turn, [*outcomes, *more])

    # Supervisors and time

    @precondition(lambda self: self.next_engine)
    @rule(dice=DICE)
    def live(self, dice):
        name = f"e{dice.randrange(self.next_engine)}"
        engine = self.model.engines.get(name)
        number = engine.number - dice.choice((0, 0, 1)) if engine else 1
        ids = [task.name for task in engine.held] if engine else []
        if dice.random() < 0.3:
            ids = [name for name in ids if dice.random() < 0.5] + self.names[:1]
        self.beat_of(name, max(0, number), ids)

    @precondition(lambda self: self.next_engine)
    @rule(dice=DICE)
    def gone(self, dice):
        if self.model.engines and not self.plain and dice.random() < 0.5:
            self.follow_who_leaves(dice)
        name = f"e{dice.randrange(self.next_engine)}"
        engine = self.model.engines.get(name)
        ids = [task.name for task in engine.held] if engine else []
        begun = ids[: dice.randint(0, 2)]
        how = dice.choice(({}, {}, {"late": True}, {"stopped": True}))
        self.send_gone(name, begun, **how)

    @precondition(lambda self: self.model.engines and not self.plain)
    @rule(dice=DICE)
    def follow_who_leaves(self, dice):
        """Submit what may follow either of two, and let where one has run be gone."""
        engines, tasks = self.model.engines, self.model.tasks.values()
        done = [
            (one.name, one.ran_on[0])
            for one in tasks
            if one.state == "completed" and one.ran_on and one.ran_on[0] in engines
        ]
        others = [one.name for one in tasks if one.fn and one.state not in ENDED]
        if not done or not others:
            return
        # One that has something to do lets it wait in its line.
        busy = [one for one in done if engines[one[1]].load]
        first, name = dice.choice(busy or done)
        group = {
            "fn": "f",
            "queue": dice.choice(engines[name].queues),
            "args": b"xxx",
            "priority": 0,
            "retries": 0,
            "follow": ("ns", [first, dice.choice(others)]),
            "names": [f"c-{self.next_task}"],
        }
        self.next_task += 1
        self.names += group["names"]
        self.submits.append([group])
        self.send_submit([group])
        self.send_gone(name, [])

    @rule(dice=DICE)
    def sweep(self, dice):
        self.send_sweep(dice.choice((1, 1, 2, 3, 5, 200, 200)))

    @rule(dice=DICE)
    def time_passes(self, dice):
        steps = STEPS if dice.random() < 0.9 else JUMPS
        self.stamp = max(1, self.stamp + dice.choice(steps))

    @rule(dice=DICE)
    def the_living_beat(self, dice):
        for _ in range(dice.randint(1, 5)):
            self.stamp += 5000
            for engine in list(self.model.engines.values())[1:]:
                ids = [task.name for task in engine.held]
                self.beat_of(engine.name, engine.number, ids)
            self.send_sweep(200)


@pytest.mark.timeout(36000)
def test_any_walk_agrees_with_the_model(request, start_server, capsys):
    """A walk of any calls leaves the hub as the model says it is."""
    name = request.config.getoption("machine_server")
    profile = request.config.getoption("machine_profile")
    sequences = request.config.getoption("machine_sequences")
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
        **({"max_examples": sequences} if sequences else {}),
    )
    begun = time.monotonic()

    run_state_machine_as_test(walk, settings=chosen)

    if profile == "long":
        counts["seconds"] = round(time.monotonic() - begun)
        with capsys.disabled():
            print(f"\n{json.dumps({'counts': counts, **recorder.seen()}, indent=1)}")  # noqa: T201
    assert counts["sequences"] >= chosen.max_examples
