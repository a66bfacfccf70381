"""Large arguments and results that came ahead of their call."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.records import read_done
from tests.hubs import error_in, ok

BIG = b"b" * 20_000
PARCEL = b"@parcel"


@pytest.fixture
def brought(hub):
    """A hub to which the arguments of c-1 came."""
    hub.redis.set(hub.keys.parcel("c-1"), BIG, ex=3600)
    return hub


@pytest.fixture
def running(hub):
    """A hub in which engine e runs c-1, whose result came."""
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.watch(2, "c", "c-1")
    (hub.work,) = hub.take(3, "e")
    hub.redis.set(hub.keys.parcel("c-1", hub.work.token), BIG, ex=3600)
    return hub


def part(hub, task, name):
    """Return what stands beside a record, and its seconds to live."""
    key = hub.keys.task(task, name)
    return hub.redis.get(key), hub.redis.ttl(key)


@pytest.mark.parametrize(
    "flags",
    [{}, {"after": "as p-1"}, {"start_in": 5000}, {"priority": 5, "ttl": 500}],
    ids=["plain", "after", "later", "flags"],
)
def test_arguments_that_came_ahead_are_those_of_the_task(brought, flags):
    brought.submit(1, "p-1")

    brought.submit(2, "c-1", args=PARCEL, **flags)

    record = brought.record("c-1")
    assert record["args"] == ""
    assert "b" in record["marks"]
    assert part(brought, "c-1", "args") == (BIG, -1)
    assert not brought.redis.exists(brought.keys.parcel("c-1"))


def test_an_idle_engine_that_is_handed_the_task_fetches_them(brought):
    brought.join(1, "e")

    brought.submit(2, "c-1", args=PARCEL)

    (work,) = brought.take(3, "e")
    assert (work.task_id, work.args) == ("c-1", b"")
    assert part(brought, "c-1", "args")[0] == BIG


def test_small_and_large_ones_enter_in_their_order(brought):
    group = ["c-0", b"small", "c-1", PARCEL, "c-2", b"small"]

    brought.do(calls.submit([calls.Group("fn", b"function", "fn", {}, group)], now=1))

    assert brought.ready() == ["c-0", "c-1", "c-2"]
    assert part(brought, "c-1", "args") == (BIG, -1)


def test_arguments_that_did_not_come_are_missed_before_anything_is_written(hub):
    with hub.refuses(error.HubError, "c-1 has no arguments"):
        hub.submit(1, "c-1", args=PARCEL)


def test_the_limit_of_a_payload_holds_for_what_came_ahead(brought):
    brought.configure(1, max_payload=70_000)
    brought.redis.set(brought.keys.parcel("c-1"), b"b" * 70_001, ex=3600)

    with brought.refuses(error.PayloadTooLarge, "70001 bytes"):
        brought.submit(2, "c-1", args=PARCEL)


def test_sent_again_with_a_parcel_it_is_known(brought):
    brought.submit(1, "c-1", args=PARCEL)
    brought.redis.set(brought.keys.parcel("c-1"), BIG, ex=3600)

    again = brought.submit(2, "c-1", args=PARCEL)
    whole = brought.submit(3, "c-1", args=BIG)

    assert [(one.new, one.known) for one in (again, whole)] == [(0, 1), (0, 1)]
    assert part(brought, "c-1", "args") == (BIG, -1)


def test_other_arguments_under_the_same_id_are_refused(brought):
    brought.submit(1, "c-1", args=PARCEL)
    brought.redis.set(brought.keys.parcel("c-1"), b"x" + BIG, ex=3600)

    with brought.refuses(error.HubError, "c-1 is known with another"):
        brought.submit(2, "c-1", args=PARCEL)


def test_a_result_that_came_ahead_is_that_of_the_task(running):
    running.report(4, "e", ok(running.work, PARCEL))

    assert (running.state("c-1"), running.record("c-1")["result"]) == ("completed", "")
    assert part(running, "c-1", "result") == (BIG, -1)
    assert not running.redis.exists(running.keys.parcel("c-1", running.work.token))
    assert running.redis.hget(running.keys.root + ":hub", "kept_bytes") == b"20000"


def test_the_stream_tells_of_it_without_its_bytes(running):
    running.report(4, "e", ok(running.work, PARCEL))

    ((task, told),) = running.done("c")
    outcome = read_done(told)
    assert (task, outcome.state) == ("c-1", "completed")
    assert (outcome.kind, outcome.payload) == ("-", b"")
    (found,) = running.watch(5, "c", "c-1").outcomes
    assert (found.kind, found.payload) == ("r", BIG)


def test_what_its_engine_prints_is_kept_beside_it(running):
    running.report(4, "e", ok(running.work, PARCEL, stdout=b"o" * 100, repr="bbb..."))

    assert part(running, "c-1", "stdout")[0] == b"o" * 100
    assert running.record("c-1")["repr"] == "bbb..."


def test_a_result_that_did_not_come_is_missed_before_anything_is_written(running):
    running.redis.delete(running.keys.parcel("c-1", running.work.token))

    with running.refuses(error.HubError, "whose result did not come"):
        running.report(4, "e", ok(running.work, PARCEL))


def test_only_results_come_ahead(running):
    with running.refuses(error.HubError, "whose result did not come"):
        running.report(4, "e", error_in(running.work, PARCEL))


def test_the_result_of_an_older_try_does_not_become_that_of_the_task(running):
    running.gone(4, "e", "c-1")
    before = running.record("c-1")

    turn = running.report(5, "e", ok(running.work, PARCEL))

    assert turn.stale == 1 or not turn.registered
    assert running.record("c-1") == before
    assert part(running, "c-1", "result")[0] is None
    assert running.redis.ttl(running.keys.parcel("c-1", running.work.token)) > 0


def test_told_twice_it_counts_once(running):
    outcome = ok(running.work, PARCEL)
    running.report(4, "e", outcome, outcome)
    running.redis.set(running.keys.parcel("c-1", running.work.token), BIG, ex=3600)

    running.report(5, "e", outcome)

    assert part(running, "c-1", "result") == (BIG, -1)
    assert running.redis.hget(running.keys.root + ":hub", "completed") == b"1"
