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
from zlib import crc32

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
from redtask.hub import calls, scripts
from redtask.hub.calls import Group, Life, Report
from tests import invariants, servers
from tests.hubs import Hub
from tests.machine import examined, wrong
from tests.model.calls import Model
from tests.model.things import ENDED, TTL, Outcome
from tests.picture import Picture
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
CLIENTS = ("c", "d")
LETTERS = ("as", "as", "af", "af", "asf", "ns", "nf", "nsf")
KINDS = ("ok", "ok", "ok", "ok", "error", "error", "unbegun", "unmet", "keep", "keep")
RARE_KINDS = ("late", "final", "aborted", "require")
HWM = (0, 0, 0, 1, 2, 4)
STEPS = (0, 1, 10, 100, 100, 1000, 5000, 16000, 60000, 700_000, 3_700_000)
JUMPS = (90_000_000, -1, -4000, -40000)
MOST_ENGINES = 4
#: Bytes that come ahead of their call.
BIG = 17_000
BODIES = {
    "ok": ("result", b"r"),
    "error": ("error", b"e", "ename", "ValueError", "evalue", "no"),
    "late": ("error", b"e", "ename", "TimeLimitExceeded", "evalue", "1 s"),
    "final": ("error", b"e", "ename", "SignatureError", "evalue", "no"),
    "unbegun": (),
    "unmet": ("words", "no numpy"),
    "aborted": (),
}
REQUIRED = ("words", "no numpy", "by", "require")


def body(outcome):
    """Return what an outcome brings: some results are large, or longer than others."""
    number = int(outcome.name.partition("-")[2])
    if outcome.kind == "ok" and number % 6 == 0:
        return "result", b"r" * BIG
    if outcome.kind == "ok" and number % 3 > 0:
        return "result", b"r" * (100 if number % 4 == 0 else 20), "repr", f"r {number}"
    return BODIES[outcome.kind]


def in_order(outcomes, said):
    """Return outcomes in the order in which they are told: first what is in blocks."""
    blocks: dict[Any, list[Outcome]] = {}
    others = []
    for one, report in zip(outcomes, said, strict=True):
        if report.folded and one.kind == "ok" and "repr" in report.fields:
            whose = one.name.partition("-")[0], one.token
            blocks.setdefault(whose, []).append(one)
        else:
            others.append(one)
    return [one for block in blocks.values() for one in block] + others


def written(labels) -> str:
    """Return labels as ranges."""
    return ",".join(str(label) for label in sorted(labels))


class Walk(RuleBasedStateMachine):
    """One walk through one hub."""

    server: servers.Server
    counts: Counter[str]
    recorder: Recorder

    def __init__(self):
        super().__init__()
        server = servers.FakeServer() if not self.server.real else self.server
        if self.server.real:
            with server.redis() as client:
                client.flushall()
        self.hub = Hub(server, recorder=self.recorder)
        self.model = Model(self.recorder.cell)
        self.model.counts = self.counts
        self.stamp = 1_000_000
        self.next_task = self.next_engine = self.nonces = 0
        #: Everything ever sent or given, to be sent again.
        self.sent: list[tuple[Any, ...]] = []
        self.submits: list[list[dict[str, Any]]] = []
        self.copies: list[tuple[Any, ...]] = []
        self.works: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.gates: list[str] = []
        #: Those whose sets have grown since they were submitted.
        self.linked: set[str] = set()
        self.before: dict[str, Any] = {}
        #: How many outcomes each client was to be told, and how many entries there are.
        self.heard: dict[str, tuple[int, int]] = {}
        self.seen: Any = None
        #: Does the hub agree with the model, as far as was looked?
        self.agreed = True
        #: Are there chains, and nothing that keeps engines from taking them along?
        self.plain = False
        self.counts["sequences"] += 1

    def teardown(self):
        if self.agreed:
            self.drain()
            self.vanish()
        self.hub.close()

    def ask(self, call):
        """Call a script, and look at the hub."""
        self.counts["steps"] += 1
        self.agreed = False
        reply, read = self.hub.send_and_read(call)
        self.recorder.heard(call.script, reply)
        self.seen = Picture(read, self.hub.root, self.seen)
        return call.read(reply)

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

    def pick(self, dice, *, recent=True):
        """Return the name of a task, more often a late one."""
        if not self.names:
            return "x-1"
        at = int(dice.expovariate(0.2)) if recent else dice.randrange(len(self.names))
        return self.names[max(0, len(self.names) - 1 - at)]

    def some(self, dice, own):
        """Return the members of a set: known ones, and now and then one that is not."""
        if dice.random() < 0.15:
            # That all have ended, in one way or in two, is rare else.
            ended = {
                state: [
                    one.name for one in self.model.tasks.values() if one.state == state
                ]
                for state in ("completed", "failed")
            }
            states = dice.choice(
                (("completed",) * 2, ("failed",) * 2, ("completed", "failed"))
            )
            if all(ended[state] for state in states):
                return list({dice.choice(ended[state][-8:]): None for state in states})
        count = dice.choice((1, 2, 2, 2, 3, 4))
        names = [self.pick(dice) for _ in range(count)]
        if dice.random() < 0.03:
            names.append(dice.choice(("x-9", own)))
        return names

    def choose_labels(self, dice):
        """Return labels of engines, most of which live."""
        living = [one.label for one in self.model.engines.values()]
        labels = dice.sample(living, dice.randint(1, min(2, len(living))))
        if dice.random() < 0.1:
            # Of one that may be gone.
            labels.append(0)
        return frozenset(labels)

    def flags(self, dice, own):
        """Return what a client says of its tasks, for the model."""
        if self.plain:
            return self.chained(dice)
        group: dict[str, Any] = {
            "fn": dice.choice(("f", "f", "g")),
            "queue": dice.choice(("a", "a", "b")),
            "args": b"x" * dice.choice((3, 3, 3, 100, 100, BIG)),
            "priority": dice.choice((0, 0, 0, 5, -5)),
            "retries": dice.choice((0, 0, 1, 4)),
        }
        if dice.random() < 0.1:
            group["ttl"] = dice.choice((0, 50))
        if dice.random() < 0.3:
            return group
        self.depend(dice, group, own)
        if dice.random() < 0.2:
            group["timeout"] = dice.choice((1, 50, 5000, 100_000))
        if dice.random() < 0.1:
            group["start_in"] = dice.choice((0, 50, 5000))
        elif dice.random() < 0.1:
            group["start_at"] = max(0, self.stamp + dice.choice((-50, 50, 5000)))
        if dice.random() < 0.3:
            group["pause"] = (dice.choice((0, 100, 4000)), dice.choice((1, 2)))
        if dice.random() < 0.2:
            group["elsewhere"] = True
        return group

    def chained(self, dice):
        """Return what is said of tasks that mostly come after the latest."""
        group: dict[str, Any] = {
            "fn": "f",
            "queue": "a",
            "args": b"x" * dice.choice((3, 100, BIG)),
            "priority": dice.choice((0, 0, 0, 0, 5)),
            "retries": dice.choice((0, 1, 4)),
        }
        if self.names and dice.random() < 0.8:
            group["after"] = ("as", [self.names[-1]])
        if dice.random() < 0.2:
            group["pause"] = (100, 1)
        return group

    def depend(self, dice, group, own):
        """Let tasks of a group depend on others, on engines, and on a gate."""
        for kind, chance in (("after", 0.5), ("follow", 0.3)):
            if dice.random() < chance and self.names:
                group[kind] = (dice.choice(LETTERS), self.some(dice, own))
        if dice.random() < 0.15 and self.model.engines:
            group["targets"] = self.choose_labels(dice)
        if "after" in group and dice.random() < 0.2:
            group["refs"] = [name for name in group["after"][1] if name != own]
        if dice.random() < 0.15:
            self.stand_behind_a_gate(dice, group)

    def stand_behind_a_gate(self, dice, group):
        """Let tasks wait for a gate, an old or a new one."""
        if not self.gates or dice.random() < 0.4:
            self.gates.append(f"c-{self.next_task}")
            self.names.append(self.gates[-1])
            self.next_task += 1
        group["gate"] = self.gates[-1]
        if dice.random() < 0.3:
            group["later"] = 1

    @rule(dice=DICE)
    def submit(self, dice):
        self.send_submit(self.new_groups(dice))

    def new_groups(self, dice):
        """Return groups of tasks that were never submitted."""
        groups = []
        for _ in range(dice.choice((4, 6, 9) if self.plain else (1, 1, 1, 2, 3))):
            client = dice.choice(CLIENTS)
            group = self.flags(dice, f"{client}-{self.next_task}")
            # Only one that is alone can depend on itself, or on those before it.
            alone = "after" in group or "follow" in group
            several = dice.random() < (0.1 if self.plain else 0.4)
            count = dice.randint(1, 3) if several or not alone else 1
            first = self.next_task
            self.next_task += count
            group["names"] = [f"{client}-{first + n}" for n in range(count)]
            self.names += group["names"]
            groups.append(group)
        self.submits.append(groups)
        return groups

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
            groups[-1]["names"] = [*groups[-1]["names"], f"c-{self.next_task}"]
            self.names.append(f"c-{self.next_task}")
            self.next_task += 1
        elif how == "other":
            groups[0]["args"] = b"other"
        elif how == "others":
            groups += self.new_groups(dice)
        self.send_submit(groups, again=again)

    def are_known(self, names, *, again):
        """May these be sent again? Nobody does so when they were forgotten long ago."""
        known = {*self.model.tasks, *(self.model.tombs if again else ())}
        return all(name in known for name in names)

    @staticmethod
    def group(group):
        """Return a group as a call takes it."""
        flags = {
            name: group[name]
            for name in (
                *("queue", "priority", "retries", "ttl", "timeout", "start_in"),
                *("start_at", "gate", "later"),
            )
            if name in group
        }
        for kind in ("after", "follow"):
            if kind in group:
                letters, names = group[kind]
                flags[kind] = " ".join((letters, *names))
        if group.get("targets"):
            flags["targets"] = written(group["targets"])
        if "pause" in group:
            flags["pause"] = f"{group['pause'][0]} {group['pause'][1]} 0"
        if group.get("elsewhere"):
            flags["elsewhere"] = 1
        if group.get("refs"):
            flags["refs"] = " ".join(group["refs"])
        tasks = [part for name in group["names"] for part in (name, group["args"])]
        return Group(group["fn"], b"blob", group["fn"], flags, tasks)

    def send_submit(self, groups, *, again=False):
        follows = self.model.submit(self.stamp, groups, again=again)
        # As a rule, a client sends no function that the hub has.
        known = self.seen.functions if self.stamp % 3 else ()
        call = calls.submit(map(self.group, groups), known, now=self.stamp)
        call = call.again() if again else call
        if follows is None:
            self.expect(call, error.SubmitConflict)
            return
        reply = self.ask(call)
        assert (reply.new, reply.known) == follows(self.seen)
        self.agrees()

    def expect(self, call, kind):
        """Call a script that refuses, and changes nothing."""
        self.counts["steps"] += 1
        with pytest.raises(kind):
            self.hub.send(call)

    @precondition(lambda self: self.gates)
    @rule(dice=DICE)
    def link(self, dice):
        behind = [one for one in self.model.tasks.values() if one.gate and one.fn]
        name = dice.choice(behind).name if behind else self.pick(dice)
        if name not in self.model.tasks or dice.random() < 0.05:
            self.expect(calls.link("x-1", "after", ["c-1"], now=self.stamp), KeyError)
            return
        kind = dice.choice(("after", "follow"))
        names = self.some(dice, name)
        told = self.ask(calls.link(name, kind, names, now=self.stamp))
        if told:
            self.linked.add(name)
        assert told == self.model.link(self.stamp, self.seen, name, kind, names)
        self.agrees()

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

    def is_pending(self, name):
        """Is it a task that has not ended?"""
        task = self.model.tasks.get(name)
        return task is not None and task.state not in ENDED

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
        pairs = []
        for old in olds:
            pairs.append((old, f"c-{self.next_task}"))
            self.next_task += 1
        anew = {old: self.anew(dice) for old in olds if dice.random() < 0.3}
        self.copies.append((pairs, anew))
        self.send_resubmit(pairs, anew)

    def anew(self, dice):
        """Return what is said anew of a copy, for the model."""
        said: dict[str, Any] = {}
        for kind in ("after", "follow"):
            if dice.random() < 0.5:
                letters = dice.choice(LETTERS)
                said[kind] = (letters, self.some(dice, "x-8"))
                if dice.random() < 0.3:
                    said[kind] = None
        return said

    @precondition(lambda self: self.copies)
    @rule(dice=DICE)
    def resubmit_again(self, dice):
        pairs, anew = dice.choice(self.copies[-3:])
        again = dice.random() < 0.5
        if self.are_known([new for _, new in pairs], again=again):
            self.send_resubmit(pairs, anew, again=again)

    def send_resubmit(self, pairs, anew, *, again=False):
        flat = {
            old: {
                kind: " ".join((said[0], *said[1])) if said else ""
                for kind, said in fields.items()
            }
            for old, fields in anew.items()
        }
        call = calls.resubmit(pairs, flat, now=self.stamp)
        call = call.again() if again else call
        if not self.model.may_resubmit(pairs, again=again):
            self.expect(call, (error.TaskPending, error.UnknownTask))
            return
        self.ask(call)
        self.names += [new for _, new in pairs if new not in self.names]
        self.model.resubmit(self.stamp, self.seen, pairs, anew, again=again)
        self.agrees()

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
            self.send_refused(dice)
            self.send_refused(dice)

    @rule(dice=DICE)
    def look(self, dice):
        """Ask for a picture, or how all is, or leave a message."""
        if dice.random() < 0.2:
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

    def examine(self):
        """The doctor finds nothing to mend."""
        away = {one.name for one in self.model.engines.values() if one.away}
        # What these were told of with ``link``, their records do not say.
        later = {one.name for one in self.model.tasks.values() if "later" in one.group}
        linked = self.linked | later
        found = [
            flaw
            for flaw in examined.flaws(self.hub, self.stamp)
            # Nobody sweeps when it is time.
            if flaw.code != "overdue"
            and not (flaw.code == "silent" and flaw.name in away)
            and not (flaw.code == "counter" and flaw.name in linked)
        ]
        assert not found, found

    def set_hwm(self, hwm):
        self.ask(calls.configure({"hwm": hwm}, now=self.stamp))
        self.model.configure(self.stamp, self.seen, hwm)
        self.agrees()

    def send_refused(self, dice):
        """Send what no script takes, or to a hub that takes nothing."""
        call, code, root, scheme = wrong.choose(dice, self.hub)
        self.counts["steps"] += 1
        with pytest.raises(error.HubError) as refused:
            self.hub.run(scripts.bundle(call.script, scheme), *call.args, root=root)
        assert refused.value.code == code, (call, refused.value)
        self.recorder.refused(call.script, code)

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

    def send_drain(self, name, *, resume):
        call = calls.drain([name], resume=resume, now=self.stamp)
        (word,) = self.ask(call)
        assert word == self.model.drain(self.stamp, self.seen, name, resume=resume)
        self.agrees()

    def send_pause(self, queue, *, resume):
        call = calls.pause([queue], resume=resume, now=self.stamp)
        assert self.ask(call) == ["resumed" if resume else "paused"]
        self.model.pause(self.stamp, self.seen, queue, resume=resume)
        self.agrees()

    # Engines

    @precondition(lambda self: len(self.model.engines) < MOST_ENGINES)
    @rule(dice=DICE)
    def register(self, dice):
        name = f"e{self.next_engine}"
        self.next_engine += 1
        self.send_register(name, dice.choice(QUEUES))
        self.send_turn(name, 1, 1, [], upcoming=dice.random() < 0.6)

    def send_register(self, name, queues):
        reply = self.ask(calls.register(name, "w", queues, now=self.stamp))
        label = self.model.register(self.stamp, self.seen, name, queues)
        assert reply.engine_id == label
        self.agrees()

    @precondition(lambda self: self.model.engines)
    @rule(dice=DICE)
    def register_again(self, dice):
        engine = dice.choice(list(self.model.engines.values()))
        self.send_register(engine.name, engine.queues)

    def fresh(self):
        """Return a nonce that was never used."""
        self.nonces += 1
        return f"n{self.nonces}"

    def send_turn(self, name, number, want, outcomes, *, upcoming=True, nonce=None):
        engine = self.model.engines.get(name)
        if nonce is None:
            nonce = (engine and engine.next) or self.fresh()
        turn = (number, nonce, want, self.fresh() if upcoming else "")
        self.repeat_turn(name, turn, outcomes)

    def repeat_turn(self, name, turn, outcomes):
        self.sent.append((name, turn, outcomes))
        number, nonce, want, upcoming = turn
        said = [
            Report(
                one.kind,
                one.name,
                one.token,
                3,
                5,
                REQUIRED if one.by else body(one),
                # What is none of the sheet's may come in a block as well.
                folded=crc32(f"{one.name} {one.token}".encode()) % 3 > 0,
            )
            for one in outcomes
        ]
        call = calls.turn(
            name, number, nonce, want, said, upcoming=upcoming, now=self.stamp
        )
        outcomes = in_order(outcomes, said)
        reply = self.ask(call)
        found = [(one.task_id, one.token) for one in reply.work]
        word, stale = self.model.turn(
            self.stamp, self.seen, name, turn, outcomes, found
        )
        assert reply.registered == (word != "gone")
        assert reply.stale == stale
        self.works += found
        self.agrees()

    def outcomes(self, dice, name):
        """Report some of what the engine has, in the order of its taking."""
        engine = self.model.engines.get(name)
        kinds: tuple[str, ...] = KINDS if dice.random() < 0.8 else RARE_KINDS
        if self.plain:
            kinds = tuple(kind for kind in kinds if kind not in ("unmet", "require"))
        found: list[Outcome] = []
        for task in engine.held if engine else ():
            kind = dice.choice(kinds)
            if not self.may_begin(task, found):
                kind = dice.choice(("unbegun", "keep"))
            by = kind == "require"
            if kind != "keep":
                kind = "unmet" if by else kind
                found.append(Outcome(kind, task.name, task.token, by))
        return found

    def may_begin(self, task, found):
        """Has all that a task waits for succeeded, as far as its engine knows?"""
        told = {one.name for one in found if one.kind == "ok"}
        waits = task.after.pending if task.is_open("a") else ()
        return all(
            name in told or self.model.tasks[name].state == "completed"
            for name in waits
        )

    def old(self, dice):
        """Report what was taken once."""
        if not self.works or dice.random() < 0.8:
            return []
        name, token = dice.choice(self.works[-9:])
        task = self.model.tasks.get(name)
        kind = dice.choice(("ok", "error", "unbegun"))
        if task and task.token == token and not self.may_begin(task, ()):
            kind = "unbegun"
        return [Outcome(kind, name, token)]

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
        names = [f"c-{self.next_task + n}" for n in range(3)]
        self.next_task += 3
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
        reports = self.old(dice) + self.outcomes(dice, name)
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

    def beat_of(self, name, number, ids):
        lives = [Life(name, number, list(dict.fromkeys(ids)))]
        (one,) = self.ask(calls.beat("w", lives, now=self.stamp))
        expected = self.model.live(self.stamp, self.seen, name, number, ids)
        assert (one.word, list(one.foreign)) == expected
        self.agrees()

    @precondition(lambda self: self.next_engine)
    @rule(dice=DICE)
    def gone(self, dice):
        if self.model.engines and not self.plain and dice.random() < 0.5:
            self.follow_who_leaves(dice)
        name = f"e{dice.randrange(self.next_engine)}"
        engine = self.model.engines.get(name)
        ids = [task.name for task in engine.held] if engine else []
        begun = ids[: dice.randint(0, 2)]
        self.send_gone(name, begun, late=dice.random() < 0.3)

    def send_gone(self, name, begun, *, late=False):
        lives = [Life(name, 0, begun, "killed", late=late)]
        (one,) = self.ask(calls.beat("w", lives, now=self.stamp))
        verdict = "time_limit" if late else "engine_lost"
        word = self.model.gone(self.stamp, self.seen, name, begun, verdict)
        assert one.word == word
        self.agrees()

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

    def send_sweep(self, budget):
        swept = self.ask(calls.sweep(budget, now=self.stamp))
        self.model.sweep(self.stamp, self.seen, more=swept.more)
        self.agrees()
        assert swept.more or not self.seen.unsettled
        return swept

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

    # What must hold

    def agrees(self):
        """Compare all of the hub with the model, and check what always holds."""
        model, seen = self.model, self.seen
        draining = any(one.load > model.hwm > 0 for one in model.engines.values())
        away = {one.name for one in model.engines.values() if one.away}
        model.compare()
        invariants.look(seen, quiet=True, draining=draining, away=away)
        after = {
            name: (task["state"], task.get("engine"), task.get("token"), task.get("na"))
            for name, task in seen.tasks.items()
        }
        self.recorder.moved(self.before, after)
        self.before = after
        for client, told in model.told.items():
            sizes = len(told), seen.data.get(f"done:{client}", 0)
            if self.heard.get(client) != sizes:
                self.heard[client] = sizes
                heard = [name for name, _ in self.hub.done(client)]
                assert sorted(heard) == sorted(told)
        self.agreed = True

    def drain(self):
        """With one healthy engine and no more faults everything ends."""
        self.set_hwm(0)
        for queue in list(self.model.paused):
            self.send_pause(queue, resume=True)
        dice = Random(self.next_task)  # noqa: S311 - a walk, not a secret
        self.send_register("last", ["a", "b"])
        for other in [one for one in self.model.engines if one != "last"]:
            self.send_gone(other, [])
        refuses = self.next_task % 4 == 0
        for _ in range(1000):
            engine = self.model.engines["last"]
            kind = "unmet" if refuses else "ok"
            reports = [
                Outcome(kind, one.name, one.token, by=refuses and dice.random() < 0.3)
                for one in engine.held
            ]
            self.send_turn("last", engine.number + 1, 500, reports)
            swept = self.send_sweep(200)
            if self.model.engines["last"].held or swept.more:
                continue
            if not self.model.timers():
                break
            self.stamp += 50_000
            ids = [one.name for one in engine.held]
            self.beat_of("last", engine.number, ids)
        for task in self.model.tasks.values():
            assert task.state in ENDED or self.model.why(task), task
            assert task.state in ENDED or refuses
            self.counts[f"left {task.state}"] += 1

    def vanish(self):
        """Of what has ended nothing is left some day."""
        if any(task.state not in ENDED for task in self.model.tasks.values()):
            return
        for _ in range(9):
            self.stamp += 2 * TTL
            self.beat_of("last", self.model.engines["last"].number, [])
            self.send_sweep(500)
            # What is kept as long as there is room, unless others need it.
            names = [one.name for one in self.model.tasks.values() if one.ttl == 0]
            if names:
                self.ask(calls.purge(names, now=self.stamp))
                self.model.purge(self.stamp, self.seen, names)
                self.agrees()
            elif not (self.seen.tasks or self.seen.functions):
                break
        seen = self.seen
        left = (seen.tasks, seen.functions, seen.timers, seen.unsettled, seen.edges)
        assert not any(left), left
        assert int(seen.hub.get("kept_bytes", 0)) == 0
        assert not [name for name in seen.data if name.startswith(("ready", "ended"))]


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
