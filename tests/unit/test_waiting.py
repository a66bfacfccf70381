"""Waiting: the stream tells, and the records when it is quiet."""

from __future__ import annotations

import pytest

from redtask import error, flows
from redtask.flows import Wait, waiting
from redtask.hub.calls import Call
from redtask.hub.records import Outcome, Swept
from tests.talks import GONE, GOOD, LARGE, OPEN, Talk, expected, watched

pytestmark = pytest.mark.usefixtures("clock")

# -- waiting


def test_what_is_done_asks_nothing(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", GOOD)

    talk = Talk(waiting.wait(inbox, tasks, None))

    assert talk.over
    assert talk.value is True


def test_a_look_asks_once(inbox):
    tasks = expected(inbox, "c-0", "c-1")

    talk = Talk(waiting.wait(inbox, tasks, 0))

    assert talk.asks("watch")[1:] == ["c", 4 << 20, "c-0", "c-1"]
    talk.answer(watched(GOOD, OPEN))
    assert talk.value is False
    assert tasks.open_ids() == ["c-1"]


def test_who_does_not_listen_asks_first(inbox):
    inbox.position = None
    tasks = expected(inbox, "c-0")

    talk = Talk(waiting.wait(inbox, tasks, None))

    talk.asks("watch")
    talk.answer(watched(OPEN, position="7-0"))
    assert inbox.position == "7-0"
    assert isinstance(talk.step, Wait)


def test_an_outcome_between_the_submit_and_the_wait_is_not_missed(inbox):
    tasks = expected(inbox, "c-0")
    inbox.feed([(b"6-0", [b"c-0", b"c1:n\0rbody"])])

    assert Talk(waiting.wait(inbox, tasks, None)).value is True


def test_an_outcome_between_the_look_and_the_wait_is_seen(inbox):
    tasks = expected(inbox, "c-0")
    talk = Talk(waiting.wait(inbox, tasks, None))

    inbox.deliver("c-0", GOOD)

    # The driver compares before it waits.
    assert talk.step == Wait(inbox, tasks, 0, flows.QUIET)
    assert tasks.arrived != talk.step.seen
    assert talk.answer(True).value is True


# -- glancing


def glance(inbox, tasks, clock):
    """Return the talk of a glance; None if there is no use in one."""
    if not waiting.may_glance(inbox, tasks, clock.now):
        return None
    return Talk(waiting.glance(inbox, tasks))


def test_a_glance_listens_and_is_good_for_all_tasks_of_the_client(inbox, clock):
    first, second = (expected(inbox, name) for name in ("c-0", "c-1"))

    talk = glance(inbox, first, clock)

    assert talk.step == Wait(inbox, first, 0, 0.0002, 0.0002, flows.nobody)
    assert talk.answer(False).over
    assert glance(inbox, second, clock) is None
    clock.now += 0.01
    assert isinstance(glance(inbox, second, clock).step, Wait)


def test_a_glance_asks_the_records_when_the_stream_may_not_tell(inbox, clock):
    tasks, large = (expected(inbox, f"{who}-0") for who in "cd")
    large.ids *= 1000
    glance(inbox, tasks, clock).answer(False)

    clock.now += 6
    talk = glance(inbox, large, clock)
    assert isinstance(talk.step, Wait)
    talk.answer(False)
    talk = glance(inbox, tasks, clock)
    talk.asks("watch")
    talk.answer(watched(OPEN))
    inbox.disturbed()
    glance(inbox, large, clock).asks("watch")


def test_a_glance_in_which_the_stream_is_lost_asks_the_records(inbox, clock):
    tasks = expected(inbox, "c-0")
    talk = glance(inbox, tasks, clock)
    clock.now += 0.001
    inbox.disturbed()

    talk.answer(False)

    talk.asks("watch")
    assert talk.answer(watched(GOOD)).over
    assert tasks.done


def test_nobody_glances_for_a_while_at_a_redis_that_is_away(inbox, clock):
    tasks = expected(inbox, "c-0")
    inbox.disturbed_at = clock.now + 1
    with pytest.raises(error.ConnectionLost):
        glance(inbox, tasks, clock).answer(error.ConnectionLost())

    assert glance(inbox, tasks, clock) is None
    clock.now += 1
    assert glance(inbox, tasks, clock).answer(watched(GOOD)).over


def test_a_glance_sees_to_timers(inbox, clock):
    tasks = expected(inbox, "c-0")
    tasks.timed = True

    talk = glance(inbox, tasks, clock)

    talk.asks("sweep")
    assert isinstance(talk.answer(Swept(-1, False)).step, Wait)


def test_a_set_runs_if_a_record_says_so_of_one_that_is_open(inbox):
    tasks = expected(inbox, *(f"c-{number}" for number in range(502)))
    inbox.deliver("c-0", GOOD)

    talk = Talk(waiting.runs(inbox, tasks))
    assert len(talk.step.commands) == 3 * 500
    talk.answer([None, None, [b"assigned"]] * 500)
    assert talk.step.commands[2] == ("HMGET", inbox.keys.task("c-501"), "state")
    assert talk.answer([None, None, [b"running"]]).value is True

    inbox.deliver("c-501", GOOD)
    talk = Talk(waiting.runs(inbox, tasks))
    assert talk.answer([None, None, [None]] * 500).value is False


def test_nobody_asks_for_a_while_what_runs_when_redis_is_away(inbox, clock):
    tasks = expected(inbox, "c-0")
    with pytest.raises(error.ConnectionLost):
        Talk(waiting.runs(inbox, tasks)).answer(error.ConnectionLost())

    assert Talk(waiting.runs(inbox, tasks)).value is False
    assert glance(inbox, tasks, clock) is None
    clock.now += 1
    talk = Talk(waiting.runs(inbox, tasks))
    assert talk.answer([None, None, [b"running"]]).value is True
    assert glance(inbox, tasks, clock) is not None


def test_quiet_asks_the_records_less_and_less_often(inbox, clock):
    tasks = expected(inbox, "c-0")
    talk = Talk(waiting.wait(inbox, tasks, None))
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
    talk = Talk(waiting.wait(inbox, tasks, None))
    clock.now += 5
    talk.answer(False, watched(OPEN, OPEN))
    assert talk.step.seconds == 10
    clock.now += 10

    talk.answer(False, watched(GOOD, OPEN))

    assert talk.step.seconds == flows.QUIET


def test_time_over_looks_once_more(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(waiting.wait(inbox, tasks, 1.5))
    assert talk.step.seconds == 1.5
    clock.now += 1.5

    talk.answer(False)

    assert talk.asks("watch")[3:] == ["c-0"]
    assert talk.answer(watched(GOOD)).value is True


def test_time_over_is_false(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(waiting.wait(inbox, tasks, 1.5))
    clock.now += 1.5

    assert talk.answer(False, watched(OPEN)).value is False


def test_a_short_look_now_and_then_need_not_ask(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.1
    talk = Talk(waiting.until(inbox, tasks, lambda: tasks.done, 0.1, sure=False))
    clock.now += 0.1

    assert talk.answer(False).value is False


def test_one_who_asks_asks_for_the_others_too(inbox, clock):
    sets = [expected(inbox, f"c-{number}") for number in range(1200)]
    inbox.open.update(dict.fromkeys(name for tasks in sets for name in tasks.ids))
    talks = [Talk(waiting.wait(inbox, tasks, None)) for tasks in sets]
    clock.now += 5
    asked = 0

    for talk in talks:
        talk.answer(False)
        while isinstance(talk.step, Call):
            asked += 1
            talk.answer(watched(*[OPEN] * (len(talk.step.args) - 3)))

    # Six waiters ask for themselves and 199 others each.
    assert asked == 6
    assert all(isinstance(talk.step, Wait) for talk in talks)


def test_what_is_still_to_be_submitted_is_in_no_record(inbox, clock):
    own, _ = expected(inbox, "c-0", "c-1"), expected(inbox, "c-2")
    inbox.underway.update(["c-1", "c-2"])
    clock.now += 5

    talk = Talk(waiting.check_quiet(inbox, own, clock.now))

    assert list(talk.step.args[3:]) == ["c-0"]


def test_a_disturbed_stream_is_reason_enough_to_ask(inbox, clock):
    tasks = expected(inbox, "c-0")
    talk = Talk(waiting.wait(inbox, tasks, None))
    clock.now += 0.01
    inbox.disturbed()

    talk.answer(False)

    talk.asks("watch")


def test_a_stream_that_was_disturbed_before_is_too(inbox, clock):
    tasks = expected(inbox, "c-0")
    clock.now += 0.01
    inbox.disturbed()

    talk = Talk(waiting.wait(inbox, tasks, None))

    talk.asks("watch")
    assert isinstance(talk.answer(watched(OPEN)).step, Wait)


def test_many_ids_are_asked_in_slices(inbox):
    tasks = expected(inbox, *(f"c-{number}" for number in range(1001)))

    talk = Talk(waiting.wait(inbox, tasks, 0))
    sizes = []
    while not talk.over:
        sizes.append(len(talk.asks("watch")) - 3)
        talk.answer(watched(*[GOOD] * sizes[-1]))

    assert sizes == [200, 200, 200, 200, 200, 1]
    assert talk.value is True


def test_a_full_hub_can_still_be_read(inbox):
    tasks = expected(inbox, "c-0")
    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(error.HubFull())

    assert talk.asks("watch")[1] == ""
    assert talk.answer(watched(GOOD, position="")).value is True


def test_a_record_that_is_gone_is_an_outcome(inbox):
    tasks = expected(inbox, "c-0")

    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE))

    assert talk.value is True
    assert tasks.outcomes["c-0"].payload.startswith(b"record_gone")


# -- payloads that were too large


RECORD = [b"completed", b"1:n", b"", None]


def test_small_payloads_are_told_together_and_large_ones_read(inbox):
    tasks = expected(inbox, "c", "c-0", "c-1", "c-2", "c-3")
    for name in tasks.ids:
        inbox.deliver(name, LARGE)

    talk = Talk(waiting.complete(inbox, tasks))

    # The first shows how large they are.
    assert talk.step.commands[1:] == [("GET", "{redtask:h}:task:c:result")]
    talk.answer([RECORD, b"envelope"])
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
    tasks = expected(inbox, *[f"c-{number}" for number in range(21)])
    for name in tasks.ids:
        inbox.deliver(name, LARGE)
    large = bytes(16384)

    talk = Talk(waiting.complete(inbox, tasks))
    talk.answer([RECORD, large])
    # Not by a script, whatever it would tell of them.
    assert len(talk.step.commands) == 32
    talk.answer([RECORD, large] * 16)
    assert len(talk.step.commands) == 8
    assert talk.answer([RECORD, large] * 4).over


def test_large_payloads_may_be_left_for_later(inbox):
    tasks = expected(inbox, "c-0", "c-1")
    inbox.deliver("c-0", LARGE)
    inbox.deliver("c-1", LARGE)

    talk = Talk(waiting.complete(inbox, tasks, large=False))

    assert talk.answer(watched(GOOD, LARGE)).over
    assert tasks.outcomes["c-1"] == LARGE


def test_a_large_error_is_read_as_well(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", Outcome("failed", "1:n", "-", b""))

    talk = Talk(waiting.complete(inbox, tasks))

    assert talk.step.commands[1] == ("GET", "{redtask:h}:task:c-0:error")
    talk.answer([[b"failed", b"1:n", b"", None], b"envelope"])
    assert tasks.outcomes["c-0"] == Outcome("failed", "1:n", "e", b"envelope")


def test_only_what_is_asked_for_is_fetched(inbox):
    tasks = expected(inbox, "c-0", "c-1")
    inbox.deliver("c-0", LARGE)
    inbox.deliver("c-1", LARGE)

    talk = Talk(waiting.complete(inbox, tasks, ["c-1", "c-9"]))

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

    talk = Talk(waiting.complete(inbox, tasks))
    talk.answer(reply)

    assert talk.asks("watch")[3:] == ["c-0"]
    assert talk.answer(watched(GOOD, position="")).over
    assert tasks.outcomes["c-0"] == GOOD


def test_an_end_that_redis_forgot_is_waited_for_again(inbox):
    tasks = expected(inbox, "c-0")
    inbox.deliver("c-0", LARGE)
    talk = Talk(waiting.collect(inbox, tasks, lambda: tasks.done, None))

    talk.answer([[None] * 4, None], watched(OPEN, position=""))

    talk.asks("watch")
    talk.answer(watched(OPEN))
    assert not tasks.done
    assert isinstance(talk.step, Wait)
    inbox.deliver("c-0", GOOD)
    assert talk.answer(True).value is True


# -- sweeping


def timed(inbox, *ids):
    tasks = expected(inbox, *ids)
    tasks.timed = True
    return tasks


def test_who_waits_for_a_time_does_what_is_due(inbox, clock):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))

    talk.asks("sweep")
    assert talk.answer(Swept(300, more=False)).step.seconds == pytest.approx(0.3)
    clock.now += 0.3
    talk.answer(False).asks("sweep")
    seconds = talk.answer(Swept(-1, more=False)).step.seconds
    assert seconds == pytest.approx(flows.QUIET - 0.3)


def test_sweeps_are_shared(inbox, clock):
    one = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))
    one.asks("sweep")

    other = Talk(waiting.wait(inbox, timed(inbox, "c-1"), None))
    assert other.step.seconds == pytest.approx(0.1)
    one.answer(Swept(2000, more=False))

    clock.now += 0.1
    assert other.answer(False).step.seconds == pytest.approx(1.9)


def test_a_sweep_that_did_not_finish_goes_on(inbox):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))

    assert talk.answer(Swept(0, more=True)).step.seconds == 0
    talk.answer(False).asks("sweep")
    assert talk.answer(Swept(0, more=False)).step.seconds == pytest.approx(0.02)


def test_a_sweep_that_is_refused_is_no_business_of_who_waits(inbox, clock):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))

    talk.asks("sweep")
    talk.answer(error.HubError("Redis refuses: WRONGTYPE"))

    assert talk.step.seconds == pytest.approx(flows.QUIET)
    clock.now += flows.QUIET
    talk.answer(False, watched(OPEN)).asks("sweep")


def test_without_a_hub_who_waits_is_told(inbox):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))

    talk.asks("sweep")

    with pytest.raises(error.NoHub):
        talk.answer(error.NoHub())


def test_sweeping_is_not_asking_the_records(inbox, clock):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), None))
    for _ in range(20):
        talk.asks("sweep")
        talk.answer(Swept(100, more=False))
        clock.now += 0.1
        talk.answer(False)
    clock.now += flows.QUIET

    talk.answer(Swept(100, more=False), False).asks("watch")


def test_who_waits_for_no_time_does_not_sweep(inbox):
    assert isinstance(
        Talk(waiting.wait(inbox, expected(inbox, "c-0"), None)).step, Wait
    )


@pytest.mark.parametrize("state", ["waiting", "assigned", "running"])
def test_what_waits_may_wait_for_a_time_and_who_runs_it_may_be_gone(inbox, state):
    tasks = expected(inbox, "c-0")
    outcome = Outcome(state, "", "", b"")

    Talk(waiting.recheck(inbox, tasks)).answer(watched(outcome))

    assert tasks.timed


def test_that_is_noted_with_whoever_waits_for_it(inbox, clock):
    one, other = expected(inbox, "c-0"), expected(inbox, "x-1")
    talk = Talk(waiting.wait(inbox, one, None))
    clock.now += flows.QUIET

    talk.answer(False).asks("watch")
    talk.answer(watched(OPEN, Outcome("running", "", "", b"")))

    assert (one.timed, other.timed) == (False, True)


def test_who_waits_for_the_first_of_several_sweeps_for_them_too(inbox, clock):
    talk = first_done(inbox, [expected(inbox, "c-0")])
    clock.now += flows.QUIET
    talk.answer(False).asks("watch")

    talk.answer(watched(Outcome("running", "", "", b""))).asks("sweep")


def test_a_deadline_is_kept_while_sweeping(inbox, clock):
    talk = Talk(waiting.wait(inbox, timed(inbox, "c-0"), 1.0))

    assert talk.answer(Swept(5000, more=False)).step.seconds == pytest.approx(1.0)
    clock.now += 1.0

    assert talk.answer(False).over
    assert talk.value is False


# -- the first of several


def first_done(inbox, sets, timeout=None):
    def left():
        return [tasks for tasks in sets if not tasks.done]

    vigil = waiting.Vigil(lambda: len(left()) < len(sets), left)
    return Talk(waiting.first_done(inbox, vigil, timeout))


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

    assert len(talk.answer(False).asks("watch")) == 203
    for asked in (200, 200, 100):
        assert len(talk.answer(watched(*[OPEN] * 200)).asks("watch")) == 3 + asked
    assert talk.answer(watched(*[OPEN] * 100)).step.seconds == 2 * flows.QUIET


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
