"""Tasks of large maps: what stands on the sheet, and how it gets a hash of its own."""

from __future__ import annotations

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Call, Group
from redtask.hub.records import Turn, read_bell, read_done
from tests.hubs import error_in, ok, unbegun, unmet

NAMES = [f"c-{number}" for number in range(1, 9)]


def done(work, result=b"signed", text="42", ago=20_250, took=1500):
    """Say that a task returned, as engines do of most."""
    return ok(work, result, ago=ago, took=took, repr=text)


def on_sheet(hub):
    """Return who stands on the sheet."""
    return sorted(name.decode() for name in hub.redis.hkeys(hub.keys.rows()))


def raw(*args):
    return Call("turn", (5, *args), lambda reply: Turn.read(reply, ""))


@pytest.fixture
def taken(hub):
    """A hub in which engine e has taken four of eight tasks that stand on the sheet."""
    hub.submit(1, *NAMES, retries=2, label="l")
    hub.register(2, "e")
    hub.works = hub.take(3, "e", 9)
    assert [work.task_id for work in hub.works] == NAMES[:4]
    return hub


def test_several_tasks_of_one_kind_stand_on_the_sheet(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", "c-3")
    hub.submit(1, "c-4", "c-5", ttl=5)
    hub.submit(1, "c-6", "c-7", after="as c-1")

    assert on_sheet(hub) == ["c-2", "c-3"]
    assert hub.record("c-3") == {
        "state": "ready",
        "fn": "fn",
        "submitted": "1",
        "args": "args",
    }


@pytest.mark.parametrize(("size", "stands"), [(64, True), (1024, True), (1025, False)])
def test_long_arguments_stand_there_too_but_large_ones_do_not(hub, size, stands):
    hub.submit(1, "c-1", "c-2", args=b"x" * size)
    hub.register(2, "e")

    assert on_sheet(hub) == (["c-1", "c-2"] if stands else [])
    assert [work.args for work in hub.take(3, "e", 4)] == [b"x" * size]


def test_a_task_on_the_sheet_is_known(hub):
    hub.submit(1, "c-1", "c-2", "c-3")

    assert hub.submit(2, "c-2", "c-3", "c-4").known == 2
    assert hub.submit(3, "c-1").known == 1
    with hub.refuses(error.SubmitConflict, "c-3 is known with another"):
        hub.submit(4, "c-5", "c-3", args=b"others")
    assert on_sheet(hub) == ["c-1", "c-2", "c-3"]
    assert hub.ready() == ["c-1", "c-2", "c-3", "c-4"]


def test_many_begin_at_once(taken):
    assert all(work.folded for work in taken.works)
    assert {(work.function, work.args) for work in taken.works} == {("fn", b"args")}
    assert taken.held("e") == NAMES[:4]
    assert on_sheet(taken) == NAMES
    record = taken.record("c-1")
    assert (record["state"], record["engine"]) == ("running", "0/e")
    assert (record["token"], record["started"]) == (taken.works[0].token, "3")
    assert (record["retries"], record["label"]) == ("2", "l")


def test_many_begin_again_when_the_reply_was_lost(taken):
    again = taken.turn_again(4, "e", 9)

    assert again.work == taken.works


def test_among_others_they_begin_in_their_order(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3")
    hub.submit(1, "c-4", "c-5")
    hub.submit(1, "c-6", "c-7", "c-8", "c-9", "c-10")
    hub.register(2, "e")

    found = [(work.task_id, work.folded) for work in hub.take(3, "e", 5)]

    assert found == [(f"c-{at}", at != 3) for at in range(1, 6)]


def test_many_end_at_once(taken):
    taken.watch(3, "c")

    taken.report(10, "e", *(done(work, b"r" * 80) for work in taken.works))

    assert on_sheet(taken) == NAMES
    assert taken.held("e") == []
    assert list(taken.ended("completed")) == NAMES[:4]
    assert taken.record("c-2") == {
        "state": "completed",
        "fn": "fn",
        "label": "l",
        "retries": "2",
        "submitted": "1",
        "args": "args",
        "engine": "0/e",
        "token": taken.works[1].token,
        "started": "10.000",
        "took": "20250 1500",
        "repr": "42",
        "result": "r" * 80,
    }
    told = [(name, read_done(value)) for name, value in taken.done("c")]
    assert [name for name, _ in told] == NAMES[:4]
    assert {outcome[2:] for _, outcome in told} == {("r", b"r" * 80)}
    assert taken.redis.hget(taken.key("hub"), "kept_bytes") == b"320"
    (outcome,) = taken.watch(11, "d", "c-4").outcomes
    assert outcome == ("completed", taken.works[3].token, "r", b"r" * 80)


def test_what_ends_at_once_is_told_in_entries_of_bounded_size(real_hub):
    hub = real_hub
    hub.watch(1, "c")
    hub.register(1, "e")
    hub.submit(1, *[f"c-{n}" for n in range(400)])
    works = hub.take(2, "e", 200)

    hub.report(3, "e", *(done(work, b"r" * 900) for work in works))

    entries = hub.redis.xrange(hub.keys.done("c"))
    sizes = [sum(map(len, fields.values())) for _, fields in entries]
    assert max(sizes) < 20_000
    assert [name for name, _ in hub.done("c")] == [work.task_id for work in works]


def test_each_client_is_told_of_its_own(hub):
    for client in "cd":
        hub.watch(1, client)
    hub.register(1, "e")
    hub.submit(1, "c-1", "c-2", "d-1", "c-3", "d-2", "d-3")
    works = hub.take(2, "e", 3)

    hub.report(3, "e", *map(done, works))

    assert [name for name, _ in hub.done("c")] == ["c-1", "c-2"]
    assert [name for name, _ in hub.done("d")] == ["d-1"]


def test_an_outcome_told_again_counts_once(taken):
    reports = [done(work) for work in taken.works]

    taken.report(10, "e", *reports, reports[1])
    turn = taken.report(11, "e", *reports)

    assert turn.stale == 0
    assert taken.redis.hget(taken.key("hub"), "completed") == b"4"


def test_an_outcome_told_in_a_block_and_alone_counts_once(taken):
    work = taken.works[0]

    taken.report(10, "e", done(work), ok(work), *map(done, taken.works[1:]))

    assert taken.redis.hget(taken.key("hub"), "completed") == b"4"


def test_an_outcome_under_another_token_is_stale(taken):
    old = [work._replace(token="1:x") for work in taken.works[:2]]  # noqa: S106

    turn = taken.report(10, "e", *map(done, old), *map(done, taken.works[2:]))

    assert turn.stale == 2
    assert taken.held("e") == NAMES[:2]
    assert list(taken.ended("completed")) == NAMES[2:4]


def test_what_another_engine_holds_is_not_ended(taken):
    taken.register(4, "f")

    turn = taken.report(10, "f", *map(done, taken.works))

    assert turn.stale == 4
    assert taken.held("e") == NAMES[:4]


@pytest.mark.parametrize(
    ("block", "what"),
    [
        (("folded:2", "1:n", "0", "c-1", "1 2\0r\0r"), "a block of outcomes"),
        (("folded:0", "1:n", "0"), "a block of outcomes"),
        (("folded:x", "1:n", "0", "c-1", "1 2\0r\0r"), "a block of outcomes"),
        (("folded:1", "1:n", "-1", "c-1", "1 2\0r\0r"), "a block of outcomes"),
        (("folded:1", "1:n"), "a block of outcomes"),
        (("folded:1", "1:n", "0", "c-1", "1 2\0r"), "an outcome that is none"),
        (("folded:1", "1:n", "0", "c-1", "1 2\0\0r"), "an outcome that is none"),
        (("folded:1", "1:n", "0", "c-1", "1 2\0r\0"), "an outcome that is none"),
        (("folded:1", "1:n", "0", "c-1", "1\0r\0r"), "an outcome that is none"),
        (
            ("folded:1", "1:n", "0", "c-1", "1 2\0r\0r", "ok:1"),
            "an outcome that is none",
        ),
    ],
)
def test_a_block_that_is_none_is_refused(taken, block, what):
    before = taken.dump()

    with taken.refuses(error.BadArgument, what):
        taken.do(raw("e", "", "", "0", *block))

    assert taken.dump() == before


# What gets a hash of its own


@pytest.mark.parametrize(
    "report",
    [
        error_in,
        unmet,
        ok,
        lambda work: done(work, b"x" * 1025),
        lambda work: done(work, text="a\0b"),
        lambda work: ok(work, repr="1", stdout="hi"),
    ],
)
def test_what_ends_otherwise_leaves_the_sheet(taken, report):
    reports = [
        done(taken.works[0]),
        report(taken.works[1]),
        *map(done, taken.works[2:]),
    ]

    taken.report(10, "e", *reports)

    assert on_sheet(taken) == sorted({*NAMES} - {"c-2"})
    assert taken.record("c-2")["label"] == "l"
    assert taken.redis.exists(taken.keys.task("c-2"))


def unfolds(hub, act, *names):
    """Check that these tasks, and no others, have left the sheet."""
    before = {name: hub.record(name) for name in names}

    act(hub)

    assert on_sheet(hub) == sorted({*NAMES} - {*names})
    for name in names:
        record = hub.record(name)
        assert {key: record[key] for key in before[name]} == before[name]
        assert hub.redis.exists(hub.keys.task(name))


@pytest.mark.parametrize("name", ["c-1", "c-2", "c-5"])
@pytest.mark.parametrize(
    "act",
    [
        lambda hub, name: hub.watch(5, "d", name),
        lambda hub, name: hub.do(calls.attend([name], now=5)),
        lambda hub, name: hub.submit(5, "d-1", after=f"as {name}"),
        lambda hub, name: hub.submit(5, "d-1", refs=name, after=f"as {name}"),
    ],
)
def test_what_is_marked_leaves_the_sheet(taken, act, name):
    unfolds(taken, lambda hub: act(hub, name), name)

    # What it was taken for still counts, in a block as alone.
    taken.report(10, "e", *map(done, taken.works))
    assert {*NAMES[:4]} <= {*taken.ended("completed")}
    assert taken.held("e") == []


def test_what_is_to_be_interrupted_leaves_the_sheet(taken):
    unfolds(taken, lambda hub: hub.abort(5, "c-1", running=True), "c-1")

    taken.report(10, "e", error_in(taken.works[0]), *map(done, taken.works[1:]))
    assert taken.state("c-1") == "aborted"


def test_many_are_aborted_where_they_stand(taken):
    taken.watch(3, "c")

    words = taken.abort(5, "c-5", "c-1", "c-7", "c-5", "c-9")

    assert words == ["aborted", "running", "aborted", "ended", "unknown"]
    assert on_sheet(taken) == NAMES
    assert taken.ready() == ["c-6", "c-8"]
    assert [*taken.ended("aborted")] == ["c-5", "c-7"]
    assert taken.record("c-7") == {
        "state": "aborted",
        "fn": "fn",
        "retries": "2",
        "label": "l",
        "submitted": "1",
        "args": "args",
        "verdict": "aborted",
        "ended": "5",
        "reason": "on request",
    }
    told = {name: read_done(value) for name, value in taken.done("c")}
    assert told["c-5"] == ("aborted", "", "v", b"aborted on request")
    assert taken.abort(6, "c-7") == ["ended"]


def test_of_several_queues_and_clients_those_are_aborted_who_are_meant(hub):
    hub.submit(1, "c-1", "c-2", queue="low")
    hub.submit(1, "d-1", "d-2", "d-3")
    hub.watch(2, "c")
    hub.watch(2, "d")

    hub.abort(3, "c-2", "d-1", "d-3", "c-1")

    assert (hub.ready("low"), hub.ready()) == ([], ["d-2"])
    assert [name for name, _ in hub.done("d")] == ["d-1", "d-3"]
    assert [name for name, _ in hub.done("c")] == ["c-2", "c-1"]


def test_what_was_aborted_there_runs_again_under_another_name(taken):
    taken.abort(5, "c-5", "c-6")

    taken.do(calls.resubmit([("c-5", "c-20")], now=6))
    assert taken.ready() == ["c-7", "c-8", "c-20"]
    assert taken.record("c-20")["root"] == "c-5"


def test_what_was_aborted_there_is_forgotten(taken):
    taken.abort(5, "c-5", "c-6", "c-7")

    taken.purge(6, "c-5")
    taken.sweep(5 + 86_400_000)
    assert on_sheet(taken) == ["c-8"]
    assert not taken.ended("aborted")


def test_what_says_how_far_it_is_leaves_the_sheet(taken):
    token = taken.works[0].token
    said = calls.say([("c-1", token, ("progress", "0.5 half"))], now=5)

    unfolds(taken, lambda hub: hub.do(said), "c-1")
    assert taken.record("c-1")["progress"] == "0.5 half"
    taken.report(10, "e", *map(done, taken.works))
    assert taken.record("c-1")["result"] == "signed"


def test_what_an_engine_lost_goes_back_to_its_old_place(taken):
    taken.gone(5, "e", "c-2")

    assert taken.ready() == NAMES
    assert on_sheet(taken) == ["c-1", *NAMES[2:]]
    assert taken.record("c-2")["tries"] == "1"
    # What was not begun is as it was submitted.
    assert taken.record("c-1") == taken.record("c-8")


def test_what_an_engine_gives_back_goes_to_another_where_it_stands(taken):
    taken.register(4, "f")

    taken.report(5, "e", *map(unbegun, taken.works[:3]), done(taken.works[3]))

    assert (on_sheet(taken), taken.held("e")) == (NAMES, [])
    assert taken.ready() == [*NAMES[:3], *NAMES[4:]]
    (given,) = taken.take(6, "f")
    assert given.task_id == "c-1"
    # The first engine is too late.
    assert taken.report(7, "e", done(taken.works[0])).stale == 1
    assert taken.state("c-1") == "running"
    taken.report(8, "f", done(given))
    assert [*taken.ended("completed")] == ["c-4", "c-1"]


def test_what_is_given_back_rides_in_a_bell_as_well(hub):
    hub.submit(1, "c-1", "c-2")
    for engine in "ef":
        hub.register(1, engine)
    (work,), _ = hub.take(2, "e"), hub.take(2, "f")
    hub.register(3, "g")
    hub.do(calls.turn("g", 1, "n1", 1, upcoming="n2", now=3))

    hub.report(4, "e", unbegun(work))

    heard = read_bell(hub.redis.lpop(hub.keys.bell("g")))
    assert heard
    nonce, given = heard
    assert (nonce, given.task_id, given.folded) == ("n2", "c-1", True)
    assert (on_sheet(hub), hub.held("g")) == (["c-1", "c-2"], ["c-1"])


def test_a_copy_is_made_of_one_that_stands_there(taken):
    taken.report(10, "e", *map(done, taken.works))

    taken.do(calls.resubmit([("c-1", "d-1")], now=11))

    assert taken.record("c-1")["resubmitted"] == "d-1"
    assert taken.record("d-1")["label"] == "l"
    assert "c-1" not in on_sheet(taken)
    assert {*NAMES[1:4]} < {*on_sheet(taken)}


def test_what_is_placed_on_an_engine_leaves_the_sheet(hub):
    hub.configure(1, hwm=2)
    hub.join(1, "e")

    hub.submit(2, "c-1", "c-2", "c-3")

    assert on_sheet(hub) == ["c-3"]
    assert hub.assigned("e") == ["c-1", "c-2"]


def test_one_rides_in_the_bell_and_stays_on_the_sheet(hub):
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1))

    hub.submit(2, "c-1", "c-2")

    ring = hub.redis.lpop(hub.keys.bell("e"))
    heard = read_bell(ring)
    assert heard
    nonce, work = heard
    assert (nonce, work.task_id, work.args, work.folded) == ("n2", "c-1", b"args", True)
    assert (work.root, hub.held("e"), on_sheet(hub)) == ("c-1", ["c-1"], ["c-1", "c-2"])


def test_what_began_meanwhile_says_that_it_has_a_dependent(hub):
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1))
    hub.do(calls.pause(["default"], now=1))
    hub.submit(2, "c-1", "c-2")
    hub.do(calls.pause(["default"], resume=True, now=3))
    groups = [
        Group("fn", b"", "fn", flags, [part for one in ids for part in (one, b"args")])
        for *ids, flags in (
            ("c-1", "c-2", {}),
            ("c-3", "c-4", {}),
            ("c-5", {"after": "as c-1"}),
        )
    ]

    # Its first tasks are known, and the best of the line is handed over.
    hub.do(calls.submit(groups, now=4))

    ring = hub.redis.rpop(hub.keys.bell("e"))
    nonce, work = read_bell(ring) or ("", None)
    assert (nonce, work and work.task_id) == ("n2", "c-1")
    hub.report(5, "e", done(work))
    assert hub.state("c-5") == "ready"


# When they go


def test_of_those_that_are_purged_each_leaves_a_stone(taken):
    others = (error_in(work) for work in taken.works[2:])
    taken.submit(9, "d-1")
    taken.report(10, "e", *map(done, taken.works[:2]), *others)
    taken.abort(11, *NAMES[2:], "d-1")

    purged = taken.do(calls.purge([*NAMES[1:], "d-1", "d-9"], now=12))

    assert purged.purged == 8
    assert on_sheet(taken) == ["c-1"]
    stones = ["ac-3", "ac-4", "ac-5", "ac-6", "ac-7", "ac-8", "ad-1", "cc-2"]
    assert sorted(taken.gone_tasks()) == stones


def test_ended_ones_are_forgotten_with_what_they_took(taken):
    taken.report(10, "e", *(done(work, b"r" * 80) for work in taken.works))

    assert taken.do(calls.purge(["c-1", "c-2"], now=11)).purged == 2
    assert on_sheet(taken) == NAMES[2:]
    assert taken.redis.hget(taken.key("hub"), "kept_bytes") == b"160"
    assert taken.gone_tasks() == ["cc-1", "cc-2"]

    taken.sweep(400 * 86_400_000)
    assert taken.redis.hget(taken.key("hub"), "kept_bytes") == b"0"
    assert not taken.redis.exists(taken.keys.runs())
    assert taken.redis.hget(taken.keys.function("fn"), "count") == b"4"
