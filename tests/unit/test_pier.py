"""Trips that are shared: who sends, who waits, and what each of them hears."""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import signal
import sys
import threading
from typing import Any

import pytest

from redtask import error, ferry
from redtask.aio.pier import Pier as AsyncPier
from redtask.ferry import Passenger
from redtask.payload import Function
from redtask.pier import Pier
from redtask.slices import FREE, MOST_BYTES, MOST_TASKS, Task, Waits
from tests.alarms import LateError, be_late
from tests.processes import until

FUNCTION = Function("digest", b"blob", "f")
DEADLINE = 20


def task(name, size=10, waits=FREE):
    return Task(name, bytes(size), FUNCTION, {}, waits)


def main_thread():
    """Return the thread that hears signals."""
    found = threading.main_thread().ident
    assert found is not None
    return found


def arrive(aboard):
    """End a trip well, for all."""
    for one in aboard:
        one.ends()


class Trips:
    """Trips that end when the test says so, as it says."""

    def __init__(self):
        self.loads = []
        self.began: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.endings: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, aboard):
        self.loads.append([one.task.task_id for one in aboard])
        self.began.put(aboard)
        self.endings.get(timeout=DEADLINE)(aboard)

    def end(self, ending=arrive):
        self.began.get(timeout=DEADLINE)
        self.endings.put(ending)


def _has(waiting, many):
    return len(waiting) >= many


class Callers:
    """Threads that submit, and what each heard."""

    def __init__(self, pier):
        self.pier = pier
        self.heard = {}
        self.threads = []

    def submit(self, *names):
        for name in names:
            waiting = self.pier._ferry._waiting
            before = len(waiting)
            thread = threading.Thread(target=self._submit, args=(name,))
            self.threads.append(thread)
            thread.start()
            if len(self.threads) > 1:
                until(functools.partial(_has, waiting, before + 1))

    def _submit(self, name):
        try:
            self.pier.submit(task(name))
        except (error.RedtaskError, KeyboardInterrupt, LateError) as problem:
            self.heard[name] = problem
        else:
            self.heard[name] = None

    def join(self):
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


@pytest.fixture
def trips():
    return Trips()


@pytest.fixture
def callers(trips):
    callers = Callers(Pier(trips, 30.0))
    yield callers
    callers.join()


def lose(aboard):
    raise error.ConnectionLost("gone")


def interrupt(aboard):
    raise KeyboardInterrupt


def wait_for(letter):
    assert letter is not None
    letter.wait()


def interrupt_at_once():
    raise KeyboardInterrupt


def test_who_is_alone_goes_at_once(trips, callers):
    callers.submit("a")
    trips.end()
    callers.join()

    assert trips.loads == [["a"]]
    assert callers.heard == {"a": None}


def test_who_comes_meanwhile_goes_with_the_next(trips, callers):
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c", "d")

    trips.endings.put(arrive)
    trips.end()
    callers.join()

    assert trips.loads == [["a"], ["b", "c", "d"]]
    assert callers.heard == dict.fromkeys("abcd")


def test_nobody_waits_for_more_than_a_slice(trips):
    boat = ferry.Ferry()
    people = [Passenger(task(f"{n}")) for n in range(MOST_TASKS + 10)]
    for one in people:
        boat.board(one)

    first = boat.load()
    arrive(first)
    boat.land()

    assert len(first) == MOST_TASKS
    assert boat.leader is people[MOST_TASKS]
    assert len(boat.load()) == 10


@pytest.mark.parametrize(
    ("tasks", "together"),
    [
        ([task(f"{n}", MOST_BYTES // 4) for n in range(6)], 4),
        ([task(f"{n}", 10, Waits(after=("x",) * 40)) for n in range(3)], 2),
    ],
    ids=["bytes", "members"],
)
def test_a_trip_holds_what_a_slice_holds(tasks, together):
    boat = ferry.Ferry()
    for one in tasks:
        boat.board(Passenger(one))

    assert len(boat.load()) == together


def test_each_hears_what_became_of_its_own(trips, callers):
    def refuse_c(aboard):
        for one in aboard:
            bad = one.task.task_id == "c"
            one.ends(error.PayloadTooLarge("c") if bad else None)

    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c", "d")

    trips.endings.put(arrive)
    trips.end(refuse_c)
    callers.join()

    assert isinstance(callers.heard.pop("c"), error.PayloadTooLarge)
    assert callers.heard == dict.fromkeys(["a", "b", "d"])


def test_what_concerns_all_is_raised_by_each(trips, callers):
    def full(aboard):
        raise error.HubFull

    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c")

    trips.endings.put(arrive)
    trips.end(full)
    callers.join()

    b, c = callers.heard["b"], callers.heard["c"]
    assert isinstance(b, error.HubFull)
    assert isinstance(c, error.HubFull)
    assert b is not c


def test_who_has_patience_left_goes_again_after_a_loss(trips, callers):
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c", "d")

    trips.endings.put(arrive)
    trips.end(lose)
    trips.end()
    callers.join()

    assert trips.loads == [["a"], ["b", "c", "d"], ["c", "d"]]
    assert isinstance(callers.heard.pop("b"), error.ConnectionLost)
    assert callers.heard == dict.fromkeys("acd")


def test_who_has_none_left_hears_of_the_loss_with_the_first(trips):
    callers = Callers(Pier(trips, 0.5))
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c")

    trips.endings.put(arrive)
    trips.end(lose)
    callers.join()

    assert [type(callers.heard[name]) for name in "bc"] == [error.ConnectionLost] * 2


@pytest.mark.parametrize(
    ("act", "kind"), [(interrupt, KeyboardInterrupt), (be_late, LateError)]
)
def test_an_interrupted_leader_leaves_the_others_to_another(trips, callers, act, kind):
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)
    callers.submit("b", "c", "d")

    trips.endings.put(arrive)
    trips.end(act)
    trips.end()
    callers.join()

    assert trips.loads == [["a"], ["b", "c", "d"], ["c", "d"]]
    assert isinstance(callers.heard.pop("b"), kind)
    assert callers.heard == dict.fromkeys("acd")


def test_who_is_interrupted_while_waiting_is_not_taken_along(trips):
    pier = Pier(trips, 30.0)
    callers = Callers(pier)
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)

    def press():
        until(lambda: pier._ferry._waiting)
        signal.pthread_kill(main_thread(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        pier.submit(task("main"))
    finger.join(DEADLINE)
    trips.endings.put(arrive)
    callers.join()
    trips.endings.put(arrive)
    pier.submit(task("later"))

    assert trips.loads == [["a"], ["later"]]


def test_a_signal_handler_may_submit_while_its_thread_waits():
    # The handler may interrupt its thread anywhere: no lock serves both.
    loads: list[list[str]] = []
    pressed: list[bool] = []
    began = threading.Event()

    def cross(aboard):
        loads.append([one.task.task_id for one in aboard])
        if loads == [["main"]]:
            began.set()
            until(lambda: pressed)
        arrive(aboard)

    pier = Pier(cross, 30.0)

    def handler(*_):
        pier.submit(task("handler"))
        pressed.append(True)

    def press():
        assert began.wait(DEADLINE)
        signal.pthread_kill(main_thread(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    finger = threading.Thread(target=press)
    finger.start()
    pier.submit(task("main"))
    finger.join(DEADLINE)
    signal.signal(signal.SIGUSR1, before)

    assert loads == [["main"], ["handler"]]


def in_a_thread(act):
    """Call it in a thread, as it may never return."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def crossing(crossed):
    """Return what takes all across, and notes their names."""

    def cross(aboard):
        crossed.extend(one.task.task_id for one in aboard)
        arrive(aboard)

    return cross


def posting(pier, names, happens):
    """Post some; just when the first one is sent, something happens."""
    send, first = pier._courier.send, [happens]

    def send_late(letter):
        while first:
            first.pop()()
        send(letter)

    pier._courier.send = send_late
    return [pier.post(task(name), lambda: None) for name in names]


def test_a_signal_handler_may_submit_while_its_thread_posts():
    crossed: list[str] = []
    pier = Pier(crossing(crossed), 30.0)

    def handle():
        pier.submit(task("submitted"))
        assert pier.post(task("posted"), lambda: None) is None
        pier.settle()

    def act():
        for letter in posting(pier, ["a", "b"], handle):
            letter.wait()

    in_a_thread(act)

    assert crossed == ["submitted", "posted", "a", "b"]


def test_who_is_interrupted_while_posting_keeps_nobody_waiting():
    crossed: list[str] = []
    landed: list[bool] = []
    pier = Pier(crossing(crossed), 30.0)

    def act():
        with pytest.raises(KeyboardInterrupt):
            posting(pier, ["a"], interrupt_at_once)
        pier.submit(task("b"))
        wait_for(pier.post(task("c"), lambda: landed.append(True)))

    in_a_thread(act)

    assert crossed == ["b", "c"]
    assert landed == [True]


def test_a_wait_for_a_letter_can_be_interrupted_anywhere():
    """Not so in an event: its lock might stay locked, or be another thread's."""
    pier = Pier(crossing([]), 30.0)
    letter = pier.post(task("a"), lambda: None)
    assert letter is not None
    entered = set()

    sys.setprofile(lambda frame, *_: entered.add(frame.f_code.co_filename))
    try:
        letter.wait()
    finally:
        sys.setprofile(None)

    assert letter.over
    assert threading.__file__ not in entered


def test_when_no_thread_can_be_started_only_posting_fails(monkeypatch):
    crossed: list[str] = []
    pier = Pier(crossing(crossed), 30.0)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            pier.post(task("a"), lambda: None)

    in_a_thread(functools.partial(pier.submit, task("b")))
    in_a_thread(lambda: wait_for(pier.post(task("c"), lambda: None)))

    assert crossed == ["b", "c"]


def test_the_next_letters_leave_after_a_trip_that_was_interrupted(trips):
    pier = Pier(trips, 30.0)
    landed: list[str] = []
    post = functools.partial(posted, pier, landed)
    first = post("a")
    trips.began.get(timeout=DEADLINE)
    others = [post("b"), post("c")]

    trips.endings.put(interrupt)
    trips.end()
    for letter in (first, *others):
        letter.wait()

    assert trips.loads == [["a"], ["b", "c"]]
    assert sorted(landed) == ["a", "b", "c"]
    assert str(first.problem) == (
        "the submit was interrupted by KeyboardInterrupt: it may have reached Redis, "
        "or not"
    )
    assert [letter.problem for letter in others] == [None, None]


def posted(pier, landed, name):
    letter = pier.post(task(name), functools.partial(landed.append, name))
    assert letter is not None
    return letter


def test_large_arguments_keep_nobody_waiting(trips, callers):
    callers.submit("a")
    trips.began.get(timeout=DEADLINE)

    trips.endings.put(arrive)
    trips.endings.put(arrive)
    callers.pier.submit(task("large", ferry.MOST_BYTES + 1))

    assert trips.loads == [["a"], ["large"]]


def test_a_forked_child_does_not_wait_for_its_parents_threads():
    crossed = []

    def cross(aboard):
        crossed.append(aboard)
        arrive(aboard)

    pier = Pier(cross, 30.0)
    pier._ferry.board(Passenger(task("of the parent")))

    child = os.fork()
    if child == 0:
        pier.submit(task("of the child"))
        os._exit(0 if crossed else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0


# -- the same in an event loop


class AsyncTrips:
    def __init__(self):
        self.loads = []
        self.endings: asyncio.Queue[Any] = asyncio.Queue()

        self._began = asyncio.Condition()

    async def __call__(self, aboard):
        async with self._began:
            self.loads.append([one.task.task_id for one in aboard])
            self._began.notify_all()
        (await self.endings.get())(aboard)

    async def began(self, number):
        async with self._began:
            await self._began.wait_for(lambda: len(self.loads) >= number)


def in_loop(test):
    async def main():
        trips = AsyncTrips()
        pier = AsyncPier(trips, 30.0)

        async def submit(*names):
            found = []
            for name in names:
                found.append(asyncio.create_task(pier.submit(task(name))))
                await asyncio.sleep(0)
            return found

        async with asyncio.timeout(DEADLINE):
            await test(trips, submit)
        return trips.loads

    return asyncio.run(main())


async def heard(*running):
    return [type(one) for one in await asyncio.gather(*running, return_exceptions=True)]


Good = type(None)


def test_coroutines_share_trips():
    @in_loop
    async def loads(trips, submit):
        running = await submit("a", "b", "c")
        for _ in range(2):
            trips.endings.put_nowait(arrive)
        assert await heard(*running) == [Good] * 3

    assert loads == [["a"], ["b", "c"]]


def test_a_coroutine_that_is_cancelled_while_it_leads_is_followed_by_another():
    @in_loop
    async def loads(trips, submit):
        first, *others = await submit("a", "b", "c")
        trips.endings.put_nowait(arrive)
        await first
        await trips.began(2)
        others[0].cancel()
        trips.endings.put_nowait(arrive)
        assert await heard(*others) == [asyncio.CancelledError, Good]

    assert loads == [["a"], ["b", "c"], ["c"]]


def test_a_coroutine_that_is_cancelled_while_it_waits_is_not_taken_along():
    @in_loop
    async def loads(trips, submit):
        running = await submit("a", "b", "c")
        running[1].cancel()
        for _ in range(2):
            trips.endings.put_nowait(arrive)
        assert await heard(*running) == [Good, asyncio.CancelledError, Good]

    assert loads == [["a"], ["c"]]


def test_a_letter_that_is_called_twice_leads_once():
    async def main():
        trips = AsyncTrips()
        pier = AsyncPier(trips, 30.0)
        pier.post(task("a"), lambda: None)
        await trips.began(1)
        letter = pier.post(task("b"), lambda: None)
        leaver = asyncio.create_task(pier.submit(task("c")))
        await asyncio.sleep(0)

        def end_and_leave(aboard):
            arrive(aboard)
            leaver.cancel()

        trips.endings.put_nowait(end_and_leave)
        await trips.began(2)
        later = asyncio.create_task(pier.submit(task("d")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not letter.over
        for _ in range(2):
            trips.endings.put_nowait(arrive)
        async with asyncio.timeout(DEADLINE):
            await letter.wait()
            await later
        return trips.loads

    assert asyncio.run(main()) == [["a"], ["b"], ["d"]]


def test_coroutines_with_patience_left_go_again_after_a_loss():
    @in_loop
    async def loads(trips, submit):
        running = await submit("a", "b", "c")
        for ending in (arrive, lose, arrive):
            trips.endings.put_nowait(ending)
        assert await heard(*running) == [Good, error.ConnectionLost, Good]

    assert loads == [["a"], ["b", "c"], ["c"]]


def test_what_concerns_all_is_raised_by_each_coroutine():
    def full(aboard):
        raise error.HubFull

    @in_loop
    async def loads(trips, submit):
        running = await submit("a", "b", "c")
        for ending in (arrive, full):
            trips.endings.put_nowait(ending)
        assert await heard(*running) == [Good, error.HubFull, error.HubFull]

    assert loads == [["a"], ["b", "c"]]


def test_large_arguments_keep_no_coroutine_waiting():
    @in_loop
    async def loads(trips, submit):
        running = await submit("a")
        trips.endings.put_nowait(arrive)
        trips.endings.put_nowait(arrive)
        pier = AsyncPier(trips, 30.0)
        await pier.submit(task("large", ferry.MOST_BYTES + 1))
        assert await heard(*running) == [Good]

    assert loads == [["a"], ["large"]]
