"""The herald: nothing that the hub is to know is lost, whatever Redis does."""

import logging
import time
from typing import Any, cast

import pytest

from redtask.engine import herald as module
from redtask.engine.block import SURE, Block, Outcome, Taken
from redtask.engine.herald import Farewell, Herald
from redtask.engine.seat import Seat
from redtask.error import (
    BadArgument,
    ConnectionLost,
    HubError,
    NoHub,
    NoWorker,
    SchemaMismatch,
    SignatureError,
)
from redtask.hub.keys import Keys

NEVER = 1 << 62


class FakeStore:
    """Answers each script as it is told; keeps what was said."""

    def __init__(self):
        self.said = []
        self.keys = Keys("h")
        self.lease: int | None = 15_000
        self.answers = {
            "turn": [b"ok", 0],
            "sweep": [b"ok", 60_000, 0],
            "configure": [b"created", b"print", 0],
        }
        self.words = {}

    def do(self, call):
        self.said.append((call.script, [str(word) for word in call.args[1:]]))
        answer = self.answers.get(call.script)
        if isinstance(answer, Exception):
            raise answer
        if call.script == "beat" and answer is None:
            answer = self.beaten(call.args)
        return call.read(answer)

    def beaten(self, args):
        """Say of each engine what it is to hear."""
        reply: list[Any] = [b"ok"]
        at = 2
        while at < len(args):
            verb, uuid, _, count = args[at : at + 4]
            word, *foreign = self.words.get(uuid, [verb])
            reply += [uuid.encode(), word.encode(), len(foreign)]
            reply += [task_id.encode() for task_id in foreign]
            at += 4 + count
        return reply

    def command(self, *words):
        assert words == ("HGET", "{redtask:h}:hub", "lease")
        self.said.append(("lease", []))
        return None if self.lease is None else str(self.lease).encode()

    def do_all(self, calls):
        return [self.do(call) for call in calls]

    def heard(self, script):
        return [words for name, words in self.said if name == script]


class FakeSeat(Seat):
    """A seat whose engine is no process."""

    def kill(self, reason):
        self.ended_for = reason


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def forsaken():
    return []


@pytest.fixture
def herald(store, forsaken):
    return Herald(
        cast(Any, store), "w", "print", lambda *attempt: forsaken.append(attempt)
    )


def outcome(kind="ok", task_id="c-1"):
    return Outcome(kind, task_id, "1:n", 0, 1000, ["result", b"x"])


def taken(*outcomes, uuid="e"):
    return Taken(uuid, list(outcomes), inside=False, more=False)


@pytest.fixture
def seat():
    """The seat of an engine that has a batch of three and is inside the first."""
    made = FakeSeat(0, Block())
    made.pid = 1
    made.block.join("e")
    made.block.joined(0, 15_000, NEVER)
    made.block.open(7, ["c-1", "1:n", "c-2", "1:n", "c-3", "1:n"])
    made.block.begin(0, 0)
    return made


def test_a_beat_says_what_each_engine_holds_and_renews_its_lease(herald, store, seat):
    seat.block.renew(0)

    herald.speak([seat])

    assert store.heard("beat") == [["w", "live", "e", "7", "3", "c-1", "c-2", "c-3"]]
    assert store.heard("sweep")
    assert not seat.block.lease_over
    assert time.monotonic() + 2 < herald.due < time.monotonic() + 4


def left(seat):
    """Return for how long the engine may start tasks, in ms."""
    block = seat.block
    return (block.heard - time.monotonic()) * 1000 + block.lease * SURE / 1e6


def test_the_beat_that_first_grants_a_shorter_lease_tells_it(herald, store, seat):
    herald.speak([seat])
    store.lease = 2000
    herald.beat_now()

    herald.speak([seat])

    assert [name for name, _ in store.said[-3:]] == ["beat", "lease", "sweep"]
    assert 1000 < left(seat) <= 1800
    assert seat.block.lease == 2000
    assert herald.due < time.monotonic() + 0.5


def test_a_longer_lease_counts_from_the_next_beat_on(herald, store, seat):
    herald.speak([seat])
    store.lease = 60_000
    lefts = []

    for _ in range(2):
        herald.beat_now()
        herald.speak([seat])
        lefts.append(left(seat))

    assert 13_000 < lefts[0] <= 13_500
    assert 53_000 < lefts[1] <= 54_000
    assert time.monotonic() + 9 < herald.due < time.monotonic() + 15


def test_an_engine_with_a_shorter_lease_is_beaten_for_at_once(herald, store, seat):
    herald.speak([seat])
    herald.heed([seat])
    before = herald.due
    seat.block.joined(0, 2000, NEVER)

    herald.heed([seat])

    assert before > time.monotonic()
    assert herald.due <= time.monotonic()


def test_a_hub_that_is_gone_after_the_beat_is_made_anew(herald, store, seat):
    store.lease = None

    herald.speak([seat])

    assert store.heard("configure")


def test_a_drained_engine_hands_back_what_it_has_not_begun(herald, store, seat):
    store.answers["beat"] = [b"ok", b"e", b"drained", 0]

    herald.speak([seat])
    herald.beat_now()
    herald.speak([seat])

    (args,) = store.heard("turn")
    assert [word for word in args if word in {"c-1", "c-2", "c-3"}] == ["c-2", "c-3"]
    assert seat.block.quiet
    assert not seat.block.draining
    store.answers["beat"] = [b"ok", b"e", b"live", 0]
    herald.beat_now()
    herald.speak([seat])
    assert not seat.block.quiet


def test_an_engine_that_is_to_end_is_drained_and_its_successor_is_not(
    herald, store, seat
):
    store.answers["drain"] = ConnectionLost("away")
    seat.block.take_back(for_good=True)
    herald.end_soon("e")
    herald.speak([seat])
    store.answers["drain"] = [b"ok", b"more"]
    store.answers["beat"] = [b"ok", b"e", b"drained", 0]
    answers = iter([[b"ok", b"more"], [b"ok", b"drained"]])
    do = store.do

    def then_done(call):
        if call.script == "drain":
            store.answers["drain"] = next(answers)
        return do(call)

    store.do = then_done

    herald._retry_at = 0.0
    herald.speak([seat])

    assert store.heard("drain") == [["drain", "", "e"]] * 3
    assert store.heard("beat")
    assert not seat.block.quiet
    assert herald.due > time.monotonic()


def test_engines_that_are_not_registered_or_dead_have_no_say(herald, store, seat):
    seat.pid = 0
    new = FakeSeat(1, Block())
    new.pid = 2

    herald.speak([seat, new])

    assert store.heard("beat") == [["w"]]


def test_what_is_reported_first_is_not_forgotten_in_the_beat(herald, store, seat):
    store.answers["turn"] = ConnectionLost("away")
    herald.report(taken(outcome(task_id="c-0")))
    herald.speak([seat])
    assert not store.heard("beat")
    assert herald.has_news

    store.answers["turn"] = [b"ok", 0]
    herald.speak([seat])

    said = [name for name, _ in store.said]
    assert said == ["turn", "turn", "beat", "lease", "sweep"]
    assert not herald.has_news


def test_outcomes_are_reported_before_the_farewell(herald, store):
    herald.bid_farewell(Farewell("e", "exit code 3", ["c-2"]))
    herald.report(taken(outcome()))

    herald.speak([])

    assert [name for name, _ in store.said[:2]] == ["turn", "beat"]
    assert store.said[1][1] == ["w", "gone", "e", "exit code 3", "1", "c-2"]
    assert not herald.has_news


def test_the_hub_hears_that_an_engine_was_ended_for_a_time_limit(herald, store):
    herald.bid_farewell(Farewell("e", "time limit of 1 s exceeded", ["c-2"], late=True))

    herald.speak([])

    assert store.said[0][1] == [
        "w", "late", "e", "time limit of 1 s exceeded", "1", "c-2",
    ]  # fmt: skip


def test_a_farewell_is_said_until_all_is_taken_apart(herald, store):
    herald.bid_farewell(Farewell("e", "drained", []))
    store.words["e"] = ["more"]
    seen = []
    beaten = store.beaten

    def then_gone(args):
        seen.append(args)
        if len(seen) == 3:
            store.words["e"] = ["gone"]
        return beaten(args)

    store.beaten = then_gone
    herald.speak([])

    assert len([args for args in seen if "gone" in args]) == 3
    assert not herald.has_news


@pytest.mark.parametrize(
    "problem",
    [
        ConnectionLost("away"),
        SignatureError("a scheme of others"),
        HubError("Redis refuses: WRONGTYPE"),
    ],
)
def test_while_redis_is_away_it_says_so_once_and_tries_less_and_less(
    herald, store, caplog, problem
):
    caplog.set_level(logging.INFO, "redtask")
    store.answers["beat"] = problem

    for _ in range(6):
        herald.speak([])
        assert 0 < herald.due - time.monotonic() < 0.8
    del store.answers["beat"]
    herald.speak([])

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "is back" in caplog.records[-1].message


def test_a_sweep_that_is_refused_is_logged_once_and_hinders_no_beat(
    herald, store, seat, caplog
):
    caplog.set_level(logging.INFO, "redtask")
    store.answers["sweep"] = HubError("Redis refuses: WRONGTYPE")
    seat.block.renew(0)

    for _ in range(3):
        herald.beat_now()
        herald.speak([seat])
        assert herald.is_heard
        assert not seat.block.lease_over
        assert herald.due > time.monotonic() + 1
    store.answers["sweep"] = [b"ok", 60_000, 0]
    herald.sweep_now()
    herald.speak([seat])

    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "redtask doctor" in caplog.records[0].message


@pytest.mark.parametrize("queued", ["farewell", "wish", "ending"])
def test_what_is_refused_is_said_again_and_hinders_no_beat(herald, store, seat, queued):
    if queued == "farewell":
        herald.bid_farewell(Farewell("f", "exit code 3", []))
    elif queued == "wish":
        herald.wish(resume=False)
    else:
        herald.end_soon("f")
    answers = dict(store.answers)
    do = store.do

    def refuse(call):
        if call.script == "drain" or "gone" in call.args:
            store.said.append(("refused", []))
            raise HubError("Redis refuses: WRONGTYPE")
        return do(call)

    store.do = refuse
    seat.block.renew(0)
    herald.speak([seat])
    refused = len(store.heard("refused"))
    beaten = not seat.block.lease_over
    store.do = do
    store.answers = {**answers, "drain": [b"ok", b"drained"]}
    herald.speak([seat])

    assert (refused, beaten) == (1, True)
    assert store.heard("drain") or [
        words for words in store.heard("beat") if "gone" in words
    ]
    assert herald.is_heard


def test_a_lease_that_is_no_number_is_waited_for(herald, store, seat, caplog):
    store.lease = "soon"

    herald.speak([seat])
    heard = herald.is_heard
    store.lease = 15_000
    herald.speak([seat])

    assert not heard
    assert herald.is_heard
    assert "redtask doctor" in caplog.text


@pytest.mark.parametrize("script", ["sweep", "drain"])
def test_a_hub_of_another_release_is_waited_for(herald, store, seat, script):
    store.answers |= {"drain": [b"ok", b"drained"], script: SchemaMismatch()}
    herald.wish(resume=False)

    herald.speak([seat])

    assert not herald.is_heard


def test_engines_are_drained_once_all_are_registered(herald, store, seat):
    other = FakeSeat(1, Block())
    other.pid = 2
    other.block.join("f")
    store.answers["drain"] = [b"ok", b"drained", b"drained"]
    herald.wish(resume=False)

    herald.speak([seat, other])
    before = store.heard("drain")
    assert herald.due < time.monotonic() + 1
    other.block.joined(1, 15_000, NEVER)
    herald.speak([seat, other])

    assert before == []
    assert store.heard("drain") == [["drain", "w", "e", "f"]]


def test_a_hub_that_does_not_know_the_worker_any_more_is_asked_again(
    herald, store, seat
):
    store.answers["drain"] = NoWorker("w")
    herald.wish(resume=False)

    herald.speak([seat])
    store.answers["drain"] = [b"ok", b"drained"]
    herald.speak([seat])
    herald.speak([seat])

    assert store.heard("drain") == [["drain", "w", "e"]] * 2


def test_a_hub_that_is_gone_is_made_with_our_fingerprint(herald, store):
    store.answers["beat"] = NoHub()

    herald.speak([])

    assert store.heard("configure") == [["1", "print"]]
    assert herald.due <= time.monotonic()


def test_outcomes_that_the_hub_does_not_take_are_not_said_for_ever(
    herald, store, caplog
):
    store.answers["turn"] = BadArgument("no")
    herald.report(taken(outcome()))

    herald.speak([])

    assert not herald.has_news
    assert "refused" in caplog.text


def test_what_the_hub_knows_nothing_of_is_not_begun(herald, store, seat):
    store.words["e"] = ["live", "c-2"]

    herald.speak([seat])

    assert not seat.block.begin(1, 0)
    assert herald.has_news


def test_what_ran_or_was_reported_may_be_unknown_to_the_hub(herald, store, seat):
    store.words["e"] = ["live", "c-1"]

    herald.speak([seat])

    assert seat.block.begin(1, 0)
    assert not herald.has_news


def test_an_engine_that_was_given_up_begins_nothing(herald, store, seat, forsaken):
    store.words["e"] = ["unknown"]

    herald.speak([seat])

    assert not seat.block.begin(1, 0)
    assert not herald.has_news
    assert seat.ended_for == ""
    assert forsaken == [("c-1", "1:n")]


def test_one_between_two_tasks_has_none_to_be_stopped(herald, store, seat, forsaken):
    store.words["e"] = ["unknown"]
    seat.block.end(("ok", 0, 0, 0, ["result", b"x"]))

    herald.speak([seat])

    assert forsaken == []


def test_an_idle_engine_that_was_given_up_is_replaced(herald, store, seat):
    seat.block.open_none(8)
    seat.block.idle()
    store.words["e"] = ["unknown"]

    herald.speak([seat])

    assert seat.ended_for == "the hub had given it up"


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def monotonic_ns(self):
        return round(self.now * 1e9)


@pytest.fixture
def beats(monkeypatch, herald, seat):
    """Let so much time pass in beats, one each so many seconds."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    def pass_time(seconds, each=3.0):
        for _ in range(round(seconds / each)):
            clock.now += each
            herald.beat_now()
            herald.speak([seat])

    return pass_time


def test_an_engine_that_stands_still_outside_of_tasks_is_replaced(beats, seat):
    beats(400)
    assert not seat.ended_for

    seat.block.open_none(8)
    seat.block.idle()
    beats(50)
    assert not seat.ended_for
    beats(30)

    assert seat.ended_for == "it hung"


def test_an_engine_in_a_long_call_has_more_time(beats, seat):
    seat.block.open_none(8)
    seat.block.talk()

    beats(200)
    assert not seat.ended_for
    beats(200)

    assert seat.ended_for == "it hung"


def test_an_idle_engine_does_not_hang_because_there_are_many_beats(beats, seat):
    seat.block.open_none(8)
    seat.block.idle()

    beats(20, each=0.2)
    assert not seat.ended_for
    beats(60, each=0.2)

    assert seat.ended_for == "it hung"


def test_time_without_beats_is_not_held_against_an_engine(beats, seat):
    seat.block.open_none(8)
    seat.block.idle()

    beats(3000, each=500)

    assert not seat.ended_for


def test_an_alarm_is_a_reason_to_sweep_at_once(herald, store):
    herald.speak([])
    herald.sweep_now()
    assert herald.due <= time.monotonic()

    herald.speak([])

    assert len(store.heard("sweep")) == 2
    assert len(store.heard("beat")) == 1


def test_a_sweep_is_repeated_at_once_when_there_is_more(herald, store):
    store.answers["sweep"] = [b"ok", 0, 1]
    herald.speak([])
    assert herald.due <= time.monotonic()

    store.answers["sweep"] = [b"ok", 500, 0]
    herald.speak([])

    assert 0.1 < herald.due - time.monotonic() < 0.6
    assert len(store.heard("beat")) == 1
