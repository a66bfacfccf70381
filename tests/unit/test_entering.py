"""Tasks enter, and enter again what Redis forgot."""

from __future__ import annotations

import pytest

from redtask import error
from redtask.flows import entering, waiting
from redtask.hub import calls
from redtask.hub.calls import Group
from redtask.hub.records import Submitted, Swept
from tests.talks import (
    GONE,
    GOOD,
    OK,
    OPEN,
    PURGED,
    Talk,
    a_slice,
    expected,
    lose,
    watched,
)

pytestmark = pytest.mark.usefixtures("clock")

# -- submitting


def test_a_stream_is_made_once_and_made_sure_of_later(inbox, clock):
    assert Talk(entering.listen(inbox)).over
    clock.now += 1801

    talk = Talk(entering.listen(inbox))

    assert talk.asks("watch")[1:] == ["c", 4 << 20]
    assert talk.answer(watched()).over
    assert Talk(entering.listen(inbox)).over


def test_a_full_hub_has_no_room_for_a_stream(inbox):
    inbox.position = None

    assert Talk(entering.listen(inbox)).answer(error.HubFull()).over
    assert inbox.position is None


def test_a_function_goes_along_with_its_first_slice(inbox):
    sent: set[str] = set()

    talk = Talk(entering.submit([a_slice("c-0"), a_slice("c-1")], sent, inbox.recent))

    assert b"blob" in talk.asks("submit")
    talk.answer(OK)
    assert b"blob" not in talk.asks("submit")
    assert talk.answer(OK).over
    assert sent == {"digest"}


def test_functions_that_are_used_once_do_not_pile_up(inbox, monkeypatch):
    monkeypatch.setattr(entering, "_MOST_KNOWN", 3)
    sent: set[str] = set()

    for number in range(10):
        groups = [a_slice(f"c-{number}")[0]._replace(digest=f"digest{number}")]
        assert Talk(entering.submit([groups], sent, inbox.recent)).answer(OK).over
        assert f"digest{number}" in sent

    assert len(sent) <= 3


def test_a_forgotten_function_is_sent_again(inbox):
    talk = Talk(entering.submit([a_slice("c-0")], {"digest"}, inbox.recent))

    assert b"blob" not in talk.asks("submit")
    talk.answer(error.UnknownFunction("digest"))
    assert b"blob" in talk.asks("submit")
    assert talk.answer(OK).over


def test_when_a_later_slice_cannot_be_made_the_earlier_are_aborted(inbox):
    def slices():
        yield a_slice("c-0", "c-1")
        raise TypeError("cannot pickle")

    talk = Talk(entering.submit(slices(), set(), inbox.recent)).answer(OK)

    assert talk.asks("abort")[2:] == ["c-1", "c-0"]
    with pytest.raises(TypeError, match="cannot pickle"):
        talk.answer(["aborted", "running"])


def test_a_refusal_of_the_first_slice_has_nothing_to_abort(inbox):
    talk = Talk(entering.submit([a_slice("c-0")], set(), inbox.recent))

    with pytest.raises(error.BadArgument):
        talk.answer(error.BadArgument())


def test_where_redis_is_full_what_may_be_dropped_makes_room(inbox):
    talk = Talk(entering.submit([a_slice("c-0")], set(), inbox.recent))

    talk.answer(error.HubFull()).asks("sweep")
    talk.answer(Swept(0, more=True)).asks("sweep")
    talk.answer(Swept(0, more=False)).asks("submit")

    assert talk.answer(OK).over


def test_where_redis_stays_full_a_submit_is_refused(inbox):
    talk = Talk(entering.submit([a_slice("c-0")], set(), inbox.recent))
    talk.answer(error.HubFull())
    sweeps = 0
    while talk.step.script == "sweep":
        talk.answer(Swept(0, more=True))
        sweeps += 1

    with pytest.raises(error.HubFull):
        talk.answer(error.HubFull())

    assert sweeps == 50


def test_a_sweep_that_is_refused_makes_no_room(inbox):
    talk = Talk(entering.submit([a_slice("c-0")], set(), inbox.recent))
    talk.answer(error.HubFull())

    with pytest.raises(error.HubFull):
        talk.answer(error.HubError("Redis refuses: WRONGTYPE"))


def test_a_lost_connection_in_the_middle_is_told_at_once(inbox):
    slices = [a_slice("c-0"), a_slice("c-1")]
    talk = Talk(entering.submit(slices, set(), inbox.recent)).answer(OK)

    with pytest.raises(error.ConnectionLost):
        talk.answer(error.ConnectionLost("away"))


# -- what Redis forgot


def test_after_a_loss_the_last_slices_are_said_again(inbox, contact, clock):
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(entering.recover(inbox, {"digest"}))
    talk.answer(watched(GONE))

    assert "c-0" in talk.asks("submit")
    assert b"blob" not in talk.asks("submit")
    talk.answer(error.UnknownFunction("digest"))
    assert b"blob" in talk.asks("submit")
    assert talk.answer(Submitted(0, 1)).over
    assert not inbox.recent.is_due
    assert Talk(entering.recover(inbox, set())).over


def test_what_redis_still_knows_is_not_said_again(inbox, contact, clock):
    for number in range(40):
        pieces = [a_slice(f"c-{number}")]
        Talk(entering.submit(pieces, set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(entering.recover(inbox, {"digest"}))
    assert len(talk.asks("watch")[3:]) == 40
    talk.answer(watched(*[OPEN] * 7, GONE, *[GOOD] * 32))

    assert "c-7" in talk.asks("submit")
    assert talk.answer(OK).over


@pytest.mark.parametrize("problem", [error.HubFull(), error.NoHub("none")])
def test_who_asks_does_not_hear_of_a_recovery_that_failed(
    inbox, contact, clock, problem
):
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(entering.recover(inbox, set())).answer(watched(GONE), problem)

    assert talk.over
    assert inbox.recent.is_due


def test_a_recovery_during_which_redis_goes_away_is_still_due(inbox, contact, clock):
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(entering.recover(inbox, set()))

    with pytest.raises(error.ConnectionLost):
        talk.answer(error.ConnectionLost("away"))

    assert inbox.recent.is_due


def test_one_of_many_says_again_what_was_forgotten(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    first = Talk(entering.recover(inbox, {"digest"}))

    assert first.asks("watch")[-1] == "c-0"
    assert Talk(entering.recover(inbox, {"digest"})).over
    assert Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE)).value is False
    first.answer(watched(GONE)).asks("submit")
    assert first.answer(OK).over
    assert tasks.open_ids() == ["c-0"]


def test_one_of_many_who_wait_submits_a_slice_again(inbox, contact, clock):
    sets = [expected(inbox, "c-0"), expected(inbox, "c-1")]
    Talk(entering.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    first, other = [Talk(waiting.wait(inbox, tasks, 0)) for tasks in sets]

    first.answer(watched(GONE)).asks("watch")
    assert other.answer(watched(GONE)).value is False
    first.answer(watched(GONE, GONE)).asks("submit")
    assert first.answer(OK).value is False


def test_a_recovery_that_was_interrupted_is_still_due(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    entering_again = entering.recover(inbox, {"digest"})
    next(entering_again)
    entering_again.close()

    assert inbox.recent.is_due
    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE))
    talk.asks("submit")


def test_a_forgotten_task_is_submitted_again_by_who_waits(inbox, contact, clock):
    tasks = expected(inbox, "c-0", "c-1")
    Talk(entering.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(waiting.wait(inbox, tasks, 0))

    talk.answer(watched(GONE, GOOD), watched(GONE, GOOD))

    arguments = talk.asks("submit")
    assert b"blob" in arguments
    assert {"c-0", "c-1"} <= set(map(str, arguments))
    assert talk.answer(Submitted(1, 1)).value is False
    assert tasks.open_ids() == ["c-0"]


def test_all_forgotten_tasks_of_a_slice_are_submitted_again(inbox, contact, clock):
    tasks = expected(inbox, "c-0", "c-1")
    Talk(entering.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(waiting.wait(inbox, tasks, 0))

    talk.answer(watched(GONE, GONE), watched(GONE, GONE))
    talk.asks("submit")

    assert talk.answer(OK).value is False
    assert tasks.open_ids() == ["c-0", "c-1"]


def test_what_another_has_submitted_again_meanwhile_is_not_lost(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(waiting.wait(inbox, tasks, 0))
    talk.asks("watch")

    Talk(entering.recover(inbox, {"digest"})).answer(watched(GONE), OK)

    assert talk.answer(watched(GONE)).value is False
    assert tasks.open_ids() == ["c-0"]


def test_a_task_that_is_gone_twice_is_lost(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE), OK)

    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE))

    assert talk.value is True
    assert tasks.outcomes["c-0"].state == "unknown"


def test_a_task_that_is_gone_without_a_loss_is_lost(inbox):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)

    assert Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE)).value is True


def test_a_full_hub_takes_a_forgotten_task_later(inbox, contact, clock):
    tasks = expected(inbox, "c-0")
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)
    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE))

    assert talk.answer(error.HubFull()).value is False

    talk = Talk(waiting.wait(inbox, tasks, 0)).answer(watched(GONE), watched(GONE))
    talk.asks("submit")


def test_a_purged_task_is_not_submitted_again(inbox, contact, clock):
    Talk(entering.submit([a_slice("c-0", "c-1")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    talk = Talk(entering.recover(inbox, set()))
    assert talk.asks("watch")[1:] == ["", 0, "c-0", "c-1"]
    talk.answer(watched(PURGED, GONE))

    assert {"c-0", "c-1"} & set(map(str, talk.asks("submit"))) == {"c-1"}
    assert talk.answer(OK).over


def test_a_slice_that_is_all_purged_is_not_submitted_again(inbox, contact, clock):
    Talk(entering.submit([a_slice("c-0")], set(), inbox.recent)).answer(OK)
    lose(contact, clock)

    assert Talk(entering.recover(inbox, set())).answer(watched(PURGED)).over


def test_a_purged_task_is_lost_for_who_waits(inbox):
    tasks = expected(inbox, "c-0")

    assert Talk(waiting.wait(inbox, tasks, 0)).answer(watched(PURGED)).value is True
    assert tasks.outcomes["c-0"].state == "unknown"


# -- gates


def gated(*ids):
    return [Group("digest", b"blob", "f", {"gate": "c-99"}, a_slice(*ids)[0].tasks)]


def test_a_gate_is_opened_when_all_is_behind_it(inbox):
    link, opening = calls.link("c-1", "after", ["p-0"]), calls.open_gate("c-99")
    pieces = [gated("c-0"), gated("c-1"), link, opening]
    talk = Talk(entering.submit(pieces, set(), inbox.recent))

    talk.asks("submit")
    talk.answer(OK).asks("submit")
    assert talk.answer(OK).asks("link")[1:] == ["c-1", "after", "p-0"]
    assert talk.answer(1).asks("open")[1:] == ["c-99"]

    assert talk.answer(2).over
    assert len(inbox.recent) == 4


def test_a_gate_is_given_up_when_something_fails_behind_it(inbox):
    pieces = [a_slice("c-5"), gated("c-0"), gated("c-1"), calls.open_gate("c-99")]
    talk = Talk(entering.submit(pieces, set(), inbox.recent))

    talk.answer(OK, OK, error.PayloadTooLarge("c-1"))

    assert talk.asks("abort")[2:] == ["c-99", "c-5"]
    with pytest.raises(error.PayloadTooLarge):
        talk.answer(["aborted", "aborted"])


def test_a_function_goes_along_once_in_a_slice(inbox):
    groups = [*a_slice("c-0"), *a_slice("c-1")]
    sent: set[str] = set()
    talk = Talk(entering.submit([groups], sent, inbox.recent))

    assert talk.asks("submit").count(b"blob") == 1
    assert talk.answer(error.UnknownFunction()).asks("submit").count(b"blob") == 1
    assert talk.answer(OK).over
    assert sent == {"digest"}


def test_what_was_said_behind_a_gate_is_said_again(inbox, contact, clock):
    link, opening = calls.link("c-0", "after", ["p-0"]), calls.open_gate("c-99")
    flow = entering.submit([gated("c-0"), link, opening], set(), inbox.recent)
    Talk(flow).answer(OK, 1, 1)
    lose(contact, clock)

    talk = Talk(entering.recover(inbox, set())).answer(watched(GONE))

    talk.asks("submit")
    talk.answer(OK).asks("link")
    talk.answer(error.UnknownTask("no such gate")).asks("open")
    assert talk.answer(1).over
    assert Talk(entering.recover(inbox, set())).over


def test_a_lost_task_behind_a_gate_is_entered_with_all_of_it(inbox, contact):
    opening = calls.open_gate("c-99")
    flow = entering.submit([gated("c-0"), gated("c-1"), opening], set(), inbox.recent)
    Talk(flow).answer(OK, OK, 1)
    contact.opens()
    tasks = expected(inbox, "c-1")

    talk = Talk(waiting.recheck(inbox, tasks))

    talk.asks("watch")
    talk.answer(watched(GONE), watched(GONE))
    assert "c-0" in talk.asks("submit")
    talk.answer(OK, watched(GONE))
    assert "c-1" in talk.asks("submit")
    talk.answer(OK).asks("open")
    assert talk.answer(1).over
    assert not tasks.done
