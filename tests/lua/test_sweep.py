"""sweep: what time alone brings about: leases over, retention over."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import error_in, ok, unbegun

LEASE = 15000
DAY = 86_400_000
HOUR = 3_600_000


def finish(hub, now, task, **flags):
    """Let a task complete."""
    hub.submit(now, task, **flags)
    hub.register(now, f"of-{task}")
    (work,) = hub.take(now, f"of-{task}")
    hub.report(now, f"of-{task}", ok(work, b"x" * 100))
    hub.gone(now, f"of-{task}")


def keep_awake(hub, until, *engines, step=LEASE // 3):
    """Let somebody beat, so that time passes without a gap."""
    for now in range(step, until + 1, step):
        for engine in engines:
            hub.live(now, engine, *hub.held(engine))
        hub.sweep(now)


def test_nothing_is_due_in_an_empty_hub(hub):
    swept = hub.sweep(1)

    assert (swept.due, swept.more) == (-1, False)


def test_it_says_when_the_next_lease_is_over(hub):
    hub.register(100, "e")

    assert hub.sweep(LEASE).due == 100 + 1


def test_where_there_are_engines_it_says_to_come_within_a_third_of_a_lease(hub):
    hub.register(100, "e")

    assert hub.sweep(600).due == LEASE // 3


def test_everything_taken_counts_as_begun_when_a_lease_is_over(hub):
    hub.join(1, "f")
    hub.gone(1, "f")
    hub.submit(1, *[f"c-{n}" for n in range(6)], retries=1)
    hub.register(1, "e", worker="other")
    hub.join(1, "f", queues="elsewhere")
    hub.take(1, "e", 2)

    keep_awake(hub, LEASE + 5000, "f")

    assert hub.redis.zscore(hub.key("engines"), "e") is None
    assert hub.record("c-0")["deaths"] == "1"
    assert hub.attempts("c-1")[0][-1] == "its lease is over"
    assert hub.ready()[:2] == ["c-0", "c-1"]
    assert hub.events().count("lost") == 2


def test_a_lease_holds_to_its_last_moment(hub):
    hub.register(0, "e")
    hub.join(0, "f")
    for now in (5000, 10000, 15000):
        hub.live(now, "f")

    hub.sweep(LEASE)
    assert len(hub.status(LEASE).engines) == 2
    hub.sweep(LEASE + 1)
    assert [one.uuid for one in hub.status(LEASE).engines] == ["f"]


def test_the_sweep_that_was_announced_finds_the_lease_over(hub):
    hub.register(0, "e")
    hub.join(0, "f", queues="other")
    hub.live(7000, "f")
    due = hub.sweep(12000).due

    hub.live(14000, "f")
    hub.sweep(12000 + due)

    assert [one.uuid for one in hub.status(LEASE).engines] == ["f"]


def test_after_a_gap_nobody_is_dead_for_one_lease(hub):
    hub.join(100, "e")
    hub.submit(100, "c-1", "c-2", retries=1)
    hub.take(100, "e")
    hub.live(100, "e", "c-1")

    late = 100 + 10 * LEASE
    assert hub.sweep(late).due == LEASE // 3
    assert hub.sweep(late + LEASE // 3).due == LEASE // 3
    assert hub.state("c-1") == "running"

    hub.sweep(late + 2 * LEASE // 3)
    hub.sweep(late + LEASE)
    assert hub.record("c-1")["deaths"] == "1"


@pytest.mark.parametrize("lease", [100, 3000, 9000, LEASE])
def test_who_comes_as_told_finds_the_lease_over_without_any_worker(make_hub, lease):
    hub = make_hub(lease=lease)
    hub.join(100, "e")
    hub.submit(100, "c-1")
    hub.take(100, "e")
    hub.live(100, "e", "c-1")
    now, late = 100, 100 + 3 * lease

    while hub.state("c-1") == "running" and now < late:
        now += max(20, min(hub.sweep(now).due, 5000))

    assert hub.state("c-1") == "failed"


def test_very_many_engines_are_all_hidden_before_one_is_taken_apart(real_hub):
    hub = real_hub
    names = [f"e{number:04}" for number in range(1100)]
    for name in names:
        hub.do(calls.register(name, "w", now=1))
        # An idle engine that names a nonce may be pushed a task.
        hub.do(calls.turn(name, 1, f"a{name}", 1, upcoming=f"b{name}", now=1))
    hub.submit(1, *[f"c-{number}" for number in range(5)], retries=1)
    # They hear of them.
    hub.redis.delete(*map(hub.keys.bell, names))
    for now in range(LEASE // 3, 2 * LEASE, LEASE // 3):
        hub.join(now, f"f{now}", queues="other")

        while hub.sweep(now).more:
            pass

    assert {hub.state(f"c-{number}") for number in range(5)} == {"ready"}
    assert {hub.record("c-1")["deaths"]} == {"1"}
    assert "e0000" not in hub.members("engines")


def test_in_the_grace_after_a_gap_the_living_say_so(hub):
    hub.join(100, "e")
    hub.live(100, "e")
    late = 100 + 10 * LEASE
    hub.sweep(late)

    hub.live(late + 10, "e")
    for now in range(late, late + LEASE + 1, 5000):
        hub.sweep(now)

    assert [one.uuid for one in hub.status(late).engines] == ["e"]


def test_a_gap_is_half_a_lease_of_silence(hub):
    hub.join(1, "e")
    hub.live(100, "e")

    hub.sweep(100 + LEASE // 2)
    assert hub.status(1).hub["grace"] == "0"
    hub.sweep(100 + LEASE // 2 + LEASE // 2 + 1)
    assert hub.status(1).hub["grace"] == str(100 + 2 * LEASE + 1)


def test_who_was_seen_to_die_is_gone_in_spite_of_a_gap(hub):
    hub.join(100, "e")
    hub.live(100, "e")

    assert hub.gone(100 + 10 * LEASE, "e").word == "gone"


def test_a_clock_that_steps_back_ends_no_lease_and_stretches_none(hub):
    hub.join(100_000, "e")
    hub.live(100_000, "e")

    hub.sweep(40_000)
    assert hub.status(40_000).hub["now"] == "100000"
    assert hub.status(45_000).hub["now"] == "105000"

    hub.live(45_000, "e")
    assert hub.redis.zscore(hub.key("engines"), "e") == 105_000 - 500 + LEASE


def test_time_that_ran_ahead_is_slewed_back(hub):
    hub.sweep(100_000)
    hub.sweep(90_000)
    skews = []
    for now in range(95_000, 200_000, 5_000):
        hub.sweep(now)
        skews.append(int(hub.status(now).hub["skew"]))

    assert skews == sorted(skews, reverse=True)
    assert (skews[0], skews[-1]) == (9500, 0)


def test_logical_time_never_runs_back(hub):
    seen = []
    for now in (50_000, 10_000, 20_000, 90_000, 80_000, 81_000, 300_000, 5):
        hub.sweep(now)
        seen.append(int(hub.status(now).hub["now"]))

    assert seen == sorted(seen)


def test_an_engine_paused_too_long_is_told_when_it_comes_back(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(1, "e")
    (work,) = hub.take(1, "e")
    hub.join(1, "f", queues="other")
    keep_awake(hub, LEASE + 5000, "f")

    turn = hub.turn(LEASE + 6000, "e", 1, ok(work))

    assert not turn.registered
    assert hub.state("c-1") == "ready"


def test_an_ended_task_is_kept_for_a_day(hub):
    finish(hub, 1000, "c-1")

    assert hub.sweep(1000).due == DAY
    hub.sweep(1000 + DAY - 1)
    assert hub.state("c-1") == "completed"
    hub.sweep(1000 + DAY)
    assert hub.state("c-1") is None
    assert list(hub.redis.scan_iter(hub.key("task*"))) == []


@pytest.mark.parametrize("large", [b"", b"x" * 100])
def test_nothing_of_a_forgotten_task_is_left(hub, large):
    hub.submit(1, "c-1", args=b"args" + large, ttl=10, retries=1)
    hub.register(2, "e")
    hub.turn(3, "e", 1, *[_failed(work, large) for work in hub.take(2, "e")])
    hub.turn(4, "e", 1, *[_failed(work, large) for work in hub.take(4, "e")])
    assert hub.state("c-1") == "failed"

    hub.sweep(20)

    assert list(hub.redis.scan_iter(hub.key("task*"))) == []


def _failed(work, large):
    return error_in(work, b"e" + large, stdout=b"o" + large, stderr=b"r" + large)


def test_a_task_may_be_kept_shorter_or_for_ever(hub):
    finish(hub, 1000, "c-1", ttl=50)
    finish(hub, 1000, "c-2", ttl=0)

    assert hub.sweep(1000).due == 50
    hub.sweep(1000 + 100 * DAY)

    assert [hub.state("c-1"), hub.state("c-2")] == [None, "completed"]


def test_a_hub_may_keep_everything(hub):
    hub.configure(1, result_ttl=0)
    finish(hub, 1000, "c-1")

    assert hub.sweep(1000).due == -1


def test_the_aborted_and_the_failed_are_forgotten_too(hub):
    hub.submit(1, "c-1", "c-2", ttl=10)
    hub.abort(1, "c-1")
    hub.register(1, "e")
    hub.take(1, "e")
    hub.gone(1, "e", "c-2")
    assert [hub.state("c-1"), hub.state("c-2")] == ["aborted", "failed"]

    hub.sweep(11)

    assert hub.tasks() == {}


def test_a_function_outlives_its_last_task_by_an_hour(hub):
    finish(hub, 1000, "c-1", ttl=10)
    hub.sweep(1010)

    assert hub.redis.hget(hub.keys.function("fn"), "count") == b"0"
    assert hub.sweep(1010).due == HOUR
    hub.sweep(1010 + HOUR - 1)
    assert hub.redis.exists(hub.keys.function("fn"))
    hub.sweep(1010 + HOUR)
    assert not hub.redis.exists(hub.keys.function("fn"))


def test_a_function_that_is_needed_again_stays(hub):
    finish(hub, 1000, "c-1", ttl=10)
    hub.sweep(1010)

    hub.submit(2000, "c-2", blob=b"")
    hub.sweep(1010 + 2 * HOUR)

    assert hub.redis.hget(hub.keys.function("fn"), "count") == b"1"


def test_a_sweep_does_no_more_than_its_budget(hub):
    hub.submit(1, *[f"c-{n}" for n in range(9)], ttl=10)
    hub.abort(1, *[f"c-{n}" for n in range(9)])

    swept = hub.sweep(11, budget=4)
    assert (swept.due, swept.more, len(hub.tasks())) == (0, True, 5)
    assert hub.sweep(11, budget=4).more
    swept = hub.sweep(11, budget=4)
    assert (swept.due, swept.more, len(hub.tasks())) == (HOUR, False, 0)


def test_a_dead_engine_with_much_is_swept_in_pieces(hub):
    hub.submit(1, *[f"c-{n}" for n in range(20)])
    hub.register(1, "e", worker="other")
    hub.take(1, "e", 10)
    hub.join(1, "f", queues="elsewhere")
    for now in range(5000, LEASE + 5000, 5000):
        hub.live(now, "f")

    pieces, swept = 0, None
    while hub.held("e"):
        swept = hub.sweep(LEASE + 10, budget=4)
        hub.check()
        pieces += 1
    assert (pieces, swept and swept.more) == (3, False)


def test_of_many_dead_engines_as_many_go_as_the_budget_allows(hub):
    for n in range(6):
        hub.register(1, f"e{n}", worker="other")
    hub.join(1, "f", queues="elsewhere")
    for now in range(5000, LEASE + 5000, 5000):
        hub.live(now, "f")

    assert hub.sweep(LEASE + 10, budget=4).more
    assert len(hub.status(LEASE).engines) == 3
    assert not hub.sweep(LEASE + 10, budget=4).more
    assert [one.uuid for one in hub.status(LEASE).engines] == ["f"]


def test_a_lease_of_no_engine_is_dropped(hub):
    hub.redis.zadd(hub.key("engines"), {"ghost": 5})
    hub.sweep(10)

    assert hub.sweep(20).due == -1


def test_what_dead_engines_had_finds_the_living(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(1, "e", worker="other")
    hub.take(1, "e")
    hub.join(1, "f")

    keep_awake(hub, LEASE + 5000, "f")

    assert (hub.assigned("f"), hub.rings("f")) == (["c-1"], 1)
    hub.check(quiet=True)


def test_what_one_dead_engine_had_does_not_go_to_another(hub):
    hub.submit(1, "c-1", retries=5)
    hub.register(1, "e", worker="other")
    hub.take(1, "e")
    hub.register(2, "f", worker="other")
    hub.do(calls.turn("f", 1, "one", 1, upcoming="two", now=2))
    hub.join(2, "g", queues="elsewhere")
    for now in range(5000, LEASE + 5000, 5000):
        hub.live(now, "g")

    hub.sweep(LEASE + 10)

    assert hub.state("c-1") == "ready"
    assert [what for *_, what in hub.attempts("c-1")] == ["its lease is over"]


def test_an_engine_half_taken_apart_gets_nothing_more(make_hub):
    hub = make_hub(hwm=100)
    hub.submit(1, *[f"c-{n}" for n in range(20)])
    hub.register(1, "e", worker="other")
    assert len(hub.take(1, "e", 10)) == 10
    hub.join(1, "f", queues="elsewhere")
    for now in range(5000, LEASE + 5000, 5000):
        hub.live(now, "f")

    hub.sweep(LEASE + 10, budget=4)

    assert hub.free() == []
    assert hub.take(LEASE + 20, "e", 10) == []


def test_an_engine_half_taken_apart_may_still_speak(hub):
    hub.submit(1, *[f"c-{n}" for n in range(20)])
    hub.register(1, "e", worker="other")
    taken = hub.take(1, "e", 10)
    hub.join(1, "f", queues="elsewhere")
    for now in range(5000, LEASE + 5000, 5000):
        hub.live(now, "f")
    hub.sweep(LEASE + 10, budget=4)

    turn = hub.turn(LEASE + 20, "e", 0, *[unbegun(work) for work in taken])

    assert (turn.registered, turn.stale) == (True, 0)
    assert hub.held("e") == []


@pytest.mark.parametrize("budget", [0, -1, 501, "x", 1.5])
def test_a_budget_that_is_none_is_refused(hub, budget):
    with hub.refuses(error.BadArgument, "budget"):
        hub.do(calls.sweep(budget, now=1))


def test_all_of_very_many_tasks_leave_a_machine_that_is_lost(real_hub):
    hub = real_hub
    hub.register(1, "e")
    hub.submit(2, "c-0")
    names = [f"d-{n}" for n in range(1400)]
    for at in range(0, 1400, 500):
        hub.submit(2, *names[at : at + 500])
    for _ in range(7):
        hub.take(3, "e", 200)

    while hub.sweep(40_000, budget=2).more:
        pass

    assert hub.status(40_001).states["running"] == 0


def test_an_engine_that_was_hidden_knows_what_came_meanwhile(hub):
    hub.configure(1, lease=1000)
    hub.join(1, "e", "f", "g")
    hub.submit(2, "c-1", "c-2", "c-3")
    (works,) = zip(*[hub.take(3, name) for name in "efg"], strict=True)
    for now in (400, 800, 1200, 1600):
        hub.live(now, "g", works[2].task_id)

    hub.sweep(1700, budget=1)
    hub.submit(1701, "c-9", targets="1-2")
    hub.live(1710, "f", works[1].task_id)
    hub.gone(1720, "g", works[2].task_id)
    taken = hub.turn(1730, "f", 1, ok(works[1])).work

    assert [one.task_id for one in taken] == ["c-9"]
