"""Tasks that an engine took at once, and what becomes of them one by one."""

from __future__ import annotations

import dataclasses

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import error_in, ok, unbegun, unmet

NAMES = [f"c-{number}" for number in range(1, 9)]


def done(work):
    return ok(work, b"signed", ago=20_250, took=1500, repr="42")


def lots(hub):
    """Return the lots of engine e: the ids in each."""
    found = hub.redis.hgetall(hub.key("engine", "e", "lots"))
    return {
        token.decode(): lot.decode().partition("\n")[2].split()
        for token, lot in found.items()
    }


def entries(hub):
    """Return which tasks have entries of their own."""
    return sorted(
        name.decode() for name in hub.redis.hkeys(hub.key("engine", "e", "held"))
    )


@pytest.fixture
def taken(hub):
    """A hub in which engine e has taken four of eight tasks at once."""
    hub.submit(1, *NAMES, retries=2)
    hub.register(2, "e")
    hub.works = hub.take(3, "e", 9)
    assert lots(hub) == {"1:n1": NAMES[:4]}
    assert entries(hub) == []
    return hub


def test_one_is_no_lot(hub):
    hub.submit(1, *NAMES)
    hub.register(2, "e")
    hub.take(3, "e")

    assert (lots(hub), entries(hub)) == ({}, ["c-1"])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_they_are_reported_from_the_first_on(taken, count):
    works = taken.works

    assert taken.report(9, "e", *map(done, works[:count])).stale == 0

    left = NAMES[count:4]
    assert lots(taken) == ({"1:n1": left} if left else {})
    assert (taken.held("e"), entries(taken)) == (left, [])
    assert list(taken.ended("completed")) == NAMES[:count]
    assert taken.report(10, "e", *map(done, works[:count])).stale == 0
    taken.report(11, "e", *map(done, works[count:]))
    assert list(taken.ended("completed")) == NAMES[:4]


@pytest.mark.parametrize("which", [(1,), (3,), (0, 2), (1, 2, 3), (1, 0)])
def test_any_other_may_be_reported(taken, which):
    works = taken.works

    taken.report(9, "e", *(done(works[at]) for at in which))

    left = [name for at, name in enumerate(NAMES[:4]) if at not in which]
    assert (taken.held("e"), entries(taken), lots(taken)) == (left, left, {})
    assert sorted(taken.ended("completed")) == [NAMES[at] for at in sorted(which)]


def test_an_id_that_only_begins_like_one_is_none(hub):
    hub.submit(1, "c-1", "c-12", "c-3", "c-4", "c-5", "c-6")
    hub.register(2, "e")
    works = hub.take(3, "e", 9)

    hub.report(9, "e", done(works[0]), done(works[1]._replace(task_id="c-1")))

    assert hub.held("e") == ["c-12", "c-3"]


def test_a_failure_among_them_is_one(taken):
    works = taken.works

    taken.report(9, "e", done(works[0]), error_in(works[1]), *map(done, works[2:]))

    assert taken.held("e") == []
    assert list(taken.ended("completed")) == ["c-1", "c-3", "c-4"]
    assert (taken.state("c-2"), taken.record("c-2")["tries"]) == ("ready", "1")


def test_what_had_not_begun_goes_back(taken):
    works = taken.works

    taken.report(9, "e", done(works[0]), *map(unbegun, works[1:]))

    assert (taken.held("e"), lots(taken)) == ([], {})
    assert taken.ready() == NAMES[1:]


def test_what_the_engine_lacks_something_for_leaves_it(taken):
    taken.report(9, "e", unmet(taken.works[2]))

    assert taken.held("e") == ["c-1", "c-2", "c-4"]
    assert taken.state("c-3") == "ready"


def test_outcomes_that_are_there_twice_count_once(taken):
    works = taken.works

    taken.report(9, "e", *map(done, works), error_in(works[1]))

    assert list(taken.ended("completed")) == NAMES[:4]
    assert taken.status(10).states["completed"] == 4


def test_blocks_that_are_there_twice_count_once(taken):
    call = calls.turn("e", None, "", 0, map(done, taken.works[:2]), now=9)
    block = call.args[5:]
    assert block[0] == "folded:2"

    taken.do(dataclasses.replace(call, args=[*call.args, *block]))

    assert (taken.held("e"), lots(taken)) == (NAMES[2:4], {})
    assert taken.status(10).states["completed"] == 2
    assert list(taken.ended("completed")) == NAMES[:2]


def test_tasks_of_two_clients_may_be_in_one(hub):
    names = ["c-1", "d-2", "c-3", "d-4"]
    for name in names:
        hub.submit(1, name, f"{name}0", f"{name}1")
    hub.register(2, "e")
    works = hub.take(3, "e", 9)
    assert list(lots(hub).values()) == [[work.task_id for work in works]]

    hub.report(9, "e", *map(done, works))

    assert (hub.held("e"), len(hub.ended("completed"))) == ([], len(works))


def test_a_turn_for_very_many_clients_reads_it_once(real_hub):
    hub = real_hub
    hub.submit(1, "a-1")
    hub.abort(1, "a-1")
    for number in range(500):
        hub.submit(1, f"c{number}-1", blob=b"")
    hub.register(2, "e")
    works = hub.take(3, "e", 200)
    assert len(lots(hub)["1:n1"]) == len(works) > 100
    reports = map(done, works)
    call = calls.turn("e", None, "", 0, reports, now=9)
    hub.redis.config_resetstat()

    # Not by `do`, which reads all tasks before and after.
    hub.send(call)

    assert hub.redis.info("commandstats")["cmdstat_hvals"]["calls"] < 5
    assert hub.held("e") == []


def test_an_id_with_a_space_is_none(taken):
    works = [taken.works[0]._replace(task_id="c-1 c-2"), taken.works[2]]

    assert taken.report(9, "e", *map(done, works)).stale == 1

    assert taken.held("e") == ["c-1", "c-2", "c-4"]


def test_all_of_it_with_a_space_are_fewer(taken):
    works = [taken.works[0]._replace(task_id="c-1 c-2"), *taken.works[2:]]

    assert taken.report(9, "e", *map(done, works)).stale == 1

    assert taken.held("e") == ["c-1", "c-2"]


def test_another_turn_under_the_same_nonce_adds_to_it(taken):
    taken.turn(4, "e", 0, *map(done, taken.works[:1]))
    taken.turn_again(5, "e", 9, number=9, nonce="n1")

    assert len(taken.held("e")) > 3
    assert set(NAMES[1:4]) < set(taken.held("e"))


def test_what_is_no_lot_goes_with_its_engine(hub):
    hub.register(1, "e")
    hub.redis.hset(hub.key("engine", "e", "lots"), "1:n1", "nonsense")

    assert hub.gone(2, "e").word == "gone"
    assert not hub.redis.exists(hub.key("engine", "e", "lots"))


def test_unfolding_what_has_ended_leaves_the_lots_of_its_engine(taken):
    taken.report(4, "e", done(taken.works[0]))
    # Its result is kept for another, so it gets a record.
    taken.submit(5, "c-9", after="as c-1", refs="c-1")

    assert taken.record("c-1")["state"] == "completed"
    assert lots(taken) == {"1:n1": NAMES[1:4]}


def test_an_engine_that_did_not_hear_is_told_again(taken):
    assert taken.turn_again(4, "e", 9).work == taken.works


def test_tokens_of_others_are_refused(taken):
    works = [work._replace(token=f"{work.token}x") for work in taken.works]

    assert taken.report(9, "e", *map(done, works)).stale == 4
    assert taken.held("e") == NAMES[:4]


def test_when_one_has_more_to_say_each_gets_an_entry(taken):
    taken.watch(4, "d", "c-2")

    assert (lots(taken), entries(taken)) == ({}, NAMES[:4])
    taken.report(9, "e", *map(done, taken.works))
    assert list(taken.ended("completed")) == NAMES[:4]


def test_one_that_is_aborted_is_interrupted(taken):
    assert taken.abort(4, "c-3", running=True) == ["running w e 1:n1"]

    assert taken.held("e") == NAMES[:4]
    taken.report(9, "e", *map(done, taken.works[:2]))
    assert taken.held("e") == NAMES[2:4]


def test_all_of_them_count(taken):
    assert taken.status(4).states["running"] == 4
    assert taken.status(4).engines[0].held == 4
    assert taken.free() == []

    # The engine has as many as it may have.
    taken.configure(5, hwm=4)
    assert taken.take(6, "e", 9) == []
    taken.configure(7, hwm=6)
    assert len(taken.take(8, "e", 9)) == 2


def test_a_beat_tells_which_are_unknown(taken):
    told = taken.live(4, "e", "c-1", "c-2", "c-3", "c-4", "c-9")

    assert (told.word, told.foreign) == ("live", ("c-9",))
    assert taken.held("e") == NAMES[:4]


def test_what_the_engine_does_not_know_is_taken_back(taken):
    taken.live(4, "e", "c-1", "c-4")

    assert taken.held("e") == ["c-1", "c-4"]
    assert taken.ready() == ["c-2", "c-3", *NAMES[4:]]


def test_a_lost_engine_loses_what_it_had_begun(taken):
    taken.gone(4, "e", "c-1")

    assert taken.ready() == NAMES
    assert taken.record("c-1")["tries"] == "1"
    assert "tries" not in taken.record("c-2")
    assert not taken.redis.exists(taken.key("engine", "e", "lots"))


def test_a_drained_engine_is_told_of_when_the_last_has_ended(taken):
    taken.do(calls.drain(["e"], now=4))
    assert taken.events()[-1] == "engine draining"

    taken.report(5, "e", *map(done, taken.works[:3]))
    assert taken.events()[-1] == "engine draining"
    taken.report(6, "e", *map(done, taken.works[3:]))
    assert taken.events()[-1] == "engine drained"


def test_they_are_listed(taken):
    page = taken.do(calls.tasks("running", now=4))

    assert [row.task_id for row in page.rows] == NAMES[:4]


def test_they_end_at_maxmemory(real_hub):
    hub = real_hub
    hub.submit(1, *NAMES)
    hub.register(2, "e")
    works = hub.take(3, "e", 9)
    hub.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(error.HubFull):
            hub.submit(4, "c-9")
        hub.report(5, "e", done(works[0]), error_in(works[2]), done(works[3]))
    finally:
        hub.redis.config_set("maxmemory", 0)

    assert hub.held("e") == ["c-2"]
