"""An engine takes along what waits only for what it has."""

import itertools
from typing import TYPE_CHECKING

import pytest

from redtask.hub import calls
from redtask.hub.calls import Group
from tests.hubs import error_in, ok, unbegun, unmet

if TYPE_CHECKING:
    from redtask.hub.records import Work

NAMES = ("c-1", "c-2", "c-3", "c-4")


def chain(hub, names=NAMES, **flags):
    """Submit tasks, each after the one before it."""
    hub.submit(1, names[0], **flags)
    for before, name in itertools.pairwise(names):
        hub.submit(1, name, after=f"as {before}", **flags)


def ended(work):
    """Report a result as engines mostly do."""
    return ok(work, repr="r")


def states(hub, *names):
    """Return the state of each."""
    return [hub.state(name) for name in names]


@pytest.fixture
def linked(hub):
    """A chain of four, and an engine that has not come yet."""
    chain(hub)
    hub.register(2, "e")
    return hub


@pytest.fixture
def taken(linked):
    """A chain of four that an engine has taken at once."""
    linked.works = linked.take(3, "e", 9)
    return linked


def test_a_chain_is_taken_at_once(taken):
    found = [(work.task_id, work.token, work.along) for work in taken.works]

    assert found == [
        ("c-1", "1:n1", False),
        ("c-2", "1:n1", True),
        ("c-3", "1:n1", True),
        ("c-4", "1:n1", True),
    ]
    assert states(taken, *NAMES) == ["running"] * 4
    assert taken.held("e") == list(NAMES)
    assert taken.waiting() == []
    assert taken.works[1][2:6] == (*taken.works[0][2:4], "c-2", "")


def test_it_is_ended_at_once(taken):
    taken.watch(3, "c")

    turn = taken.turn(4, "e", 1, *map(ended, taken.works))

    assert (turn.stale, turn.work) == (0, [])
    assert states(taken, *NAMES) == ["completed"] * 4
    assert "na" not in taken.record("c-2")
    assert [name for name, _ in taken.done("c")] == list(NAMES)


def test_an_engine_that_wants_less_takes_fewer(linked):
    works = linked.take(3, "e", 2)

    assert [work.task_id for work in works] == ["c-1", "c-2"]
    assert states(linked, *NAMES) == ["running", "running", "waiting", "waiting"]


def test_hwm_bounds_it(linked):
    linked.configure(2, hwm=3)

    assert len(linked.take(3, "e", 9)) == 3


def test_what_follows_is_taken_with_the_next(linked):
    works = linked.take(3, "e", 2)

    more = linked.turn(4, "e", 9, *map(ok, works)).work

    assert [(one.task_id, one.along) for one in more] == [("c-3", False), ("c-4", True)]


def test_the_same_turn_brings_the_same(taken):
    assert taken.turn_again(4, "e", 9).work == taken.works


def test_no_more_than_a_script_can_bear(hub):
    names = [f"c-{number}" for number in range(100)]
    chain(hub, names)
    hub.register(2, "e")

    assert 20 < len(hub.take(3, "e", 200)) < 60


@pytest.mark.parametrize(
    "flags",
    [
        {"follow": "as c-1"},
        {"after": "ns c-1"},
        {"after": "asf c-1"},
        {"after": "as c-1 c-0"},
        {"queue": "q"},
        {"timeout": 1000},
        {"targets": "0"},
        {"start_in": 5},
        {"priority": 1},
    ],
)
def test_what_is_bound_to_more_is_not(hub, flags):
    hub.register(2, "e", queues="default,q" if "queue" in flags else "default")
    hub.submit(2, "c-1")
    hub.submit(2, "c-0", queue="other")
    hub.submit(2, "c-2", **{"after": "as c-1"} | flags)

    assert [work.task_id for work in hub.take(3, "e", 9)] == ["c-1"]


def test_it_may_need_the_result(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1", refs="c-1")
    hub.register(2, "e")

    works = hub.take(3, "e", 9)

    assert [work.along for work in works] == [False, True]
    assert hub.record("c-1")["kept"] == "1"
    hub.report(4, "e", *map(ok, works))
    assert states(hub, "c-1", "c-2") == ["completed", "completed"]


def test_what_has_fewer_retries_is_not(hub):
    """It would fail with a machine, where it could have waited."""
    hub.submit(1, "c-1", retries=1)
    hub.submit(1, "c-2", after="as c-1", retries=2)
    hub.submit(1, "c-3", after="as c-2", retries=1)
    hub.register(2, "e")

    assert [work.task_id for work in hub.take(3, "e", 9)] == ["c-1", "c-2"]


def test_nor_when_there_are_several(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", "c-3", after="as c-1")
    hub.register(2, "e")

    assert len(hub.take(3, "e", 9)) == 1


def test_nor_what_would_overtake_others(hub):
    hub.submit(1, "c-1", priority=2)
    hub.submit(1, "c-3", priority=1)
    hub.submit(1, "c-4", "c-5")
    hub.submit(1, "c-2", after="as c-1")
    hub.register(2, "e")

    works = hub.take(3, "e", 9)

    assert [work.task_id for work in works] == ["c-1", "c-3"]


def test_but_what_is_before_all_others(hub):
    hub.submit(1, "c-1", priority=1)
    hub.submit(1, "c-2", after="as c-1", priority=1)
    hub.submit(1, "c-3", "c-4")
    hub.register(2, "e")

    works = hub.take(3, "e", 9)

    assert [work.task_id for work in works] == ["c-1", "c-2"]


def test_nor_of_a_paused_queue_or_where_engines_cannot_run_all(linked):
    linked.do(calls.pause(["q"], now=2))

    assert len(linked.take(3, "e", 9)) == 1


def test_nor_on_a_hub_of_an_earlier_release(linked):
    linked.redis.hset(linked.key("hub"), "format", "3 leastload")

    assert len(linked.take(3, "e", 9)) == 1


def test_nor_when_somebody_listens(linked):
    linked.do(calls.attend(["c-2"], now=2))

    assert len(linked.take(3, "e", 9)) == 1


def test_one_that_has_the_last_of_several_in_hand(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1 c-2")
    hub.register(2, "e")
    (first,) = hub.take(3, "e")

    works = hub.turn(4, "e", 9, ok(first)).work

    assert [work.task_id for work in works] == ["c-2", "c-3"]


# What does not go well


def test_after_a_failure_the_others_can_never_run(taken):
    first, *others = taken.works

    taken.turn(4, "e", 1, error_in(first), *map(unbegun, others))

    assert states(taken, *NAMES) == ["failed"] * 4
    record = taken.record("c-2")
    assert (record["verdict"], record["reason"]) == ("impossible", "after c-1: failed")
    assert not {"engine", "token", "started", "na"} & record.keys()
    assert taken.held("e") == []


def test_they_end_before_their_engine_gives_them_back(taken):
    first, *others = taken.works

    taken.report(4, "e", error_in(first))

    assert states(taken, *NAMES) == ["failed"] * 4
    assert taken.held("e") == []
    assert taken.report(5, "e", *map(unbegun, others)).stale == 3
    assert "stale" not in taken.events()


def test_a_failure_in_the_middle(taken):
    one, two, *others = taken.works

    taken.turn(4, "e", 1, ended(one), error_in(two), *map(unbegun, others))

    assert states(taken, *NAMES) == ["completed", "failed", "failed", "failed"]


def test_the_engine_counts_what_has_ended(taken):
    one, two, *others = taken.works

    taken.turn(4, "e", 1, ok(one), ok(two), *map(unbegun, others))

    assert taken.redis.hget(taken.key("engine", "e"), "done") == b"2"


def test_after_a_retry_they_wait_again(hub):
    chain(hub, retries=1)
    hub.register(2, "e")
    first, *others = hub.take(3, "e", 9)

    hub.turn(4, "e", 0, error_in(first), *map(unbegun, others))

    assert states(hub, *NAMES) == ["ready", "waiting", "waiting", "waiting"]
    assert hub.record("c-2")["na"] == "as:1!"
    assert "tries" not in hub.record("c-2")
    assert [work.task_id for work in hub.take(5, "e", 9)] == list(NAMES)


def test_a_retry_elsewhere_does_not_wait_for_who_holds_them(hub):
    chain(hub, retries=1)
    hub.register(2, "e")
    first, *others = hub.take(3, "e", 9)
    hub.report(4, "e", error_in(first))
    hub.register(5, "f")
    (work,) = hub.take(6, "f")

    hub.turn(7, "f", 1, ok(work))

    assert states(hub, *NAMES) == ["completed", "running", "running", "running"]
    assert "na" not in hub.record("c-2")
    hub.report(8, "e", *map(unbegun, others))
    assert states(hub, *NAMES[1:]) == ["assigned", "waiting", "waiting"]
    assert hub.assigned("f") == ["c-2"]


def test_a_failure_elsewhere_ends_what_another_engine_holds(hub):
    chain(hub, retries=1)
    hub.register(2, "e")
    hub.configure(2, hwm=9)
    first, *_ = hub.take(3, "e", 9)
    hub.report(4, "e", error_in(first))
    hub.register(5, "f")
    (work,) = hub.take(6, "f")

    hub.turn(7, "f", 1, error_in(work))

    assert states(hub, *NAMES) == ["failed"] * 4
    assert hub.held("e") == []


def test_a_refusal_leaves_them_waiting(taken):
    first, *others = taken.works

    taken.turn(4, "e", 1, unmet(first), *map(unbegun, others))

    assert states(taken, *NAMES) == ["ready", "waiting", "waiting", "waiting"]


def test_a_supervisor_gives_them_back_while_the_first_runs(taken):
    first, *others = taken.works

    taken.report(4, "e", *map(unbegun, others))

    assert states(taken, *NAMES) == ["running", "waiting", "waiting", "waiting"]
    (work,) = taken.turn(5, "e", 1, ok(first)).work
    assert work.task_id == "c-2"


def test_given_back_with_the_success_of_what_they_wait_for(taken):
    one, two, *others = taken.works

    (work,) = taken.turn(4, "e", 1, ok(one), *map(unbegun, [two, *others])).work

    assert work.task_id == "c-2"
    assert states(taken, *NAMES) == ["completed", "running", "waiting", "waiting"]


def test_an_engine_that_dies_in_the_first(taken):
    taken.gone(4, "e", "c-1")

    assert states(taken, *NAMES) == ["failed"] * 4
    assert taken.record("c-1")["verdict"] == "engine_lost"
    assert taken.record("c-2")["verdict"] == "impossible"


def test_an_engine_that_dies_and_the_first_is_tried_again(hub):
    chain(hub)
    hub.submit(1, "c-5", after="as c-4")
    hub.register(2, "e")
    hub.take(3, "e", 9)
    hub.redis.hset(hub.keys.task("c-1"), "retries", 1)

    hub.gone(4, "e", "c-1")

    assert states(hub, *NAMES) == ["ready", "waiting", "waiting", "waiting"]
    assert hub.record("c-2")["na"] == "as:1!"


@pytest.mark.parametrize("pause", ["", "1000 1 0"])
def test_a_machine_that_is_lost_with_all_of_them(hub, pause):
    chain(hub, retries=2, **({"pause": pause} if pause else {}))
    hub.register(2, "e")
    hub.take(3, "e", 9)

    hub.sweep(20_000)

    first = "waiting" if pause else "ready"
    assert states(hub, *NAMES) == [first, "waiting", "waiting", "waiting"]
    record = hub.record("c-2")
    assert (record["tries"], record["na"]) == ("1", "as:1")
    hub.register(20_000, "f")
    hub.sweep(22_000)
    for number, name in enumerate(NAMES):
        (work,) = hub.take(22_000 + number, "f", 1)
        assert (work.task_id, work.token[:2]) == (name, "2:")
        hub.report(22_000 + number, "f", ok(work))
    assert states(hub, *NAMES) == ["completed"] * 4


def test_a_machine_that_is_lost_for_good(taken):
    taken.sweep(20_000)

    assert states(taken, *NAMES) == ["failed"] * 4
    assert "na" not in taken.record("c-3")


def test_a_machine_that_is_lost_in_pieces(taken):
    for _ in range(9):
        taken.sweep(20_000, budget=1)

    assert states(taken, *NAMES) == ["failed"] * 4


def test_what_an_engine_has_never_heard_of_waits_again(taken):
    taken.live(4, "e", "c-1")

    assert states(taken, *NAMES) == ["running", "waiting", "waiting", "waiting"]


def test_one_that_is_to_be_aborted(taken):
    one, two, *others = taken.works
    assert taken.abort(4, "c-3") == ["running"]
    assert taken.abort(4, "c-3", running=True)[0].startswith("running w e ")

    taken.report(5, "e", *map(unbegun, others))
    taken.report(6, "e", ok(one), ok(two))

    assert states(taken, *NAMES) == ["completed", "completed", "aborted", "failed"]
    assert "na" not in taken.record("c-3")


def test_results_that_come_one_by_one(taken):
    for number, work in enumerate(taken.works):
        taken.report(4 + number, "e", ended(work))

    assert states(taken, *NAMES) == ["completed"] * 4


def test_an_unusual_result(taken):
    one, two, *others = taken.works

    taken.turn(4, "e", 1, ok(one), ok(two, stdout=b"hi"), *map(ok, others))

    assert states(taken, *NAMES) == ["completed"] * 4
    assert "na" not in taken.record("c-2")


def test_one_of_them_fails_and_is_tried_again(hub):
    chain(hub, retries=1)
    hub.register(2, "e")
    one, two, *others = hub.take(3, "e", 9)

    hub.turn(4, "e", 0, ok(one), error_in(two), *map(unbegun, others))

    assert states(hub, *NAMES) == ["completed", "ready", "waiting", "waiting"]
    assert hub.record("c-2")["tries"] == "1"


def test_more_than_one_script_may_tell(hub):
    """Those that are told later have ended already."""
    several = [f"c-{number}" for number in range(110)]
    hub.submit(1, *several)
    groups = [
        Group(
            "fn",
            b"",
            "fn",
            {"after": f"as c-{number}", "priority": 1},
            [f"c-{1000 + number}", b"args"],
        )
        for number in range(110)
    ]
    hub.do(calls.submit(groups, now=1))
    hub.register(2, "e")
    held: list[Work] = []
    while len(held) < 110:
        held += [one for one in hub.take(3, "e", 200) if not one.along]
    works = hub.do(calls.turn("e", 999, "n999", 0, now=4)).work

    turn = hub.report(4, "e", *map(ended, [*held, *works]))

    assert turn.stale == 0
    hub.check()
    while hub.sweep(5).more:
        hub.check()


def test_a_dependent_that_joins_later(taken):
    taken.submit(4, "c-5", after="as c-2")
    taken.submit(4, "c-6", after="as c-1 c-4")

    taken.report(5, "e", *map(ok, taken.works))

    assert states(taken, "c-5", "c-6") == ["assigned", "ready"]


def test_why_one_is_where_it_is(taken):
    assert taken.why(4, "c-2").state == "running"


def test_the_doctor_finds_nothing(taken):
    found = taken.do(calls.examine([("task", name) for name in NAMES], now=4))

    assert found.flaws == ()


def test_an_engine_that_is_lost_in_part_and_lives(hub):
    """It has nothing whose parent it has no more."""
    chain(hub, retries=1)
    hub.register(2, "e")
    works = hub.take(3, "e", 9)
    hub.sweep(20_000, budget=1)
    assert hub.held("e") == ["c-1", "c-2", "c-3"]

    assert [work.task_id for work in hub.turn_again(20_001, "e", 9).work] == [
        "c-1",
        "c-2",
        "c-3",
    ]
    hub.live(20_002, "e", *NAMES, number=1)
    hub.turn(20_003, "e", 0, *map(ended, works))
    assert states(hub, *NAMES) == ["completed", "completed", "completed", "assigned"]


def test_what_is_lost_with_what_it_waits_for_has_killed_nothing(hub):
    chain(hub, retries=1)
    hub.register(2, "e")
    hub.take(3, "e", 9)

    hub.sweep(20_000)

    assert hub.record("c-1")["deaths"] == "1"
    assert hub.record("c-2").get("deaths", "0") == "0"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_drained_engine_that_has_nothing_left_says_so(hub, elsewhere):
    chain(hub, retries=1 if elsewhere else 0)
    hub.register(2, "e")
    first, *others = hub.take(3, "e", 9)
    if elsewhere:
        hub.report(4, "e", error_in(first))
    hub.do(calls.drain(["e"], now=4))
    if elsewhere:
        hub.register(5, "f")
        (first,) = hub.take(6, "f")

    hub.report(7, "f" if elsewhere else "e", error_in(first))

    assert hub.held("e") == []
    assert hub.events().count("engine drained") == 1
    hub.report(8, "e", *map(unbegun, others))
    assert hub.events().count("engine drained") == 1


def test_the_first_of_two_outcomes_counts(taken):
    _, two, *_ = taken.works

    taken.report(4, "e", unbegun(two), ended(two))

    assert taken.state("c-2") == "waiting"
    assert taken.record("c-2")["na"] == "as:1!"


def test_a_mended_entry_says_that_it_was_taken_along(taken):
    taken.redis.hdel(taken.key("engine", "e", "held"), "c-2")

    taken.do(calls.examine([("task", name) for name in NAMES], mend=True, now=4))

    works = taken.turn_again(5, "e", 9).work
    assert {work.task_id: work.along for work in works}["c-2"]


def test_who_loses_its_last_comes_for_what_got_in_line_before(linked):
    hub = linked
    works = hub.take(3, "e", 9)
    hub.report(4, "e", unbegun(works[0]))
    hub.turn(5, "e", 0)
    hub.register(5, "f")
    (first,) = hub.take(6, "f")
    assert first.task_id == "c-1"
    hub.take(7, "e")
    hub.submit(7, "c-9")
    assert hub.rings("e") == 0

    hub.gone(8, "f", "c-1")

    assert states(hub, *NAMES) == ["failed"] * 4
    assert (hub.ready(), hub.rings("e")) == (["c-9"], 1)
