"""Tasks whose arguments are results of others keep those as long as they are kept."""

import pytest

from redtask import error
from redtask.hub.records import Purged
from tests.hubs import error_in, ok

WEEK = 604_800_000
#: What is added to the expiry of a task with a retention of its own.
OWN = 2**51


@pytest.fixture
def family(hub):
    """A hub with a parent that has ended, soon to be forgotten, and a child."""
    hub.join(1, "e")
    hub.submit(2, "c-1", ttl=100)
    (work,) = hub.take(3, "e")
    hub.submit(3, "c-2", after="as c-1", refs="c-1")
    hub.turn(4, "e", 0, ok(work))
    return hub


def test_a_parent_is_counted(family):
    record = family.record("c-1")

    assert record["kept"] == "1"
    assert "k" in record["marks"]


def test_a_parent_outlives_its_time_while_a_child_waits(family):
    family.sweep(105)

    assert family.state("c-1") == "completed"
    assert (
        family.redis.zscore(family.key("ended", "completed"), "c-1") == OWN + 3_600_105
    )


def test_a_parent_is_kept_while_the_child_is(family):
    (work,) = family.take(5, "e")
    family.turn(6, "e", 0, ok(work))

    family.sweep(3_700_000)

    assert family.state("c-1") == "completed"


def test_with_its_last_child_a_parent_may_go(family):
    family.submit(5, "c-3", after="as c-1", refs="c-1", ttl=50)
    family.submit(5, "c-4", refs="c-1 c-1", ttl=50)
    for _ in range(3):
        (work,) = family.take(6, "e")
        family.turn(6, "e", 0, error_in(work))

    family.sweep(7 + WEEK)
    family.sweep(3_700_000 + WEEK)

    names = ("c-1", "c-2", "c-3", "c-4")
    assert not any(family.redis.exists(family.keys.task(name)) for name in names)


def make_chain(hub, *names, **flags):
    """Let tasks end, each with the result of the one before among its arguments."""
    hub.join(1, "e")
    for before, name in zip((None, *names), names, strict=False):
        refs = {} if before is None else {"after": f"as {before}", "refs": before}
        hub.submit(2, name, ttl=50, **refs, **flags)
    for _ in names:
        (work,) = hub.take(3, "e")
        hub.turn(4, "e", 0, ok(work))


def left_of(hub, *names):
    return [name for name in names if hub.redis.exists(hub.keys.task(name))]


def test_all_of_a_chain_go_when_its_last_may(hub):
    names = [f"c-{number}" for number in range(1, 7)]
    make_chain(hub, *names)

    hub.sweep(60)

    assert left_of(hub, *names) == []


def test_a_long_chain_goes_in_pieces_without_delay(hub):
    names = [f"c-{number}" for number in range(1, 7)]
    make_chain(hub, *names)

    left = [len(left_of(hub, *names)) for _ in range(4) if hub.sweep(60, 3).more]

    assert left == [6, 5, 2]
    assert left_of(hub, *names) == []


def test_a_parent_whose_time_is_over_goes_after_a_purge_of_its_child(family):
    (work,) = family.take(5, "e")
    family.turn(6, "e", 0, ok(work))
    family.sweep(105)
    assert "p" in family.record("c-1")["marks"]

    family.purge(106, "c-2")
    family.sweep(107)

    assert left_of(family, "c-1", "c-2") == []


def test_a_parent_whose_time_is_not_over_stays(hub):
    make_chain(hub, "c-1", "c-2")
    hub.redis.zadd(hub.key("ended", "completed"), {"c-1": 1000})

    hub.sweep(60)

    assert left_of(hub, "c-1", "c-2") == ["c-1"]
    assert hub.redis.zscore(hub.key("ended", "completed"), "c-1") == 1000


def test_a_parent_that_is_unknown_is_nothing(hub):
    hub.submit(1, "c-1", refs="x-9")

    assert hub.state("c-1") == "ready"


def test_a_long_list_of_parents_stands_beside_the_record(hub):
    names = [f"c-{n}" for n in range(30)]
    hub.submit(1, *names, ttl=50)
    hub.submit(2, "c-99", refs=" ".join(names), ttl=50)
    assert hub.record("c-99")["refs"] == ""
    hub.abort(3, *names, "c-99")

    hub.sweep(60, 500)
    hub.sweep(4_000_000, 500)

    assert not any(hub.redis.exists(hub.keys.task(name)) for name in names)


def test_a_result_that_is_not_there_yet_is_kept_by_nobody(hub):
    hub.submit(1, "c-2", refs="c-1")
    hub.submit(1, "c-1")

    assert "refs" not in hub.record("c-2")
    assert "kept" not in hub.record("c-1")


def test_a_task_cannot_have_its_own_result_as_an_argument(hub):
    with hub.refuses(error.BadArgument, "c-1 cannot have its own result"):
        hub.submit(1, "c-1", refs="c-1")


# Results that are told later


@pytest.fixture
def told(hub):
    """A hub with parents, and a task behind a gate that is told which it needs."""
    hub.submit(1, "c-1", "c-2", "c-3", ttl=50)
    hub.submit(2, "c-4", after="as c-1 c-2 c-3", gate="c-9", later=1, ttl=50)
    return hub


def kept_of(hub, *names):
    return [hub.record(name).get("kept") for name in names]


def test_results_are_kept_as_they_are_told(told):
    told.link(3, "c-4", "refs:0", "c-1", "c-2")
    assert kept_of(told, "c-1", "c-2", "c-3") == ["1", "1", None]

    told.link(4, "c-4", "refs:2", "c-3")

    assert kept_of(told, "c-1", "c-2", "c-3") == ["1", "1", "1"]
    assert told.redis.get(told.keys.task("c-4", "refs")) == b"c-1 c-2 c-3"


def test_results_that_are_told_twice_are_kept_once(told):
    told.link(3, "c-4", "refs:0", "c-1", "c-2")
    told.link(4, "c-4", "refs:2", "c-3")

    assert told.link(5, "c-4", "refs:0", "c-1", "c-2") == 2
    assert told.link(5, "c-4", "refs:2", "c-3") == 1

    assert kept_of(told, "c-1", "c-2", "c-3") == ["1", "1", "1"]


def test_told_results_that_are_not_there_are_kept_by_nobody(told):
    told.link(3, "c-4", "refs:0", "x-1", "c-1")
    told.link(4, "c-4", "refs:2", "x-2")
    told.link(5, "c-4", "refs:3", "c-2")

    assert told.redis.get(told.keys.task("c-4", "refs")) == b"c-1 c-2"


@pytest.mark.parametrize("count", [1, 30])
def test_more_results_may_be_told_than_it_began_with(told, count):
    names = [f"d-{number}" for number in range(count)]
    told.submit(3, *names)
    told.submit(3, "c-5", gate="c-9", after="as c-1", refs=" ".join(names))

    told.link(4, "c-5", "refs:0", "c-1")

    assert told.redis.get(told.keys.task("c-5", "refs")).decode().split() == [
        *names,
        "c-1",
    ]
    assert told.record("c-5")["refs"] == ""


def test_told_results_are_needed_no_longer_than_the_task(told):
    told.link(3, "c-4", "refs:0", "c-1", "c-2", "c-3")
    told.abort(4, "c-1", "c-2", "c-3")
    told.sweep(60)
    assert left_of(told, "c-1", "c-2", "c-3") == ["c-1", "c-2", "c-3"]

    told.abort(60, "c-4")
    told.sweep(120)

    assert left_of(told, "c-1", "c-2", "c-3", "c-4") == []


def test_behind_an_open_gate_no_results_are_told(told):
    told.open_gate(3, "c-9")

    assert told.link(4, "c-4", "refs:0", "c-1") == 0
    assert kept_of(told, "c-1") == [None]


@pytest.mark.parametrize("name", ["refs", "refs:", "refs:-1", "refs:x", "refs:1.5"])
def test_where_results_are_told_is_a_number(told, name):
    with told.refuses(error.BadArgument, "link takes"):
        told.link(3, "c-4", name, "c-1")


def test_a_task_is_not_told_that_it_needs_its_own_result(told):
    with told.refuses(error.BadArgument, "ids of others"):
        told.link(3, "c-4", "refs:0", "c-4")


@pytest.fixture
def many(hub):
    """A hub with an aborted task that needs the results of 1,000 others."""
    names = [f"c0ffee00c0ffee00-{number}" for number in range(1000)]
    hub.submit(1, *names[:500], ttl=50)
    hub.submit(1, *names[500:], ttl=50)
    hub.submit(2, "c-1", after=f"as {names[0]}", gate="c-9", later=1, ttl=50)
    for at in range(0, 1000, 100):
        hub.link(3, "c-1", f"refs:{at}", *names[at : at + 100])
    hub.abort(4, *names[:500])
    hub.abort(4, *names[500:])
    hub.abort(4, "c-1")
    return hub


def needed(hub):
    """Return how many tasks are kept for others."""
    names = (name for name in hub.tasks() if name != "c-1")
    return sum("kept" in hub.record(name) for name in names)


def test_who_needs_very_many_goes_in_pieces(many):
    many.redis.zadd(many.key("ended", "aborted"), {"c-1": 1})
    left = []

    while many.sweep(50, 1).more and left_of(many, "c-1"):
        left.append(needed(many))

    assert left == [619, 238]
    assert needed(many) == 0


def test_who_needs_very_many_is_purged_in_pieces(many):
    purged = [many.purge(5, "c-1") for _ in range(3)]

    assert purged == [Purged(0, 0, 1), Purged(0, 0, 1), Purged(1)]
    assert needed(many) == 0
