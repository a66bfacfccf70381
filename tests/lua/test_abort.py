"""abort: these tasks end now, unless an engine has begun them."""

import pytest

from redtask import error
from tests.hubs import error_in, final, interrupted, ok, unbegun, unmet


def test_a_task_that_waits_is_aborted(hub):
    hub.submit(1, "c-1", "c-2")

    assert hub.abort(2, "c-1") == ["aborted"]
    assert (hub.state("c-1"), hub.ready()) == ("aborted", ["c-2"])
    assert hub.record("c-1")["verdict"] == "aborted"


def test_a_task_that_was_placed_is_aborted_and_its_engine_is_free(hub):
    hub.join(1, "e", queues="a,b")
    hub.submit(2, "c-1", queue="b")

    assert hub.abort(3, "c-1") == ["aborted"]
    assert (hub.assigned("e"), hub.free("a"), hub.free("b")) == ([], ["e"], ["e"])


def test_who_came_for_an_aborted_task_gets_the_next(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    hub.abort(3, "c-1")
    hub.check(quiet=True)

    assert [work.task_id for work in hub.take(4, "e")] == ["c-2"]


def test_what_has_begun_is_left_alone(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    assert hub.abort(4, "c-1") == ["running"]
    hub.turn(5, "e", 1, ok(work))
    assert hub.state("c-1") == "completed"


def test_every_id_gets_its_word(hub):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.register(2, "e")
    hub.turn(3, "e", 1, ok(hub.take(3, "e")[0]))

    words = hub.abort(4, "c-9", "c-1", "c-2", "c-3", "c-3", "c-4")

    assert words == ["unknown", "ended", "running", "aborted", "ended", "aborted"]


@pytest.mark.parametrize("name", ["", "c-1:args", "c-1:attempts", "any thing"])
def test_what_is_no_id_is_unknown(hub, name):
    hub.submit(1, "c-1", args=b"x" * 100)

    assert hub.abort(2, name) == ["unknown"]
    assert hub.state("c-1") == "ready"


def test_an_abort_again_changes_nothing(hub):
    hub.submit(1, "c-1", "c-2")
    hub.abort(2, "c-1")
    before = hub.dump()

    assert hub.abort(3, "c-1") == ["ended"]
    assert hub.dump() == before


def test_an_aborted_task_is_not_tried_again(hub):
    hub.submit(1, "c-1", retries=5)
    hub.register(2, "e")
    hub.turn(3, "e", 0, error_in(hub.take(3, "e")[0]))

    hub.abort(4, "c-1")

    assert (hub.state("c-1"), hub.take(5, "e")) == ("aborted", [])


def test_the_client_is_told(hub):
    hub.submit(1, "c-1")
    hub.watch(2, "c")

    hub.abort(3, "c-1")

    assert hub.done("c") == [("c-1", b"a\0vaborted on request")]
    (outcome,) = hub.watch(4, "", "c-1").outcomes
    assert (outcome.state, outcome.kind) == ("aborted", "v")
    assert outcome.payload == b"aborted on request"


def test_an_engine_that_is_gone_does_not_matter(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.gone(3, "e")

    assert hub.abort(4, "c-1") == ["aborted"]


def test_at_most_500_are_aborted_at_once(hub):
    ids = [f"c-{n}" for n in range(500)]
    hub.submit(1, *ids)

    with hub.refuses(error.BadArgument, "at most 500 ids"):
        hub.abort(2, *ids, "c-500")

    assert hub.abort(3, *ids) == ["aborted"] * 500
    assert hub.ready() == []


def test_nothing_is_aborted_by_no_id(hub):
    assert hub.abort(1) == []


# What runs


@pytest.fixture
def running(hub):
    """A hub whose engine runs c-1, which has retries left."""
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=5)
    hub.submit(2, "c-2", after="af c-1")
    (hub.work,) = hub.take(3, "e")
    return hub


def test_what_runs_goes_on_unless_it_is_said(running):
    assert running.abort(4, "c-1") == ["running"]

    running.report(5, "e", error_in(running.work))

    assert running.record("c-1")["tries"] == "1"
    assert running.state("c-1") == "ready"


def test_the_word_says_whom_to_tell_and_which_try_is_meant(running):
    word = running.abort(4, "c-1", running=True)

    assert word == [f"running w e {running.work.token}"]
    assert running.abort(5, "c-1", running=True) == word
    assert running.record("c-1")["marks"].count("x") == 1


@pytest.mark.parametrize("how", [error_in, final, unmet, unbegun, interrupted])
def test_whatever_becomes_of_the_try_it_ends_aborted(running, how):
    running.abort(4, "c-1", running=True)

    running.report(5, "e", how(running.work))

    record = running.record("c-1")
    assert (record["state"], record["verdict"]) == ("aborted", "aborted")
    assert running.state("c-2") != "waiting"


def test_unless_it_was_quicker(running):
    running.abort(4, "c-1", running=True)

    running.report(5, "e", ok(running.work))

    assert running.state("c-1") == "completed"


def test_its_engine_may_die_of_it(running):
    running.abort(4, "c-1", running=True)

    running.gone(5, "e", "c-1")

    assert running.record("c-1")["verdict"] == "aborted"


def test_it_may_be_killed_for_it_before_it_began(running):
    running.abort(4, "c-1", running=True)

    running.gone(5, "e")

    assert running.record("c-1")["verdict"] == "aborted"


def test_a_lease_may_be_over_before_it_is_interrupted(running):
    running.abort(4, "c-1", running=True)

    for stamp in (5, 7000, 14000, 16000):
        running.sweep(stamp)

    assert running.record("c-1")["verdict"] == "aborted"


def test_an_engine_that_forgot_it_does_not_get_it_again(running):
    running.abort(4, "c-1", running=True)

    running.live(5, "e")

    assert running.record("c-1")["verdict"] == "aborted"


@pytest.mark.parametrize("options", [{}, {"after": "as c-9"}, {"targets": "0"}])
@pytest.mark.parametrize("count", [1, 3])
def test_a_queue_that_nobody_served_goes_with_its_last_task(hub, options, count):
    hub.register(1, "e")
    hub.submit(1, "c-9")
    ids = [f"c-{number}" for number in range(1, count + 1)]
    hub.submit(2, *ids, queue="tenant", **options)

    hub.abort(3, *ids)

    assert [queue.name for queue in hub.status(4).queues] == ["default"]
