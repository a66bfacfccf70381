"""What Redis may forget although it acknowledged it."""

from __future__ import annotations

import logging

import pytest

from redtask import recent as module
from redtask.hub import calls
from redtask.hub.calls import Group
from redtask.recent import Contact, Recent
from tests.talks import lose

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def recent(contact):
    return Recent(contact)


def a_slice(*ids, size=10, **flags):
    tasks = [part for name in ids for part in (name, b"x" * size)]
    return [Group("fn", b"blob", "fn", flags, tasks)]


def test_nothing_is_due_while_the_server_is_there(recent):
    recent.add(a_slice("c-0"), recent.opened())

    assert len(recent) == 1
    assert not recent.is_due
    assert recent.find("c-0") == []


def test_after_a_loss_the_last_moments_are_due_once(recent, contact, clock):
    groups = a_slice("c-0")
    recent.add(groups, recent.opened())

    lose(contact, clock)

    assert recent.is_due
    assert [one.piece for one in recent.take_due()] == [groups]
    assert not recent.is_due
    assert recent.take_due() is None


def test_what_could_not_be_said_again_stays_due(recent, contact, clock):
    recent.add(a_slice("c-0"), recent.opened())
    lose(contact, clock)

    assert len(recent.take_due()) == 1
    recent.put_back()

    assert recent.is_due
    assert len(recent.take_due()) == 1


def test_what_is_on_disk_is_forgotten(recent, contact, clock):
    recent.add(a_slice("c-0"), recent.opened())
    clock.now += module.WINDOW + 0.1
    contact.hears()

    recent.prune()

    assert len(recent) == 0


def test_a_silent_server_may_have_died_long_ago(recent, contact, clock):
    recent.add(a_slice("c-0"), recent.opened())
    clock.now += 30

    recent.prune()
    lose(contact, clock)

    assert len(recent.take_due()) == 1


def test_what_is_due_is_not_pruned_by_the_new_server(recent, contact, clock):
    recent.add(a_slice("c-0"), recent.opened())
    lose(contact, clock)
    clock.now += 20
    contact.hears()

    recent.add(a_slice("c-1"), recent.opened())

    assert len(recent.take_due()) == 2


def test_what_is_old_is_not_said_again(recent, contact, clock):
    recent.add(a_slice("c-0"), recent.opened())
    clock.now += module.OLDEST + 1

    lose(contact, clock)

    assert recent.take_due() == []
    assert recent.find("c-0") == []


def test_what_may_expire_soon_is_not_kept(recent):
    recent.add(a_slice("c-0", ttl=1000), recent.opened())
    recent.add(a_slice("c-1", ttl=0), recent.opened())
    recent.add(a_slice("c-2", ttl=3_600_000), recent.opened())

    assert len(recent) == 1


def test_no_more_is_kept_than_there_is_room_for(recent, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)

    for number in range(5):
        recent.add(a_slice(f"c-{number}", size=40), recent.opened())

    assert len(recent) == 2


def test_many_connections_lost_at_once_are_one_loss(contact, clock):
    clock.now += 1
    contact.loses()
    contact.loses()

    assert contact.epoch == 1


def test_a_server_that_was_never_heard_is_not_lost():
    contact = Contact()

    contact.loses()

    assert contact.epoch == 0


def test_only_a_younger_connection_makes_doubtful(recent, contact):
    recent.add(a_slice("c-0"), recent.opened())
    contact.opens()

    (found,) = recent.find("c-0")

    assert recent.find("c-1") == []
    recent.renew(found)
    assert recent.find("c-0") == []


def test_what_was_said_behind_a_gate_belongs_together(recent, contact):
    link, opening = calls.link("c-1", "after", ["c-0"]), calls.open_gate("c-9")
    pieces = [a_slice("c-0", gate="c-9"), a_slice("c-1", gate="c-9"), link, opening]
    recent.add(a_slice("c-5"), recent.opened())
    for piece in pieces:
        recent.add(piece, recent.opened(), "c-9")
    contact.opens()

    assert [one.piece for one in recent.find("c-1")] == pieces
    assert len(recent.find("c-5")) == 1
    assert recent.find("c-9") == []


def test_an_outage_is_logged_once_while_any_call_waits(caplog):
    caplog.set_level(logging.INFO, "redtask")
    contact, one, other = Contact(), object(), object()
    contact.waits(one, ValueError("others log that"))
    contact.told = 0.0

    contact.waits(one, ValueError("READONLY"))
    contact.waits(other, ValueError("READONLY"))
    contact.hears()
    contact.waiting.discard(one)
    contact.hears()
    contact.waits(other, ValueError("READONLY"))
    contact.waiting.discard(other)
    contact.hears()
    contact.hears()

    said = [record.message.split(" after ")[0] for record in caplog.records]
    assert said == ["READONLY; trying on", "Redis is back"]
