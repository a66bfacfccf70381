"""The guard: what is meant for a task hits that task, in its midst, and no other."""

import asyncio
import contextlib
import io
import os
import pickle
import signal
import time

import pytest

from redtask.engine.block import BY_STOP, NEVER, Block
from redtask.engine.guard import (
    SIGNAL,
    Aborted,
    BlockGuard,
    Dismissed,
    Guard,
    WorkerStops,
)
from redtask.engine.output import Output
from redtask.error import TimeLimitExceeded

DEADLINE = 5
MS = 1_000_000


class Engine:
    """What a guard knows of an engine that has a batch of two."""

    def __init__(self):
        self.block = Block()
        self.block.join("e")
        self.block.joined(0, 15_000, NEVER)
        self.block.open(1, ["c-1", "1:n", "c-2", "1:n"])
        self.output = Output(io.StringIO(), io.StringIO())
        self.told = 0
        self.guard = BlockGuard(self.block, self.output, self.tell)
        self.begin(0)

    def tell(self):
        self.told += 1

    def begin(self, index):
        self.block.begin(index, time.monotonic_ns())
        self.output.inside = True

    def end(self, index):
        self.output.inside = False
        self.block.end(("ok", index, 0, 0, ["result", b"x"]))


@pytest.fixture
def engine():
    before = signal.getsignal(SIGNAL)
    made = Engine()
    made.guard.install()
    yield made
    made.output.inside = False
    signal.signal(SIGNAL, before)


def send():
    os.kill(os.getpid(), SIGNAL)


def test_a_task_over_its_limit_is_interrupted_by_name(engine):
    engine.guard.limit(1500)
    assert engine.told == 1
    assert engine.block.check_limit(time.monotonic_ns() + 1500 * MS).exceeded

    with pytest.raises(TimeLimitExceeded, match=r"time limit of 1\.5 s") as raised:
        send()

    assert engine.guard.kind(raised.value) == "late"
    assert engine.guard.kind(raised.value) == "error"


def test_an_aborted_task_is_interrupted_past_except_exception(engine):
    engine.block.stop("c-1", "1:n")

    def task():
        with contextlib.suppress(Exception):
            send()

    with pytest.raises(Aborted) as raised:
        task()

    assert engine.guard.kind(ValueError()) == "error"
    assert isinstance(raised.value, KeyboardInterrupt)


def test_a_task_whose_worker_stops_goes_back(engine):
    engine.block.stop("c-1", "1:n", why=BY_STOP)

    with pytest.raises(WorkerStops) as raised:
        send()

    assert engine.guard.kind(raised.value) == "unbegun"


def exceed(engine):
    engine.guard.limit(1)
    engine.block.check_limit(time.monotonic_ns() + MS)


async def interrupted_between_coroutines():
    asyncio.get_running_loop().call_soon(send)
    await asyncio.sleep(DEADLINE)


async def interrupted_in_a_task_group():
    async def go_on():
        send()
        await asyncio.sleep(DEADLINE)

    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())


@pytest.mark.parametrize(
    "task", [interrupted_between_coroutines, interrupted_in_a_task_group]
)
def test_no_event_loop_keeps_a_late_task_from_being_interrupted(engine, task):
    exceed(engine)

    with pytest.raises((TimeLimitExceeded, ExceptionGroup)) as raised:
        asyncio.run(task())

    found = engine.guard.found(raised.value)
    assert engine.guard.kind(found) == "late"
    assert type(found).__name__ == "TimeLimitExceeded"


async def several_that_wait():
    async def outer(number):
        await inner(number)

    async def inner(number):
        await asyncio.sleep(DEADLINE + number)

    tasks = [asyncio.create_task(outer(number)) for number in range(15)]
    asyncio.get_running_loop().call_soon(send)
    await asyncio.gather(*tasks)


def test_who_interrupts_an_event_loop_tells_where_its_coroutines_were(engine):
    exceed(engine)

    with pytest.raises(TimeLimitExceeded) as raised:
        asyncio.run(several_that_wait())

    (note,) = raised.value.__notes__
    lines = [line for line in note.splitlines() if ", in " in line]
    assert [line.rpartition(" in ")[2] for line in lines[:4]] == [
        "several_that_wait",
        "outer",
        "inner",
        "sleep",
    ]
    assert note.endswith("and 6 more")
    assert type(pickle.loads(pickle.dumps(raised.value))) is TimeLimitExceeded


def test_a_group_of_the_tasks_own_errors_is_an_error(engine):
    exceed(engine)
    with pytest.raises(TimeLimitExceeded):
        send()
    problem = ExceptionGroup("several", [ValueError()])

    found = engine.guard.found(problem)

    assert found is problem
    assert engine.guard.kind(found) == "error"


def test_an_interrupted_event_loop_still_runs_all_its_coroutines(engine, monkeypatch):
    engine.block.stop("c-1", "1:n")
    step, cleaned = asyncio.Handle._run, []

    async def sleep():
        try:
            await asyncio.sleep(DEADLINE)
        finally:
            cleaned.append(True)

    def interrupt(handle):
        # Just before a coroutine goes on: to raise here would lose its wakeup.
        monkeypatch.undo()
        send()
        step(handle)

    async def go_on():
        await asyncio.sleep(0)
        monkeypatch.setattr(asyncio.Handle, "_run", interrupt)
        await asyncio.gather(sleep(), sleep())

    loop = asyncio.new_event_loop()
    task = loop.create_task(go_on())
    with pytest.raises(Aborted):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task], timeout=DEADLINE))
    loop.close()

    assert task.cancelled()
    assert cleaned == [True, True]


def test_a_signal_without_a_reason_does_nothing(engine):
    send()

    assert not engine.guard.pending


def test_a_signal_for_a_task_that_has_ended_does_not_hit_the_next(engine):
    engine.block.stop("c-1", "1:n")
    engine.end(0)
    engine.begin(1)

    send()

    assert engine.block.look().running == "c-2"


def test_a_signal_outside_of_the_users_code_waits_until_it_begins(engine):
    engine.output.inside = False
    engine.block.stop("c-1", "1:n")

    send()

    assert engine.guard.pending
    engine.output.inside = True
    with pytest.raises(Aborted):
        engine.guard.check()
    assert not engine.guard.pending


def test_the_supervisor_is_told_only_of_what_is_due_before_it_looks(engine):
    engine.guard.limit(1000)
    engine.guard.limit(2000)

    assert engine.told == 1


def test_a_limit_beyond_all_bounds_is_no_limit(engine):
    engine.guard.limit(10**30)

    assert not engine.block.check_limit(time.monotonic_ns() + 10**17).exceeded


def test_a_guard_without_a_supervisor_interrupts_nothing():
    guard = Guard()
    guard.pending = True

    guard.limit(1)
    guard.check()

    assert not guard.pending
    assert guard.kind(Aborted()) == "error"


def test_an_engine_that_waits_and_is_to_end_is_dismissed_once(engine):
    engine.end(0)
    engine.guard.waits = True
    engine.block.take_back(for_good=True)

    with pytest.raises(Dismissed):
        send()
    send()


def test_an_engine_that_does_not_wait_looks_by_itself(engine):
    engine.end(0)
    engine.block.take_back(for_good=True)

    send()

    with pytest.raises(Dismissed):
        engine.guard.check_dismissal()


@pytest.mark.parametrize("to_end", [False, True])
def test_an_engine_that_runs_a_task_or_is_not_to_end_is_not_dismissed(engine, to_end):
    engine.output.inside = False
    engine.guard.waits = True
    if to_end:
        engine.block.take_back(for_good=True)
    else:
        engine.end(0)

    send()

    assert engine.guard.pending
