"""Submitting: what a client does when there is no room."""

from __future__ import annotations

import pytest

from redtask.error import HubFull
from redtask.flows.entering import enter
from redtask.hub.calls import Group
from redtask.hub.records import Swept

SLICE = [Group("f", b"function", "f", {}, ["c-1", b"args"])]


def perform(flow, answers):
    """Give the calls of a flow these answers, or errors; return their scripts."""
    scripts, answers = [], iter(answers)
    try:
        call = next(flow)
        while True:
            scripts.append(call.script)
            answer = next(answers)
            if isinstance(answer, Exception):
                call = flow.throw(answer)
            else:
                call = flow.send(answer)
    except StopIteration:
        return scripts


def test_a_full_hub_forgets_what_there_is_no_room_for_and_takes_the_task():
    sent: set[str] = set()
    answers = [HubFull(), Swept(0, more=True), Swept(0, more=False), None]

    scripts = perform(enter(SLICE, sent), answers)

    assert scripts == ["submit", "sweep", "sweep", "submit"]
    assert sent == {"f"}


def test_a_hub_that_stays_full_says_so():
    sent: set[str] = set()

    with pytest.raises(HubFull):
        perform(enter(SLICE, sent), [HubFull(), Swept(0, more=False), HubFull()])

    assert sent == set()
