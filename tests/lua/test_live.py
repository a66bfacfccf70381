"""attend and say: what tasks say while they run, and who listens."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Life
from tests.hubs import error_in, ok

OTHER = {"token": "1:other"}


@pytest.fixture
def busy(hub):
    """A hub with an engine that runs c-1."""
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (hub.work,) = hub.take(3, "e")
    return hub


def attend(hub, now, *ids):
    return hub.do(calls.attend(ids, now=now))


def say(hub, now, work, *fields):
    (heard,) = hub.do(calls.say([(work.task_id, work.token, fields)], now=now))
    return heard


def heard(hub, task):
    """Return what a task's stream tells, in pairs."""
    entries = hub.redis.xrange(hub.keys.live(task))
    return [
        (name.decode(), value.decode())
        for _, fields in entries
        for name, value in fields.items()
    ]


def test_who_listens_is_told_where_each_task_is(busy):
    busy.submit(4, "c-2")

    running, ready, none = attend(busy, 5, "c-1", "c-2", "c-9")

    assert running == ("running", "w", "0/e", busy.work.token)
    assert ready == ("ready", "", "", "")
    assert none == ("unknown", "", "", "")


def test_the_stream_tells_when_a_try_begins_and_when_the_task_ends(busy):
    busy.submit(4, "c-2", retries=1)
    attend(busy, 5, "c-2")

    (first,) = busy.turn(6, "e", 1, ok(busy.work)).work
    (second,) = busy.turn(7, "e", 1, error_in(first)).work or busy.take(8, "e")
    busy.report(9, "e", ok(second))

    assert heard(busy, "c-2") == [
        ("begun", f"w 0/e {first.token}"),
        ("begun", f"w 0/e {second.token}"),
        ("ended", "completed"),
    ]
    assert 0 < busy.redis.pttl(busy.keys.live("c-2")) <= 60_000


def test_a_task_in_the_bell_is_told_of_too(hub):
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=2))
    hub.submit(3, "c-1", start_in=6)
    attend(hub, 4, "c-1")

    hub.sweep(10)

    assert heard(hub, "c-1") == [("begun", "w 0/e 1:n2")]


def test_progress_stands_in_the_record_and_costs_no_stream(busy):
    assert say(busy, 4, busy.work, "progress", "0.4 reading")

    assert busy.record("c-1")["progress"] == "0.4 reading"
    assert not busy.redis.exists(busy.keys.live("c-1"))


def test_what_is_said_reaches_who_listens(busy):
    attend(busy, 4, "c-1")

    said = ("stdout", "0 one\n", "stderr", "0 two\n", "progress", "0.5 half")
    assert say(busy, 5, busy.work, *said)

    token = busy.work.token
    assert heard(busy, "c-1") == [
        ("stdout", f"{token} 0 one\n"),
        ("stderr", f"{token} 0 two\n"),
        ("progress", f"{token} 0.5 half"),
    ]


def test_what_is_said_of_another_try_is_stale(busy):
    attend(busy, 4, "c-1")
    stale = busy.work._replace(**OTHER)

    assert not say(busy, 5, stale, "progress", "0.4 reading")

    assert heard(busy, "c-1") == []
    assert "progress" not in busy.record("c-1")


def test_an_ended_task_says_nothing_and_is_not_marked(busy):
    busy.report(4, "e", ok(busy.work))

    assert not say(busy, 5, busy.work, "progress", "1 done")
    ((state, *_),) = attend(busy, 6, "c-1")

    assert state == "completed"
    assert "marks" not in busy.record("c-1")


def test_a_stream_is_short(busy):
    attend(busy, 4, "c-1")

    for number in range(70):
        say(busy, 5, busy.work, "stdout", f"{number} x")

    told = heard(busy, "c-1")
    assert (len(told), told[-1][1]) == (64, f"{busy.work.token} 69 x")


def test_an_outcome_brings_the_latest_progress(busy):
    busy.report(4, "e", error_in(busy.work, progress="0.9 writing"))

    assert busy.record("c-1")["progress"] == "0.9 writing"


@pytest.mark.parametrize(
    "fields",
    [
        ("result", "x"),
        ("progress", "x" * 65),
        ("stdout", "x" * 65_537),
    ],
)
def test_what_is_said_must_be_understood(busy, fields):
    with busy.refuses(error.BadArgument):
        say(busy, 4, busy.work, *fields)


def test_a_count_that_does_not_fit_is_refused(busy):
    call = calls.say([])

    with busy.refuses(error.BadArgument):
        busy.do(
            calls.Call("say", (4, "c-1", busy.work.token, 2, "progress"), call.read)
        )


def test_nobody_listens_to_more_than_500_at_once(hub):
    with hub.refuses(error.BadArgument):
        attend(hub, 1, *(f"c-{number}" for number in range(501)))


# -- the last words of a task whose engine died


def die(hub, now, work, *said, late=False):
    last = (work.task_id, work.token, *said)
    life = Life("e", 0, [work.task_id], "killed by signal 9", late=late, last=last)
    return hub.do(calls.beat("w", [life], now=now))


@pytest.mark.parametrize("late", [False, True])
def test_what_a_task_printed_before_its_engine_died_is_kept(busy, late):
    die(busy, 4, busy.work, "stdout", "x" * 100, "stderr", "no memory", late=late)

    record = busy.record("c-1")
    assert record["state"] == "failed"
    assert (record["stdout"], record["stderr"]) == ("", "no memory")
    assert busy.redis.get(busy.keys.task("c-1", "stdout")) == b"x" * 100
    assert busy.attempts("c-1")[0][4] == (
        "killed by signal 9; it printed last: no memory"
    )


def test_a_further_try_begins_without_the_last_words_of_the_one_before(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", retries=1)
    (work,) = hub.take(3, "e")

    die(hub, 4, work, "stdout", "so far")
    (again,) = hub.take(5, "f")
    hub.report(6, "f", ok(again))

    assert "stdout" not in hub.record("c-1")
    assert hub.attempts("c-1")[0][4].endswith("it printed last: so far")


def test_last_words_of_another_try_are_nobodys(busy):
    die(busy, 4, busy.work._replace(**OTHER), "stdout", "so far")

    assert busy.state("c-1") == "failed"
    assert "stdout" not in busy.record("c-1")


@pytest.mark.parametrize(
    "words",
    [
        ("said", "e", "1:n", 2, "c-1", "stdout"),
        ("said", "e", "1:n", 3, "c-1", "result", "x"),
        ("said", "e", "1:n", 0),
    ],
)
def test_last_words_must_be_understood(busy, words):
    call = calls.beat("w", [])

    with busy.refuses(error.BadArgument):
        busy.do(calls.Call("beat", (4, "w", *words), call.read))
