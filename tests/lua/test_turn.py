"""turn: an engine reports outcomes, if any, and takes its next work, if any."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Call, Report
from redtask.hub.records import Turn, Work, read_done
from tests.hubs import error_in, final, ok, unbegun


def raw(*args):
    return Call("turn", (5, *args), lambda reply: Turn.read(reply, ""))


def ids(work):
    return [one.task_id for one in work]


@pytest.fixture
def started(hub):
    """A hub in which engine e has c-1, its only task, with two retries."""
    hub.submit(1, "c-1", retries=2)
    hub.register(2, "e")
    (hub.work,) = hub.take(3, "e")
    return hub


# Taking


def test_an_engine_without_work_is_free(hub):
    hub.register(1, "e")

    assert hub.take(2, "e") == []
    assert hub.free() == ["e"]


def test_an_engine_takes_what_was_placed_on_it(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")

    (work,) = hub.take(3, "e")

    assert (work.task_id, work.token) == ("c-1", f"1:n{hub.nonces}")
    assert (hub.assigned("e"), hub.held("e"), hub.rings("e")) == ([], ["c-1"], 0)
    assert (hub.ready(), hub.free()) == (["c-2"], [])


def test_a_record_says_who_took_it_and_when(started):
    record = started.record("c-1")

    assert (record["state"], record["engine"]) == ("running", "0/e")
    assert (record["token"], record["started"]) == (started.work.token, "3")


def test_what_was_placed_comes_before_what_waits(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.submit(3, "c-2", "c-3", priority=5)

    assert ids(hub.take(4, "e", 2)) == ["c-1", "c-2"]


def test_an_engine_that_wants_nothing_gets_nothing(hub):
    hub.submit(1, "c-1")
    hub.register(2, "e")

    assert hub.take(3, "e", 0) == []
    assert hub.state("c-1") == "ready"


@pytest.mark.parametrize(
    ("ready", "engines", "want", "taken"),
    [
        (100, 1, 10, 10),
        (100, 1, 80, 50),
        (100, 4, 80, 12),
        (3, 1, 5, 1),
        (4, 1, 5, 2),
        (1, 8, 5, 1),
        (2, 1, 1, 1),
    ],
)
def test_nobody_takes_more_than_half_of_its_share(hub, ready, engines, want, taken):
    hub.submit(1, *[f"c-{n}" for n in range(ready)])
    for n in range(engines):
        hub.register(2, f"e{n}")

    assert len(hub.take(3, "e0", want)) == taken


def test_no_turn_takes_more_than_200(hub):
    for part in range(3):
        hub.submit(1, *[f"c-{part}{n:03}" for n in range(500)])
    hub.register(2, "e")

    assert len(hub.take(3, "e", 10000)) == 200


def test_a_bound_on_the_load_is_kept(hub):
    hub.configure(1, hwm=3)
    hub.submit(2, *[f"c-{n}" for n in range(20)])
    hub.register(3, "e")

    first = hub.take(4, "e", 10)
    second = hub.take(5, "e", 10)

    assert (len(first), second) == (3, [])
    assert hub.free() == []


def test_what_was_placed_counts_towards_the_bound(hub):
    hub.configure(1, hwm=3)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2", "c-3", "c-4", "c-5")

    assert hub.assigned("e") == ["c-1", "c-2", "c-3"]
    assert ids(hub.take(4, "e", 2)) == ["c-1", "c-2"]
    assert ids(hub.take(5, "e", 2)) == ["c-3"]


def test_a_lowered_bound_drains(hub):
    hub.configure(1, hwm=3)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2", "c-3", "c-4")
    taken = hub.take(4, "e", 3)
    hub.configure(5, hwm=1)
    hub.draining = True

    assert hub.turn(6, "e", 1, ok(taken[0])).work == []
    assert hub.turn(7, "e", 1, ok(taken[1])).work == []
    assert ids(hub.turn(8, "e", 1, ok(taken[2])).work) == ["c-4"]


def test_a_turn_carries_arguments_up_to_a_mebibyte(hub):
    most = b"x" * 16_384
    for number in range(70):
        hub.submit(number, f"c-{number}", args=most)
    hub.submit(70, *[f"c-{n}" for n in range(100, 300)])
    hub.register(71, "e")

    taken = hub.take(72, "e", 70)

    assert [len(work.args) for work in taken] == [16_384] * 64 + [0] * 6
    assert len(hub.held("e")) == 70


@pytest.mark.parametrize("priority", [0, 1])
def test_long_arguments_are_fetched_by_who_takes_the_task(hub, priority):
    hub.submit(1, "c-1")
    hub.submit(2, "c-2", args=b"x" * 16_385, priority=priority)
    hub.submit(3, *[f"c-{n}" for n in range(10, 20)])
    hub.register(5, "e")

    taken = hub.take(6, "e", 2)

    by_name = {work.task_id: len(work.args) for work in taken}
    assert by_name == {"c-1": 4, "c-2": 0}


def test_of_several_queues_the_most_urgent_is_first(hub):
    hub.submit(1, "c-1", queue="a")
    hub.submit(2, "c-2", queue="b")
    hub.submit(3, "c-3", queue="a", priority=1)
    hub.submit(4, "c-4", queue="other", priority=9)
    hub.submit(5, *[f"c-{n}" for n in range(10, 20)], queue="b")
    hub.register(6, "e", queues="b,a")

    assert ids(hub.take(7, "e", 4)) == ["c-3", "c-1", "c-2", "c-10"]
    assert hub.ready("other") == ["c-4"]


def test_of_several_queues_the_longest_tails_are_taken_too(hub):
    hub.submit(1, "c-1", "c-2", queue="a")
    hub.submit(2, "c-3", queue="b", priority=-1000)
    hub.register(3, "e", queues="a,b")

    assert [ids(hub.take(n, "e")) for n in (4, 5, 6, 7)] == [
        ["c-1"],
        ["c-2"],
        ["c-3"],
        [],
    ]


@pytest.mark.parametrize("stands", ["alone", "on the sheet"])
def test_a_record_deleted_by_hand_keeps_no_others_back(hub, stands):
    if stands == "alone":
        hub.submit(1, "c-1")
        hub.submit(1, "c-2")
        hub.redis.delete(hub.keys.task("c-1"))
    else:
        hub.submit(1, "c-1", "c-2")
        hub.redis.hdel(hub.keys.rows(), "c-1")
    hub.redis.hincrby(hub.keys.function("fn"), "count", -1)
    hub.redis.hincrby(hub.key("hub"), "submitted", -1)
    hub.register(2, "e")

    assert hub.take(3, "e") == []
    assert ids(hub.take(4, "e")) == ["c-2"]
    assert hub.events() == ["engine joined", "corrupt"]


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
    assert hub.events()[-1] == "refused"


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


# Sent twice


def test_a_turn_sent_again_answers_the_same(hub):
    hub.submit(1, *[f"c-{n}" for n in range(8)])
    hub.register(2, "e")
    first = hub.turn(3, "e", 2)
    before = hub.dump()

    assert hub.turn_again(4, "e", 2) == first
    assert hub.dump() == before


def test_a_turn_that_reported_sent_again_answers_the_same(hub):
    hub.submit(1, "c-1", "c-2", "c-3", args=b"x" * 100)
    hub.register(2, "e")
    (work,) = hub.take(3, "e")
    first = hub.turn(4, "e", 1, ok(work))
    before = hub.dump()

    again = hub.turn_again(5, "e", 1, ok(work))

    assert (again, again.stale) == (first, 0)
    assert hub.dump() == before


def test_a_turn_sent_again_still_hears_the_bell_later(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")

    assert hub.turn_again(3, "e").work == []
    assert (hub.rings("e"), hub.assigned("e")) == (1, ["c-1"])


def test_a_turn_sent_again_gives_back_no_task_it_has_lost(hub):
    hub.submit(1, "c-1", "c-2", *[f"d-{n}" for n in range(4)])
    hub.register(2, "e")
    first, _ = hub.take(3, "e", 2)
    hub.report(4, "e", unbegun(first))

    assert ids(hub.turn_again(5, "e", 2).work) == ["c-2"]


def test_a_turn_sent_again_may_report_more(started):
    turn = started.turn_again(5, "e", 1, ok(started.work))

    assert turn.work == []
    assert (started.state("c-1"), started.free()) == ("completed", ["e"])


def test_a_turn_sent_again_that_leaves_nothing_to_do_rings(started):
    started.submit(4, "c-2")

    started.turn_again(5, "e", 1, ok(started.work))

    assert started.rings("e") == 1
    started.check(quiet=True)


def test_a_supervisor_that_takes_all_away_rings_for_what_was_placed(hub):
    hub.configure(1, hwm=2)
    hub.join(2, "e")
    hub.submit(3, "c-1", "c-2")
    (work,) = hub.take(4, "e")

    hub.report(5, "e", ok(work))

    assert (hub.assigned("e"), hub.rings("e")) == (["c-2"], 1)


def test_a_turn_that_was_overtaken_takes_nothing(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.register(2, "e")
    hub.turn(3, "e")
    hub.turn(4, "e", 0)

    late = hub.turn_again(5, "e", 1, number=1, nonce="n1")

    assert late.work == []
    assert hub.held("e") == ["c-1"]
    assert hub.turn_again(6, "e", 0, number=2, nonce="n2").work == []


# Retries


def test_a_failure_is_tried_again_on_another_engine_first(started):
    started.join(4, "f")

    turn = started.turn(5, "e", 1, error_in(started.work))

    assert (turn.work, started.assigned("f")) == ([], ["c-1"])
    assert started.rings("f") == 1
    assert started.record("c-1")["tries"] == "1"


def test_if_there_is_no_other_it_is_ready_for_any(started):
    started.register(4, "f")

    started.turn(5, "e", 0, error_in(started.work))

    assert started.ready() == ["c-1"]
    assert ids(started.take(6, "f")) == ["c-1"]


def test_the_turn_that_reported_a_failure_does_not_take_it(started):
    turn = started.turn(5, "e", 1, error_in(started.work))

    assert (turn.work, started.ready()) == ([], ["c-1"])
    assert started.rings("e") == 1
    assert ids(started.take(6, "e")) == ["c-1"]


def test_one_engine_and_three_retries_are_four_attempts(hub):
    hub.submit(1, "c-1", retries=3)
    hub.register(2, "e")

    for attempt in (1, 2, 3, 4):
        assert hub.state("c-1") == "ready"
        (work,) = hub.take(attempt * 10, "e")
        assert work.token.split(":")[0] == str(attempt)
        hub.turn(attempt * 10 + 1, "e", 1, error_in(work, f"e{attempt}".encode()))

    record = hub.record("c-1")
    assert (record["state"], record["error"], record["tries"]) == ("failed", "e4", "4")
    assert len(hub.attempts("c-1")) == 4
    assert hub.events().count("retry") == 3


def test_a_retry_that_succeeds_keeps_its_attempts(started):
    started.turn(5, "e", 1, error_in(started.work, b"oops", stdout="x" * 100))
    (again,) = started.take(6, "e")

    started.turn(7, "e", 1, ok(again))

    record = started.record("c-1")
    assert (record["state"], record["tries"]) == ("completed", "1")
    assert "error" not in record
    assert len(started.attempts("c-1")) == 1


def test_of_many_attempts_the_first_and_the_last_nine_are_kept(hub):
    hub.submit(1, "c-1", retries=20)
    hub.register(2, "e")

    for attempt in range(1, 14):
        (work,) = hub.take(attempt, "e")
        hub.turn(attempt, "e", 1, error_in(work, evalue=f"no {attempt}"))

    assert [line[-1] for line in hub.attempts("c-1")] == [
        f"ValueError: no {n}" for n in (1, *range(5, 14))
    ]


def test_a_retry_goes_back_to_its_old_place(hub):
    hub.submit(1, "c-1", retries=1, priority=1)
    hub.submit(2, "c-2", "c-3", priority=1)
    hub.register(3, "e")
    (work,) = hub.take(4, "e")

    hub.turn(5, "e", 0, error_in(work))

    assert hub.ready() == ["c-1", "c-2", "c-3"]


def test_given_back_unbegun_a_task_has_used_no_try(started):
    started.turn(5, "e", 0, unbegun(started.work))

    record = started.record("c-1")
    assert (record["state"], started.ready()) == ("ready", ["c-1"])
    assert "tries" not in record
    assert started.take(6, "e")[0].token.split(":")[0] == "1"


def test_what_is_given_back_keeps_its_place(hub):
    hub.submit(1, "c-1", "c-2", "c-3", *[f"c-{n}" for n in range(10, 20)])
    hub.register(2, "e")
    _, second, third = hub.take(3, "e", 3)

    hub.report(4, "e", unbegun(third), unbegun(second))

    assert hub.ready()[:3] == ["c-2", "c-3", "c-10"]


def test_what_is_given_back_goes_to_an_idle_engine(started):
    started.join(4, "f")

    started.report(5, "e", unbegun(started.work))

    assert (started.assigned("f"), started.rings("e")) == (["c-1"], 0)


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


# Refusals


def test_an_engine_that_was_given_up_is_told(hub):
    turn = hub.turn(1, "e")

    assert (turn.registered, turn.work) == (False, [])


@pytest.mark.parametrize(
    "args",
    [
        ("e", 1, "n", "x"),
        ("e", 1, "n", -1),
        ("e", 1, "n", 1.5),
        ("e", 1, "", 1),
        ("e", 1, "a:b", 1),
        ("e", 1, "n", 1, "ok"),
        ("e", 1, "n", 1, "odd", "c-1", "t", 0, 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", "x"),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", -3),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 0.5),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "", 0),
        ("e", 1, "n", 1, "error", "c-1", "t", 0, 0, "", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", "x", 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0.5, 0, "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, "x", "b", 0),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 1, "repr"),
        ("e", 1, "n", 1, "ok", "c-1", "t", 0, 0, "b", 1, "state", "completed"),
    ],
)
def test_a_turn_that_is_none_is_refused(started, args):
    with started.refuses(error.BadArgument):
        started.do(raw(*args))


def test_a_turn_that_is_refused_leaves_the_ring(started):
    started.redis.rpush(started.keys.bell("e"), 1)

    with started.refuses(error.BadArgument):
        started.do(raw("e", 9, "n", 1, "odd", "c-1", "t", 0, 0, "b", 0))

    assert started.rings("e") == 1


def test_a_turn_is_numbered(started):
    assert started.redis.hget(started.key("engine", "e"), "number") == b"1"

    started.do(calls.turn("e", 7, "abc", 0, now=5))

    assert started.redis.hget(started.key("engine", "e"), "number") == b"7"


# Over the time limit


def over_time(work):
    """Report that a task was over its time limit."""
    fields = ("error", b"error", "ename", "TimeLimitExceeded", "evalue", "1 s")
    return Report("late", work.task_id, work.token, 0, 0, fields)


def test_one_over_its_time_limit_failed_a_try(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", retries=1)
    for stamp in (3, 5):
        (work,) = hub.take(stamp, "e")
        hub.turn(stamp + 1, "e", 0, over_time(work))

    record = hub.record("c-1")
    assert (record["state"], record["tries"]) == ("failed", "2")
    assert (record["error"], record["ename"]) == ("error", "TimeLimitExceeded")
    assert "deaths" not in record


def test_turns_are_counted_from_one(hub):
    hub.register(1, "e")

    with hub.refuses(error.BadArgument, "a turn needs a nonce"):
        hub.do(calls.turn("e", 0, "n", 1, now=1))


def test_what_comes_back_in_one_turn_is_placed_in_its_order(hub):
    hub.submit(1, *[f"c-{n}" for n in range(1, 7)], retries=1)
    hub.register(1, "e")
    first, second, *_ = hub.take(1, "e", 6)
    hub.register(1, "x")
    while hub.ready():
        hub.take(1, "x", 6)
    hub.join(1, "f")

    hub.turn(2, "e", 0, unbegun(second), error_in(first))

    assert hub.engine_of(first.task_id) == "f"
    assert hub.ready() == [second.task_id]


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
