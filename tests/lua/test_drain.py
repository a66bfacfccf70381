"""drain: engines get nothing new, until they are resumed."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import ok, unbegun, unmet


def drain(hub, now, *engines, **options):
    return hub.do(calls.drain(engines, now=now, **options))


@pytest.fixture
def pair(hub):
    """A hub with two idle engines."""
    hub.join(1, "e", "f")
    return hub


def test_a_drained_engine_gets_no_task(pair):
    assert drain(pair, 2, "e") == ["drained"]

    pair.submit(3, "c-1", "c-2")

    assert pair.engine_of("c-1") == "f"
    assert pair.ready() == ["c-2"]
    assert pair.take(4, "e") == []
    assert pair.events()[-1] == "engine drained"


def test_what_it_has_begun_it_may_finish(pair):
    pair.submit(2, "c-1")
    (work,) = pair.take(3, "e")

    drain(pair, 4, "e")
    pair.submit(5, "c-2", "c-3")

    assert pair.turn(6, "e", 1, ok(work)).work == []
    assert pair.state("c-1") == "completed"


def test_it_says_so_when_it_has_finished_what_it_had(hub):
    hub.register(1, "e")
    hub.submit(2, *[f"c-{n}" for n in range(8)])
    one, *others = hub.take(3, "e", 10)

    drain(hub, 4, "e")
    assert hub.events()[-1] == "engine draining"
    hub.turn(5, "e", 1, ok(one))
    assert hub.events()[-1] == "engine draining"
    hub.turn(6, "e", 1, *map(ok, others))
    hub.turn(7, "e", 1)

    assert hub.events()[-2:] == ["engine draining", "engine drained"]


def test_what_was_placed_on_it_goes_to_others(make_hub):
    hub = make_hub(hwm=3)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    hub.join(3, "f")

    drain(hub, 4, "e")

    assert (hub.assigned("e"), hub.assigned("f")) == ([], ["c-1", "c-2"])
    assert hub.free() == ["f"]


def test_what_it_gives_back_goes_to_others(pair):
    pair.submit(2, "c-1")
    (work,) = pair.take(3, "e")
    drain(pair, 4, "e")

    pair.report(5, "e", unbegun(work))

    assert (pair.state("c-1"), pair.engine_of("c-1")) == ("assigned", "f")


def test_a_beat_says_so_and_does_not_undo_it(pair):
    drain(pair, 2, "e")

    answer = pair.live(3, "e")

    assert answer.word == "drained"
    assert pair.free() == ["f"]
    assert pair.live(4, "f").word == "live"


def test_it_goes_on_when_it_is_resumed(pair):
    drain(pair, 2, "e")
    drain(pair, 2, "f")
    pair.submit(3, "c-1")

    assert drain(pair, 4, "e", resume=True) == ["resumed"]

    assert pair.rings("e") == 1
    assert [work.task_id for work in pair.take(5, "e")] == ["c-1"]
    assert pair.events()[-1] == "engine resumed"


def test_both_may_be_said_twice(pair):
    drain(pair, 2, "e")
    assert drain(pair, 3, "e") == ["drained"]
    drain(pair, 4, "e", resume=True)

    assert drain(pair, 5, "e", resume=True) == ["resumed"]

    assert pair.free() == ["e", "f"] or pair.free() == ["f", "e"]
    assert [event for event in pair.events() if event != "engine joined"] == [
        "engine drained",
        "engine resumed",
    ]


def test_one_that_has_not_come_yet_is_not_called(hub):
    hub.register(1, "e")
    drain(hub, 2, "e")

    drain(hub, 3, "e", resume=True)

    assert hub.free() == []
    hub.turn(4, "e")
    assert hub.free() == ["e"]


def test_a_task_that_only_it_may_run_waits_for_it(pair):
    drain(pair, 2, "e")

    pair.submit(3, "c-1", targets="0")

    why = pair.why(4, "c-1")
    assert pair.state("c-1") == "ready"
    assert "the only engine that may take it is drained; its target is" in str(why)
    assert "'redtask engine resume 0' lets it go on, unless it is to end." in str(why)
    assert why.engines.drained == 1
    drain(pair, 5, "e", resume=True)
    assert [work.task_id for work in pair.take(6, "e")] == ["c-1"]


def test_who_is_to_be_resumed_is_named_where_that_is_known(pair):
    pair.join(2, "g")
    for engine in ("e", "f", "g"):
        drain(pair, 3, engine)

    pair.submit(4, "c-1", targets="0,2")
    pair.submit(5, "c-2", targets="0-1")
    pair.submit(6, "c-3")

    assert (
        "'redtask engine resume 0 2' lets them go on, unless they are to end."
        in str(pair.why(7, "c-1"))
    )
    assert (
        "'redtask engine resume 0 1' lets them go on, unless they are to end."
        in str(pair.why(7, "c-2"))
    )
    assert "'redtask engine resume ENGINE' lets them" in str(pair.why(7, "c-3"))


def test_who_waits_for_engines_is_told_how_many_are_drained(pair):
    pair.submit(2, *(f"b-{number}" for number in range(200)))
    pair.take(3, "f", want=200)
    drain(pair, 4, "e")
    pair.submit(5, "c-1")

    why = pair.why(6, "c-1")

    assert why.state == "ready"
    assert why.engines.drained == 1
    assert "all 2 engines that may take it are busy or drained (1)" in str(why)


def test_status_shows_it(pair):
    drain(pair, 2, "e")

    assert [engine.drained for engine in pair.status(3).engines] == [True, False]


def test_it_stays_drained_when_it_was_taken_for_dead(pair):
    drain(pair, 2, "e")
    pair.submit(3, "c-1", "c-2", "c-3", targets="0")
    for now in (20_000, 40_000):
        pair.live(now, "f")
    pair.redis.hset(pair.keys.engine("e"), "leaving", 1)
    pair.redis.zrem(pair.key("labels"), "e")

    assert pair.live(40_001, "e").word == "drained"

    assert pair.take(40_002, "e") == []


def test_a_drained_engine_whose_lease_is_over_is_lost(pair):
    drain(pair, 2, "e")
    for now in range(5_000, 50_000, 5_000):
        pair.live(now, "f")
        pair.sweep(now)

    assert [engine.uuid for engine in pair.status(50_000).engines] == ["f"]


def test_engines_of_a_drained_worker_join_drained(pair):
    assert drain(pair, 2, "e", "f", worker="w") == ["drained", "drained"]

    pair.register(3, "g")
    pair.submit(4, "c-1")

    assert pair.take(5, "g") == []
    drain(pair, 6, "e", "f", "g", worker="w", resume=True)
    pair.register(7, "h")
    assert [work.task_id for work in pair.take(8, "h")] == ["c-1"]


def test_an_engine_may_join_drained(hub):
    hub.register(1, "e", drained=1)
    hub.submit(2, "c-1")

    assert hub.take(3, "e") == []
    assert b"drained" not in hub.redis.hgetall(hub.keys.worker("w"))


def test_one_that_joins_hears_whether_it_is_drained(hub):
    joined = [hub.register(now, "e", drained=1) for now in (1, 2)]

    assert [one.drained for one in joined] == [True, True]
    assert not hub.register(3, "f").drained


def test_an_unknown_engine_is_told_of(pair):
    assert drain(pair, 2, "x", "e") == ["unknown", "drained"]
    assert drain(pair, 3, "x", resume=True) == ["unknown"]


def test_what_is_too_much_for_once_is_said_again(make_hub):
    hub = make_hub(hwm=1000)
    hub.join(1, "e")
    ids = [f"c-{number}" for number in range(1, 601)]
    hub.submit(2, *ids[:500])
    hub.submit(2, *ids[500:])

    assert drain(hub, 3, "e") == ["more"]
    assert drain(hub, 4, "e") == ["drained"]

    assert hub.ready() == ids


def test_an_unknown_worker_is_refused(pair):
    with pair.refuses(error.NoWorker, "No such worker: nobody"):
        drain(pair, 2, "e", worker="nobody")


def test_what_is_neither_is_refused(pair):
    call = calls.drain(["e"])

    with pair.refuses(error.BadArgument):
        pair.do(calls.Call("drain", (2, "stop", "", "e"), call.read))
    with pair.refuses(error.BadArgument):
        drain(pair, 2, *["e"] * 501)


def test_who_is_resumed_finds_out_what_nobody_may_take(hub):
    hub.register(1, "e")
    hub.submit(2, "c-0")
    (work,) = hub.take(3, "e")
    drain(hub, 4, "e")
    hub.submit(5, "c-1", targets="0")
    hub.turn(6, "e", 0, unmet(work, by="require"))

    drain(hub, 7, "e", resume=True)

    assert hub.record("c-1")["verdict"] == "impossible"
