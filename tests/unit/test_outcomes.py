"""Results while their tasks arrive, in a conversation held by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from redtask import error, outcomes, payload
from redtask.flows import Wait
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome
from redtask.outcomes import Results
from redtask.profile import Key
from redtask.recent import Contact
from redtask.session import Session
from redtask.signing import Keyring
from tests.talks import LARGE, Talk, expected

KEYRING = Keyring("hub", (Key.of_secret(b"1" * 32),))


@pytest.fixture
def session():
    made = Session(Keys("hub"), KEYRING, Contact())
    made.inbox.listens("0-0")
    return made


def results(session, *ids):
    return Results(SimpleNamespace(_session=session), expected(session.inbox, *ids))


def good(name, value):
    body = payload.pack_result(value)
    return Outcome("completed", "1:n", "r", KEYRING.sign_result(name, "1:n", "r", body))


def arrive(session, talk, *pairs):
    for name, outcome in pairs:
        session.inbox.deliver(name, outcome)
    return talk.answer(True)


def test_what_has_arrived_is_decoded_while_the_rest_is_running(session):
    result = results(session, "c-0", "c-1", "c-2")
    talk = Talk(result._get(None, None, None))
    assert isinstance(talk.step, Wait)

    arrive(session, talk, ("c-1", good("c-1", 11)))
    assert result._decoded == {"c-1": (True, 11)}
    arrive(session, talk, ("c-0", good("c-0", 10)), ("c-2", good("c-2", 12)))

    assert talk.value == [10, 11, 12]


def test_only_so_many_are_decoded_before_the_stream_is_read_again(session, monkeypatch):
    monkeypatch.setattr(outcomes, "_AT_ONCE", 2)
    names = [f"c-{number}" for number in range(5)]
    result = results(session, *names)
    talk = Talk(result._get(None, None, None))

    arrive(session, talk, *((name, good(name, name)) for name in names[:4]))

    assert list(result._decoded) == ["c-0", "c-1"]
    assert arrive(session, talk, ("c-4", good("c-4", "c-4"))).value == names


def test_what_cannot_be_decoded_is_told_when_all_is_there(session):
    result = results(session, "c-0", "c-1")
    talk = Talk(result._get(None, None, None))

    arrive(session, talk, ("c-0", good("c-9", 1)))
    assert isinstance(talk.step, Wait)

    with pytest.raises(error.CompositeError, match="altered or moved"):
        arrive(session, talk, ("c-1", good("c-1", 1)))


def test_what_is_too_large_for_the_stream_is_read_while_the_rest_is_running(session):
    result = results(session, "c-0", "c-1", "c-2")
    talk = Talk(result._get(None, None, None))

    arrive(session, talk, ("c-1", LARGE))
    assert talk.step.commands[1][1].endswith("task:c-1:result")
    body = good("c-1", bytes(20_000)).payload
    talk.answer([[b"completed", b"1:n", None, None], body])
    assert result._decoded == {"c-1": (True, bytes(20_000))}
    assert isinstance(talk.step, Wait)

    arrive(session, talk, ("c-0", LARGE), ("c-2", good("c-2", 3)))
    body = good("c-0", 1).payload
    talk.answer([[b"completed", b"1:n", None, None], body])
    assert talk.value == [1, bytes(20_000), 3]
