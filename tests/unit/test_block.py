"""The block: what a supervisor sees and takes, whenever the engine stops."""

import os
import signal

import pytest

from redtask.engine.block import (
    BY_ABORT,
    BY_LIMIT,
    IDLE,
    LOG_BYTES,
    NEVER,
    RUNNING,
    TALKING,
    Block,
)
from redtask.rope import Rope

MS = 1_000_000


def registered():
    made = Block()
    made.join("engine")
    made.joined(3, 15000, NEVER)
    return made


@pytest.fixture
def block():
    """Return the block of a registered engine."""
    return registered()


def open_batch(block, count, number=1):
    return block.open(
        number, [word for n in range(count) for word in (f"t-{n}", f"1:{n}")]
    )


def end(block, index, kind="ok", fields=("result", b"x")):
    return block.end((kind, index, 10 * index, 10 * index + 5, list(fields)))


def run(block, *indexes):
    for index in indexes:
        assert block.begin(index, 10 * index)
        assert end(block, index)


def ids(taken):
    return [(one.kind, one.task_id) for one in taken.outcomes]


def test_a_supervisor_sees_who_the_engine_is():
    block = Block()
    assert (block.uuid, block.registered) == ("", False)

    block.join("engine")
    assert (block.uuid, block.registered) == ("engine", False)

    block.joined(0, 15000, NEVER)
    assert (block.registered, block.lease) == (True, 15000)


def test_an_engine_that_joins_anew_is_another_one(block):
    open_batch(block, 2)
    run(block, 0)
    assert block.look().engine_id == 3

    block.join("other")

    assert block.uuid == "other"
    assert block.look().engine_id is None
    assert block.bequeath() == ([], [])


def test_the_loop_counter_moves_with_each_round(block):
    before = block.look().loops

    block.talk()

    assert block.look().loops == before + 1
    assert block.look().state == TALKING
    block.idle()
    assert block.look().state == IDLE


def test_a_batch_is_seen_with_what_is_begun_and_ended(block):
    open_batch(block, 3, number=7)
    run(block, 0)
    assert block.begin(1, 10)

    seen = block.look()

    assert seen.state == RUNNING
    assert seen.number == 7
    assert seen.ids == ("t-0", "t-1", "t-2")
    assert (seen.begun, seen.ended, seen.running) == (2, 1, "t-1")


def test_only_a_batch_with_neighbours_has_the_supervisor_told_and_only_once(block):
    assert not open_batch(block, 1)
    assert open_batch(block, 2)
    assert not open_batch(block, 2)


def test_a_finished_outcome_waits_for_its_batch_while_tasks_are_short(block):
    open_batch(block, 3)
    run(block, 0)
    begun = block.look()
    assert begun.ended == 1
    block.begin(1, now := 1000 * MS)

    taken = block.take(waited=5 * MS, patience=NEVER, now=now + 4 * MS)

    assert (ids(taken), taken.more) == ([], True)


def test_a_slow_task_has_those_before_it_taken_and_then_those_after_it(block):
    open_batch(block, 4)
    run(block, 0, 1)
    block.begin(2, 0)

    first = block.take(waited=5 * MS, patience=NEVER, now=6 * MS)
    again = block.take(waited=5 * MS, patience=NEVER, now=7 * MS)
    late = block.take(waited=5 * MS, patience=-NEVER, now=8 * MS)

    assert ids(first) == [("ok", "t-0"), ("ok", "t-1")]
    assert first.uuid == "engine"
    assert (first.inside, first.more) == (True, True)
    assert (ids(again), again.more) == ([], True)
    assert (ids(late), late.more) == ([("unbegun", "t-3")], False)
    assert end(block, 2)
    assert not block.begin(3, 9 * MS)
    assert not block.forsake()
    assert block.talk() == 2


def test_when_nothing_is_left_to_take_the_engine_tells_of_its_next_batch(block):
    open_batch(block, 2)
    run(block, 0, 1)
    block.talk()

    # It may go through one batch after another.
    assert block.take(waited=0, patience=0, now=NEVER).more
    assert not block.take(waited=0, patience=0, now=NEVER).more

    block.open_none(2)
    assert open_batch(block, 2, number=3)


def test_an_engine_that_goes_through_batches_does_not_tell_of_each(block):
    assert open_batch(block, 2)
    for number in range(2, 5):
        run(block, 0, 1)
        block.talk()
        assert block.take(waited=0, patience=0, now=NEVER).more
        assert not open_batch(block, 2, number=number)


def test_an_engine_that_takes_single_tasks_is_not_watched(block):
    open_batch(block, 1)
    run(block, 0)
    block.talk()

    assert not block.take(waited=0, patience=0, now=NEVER).more


def test_what_the_log_holds_comes_out_as_it_went_in(block):
    open_batch(block, 2)
    block.begin(0, 0)
    fields = ["error", b"\0\xff", "ename", "Error", "stdout", b""]
    assert block.end(("error", 0, 123, 456, fields))

    (outcome,), blamed = block.bequeath()

    assert outcome == ("error", "t-0", "1:0", 123, 456, fields)
    assert blamed == []


def test_a_new_batch_forgets_the_last_one(block):
    open_batch(block, 2)
    run(block, 0, 1)
    assert block.has_worked

    open_batch(block, 1, number=2)

    assert block.bequeath() == ([], [])
    assert block.look().ids == ("t-0",)
    assert block.has_worked
    block.open_none(3)
    assert (block.look().ids, block.look().number) == ((), 3)


def test_the_log_admits_what_fits_and_no_more(block):
    open_batch(block, 3)
    block.begin(0, 0)
    assert end(block, 0, fields=("result", bytes(900_000)))
    block.begin(1, 0)

    assert not end(block, 1, fields=("result", bytes(200_000)))

    assert block.look().running == "t-1"
    block.talk()
    assert not block.flushed(2)
    assert (block.look().running, block.look().ended) == (None, 2)
    run(block, 2)
    assert [one.task_id for one in block.bequeath()[0]] == ["t-2"]


def test_after_a_flush_the_supervisor_watches_again(block):
    open_batch(block, 3)
    block.begin(0, 0)
    block.talk()
    assert block.take(waited=0, patience=0, now=NEVER).more
    assert not block.take(waited=0, patience=0, now=NEVER).more

    assert block.flushed(1)

    assert block.take(waited=NEVER, patience=NEVER, now=0).more


def test_past_its_lease_an_engine_begins_nothing_and_gives_back_the_rest(block):
    open_batch(block, 3)
    block.renew(100)

    assert block.begin(0, 99)
    assert end(block, 0)
    assert not block.begin(1, 100)
    assert block.forsake()
    assert not block.forsake()
    assert block.lease_over
    block.renew(NEVER)
    assert not block.lease_over
    assert not block.begin(1, 0)


def test_after_a_turn_without_tasks_there_is_nothing_to_take_back(block):
    open_batch(block, 1)
    run(block, 0)
    block.talk()
    block.open_none(2)

    taken = block.take_back(for_good=True)

    assert ids(taken) == []


def test_a_draining_engine_begins_nothing_more(block):
    open_batch(block, 3)
    block.begin(0, 0)

    taken = block.take_back(for_good=True)

    assert ids(taken) == [("unbegun", "t-1"), ("unbegun", "t-2")]
    assert taken.inside
    assert block.draining
    end(block, 0)
    open_batch(block, 2, number=2)
    assert not block.begin(0, 0)


def test_a_log_that_was_destroyed_blames_all_that_was_begun(block):
    open_batch(block, 4)
    run(block, 0, 1)
    block.begin(2, 0)
    at = bytes(block._text).index(b"result")
    block._text[at - 40 : at] = bytes(40)

    outcomes, blamed = block.bequeath()

    assert outcomes == []
    assert blamed == ["t-0", "t-1", "t-2"]


def test_an_engine_that_stopped_inside_the_lock_is_not_waited_for(block):
    open_batch(block, 3)
    block._acquire()

    assert block.look() is None
    assert block.take_back() is None
    assert block.take(waited=0, patience=0, now=NEVER) == ("", [], False, True)
    assert block.check_limit(0) is None
    assert block.stop("t-0", "1:0") is None
    assert block.while_inside(1, pytest.fail) is None
    assert [one.task_id for one in block.bequeath()[0]] == []


def test_the_supervisor_is_told_of_a_limit_before_its_next_look(block):
    open_batch(block, 3)
    block.begin(0, 1)

    assert block.limit(10, 5 * MS)
    assert not block.limit(20, 5 * MS)
    assert block.limit(5, 5 * MS)
    assert block.check_limit(9 * MS) == (False, 10 * MS, 5, 1)


def test_a_task_is_over_its_limit_once(block):
    open_batch(block, 2)
    block.begin(0, 1)
    block.limit(5, 0)

    assert block.check_limit(5 * MS - 1).look_at == 5 * MS
    assert block.stopped_by == 0
    assert block.check_limit(5 * MS) == (True, NEVER, 5, 1)
    assert block.stopped_by == BY_LIMIT
    assert not block.check_limit(6 * MS).exceeded


def test_a_limit_is_of_the_task_it_was_set_for_alone(block):
    open_batch(block, 3)
    block.begin(0, 1)
    block.limit(5, 0)
    end(block, 0)

    assert block.check_limit(9 * MS) == (False, NEVER, 5, 0)
    block.begin(1, 2)
    assert not block.check_limit(9 * MS).exceeded
    assert block.limit(5, 9 * MS)
    assert block.check_limit(14 * MS).exceeded
    end(block, 1)
    block.begin(2, 15 * MS)
    assert block.stopped_by == 0


def test_a_limit_does_not_reach_into_the_next_batch(block):
    open_batch(block, 1)
    block.begin(0, 1)
    block.limit(5, 0)

    open_batch(block, 1, number=2)

    assert not block.check_limit(9 * MS).exceeded


def test_what_is_done_and_only_to_be_reported_is_not_stopped(block):
    open_batch(block, 1)
    block.begin(0, 1)
    block.limit(5, 0)
    block.spare()

    assert not block.check_limit(9 * MS).exceeded
    assert block.stop("t-0", "1:0").begun_at == 0
    assert block.while_inside(1, pytest.fail) is False
    assert block.look().running == "t-0"
    assert block.inside


def test_an_engine_is_inside_a_task_until_its_outcome_is_elsewhere(block):
    open_batch(block, 2)
    assert not block.inside

    block.begin(0, 1)
    assert block.inside
    assert not end(block, 0, fields=("result", bytes(LOG_BYTES)))
    assert block.inside

    block.flushed(1)
    assert not block.inside


def test_no_limit_is_too_long(block):
    open_batch(block, 1)
    block.begin(0, 1)

    assert not block.limit(10**12, NEVER - 1)
    assert block.check_limit(1).look_at == NEVER


def test_the_task_that_runs_is_stopped_if_it_is_the_one(block):
    open_batch(block, 3)
    run(block, 0)
    block.begin(1, 77)

    assert block.stop("t-1", "2:1").begun_at == 0
    assert block.stop("t-0", "1:0").begun_at == 0
    assert block.stop("t-9", "1:9").begun_at == 0
    assert block.stopped_by == 0
    stopped = block.stop("t-1", "1:1")

    assert (stopped.begun_at, ids(stopped.taken)) == (77, [])
    assert block.stopped_by == BY_ABORT
    assert block.begin(2, 78) is False or block.stopped_by == 0


def test_what_has_not_begun_is_taken_back_with_what_is_behind_it(block):
    open_batch(block, 4)
    block.begin(0, 1)

    stopped = block.stop("t-2", "1:2")

    assert stopped.begun_at == 0
    assert stopped.taken.uuid == "engine"
    assert ids(stopped.taken) == [("unbegun", "t-2"), ("unbegun", "t-3")]
    assert ids(block.stop("t-2", "1:2").taken) == []
    end(block, 0)
    assert block.begin(1, 2)
    end(block, 1)
    assert not block.begin(2, 3)


def test_an_abort_counts_more_than_a_limit(block):
    open_batch(block, 1)
    block.begin(0, 1)
    block.limit(5, 0)
    block.stop("t-0", "1:0")

    assert not block.check_limit(9 * MS).exceeded
    assert block.stopped_by == BY_ABORT


def test_something_is_done_only_while_a_task_runs(block):
    done = []
    open_batch(block, 2)
    block.begin(0, 7)

    assert block.while_inside(7, lambda: done.append(1))
    assert block.while_inside(8, pytest.fail) is False
    end(block, 0)
    assert block.while_inside(7, pytest.fail) is False

    assert done == [1]
    assert block.inside_since == 0


def test_a_dead_engine_shows_what_it_was_inside_of(block):
    open_batch(block, 1)
    block.begin(0, 7)

    assert block.inside_since == 7


@pytest.mark.parametrize("after", [0.0005, 0.001, 0.002, 0.004])
def test_an_engine_killed_at_any_instant_leaves_a_picture_without_a_hole(after):
    block = registered()
    child = os.fork()
    if child == 0:
        number = 0
        while True:
            number += 1
            open_batch(block, 50, number)
            for index in range(50):
                block.begin(index, 1)
                end(block, index)
            block.talk()
    handle = os.pidfd_open(child)
    try:
        while block.look() is None or block.look().number < 2:
            pass
        signal.sigtimedwait([], after)
    finally:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(handle)

    seen = block._picture()
    outcomes, blamed = block.bequeath()

    assert [one.task_id for one in outcomes] == list(seen.ids[: len(outcomes)])
    # At most one was begun and not logged, and it is the one that is blamed.
    assert seen.begun - len(outcomes) in {0, 1}
    if seen.begun > len(outcomes):
        assert blamed == [seen.ids[seen.begun - 1]]


@pytest.mark.parametrize("before", [0, 1])
def test_what_is_in_pieces_is_logged_whole(block, before):
    open_batch(block, 3)
    for index in range(before):
        block.begin(index, 1)
        end(block, index)
    block.begin(before, 1)
    rope = Rope([b"head", b"x" * 100_000, b"end"])

    assert block.end(("ok", before, 1, 2, ["result", rope, "repr", "x"]))
    block.begin(before + 1, 3)
    end(block, before + 1)

    outcomes, _ = block.bequeath()
    assert len(outcomes) == before + 2
    assert outcomes[before].fields == ["result", bytes(rope), "repr", "x"]
    assert outcomes[before + 1].task_id == f"t-{before + 1}"


@pytest.mark.parametrize("more", [[], ["stdout", Rope([b"x"])]])
def test_what_the_log_cannot_have_is_reported_at_once(block, more):
    opened(block)
    strange = type("Strange", (str,), {})("x")

    assert not block.end(("ok", 0, 1, 2, ["result", b"x", "repr", strange, *more]))


def test_what_is_larger_than_the_log_is_reported_at_once(block):
    opened(block)
    rope = Rope([b"head", b"x" * LOG_BYTES])

    assert not block.end(("ok", 0, 1, 2, ["result", rope]))
    assert block.end(("ok", 0, 1, 2, ["result", b"x"]))


def opened(block):
    block.join("uuid")
    block.joined(0, 1000, NEVER)
    block.open(1, ["c-1", "1:n"])
    assert block.begin(0, 1)
