"""A hub and a model of it, side by side: what is sent to one is told to the other."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from redtask import error
from redtask.hub import calls, scripts
from redtask.hub.calls import Group, Life, Report
from tests import invariants, servers
from tests.hubs import Hub
from tests.machine import examined, wrong
from tests.model.calls import Model
from tests.model.things import ENDED, TTL, Outcome
from tests.picture import Picture

if TYPE_CHECKING:
    from collections import Counter

    from tests.recorder import Recorder

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


class Pair:
    """Both, and the time on both."""

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
        self.next_task = self.nonces = 0
        #: Every turn ever sent, to be sent again.
        self.sent: list[tuple[Any, ...]] = []
        #: What engines were ever given, and the names of all tasks.
        self.works: list[tuple[str, str]] = []
        self.names: list[str] = []
        #: Those whose sets have grown since they were submitted.
        self.linked: set[str] = set()
        self.before: dict[str, Any] = {}
        #: How many outcomes each client was to be told, and how many entries there are.
        self.heard: dict[str, tuple[int, int]] = {}
        self.seen: Any = None
        #: Does the hub agree with the model, as far as was looked?
        self.agreed = True
        self.counts["sequences"] += 1

    def ask(self, call):
        """Call a script, and look at the hub."""
        self.counts["steps"] += 1
        self.agreed = False
        reply, read = self.hub.send_and_read(call)
        self.recorder.heard(call.script, reply)
        self.seen = Picture(read, self.hub.root, self.seen)
        return call.read(reply)

    def expect(self, call, kind):
        """Call a script that refuses, and changes nothing."""
        self.counts["steps"] += 1
        with pytest.raises(kind):
            self.hub.send(call)

    def fresh(self):
        """Return a nonce that was never used."""
        self.nonces += 1
        return f"n{self.nonces}"

    # Clients

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

    # Operators

    def send_refused(self, dice):
        """Send what no script takes, or to a hub that takes nothing."""
        call, code, root, scheme = wrong.choose(dice, self.hub)
        self.counts["steps"] += 1
        with pytest.raises(error.HubError) as refused:
            self.hub.run(scripts.bundle(call.script, scheme), *call.args, root=root)
        assert refused.value.code == code, (call, refused.value)
        self.recorder.refused(call.script, code)

    def set_hwm(self, hwm):
        self.ask(calls.configure({"hwm": hwm}, now=self.stamp))
        self.model.configure(self.stamp, self.seen, hwm)
        self.agrees()

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

    def send_register(self, name, queues):
        reply = self.ask(calls.register(name, "w", queues, now=self.stamp))
        label = self.model.register(self.stamp, self.seen, name, queues)
        assert reply.engine_id == label
        self.agrees()

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

    def beat_of(self, name, number, ids):
        lives = [Life(name, number, list(dict.fromkeys(ids)))]
        (one,) = self.ask(calls.beat("w", lives, now=self.stamp))
        expected = self.model.live(self.stamp, self.seen, name, number, ids)
        assert (one.word, list(one.foreign)) == expected
        self.agrees()

    def send_gone(self, name, begun, *, late=False, stopped=False):
        lives = [Life(name, 0, begun, "killed", late=late, stopped=stopped)]
        if stopped and not late:
            tasks = self.model.tasks
            begun = [one for one in begun if one in tasks and not tasks[one].retries]
        self.look_at_bells()
        (one,) = self.ask(calls.beat("w", lives, now=self.stamp))
        verdict = "time_limit" if late else "engine_lost"
        word = self.model.gone(self.stamp, self.seen, name, begun, verdict)
        assert one.word == word
        self.agrees()

    def look_at_bells(self):
        """Tell the model what engines were sent and have not asked for."""
        self.model.rung = {}
        for name in self.model.engines:
            key = self.hub.keys.engine(name)
            nonce, asked = self.hub.redis.hmget(key, "nonce", "asked")
            for ring in self.hub.redis.lrange(self.hub.keys.bell(name), 0, -1):
                sent, *words = ring.split(b"\n", 2)
                if words and sent == nonce != asked:
                    self.model.rung[name] = words[0].decode()

    def send_sweep(self, budget):
        self.look_at_bells()
        swept = self.ask(calls.sweep(budget, now=self.stamp))
        self.model.sweep(self.stamp, self.seen, more=swept.more)
        self.agrees()
        assert swept.more or not self.seen.unsettled
        return swept

    # What must hold

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
        for number in range(1000):
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
            # Some timers are due much later.
            self.stamp += 50_000 if number < 40 else 1_000_000
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
