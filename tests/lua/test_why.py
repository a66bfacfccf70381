"""why: for what a task waits, who refused it, who could take it."""

import json

import pytest

from redtask import error
from redtask.hub.why import Engines, Member, Refusal
from tests.hubs import error_in, ok, unmet


def test_who_waits_for_others_names_them(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.submit(1, "c-4", after="as c-1 c-2", follow="ns c-3 c-1")
    hub.end(2, "ok")

    why = hub.why(3, "c-4")

    assert (why.state, why.open_after, why.open_follow) == ("waiting", 1, 1)
    assert why.members == (
        Member("after", "c-2", "ready"),
        Member("follow", "c-3", "ready"),
    )
    assert "c-4 is waiting: 1 task has not ended that it is to run after" in str(why)
    assert "Not ended: c-2 (ready), c-3 (ready)." in str(why)


def test_words_that_have_a_full_stop_or_were_cut_get_no_other(hub):
    hub.submit(1, "c-1", "c-2")
    hub.register(2, "e")
    for now, words in ((3, "It is wrong."), (4, "xxx...")):
        (work,) = hub.take(now, "e")
        hub.turn(now, "e", 0, error_in(work, evalue=words))

    assert str(hub.why(5, "c-1")) == "c-1 is failed: it raised ValueError: It is wrong."
    assert str(hub.why(5, "c-2")).endswith("xxx...")


def test_no_more_than_ten_are_named(hub):
    many = [f"c-{n}" for n in range(15)]
    hub.submit(1, *many)
    hub.submit(1, "d-1", after="as " + " ".join(many))

    why = hub.why(2, "d-1")

    assert (why.open_after, len(why.members)) == (15, 10)
    assert "and 5 more" in str(why)


def test_who_waits_for_a_time_says_when(hub):
    hub.submit(1000, "c-1", start_in=5000)

    why = hub.why(3000, "c-1")

    assert why.start.timestamp() == 6
    assert "it is not to start for another 3.0 s" in str(why)
    assert json.loads(json.dumps(why.as_dict()))["start"] == "1970-01-01T00:00:06+00:00"


@pytest.mark.parametrize("engines", [1, 2])
def test_who_waits_says_if_nobody_that_lives_may_take_it_then(hub, engines):
    hub.register(1, "e")
    hub.submit(2, "c-1", targets="0", start_in=9000)
    for number in range(engines):
        hub.register(3, f"f{number}")
    before = str(hub.why(4, "c-1"))

    hub.gone(5, "e")

    nobody = {
        1: "the only engine of its queue may not take it as things are",
        2: "none of the 2 engines of its queue may take it as things are",
    }[engines]
    assert f"{nobody}; its target is engine 0" in str(hub.why(6, "c-1"))
    assert "may" not in before


def test_who_is_tried_again_says_how_often_it_was(hub):
    hub.submit(1, "c-1", retries=3, pause="5000 1 0")
    hub.register(2, "e")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 1, error_in(work))

    why = hub.why(1004, "c-1")

    assert (why.state, why.tries) == ("waiting", 1)
    assert "another 4.0 s; 1 of 4 tries failed." in str(why)


def test_a_long_time_is_told_in_hours_and_days(hub):
    hub.submit(1000, "c-1", start_in=93_784_000)

    assert "it is not to start for another 1 day, 2:03:04" in str(hub.why(1000, "c-1"))


def test_who_stands_behind_a_gate_names_it(hub):
    hub.submit(1, "c-1", gate="c-9")

    why = hub.why(2, "c-1")

    assert why.gate == "c-9"
    assert "behind the gate c-9 is not complete yet" in str(why)


def test_a_budget_is_told_while_it_counts(hub):
    hub.submit(1000, "c-1", timeout=5000)

    assert hub.why(2000, "c-1").left == 4.0
    hub.register(2000, "e")
    hub.take(2000, "e")
    assert hub.why(2500, "c-1").left is None


def test_a_queue_that_nobody_serves(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", queue="night")

    why = hub.why(3, "c-1")

    assert why.engines == Engines(0, 0, 0)
    assert "no engine lives that serves the queue night" in str(why)
    assert "Start a worker for the queue night." in str(why)


def test_engines_that_are_busy(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2", "c-3", "c-4")

    why = hub.why(3, "c-4")

    assert (why.state, why.line, why.before) == ("ready", "", 1)
    assert why.engines == Engines(2, 2, 0)
    assert "all 2 engines that may take it are busy, and 1 stands before it" in str(why)


def test_targets_that_are_busy(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2", targets="1")

    why = hub.why(3, "c-2")

    assert (why.line, why.engines) == ("=1", Engines(2, 1, 0))
    assert "the only engine that may take it is busy; its target is engine 1." in (
        str(why)
    )
    assert "It runs when that has time." in str(why)


def test_who_refused_it_and_with_what_words(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1")
    for engine, words in (("e", "no numpy"), ("f", "too\tcold")):
        (work,) = hub.take(3, engine)
        hub.turn(4, engine, 1, unmet(work, words))

    why = hub.why(5, "c-1")

    assert why.refusals == (Refusal(0, "no numpy"), Refusal(1, "too\tcold"))
    assert why.engines == Engines(2, 0, 0)
    assert "none of the 2 engines of its queue may take it" in str(why)
    assert "the engines 0-1 refused it or failed it" in str(why)
    assert "Engine 0 refused it: no numpy." in str(why)
    assert "A new engine may take it." in str(why)


def test_who_lacks_what_the_function_requires(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 1, unmet(work, by="require"))

    assert "engine 0 lacks what its function requires" in str(hub.why(5, "c-1"))


def test_what_an_engine_has(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    assert "engine 0 is to take it next" in str(hub.why(3, "c-1"))

    (work,) = hub.take(4, "e")
    assert "engine 0 runs it" in str(hub.why(5, "c-1"))

    hub.turn(6, "e", 1, ok(work))
    why = hub.why(7, "c-1")
    assert str(why) == "c-1 is completed: it ran on engine 0."
    assert (why.engine_id, why.engines) == (0, None)


def test_why_it_ended_badly(hub):
    hub.submit(1, "c-1", retries=1)
    hub.submit(1, "c-2", after="as c-1")
    hub.submit(1, "c-3", queue="night")
    hub.register(2, "e")
    for now in (3, 4):
        (work,) = hub.take(now, "e")
        hub.turn(now, "e", 0, error_in(work))
    hub.abort(5, "c-3")
    hub.resubmit(6, ("c-1", "d-1"))

    assert "it raised ValueError: no in the last of 2 tries" in str(hub.why(7, "c-1"))
    assert "it was resubmitted as d-1" in str(hub.why(7, "c-1"))
    assert "c-2 is failed: impossible: after c-1: failed." in str(hub.why(7, "c-2"))
    assert str(hub.why(7, "c-3")) == "c-3 is aborted: on request."


@pytest.mark.parametrize("name", ["c-9", "", "c-1:args"])
def test_a_task_that_is_none(hub, name):
    with hub.refuses(error.UnknownTask, f"No such task: {name}"):
        hub.why(1, name)


def test_nobody_is_waited_for_whose_set_is_met(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="ns c-1 c-2", start_in=5000)
    hub.end(2, "ok")

    why = hub.why(3, "c-3")

    assert (why.state, why.open_after, why.members) == ("waiting", 0, ())
