"""turn: what failed is tried again, and what was not begun goes back."""

import pytest

from redtask.hub.calls import Report
from tests.hubs import error_in, ok, unbegun, unmet


def ids(work):
    return [one.task_id for one in work]


def test_a_failure_is_tried_again_on_another_engine_first(started):
    started.join(4, "f")

    turn = started.turn(5, "e", 1, error_in(started.work))

    assert (turn.work, started.assigned("f")) == ([], ["c-1"])
    assert started.rings("f") == 1
    assert started.record("c-1")["tries"] == "1"


def test_if_there_is_no_other_it_is_ready_for_any(started):
    started.register(4, "f")

    started.turn(5, "e", 0, error_in(started.work))

    assert started.ready() == ["c-1"]
    assert ids(started.take(6, "f")) == ["c-1"]


def test_the_turn_that_reported_a_failure_does_not_take_it(started):
    turn = started.turn(5, "e", 1, error_in(started.work))

    assert (turn.work, started.ready()) == ([], ["c-1"])
    assert started.rings("e") == 1
    assert ids(started.take(6, "e")) == ["c-1"]


def test_one_engine_and_three_retries_are_four_attempts(hub):
    hub.submit(1, "c-1", retries=3)
    hub.register(2, "e")

    for attempt in (1, 2, 3, 4):
        assert hub.state("c-1") == "ready"
        (work,) = hub.take(attempt * 10, "e")
        assert work.token.split(":")[0] == str(attempt)
        hub.turn(attempt * 10 + 1, "e", 1, error_in(work, f"e{attempt}".encode()))

    record = hub.record("c-1")
    assert (record["state"], record["error"], record["tries"]) == ("failed", "e4", "4")
    assert len(hub.attempts("c-1")) == 4
    assert hub.events().count("retry") == 3


def test_a_retry_that_succeeds_keeps_its_attempts(started):
    started.turn(5, "e", 1, error_in(started.work, b"oops", stdout="x" * 100))
    (again,) = started.take(6, "e")

    started.turn(7, "e", 1, ok(again))

    record = started.record("c-1")
    assert (record["state"], record["tries"]) == ("completed", "1")
    assert "error" not in record
    assert len(started.attempts("c-1")) == 1


def test_of_many_attempts_the_first_and_the_last_nine_are_kept(hub):
    hub.submit(1, "c-1", retries=20)
    hub.register(2, "e")

    for attempt in range(1, 14):
        (work,) = hub.take(attempt, "e")
        hub.turn(attempt, "e", 1, error_in(work, evalue=f"no {attempt}"))

    assert [line[-1] for line in hub.attempts("c-1")] == [
        f"ValueError: no {n}" for n in (1, *range(5, 14))
    ]


def test_a_retry_goes_back_to_its_old_place(hub):
    hub.submit(1, "c-1", retries=1, priority=1)
    hub.submit(2, "c-2", "c-3", priority=1)
    hub.register(3, "e")
    (work,) = hub.take(4, "e")

    hub.turn(5, "e", 0, error_in(work))

    assert hub.ready() == ["c-1", "c-2", "c-3"]


def test_given_back_unbegun_a_task_has_used_no_try(started):
    started.turn(5, "e", 0, unbegun(started.work))

    record = started.record("c-1")
    assert (record["state"], started.ready()) == ("ready", ["c-1"])
    assert "tries" not in record
    assert started.take(6, "e")[0].token.split(":")[0] == "1"


def test_what_is_given_back_keeps_its_place(hub):
    hub.submit(1, "c-1", "c-2", "c-3", *[f"c-{n}" for n in range(10, 20)])
    hub.register(2, "e")
    _, second, third = hub.take(3, "e", 3)

    hub.report(4, "e", unbegun(third), unbegun(second))

    assert hub.ready()[:3] == ["c-2", "c-3", "c-10"]


def test_what_is_given_back_goes_to_an_idle_engine(started):
    started.join(4, "f")

    started.report(5, "e", unbegun(started.work))

    assert (started.assigned("f"), started.rings("e")) == (["c-1"], 0)


def test_what_comes_back_in_one_turn_is_placed_in_its_order(hub):
    hub.submit(1, *[f"c-{n}" for n in range(1, 7)], retries=1)
    hub.register(1, "e")
    first, second, *_ = hub.take(1, "e", 6)
    hub.register(1, "x")
    while hub.ready():
        hub.take(1, "x", 6)
    hub.join(1, "f")

    hub.turn(2, "e", 0, unbegun(second), error_in(first))

    assert hub.engine_of(first.task_id) == "f"
    assert hub.ready() == [second.task_id]


# Over the time limit


def over_time(work):
    """Report that a task was over its time limit."""
    fields = ("error", b"error", "ename", "TimeLimitExceeded", "evalue", "1 s")
    return Report("late", work.task_id, work.token, 0, 0, fields)


@pytest.mark.parametrize("want", [0, 1])
@pytest.mark.parametrize("how", [unbegun, error_in, unmet])
def test_what_comes_back_does_not_overtake_what_the_same_turn_released(hub, how, want):
    hub.submit(1, "c-1", retries=1, elsewhere=1)
    hub.submit(1, "c-2")
    hub.submit(1, "c-3", "c-4", after="as c-2", priority=5)
    hub.register(2, "e")
    back, parent = hub.take(3, "e", 4) + hub.take(3, "e", 4)
    hub.join(4, "f")

    hub.turn(5, "e", want, how(back), ok(parent))

    assert hub.assigned("f") == ["c-4" if want else "c-3"]
    assert hub.ready("default", "") + hub.ready("default", "!0") != []


def dies(hub):
    hub.gone(6, "e", "c-2")


def is_cut_off(hub):
    hub.live(10000, "f")
    hub.sweep(16000)


@pytest.mark.parametrize("fails", [dies, is_cut_off])
def test_nor_what_the_loss_of_its_engine_released(hub, fails):
    hub.submit(1, "c-1", retries=1)
    hub.submit(1, "c-2")
    hub.submit(1, "c-3", after="af c-2", priority=5)
    hub.register(2, "e")
    hub.take(3, "e", 4)
    hub.take(3, "e", 4)
    hub.join(4, "f")

    fails(hub)

    assert (hub.assigned("f"), hub.ready()) == (["c-3"], ["c-1"])


def test_nor_what_is_due_when_the_loss_of_its_engine_is_noticed(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(2, "e")
    hub.take(3, "e")
    hub.join(4, "f")
    hub.submit(5, "c-2", start_in=15000, priority=5)
    hub.live(10000, "f")

    hub.sweep(16000)

    assert (hub.assigned("f"), hub.ready()) == (["c-2"], ["c-1"])


def test_nor_what_is_released_as_nobody_is_left_for_another(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")
    hub.take(3, "e")
    hub.submit(4, "c-2", targets="0")
    hub.submit(4, "c-3", after="af c-2", priority=5)
    hub.join(5, "f")

    hub.gone(6, "e")

    assert hub.record("c-2")["verdict"] == "impossible"
    assert (hub.assigned("f"), hub.ready()) == (["c-3"], ["c-1"])


def test_one_over_its_time_limit_failed_a_try(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=1)
    for stamp in (3, 5):
        (work,) = hub.take(stamp, "e")
        hub.turn(stamp + 1, "e", 0, over_time(work))

    record = hub.record("c-1")
    assert (record["state"], record["tries"]) == ("failed", "2")
    assert (record["error"], record["ename"]) == ("error", "TimeLimitExceeded")
    assert "deaths" not in record
