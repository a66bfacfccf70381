"""What is due at a time: delays, pauses before retries, budgets of waiting."""

import pytest

from tests.hubs import error_in, ok, unmet


@pytest.fixture
def busy(hub):
    """A hub with an engine that has a task."""
    hub.join(1, "e")
    hub.submit(2, "c-0", priority=9)
    (hub.work,) = hub.take(3, "e")
    return hub


# Delays


def test_a_delayed_task_waits_until_its_time(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", start_in=50)

    hub.sweep(51)
    assert hub.state("c-1") == "waiting"
    hub.sweep(52)

    assert hub.assigned("e") == ["c-1"]
    assert "start" not in hub.record("c-1")


def test_a_start_at_a_time_is_by_the_clock(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", start_at=100)

    assert hub.sweep(99).due == 1
    hub.sweep(100)

    assert hub.state("c-1") == "assigned"


@pytest.mark.parametrize("flags", [{"start_at": 2}, {"start_at": 1}, {"start_in": 0}])
def test_a_time_that_is_past_delays_nothing(hub, flags):
    hub.submit(2, "c-1", **flags)

    assert hub.state("c-1") == "ready"
    assert hub.members("timers") == []


def test_a_delay_and_a_dependency_must_both_be_over(busy):
    busy.submit(4, "c-1", start_in=50, after="as c-0")

    busy.sweep(54)
    assert busy.state("c-1") == "waiting"
    busy.turn(55, "e", 0, ok(busy.work))

    assert busy.state("c-1") == "assigned"


def test_the_dependency_may_be_over_first(busy):
    busy.submit(4, "c-1", start_in=50, after="as c-0")

    busy.turn(5, "e", 0, ok(busy.work))
    assert busy.state("c-1") == "waiting"
    busy.sweep(54)

    assert busy.state("c-1") == "assigned"


def test_what_is_impossible_does_not_wait_for_its_time(busy):
    busy.submit(4, "c-1", start_in=50, after="as c-0")

    busy.turn(5, "e", 0, error_in(busy.work))

    assert busy.record("c-1")["verdict"] == "impossible"
    assert busy.members("timers") == []


def test_a_delayed_task_that_is_aborted_leaves_no_timer(hub):
    hub.submit(2, "c-1", start_in=50)

    hub.abort(3, "c-1")

    assert hub.members("timers") == []


# Budgets of waiting


def test_a_budget_of_waiting_for_an_engine(hub):
    hub.submit(2, "c-1", timeout=300)

    hub.sweep(301)
    assert hub.state("c-1") == "ready"
    hub.sweep(302)

    record = hub.record("c-1")
    assert record["verdict"] == "timeout"
    assert record["reason"] == "it waited too long for an engine"


def test_a_budget_of_waiting_for_others(busy):
    busy.submit(2, "c-1", timeout=300, after="as c-0")

    busy.sweep(302)

    assert busy.record("c-1")["reason"] == "it waited too long for what it depends on"


def test_what_was_placed_and_not_taken_still_waits(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", timeout=300)
    assert hub.assigned("e") == ["c-1"]

    hub.sweep(302)

    assert (hub.state("c-1"), hub.assigned("e"), hub.free()) == ("failed", [], ["e"])


def test_a_budget_stands_still_on_an_engine(busy):
    busy.submit(4, "c-1", timeout=300)
    (work,) = busy.turn(104, "e", 1, ok(busy.work)).work
    assert busy.record("c-1")["left"] == "200"

    busy.sweep(1000)
    busy.turn(2000, "e", 0, unmet(work))

    assert busy.state("c-1") == "ready"
    busy.sweep(2199)
    assert busy.state("c-1") == "ready"
    busy.sweep(2200)
    assert busy.state("c-1") == "failed"


def test_a_budget_does_not_count_in_a_delay(hub):
    hub.submit(2, "c-1", timeout=300, start_in=1000)

    hub.sweep(1002)
    hub.sweep(1301)
    assert hub.state("c-1") == "ready"
    hub.sweep(1302)

    assert hub.state("c-1") == "failed"


def test_a_budget_does_not_count_in_a_pause(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", timeout=300, retries=1, pause="1000 1 0")
    (work,) = hub.take(102, "e")
    hub.turn(200, "e", 0, error_in(work))
    assert hub.members("timers") == ["w:c-1"]

    hub.sweep(1200)

    assert hub.redis.zscore(hub.key("timers"), "t:c-1") == 1400


def test_a_dependent_of_one_out_of_time_is_told(hub):
    hub.submit(2, "c-1", timeout=300)
    hub.submit(2, "c-2", after="as c-1")
    hub.submit(2, "c-3", after="af c-1")

    hub.sweep(302)

    assert (hub.state("c-2"), hub.state("c-3")) == ("failed", "ready")


# Pauses before retries


def test_each_pause_is_longer_by_its_factor(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=3, pause="100 2 0")
    pauses, stamp = [], 10
    for _ in range(3):
        (work,) = hub.take(stamp, "e")
        hub.turn(stamp, "e", 0, error_in(work))
        pauses.append(int(hub.record("c-1")["start"]) - stamp)
        stamp += pauses[-1]
        hub.sweep(stamp)

    assert pauses == [100, 200, 400]


def test_jitter_spreads_a_pause_by_its_share(hub):
    hub.join(1, "e")
    pauses = []
    for number in range(20):
        hub.submit(2, f"c-{number}", retries=1, pause="1000 1 0.5")
        (work,) = hub.take(3, "e")
        hub.turn(3, "e", 0, error_in(work))
        pauses.append(int(hub.record(f"c-{number}")["start"]) - 3)

    assert all(500 <= pause <= 1500 for pause in pauses)
    assert len(set(pauses)) > 10


def test_no_pause_is_longer_than_a_day(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=1, pause="86400000 1000 0")
    (work,) = hub.take(3, "e")

    hub.turn(3, "e", 0, error_in(work))

    assert hub.record("c-1")["start"] == str(86_400_003)


def test_after_its_pause_a_task_stands_at_its_old_place(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=1, pause="100 1 0")
    (work,) = hub.take(3, "e")
    hub.turn(3, "e", 0, error_in(work))
    hub.live(4, "e")
    hub.submit(5, "c-2", "c-3")

    hub.sweep(103)

    assert hub.ready() == ["c-1", "c-3"]


# Who is to come, and when


def test_an_earlier_timer_wakes_a_supervisor_once(hub):
    hub.sweep(1)

    hub.submit(2, "c-1", "c-2", start_in=50)
    assert hub.redis.llen(hub.key("alarm")) == 1
    hub.redis.delete(hub.key("alarm"))
    hub.submit(3, "c-3", start_in=60)

    assert hub.redis.llen(hub.key("alarm")) == 0
    hub.submit(4, "c-4", start_in=10)
    assert hub.redis.llen(hub.key("alarm")) == 1


def test_a_sweep_says_when_the_next_timer_is_due(hub):
    hub.submit(2, "c-1", start_in=50)

    assert hub.sweep(10).due == 42


def test_a_timer_outlives_a_clock_that_steps_back(hub):
    hub.sweep(100_000)
    hub.submit(100_000, "c-1", timeout=300)

    hub.sweep(50_000)
    assert hub.state("c-1") == "ready"
    hub.sweep(100_300)

    assert hub.state("c-1") == "failed"


def test_ten_thousand_timers_at_once_go_in_pieces(real_hub):
    hub = real_hub
    for first in range(0, 10_000, 500):
        names = [f"c-{n}" for n in range(first, first + 500)]
        hub.submit(2, *names, start_in=50)

    fired = []
    while hub.waiting():
        before = hub.redis.zcard(hub.key("waiting"))
        assert hub.sweep(52, 200).more
        fired.append(before - hub.redis.zcard(hub.key("waiting")))

    assert set(fired) == {200}
    assert len(hub.ready()) == 10_000


def test_a_piece_of_timers_is_short(real_hub):
    hub = real_hub
    for first in range(0, 2000, 500):
        names = [f"c-{n}" for n in range(first, first + 500)]
        hub.submit(2, *names, start_in=50)
    spent = []
    while hub.members("timers"):
        hub.redis.config_resetstat()
        hub.sweep(52, 200)
        spent.append(hub.redis.info("commandstats")["cmdstat_evalsha"]["usec"])

    # The quickest: others may have had the machine meanwhile.
    assert min(spent) < 10_000


def test_no_pause_stays_none_however_large_its_factor_gets(hub):
    hub.register(1, "e")
    hub.submit(1, "c-1", retries=20, pause="0 " + "9" * 45 + " 0")

    for now in range(2, 40, 2):
        (work,) = hub.take(now, "e")
        hub.report(now + 1, "e", error_in(work))

    assert hub.state("c-1") == "ready"


def test_a_timer_that_was_set_while_the_clock_stood_ahead_is_not_late(hub):
    hour = 3_600_000
    hub.register(hour, "e")
    hub.sweep(hour + 100)
    hub.submit(hour + 200 + hour, "c-1", start_in=150)
    hub.submit(hour + 201 + hour, "c-2", timeout=150, targets="0", after="as c-1")

    for stamp in range(hour + 300, hour + 4000, 500):
        hub.live(stamp, "e")
        hub.sweep(stamp)

    assert hub.state("c-1") != "waiting"
    assert hub.state("c-2") == "failed"


def test_time_is_noted_once_a_second_by_who_sets_timers(hub):
    hub.submit(10_000, "c-1", start_in=5000)
    hub.submit(10_900, "c-2", start_in=5000)
    assert hub.redis.hget(hub.key("hub"), "far") == b"10000"

    hub.submit(11_001, "c-3", start_in=5000)

    assert hub.redis.hget(hub.key("hub"), "far") == b"11001"
