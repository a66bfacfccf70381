"""Conversations, held by hand: no server, no waiting."""

from __future__ import annotations

import threading

import pytest

from redtask import error, flows
from redtask.flows import Commands, Hear, Wait
from redtask.hub import calls
from redtask.hub.calls import Call, Group
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome, Status, Submitted, Swept, Watched
from redtask.inbox import Inbox, TaskSet
from redtask.recent import Contact, Recent

KEYS = Keys("hub")
OPEN = Outcome("ready", "", "", b"")
GOOD = Outcome("completed", "1:n", "r", b"envelope")
BAD = Outcome("failed", "1:n", "e", b"envelope")
LARGE = Outcome("completed", "1:n", "-", b"")
GONE = Outcome("unknown", "", "", b"")
PURGED = Outcome("purged", "", "", b"")
OK = Submitted(1, 0)


class Talk:
    """A flow and what it has said so far."""

    def __init__(self, flow):
        self.flow = flow
        self.over = False
        self.value = None
        self._take(lambda: next(flow))

    def _take(self, go):
        try:
            self.step = go()
        except StopIteration as end:
            self.over, self.value, self.step = True, end.value, None

    def answer(self, *replies):
        for reply in replies:
            assert not self.over, "nothing was asked"
            if isinstance(reply, Exception):
                self._take(lambda reply=reply: self.flow.throw(reply))
            else:
                self._take(lambda reply=reply: self.flow.send(reply))
        return self

    def asks(self, script):
        """Say that the flow wants to hear from a script; return the arguments."""
        assert isinstance(self.step, Call), self.step
        assert self.step.script == script
        return list(self.step.args)


def watched(*outcomes, position="5-0"):
    return Watched(position, list(outcomes))


def status(engines):
    return Status({"registered": str(engines)}, {}, (), ())


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    for module in ("flows", "inbox", "recent"):
        monkeypatch.setattr(f"redtask.{module}.time", clock)
    return clock


@pytest.fixture
def contact():
    contact = Contact()
    contact.opens()
    contact.hears()
    return contact


@pytest.fixture
def inbox(contact):
    inbox = Inbox("c", Recent(contact), threading.Lock(), Keys("h"))
    inbox.listens("1-0")
    return inbox


def expected(inbox, *ids):
    tasks = TaskSet(ids)
    inbox.expect(tasks)
    return tasks


def a_slice(*ids):
    tasks = [part for name in ids for part in (name, b"envelope")]
    return [Group("digest", b"blob", "f", {}, tasks)]


def lose(contact, clock):
    clock.now += 0.1
    contact.loses()
    clock.now += 0.1
    contact.opens()
    contact.hears()


# -- submitting


def test_a_stream_is_made_once_and_made_sure_of_later(inbox, clock):
    assert Talk(flows.listen(inbox)).over
    clock.now += 1801

    talk = Talk(flows.listen(inbox))

    assert talk.asks("watch")[1:] == ["c", 4 << 20]
    assert talk.answer(watched()).over
    assert Talk(flows.listen(inbox)).over


def test_a_full_hub_has_no_room_for_a_stream(inbox):
    inbox.position = None

    assert Talk(flows.listen(inbox)).answer(error.HubFull()).over
    assert inbox.position is None


def test_a_function_goes_along_with_its_first_slice(inbox):
    sent: set[str] = set()

    talk = Talk(flows.submit([a_slice("c-0"), a_slice("c-1")], sent, inbox.recent))

    assert b"blob" in talk.asks("submit")
    talk.answer(OK)
    assert b"blob" not in talk.asks("submit")
    assert talk.answer(OK).over
    assert sent == {"digest"}


def test_a_forgotten_function_is_sent_again(inbox):
    talk = Talk(flows.submit([a_slice("c-0")], {"digest"}, inbox.recent))

    assert b"blob" not in talk.asks("submit")
    talk.answer(error.UnknownFunction("digest"))
    assert b"blob" in talk.asks("submit")
    assert talk.answer(OK).over


def test_when_a_later_slice_cannot_be_made_the_earlier_are_aborted(inbox):
    def slices():
        yield a_slice("c-0", "c-1")
        raise TypeError("cannot pickle")

    talk = Talk(flows.submit(slices(), set(), inbox.recent)).answer(OK)

    assert talk.asks("abort")[2:] == ["c-0", "c-1"]
    with pytest.raises(TypeError, match="cannot pickle"):
        talk.answer(["aborted", "running"])


def test_a_refusal_of_the_first_slice_has_nothing_to_abort(inbox):
    talk = Talk(flows.submit([a_slice("c-0")], set(), inbox.recent))

    with pytest.raises(error.HubFull):
        talk.answer(error.HubFull())


def test_a_lost_connection_in_the_middle_is_told_at_once(inbox):
    slices = [a_slice("c-0"), a_slice("c-1")]
    talk = Talk(flows.submit(slices, set(), inbox.recent)).answer(OK)

    with pytest.raises(error.ConnectionLost):
        talk.answer(error.ConnectionLost("away"))


# -- waiting


def test_what_is_done_asks_nothing(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", GOOD)

    talk = Talk(flows.wait(inbox, tasks, None))

    assert talk.over
    assert talk.value is True


def test_a_look_asks_once(inbox):
    tasks = expected(inbox, "c-0", "c-1")

    talk = Talk(flows.wait(inbox, tasks, 0))

    assert talk.asks("watch")[1:] == ["c", 4 << 20, "c-0", "c-1"]
    talk.answer(watched(GOOD, OPEN))
    assert talk.value is False
    assert tasks.open_ids() == ["c-1"]


def test_who_does_not_listen_asks_first(inbox):
    inbox.position = None
    tasks = expected(inbox, "c-0")

    talk = Talk(flows.wait(inbox, tasks, None))

    talk.asks("watch")
    talk.answer(watched(OPEN, position="7-0"))
    assert inbox.position == "7-0"
    assert isinstance(talk.step, Wait)


def test_an_outcome_between_the_submit_and_the_wait_is_not_missed(inbox):
    tasks = expected(inbox, "c-0")
    inbox.feed([(b"6-0", [b"c-0", b"c1:n\0rbody"])])

    assert Talk(flows.wait(inbox, tasks, None)).value is True


def test_an_outcome_between_the_look_and_the_wait_is_seen(inbox):
    tasks = expected(inbox, "c-0")
    talk = Talk(flows.wait(inbox, tasks, None))

    inbox.deliver("c-0", GOOD)

    # The driver compares before it waits.
    assert talk.step == Wait(inbox, tasks, 0, flows.QUIET)
    assert tasks.arrived != talk.step.seen
    assert talk.answer(True).value is True


def test_quiet_asks_the_records_less_and_less_often(inbox, clock):
    tasks = expected(inbox, "c-0")
    talk = Talk(flows.wait(inbox, tasks, None))
    pauses = []

    for _ in range(5):
        pauses.append(talk.step.seconds)
        clock.now += talk.step.seconds
        talk.answer(False)
        talk.asks("watch")
        talk.answer(watched(OPEN))

    assert pauses == [5, 10, 20, 30, 30]


def test_what_quiet_finds_makes_it_ask_often_again(inbox, clock):
    tasks = expected(inbox, "c-0", "c-1")
    talk = Talk(flows.wait(inbox, tasks, None))
    clock.now += 5
    talk.answer(False, watched(OPEN, OPEN))
    assert talk.step.seconds == 10
    clock.now += 10

    talk.answer(False, watched(GOOD, OPEN))

    assert talk.step.seconds == flows.QUIET


def test_time_over_looks_once_more(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(flows.wait(inbox, tasks, 1.5))
    assert talk.step.seconds == 1.5
    clock.now += 1.5

    talk.answer(False)

    assert talk.asks("watch")[3:] == ["c-0"]
    assert talk.answer(watched(GOOD)).value is True


def test_time_over_is_false(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(flows.wait(inbox, tasks, 1.5))
    clock.now += 1.5

    assert talk.answer(False, watched(OPEN)).value is False


def test_a_short_look_now_and_then_need_not_ask(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(flows.until(inbox, tasks, lambda: tasks.done, 0.1, sure=False))
    clock.now += 0.1

    assert talk.answer(False).value is False


def test_one_who_asks_asks_for_the_others_too(inbox, clock):
    sets = [expected(inbox, f"c-{number}") for number in range(1200)]
    inbox.open.update(dict.fromkeys(name for tasks in sets for name in tasks.ids))
    talks = [Talk(flows.wait(inbox, tasks, None)) for tasks in sets]
    clock.now += 5
    asked = 0

    for talk in talks:
        talk.answer(False)
        while isinstance(talk.step, Call):
            asked += 1
            talk.answer(watched(*[OPEN] * (len(talk.step.args) - 3)))

    # Three waiters ask for themselves and 499 others each.
    assert asked == 3
    assert all(isinstance(talk.step, Wait) for talk in talks)


def test_what_is_still_to_be_submitted_is_in_no_record(inbox, clock):
    own, _ = expected(inbox, "c-0", "c-1"), expected(inbox, "c-2")
    inbox.underway.update(["c-1", "c-2"])
    clock.now += 5

    talk = Talk(flows.check_quiet(inbox, own, clock.now))

    assert list(talk.step.args[3:]) == ["c-0"]


def test_a_disturbed_stream_is_reason_enough_to_ask(inbox, clock):
    tasks = expected(inbox, "c-0")
    talk = Talk(flows.wait(inbox, tasks, None))
    clock.now += 0.01
    inbox.disturbed()

    talk.answer(False)

    talk.asks("watch")


def test_a_stream_that_was_disturbed_before_is_too(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.01
    inbox.disturbed()

    talk = Talk(flows.wait(inbox, tasks, None))

    talk.asks("watch")
    assert isinstance(talk.answer(watched(OPEN)).step, Wait)


def test_many_ids_are_asked_in_slices(inbox):
    tasks = expected(inbox, *(f"c-{number}" for number in range(1001)))

    talk = Talk(flows.wait(inbox, tasks, 0))
    sizes = []
    while not talk.over:
        sizes.append(len(talk.asks("watch")) - 3)
        talk.answer(watched(*[GOOD] * sizes[-1]))

    assert sizes == [500, 500, 1]
    assert talk.value is True


def test_a_full_hub_can_still_be_read(inbox):
    tasks = expected(inbox, "c-0")
    talk = Talk(flows.wait(inbox, tasks, 0)).answer(error.HubFull())

    assert talk.asks("watch")[1] == ""
    assert talk.answer(watched(GOOD, position="")).value is True


def test_a_record_that_is_gone_is_an_outcome(inbox):
    tasks = expected(inbox, "c-0")

    talk = Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE))

    assert talk.value is True
    assert tasks.outcomes["c-0"].payload.startswith(b"record_gone")


def test_any_of_several_sets(inbox, clock):
    one, other = expected(inbox, "c-0"), expected(inbox, "c-1")
    talk = Talk(flows.any_done(inbox, [one, other]))
    assert isinstance(talk.step, Wait)
    assert talk.step.tasks == inbox

    inbox.deliver("c-1", GOOD)

    assert talk.answer(True).over
    assert Talk(flows.any_done(inbox, [one, other])).over


def test_a_lost_outcome_is_found_although_others_go_on_arriving(inbox, clock):
    lost = expected(inbox, "c-0")
    clock.now += 6
    talk = Talk(flows.any_done(inbox, [lost]))

    talk.answer(True)

    assert talk.asks("watch")[3:] == ["c-0"]


def test_any_of_several_listens_first(inbox):
    inbox.position = None

    talk = Talk(flows.any_done(inbox, [expected(inbox, "c-0")]))

    talk.asks("watch")
    assert isinstance(talk.answer(watched()).step, Wait)


# -- payloads that were too large


RECORD = [b"completed", b"1:n", b"", None]


def test_small_payloads_are_told_together_and_large_ones_read(inbox):
    tasks = expected(inbox, "c-0", "c-1", "c-2", "c-3")
    for name in tasks.ids:
        inbox.deliver(name, LARGE)

    talk = Talk(flows.complete(inbox, tasks))

    assert talk.asks("watch")[1:] == ["", 1 << 20, "c-0", "c-1", "c-2", "c-3"]
    talk.answer(watched(GOOD, LARGE, GOOD, LARGE))
    assert [words[:2] for words in talk.step.commands[:2]] == [
        ("HMGET", "{redtask:h}:task:c-1"),
        ("GET", "{redtask:h}:task:c-1:result"),
    ]
    inside = [b"completed", b"1:n", b"envelope", None]
    assert talk.answer([RECORD, b"envelope", inside, None]).over
    assert all(outcome == GOOD for outcome in tasks.outcomes.values())


def test_large_payloads_are_read_some_at_a_time(inbox):
    tasks = expected(inbox, *[f"c-{number}" for number in range(20)])
    for name in tasks.ids:
        inbox.deliver(name, LARGE)

    talk = Talk(flows.complete(inbox, tasks))
    talk.answer(watched(*[LARGE] * 20))
    assert len(talk.step.commands) == 32
    talk.answer([RECORD, b"envelope"] * 16)
    assert len(talk.step.commands) == 8
    assert talk.answer([RECORD, b"envelope"] * 4).over


def test_large_payloads_may_be_left_for_later(inbox):
    tasks = expected(inbox, "c-0", "c-1")
    inbox.deliver("c-0", LARGE)
    inbox.deliver("c-1", LARGE)

    talk = Talk(flows.complete(inbox, tasks, large=False))

    assert talk.answer(watched(GOOD, LARGE)).over
    assert tasks.outcomes["c-1"] == LARGE


def test_a_large_error_is_read_as_well(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", Outcome("failed", "1:n", "-", b""))

    talk = Talk(flows.complete(inbox, tasks))

    assert talk.step.commands[1] == ("GET", "{redtask:h}:task:c-0:error")
    talk.answer([[b"failed", b"1:n", b"", None], b"envelope"])
    assert tasks.outcomes["c-0"] == Outcome("failed", "1:n", "e", b"envelope")


def test_only_what_is_asked_for_is_fetched(inbox):
    tasks = expected(inbox, "c-0", "c-1")
    inbox.deliver("c-0", LARGE)
    inbox.deliver("c-1", LARGE)

    talk = Talk(flows.complete(inbox, tasks, ["c-1", "c-9"]))

    assert len(talk.step.commands) == 2
    assert talk.answer([RECORD, b"envelope"]).over


@pytest.mark.parametrize(
    "reply",
    [
        [[None] * 4, None],
        [[b"ready", None, None, None], None],
        [[b"completed", b"1:n", b"", None], None],
        [[b"failed", b"1:n", None, b"aborted"], None],
    ],
)
def test_a_payload_that_is_not_what_it_was_is_asked_for(inbox, reply):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", LARGE)

    talk = Talk(flows.complete(inbox, tasks))
    talk.answer(reply)

    assert talk.asks("watch")[3:] == ["c-0"]
    assert talk.answer(watched(GOOD, position="")).over
    assert tasks.outcomes["c-0"] == GOOD


def test_an_end_that_redis_forgot_is_waited_for_again(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", LARGE)
    talk = Talk(flows.collect(inbox, tasks, lambda: tasks.done, None))

    talk.answer([[None] * 4, None], watched(OPEN, position=""))

    talk.asks("watch")
    talk.answer(watched(OPEN))
    assert not tasks.done
    assert isinstance(talk.step, Wait)
    inbox.deliver("c-0", GOOD)
    assert talk.answer(True).value is True


# -- what Redis forgot


def test_after_a_loss_the_last_slices_are_said_again(inbox, contact, clock):
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(flows.recover(inbox, {"digest"}))
    talk.answer(watched(GONE))

    assert "c-0" in talk.asks("submit")
    assert b"blob" not in talk.asks("submit")
    talk.answer(error.UnknownFunction("digest"))
    assert b"blob" in talk.asks("submit")
    assert talk.answer(Submitted(0, 1)).over
    assert not inbox.recent.is_due
    assert Talk(flows.recover(inbox, set())).over


def test_what_redis_still_knows_is_not_said_again(inbox, contact, clock):
    for number in range(40):
        pieces = [a_slice(f"c-{number}")]
        Talk(flows.submit(pieces, set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(flows.recover(inbox, {"digest"}))
    assert len(talk.asks("watch")[3:]) == 40
    talk.answer(watched(*[OPEN] * 7, GONE, *[GOOD] * 32))

    assert "c-7" in talk.asks("submit")
    assert talk.answer(OK).over


@pytest.mark.parametrize("problem", [error.HubFull(), error.NoHub("none")])
def test_who_asks_does_not_hear_of_a_recovery_that_failed(
    inbox, contact, clock, problem
):
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(flows.recover(inbox, set())).answer(watched(GONE), problem)

    assert talk.over
    assert inbox.recent.is_due


def test_a_recovery_during_which_redis_goes_away_is_still_due(inbox, contact, clock):
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(flows.recover(inbox, set()))

    with pytest.raises(error.ConnectionLost):
        talk.answer(error.ConnectionLost("away"))

    assert inbox.recent.is_due


def test_a_forgotten_task_is_submitted_again_by_who_waits(inbox, contact, clock):
    tasks = expected(inbox, "c-0", "c-1")
    Talk(flows.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(flows.wait(inbox, tasks, 0))

    talk.answer(watched(GONE, GOOD), watched(GONE, GOOD))

    arguments = talk.asks("submit")
    assert b"blob" in arguments
    assert {"c-0", "c-1"} <= set(map(str, arguments))
    assert talk.answer(Submitted(1, 1)).value is False
    assert tasks.open_ids() == ["c-0"]


def test_all_forgotten_tasks_of_a_slice_are_submitted_again(inbox, contact, clock):
    tasks = expected(inbox, "c-0", "c-1")
    Talk(flows.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(flows.wait(inbox, tasks, 0))

    talk.answer(watched(GONE, GONE), watched(GONE, GONE))
    talk.asks("submit")

    assert talk.answer(OK).value is False
    assert tasks.open_ids() == ["c-0", "c-1"]


def test_what_another_has_submitted_again_meanwhile_is_not_lost(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    waiting = Talk(flows.wait(inbox, tasks, 0))
    waiting.asks("watch")

    Talk(flows.recover(inbox, {"digest"})).answer(watched(GONE), OK)

    assert waiting.answer(watched(GONE)).value is False
    assert tasks.open_ids() == ["c-0"]


def test_a_task_that_is_gone_twice_is_lost(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE), OK)

    talk = Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE))

    assert talk.value is True
    assert tasks.outcomes["c-0"].state == "unknown"


def test_a_task_that_is_gone_without_a_loss_is_lost(inbox):
    tasks = expected(inbox, "c-0")
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)

    assert Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE)).value is True


def test_a_full_hub_takes_a_forgotten_task_later(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE))

    assert talk.answer(error.HubFull()).value is False

    talk = Talk(flows.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE))
    talk.asks("submit")


def test_a_purged_task_is_not_submitted_again(inbox, contact, clock):
    Talk(flows.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(flows.recover(inbox, set()))
    assert talk.asks("watch")[1:] == ["", 0, "c-0", "c-1"]
    talk.answer(watched(PURGED, GONE))

    assert {"c-0", "c-1"} & set(map(str, talk.asks("submit"))) == {"c-1"}
    assert talk.answer(OK).over


def test_a_slice_that_is_all_purged_is_not_submitted_again(inbox, contact, clock):
    Talk(flows.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    assert Talk(flows.recover(inbox, set())).answer(watched(PURGED)).over


def test_a_purged_task_is_lost_for_who_waits(inbox):
    tasks = expected(inbox, "c-0")

    assert Talk(flows.wait(inbox, tasks, 0)).answer(watched(PURGED)).value is True
    assert tasks.outcomes["c-0"].state == "unknown"


# -- reading and the rest


def test_records_are_read_in_one_trip():
    talk = Talk(flows.records(KEYS, ["c-0", "c-1"]))

    assert talk.step == Commands(
        [("HGETALL", KEYS.task("c-0")), ("HGETALL", KEYS.task("c-1"))]
    )
    talk.answer([[b"state", b"ready"], {}])
    assert talk.value == [{"state": "ready"}, {}]


def test_a_record_may_come_as_a_dict():
    talk = Talk(flows.records(KEYS, ["c-0"]))

    assert talk.answer([{b"state": b"ready"}]).value == [{"state": "ready"}]


def test_outputs_stand_in_the_record_or_beside_it():
    talk = Talk(flows.outputs(KEYS, ["c-0", "c-1", "c-2"], "stdout"))

    talk.answer([b"short", None, b"", b"long \xff", None, None])

    assert talk.value == ["short", "long \ufffd", ""]


def test_aborting_says_a_word_for_each():
    talk = Talk(flows.abort(["c-0", "c-1"]))

    assert talk.asks("abort")[2:] == ["c-0", "c-1"]
    talk.answer(["aborted", "ended"])
    assert talk.value == {"c-0": "aborted", "c-1": "ended"}


def test_engines_that_are_there_are_not_waited_for():
    talk = Talk(flows.engines(2, KEYS, None, block=True))

    assert talk.answer([[]], status(2)).over


def test_the_story_tells_of_engines_that_join():
    talk = Talk(flows.engines(2, KEYS, None, block=True))
    talk.answer([[(b"8-0", [])]], status(1))
    assert isinstance(talk.step, Hear)
    assert talk.step.words[-2:] == (KEYS.story(), "8-0")

    talk.answer([[b"story", [(b"9-0", [b"event", b"engine joined"])]]], status(1))
    assert talk.step.words[-1] == "9-0"
    talk.answer(error.ConnectionLost("away"), status(1))
    talk.answer(None, status(2))

    assert talk.over


def test_engines_that_do_not_come(clock):
    talk = Talk(flows.engines(2, KEYS, 3.0, block=True)).answer([[]], status(0))
    assert talk.step.words[4] == 3000
    clock.now += 3

    talk.answer(None)
    with pytest.raises(TimeoutError, match="1 of 2 engines have joined"):
        talk.answer(status(1))


def test_engines_may_be_looked_for_once():
    talk = Talk(flows.engines(1, KEYS, None, block=False)).answer([[]])

    with pytest.raises(error.NoEnginesRegistered, match="0 of 1"):
        talk.answer(status(0))


# -- gates


def gated(*ids):
    return [Group("digest", b"blob", "f", {"gate": "c-99"}, a_slice(*ids)[0].tasks)]


def test_a_gate_is_opened_when_all_is_behind_it(inbox):
    link, opening = calls.link("c-1", "after", ["p-0"]), calls.open_gate("c-99")
    pieces = [gated("c-0"), gated("c-1"), link, opening]
    talk = Talk(flows.submit(pieces, set(), inbox.recent))

    talk.asks("submit")
    talk.answer(OK).asks("submit")
    assert talk.answer(OK).asks("link")[1:] == ["c-1", "after", "p-0"]
    assert talk.answer(1).asks("open")[1:] == ["c-99"]

    assert talk.answer(2).over
    assert len(inbox.recent) == 4


def test_a_gate_is_given_up_when_something_fails_behind_it(inbox):
    pieces = [a_slice("c-5"), gated("c-0"), gated("c-1"), calls.open_gate("c-99")]
    talk = Talk(flows.submit(pieces, set(), inbox.recent))

    talk.answer(OK, OK, error.PayloadTooLarge("c-1"))

    assert talk.asks("abort")[2:] == ["c-5", "c-99"]
    with pytest.raises(error.PayloadTooLarge):
        talk.answer(["aborted", "aborted"])


def test_a_function_goes_along_once_in_a_slice(inbox):
    groups = [*a_slice("c-0"), *a_slice("c-1")]
    sent: set[str] = set()
    talk = Talk(flows.submit([groups], sent, inbox.recent))

    assert talk.asks("submit").count(b"blob") == 1
    assert talk.answer(error.UnknownFunction()).asks("submit").count(b"blob") == 2
    assert talk.answer(OK).over
    assert sent == {"digest"}


def test_what_was_said_behind_a_gate_is_said_again(inbox, contact, clock):
    link, opening = calls.link("c-0", "after", ["p-0"]), calls.open_gate("c-99")
    flow = flows.submit([gated("c-0"), link, opening], set(), inbox.recent)
    Talk(flow).answer(OK, 1, 1)
    lose(contact, clock)

    talk = Talk(flows.recover(inbox, set())).answer(watched(GONE))

    talk.asks("submit")
    talk.answer(OK).asks("link")
    talk.answer(error.UnknownTask("no such gate")).asks("open")
    assert talk.answer(1).over
    assert Talk(flows.recover(inbox, set())).over


def test_a_lost_task_behind_a_gate_is_entered_with_all_of_it(inbox, contact):
    opening = calls.open_gate("c-99")
    flow = flows.submit([gated("c-0"), gated("c-1"), opening], set(), inbox.recent)
    Talk(flow).answer(OK, OK, 1)
    contact.opens()
    tasks = expected(inbox, "c-1")

    talk = Talk(flows.recheck(inbox, tasks))

    talk.asks("watch")
    talk.answer(watched(GONE), watched(GONE))
    assert "c-0" in talk.asks("submit")
    talk.answer(OK, watched(GONE))
    assert "c-1" in talk.asks("submit")
    talk.answer(OK).asks("open")
    assert talk.answer(1).over
    assert not tasks.done


# -- sweeping


def timed(inbox, *ids):
    tasks = expected(inbox, *ids)
    tasks.timed = True
    return tasks


def test_who_waits_for_a_time_does_what_is_due(inbox, clock):
    talk = Talk(flows.wait(inbox, timed(inbox, "c-0"), None))

    talk.asks("sweep")
    assert talk.answer(Swept(300, more=False)).step.seconds == pytest.approx(0.3)
    clock.now += 0.3
    talk.answer(False).asks("sweep")
    seconds = talk.answer(Swept(-1, more=False)).step.seconds
    assert seconds == pytest.approx(flows.QUIET - 0.3)


def test_sweeps_are_shared(inbox, clock):
    one = Talk(flows.wait(inbox, timed(inbox, "c-0"), None))
    one.asks("sweep")

    other = Talk(flows.wait(inbox, timed(inbox, "c-1"), None))
    assert other.step.seconds == pytest.approx(0.1)
    one.answer(Swept(2000, more=False))

    clock.now += 0.1
    assert other.answer(False).step.seconds == pytest.approx(1.9)


def test_a_sweep_that_did_not_finish_goes_on(inbox):
    talk = Talk(flows.wait(inbox, timed(inbox, "c-0"), None))

    assert talk.answer(Swept(0, more=True)).step.seconds == 0
    talk.answer(False).asks("sweep")
    assert talk.answer(Swept(0, more=False)).step.seconds == pytest.approx(0.02)


def test_sweeping_is_not_asking_the_records(inbox, clock):
    talk = Talk(flows.wait(inbox, timed(inbox, "c-0"), None))
    for _ in range(20):
        talk.asks("sweep")
        talk.answer(Swept(100, more=False))
        clock.now += 0.1
        talk.answer(False)
    clock.now += flows.QUIET

    talk.answer(Swept(100, more=False), False).asks("watch")


def test_who_waits_for_no_time_does_not_sweep(inbox):
    assert isinstance(Talk(flows.wait(inbox, expected(inbox, "c-0"), None)).step, Wait)


def test_a_task_that_waits_may_wait_for_a_time(inbox):
    tasks = expected(inbox, "c-0")
    waiting = Outcome("waiting", "", "", b"")

    Talk(flows.recheck(inbox, tasks)).answer(watched(waiting))

    assert tasks.timed


def test_who_waits_for_one_of_several_sweeps_too(inbox):
    talk = Talk(flows.any_done(inbox, [expected(inbox, "c-0"), timed(inbox, "c-1")]))

    talk.asks("sweep")
    assert talk.answer(Swept(100, more=False)).step.seconds == pytest.approx(0.1)


def test_a_deadline_is_kept_while_sweeping(inbox, clock):
    talk = Talk(flows.wait(inbox, timed(inbox, "c-0"), 1.0))

    assert talk.answer(Swept(5000, more=False)).step.seconds == pytest.approx(1.0)
    clock.now += 1.0

    assert talk.answer(False).over
    assert talk.value is False


# -- the first of several


def first_done(inbox, sets, timeout=None):
    def left():
        return [tasks for tasks in sets if not tasks.done]

    vigil = flows.Vigil(lambda: len(left()) < len(sets), left)
    return Talk(flows.first_done(inbox, vigil, timeout))


def test_who_waits_for_the_first_hears_of_any(inbox):
    sets = [expected(inbox, "c-0"), expected(inbox, "c-1")]
    talk = first_done(inbox, sets)

    assert isinstance(talk.step, Wait)
    inbox.deliver("x-0", GOOD)
    talk.answer(True)
    assert not talk.over
    inbox.deliver("c-1", GOOD)

    assert talk.answer(True).value is True


def test_the_records_of_all_are_asked_at_once_when_it_is_quiet(inbox, clock):
    sets = [expected(inbox, f"c-{number}") for number in range(700)]
    talk = first_done(inbox, sets)
    assert talk.step.seconds == flows.QUIET
    clock.now += flows.QUIET

    assert len(talk.answer(False).asks("watch")) == 503
    assert len(talk.answer(watched(*[OPEN] * 500)).asks("watch")) == 203
    assert talk.answer(watched(*[OPEN] * 200)).step.seconds == 2 * flows.QUIET


def test_what_was_missed_among_other_arrivals_is_found(inbox, clock):
    talk = first_done(inbox, [expected(inbox, "c-0")])
    clock.now += flows.QUIET
    inbox.deliver("x-0", GOOD)

    talk.answer(True).asks("watch")

    assert talk.answer(watched(GOOD)).value is True


def test_what_comes_from_elsewhere_is_asked_for_first(inbox):
    tasks = expected(inbox, "p-0")
    tasks.checked = -1.0

    talk = first_done(inbox, [tasks])

    talk.asks("watch")
    assert talk.answer(watched(GOOD)).value is True


def test_the_first_of_several_may_not_come_in_time(inbox, clock):
    tasks = timed(inbox, "c-0")
    clock.now += 0.01
    talk = first_done(inbox, [tasks], 1.0)
    talk.asks("sweep")

    assert talk.answer(Swept(-1, more=False)).step.seconds == pytest.approx(1.0)
    clock.now += 1.0
    talk.answer(False).asks("watch")

    assert talk.answer(watched(OPEN)).value is False


def test_a_look_at_several_is_one_question(inbox):
    talk = first_done(inbox, [expected(inbox, "c-0")], 0)

    talk.asks("watch")
    assert talk.answer(watched(OPEN)).value is False
