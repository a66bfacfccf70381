"""The warden: who is interrupted, who is ended, and when it looks again."""

import os
from pathlib import Path

import pytest

from redtask.engine import stacks
from redtask.engine import warden as module
from redtask.engine.block import BY_STOP, NEVER, Block
from redtask.engine.seat import Seat
from redtask.engine.warden import Warden

S = 1_000_000_000


class FakeSeat(Seat):
    """A seat whose engine is no process."""

    def interrupt(self, stop):
        self.stop = stop

    def kill(self, reason):
        self.ended_for = reason


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100 * S

    def monotonic_ns(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def seat():
    """The seat of an engine that is inside the first of three tasks."""
    made = FakeSeat(0, Block())
    made.pid = 1
    made.block.join("e")
    made.block.joined(0, 15_000, NEVER)
    made.block.open(7, ["c-1", "1:n", "c-2", "1:n", "c-3", "1:n"])
    made.block.begin(0, 99 * S)
    return made


@pytest.fixture
def reported():
    return []


@pytest.fixture
def warden(clock, seat, reported):
    return Warden([FakeSeat(1, Block()), seat], reported.append)


def end(seat, index=0):
    seat.block.end(("ok", index, 0, 0, ["result", b"x"]))


def looks(warden, clock):
    """Let it look when it wants to; return when that was, in s."""
    clock.now = max(clock.now, round(warden.due * S))
    warden.look()
    return clock.now / S


def test_without_limits_it_never_looks(warden, clock):
    warden.look()

    assert warden.due * S >= NEVER


def test_it_looks_when_a_limit_is_over_and_when_the_grace_is(warden, clock, seat):
    seat.block.limit(5000, clock.now)
    warden.wake()

    assert looks(warden, clock) == 100
    assert looks(warden, clock) == 105
    assert (seat.stop.reason, seat.stop.late) == ("time limit of 5 s exceeded", True)
    assert seat.ended_for == ""
    assert looks(warden, clock) == 107
    assert seat.ended_for == "time limit of 5 s exceeded"
    assert seat.stopped is seat.stop


@pytest.fixture
def told(seat, monkeypatch):
    """Write stacks as faulthandler does; return who was asked for them."""
    asked = []
    code = Path(module.__file__).parent

    def request(one):
        asked.append(one)
        text = (
            "Thread 0x1 (most recent call first):\n"
            '  File "/threads.py", line 7 in wait\n\n'
            "Current thread 0x2 (most recent call first):\n"
            '  File "/theirs.py", line 2 in inner\n'
            '  File "/theirs.py", line 5 in hold\n'
            f'  File "{code.parent}/payload.py", line 592 in call\n'
            f'  File "{code}/task.py", line 88 in _packed\n'
            '  File "/theirs.py", line 1 in <module>\n'
        )
        os.pwrite(one.sheet, text.encode(), 0)

    monkeypatch.setattr(stacks, "request", request)
    seat.sheet = os.memfd_create("stack")
    yield asked
    os.close(seat.sheet)


def test_who_is_to_be_ended_is_asked_where_it_is_just_before(
    warden, clock, seat, told, caplog
):
    seat.block.limit(5000, clock.now)
    warden.wake()
    times = [looks(warden, clock) for _ in range(3)]
    assert (times, told, seat.ended_for) == ([100, 105, 106.9], [seat], "")

    assert looks(warden, clock) == 107

    assert (told, seat.ended_for) == ([seat], "time limit of 5 s exceeded")
    assert seat.stack == (
        '  File "/theirs.py", line 2 in inner\n  File "/theirs.py", line 5 in hold\n'
    )
    assert caplog.messages[-1].endswith(f"in task c-1\n{seat.stack}")


def test_it_has_time_to_answer_also_if_the_warden_looks_late(warden, clock, seat, told):
    seat.block.limit(5000, clock.now)
    warden.wake()
    looks(warden, clock)
    looks(warden, clock)

    clock.now = 200 * S
    warden.look()

    assert (told, seat.ended_for) == ([seat], "")
    assert looks(warden, clock) == 200.1
    assert seat.ended_for == "time limit of 5 s exceeded"


def test_who_ends_in_the_grace_is_left_alone(warden, clock, seat):
    seat.block.limit(5000, clock.now)
    warden.wake()
    looks(warden, clock)
    looks(warden, clock)

    end(seat)
    seat.block.begin(1, 106 * S)
    looks(warden, clock)

    assert seat.ended_for == ""
    assert seat.stop is None
    assert warden.due * S >= NEVER


def test_who_ends_in_time_is_left_alone(warden, clock, seat):
    seat.block.limit(5000, clock.now)
    warden.wake()
    looks(warden, clock)
    end(seat)

    looks(warden, clock)

    assert (seat.stop, seat.ended_for) == (None, "")


def test_the_next_task_of_a_batch_has_its_own_time(warden, clock, seat):
    seat.block.limit(5000, clock.now)
    warden.wake()
    looks(warden, clock)
    end(seat)
    seat.block.begin(1, 103 * S)
    assert not seat.block.limit(5000, 103 * S)

    looks(warden, clock)

    assert seat.stop is None
    assert warden.due == 108


def test_an_aborted_task_is_interrupted_and_then_ended(warden, clock, seat):
    warden.abort("c-1", "1:n")

    assert looks(warden, clock) == 100
    assert (seat.stop.reason, seat.stop.late) == ("aborted while it ran", False)
    assert looks(warden, clock) == 102
    assert seat.ended_for == "aborted while it ran"


def test_who_is_aborted_again_and_again_is_ended_all_the_same(warden, clock, seat):
    warden.abort("c-1", "1:n")
    looks(warden, clock)

    first, clock.now = seat.stop, 101 * S
    warden.abort("c-1", "1:n")
    warden.stop_all("its worker was stopped")
    looks(warden, clock)

    assert seat.stop is first
    assert looks(warden, clock) == 102
    assert seat.ended_for == "aborted while it ran"


def test_what_runs_when_a_worker_stops_is_interrupted_and_then_ended(
    warden, clock, seat
):
    warden.stop_all("its worker was stopped")

    assert seat.stop.reason == "its worker was stopped"
    assert seat.block.stopped_by == BY_STOP
    assert seat.ended_for == ""
    assert looks(warden, clock) == 100
    assert looks(warden, clock) == 102
    assert seat.ended_for == "its worker was stopped"


def test_an_engine_that_runs_nothing_is_not_interrupted(warden, clock, seat):
    end(seat)

    warden.stop_all("its worker was stopped")

    assert seat.stop is None


def test_an_aborted_task_that_has_not_begun_goes_back(warden, clock, seat, reported):
    warden.abort("c-3", "1:n")
    warden.look()

    taken = [one for taken in reported for one in taken.outcomes]
    assert [(one.kind, one.task_id) for one in taken] == [("unbegun", "c-3")]
    assert seat.stop is None
    assert warden.due * S >= NEVER


@pytest.mark.parametrize("wanted", [("c-1", "2:n"), ("c-9", "1:n"), ("", "")])
def test_an_abort_of_what_is_not_here_hits_nobody(warden, clock, seat, wanted):
    warden.abort(*wanted)
    while warden.due < 110:
        looks(warden, clock)

    assert (seat.stop, seat.ended_for) == (None, "")
    assert clock.now < 103 * S
    assert warden.due * S >= NEVER


def test_a_task_that_is_on_its_way_is_waited_for(warden, clock, seat):
    warden.abort("c-4", "1:m")
    looks(warden, clock)
    seat.block.open(8, ["c-4", "1:m"])
    seat.block.begin(0, 101 * S)

    looks(warden, clock)

    assert seat.stop.begun_at == 101 * S
    assert clock.now == 100.1 * S


def test_an_engine_that_holds_the_lock_is_asked_again(warden, clock, seat):
    seat.block._acquire()
    warden.abort("c-1", "1:n")
    warden.look()
    assert warden.due == 100.1

    seat.block._release()
    looks(warden, clock)

    assert seat.stop.reason == "aborted while it ran"


def test_an_engine_that_holds_the_lock_is_not_ended(warden, clock, seat):
    warden.abort("c-1", "1:n")
    warden.look()
    seat.block._acquire()

    assert looks(warden, clock) == 102
    assert (seat.ended_for, warden.due) == ("", 102.1)
    seat.block._release()
    looks(warden, clock)

    assert seat.ended_for == "aborted while it ran"


def test_an_abort_that_nobody_can_decide_is_given_up(warden, clock, seat):
    seat.block._acquire()
    warden.abort("c-1", "1:n")
    clock.now += 11 * S

    warden.look()
    seat.block._release()
    looks(warden, clock)

    assert seat.stop is None
