"""overview: how a hub does, at a cost that does not grow with it."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.views import Ended, Failures, Oldest, Queue, Times
from tests.hubs import error_in, interrupted, ok

MINUTE = 60000
DAY = 86400000


def overview(hub, now, buckets=0, width=10000):
    return hub.do(calls.overview(buckets, width, now=now))


def test_an_empty_hub(hub):
    seen = overview(hub, 5)

    assert set(seen.states.values()) == {0}
    assert (seen.queues, seen.oldest, seen.times, seen.failures) == ((), {}, (), ())
    assert (seen.lately, seen.buckets) == (Ended(0, 0, 0), ())
    assert (seen.stamp, seen.engines, seen.span, seen.scheme) == (5, 0, 60, "leastload")


def test_it_counts_as_status_does(hub):
    hub.submit(1, *[f"c-{n}" for n in range(9)])
    hub.join(2, "e")
    for report in (ok, error_in):
        hub.turn(3, "e", 1, report(hub.turn_again(3, "e").work[0]))
    hub.join(4, "f", queues="b")
    hub.submit(5, "b-1", "b-2", queue="b")
    hub.submit(5, "c-10", after="as c-7", gate="c-11")
    hub.submit(5, "c-12", targets="0")
    hub.abort(6, "c-8")
    hub.end(7, "ok")

    seen = overview(hub, 8)

    assert seen.states == hub.status(8).states
    assert {state for state, count in seen.states.items() if count} == {
        "waiting", "ready", "assigned", "running", "completed", "failed", "aborted",
    }  # fmt: skip


def test_what_is_forgotten_is_no_longer_in_play(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.end(2, "ok", "error")
    hub.purge(3, "c-1")
    hub.sweep(DAY + 10)

    assert overview(hub, DAY + 20).states == hub.status(DAY + 20).states
    assert overview(hub, DAY + 20).states["ready"] == 1


def test_what_is_submitted_again_is_in_play_again(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "error", "ok")
    hub.resubmit(3, ("c-1", "c-3"))

    assert overview(hub, 4).states == hub.status(4).states
    assert overview(hub, 4).states["ready"] == 1


def test_with_very_many_queues_ready_ones_are_what_is_left(real_hub):
    for number in range(201):
        real_hub.submit(1, f"c-{number}", queue=f"q{number:03}")
    real_hub.join(2, "e", queues="q000")

    seen = overview(real_hub, 3)

    assert (seen.states["ready"], seen.states["running"]) == (200, 1)
    assert len(seen.queues) == 50


def test_queues_stand_by_length_and_know_their_oldest(hub):
    hub.register(1, "e", queues="a,b,c")
    hub.submit(10, "c-1", queue="b")
    hub.submit(20, "c-2", queue="a")
    hub.submit(30, "c-3", queue="a")

    assert overview(hub, 40).queues == (
        Queue("a", 1, 2, 20),
        Queue("b", 1, 1, 10),
        Queue("c", 1, 0, 0),
    )


def test_a_paused_queue_says_so(hub):
    hub.join(1, "e")
    hub.do(calls.pause(["default"], now=2))

    assert overview(hub, 3).queues == (Queue("default", 1, 0, 0, paused=True),)


def test_the_oldest_are_found_whatever_their_priority(hub):
    hub.submit(10, "c-1", "c-2", priority=0)
    hub.submit(20, "c-3", priority=5)
    hub.submit(5, "c-4", priority=-7)
    hub.submit(30, "d-1", after="as c-1", priority=3)
    hub.submit(40, "d-2", after="as c-1", priority=9)

    assert overview(hub, 50).oldest == {
        "waiting": Oldest("d-1", 30),
        "ready": Oldest("c-4", 5),
    }


def test_rates_are_what_ended_when(hub):
    hub.submit(1, *[f"c-{n}" for n in range(6)])
    hub.register(2, "e")
    for stamp, report in (
        (10000, ok),
        (65000, error_in),
        (80000, ok),
        (95000, interrupted),
        (100000, ok),
    ):
        (work,) = hub.take(stamp, "e")
        hub.report(stamp, "e", report(work))

    seen = overview(hub, 100000, 3, 20000)

    assert seen.lately == Ended(2, 1, 1)
    assert seen.buckets == (Ended(1, 0, 1), Ended(1, 1, 0), Ended(0, 0, 0))
    assert seen.buckets[0].total == 2


def test_rates_are_known_where_tasks_are_kept_for_ever(make_hub):
    hub = make_hub(result_ttl=0)
    hub.submit(1, "c-1", "c-2")
    hub.end(100, "ok", "error")

    assert overview(hub, 200).lately == Ended(1, 1, 0)
    assert overview(hub, 100 + MINUTE).lately == Ended(0, 0, 0)


def test_it_looks_back_no_longer_than_tasks_are_kept(make_hub):
    hub = make_hub(result_ttl=5000)

    assert overview(hub, 1).span == 5


@pytest.mark.parametrize("ttl", [0, 50, 1_000_000, 9 * 86_400_000])
def test_tasks_with_a_retention_of_their_own_are_in_the_rates(hub, ttl):
    hub.submit(1, "c-1", "c-2", ttl=ttl)
    hub.submit(1, "c-3")
    hub.end(2, "ok", "error", "ok")

    seen = overview(hub, 3)

    assert seen.lately == Ended(2, 1, 0)
    assert len(seen.times) == 2
    assert [group.task_id for group in seen.failures] == ["c-2"]
    assert overview(hub, 3 + MINUTE).lately == Ended(0, 0, 0)


def test_rates_are_known_where_failures_leave_before_others(make_hub):
    hub = make_hub(result_ttl=0, failure_ttl=5000)
    hub.submit(1, "c-1", "c-2")
    hub.end(100, "ok", "error")

    assert overview(hub, 200).lately == Ended(1, 1, 0)


def test_times_are_those_of_the_last_minute(hub):
    hub.submit(1000, "c-1", "c-2", "c-3")
    hub.register(1000, "e")
    for stamp in (2000, 70000):
        (work,) = hub.take(stamp, "e")
        hub.report(stamp + 500, "e", ok(work, ago=400000, took=250000))

    assert overview(hub, 70600).times == (Times(0.25, 69.1),)
    assert overview(hub, 200000).times == ()


def test_times_are_samples_of_many(real_hub):
    real_hub.register(0, "e")
    for stamp in range(100, 1100, 10):
        real_hub.submit(stamp, f"c-{stamp}")
        (work,) = real_hub.take(stamp, "e")
        real_hub.report(stamp, "e", ok(work, took=stamp))

    times = [round(one.ran * 1e6) for one in overview(real_hub, 2000).times]

    assert len(times) == 40
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (100, 1090)


def test_failures_are_grouped_the_latest_first(hub):
    hub.submit(1, "c-1", "c-2", "c-3", fn="one")
    hub.submit(1, "d-1", fn="two")
    hub.register(2, "e")
    for stamp, ename in ((3, "KeyError"), (4, "OSError"), (5, "KeyError"), (6, "Odd")):
        (work,) = hub.take(stamp, "e")
        hub.report(stamp, "e", error_in(work, ename=ename))
    hub.submit(7, "e-1", after="as d-1", fn="two")

    assert overview(hub, 8).failures == (
        Failures("two", "impossible", 1, "e-1"),
        Failures("two", "Odd", 1, "d-1"),
        Failures("one", "KeyError", 2, "c-3"),
        Failures("one", "OSError", 1, "c-2"),
    )


def test_a_brief_one_has_less(real_hub):
    real_hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    real_hub.end(2, "ok", "error")
    whole = overview(real_hub, 3, 2)
    brief = real_hub.do(calls.overview(2, brief=True, now=3))

    assert (brief.states, brief.queues, brief.oldest, brief.failures) == (
        {},
        (),
        {},
        (),
    )
    assert (brief.lately, brief.buckets, brief.times) == (
        whole.lately, whole.buckets, whole.times,
    )  # fmt: skip
    assert brief.filled(whole) == whole
    assert whole.filled(brief) == whole


def test_it_changes_nothing(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.end(3, "ok", "error")
    before = hub.dump()

    overview(hub, 4, 10)

    assert hub.dump() == before


def test_it_tells_of_the_memory_of_a_server_that_does(real_hub):
    seen = overview(real_hub, 1)

    assert int(seen.hub["used_memory"]) > 100000
    assert seen.hub["maxmemory"] == "0"


@pytest.mark.parametrize(
    ("buckets", "width"), [(-1, 1), (61, 1), ("x", 1), (1, 0), (1, 0.5)]
)
def test_buckets_that_cannot_be_are_refused(hub, buckets, width):
    with hub.refuses(error.BadArgument):
        overview(hub, 1, buckets, width)


def test_it_asks_no_more_of_a_large_hub_than_of_a_small_one(real_hub):
    for number in range(3):
        real_hub.join(1, f"e{number}")
    few = _commands(real_hub)
    _fill(real_hub, 3000)
    some = _commands(real_hub)
    _fill(real_hub, 6000)
    many = _commands(real_hub)

    assert few < some == many < 200
    assert _commands(real_hub, brief=True) < many / 2


def _fill(hub, count):
    ids = [f"c{count}-{n}" for n in range(count)]
    for at in range(0, count, 500):
        hub.submit(10, *ids[at : at + 500])
    for _ in range(0, count // 2, 500):
        works = hub.take(11, "e0", 500)
        reports = [(ok if n % 2 else error_in)(work) for n, work in enumerate(works)]
        hub.report(12, "e0", *reports)


def _commands(hub, **options):
    """Return how many commands an overview takes."""
    hub.redis.config_resetstat()
    hub.do(calls.overview(now=20, **options))
    told = hub.redis.info("commandstats")
    return sum(one["calls"] for one in told.values())
