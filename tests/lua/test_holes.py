"""The holes of the original, in which tasks waited forever or vanished.

H1 to H12 as the study of IPython.parallel numbers them (its section 2.5).
"""

import pytest

from redtask import error
from tests.hubs import error_in, interrupted, ok, unmet


@pytest.fixture
def pair(hub):
    """A hub with two engines; engine 0 is about to end c-1, engine 1 has c-2."""
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2")
    hub.works = {name: hub.take(3, name)[0] for name in "ef"}
    return hub


def verdict(hub, name):
    """Return how the hub ended a task, and why."""
    record = hub.record(name)
    return record["state"], record["verdict"], record["reason"]


def test_h01_the_engine_to_follow_has_died(pair):
    # The original waited forever, also after new engines joined.
    pair.report(4, "e", ok(pair.works["e"]))
    pair.submit(5, "c-3", follow="as c-1")
    pair.submit(5, "c-4", follow="as c-1", after="as c-2")

    pair.gone(6, "e")
    assert verdict(pair, "c-3")[:2] == ("failed", "impossible")
    pair.report(7, "f", ok(pair.works["f"]))

    assert verdict(pair, "c-4")[:2] == ("failed", "impossible")


def test_h02_the_engine_to_follow_is_no_target(pair):
    # The original waited forever.
    pair.report(4, "e", ok(pair.works["e"]))

    pair.submit(5, "c-3", follow="as c-1", targets="1")

    assert verdict(pair, "c-3")[:2] == ("failed", "impossible")


def test_h03_no_engine_that_a_follow_any_allows_is_admissible(pair):
    # The original waited forever; here it is known as soon as all members have ended.
    pair.submit(4, "c-3", follow="ns c-1 c-2", targets="1")

    pair.report(5, "e", ok(pair.works["e"]))
    assert pair.state("c-3") == "waiting"
    pair.gone(6, "f", "c-2")

    assert verdict(pair, "c-3")[:2] == ("failed", "impossible")


@pytest.mark.parametrize("how", [unmet, error_in])
def test_h04_the_only_engine_to_follow_refused_or_failed_it(pair, how):
    # The original waited forever and forgot the error.
    pair.report(4, "e", ok(pair.works["e"]))
    pair.submit(5, "c-3", follow="as c-1", retries=1, elsewhere=1)
    (work,) = pair.take(6, "e")

    pair.turn(7, "e", 1, how(work))

    state, kind, reason = verdict(pair, "c-3")
    assert (state, kind) == ("failed", "impossible")
    assert ("no numpy" if how is unmet else "ValueError: no") in reason


def test_h05_who_is_refused_by_all_waits_for_an_engine_that_joins(pair):
    # Documented in the original, but invisible: here the record says who refused it.
    for name in "ef":
        pair.turn(4, name, 0, ok(pair.works[name]))
    pair.submit(5, "c-3", timeout=60000)
    for name in "ef":
        pair.live(6, name)
        for work in pair.take(6, name):
            pair.turn(7, name, 0, unmet(work))

    assert (pair.record("c-3")["not"], pair.state("c-3")) == ("0-1", "ready")
    pair.join(8, "g")

    assert pair.held("g") == ["c-3"]


def test_h05_its_timeout_bounds_that(pair):
    pair.submit(4, "c-3", timeout=300)
    (work,) = pair.turn(5, "e", 1, ok(pair.works["e"])).work
    pair.turn(6, "e", 0, unmet(work))
    pair.gone(7, "f")

    pair.sweep(400)

    assert verdict(pair, "c-3")[:2] == ("failed", "timeout")


def test_h06_more_retries_than_engines(hub):
    # The original waited for a further engine, and the caller never saw the error.
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=3)
    for stamp in range(3, 7):
        (work,) = hub.take(stamp, "e")
        hub.turn(stamp, "e", 0, error_in(work))

    record = hub.record("c-1")
    assert (record["state"], record["tries"], record["error"]) == (
        "failed",
        "4",
        "error",
    )


def test_h07_an_aborted_task_is_never_tried_again(pair):
    # In the original each engine answered "aborted", which counted as a failure.
    pair.submit(4, "c-3", retries=9)
    (work,) = pair.turn(5, "e", 1, ok(pair.works["e"])).work
    assert pair.abort(6, "c-3", running=True)[0].startswith("running w e ")

    pair.turn(7, "e", 0, interrupted(work))

    assert verdict(pair, "c-3")[:2] == ("aborted", "aborted")


def test_h08_a_member_that_never_ran_allows_no_engine(pair):
    # In the original the task vanished.
    pair.submit(4, "c-3", after="as x-9")

    pair.submit(5, "c-4", follow="af c-3")

    assert verdict(pair, "c-4")[:2] == ("failed", "impossible")


def test_h08_but_another_that_ran_does(pair):
    pair.submit(4, "c-3", after="as x-9")
    pair.submit(5, "c-4", follow="asf c-3 c-1")

    (work,) = pair.turn(6, "e", 1, ok(pair.works["e"])).work

    assert work.task_id == "c-4"


def test_h09_impossible_beside_a_member_with_dependents(pair):
    # In the original the task vanished.
    pair.turn(4, "e", 0, error_in(pair.works["e"]))
    pair.submit(5, "c-3", after="as c-2")

    pair.submit(6, "c-4", after="as c-2 c-1")

    assert verdict(pair, "c-4")[:2] == ("failed", "impossible")
    pair.turn(7, "f", 0, ok(pair.works["f"]))
    assert pair.state("c-3") != "waiting"


def test_h10_a_task_that_any_member_started_cannot_be_placed(pair):
    # In the original the task vanished when the other member had dependents.
    pair.submit(4, "c-3", after="as c-2")
    pair.submit(4, "c-4", after="ns c-1 c-2", targets="0")
    (work,) = pair.turn(5, "e", 1, ok(pair.works["e"])).work

    pair.turn(6, "e", 0, unmet(work))

    assert work.task_id == "c-4"
    assert verdict(pair, "c-4")[:2] == ("failed", "impossible")


def test_h11_a_scheme_that_cannot_be_is_refused_at_the_start(make_hub):
    # The original started `weighted` without numpy and lost each task that it placed.
    hub = make_hub()
    hub.scheme = "weighted"

    with pytest.raises(error.HubError) as refused:
        hub.submit(1, "c-1")

    assert refused.value.code == "SCHEME"


def test_h12_tasks_bound_to_one_engine_may_be_depended_on(pair):
    # In the original jobs of a direct view were unknown to the scheduler.
    pair.submit(4, "c-3", targets="0")
    pair.submit(5, "c-4", after="as c-3")
    (work,) = pair.turn(6, "e", 1, ok(pair.works["e"])).work
    assert work.task_id == "c-3"

    (work,) = pair.turn(7, "e", 1, ok(work)).work

    assert work.task_id == "c-4"
