"""What tasks wait for: after, follow, their truth table, and what can never be."""

from itertools import product

import pytest

from redtask import error
from tests.hubs import error_in, ok, unbegun

# all/any, success, failure: what two members that succeeded, failed or are pending
# make of it (section 2.3 of IPython.parallel's rules). M met, U unreachable, - neither.
TABLE = {
    ("a", "s"): "MU-UU-",
    ("a", "f"): "UUUM--",
    ("a", "sf"): "MM-M--",
    ("n", "s"): "MMMU--",
    ("n", "f"): "UM-MM-",
    ("n", "sf"): "MMMMM-",
}
PAIRS = ("SS", "SF", "SP", "FF", "FP", "PP")
CELLS = [
    (letters, pair, cell)
    for letters, cells in TABLE.items()
    for pair, cell in zip(PAIRS, cells, strict=True)
]
STATES = {"M": {"ready", "assigned"}, "U": {"failed"}, "-": {"waiting"}}


def run(hub, name, how):
    """Let a task that is ready end as a letter says; P: not at all."""
    if how == "P":
        return
    (work,) = hub.take(5, "e")
    assert work.task_id == name
    hub.report(6, "e", ok(work) if how == "S" else error_in(work))


@pytest.fixture
def two(hub):
    """A hub with two tasks and an engine that has not come yet."""
    hub.register(1, "e")
    hub.submit(2, "c-1", "c-2", priority=1)
    return hub


@pytest.mark.parametrize(("letters", "pair", "cell"), CELLS)
@pytest.mark.parametrize("late", [False, True])
def test_every_cell_of_the_truth_table(two, letters, pair, cell, late):
    after = f"{''.join(letters)} c-1 c-2"
    if not late:
        two.submit(3, "c-3", after=after)

    run(two, "c-1", pair[0])
    run(two, "c-2", pair[1])
    if late:
        two.submit(7, "c-3", after=after)

    assert two.state("c-3") in STATES[cell]


@pytest.mark.parametrize(("letters", "pair", "cell"), CELLS)
@pytest.mark.parametrize("late", [False, True])
def test_the_same_holds_for_follow(two, letters, pair, cell, late):
    follow = f"{''.join(letters)} c-1 c-2"
    if not late:
        two.submit(3, "c-3", follow=follow)

    run(two, "c-1", pair[0])
    run(two, "c-2", pair[1])
    if late:
        two.submit(7, "c-3", follow=follow)

    assert two.state("c-3") in STATES[cell]
    assert cell != "M" or two.record("c-3")["place"] == "0"


@pytest.mark.parametrize("order", list(product("ab", repeat=2)))
def test_both_sets_must_be_met(two, order):
    two.submit(3, "c-3", after="as c-1", follow="as c-2")

    run(two, "c-1", "S")
    assert two.state("c-3") == "waiting"
    run(two, "c-2", "S")

    assert two.state("c-3") == "assigned"
    assert two.record("c-3").keys().isdisjoint({"na", "nf"})


def test_a_task_that_waits_has_its_place_in_the_index(two):
    two.submit(3, "c-3", after="as c-1 c-2")

    assert two.waiting() == ["c-3"]
    assert two.record("c-3")["na"] == "as:2!"
    assert two.members("task", "c-1", "dependents") == ["ac-3"]


def test_a_member_named_twice_counts_once(two):
    two.submit(3, "c-3", after="as c-1 c-1")

    run(two, "c-1", "S")

    assert two.state("c-3") in ("ready", "assigned")


def test_one_task_in_both_sets_is_told_of_twice(two):
    two.submit(3, "c-3", after="as c-1", follow="as c-1")

    run(two, "c-1", "S")

    assert two.state("c-3") in STATES["M"]
    assert two.record("c-3").keys().isdisjoint({"na", "nf"})


def test_released_tasks_keep_their_order(two):
    two.submit(3, "c-3", after="as c-1")
    two.submit(4, "c-4")
    two.submit(4, "c-5", after="as c-1", priority=2)
    first, _ = two.take(5, "e", 8), two.take(5, "e")

    two.report(6, "e", ok(first[0]))

    assert two.ready() == ["c-5", "c-3", "c-4"]


def test_who_finishes_is_served_first(two):
    (first,) = two.take(3, "e")
    two.join(3, "f")
    two.join(3, "g")
    two.submit(4, "c-3", after="as c-1")

    taken = two.turn(5, "e", 1, ok(first)).work

    assert [work.task_id for work in taken] == ["c-3"]
    assert two.free() == ["g"]


def test_an_idle_engine_hears_of_what_was_released(two):
    two.submit(3, "c-3", "c-4", after="as c-1 c-2")
    first, second = two.take(4, "e", 4)[0], two.take(4, "e")[0]
    two.join(5, "f")

    two.turn(6, "e", 1, ok(first), ok(second))

    assert two.held("e") == ["c-3"]
    assert two.assigned("f") == ["c-4"]


# What can never be


def test_an_unknown_id_is_invalid(two):
    two.submit(3, "c-3", after="as c-1 x-9")

    record = two.record("c-3")
    assert (record["state"], record["verdict"]) == ("failed", "invalid")
    assert record["reason"] == "after x-9 is unknown"


def test_a_task_cannot_depend_on_itself(two):
    two.submit(3, "c-3", follow="as c-3")

    record = two.record("c-3")
    assert (record["verdict"], record["reason"]) == (
        "invalid",
        "follow c-3 is the task itself",
    )


def test_the_error_names_the_dependency(two):
    two.submit(3, "c-3", after="as c-1 c-2")

    run(two, "c-1", "F")

    record = two.record("c-3")
    assert (record["verdict"], record["reason"]) == (
        "impossible",
        "after c-1: failed",
    )


def test_failure_cascades_and_cleanup_runs(two):
    two.submit(3, "c-3", after="as c-1")
    two.submit(3, "c-4", after="as c-3")
    two.submit(3, "c-5", after="af c-4")

    run(two, "c-1", "F")

    states = {name: two.state(name) for name in ("c-3", "c-4", "c-5")}
    assert states == {"c-3": "failed", "c-4": "failed", "c-5": "ready"}


def test_what_depends_on_an_impossible_task_is_told_at_submission(two):
    two.submit(3, "c-3", after="as x-9")
    two.submit(4, "c-4", after="as c-3")
    two.submit(4, "c-5", after="af c-3")

    assert (two.state("c-4"), two.state("c-5")) == ("failed", "ready")


def test_impossible_beside_a_member_that_others_wait_for(two):
    # H9: the original lost such a task.
    run(two, "c-1", "F")
    two.submit(7, "c-3", after="as c-2")

    two.submit(8, "c-4", after="as c-1 c-2")

    assert two.state("c-4") == "failed"


def test_an_aborted_member_counts_as_failed(two):
    two.submit(3, "c-3", after="as c-1")
    two.submit(3, "c-4", after="af c-1")

    two.abort(4, "c-1")

    assert (two.state("c-3"), two.state("c-4")) == ("failed", "ready")


def test_a_waiting_task_can_be_aborted(two):
    two.submit(3, "c-3", after="as c-1")
    two.submit(3, "c-4", after="as c-3")

    assert two.abort(4, "c-3") == ["aborted"]

    assert (two.waiting(), two.state("c-4")) == ([], "failed")
    run(two, "c-1", "S")
    assert two.state("c-3") == "aborted"


def test_the_client_is_told_of_a_verdict(two):
    two.watch(3, "c")

    two.submit(4, "c-3", after="as x-9")

    assert two.done("c") == [("c-3", b"f\0vinvalid after x-9 is unknown")]


# Where members ran


@pytest.fixture
def pair(hub):
    """A hub with two engines, of which each has a task to report, and one to go on."""
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2", "c-11", "c-12", priority=1)
    hub.works = {
        "e": hub.take(3, "e")[0],
        "f": hub.take(3, "f")[0],
    }
    hub.turn(3, "e", 1)
    hub.turn(3, "f", 1)
    return hub


def test_a_task_goes_where_another_ran(pair):
    pair.submit(4, "c-3", follow="as c-2")

    pair.turn(5, "e", 1, ok(pair.works["e"]))
    (work,) = pair.turn(6, "f", 1, ok(pair.works["f"])).work

    assert (work.task_id, pair.held("e")) == ("c-3", ["c-11"])


@pytest.mark.parametrize("late", [False, True])
def test_it_ran_where_it_failed_and_not_where_it_was_given_back(hub, late):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", retries=1)
    (first,) = hub.take(3, "e")
    hub.report(4, "e", error_in(first))
    (second,) = hub.take(5, "f")
    hub.report(6, "f", unbegun(second))

    if late:
        hub.abort(7, "c-1")
        hub.submit(8, "c-3", follow="nf c-1")
    else:
        hub.submit(7, "c-3", follow="nf c-1")
        hub.abort(8, "c-1")

    assert (hub.record("c-3")["place"], hub.assigned("e")) == ("0", ["c-3"])


def test_it_waits_for_that_engine_although_another_is_idle(pair):
    pair.submit(4, "c-3", follow="as c-1")
    pair.submit(4, "c-4", priority=9)

    (work,) = pair.turn(5, "e", 1, ok(pair.works["e"])).work
    taken = pair.turn(6, "f", 1, ok(pair.works["f"])).work

    assert (work.task_id, taken) == ("c-4", [])
    assert pair.ready(name="=0") == ["c-3"]


def test_members_on_different_engines_are_impossible(pair):
    pair.submit(4, "c-9")
    pair.submit(4, "c-3", follow="as c-1 c-2 c-9")

    pair.turn(5, "e", 0, ok(pair.works["e"]))
    pair.turn(6, "f", 0, ok(pair.works["f"]))

    record = pair.record("c-3")
    assert record["verdict"] == "impossible"
    assert record["reason"] == "follow: its tasks ran on engines 0 and 1"


def test_any_of_two_may_run_on_either_engine(pair):
    pair.submit(4, "c-3", follow="ns c-1 c-2")

    pair.report(5, "e", ok(pair.works["e"]))
    assert pair.record("c-3")["class"] == "=0"
    pair.report(6, "f", ok(pair.works["f"]))

    assert pair.ready(name="=0-1") == ["c-3"]
    assert pair.take(7, "f")[0].task_id == "c-3"


def test_the_engine_to_follow_is_gone(pair):
    # H1: the original waited forever.
    pair.submit(4, "c-3", follow="as c-1")
    pair.report(5, "e", ok(pair.works["e"]))

    pair.gone(6, "e")

    record = pair.record("c-3")
    assert (record["state"], record["verdict"]) == ("failed", "impossible")


def test_the_engine_to_follow_was_gone_before(pair):
    pair.report(4, "e", ok(pair.works["e"]))
    pair.gone(5, "e")

    pair.submit(6, "c-3", follow="as c-1")

    assert pair.record("c-3")["verdict"] == "impossible"


def test_the_engine_to_follow_is_no_target(pair):
    # H2
    pair.submit(4, "c-3", follow="as c-1", targets="1")

    pair.report(5, "e", ok(pair.works["e"]))

    assert pair.record("c-3")["verdict"] == "impossible"


def test_follow_any_waits_for_others_when_the_first_engine_is_gone(pair):
    # H3
    pair.submit(4, "c-3", follow="ns c-1 c-2")
    pair.report(5, "e", ok(pair.works["e"]))

    pair.gone(6, "e")
    assert pair.state("c-3") == "waiting"
    pair.report(7, "f", ok(pair.works["f"]))

    assert pair.ready(name="=0-1") == ["c-3"]


def test_follow_any_is_impossible_when_all_engines_are_gone(pair):
    pair.submit(4, "c-3", follow="ns c-1 c-2")
    pair.report(5, "e", ok(pair.works["e"]))
    pair.gone(6, "e")

    pair.gone(7, "f", "c-2", "c-12")

    assert pair.record("c-3")["verdict"] == "impossible"


def test_a_member_that_never_ran_allows_no_engine(pair):
    # H8
    pair.submit(4, "c-8", after="as x-9")

    pair.submit(5, "c-3", follow="af c-8")

    record = pair.record("c-3")
    assert (record["verdict"], record["reason"]) == (
        "impossible",
        "follow: none of its tasks ran where it could follow",
    )


def test_an_engine_elsewhere_cannot_take_what_is_tied(pair):
    pair.submit(4, "c-3", follow="as c-1")
    pair.report(5, "e", ok(pair.works["e"]))

    assert pair.turn(6, "f", 5, ok(pair.works["f"])).work == []


def test_an_edge_of_a_running_task_is_counted(pair):
    pair.submit(4, "c-3", follow="ns c-1 c-2", retries=1)
    pair.report(5, "e", ok(pair.works["e"]))
    (work,) = pair.take(6, "e")

    pair.report(7, "f", ok(pair.works["f"]))
    pair.report(8, "e", error_in(work))

    assert pair.record("c-3")["class"] == "=0-1"
    assert "nf" not in pair.record("c-3")


# Many


def test_very_many_dependents_are_told_in_pieces(real_hub):
    hub = real_hub
    hub.register(1, "e")
    hub.submit(2, "c-0")
    names = [f"c-{n}" for n in range(1, 1201)]
    for at in range(0, 1200, 400):
        hub.submit(3, *names[at : at + 400], after="as c-0")
    (work,) = hub.take(4, "e")
    hub.submit(4, "c-9999")
    hub.take(4, "e")

    hub.turn(5, "e", 0, ok(work))
    assert 0 < len(hub.waiting()) < 1200
    assert hub.members("unsettled") == ["c-0"]
    while hub.sweep(6, 100).more:
        pass

    assert (hub.waiting(), hub.members("unsettled")) == ([], [])
    assert hub.ready() == names
    assert hub.redis.hget(hub.key("hub"), "rare") == b""


def test_while_dependents_are_told_a_turn_takes_less(real_hub):
    hub = real_hub
    hub.register(1, "e")
    hub.submit(2, "c-0")
    (work,) = hub.take(2, "e")
    hub.submit(3, *[f"d-{n}" for n in range(500)])
    for part in range(2):
        names = [f"c-{part + 1}{n:03}" for n in range(400)]
        hub.submit(3, *names, after="as c-0")

    telling = hub.turn(4, "e", 1000, ok(work)).work
    while hub.sweep(5, 100).more:
        pass
    hub.turn(6, "e", 0, *map(ok, telling))

    assert len(telling) == 32
    assert len(hub.take(6, "e", 1000)) == 200


def test_a_chain_that_fails_is_told_in_pieces(real_hub):
    hub = real_hub
    hub.register(1, "e")
    hub.submit(2, "c-0")
    for number in range(1, 701):
        hub.submit(3, f"c-{number}", after=f"as c-{number - 1}")
    (work,) = hub.take(4, "e")

    hub.turn(5, "e", 0, error_in(work))
    for stamp in range(6, 20):
        hub.turn(stamp, "e", 0)

    assert hub.state("c-700") == "failed"


def test_a_slice_has_a_bounded_number_of_members(hub):
    hub.submit(1, *[f"c-{n}" for n in range(5)])
    after = "as " + " ".join(f"c-{n}" for n in range(5))

    with hub.refuses(error.BadArgument, "2000 members"):
        hub.submit(2, *[f"d-{n}" for n in range(401)], after=after)


@pytest.mark.parametrize("wrong", ["c-1", "as", "as  ", "xs c-1", "a c-1", "as c_1"])
def test_a_dependency_that_is_none_is_refused(hub, wrong):
    with hub.refuses(error.BadArgument, "after"):
        hub.submit(1, "c-2", after=wrong)


def test_submitted_again_it_is_known(two):
    two.submit(3, "c-3", after="as c-1")

    again = two.submit(4, "c-3", after="as c-1")

    assert (again.new, again.known) == (0, 1)
    assert two.record("c-3")["na"] == "as:1!"


def test_some_succeed_and_one_fails_in_one_turn(hub):
    """What was counted down in this script is read as it is now."""
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.submit(1, "c-5", after="as c-1 c-2 c-3 c-4")
    hub.submit(1, "c-6", after="as c-1 c-2 c-3")
    hub.submit(1, "c-7", after="as c-1 c-2 c-4", follow="as c-1")
    hub.submit(1, "c-8", after="as c-2 c-3")
    hub.register(2, "e")
    works = [work for _ in range(4) for work in hub.take(3, "e", 1)]
    one, two, three, four = works

    hub.report(4, "e", ok(one), ok(two))
    found = [hub.record(f"c-{number}")["na"] for number in (5, 6, 7, 8)]
    assert found == ["as:2!", "as:1!", "as:1", "as:1!"]
    hub.report(5, "e", ok(three), error_in(four))

    assert {hub.state("c-5"), hub.state("c-7")} == {"failed"}
    assert not {hub.state("c-6"), hub.state("c-8")} - {"ready", "assigned"}
    assert "na" not in hub.record("c-5")
