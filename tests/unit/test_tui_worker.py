"""Threads beside the screen: one talks to Redis, one hears a task."""

import threading

import pytest

from redtask import live
from redtask.error import ConfigurationError, ConnectionLost
from redtask.live import Output
from redtask.tui.ear import Ear, Said
from redtask.tui.state import Action, Notice, Wish
from redtask.tui.worker import Lost, Worker
from tests.processes import until

PATIENCE = 20


class Desk:
    """Stands for a hub: answers when it is let."""

    def __init__(self):
        self.read_wishes = []
        self.done = []
        self.busy = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.problem = None

    def read(self, wish):
        self.busy.set()
        assert self.gate.wait(PATIENCE)
        self.read_wishes.append(wish)
        if self.problem:
            raise self.problem
        return wish

    def act(self, action):
        if self.problem:
            raise self.problem
        self.done.append(action)
        return Notice(f"{action.name} is done")


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def woken():
    return threading.Semaphore(0)


@pytest.fixture
def worker(desk, woken):
    found = Worker(desk.read, desk.act, woken.release)
    yield found
    desk.gate.set()
    assert found.close(PATIENCE)


def test_what_is_wished_for_is_read_and_told(worker, woken):
    worker.wish(Wish("events"))

    assert woken.acquire(timeout=PATIENCE)
    assert worker.news() == [Wish("events")]
    assert worker.news() == []


def test_only_what_was_wished_for_last_is_read(worker, desk, woken):
    desk.gate.clear()
    worker.wish(Wish("engines"))
    assert desk.busy.wait(PATIENCE)
    worker.wish(Wish("tasks"))
    worker.wish(Wish("failed"))
    desk.gate.set()

    assert woken.acquire(timeout=PATIENCE)
    assert woken.acquire(timeout=PATIENCE)
    assert [wish.tab for wish in desk.read_wishes] == ["engines", "failed"]


def test_what_is_lost_is_told(worker, desk, woken):
    desk.problem = ConnectionLost("refused")
    worker.wish(Wish())

    assert woken.acquire(timeout=PATIENCE)
    assert worker.news() == [Lost("refused")]


def test_actions_are_done_one_by_one(worker, desk, woken):
    actions = [Action("abort", f"c-{n}") for n in range(3)]
    for action in actions:
        worker.act(action)

    for _ in actions:
        assert woken.acquire(timeout=PATIENCE)
    assert desk.done == actions
    assert worker.news()[0] == Notice("c-0 is done")


@pytest.mark.parametrize(
    "problem", [ConfigurationError("no key"), KeyError("no key"), ValueError("no key")]
)
def test_an_action_that_fails_says_why(worker, desk, woken, problem):
    desk.problem = problem
    worker.act(Action("replay", "c-1"))

    assert woken.acquire(timeout=PATIENCE)
    assert worker.news() == [Notice("replay c-1: no key", bad=True)]


@pytest.mark.parametrize("problem", [RecursionError("too deep"), TypeError("what")])
def test_whatever_comes_of_reading_or_acting_is_told_and_both_go_on(
    worker, desk, woken, problem
):
    desk.problem = problem
    worker.wish(Wish())
    assert woken.acquire(timeout=PATIENCE)
    worker.act(Action("replay", "c-1"))
    assert woken.acquire(timeout=PATIENCE)
    told = f"this cannot be read: {type(problem).__name__}: {problem}"

    desk.problem = None
    worker.wish(Wish("events"))

    assert woken.acquire(timeout=PATIENCE)
    assert worker.news() == [
        Lost(told),
        Notice(f"replay c-1: {told}", bad=True),
        Wish("events"),
    ]


def test_news_of_others_are_told_too(worker, woken):
    worker.tell(Said("c-1", "hello"))

    assert woken.acquire(timeout=PATIENCE)
    assert worker.news() == [Said("c-1", "hello")]


def test_who_reads_is_not_waited_for_for_ever(desk):
    worker = Worker(desk.read, desk.act, lambda: None)
    desk.gate.clear()
    worker.wish(Wish())
    assert desk.busy.wait(PATIENCE)

    assert not worker.close(0.01)
    desk.gate.set()
    assert worker.close(PATIENCE)


# -- hearing


class Voices:
    """Stands for a client, and for what listens with it."""

    def __init__(self, *said):
        self.said = list(said)
        self.asked = []
        self._session = self
        self.stopped = threading.Event()

    def listener(self, session, ids):
        self.asked.append(ids)
        return self

    @property
    def done(self):
        return not self.said

    def hear(self):
        return self.said.pop(0)

    def _run(self, flow):
        if isinstance(flow, Exception):
            raise flow
        return flow


@pytest.fixture
def hear(monkeypatch):
    """Listen to a task with some voices; return what is told of it."""
    told: list[Said] = []

    def listen(voices, task="c-1"):
        monkeypatch.setattr(live, "Listener", voices.listener)
        ear = Ear(lambda: voices, told.append)
        ear.listen(task)
        return ear

    return listen, told


def test_what_a_task_prints_is_told_until_it_has_ended(hear):
    listen, told = hear
    first = [Output("c-1", 1, "stdout", "one"), Output("c-1", 1, "progress", "", 0.5)]

    listen(Voices(first, [Output("c-1", 1, "stderr", "two")]))

    until(lambda: len(told) == 2)
    assert told == [Said("c-1", "one"), Said("c-1", "two")]


def test_a_task_is_listened_to_once_while_it_is_the_same(hear):
    listen, told = hear
    voices = Voices([Output("c-1", 1, "stdout", "one")])
    ear = listen(voices)
    until(lambda: told)

    ear.listen("c-1")
    ear.listen("")
    ear.listen("")

    assert voices.asked == [["c-1"]]


@pytest.mark.parametrize("kind", [ConfigurationError, TypeError])
def test_who_cannot_hear_says_why(hear, kind):
    listen, told = hear

    listen(Voices(kind("there is no key here")))

    until(lambda: told)
    assert told == [Said("c-1", "there is no key here", deaf=True)]


def test_nothing_is_told_of_a_task_that_is_not_looked_at_any_more(hear):
    listen, told = hear
    gate, reached = threading.Event(), threading.Event()

    class Slow(Voices):
        def hear(self):
            reached.set()
            assert gate.wait(PATIENCE)
            return super().hear()

    voices = Slow([Output("c-1", 1, "stdout", "late")])
    ear = listen(voices)
    assert reached.wait(PATIENCE)
    ear.listen("")
    gate.set()

    until(lambda: voices.done)
    until(lambda: not any("ear" in one.name for one in threading.enumerate()))
    assert told == []


def test_nobody_is_woken_any_more_once_it_is_closed(desk):
    woken = []
    worker = Worker(desk.read, desk.act, lambda: woken.append(1))
    worker.tell(Lost("before"))

    assert worker.close(PATIENCE)
    worker.tell(Lost("after"))

    assert (woken, worker.news()) == ([1], [Lost("before")])
