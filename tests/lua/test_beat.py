"""beat: which engines live and what they believe to hold, or which are gone."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Call, Life
from redtask.hub.records import Beaten, Work
from tests.hubs import error_in, ok

LEASE = 15000


def raw(*args):
    return Call("beat", (5, *args), Beaten.read_all)


@pytest.fixture
def busy(hub):
    """A hub in which engine e has taken c-1 and c-2, and c-3 ... wait."""
    hub.submit(1, *[f"c-{n}" for n in range(1, 9)], retries=1)
    hub.register(2, "e")
    hub.work = hub.take(3, "e", 2)
    return hub


# Living


def test_a_beat_renews_the_lease(hub):
    hub.join(1, "e")

    answer = hub.live(5000, "e")

    assert (answer.word, answer.foreign) == ("live", ())
    assert hub.redis.zscore(hub.key("engines"), "e") == 5000 + LEASE


def test_a_beat_speaks_for_all_engines_of_a_worker(hub):
    hub.join(1, "e", "f")
    lives = [Life("e", 1, ()), Life("x", 1, ()), Life("f", 0, (), "killed")]

    answers = hub.do(calls.beat("w", lives, now=2))

    assert [(one.engine, one.word) for one in answers] == [
        ("e", "live"),
        ("x", "unknown"),
        ("f", "gone"),
    ]


def test_a_beat_of_nobody_is_one(hub):
    assert hub.do(calls.beat("w", [], now=7)) == []
    assert hub.status(7).hub["last"] == "7"


def test_an_engine_that_was_given_up_is_told(hub):
    assert hub.live(1, "e").word == "unknown"


def test_the_card_of_the_worker_lives_on_with_it(hub):
    hub.join(1, "e", host="here")
    hub.redis.pexpire(hub.keys.worker("w"), 1000)

    hub.live(5000, "e")

    assert hub.redis.pttl(hub.keys.worker("w")) > 3_600_000
    assert hub.redis.hget(hub.keys.worker("w"), "lease") == b"20000"


# Reconciliation


def test_what_the_engine_holds_is_nothing_to_tell(busy):
    assert busy.live(4, "e", "c-1", "c-2").foreign == ()
    assert busy.held("e") == ["c-1", "c-2"]


def test_what_the_engine_has_forgotten_is_given_to_others(busy):
    busy.live(4, "e", "c-1")

    assert (busy.state("c-2"), busy.ready()[0]) == ("ready", "c-2")
    assert busy.held("e") == ["c-1"]
    assert "tries" not in busy.record("c-2")
    assert busy.events()[-1] == "forgotten"


def test_an_engine_that_has_forgotten_all_is_free_and_rung(busy):
    busy.live(4, "e")

    assert (busy.held("e"), busy.free()) == ([], ["e"])
    assert busy.rings("e") == 1
    busy.check(quiet=True)


def test_what_was_forgotten_goes_to_an_idle_engine(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")
    hub.take(3, "e")
    hub.join(4, "f")

    hub.live(5, "e")

    assert hub.assigned("f") == ["c-1"]
    assert hub.free() == ["e"]


def test_the_old_token_of_what_was_forgotten_is_worth_nothing_later(busy):
    busy.live(4, "e", "c-1")
    busy.register(5, "f")
    busy.take(6, "f")

    turn = busy.report(7, "e", ok(busy.work[1]))

    assert (turn.stale, busy.state("c-2")) == (1, "running")


def test_what_is_no_longer_its_own_is_told_to_the_engine(busy):
    answer = busy.live(4, "e", "c-1", "c-2", "c-3", "x-9")

    assert answer.foreign == ("c-3", "x-9")
    assert busy.held("e") == ["c-1", "c-2"]


def test_a_beat_that_crosses_a_turn_takes_nothing_back(busy):
    busy.turn(4, "e", 2)

    busy.live(5, "e", "c-1", "c-2", number=1)

    assert busy.held("e") == ["c-1", "c-2", "c-3", "c-4"]


def test_a_beat_before_the_first_turn_compares_with_nothing(hub):
    hub.register(1, "e")

    assert hub.live(2, "e").foreign == ()


def test_the_bell_is_rung_again_for_what_stays(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.redis.lpop(hub.keys.bell("e"))

    hub.live(3, "e")
    hub.live(4, "e")

    assert hub.rings("e") == 1


def test_the_bell_is_rung_again_for_what_the_idle_engine_may_take(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(2, "e")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 1, error_in(work))
    hub.redis.lpop(hub.keys.bell("e"))

    hub.live(5, "e")

    assert (hub.ready(), hub.rings("e")) == (["c-1"], 1)


def test_a_busy_engine_is_not_rung(busy):
    busy.live(4, "e", "c-1", "c-2")

    assert busy.rings("e") == 0


# Going


def test_an_engine_that_is_gone_leaves_nothing_behind(hub):
    hub.join(1, "e", queues="a,b")

    assert hub.gone(2, "e").word == "gone"
    assert list(hub.redis.scan_iter(hub.key("engine*"))) == []
    assert hub.status(2).engines == ()
    assert hub.events() == ["engine joined", "engine gone"]
    assert (hub.story()[-1]["engine"], hub.story()[-1]["why"]) == ("e", "killed")


def test_to_be_gone_twice_is_to_be_gone(hub):
    hub.join(1, "e")
    hub.gone(2, "e")

    assert hub.gone(3, "e").word == "gone"
    assert hub.events().count("engine gone") == 1


def test_only_what_had_begun_is_blamed(busy):
    busy.gone(4, "e", "c-2")

    assert "tries" not in busy.record("c-1")
    assert (busy.record("c-2")["tries"], busy.record("c-2")["deaths"]) == ("1", "1")
    assert busy.ready()[:3] == ["c-1", "c-2", "c-3"]
    assert busy.attempts("c-2")[0][-1] == "killed"


def test_what_was_only_placed_goes_back_to_its_place(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.submit(3, "c-2")
    hub.submit(4, "c-3", priority=1)

    hub.gone(5, "e")

    assert hub.ready() == ["c-3", "c-1", "c-2"]


def test_what_it_had_goes_to_idle_engines(hub):
    hub.configure(1, hwm=2)
    hub.submit(2, "c-1", "c-2", retries=1)
    hub.register(3, "e")
    hub.take(4, "e")
    hub.submit(5, "c-3")
    hub.join(6, "f", "g", queues="other,default")

    hub.gone(7, "e", "c-1")

    states = {hub.state(f"c-{n}") for n in (1, 2, 3)}
    assert "ready" not in states
    assert hub.ready() == []


def test_a_task_without_retries_ends_with_its_engine(hub):
    hub.submit(1, "c-1")
    hub.watch(2, "c")
    hub.register(3, "e")
    (work,) = hub.take(4, "e")

    hub.gone(5, "e", "c-1", why="killed by signal 9")

    record = hub.record("c-1")
    assert (record["state"], record["verdict"]) == ("failed", "engine_lost")
    assert record["reason"] == "killed by signal 9"
    told = f"f{work.token}\0vengine_lost killed by signal 9".encode()
    assert hub.done("c") == [("c-1", told)]


def test_a_long_reason_is_told_and_kept_and_forgotten_with_the_task(hub):
    why = "killed by signal 9, and that is a long story: " + "x" * 100
    hub.submit(1, "c-1", ttl=10)
    hub.register(2, "e")
    hub.take(3, "e")

    hub.gone(4, "e", "c-1", why=why)

    (outcome,) = hub.watch(5, "", "c-1").outcomes
    assert outcome.payload == f"engine_lost {why}".encode()
    hub.check()
    hub.sweep(99)
    assert list(hub.redis.scan_iter(hub.key("task*"))) == []


def test_the_third_death_is_the_last(hub):
    hub.submit(1, "c-1", retries=9)

    for death, engine in enumerate(("e", "f", "g"), 1):
        assert hub.state("c-1") == "ready"
        hub.register(2, engine)
        hub.take(3, engine)
        hub.gone(4, engine, "c-1")
        assert hub.record("c-1")["deaths"] == str(death)

    assert hub.record("c-1")["verdict"] == "engine_lost"
    assert len(hub.attempts("c-1")) == 3


def test_how_many_deaths_are_too_many_can_be_set(hub):
    hub.configure(1, max_deaths=1)
    hub.submit(2, "c-1", retries=9)
    hub.register(3, "e")
    hub.take(4, "e")

    hub.gone(5, "e", "c-1")

    assert hub.state("c-1") == "failed"


def test_the_late_report_of_one_that_is_gone_changes_nothing(busy):
    busy.gone(4, "e", "c-1")
    before = busy.record("c-1")

    turn = busy.report(5, "e", ok(busy.work[0]))

    assert not turn.registered
    assert busy.record("c-1") == before


def test_one_that_has_much_is_gone_in_pieces(hub):
    hub.submit(1, *[f"c-{n}" for n in range(500)])
    hub.register(2, "e")
    assert len(hub.take(3, "e", 200)) == 200

    assert [hub.gone(4, "e").word for _ in range(4)] == ["more"] * 3 + ["gone"]
    assert len(hub.ready()) == 500


def test_if_nobody_says_it_again_the_sweep_goes_on(hub):
    hub.submit(1, *[f"c-{n}" for n in range(200)])
    hub.register(2, "e")
    assert len(hub.take(3, "e", 64)) == 64
    assert hub.gone(4, "e").word == "more"

    assert hub.sweep(5).due == -1
    assert hub.status(5).engines == ()


def test_a_queue_of_no_engine_and_no_task_is_none(hub):
    hub.join(1, "e", queues="a,b")
    hub.submit(2, "c-1", "c-2", queue="a")

    hub.gone(3, "e")

    assert [queue.name for queue in hub.status(4).queues] == ["a"]


def test_the_last_engine_of_a_worker_leaves_its_card(hub):
    hub.join(1, "e", "f", host="here")

    hub.gone(2, "e")
    hub.gone(3, "f")

    assert hub.redis.hget(hub.keys.worker("w"), "engines") == b"0"


def test_a_card_that_has_expired_does_not_come_back(hub):
    hub.join(1, "e")
    hub.redis.delete(hub.keys.worker("w"))

    hub.gone(2, "e")

    assert not hub.redis.exists(hub.keys.worker("w"))


# Refusals


@pytest.mark.parametrize(
    "args",
    [
        ("dead", "e", 1, 0),
        ("live",),
        ("live", "e", 1),
        ("live", "e", 1, "x"),
        ("live", "e", 1, 1),
        ("live", "e", 1, -4),
        ("live", "e", 1, 0.5),
        ("live", "e", 1, 2, "c-1"),
    ],
)
def test_a_beat_that_is_none_is_refused(busy, args):
    with busy.refuses(error.BadArgument):
        busy.do(raw("w", *args))


def test_an_engine_killed_for_a_time_limit_takes_a_try_of_what_it_had_begun(hub):
    hub.register(1, "e")
    hub.submit(2, "c-1", "c-2", "c-3", "c-4")
    hub.submit(2, "c-5", "c-6", "c-7", "c-8")
    taken = [work.task_id for work in hub.take(3, "e", 4)]
    assert len(taken) > 1

    hub.late(4, "e", taken[0])

    record = hub.record(taken[0])
    assert (record["state"], record["verdict"]) == ("failed", "time_limit")
    assert record["reason"] == "time limit of 1 s exceeded"
    assert {hub.state(name) for name in taken[1:]} == {"ready"}


def stop(hub, now, engine, *begun):
    """Say that an engine was killed because its worker stops."""
    life = Life(engine, 0, begun, "its worker was stopped", stopped=True)
    (answer,) = hub.do(calls.beat("w", [life], now=now))
    return answer.word


def test_a_planned_stop_costs_no_try_of_what_may_run_twice(hub):
    hub.submit(1, "c-1", retries=1)
    for now in range(2, 12, 2):
        hub.register(now, "e")
        hub.take(now, "e")
        assert stop(hub, now + 1, "e", "c-1") == "gone"

    assert hub.state("c-1") == "ready"
    assert not {"tries", "deaths"} & hub.record("c-1").keys()


def test_what_must_not_run_twice_fails_with_the_worker_that_stops(hub):
    hub.register(1, "e")
    hub.submit(2, "c-1")
    hub.take(3, "e")

    stop(hub, 4, "e", "c-1")

    record = hub.record("c-1")
    assert (record["state"], record["verdict"]) == ("failed", "engine_lost")
    assert record["reason"] == "its worker was stopped"


def test_what_was_to_be_aborted_is_when_its_worker_stops(hub):
    hub.register(1, "e")
    hub.submit(2, "c-1", retries=1)
    hub.take(3, "e")
    hub.abort(3, "c-1", running=True)

    stop(hub, 4, "e", "c-1")

    assert hub.state("c-1") == "aborted"


def test_a_beat_without_the_number_of_a_turn_is_none(hub):
    hub.join(1, "e")

    with hub.refuses(error.BadArgument, "a beat that is none"):
        hub.do(Call("beat", (2, "w", "live", "e", "no", 0), Beaten.read_all))


# Engines with very many tasks


def fill(hub, count):
    """Let the engine have so many; return what it took."""
    hub.configure(1, hwm=10000)
    hub.register(1, "e")
    names = [f"c-{n}" for n in range(count)]
    for at in range(0, count, 500):
        hub.submit(2, *names[at : at + 500])
    works: list[Work] = []
    while len(works) < count:
        works += hub.take(3, "e", 200)
    return works


def test_all_of_very_many_tasks_leave_an_engine_that_is_gone(real_hub):
    fill(real_hub, 9000)

    while real_hub.gone(4, "e").word == "more":
        pass

    assert real_hub.status(5).states["running"] == 0


@pytest.mark.parametrize("is_open", [False, True])
def test_what_is_forgotten_among_very_many_is_found(real_hub, is_open):
    works = fill(real_hub, 3000)
    if is_open:
        # Then each has an entry of its own.
        real_hub.watch(3, "d", works[0].task_id)
    page = real_hub.redis.hscan(real_hub.key("engine", "e", "held"), 0, count=500)[1]
    lost = next(one.task_id for one in works if one.task_id.encode() not in page)

    real_hub.live(4, "e", *[one.task_id for one in works if one.task_id != lost])

    assert real_hub.state(lost) == "ready"


def test_who_knows_of_all_it_has_is_not_looked_through(hub):
    hub.register(1, "e")
    hub.submit(2, *[f"c-{n}" for n in range(8)])
    ids = [one.task_id for one in hub.take(3, "e", 9)]
    before = hub.redis.info("commandstats") if hub.server.real else {}

    # Not by `do`, which reads all tasks before and after.
    hub.send(calls.beat("w", [Life("e", hub.numbers["e"], ids)], now=4))

    after = hub.redis.info("commandstats") if hub.server.real else {}
    assert after.get("cmdstat_hscan") == before.get("cmdstat_hscan")
    assert after.get("cmdstat_hgetall") == before.get("cmdstat_hgetall")


def test_a_drained_engine_that_has_forgotten_its_task_has_finished(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.take(3, "e")
    hub.do(calls.drain(["e"], now=4))

    hub.live(5, "e")

    assert hub.events()[-1] == "engine drained"


def test_a_drained_engine_is_not_rung_for_what_it_does_not_get(hub):
    hub.join(1, "e")
    hub.do(calls.drain(["e"], now=2))
    hub.submit(3, "c-1")

    hub.live(4, "e")

    assert hub.rings("e") == 0
