"""Ended tasks leave when there is no room for all, the oldest first."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import error_in, ok

FOREVER = 2**52
OWN = 2**51
HOUR = 3_600_000
# What a record counts with all that belongs to it.
RECORD = 600


def run(hub, now, *names, size=0, args=b"args", **flags):
    """Submit tasks and let them end, with results of a size."""
    hub.submit(now, *names, args=args, **flags)
    hub.register(now, "e")
    for _ in names:
        (work,) = hub.take(now, "e")
        hub.report(now, "e", ok(work, b"x" * size or b"result"))
    hub.gone(now, "e")


def kept(hub):
    return sorted(hub.tasks())


def test_what_is_above_the_limit_leaves_the_oldest_first(hub):
    for now in (1, 2, 3, 4):
        run(hub, now, f"c-{now}")
    hub.configure(5, keep_bytes=2 * RECORD)

    assert not hub.sweep(6).more

    assert kept(hub) == ["c-3", "c-4"]
    hub.sweep(7)
    assert kept(hub) == ["c-3", "c-4"]


def test_results_count_by_their_bytes(hub):
    hub.configure(1, keep_bytes=10_000)
    for now in (1, 2, 3):
        run(hub, now, f"c-{now}", size=4000)
    hub.sweep(4)

    assert kept(hub) == ["c-2", "c-3"]
    assert hub.redis.hget(hub.key("hub"), "kept_bytes") == b"8000"


@pytest.mark.parametrize(("size", "counted"), [(1024, 0), (1025, 1025), (5000, 5000)])
def test_large_arguments_count_from_the_end_of_their_task(hub, size, counted):
    hub.submit(1, "c-1", args=b"x" * size)
    hub.submit(1, "c-2", args=b"x" * size, after="as c-1")
    assert hub.redis.hget(hub.key("hub"), "kept_bytes") is None

    hub.end(2, "error")

    assert int(hub.redis.hget(hub.key("hub"), "kept_bytes") or 0) == 2 * counted
    hub.purge(3, "c-1", "c-2")
    assert int(hub.redis.hget(hub.key("hub"), "kept_bytes") or 0) == 0


def test_all_that_stands_beside_a_record_counts(hub):
    hub.submit(1, "c-1", "c-2", retries=1, args=b"x" * 2000)
    hub.register(1, "e")
    (first,), (second,) = hub.take(2, "e"), hub.take(2, "e")
    more = {"stdout": "o" * 100, "stderr": "e" * 200}
    hub.report(3, "e", error_in(first, b"x" * 300, **more), ok(second, b"r", **more))
    (again,) = hub.take(4, "e")
    hub.report(5, "e", error_in(again, b"x" * 300, **more))

    total = 2 * 2000 + 2 * (100 + 200) + 300
    assert int(hub.redis.hget(hub.key("hub"), "kept_bytes")) == total
    hub.resubmit(6, ("c-1", "d-1"))
    hub.abort(7, "d-1")
    assert int(hub.redis.hget(hub.key("hub"), "kept_bytes")) == total + 2000


def test_tasks_that_have_not_ended_are_never_touched(hub):
    hub.configure(1, keep_bytes=1)
    hub.submit(1, "c-1", "c-2", args=b"x" * 5000)
    hub.register(1, "e")
    hub.take(1, "e")

    hub.sweep(2)

    assert kept(hub) == ["c-1", "c-2"]


def test_what_is_to_be_kept_for_ever_leaves_last_and_by_age(hub):
    run(hub, 1, "c-1", ttl=0)
    run(hub, 2, "c-2", ttl=0)
    run(hub, 3, "c-3")
    assert hub.ended("completed")["c-1"] == OWN + FOREVER + 1
    assert hub.sweep(4).due == 86400000 - 1  # of c-3
    hub.configure(4, keep_bytes=RECORD)

    hub.sweep(5)

    assert kept(hub) == ["c-2"]
    assert hub.sweep(6).due == -1


def test_what_others_need_stays_and_the_next_leaves(hub):
    run(hub, 1, "c-1")
    hub.submit(2, "c-2", after="as c-1", refs="c-1")
    run(hub, 3, "d-1", priority=9)
    hub.configure(4, keep_bytes=1)

    hub.sweep(5)

    assert kept(hub) == ["c-1", "c-2"]
    assert hub.ended("completed")["c-1"] == 5 + 86400000 + HOUR
    hub.abort(6, "c-2")
    hub.sweep(7)
    hub.sweep(8)
    assert kept(hub) == []


def test_a_sweep_that_may_forget_nothing_does_not_ask_to_come_again(hub):
    run(hub, 1, "c-1", ttl=0)
    hub.submit(2, "c-2", after="as c-1", refs="c-1")
    hub.configure(3, keep_bytes=1)

    assert not hub.sweep(4, 1).more
    assert hub.ended("completed")["c-1"] == OWN + FOREVER + 4 + HOUR


@pytest.mark.parametrize("ttl", [HOUR, 86_400_000])
def test_what_stays_because_others_need_it_has_not_ended_just_now(make_hub, ttl):
    hub = make_hub(result_ttl=ttl)
    run(hub, 1, "c-1")
    hub.submit(2, "c-2", after="as c-1", refs="c-1")
    late = 1 + ttl

    for now, keep_bytes in ((late, 0), (late + HOUR, 1)):
        hub.configure(now, keep_bytes=keep_bytes)
        hub.sweep(now)

        assert "c-1" in kept(hub)
        lately = hub.do(calls.overview(now=now + 1)).lately
        assert lately.completed == 0


def test_much_leaves_in_pieces(hub):
    many = [f"c-{n}" for n in range(30)]
    run(hub, 1, *many)
    hub.configure(2, keep_bytes=1)

    assert hub.sweep(3, 10).more
    assert len(kept(hub)) == 20


def test_without_a_setting_a_quarter_of_redis_is_for_ended_tasks(hub, server):
    if not server.real:
        pytest.skip("a fake has no maxmemory")
    for number in range(8):
        run(hub, 1 + number, f"c-{number}", size=5_000_000)
    hub.sweep(20)
    assert len(kept(hub)) == 8

    hub.redis.config_set("maxmemory", 100_000_000)
    try:
        hub.sweep(21)
    finally:
        hub.redis.config_set("maxmemory", 0)

    assert kept(hub) == ["c-4", "c-5", "c-6", "c-7"]


@pytest.mark.parametrize("value", [-1, 2**53])
def test_a_limit_that_is_none_is_refused(hub, value):
    with hub.refuses(error.BadArgument, "keep_bytes must be"):
        hub.configure(1, keep_bytes=value)


@pytest.mark.parametrize(
    ("result_ttl", "failure_ttl", "kept"),
    [(50, 900, 900), (900, 50, 900), (900, 900, 900)],
)
def test_failures_are_kept_as_long_as_others_at_least(
    make_hub, result_ttl, failure_ttl, kept
):
    hub = make_hub(result_ttl=result_ttl, failure_ttl=failure_ttl)
    hub.submit(1, "c-1")
    hub.end(2, "error")

    hub.sweep(1 + kept)
    assert sorted(hub.tasks()) == ["c-1"]
    hub.sweep(2 + kept)
    assert hub.tasks() == {}


@pytest.mark.parametrize(("result_ttl", "failure_ttl"), [(0, 50), (50, 0), (0, 0)])
def test_failures_stay_if_they_or_others_may_as_long_as_there_is_room(
    make_hub, result_ttl, failure_ttl
):
    hub = make_hub(result_ttl=result_ttl, failure_ttl=failure_ttl)
    hub.submit(1, "c-1")
    hub.end(2, "error")

    hub.sweep(10**11)

    assert hub.ended("failed") == {"c-1": FOREVER + 2}


def test_a_hub_of_an_earlier_release_keeps_failures_like_others(hub):
    hub.redis.hdel(hub.key("hub"), "failure_ttl")
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "error")

    assert hub.ended("failed")["c-2"] == hub.ended("completed")["c-1"]


def test_room_is_made_by_what_succeeded_before_what_failed(hub):
    for now in (1, 2, 3):
        hub.submit(now, f"c-{now}", f"d-{now}")
        hub.end(now, "error", "ok")
    hub.configure(5, keep_bytes=3 * RECORD)

    hub.sweep(6)

    assert kept(hub) == ["c-1", "c-2", "c-3"]


def test_who_has_a_retention_of_its_own_leaves_when_it_is_over(hub):
    run(hub, 1, "c-1", ttl=50)
    run(hub, 2, "c-2", ttl=70)

    assert hub.sweep(3).due == 48
    hub.sweep(51)
    assert kept(hub) == ["c-2"]
    hub.sweep(72)
    assert kept(hub) == []
    assert not hub.redis.exists(hub.key("latest", "completed"))


def test_a_retention_that_is_no_number_is_that_of_the_hub(hub):
    hub.submit(1, "c-1", ttl=50)
    hub.redis.hset(hub.keys.task("c-1"), "ttl", "zz")
    hub.end(2, "ok")

    assert hub.ended("completed") == {"c-1": OWN + 2 + 86_400_000}
    hub.redis.hset(hub.keys.task("c-1"), "ttl", "50")


def test_a_hub_whose_settings_are_no_numbers_has_the_usual_ones(hub):
    hub.redis.hset(hub.key("hub"), mapping={"result_ttl": "zz", "hwm": "much"})
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    assert hub.ended("completed") == {"c-1": 2 + 86_400_000}
    hub.configure(3, result_ttl=86_400_000, hwm=0)


def test_a_task_whose_function_is_lost_from_its_record_may_be_purged(hub):
    hub.submit(1, "c-1", ttl=50)
    hub.submit(1, "c-2")
    hub.end(2, "error")
    hub.redis.hset(hub.keys.task("c-1"), "fn", "")

    assert hub.purge(3, "c-1").purged == 1
    hub.redis.hincrby(hub.key("fn", "fn"), "count", -1)
