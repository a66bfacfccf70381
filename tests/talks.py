"""Conversations, held by hand: no server, no waiting."""

from __future__ import annotations

from redtask.hub.calls import Call, Group
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome, Status, Submitted, Watched
from redtask.inbox import TaskSet

KEYS = Keys("hub")
OPEN = Outcome("ready", "", "", b"")
GOOD = Outcome("completed", "1:n", "r", b"envelope")
BAD = Outcome("failed", "1:n", "e", b"envelope")
LARGE = Outcome("completed", "1:n", "-", b"")
GONE = Outcome("unknown", "", "", b"")
PURGED = Outcome("purged", "", "", b"")
OK = Submitted(1, 0)


class Talk:
    """A flow and what it has said so far."""

    def __init__(self, flow):
        self.flow = flow
        self.over = False
        self.value = None
        self._take(lambda: next(flow))

    def _take(self, go):
        try:
            self.step = go()
        except StopIteration as end:
            self.over, self.value, self.step = True, end.value, None

    def answer(self, *replies):
        for reply in replies:
            assert not self.over, "nothing was asked"
            if isinstance(reply, Exception):
                self._take(lambda reply=reply: self.flow.throw(reply))
            else:
                self._take(lambda reply=reply: self.flow.send(reply))
        return self

    def asks(self, script):
        """Say that the flow wants to hear from a script; return the arguments."""
        assert isinstance(self.step, Call), self.step
        assert self.step.script == script
        return list(self.step.args)


def watched(*outcomes, position="5-0"):
    return Watched(position, list(outcomes))


def status(engines):
    return Status({"registered": str(engines)}, {}, (), ())


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


def expected(inbox, *ids):
    tasks = TaskSet(ids)
    inbox.expect(tasks)
    return tasks


def a_slice(*ids):
    tasks = [part for name in ids for part in (name, b"envelope")]
    return [Group("digest", b"blob", "f", {}, tasks)]


def lose(contact, clock):
    clock.now += 0.1
    contact.loses()
    clock.now += 0.1
    contact.opens()
    contact.hears()
