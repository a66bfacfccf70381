"""turn: an engine reports outcomes, if any, and takes its next work, if any."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Call
from redtask.hub.records import Turn
from tests.hubs import ok, unbegun


def raw(*args):
    return Call("turn", (5, *args), lambda reply: Turn.read(reply, ""))


def ids(work):
    return [one.task_id for one in work]


# Taking


def test_an_engine_without_work_is_free(hub):
    hub.register(1, "e")

    assert hub.take(2, "e") == []
    assert hub.free() == ["e"]


def test_an_engine_takes_what_was_placed_on_it(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")

    (work,) = hub.take(3, "e")

    assert (work.task_id, work.token) == ("c-1", f"1:n{hub.nonces}")
    assert (hub.assigned("e"), hub.held("e"), hub.rings("e")) == ([], ["c-1"], 0)
    assert (hub.ready(), hub.free()) == (["c-2"], [])


def test_a_record_says_who_took_it_and_when(started):
    record = started.record("c-1")

    assert (record["state"], record["engine"]) == ("running", "0/e")
    assert (record["token"], record["started"]) == (started.work.token, "3")


def test_what_was_placed_comes_before_what_waits(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.submit(3, "c-2", "c-3", priority=5)

    assert ids(hub.take(4, "e", 2)) == ["c-1", "c-2"]


def test_an_engine_that_wants_nothing_gets_nothing(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")

    assert hub.take(3, "e", 0) == []
    assert hub.state("c-1") == "ready"


@pytest.mark.parametrize(
    ("ready", "engines", "want", "taken"),
    [
        (100, 1, 10, 10),
        (100, 1, 80, 50),
        (100, 4, 80, 12),
        (3, 1, 5, 1),
        (4, 1, 5, 2),
        (1, 8, 5, 1),
        (2, 1, 1, 1),
    ],
)
def test_nobody_takes_more_than_half_of_its_share(hub, ready, engines, want, taken):
    hub.submit(1, *[f"c-{n}" for n in range(ready)])
    for n in range(engines):
        hub.register(2, f"e{n}")

    assert len(hub.take(3, "e0", want)) == taken


@pytest.mark.parametrize(
    ("ready", "want", "taken"),
    [(10_000, 200, 16), (10_001, 200, 25), (10_001, 100, 16), (10_001, 20, 16)],
)
def test_of_very_many_an_eighth_is_no_more_than_a_share(real_hub, ready, want, taken):
    hub = real_hub
    for start in range(0, ready, 500):
        hub.submit(1, *[f"c-{n}" for n in range(start, min(start + 500, ready))])
    for n in range(300):
        hub.register(2, f"e{n}")

    assert len(hub.take(3, "e0", want)) == taken


def test_no_turn_takes_more_than_200(hub):
    for part in range(3):
        hub.submit(1, *[f"c-{part}{n:03}" for n in range(500)])
    hub.register(2, "e")

    assert len(hub.take(3, "e", 10000)) == 200


def test_of_tasks_with_records_a_turn_takes_64(hub):
    hub.submit(1, "c-0")
    hub.submit(1, *[f"c-{n}" for n in range(1, 201)], after="as c-0")
    hub.register(2, "e")
    (parent,) = hub.take(3, "e", 200)
    hub.turn(4, "e", 0, ok(parent))
    while hub.sweep(5).more:
        pass

    assert len(hub.take(6, "e", 200)) == 64


@pytest.mark.parametrize(("others", "took"), [(9_900, 64), (9_901, 16)])
def test_of_very_many_a_turn_takes_a_quarter(real_hub, others, took):
    hub = real_hub
    hub.submit(1, *[f"c-{n}" for n in range(100)], ttl=1000)
    for start in range(0, others, 500):
        ids = range(start, min(start + 500, others))
        hub.submit(2, *[f"d-{n}" for n in ids])
    hub.register(3, "e")

    assert len(hub.take(4, "e", 200)) == took


def test_and_no_more_with_those_that_were_placed_on_it(hub):
    hub.configure(1, hwm=50)
    hub.register(1, "e")
    hub.take(1, "e")
    hub.submit(2, "c-0")
    hub.submit(2, *[f"c-{n}" for n in range(1, 201)], after="as c-0")
    (parent,) = hub.take(3, "e", 1)
    hub.turn(4, "e", 0, ok(parent))
    assert len(hub.assigned("e")) > 0
    hub.configure(5, hwm=0)

    assert len(hub.take(6, "e", 200)) == 64


def test_a_bound_on_the_load_is_kept(hub):
    hub.configure(1, hwm=3)
    hub.submit(2, *[f"c-{n}" for n in range(20)])
    hub.register(3, "e")

    first = hub.take(4, "e", 10)
    second = hub.take(5, "e", 10)

    assert (len(first), second) == (3, [])
    assert hub.free() == []


def test_what_was_placed_counts_towards_the_bound(hub):
    hub.configure(1, hwm=3)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2", "c-3", "c-4", "c-5")

    assert hub.assigned("e") == ["c-1", "c-2", "c-3"]
    assert ids(hub.take(4, "e", 2)) == ["c-1", "c-2"]
    assert ids(hub.take(5, "e", 2)) == ["c-3"]


def test_a_lowered_bound_drains(hub):
    hub.configure(1, hwm=3)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2", "c-3", "c-4")
    taken = hub.take(4, "e", 3)
    hub.configure(5, hwm=1)
    hub.draining = True

    assert hub.turn(6, "e", 1, ok(taken[0])).work == []
    assert hub.turn(7, "e", 1, ok(taken[1])).work == []
    assert ids(hub.turn(8, "e", 1, ok(taken[2])).work) == ["c-4"]


def test_a_turn_carries_arguments_up_to_a_mebibyte(real_hub):
    hub = real_hub
    for number in range(140):
        hub.submit(number, f"c-{number}", args=b"x" * 16_384)
    hub.register(141, "e")

    taken = hub.take(142, "e", 140)

    assert [len(work.args) for work in taken] == [16_384] * 64
    assert len(hub.held("e")) == 64


@pytest.mark.parametrize("priority", [0, 1])
def test_long_arguments_are_fetched_by_who_takes_the_task(hub, priority):
    hub.submit(1, "c-1")
    hub.submit(2, "c-2", args=b"x" * 16_385, priority=priority)
    hub.submit(3, *[f"c-{n}" for n in range(10, 20)])
    hub.register(5, "e")

    taken = hub.take(6, "e", 2)

    by_name = {work.task_id: len(work.args) for work in taken}
    assert by_name == {"c-1": 4, "c-2": 0}


def test_of_several_queues_the_most_urgent_is_first(hub):
    hub.submit(1, "c-1", queue="a")
    hub.submit(2, "c-2", queue="b")
    hub.submit(3, "c-3", queue="a", priority=1)
    hub.submit(4, "c-4", queue="other", priority=9)
    hub.submit(5, *[f"c-{n}" for n in range(10, 20)], queue="b")
    hub.register(6, "e", queues="b,a")

    assert ids(hub.take(7, "e", 4)) == ["c-3", "c-1", "c-2", "c-10"]
    assert hub.ready("other") == ["c-4"]


def test_of_several_queues_the_longest_tails_are_taken_too(hub):
    hub.submit(1, "c-1", "c-2", queue="a")
    hub.submit(2, "c-3", queue="b", priority=-1000)
    hub.register(3, "e", queues="a,b")

    assert [ids(hub.take(n, "e")) for n in (4, 5, 6, 7)] == [
        ["c-1"],
        ["c-2"],
        ["c-3"],
        [],
    ]


@pytest.mark.parametrize("stands", ["alone", "on the sheet"])
def test_a_record_deleted_by_hand_keeps_no_others_back(hub, stands):
    if stands == "alone":
        hub.submit(1, "c-1")
        hub.submit(1, "c-2")
        hub.redis.delete(hub.keys.task("c-1"))
    else:
        hub.submit(1, "c-1", "c-2")
        hub.redis.hdel(hub.keys.rows(), "c-1")
    hub.redis.hincrby(hub.keys.function("fn"), "count", -1)
    hub.redis.hincrby(hub.key("hub"), "submitted", -1)
    hub.register(2, "e")

    assert hub.take(3, "e") == []
    assert ids(hub.take(4, "e")) == ["c-2"]
    assert hub.events() == ["engine joined", "corrupt"]


# Sent twice


def test_a_turn_sent_again_answers_the_same(hub):
    hub.submit(1, *[f"c-{n}" for n in range(8)])
    hub.register(2, "e")
    first = hub.turn(3, "e", 2)
    before = hub.dump()

    assert hub.turn_again(4, "e", 2) == first
    assert hub.dump() == before


def test_a_turn_that_reported_sent_again_answers_the_same(hub):
    hub.submit(1, "c-1", "c-2", "c-3", args=b"x" * 100)
    hub.register(2, "e")
    (work,) = hub.take(3, "e")
    first = hub.turn(4, "e", 1, ok(work))
    before = hub.dump()

    again = hub.turn_again(5, "e", 1, ok(work))

    assert (again, again.stale) == (first, 0)
    assert hub.dump() == before


def test_a_turn_sent_again_still_hears_the_bell_later(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")

    assert hub.turn_again(3, "e").work == []
    assert (hub.rings("e"), hub.assigned("e")) == (1, ["c-1"])


def test_a_turn_sent_again_gives_back_no_task_it_has_lost(hub):
    hub.submit(1, "c-1", "c-2", *[f"d-{n}" for n in range(4)])
    hub.register(2, "e")
    first, _ = hub.take(3, "e", 2)
    hub.report(4, "e", unbegun(first))

    assert ids(hub.turn_again(5, "e", 2).work) == ["c-2"]


def test_a_turn_sent_again_may_report_more(started):
    turn = started.turn_again(5, "e", 1, ok(started.work))

    assert turn.work == []
    assert (started.state("c-1"), started.free()) == ("completed", ["e"])


def test_a_turn_sent_again_that_leaves_nothing_to_do_rings(started):
    started.submit(4, "c-2")

    started.turn_again(5, "e", 1, ok(started.work))

    assert started.rings("e") == 1
    started.check(quiet=True)


def test_a_supervisor_that_takes_all_away_rings_for_what_was_placed(hub):
    hub.configure(1, hwm=2)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2")
    (work,) = hub.take(4, "e")

    hub.report(5, "e", ok(work))

    assert (hub.assigned("e"), hub.rings("e")) == (["c-2"], 1)


def test_a_turn_that_was_overtaken_takes_nothing(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.register(2, "e")
    hub.turn(3, "e")
    hub.turn(4, "e", 0)

    late = hub.turn_again(5, "e", 1, number=1, nonce="n1")

    assert late.work == []
    assert hub.held("e") == ["c-1"]
    assert hub.turn_again(6, "e", 0, number=2, nonce="n2").work == []


# Refusals


def test_an_engine_that_was_given_up_is_told(hub):
    turn = hub.turn(1, "e")

    assert (turn.registered, turn.work) == (False, [])


@pytest.mark.parametrize(
    "args",
    [
        ("e", 1, "n", "x"),
        ("e", 1, "n", -1),
        ("e", 1, "n", 1.5),
        ("e", 1, "", 1),
        ("e", 1, "a:b", 1),
        ("e", 1, "n", 1, "ok"),
        ("e", 1, "n", 1, "odd", "c-1", "t", 0, 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", "x"),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", -3),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 0.5),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "", 0),
        ("e", 1, "n", 1, "error", "c-1", "t", 0, 0, "", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", "x", 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0.5, 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, "x", "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 1, "repr"),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 1, "state", "completed"),
    ],
)
def test_a_turn_that_is_none_is_refused(started, args):
    with started.refuses(error.BadArgument):
        started.do(raw(*args))


def test_a_turn_that_is_refused_leaves_the_ring(started):
    started.redis.rpush(started.keys.bell("e"), 1)

    with started.refuses(error.BadArgument):
        started.do(raw("e", 9, "n", 1, "odd", "c-1", "t", 0, 0, "b", 0))

    assert started.rings("e") == 1


def test_a_turn_is_numbered(started):
    assert started.redis.hget(started.key("engine", "e"), "number") == b"1"

    started.do(calls.turn("e", 7, "abc", 0, now=5))

    assert started.redis.hget(started.key("engine", "e"), "number") == b"7"


def test_turns_are_counted_from_one(hub):
    hub.register(1, "e")

    with hub.refuses(error.BadArgument, "a turn needs a nonce"):
        hub.do(calls.turn("e", 0, "n", 1, now=1))
