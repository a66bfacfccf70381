"""What a client waits for, and what has arrived."""

from __future__ import annotations

import gc
import math
import threading
from typing import Any

import pytest

from redtask.hub.keys import Keys
from redtask.hub.records import Outcome
from redtask.inbox import Inbox, TaskSet
from redtask.recent import Contact, Recent

GOOD = Outcome("completed", "1:n", "r", b"envelope")
LARGE = Outcome("completed", "1:n", "-", b"")


def new_inbox():
    return Inbox("c", Recent(Contact()), threading.Lock(), Keys("h"))


@pytest.fixture
def inbox():
    return new_inbox()


def entry(at, *pairs):
    return at.encode(), [part for pair in pairs for part in pair]


def test_a_set_is_done_when_all_has_arrived(inbox):
    tasks = TaskSet(["c-0", "c-1"])
    inbox.expect(tasks)

    inbox.feed([entry("5-0", (b"c-1", b"c1:n\0rbody"))])
    assert (tasks.done, tasks.open_ids(), list(tasks.order)) == (
        False,
        ["c-0"],
        ["c-1"],
    )
    inbox.feed([entry("6-0", (b"c-0", b"f1:n\0ebad"), (b"c-9", b"c1:n\0r"))])

    assert tasks.done
    assert tasks.order == ["c-1", "c-0"]
    assert tasks.outcomes["c-1"] == Outcome("completed", "1:n", "r", b"body")
    assert tasks.outcomes["c-0"] == Outcome("failed", "1:n", "e", b"bad")
    assert inbox.position == "6-0"
    assert inbox.arrived == 2


class Hooked(TaskSet):
    """Calls something just before the first outcome is stored."""

    hook: Any = bool

    def store(self, *told):
        act, self.hook = self.hook, bool
        act()
        return super().store(*told)


def test_a_set_that_is_added_while_others_hear_of_its_task_hears_of_it_too(inbox):
    tasks, late = Hooked(["c-0"]), TaskSet(["c-0"])
    tasks.hook = lambda: inbox.expect(late)
    inbox.expect(tasks)

    inbox.feed([entry("5-0", (b"c-0", b"c1:n\0rbody"))])

    assert tasks.outcomes == late.outcomes != {}
    assert not inbox.expects("c-0")


def test_who_is_interrupted_while_it_delivers_leaves_the_task_to_the_next(inbox):
    tasks = Hooked(["c-0", "c-1"])
    inbox.expect(tasks)
    told = entry("5-0", (b"c-0", b"c1:n\0r"), (b"c-1", b"c1:n\0r"))

    def press():
        raise KeyboardInterrupt

    tasks.hook = press
    with pytest.raises(KeyboardInterrupt):
        inbox.feed([told])
    inbox.feed([told])

    assert tasks.done


def test_the_position_only_advances(inbox):
    inbox.feed([entry("10-0"), entry("10-3")])

    inbox.feed([entry("9-5"), entry("10-0")])

    assert inbox.position == "10-3"


def test_an_entry_wakes_waiters_once_however_many_outcomes_it_has(inbox):
    both, one, none = TaskSet(["c-0", "c-1"]), TaskSet(["c-1"]), TaskSet(["c-2"])
    for tasks in (both, one, none):
        inbox.expect(tasks)
    woken = []

    def waker(name, who):
        return lambda: woken.append((name, who.arrived))

    for name, who in (("both", both), ("one", one), ("none", none), ("all", inbox)):
        who.wakers.append(waker(name, who))

    inbox.feed([entry("5-0", (b"c-0", b"c1:n\0ra"), (b"c-1", b"c1:n\0rb"))])

    assert sorted(woken) == [("all", 1), ("both", 1), ("one", 1)]
    assert both.order == ["c-0", "c-1"]
    assert one.done
    assert not none.outcomes


def test_what_nobody_expects_wakes_nobody(inbox):
    gone = TaskSet(["c-1"])
    inbox.expect(gone)
    del gone
    inbox.wakers.append(lambda: pytest.fail("woken"))

    inbox.feed([entry("5-0", (b"c-9", b"c1:n\0ra"))])

    assert inbox.position == "5-0"


def test_a_task_may_stand_twice_in_a_set():
    tasks = TaskSet(["c-0", "c-0"])

    tasks.deliver("c-0", GOOD)

    assert tasks.done


def test_an_empty_set_is_done():
    assert TaskSet(()).done


def test_two_sets_may_wait_for_one_task(inbox):
    one, other = TaskSet(["c-0"]), TaskSet(["c-0", "c-1"])
    inbox.expect(one)
    inbox.expect(other)

    inbox.deliver("c-0", GOOD)

    assert one.done
    assert other.open_ids() == ["c-1"]


def test_what_has_arrived_is_not_expected_again(inbox):
    tasks = TaskSet(["c-0"])
    tasks.deliver("c-0", GOOD)

    inbox.expect(tasks)

    assert not inbox._waiting


def test_what_is_told_of_the_sheet_is_read_when_it_is_needed(inbox):
    tasks = TaskSet(["c-00", "c-01"])
    inbox.expect(tasks)

    inbox.feed([entry("5-0", (b"c-00", b"c\0000\0001:n\0005\0009\0007\0body"))])

    # There may be millions of them.
    assert not gc.is_tracked(tasks.told)
    assert tasks.outcome("c-00") == Outcome("completed", "1:n", "r", b"body")
    assert (tasks.state("c-00"), tasks.state("c-01")) == ("completed", "")
    assert list(tasks.states()) == ["completed"]
    assert 0 < tasks.size("c-00") < 100
    assert tasks.size("c-01") == 0


@pytest.mark.parametrize(
    "bad",
    [
        (b"c-0", b"?"),
        (b"c-0", b""),
        (b"c-0", b"c\xff\0rbody"),
        (b"c-0", b"c1:n\0\xffbody"),
        (b"\xff", b"c1:n\0rbody"),
    ],
)
def test_what_cannot_be_read_hides_nothing_else(inbox, bad):
    tasks, woken = TaskSet(["c-0", "c-1", "c-2"]), []
    inbox.expect(tasks)
    tasks.wakers.append(lambda: woken.append(list(tasks.order)))
    one, two = ((name, b"c1:n\0rbody") for name in (b"c-1", b"c-2"))

    is_all = inbox.feed([entry("5-0", one, bad), entry("6-0", bad, two)])

    assert not is_all
    assert woken == [["c-1"], ["c-1", "c-2"]]
    assert inbox.position == "6-0"
    assert inbox.feed([entry("7-0", (b"c-0", b"c1:n\0rbody"))])
    assert tasks.done


@pytest.mark.parametrize("value", [b"c\0", b"c\0e\0t\0", b"c\0e\0\xff\0\0\0\0"])
def test_what_is_no_outcome_of_the_sheet_is_signed_by_nobody(inbox, value):
    tasks = TaskSet(["c-0"])
    inbox.expect(tasks)

    inbox.feed([entry("5-0", (b"c-0", value))])

    assert (tasks.state("c-0"), tasks.outcome("c-0").payload) == ("completed", b"")


def test_what_did_not_come_along_is_of_any_size(inbox):
    tasks = TaskSet(["c-0", "c-1"])
    inbox.expect(tasks)

    inbox.feed([entry("5-0", (b"c-0", b"c1:n\0r"), (b"c-1", b"f1:n\0ebad"))])

    assert (tasks.size("c-0"), tasks.size("c-1")) == (math.inf, 3)


def test_told_twice_it_arrives_once():
    tasks = TaskSet(["c-0"])

    tasks.deliver("c-0", GOOD)
    received = tasks.received
    tasks.deliver("c-0", GOOD)
    tasks.deliver("c-0", Outcome("completed", "1:n", "r", b"other"))

    assert tasks.order == ("c-0",)
    assert (tasks.arrived, tasks.received) == (1, received)
    assert tasks.outcomes["c-0"] is GOOD


def test_a_payload_that_was_too_large_is_added():
    tasks = TaskSet(["c-0"])

    tasks.deliver("c-0", LARGE)
    tasks.deliver("c-0", GOOD)
    tasks.deliver("c-0", LARGE)

    assert tasks.outcomes["c-0"] is GOOD
    assert tasks.arrived == 1


def test_a_set_that_nobody_has_any_more_is_forgotten(inbox):
    tasks = TaskSet(["c-0"])
    inbox.expect(tasks)
    del tasks
    gc.collect()

    inbox._tidy()

    assert not inbox._waiting


def test_asking_again_and_again_for_one_task_leaves_nothing_behind(inbox):
    kept = TaskSet(["c-0"])
    inbox.expect(kept)

    for _ in range(100):
        inbox.expect(TaskSet(["c-0"]))

    assert len(inbox._waiting["c-0"]) <= 3
    inbox.deliver("c-0", GOOD)
    assert kept.done


def test_sets_of_several_references_are_tidied_too(inbox):
    inbox.expect(TaskSet(["c-0"]))
    inbox.expect(TaskSet(["c-0"]))
    gc.collect()

    inbox._tidy()

    assert not inbox._waiting


def test_an_inbox_tidies_itself(inbox):
    for number in range(20_000):
        inbox.expect(TaskSet([f"c-{number}"]))

    assert len(inbox._waiting) < 10_000


def test_what_arrives_wakes(inbox):
    tasks = TaskSet(["c-0"])
    woken = []
    tasks.wakers.append(lambda: woken.append("set"))
    inbox.wakers.append(lambda: woken.append("inbox"))
    inbox.expect(tasks)

    inbox.deliver("c-0", GOOD)
    inbox.deliver("c-0", GOOD)

    assert woken == ["set", "inbox"]


def test_a_task_may_be_open_again():
    tasks = TaskSet(["c-0", "c-1"])
    tasks.deliver("c-0", GOOD)
    tasks.deliver("c-1", GOOD)

    tasks.reopen("c-0")
    tasks.reopen("c-0")

    assert tasks.open_ids() == ["c-0"]
    assert tasks.order == ["c-1"]


@pytest.mark.parametrize(
    ("before", "at", "after"),
    [
        (None, "5-0", "5-0"),
        ("7-0", "9-3", "7-0"),
        # The stream ends before where we are: it is another one.
        ("7-0", "6-9", "6-9"),
        ("7-10", "7-9", "7-9"),
        ("7-0", "0-0", "0-0"),
    ],
)
def test_a_reader_goes_on_where_it_was_unless_the_stream_is_another(
    inbox, before, at, after
):
    inbox.position = before

    inbox.listens(at)

    assert inbox.position == after


def test_a_disturbed_stream_is_made_sure_of(inbox):
    inbox.listens("1-0")
    assert inbox.listening_since > 0

    inbox.disturbed()

    assert inbox.listening_since == 0
    assert inbox.disturbed_at > 0


def test_a_fork_waits_for_what_its_parent_waits_for(inbox):
    tasks = TaskSet(["c-0"])
    inbox.expect(tasks)
    child = new_inbox()

    child.adopt(inbox)
    child.deliver("c-0", GOOD)

    assert tasks.done
    assert "c-0" in inbox._waiting


def test_a_task_that_is_just_being_submitted_is_not_asked_for(inbox):
    entered, under_way = TaskSet(["c-0"]), TaskSet(["c-1"])
    others = TaskSet(["d-0"])
    for tasks in (entered, under_way, others):
        inbox.expect(tasks)

    inbox.open["c-0"] = None

    asked = [name for name, _ in inbox.unchecked(since=float("inf"))]
    assert asked == ["c-0", "d-0"]
