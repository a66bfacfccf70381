"""turn: what becomes of outcomes, which of them count, and who is told."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Report
from redtask.hub.records import Work, read_done
from tests.hubs import error_in, final, ok, unbegun


def ids(work):
    return [one.task_id for one in work]


# Reporting


def test_a_result_completes_the_task(started):
    report = ok(started.work, b"signed", ago=20_250, took=1500, repr="42", stdout="hi")

    turn = started.turn(100, "e", 1, report)

    record = started.record("c-1")
    assert (turn.stale, turn.work, started.held("e")) == (0, [], [])
    assert (record["state"], record["result"], record["repr"]) == (
        "completed",
        "signed",
        "42",
    )
    assert (record["started"], record["took"]) == ("100.000", "20250 1500")


def test_reporting_and_taking_are_one_turn(hub):
    hub.submit(1, "c-1", "c-2")
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    assert ids(hub.turn(4, "e", 1, ok(work)).work) == ["c-2"]
    assert (hub.state("c-1"), hub.held("e")) == ("completed", ["c-2"])


def test_an_error_without_retries_fails_the_task(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    hub.turn(9, "e", 1, error_in(work, b"signed", evalue="no such thing", ago=4_000))

    record = hub.record("c-1")
    assert (record["state"], record["error"], record["tries"]) == (
        "failed",
        "signed",
        "1",
    )
    assert (record["ename"], record["evalue"]) == ("ValueError", "no such thing")
    assert hub.attempts("c-1") == [
        [work.token, "e", "5.000", "9", "ValueError: no such thing"]
    ]


@pytest.mark.parametrize("size", [64, 65, 100000])
def test_long_outcomes_stand_beside_the_record(hub, size):
    text = "x" * size
    hub.submit(1, "c-1", "c-2", ttl=100)
    hub.register(2, "e")
    first, second = hub.take(3, "e")[0], hub.take(4, "e")[0]

    hub.report(5, "e", ok(first, text, repr=text, stdout=text, stderr=text))
    hub.report(6, "e", error_in(second, text, ename=text, evalue=text, repr=text))

    for task, part in [("c-1", "result"), ("c-1", "stdout"), ("c-2", "error")]:
        beside = hub.redis.get(hub.keys.task(task, part))
        assert (hub.record(task)[part] or beside.decode()) == text
    assert hub.record("c-2")["evalue"] == text[:64]
    hub.check()
    hub.sweep(200)
    assert list(hub.redis.scan_iter(hub.key("task*"))) == []


def test_what_is_empty_is_no_part(started):
    started.report(5, "e", ok(started.work, stdout="", stderr="", repr=""))

    assert not {"stdout", "stderr", "repr"} & started.record("c-1").keys()


def test_several_outcomes_end_in_one_turn(hub):
    hub.submit(1, "c-1", "c-2", "c-3", *[f"d-{n}" for n in range(9)])
    hub.register(2, "e")
    first, second, third = hub.take(3, "e", 3)

    hub.turn(4, "e", 0, ok(first), error_in(second), unbegun(third))

    assert [hub.state(f"c-{n}") for n in (1, 2, 3)] == ["completed", "failed", "ready"]
    assert hub.ready()[0] == "c-3"


def test_a_supervisor_only_reports(started):
    started.submit(4, "c-2")

    turn = started.report(5, "e", ok(started.work))

    assert (turn.registered, turn.work) == (True, [])
    assert started.state("c-1") == "completed"
    assert (started.free(), started.rings("e")) == (["e"], 1)


def test_nobody_is_rung_for_nothing(started):
    started.report(5, "e", ok(started.work))

    assert started.rings("e") == 0


# Fencing


def test_an_outcome_counts_once(started):
    started.turn(5, "e", 1, ok(started.work, b"first"))

    turn = started.turn(6, "e", 1, ok(started.work, b"second"))

    assert turn.stale == 0
    assert started.record("c-1")["result"] == "first"


def test_an_outcome_counts_once_in_a_turn(started):
    twice = ok(started.work, b"first"), error_in(started.work)

    turn = started.turn(5, "e", 1, *twice)

    assert turn.stale == 0
    assert started.record("c-1")["result"] == "first"


def test_of_engine_and_supervisor_who_is_first_counts(started):
    before = started.record("c-1").keys()
    started.report(5, "e", unbegun(started.work))

    assert started.turn(6, "e", 0, ok(started.work)).stale == 1
    assert started.state("c-1") == "ready"
    # Who only gave it back is not its engine.
    assert before - started.record("c-1").keys() == {"engine", "token", "started"}


def test_the_beginning_of_a_token_is_worth_nothing(started):
    work = started.work
    begun = Report("ok", work.task_id, work.token[:-1], 0, 0, ("result", b"result"))

    assert started.report(5, "e", begun).stale == 1
    assert started.state("c-1") == "running"


def test_an_outcome_under_an_old_token_is_stale(started):
    started.turn(5, "e", 0, error_in(started.work))
    (again,) = started.take(6, "e")
    before = started.record("c-1")

    turn = started.turn(7, "e", 0, ok(started.work))

    assert (turn.stale, again.token.split(":")[0]) == (1, "2")
    assert started.record("c-1") == before
    assert started.story()[-1] == {
        "at": "7",
        "event": "stale",
        "task": "c-1",
        "engine": "e",
        "token": started.work.token,
        "kind": "ok",
    }


def test_a_token_is_never_issued_twice(started):
    started.turn(5, "e", 0, unbegun(started.work))
    (again,) = started.take(6, "e")

    turn = started.turn(7, "e", 0, ok(started.work))

    assert (turn.stale, started.state("c-1")) == (1, "running")
    assert again.token != started.work.token


def test_an_outcome_of_an_unknown_task_is_stale(started):
    report = Report("ok", "c-9", "1:n1", 0, 0, ("result", b"signed"))

    assert started.report(5, "e", report).stale == 1


def test_what_is_given_back_twice_is_no_news(started):
    started.turn(5, "e", 0, unbegun(started.work))
    started.turn(6, "e", 1)
    before = len(started.story())

    assert started.report(7, "e", unbegun(started.work)).stale == 1
    assert len(started.story()) == before


def test_refused_work_is_not_tried_again_and_is_told_of(hub):
    hub.submit(1, "c-1", retries=5)
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    hub.turn(4, "e", 1, final(work, ename="SignatureError", evalue="refused: altered"))

    assert hub.state("c-1") == "failed"
    assert hub.events()[-2:] == ["refused", "failed"]


def test_the_last_try_of_a_task_that_fails_is_an_event(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(2, "e")
    for now in (3, 5):
        (work,) = hub.take(now, "e")
        hub.turn(now + 1, "e", 0, error_in(work, ename="Oops", evalue="again"))

    assert hub.events()[-2:] == ["retry", "failed"]
    about = hub.do(calls.events(now=9))[0].about
    assert (about["task"], about["try"], about["why"]) == ("c-1", "2", "Oops: again")


def test_what_fails_at_once_is_one_event(hub):
    hub.submit(1, *[f"c-{number}" for number in range(8)])
    hub.register(2, "e")
    works = hub.take(3, "e", 4)

    hub.turn(4, "e", 0, *[error_in(work, ename="Oops", evalue="x") for work in works])

    assert len(works) > 1
    assert hub.events().count("failed") == 1
    about = hub.do(calls.events(now=9))[0].about
    assert about["more"] == str(len(works) - 1)


def test_a_signature_error_of_the_users_own_is_tried_again(hub):
    hub.submit(1, "c-1", retries=5)
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    hub.turn(4, "e", 0, error_in(work, ename="SignatureError", evalue="expired"))

    assert hub.state("c-1") == "ready"


def test_the_token_of_another_engine_is_worth_nothing(started):
    started.register(4, "f")

    assert started.turn(5, "f", 1, ok(started.work)).stale == 1
    assert (started.state("c-1"), started.held("e")) == ("running", ["c-1"])


# Telling


def test_the_stream_of_the_client_tells_each_outcome(hub):
    hub.submit(1, "c-1", "c-2", *[f"d-{n}" for n in range(8)])
    hub.watch(1, "c")
    hub.register(2, "e")
    first, second = hub.take(3, "e", 2)

    hub.turn(4, "e", 0, ok(first, b"one"), error_in(second, b"two"))

    assert hub.done("c") == [
        ("c-1", f"c{first.token}\0rone".encode()),
        ("c-2", f"f{second.token}\0etwo".encode()),
    ]


def test_a_client_that_does_not_listen_has_no_stream(started):
    started.turn(4, "e", 0, ok(started.work))

    assert not started.redis.exists(started.keys.done("c"))


@pytest.mark.parametrize("size", [1024, 1025])
def test_only_small_results_ride_in_the_stream(started, size):
    started.watch(4, "c")

    started.turn(5, "e", 0, ok(started.work, b"x" * size))

    (told,) = started.done("c")
    payload = b"x" * size if size == 1024 else b""
    assert told == ("c-1", f"c{started.work.token}\0r".encode() + payload)
    assert read_done(told[1]).kind == ("r" if size == 1024 else "-")


def test_an_entry_of_the_stream_stays_small(hub):
    hub.submit(1, *[f"c-{n}" for n in range(40)])
    hub.watch(1, "c")
    hub.register(2, "e")
    taken = hub.take(3, "e", 20)

    hub.turn(4, "e", 0, *[ok(work, b"x" * 1024) for work in taken])

    assert [len(told) > 1024 for _, told in hub.done("c")] == [True] * 16 + [False] * 4


def test_an_outcome_has_no_field_twice(hub):
    hub.register(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    told = ("result", b"r", "stdout", "x", "stdout", "y")
    twice = Report("ok", "c-1", work.token, 0, 0, told)

    with hub.refuses(error.BadArgument, "or one twice: stdout"):
        hub.do(calls.turn("e", None, "", 0, [twice], now=4))


def test_thousands_of_outcomes_are_told_in_several_entries(real_hub):
    hub = real_hub
    hub.watch(1, "c")
    hub.register(1, "e")
    for part in range(9):
        hub.submit(1, *[f"c-{part}{n:03}" for n in range(500)])
    works: list[Work] = []
    while len(works) < 4100:
        works += hub.take(2, "e", 200)

    hub.report(3, "e", *[ok(one) for one in works])

    assert len(hub.done("c")) == len(works)
    assert hub.redis.xlen(hub.key("done", "c")) > 1


def test_who_never_came_is_not_free_by_a_report(hub):
    hub.register(1, "e")

    hub.report(2, "e")

    assert hub.free() == []
