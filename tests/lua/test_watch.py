"""watch: the outcome of these tasks now, or this client's stream is told later."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.records import read_done
from tests.hubs import error_in, ok


@pytest.fixture
def ended(hub):
    """A hub in which c-1 completed, c-2 failed, c-3 was aborted, c-4 runs."""
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.abort(2, "c-3")
    hub.register(3, "e")
    hub.work = [hub.take(3, "e")[0] for _ in range(3)]
    hub.report(4, "e", ok(hub.work[0], b"signed"), error_in(hub.work[1], b"trace"))
    return hub


def words(watched):
    return [(one.state, one.kind, one.payload) for one in watched.outcomes]


def test_every_id_has_its_outcome_in_order(ended):
    watched = ended.watch(5, "", "c-4", "c-3", "c-2", "c-1", "c-9")

    assert words(watched) == [
        ("running", "", b""),
        ("aborted", "v", b"aborted on request"),
        ("failed", "e", b"trace"),
        ("completed", "r", b"signed"),
        ("unknown", "", b""),
    ]
    assert [one.token for one in watched.outcomes[1:4]] == [
        "",
        ended.work[1].token,
        ended.work[0].token,
    ]


def test_what_has_not_ended_is_told_by_its_state(hub):
    hub.join(1, "e")
    hub.join(1, "f", queues="b")
    hub.submit(2, "c-1", "c-2")
    hub.submit(2, "c-3", queue="b")
    hub.take(3, "f")

    watched = hub.watch(4, "", "c-1", "c-2", "c-3")

    assert [one.state for one in watched.outcomes] == ["assigned", "ready", "running"]
    assert not any(one.ended for one in watched.outcomes)


def test_without_a_client_it_only_reads(ended):
    before = ended.dump()

    assert ended.watch(5, "", "c-1", "c-4").position == ""
    assert ended.dump() == before


def test_a_client_gets_a_stream_and_where_to_read_it(hub):
    first = hub.watch(1, "c")
    hub.submit(2, "c-1")
    hub.abort(3, "c-1")
    second = hub.watch(4, "c")

    told = hub.redis.xread({hub.keys.done("c"): first.position})
    assert [position for position, _ in told[0][1]] == [second.position.encode()]
    assert hub.redis.pttl(hub.keys.done("c")) > 3_000_000


def test_a_trimmed_stream_is_read_from_its_beginning(hub):
    hub.watch(1, "c")
    hub.redis.xtrim(hub.keys.done("c"), 0)

    assert hub.watch(2, "c").position == "0-0"


def test_a_client_watches_the_tasks_of_another(hub):
    hub.submit(1, "c-1", "c-2")
    hub.watch(2, "b", "c-1", "c-2")
    hub.watch(2, "d", "c-1")
    hub.register(3, "e")
    (work,) = hub.take(4, "e")

    hub.turn(5, "e", 0, ok(work, b"signed"))

    for client in "bd":
        ((task, told),) = hub.done(client)
        assert (task, read_done(told).payload) == ("c-1", b"signed")
    assert not hub.redis.exists(hub.keys.task("c-1", "watchers"))
    assert not hub.redis.exists(hub.keys.done("c"))


def test_foreign_watchers_hear_of_an_abort_and_of_a_lost_engine(hub):
    hub.submit(1, "c-1", "c-2")
    hub.watch(2, "b", "c-1", "c-2")
    hub.register(3, "e")
    hub.take(4, "e")

    hub.abort(5, "c-2")
    hub.gone(6, "e", "c-1")

    assert [(task, read_done(told).state) for task, told in hub.done("b")] == [
        ("c-2", "aborted"),
        ("c-1", "failed"),
    ]


def test_own_tasks_need_no_watcher(hub):
    hub.submit(1, "c-1", "cc-1")

    hub.watch(2, "c", "c-1", "cc-1")

    assert not hub.redis.exists(hub.keys.task("c-1", "watchers"))
    assert hub.redis.smembers(hub.keys.task("cc-1", "watchers")) == {b"c"}


def test_to_watch_twice_is_to_be_told_once(hub):
    hub.submit(1, "c-1")
    hub.watch(2, "b", "c-1", "c-1")
    hub.watch(3, "b", "c-1")

    hub.abort(4, "c-1")

    assert len(hub.done("b")) == 1


def test_a_task_with_a_life_of_its_own_is_watched_too(hub):
    hub.submit(1, "c-1", ttl=5)
    hub.watch(2, "b", "c-1")

    hub.abort(3, "c-1")
    hub.check()
    hub.sweep(8)

    assert (len(hub.done("b")), hub.state("c-1")) == (1, None)


def test_who_watches_an_ended_task_is_not_kept(ended):
    ended.watch(5, "b", "c-1", "c-9")

    assert list(ended.redis.scan_iter(ended.key("task:*:watchers"))) == []


def test_a_retry_keeps_its_watchers(hub):
    hub.submit(1, "c-1", retries=1)
    hub.watch(2, "b", "c-1")
    hub.register(3, "e")
    hub.turn(4, "e", 1, error_in(hub.take(4, "e")[0]))

    assert hub.done("b") == []
    hub.turn(5, "e", 1, ok(hub.take(5, "e")[0]))
    assert len(hub.done("b")) == 1


@pytest.mark.parametrize(
    ("budget", "kinds"),
    [(1000, "rrr"), (300, "rrr"), (299, "rr-"), (150, "r--"), (0, "r--")],
)
def test_payloads_come_as_far_as_the_budget_goes(hub, budget, kinds):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.register(2, "e")
    for now in (3, 4, 5):
        hub.turn(now, "e", 0, ok(hub.take(now, "e")[0], b"x" * 100))

    watched = hub.watch(6, "", "c-4", "c-1", "c-2", "c-3", budget=budget)

    assert "".join(one.kind for one in watched.outcomes) == kinds


def test_a_small_one_fits_behind_a_large_one(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.register(2, "e")
    for size in (500, 500, 5):
        hub.turn(3, "e", 0, error_in(hub.take(3, "e")[0], b"x" * size))

    watched = hub.watch(4, "", "c-1", "c-2", "c-3", budget=600)

    assert [one.kind for one in watched.outcomes] == ["e", "-", "e"]


@pytest.mark.parametrize("name", ["", "c-1:args", "any thing"])
@pytest.mark.parametrize("client", ["", "b"])
def test_what_is_no_id_is_unknown(hub, client, name):
    hub.submit(1, "c-1", args=b"x" * 100)

    assert words(hub.watch(2, client, name)) == [("unknown", "", b"")]


@pytest.mark.parametrize("client", ["C", "a-b", "a:b", "a b", "c" * 65])
def test_a_client_that_is_none_is_refused(hub, client):
    with hub.refuses(error.BadArgument, "not a client"):
        hub.watch(1, client, "c-1")


def test_at_most_500_are_watched_at_once(hub):
    ids = [f"c-{n}" for n in range(501)]

    with hub.refuses(error.BadArgument, "at most 500 ids"):
        hub.watch(1, "c", *ids)

    assert len(hub.watch(2, "c", *ids[:500]).outcomes) == 500


@pytest.mark.parametrize("budget", ["x", -1, 1.5])
def test_a_budget_that_is_none_is_refused(hub, budget):
    with hub.refuses(error.BadArgument, "budget"):
        hub.do(calls.watch("c", [], budget, now=1))


def test_what_was_purged_is_told_from_what_is_unknown(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.abort(1, "c-3")
    hub.end(2, "ok", "error")
    hub.purge(3, "c-1", "c-2", "c-3")

    told = hub.watch(4, "c", "c-1", "c-2", "c-3", "c-4")

    assert words(told) == [("purged", "", b"")] * 3 + [("unknown", "", b"")]
