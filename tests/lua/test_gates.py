"""Graphs that are submitted in pieces stand behind a gate until all of it is there."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import error_in, ok


@pytest.fixture
def gated(hub):
    """A hub with an engine, and two tasks behind a gate, the second after the first."""
    hub.join(1, "e")
    hub.submit(2, "c-1", gate="c-9")
    hub.submit(3, "c-2", gate="c-9", after="as c-1")
    return hub


def test_the_first_who_names_a_gate_makes_it(gated):
    record = gated.record("c-9")

    assert (record["state"], record["gate"]) == ("waiting", "c-9")
    assert "fn" not in record
    assert gated.members("timers") == ["g:c-9"]


def test_nothing_behind_a_gate_runs(gated):
    assert gated.take(4, "e", 5) == []
    assert gated.waiting() == ["c-1", "c-2"]


def test_when_it_opens_what_waits_for_nothing_else_is_ready(gated):
    assert gated.open_gate(4, "c-9")

    assert (gated.assigned("e"), gated.waiting()) == (["c-1"], ["c-2"])


def test_it_opens_once(gated):
    gated.open_gate(4, "c-9")

    assert not gated.open_gate(5, "c-9")


def test_a_task_that_comes_behind_an_open_gate_does_not_wait(gated):
    gated.open_gate(4, "c-9")

    gated.submit(5, "c-3", gate="c-9", priority=1)

    assert gated.ready() == ["c-3"]


def test_what_is_given_up_takes_all_behind_it_along(gated):
    assert gated.abort(4, "c-9") == ["aborted"]

    for name in ("c-1", "c-2"):
        assert gated.record(name)["verdict"] == "aborted"


def test_a_task_that_comes_behind_a_gate_given_up_is_aborted(gated):
    gated.abort(4, "c-9")

    gated.submit(5, "c-3", gate="c-9")

    assert gated.record("c-3")["verdict"] == "aborted"


def test_a_gate_that_nobody_opens_is_given_up_after_ten_minutes(gated):
    for stamp in range(3, 600_000, 14_000):
        gated.live(stamp, "e")
    gated.sweep(600_001)
    assert gated.state("c-9") == "waiting"

    gated.sweep(600_002)

    states = {name: gated.state(name) for name in ("c-9", "c-1", "c-2")}
    assert set(states.values()) == {"aborted"}


def test_one_behind_a_gate_may_be_aborted_alone(gated):
    gated.abort(4, "c-1")

    assert (gated.state("c-2"), gated.state("c-9")) == ("failed", "waiting")
    assert gated.open_gate(5, "c-9")


def test_what_can_never_be_ends_before_the_gate_opens(gated):
    gated.submit(4, "c-3", gate="c-9", after="as x-9")

    assert gated.record("c-3")["verdict"] == "invalid"


def test_the_time_behind_a_gate_counts_as_waiting(gated):
    gated.submit(4, "c-3", gate="c-9", timeout=300)

    gated.sweep(304)

    assert gated.record("c-3")["verdict"] == "timeout"


def test_a_call_that_names_several_gates_makes_each(hub):
    hub.submit(1, "c-1", gate="c-8")
    hub.submit(1, "c-2", gate="c-9")

    hub.open_gate(2, "c-8")

    assert (hub.state("c-1"), hub.state("c-2")) == ("ready", "waiting")


def in_play(hub, now):
    """Return what is counted: of the hub, and of each state where there is any."""
    counted = hub.redis.hmget(hub.key("hub"), "submitted", "completed", "aborted")
    states = hub.status(now).states
    assert hub.do(calls.overview(0, 1, now=now)).states == states
    some = {state: count for state, count in states.items() if count}
    return [int(count or 0) for count in counted], some


def test_a_gate_counts_nowhere(gated):
    assert in_play(gated, 4) == ([2, 0, 0], {"waiting": 2})

    gated.open_gate(5, "c-9")

    assert in_play(gated, 6) == ([2, 0, 0], {"assigned": 1, "waiting": 1})


def test_a_gate_given_up_counts_nowhere(gated):
    gated.abort(4, "c-9")

    assert in_play(gated, 5) == ([2, 0, 2], {"aborted": 2})


def test_a_gate_is_forgotten_an_hour_after_it_was_opened(gated):
    gated.open_gate(4, "c-9")
    gated.sweep(3_600_003)
    assert gated.state("c-9") == "completed"

    gated.sweep(3_600_004)

    assert gated.state("c-9") is None


def test_a_gate_that_somebody_needs_is_kept_for_another_hour(gated):
    gated.submit(3, "c-3", after="as c-9", refs="c-9")
    gated.open_gate(4, "c-9")

    gated.sweep(3_600_004)
    assert gated.state("c-9") == "completed"
    gated.abort(3_600_005, "c-3")
    gated.purge(3_600_006, "c-3")

    gated.sweep(7_200_004)
    assert gated.state("c-9") is None


def test_a_purged_gate_leaves_nothing(gated):
    gated.open_gate(4, "c-9")

    gated.purge(5, "c-9")

    assert gated.members("timers") == []
    with gated.refuses(error.UnknownTask, "No such gate"):
        gated.open_gate(6, "c-9")


def test_who_waits_for_a_gate_is_told(gated):
    gated.watch(4, "d")
    gated.watch(4, "d", "c-9")

    gated.open_gate(5, "c-9")

    assert gated.done("d") == [("c-9", b"c\0vopened ")]


# Hubs of earlier releases


@pytest.fixture
def earlier(hub):
    """A hub of an earlier release, with a task behind a gate."""
    hub.redis.hset(hub.key("hub"), "format", "3 leastload")
    hub.submit(2, "c-1", gate="c-9")
    return hub


def test_there_a_gate_counts_as_a_task(earlier):
    assert earlier.waiting() == ["c-9", "c-1"]
    assert in_play(earlier, 3) == ([2, 0, 0], {"waiting": 2})

    earlier.open_gate(4, "c-9")

    assert in_play(earlier, 5) == ([2, 1, 0], {"completed": 1, "ready": 1})
    assert earlier.members("timers") == []


@pytest.mark.parametrize("opened", [True, False])
def test_what_was_counted_before_the_upgrade_is_counted_to_its_end(earlier, opened):
    earlier.do(calls.configure(upgrade=True, now=3))

    if opened:
        earlier.open_gate(4, "c-9")
        assert in_play(earlier, 5) == ([2, 1, 0], {"completed": 1, "ready": 1})
    else:
        earlier.abort(4, "c-9")
        assert in_play(earlier, 5) == ([2, 0, 2], {"aborted": 2})

    earlier.sweep(3_600_005)
    assert earlier.state("c-9") is None


@pytest.mark.parametrize("name", ["c-77", "no id"])
def test_what_is_no_gate_cannot_be_opened(gated, name):
    with gated.refuses(error.UnknownTask, "No such gate"):
        gated.open_gate(4, name)


def test_a_task_is_no_gate(gated):
    with gated.refuses(error.BadArgument, "c-1 is no gate"):
        gated.open_gate(4, "c-1")


# Members that are told later


@pytest.fixture
def linked(gated):
    """A hub with a task behind a gate whose members are told later."""
    gated.submit(4, "c-3", gate="c-9", after="as c-1 c-2", later=1)
    return gated


def test_members_are_told_in_pieces(linked):
    assert linked.link(5, "c-3", "after", "c-1") == 1
    assert linked.link(6, "c-3", "after", "c-2") == 1

    linked.open_gate(7, "c-9")

    # It is counted down like any other now.
    assert linked.record("c-3")["na"] == "as:2!"
    (work,) = linked.take(8, "e")
    (work,) = linked.turn(9, "e", 1, ok(work)).work
    (work,) = linked.turn(10, "e", 1, ok(work)).work
    assert work.task_id == "c-3"


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ({"timeout": 100}, "as:1"),
        ({"targets": "0"}, "as:1"),
        ({"start_in": 100}, "as:1"),
        ({"follow": "as c-0"}, "as:1"),
        ({"label": "one", "retries": 1}, "as:1!"),
    ],
    ids=str,
)
def test_what_waits_for_more_is_looked_at_each_time(gated, flags, left):
    gated.submit(4, "c-0")
    gated.submit(4, "c-3", gate="c-9", after="as c-0", **flags)
    assert gated.record("c-3")["na"] == "as:1"

    gated.open_gate(5, "c-9")

    assert gated.record("c-3")["na"] == left


def test_any_of_them_is_never_counted_down(gated):
    gated.submit(4, "c-0")
    gated.submit(4, "c-3", gate="c-9", after="ns c-0 c-1")

    gated.open_gate(5, "c-9")

    assert gated.record("c-3")["na"] == "ns:2"


def test_a_member_that_is_told_twice_counts_once(linked):
    linked.link(5, "c-3", "after", "c-1", "c-1")
    linked.link(6, "c-3", "after", "c-1", "c-2")

    assert linked.record("c-3")["na"] == "as:2"


def test_a_member_that_failed_meanwhile_makes_it_impossible(linked):
    linked.abort(5, "c-1")

    linked.link(6, "c-3", "after", "c-1")

    assert linked.record("c-3")["verdict"] == "impossible"


@pytest.mark.parametrize("name", ["x-9", "c-3"])
def test_a_member_that_cannot_be_makes_it_invalid(linked, name):
    linked.link(5, "c-3", "after", name)

    assert linked.record("c-3")["verdict"] == "invalid"


def test_any_of_them_is_met_before_the_others_are_told(gated):
    gated.submit(4, "c-0", priority=9)
    (work,) = gated.take(5, "e")
    gated.turn(6, "e", 0, ok(work))
    gated.submit(7, "c-3", gate="c-9", after="ns c-0 c-1", later=1)

    gated.link(8, "c-3", "after", "c-0")
    assert gated.link(9, "c-3", "after", "c-1") == 0
    gated.open_gate(10, "c-9")

    assert gated.state("c-3") != "waiting"


def test_any_of_none_that_fits_is_impossible_only_when_the_gate_opens(gated):
    gated.submit(4, "c-0", priority=9)
    (work,) = gated.take(5, "e")
    gated.turn(6, "e", 0, error_in(work))
    gated.submit(7, "c-3", gate="c-9", after="ns c-0 c-1", later=1)

    gated.link(8, "c-3", "after", "c-0")
    assert gated.state("c-3") == "waiting"
    gated.open_gate(9, "c-9")

    assert gated.record("c-3")["verdict"] == "impossible"


def test_a_follow_is_told_later_too(gated):
    gated.submit(4, "c-3", gate="c-9", follow="as c-1", later=1)
    gated.link(5, "c-3", "follow", "c-1")
    gated.open_gate(6, "c-9")
    (work,) = gated.take(7, "e")

    gated.turn(8, "e", 0, ok(work))

    assert gated.record("c-3")["class"] == "=0"


@pytest.mark.parametrize("name", ["after", "follow"])
def test_who_comes_behind_an_open_gate_waits_for_all_that_it_says(gated, name):
    gated.open_gate(4, "c-9")

    gated.submit(5, "c-3", gate="c-9", later=1, refs="c-2", **{name: "as c-1 c-2"})

    record = gated.record("c-3")
    assert record["state"] == "waiting"
    assert record["na" if name == "after" else "nf"].startswith("as:2")
    assert gated.record("c-2")["kept"] == "1"


def test_behind_an_open_gate_nothing_is_told(linked):
    linked.open_gate(5, "c-9")

    assert linked.link(6, "c-3", "after", "c-1") == 0


def test_of_a_set_that_it_has_not_nothing_is_told(linked):
    assert linked.link(5, "c-3", "follow", "c-1") == 0


def test_only_a_task_can_be_told(linked):
    with linked.refuses(error.UnknownTask, "No such task"):
        linked.link(5, "c-77", "after", "c-1")


@pytest.mark.parametrize(("name", "ids"), [("before", ["c-1"]), ("after", ["c_1"])])
def test_what_is_no_member_is_refused(linked, name, ids):
    with linked.refuses(error.BadArgument, "link takes"):
        linked.link(5, "c-3", name, *ids)


def test_at_most_2000_are_told_at_once(linked):
    with linked.refuses(error.BadArgument, "2000 ids"):
        linked.link(5, "c-3", "after", *(f"c-{n}" for n in range(2001)))


def test_without_a_gate_nothing_can_be_told_later(hub):
    with hub.refuses(error.BadArgument, "behind a gate"):
        hub.submit(1, "c-1", after="as c-0", later=1)


def test_a_gate_is_no_task_of_its_own_call(hub):
    with hub.refuses(error.BadArgument, "c-1 is a gate and a task"):
        hub.submit(1, "c-1", gate="c-1")


def test_a_gate_is_no_task_later(hub):
    hub.submit(1, "c-1", gate="c-9")

    with hub.refuses(error.SubmitConflict):
        hub.submit(2, "c-9")


def test_a_gate_is_no_copy(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    with hub.refuses(error.BadArgument, "c-2 is a gate and a task"):
        hub.resubmit(3, ("c-1", "c-2"), gate="c-2")


@pytest.mark.parametrize("said", ["as", "as ", "a c-1", "sf c-1", "as c_1", "as  c-1"])
def test_a_set_that_is_told_later_begins_like_any(hub, said):
    with hub.refuses(error.BadArgument, "flag after cannot be"):
        hub.submit(1, "c-3", gate="c-9", later=1, after=said)
