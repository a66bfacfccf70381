"""Reading records, aborting, and waiting for what the story tells."""

from __future__ import annotations

import pytest

from redtask import error, flows
from redtask.flows import Commands, Hear, acting, reading, story
from redtask.hub import calls
from redtask.hub.records import EngineStatus, Status, mapping
from tests.talks import KEYS, Talk, status

pytestmark = pytest.mark.usefixtures("clock")


def test_records_are_read_in_one_trip():
    talk = Talk(reading.records(KEYS, ["c-0", "c-1"]))

    assert talk.step == Commands(
        [
            ("HGET", KEYS.runs(), "c-0"),
            ("HGET", KEYS.rows(), "c-0"),
            ("HGETALL", KEYS.task("c-0")),
            ("HGET", KEYS.runs(), "c-1"),
            ("HGET", KEYS.rows(), "c-1"),
            ("HGETALL", KEYS.task("c-1")),
        ]
    )
    talk.answer([None, None, [b"state", b"ready"], None, None, {}])
    assert talk.value == [{"state": "ready"}, {}]


ROW = b"-7 1234 24:2:fn8:digest 95:queue1:qargs:\0"


@pytest.mark.parametrize(
    ("run", "more"),
    [
        (None, {"state": "ready"}),
        (
            b"1:n = 0/e 99 =",
            {"state": "running", "token": "1:n", "engine": "0/e", "started": "99"},
        ),
        (
            b"c\x000/e\x001:n\x0099.5\x005 3\x00None\x00a\0b",
            {
                "state": "completed",
                "engine": "0/e",
                "token": "1:n",
                "started": "99.5",
                "took": "5 3",
                "repr": "None",
                "result": "a\0b",
            },
        ),
    ],
)
def test_a_record_may_stand_on_the_sheet(run, more):
    talk = Talk(reading.records(KEYS, ["c-0"]))
    fields = {"fn": "digest 9", "queue": "q", "submitted": "1234", "args": "args:\0"}

    assert talk.answer([run, ROW, []]).value == [fields | more]


@pytest.mark.parametrize("own", [[], [b"state", b"completed"]])
def test_a_record_may_leave_the_sheet_while_it_is_read(own):
    talk = Talk(reading.records(KEYS, ["c-0"]))
    assert [words[1] for words in talk.step.commands[:2]] == [KEYS.runs(), KEYS.rows()]

    talk.answer([b"1:n = 0/e 99 =", None, own])

    assert talk.value == [mapping(own)]


def test_some_fields_are_read_wherever_the_record_stands():
    talk = Talk(reading.fields(KEYS, ["c-0", "c-1"], ("state", "queue", "label")))

    talk.answer([None, None, [b"failed", b"r", b"l"], None, ROW, [None, None, None]])

    assert talk.value == [[b"failed", b"r", b"l"], [b"ready", b"q", None]]


def test_outputs_stand_in_the_record_or_beside_it():
    talk = Talk(reading.outputs(KEYS, ["c-0", "c-1", "c-2"], "stdout"))

    none = [None, None]
    talk.answer([*none, b"short", None, *none, b"", b"long \xff", *none, *none])

    assert talk.value == ["short", "long \ufffd", ""]


def test_aborting_says_a_word_for_each():
    talk = Talk(acting.abort(["c-0", "c-1"]))

    assert talk.asks("abort")[2:] == ["c-0", "c-1"]
    talk.answer(["aborted", "ended"])
    assert talk.value == {"c-0": "aborted", "c-1": "ended"}


def test_what_runs_is_interrupted_before_others_are_looked_at():
    ids = [f"c-{n}" for n in range(flows.CALL + 1)]
    talk = Talk(acting.abort(ids, lambda *said: repr(said).encode()))

    talk.answer(["running w e 1:x"] + ["ended"] * (flows.CALL - 1))
    assert talk.step == Commands([("TIME",)])
    talk.answer([[5, 0]])
    assert talk.asks("tell")[1:] == ["w", b"('w', 65000, 'abort c-0 1:x')"]
    talk.answer(True)
    assert talk.asks("abort")[2:] == ids[flows.CALL :]


def test_what_waits_stands_before_what_it_waits_for_and_all_else_behind():
    ids = [f"c-{n}" for n in range(502)]
    talk = Talk(reading.latest_first(KEYS, ids))

    # Of three priorities, by the order of submission in each.
    places = [None, b"7", 2.0, b"-4398046511099", b"4398046511110", None]
    talk.answer([places + [None] * 494])
    assert talk.step.commands == [("ZMSCORE", KEYS.waiting(), "c-500", "c-501")]
    talk.answer([[b"9", None]])

    latest = ["c-500", "c-1", "c-4", "c-3", "c-2"]
    assert talk.value == latest + [name for name in ids if name not in latest]


def test_engines_that_are_there_are_not_waited_for():
    talk = Talk(story.joined(2, KEYS, None, block=True))

    assert talk.answer([[]], status(2)).over


def test_the_story_tells_of_engines_that_join():
    talk = Talk(story.joined(2, KEYS, None, block=True))
    talk.answer([[(b"8-0", [])]], status(1))
    assert isinstance(talk.step, Hear)
    assert talk.step.words[-2:] == (KEYS.story(), "8-0")

    talk.answer([[b"story", [(b"9-0", [b"event", b"engine joined"])]]], status(1))
    assert talk.step.words[-1] == "9-0"
    talk.answer(error.ConnectionLost("away"), status(1))
    talk.answer(None, status(2))

    assert talk.over


def test_engines_that_do_not_come(clock):
    talk = Talk(story.joined(2, KEYS, 3.0, block=True)).answer([[]], status(0))
    assert talk.step.words[4] == 3000
    clock.now += 3

    talk.answer(None)
    with pytest.raises(TimeoutError, match="1 of 2 engines have joined"):
        talk.answer(status(1))


def test_engines_may_be_looked_for_once():
    talk = Talk(story.joined(1, KEYS, None, block=False)).answer([[]])

    with pytest.raises(error.NoEnginesRegistered, match="0 of 1"):
        talk.answer(status(0))


def has(uuid, tasks):
    return EngineStatus(uuid, 0, "w", ("default",), 0, tasks, 15000, 0, drained=True)


def look():
    return flows.ask(calls.status())


def test_the_story_tells_of_engines_that_have_finished():
    talk = Talk(story.idle(KEYS, {"e"}, look))
    talk.answer([[(b"8-0", [])]], Status({}, {}, (), (has("e", 2), has("f", 1))))
    assert talk.step.words[4:] == (5000, "STREAMS", KEYS.story(), "8-0")

    talk.answer([[b"story", [(b"9-0", [b"event", b"engine drained"])]]])
    talk.answer(Status({}, {}, (), (has("e", 0), has("f", 1))))

    assert talk.over


def test_an_engine_that_is_gone_has_finished():
    talk = Talk(story.idle(KEYS, {"e"}, look)).answer([[]])

    assert talk.answer(Status({}, {}, (), (has("f", 1),))).over
