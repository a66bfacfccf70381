"""What tests of conversations have: a clock, a contact, an inbox."""

from __future__ import annotations

import threading

import pytest

from redtask.hub.keys import Keys
from redtask.inbox import Inbox
from redtask.recent import Contact, Recent
from tests.talks import Clock


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("flows.entering", "flows.waiting", "flows.story", "inbox", "recent"):
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
