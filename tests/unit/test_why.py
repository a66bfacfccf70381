"""What is said of a task that is ready, from the hub's reply."""

from __future__ import annotations

from pathlib import Path

import pytest

from redtask.flows import Commands, reading
from redtask.hub import why
from redtask.hub.why import Engines, Why, Whys
from tests.talks import KEYS, Talk

LUA = Path(__file__).parents[2] / "lua" / "why.lua"


def reply(**facts):
    facts = {"state": "ready", "line": "", "before": 0, **facts}
    return ["ok", [str(word) for pair in facts.items() for word in pair], [], []]


def counts(living, admitted=0, free=0, drained=0):
    return {"living": living, "admitted": admitted, "free": free, "drained": drained}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (counts(0), "none serves the queue default"),
        ({**counts(1000), "targets": "1150"},
         "none may take it; its target is engine 1150"),
        (counts(7, 1), "1 may take it, and is busy"),
        ({**counts(7, 3), "before": 2},
         "3 may take it, and are busy, and 2 stand before it"),
        (counts(7, 3, 0, 1), "3 may take it, and are busy or drained (1)"),
        (counts(7, 3, 0, 3), "3 may take it, and are drained"),
    ],
)  # fmt: skip
def test_of_very_many_engines_it_is_said_that_not_all_were_looked_at(facts, said):
    found = Why.read("c-1", reply(**facts), engines=1150)

    assert str(found) == (
        f"c-1 is ready: of the first 1,000 engines looked at, {said}.\n"
        "It runs when an engine that may take it has time."
    )
    assert found.as_dict()["engines"]["looked_at"] == 1000


def test_what_is_true_however_many_engines_there_are_is_said_as_ever():
    paused = Why.read("c-1", reply(**counts(1000, 1000, 5), paused=1), engines=1150)
    free = Why.read("c-1", reply(**counts(1000, 1000, 5)), engines=1150)

    assert "its queue, default, is paused" in str(paused)
    assert str(free) == "c-1 is ready: an engine with room is about to take it."


def test_of_engines_that_all_serve_its_queue_the_hub_counts_no_more_than_it_looks_at():
    many = Why.read("c-1", reply(**counts(1000, 1000)))
    exactly = Why.read("c-1", reply(**counts(1000, 1000)), engines=1000)

    assert "of the first 1,000 engines looked at, 1000 may take it" in str(many)
    assert "all 1000 engines that may take it are busy" in str(exactly)
    assert exactly.engines == Engines(1000, 1000, 0)


def test_the_hub_is_asked_how_many_engines_there_are():
    talk = Talk(reading.why(KEYS, ["c-1", "c-2"]))

    assert talk.step == Commands([("ZCARD", KEYS.engines())])
    talk.answer([1150])
    for name in ("c-1", "c-2"):
        assert talk.asks("why")[1:] == [name]
        talk.answer(talk.step.read(reply(**counts(7))))
    assert [one.engines and one.engines.looked_at for one in talk.value or ()] == [
        1000,
        1000,
    ]


def test_the_hub_looks_at_as_many_as_is_said():
    assert f"local MOST_ENGINES = {why.MOST_ENGINES}\n" in LUA.read_text()


def why_of(name, **facts):
    return Why.read(name, reply(**facts), engines=7)


def test_what_is_the_same_of_several_tasks_is_said_once():
    found = Whys(
        [
            why_of("c-1", **counts(0)),
            why_of("c-2", state="completed", engine="3/abc"),
            *(why_of(f"c-{number}", **counts(0)) for number in range(3, 6)),
        ]
    )

    assert str(found) == (
        "c-1 is ready: no engine lives that serves the queue default.\n"
        "Start a worker for the queue default.\n"
        "Likewise c-3, c-4 and c-5.\n"
        "c-2 is completed: it ran on engine 3."
    )
    assert list(found.as_dict()) == ["c-1", "c-2", "c-3", "c-4", "c-5"]
    assert found.as_dict()["c-2"] == found[1].as_dict()


def test_very_many_tasks_of_which_the_same_is_true_are_counted():
    found = Whys(why_of(f"c-{number}", **counts(0)) for number in range(100))

    assert str(found).endswith("\nLikewise c-1, c-2, c-3, c-4, c-5, c-6, c-7, c-8, "
                               "c-9, c-10 and 89 more.")  # fmt: skip
    assert str(Whys(found[:2])).endswith("\nLikewise c-1.")
    assert str(Whys()) == "There are no tasks."


def test_who_lacks_a_module_is_told_where_engines_look_for_it():
    facts = {"state": "failed", "engine": "0/abc", "evalue": "No module named 'x'"}

    found = why_of("c-1", ename="ModuleNotFoundError", **facts)

    assert str(found) == (
        "c-1 is failed: it raised ModuleNotFoundError: No module named 'x'.\n"
        "Engines import from the folder where their worker was started, PYTHONPATH, "
        "and the packages of its Python; the traceback names them."
    )
    assert why_of("c-1", ename="ImportError", **facts).remedies == ()
