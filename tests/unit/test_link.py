"""What errors of Redis mean, and when to try again. No server."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from redtask import error, link
from redtask.hub import calls
from redtask.hub.keys import Keys
from redtask.hub.scripts import Scheme
from redtask.keyfile import Key, parse_keys
from redtask.recent import Contact
from redtask.rope import Rope
from redtask.signing import Keyring


def said(text):
    """Return the exception that redis-py makes of an error reply."""
    return BaseParser.parse_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "BUSY Redis is busy running a script.",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.",
        "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "UNBLOCKED force unblock from blocking operation",
        "ERR Error running script: @user_script: 1: -READONLY You can't write",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "ERR Error running script: @user_script: 1: -MISCONF Redis is configured to",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR Error running script: @user_script: 1: -NOREPLICAS Not enough good",
    ],
)
def test_what_passes_is_tried_again(text):
    assert link.is_passing(said(text))


@pytest.mark.parametrize(
    "text",
    [
        "ERR unknown command 'FOO'",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "REDTASK_BADARG no",
    ],
)
def test_what_stays_is_not_tried_again(text):
    assert not link.is_passing(said(text))


def test_a_lost_connection_passes():
    assert link.is_passing(exceptions.ConnectionError("reset"))
    assert link.is_passing(exceptions.TimeoutError("late"))
    assert link.is_passing(ConnectionResetError())
    assert not link.is_passing(exceptions.AuthenticationError("wrong"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", error.HubFull),
        (
            "ERR @user_script: 1: -OOM command not allowed when used memory > 'max'",
            error.HubFull,
        ),
        ("REDTASK_NOFN abc", error.UnknownFunction),
        ("REDTASK_NOSUCH abc", error.HubError),
        ("WRONGPASS invalid username-password pair", error.ConfigurationError),
        ("NOAUTH Authentication required.", error.ConfigurationError),
        ("NOPERM no permissions", error.ConfigurationError),
        ("ERR something else", error.HubError),
        ("LOADING the dataset", error.ConnectionLost),
        ("READONLY a replica", error.ConnectionLost),
        ("BUSY running a script", error.ConnectionLost),
    ],
)
def test_errors_become_ours(text, kind):
    assert type(link.translate(said(text))) is kind


def test_what_a_script_was_told_is_told_without_the_place_in_the_script():
    inner = "READONLY You can't write against a read only replica."
    text = f"ERR Error running script (call to f_0123): @user_script:9: -{inner}"

    assert str(link.translate(said(text))) == f"Redis cannot be reached: {inner}"


def test_what_is_said_to_a_new_connection_counts():
    wrapped = exceptions.ConnectionError("no")
    wrapped.__cause__ = said("WRONGPASS invalid username-password pair")

    assert not link.is_passing(wrapped)
    assert type(link.translate(wrapped)) is error.ConfigurationError


def test_what_speaks_another_protocol_is_no_redis():
    problem = exceptions.InvalidResponse('Protocol error, got "H" as reply type byte')

    assert isinstance(problem, link.LOST)
    assert link.is_passing(problem)
    told = link.translate(problem)
    assert type(told) is error.ConnectionLost
    assert "no Redis" in str(told)
    assert "rediss://" in str(told)
    assert str(problem) in str(told)


def test_an_error_of_ours_stays_what_it_is():
    problem = error.NoHub()

    assert link.translate(problem) is problem


def test_pauses_begin_at_once_and_stay_below_a_second():
    pauses = list(itertools.islice(link.pauses(), 100))

    assert pauses[0] == 0
    assert all(0.01 <= pause <= 1 for pause in pauses[1:])


@pytest.mark.parametrize("word", ["MOVED", "ASK"])
def test_a_node_of_a_cluster_that_has_not_the_hub_says_who_has_it(word):
    problem = link.translate(said(f"{word} 5798 10.0.0.2:7001"))

    assert type(problem) is error.ConfigurationError
    assert "the hub is at 10.0.0.2:7001: name that one" in str(problem)


BIG = b"b" * 20_000
FULL = "OOM command not allowed when used memory > 'maxmemory'."


@pytest.fixture
def carrying():
    """A batch of a call with a parcel between two without."""
    tasks = ["c-1", b"small", "c-2", BIG]
    submit = calls.submit([calls.Group("fn", b"", "fn", {}, tasks)])
    return link.Batch([calls.status(), submit, calls.status()], Keys("h"), "leastload")


def verbs(batch):
    return [words[0] for words in batch.commands()]


def test_what_is_large_is_sent_ahead_of_its_call(carrying):
    _, parcel, call, _ = carrying.commands()

    assert parcel == ("SET", Keys("h").parcel("c-2"), BIG, "EX", 3600)
    assert (call[0], call[-1], BIG in call) == ("EVALSHA", b"@parcel", False)
    assert b"small" in call


class Vast(bytes):
    """Pretends to have more bytes than Redis reads."""

    def __len__(self):
        return (512 << 20) + 1


def test_what_would_make_redis_hang_up_is_not_sent():
    tasks = ["c-1", BIG, "c-2", Vast()]

    with pytest.raises(error.PayloadTooLarge) as caught:
        calls.submit([calls.Group("fn", b"", "fn", {}, tasks)])

    assert str(caught.value) == (
        "the payload of c-2 has 536870913 bytes; no hub accepts more than 536870912"
    )


def test_replies_belong_to_calls_whatever_went_ahead(carrying):
    carrying.commands()

    assert carrying.take([[b"a"], b"OK", [b"ok", 2, 0], [b"b"]]) == []

    assert carrying.done
    assert carrying._replies == [[b"a"], [b"ok", 2, 0], [b"b"]]


def test_a_submit_whose_reply_was_lost_says_that_it_is_sent_again(carrying):
    first = [words for words in carrying.commands() if words[0] == "EVALSHA"]

    again = [words for words in carrying.commands() if words[0] == "EVALSHA"]

    assert again == [first[0], (*first[1], "@again"), first[2]]


def test_a_call_that_tells_how_long_ago_something_was_is_made_anew_for_each_try():
    ago = itertools.count(100, 100)
    call = calls.remade(
        lambda: calls.turn(
            "e", 1, "n", 1, [calls.Report("unbegun", "c-1", "1:t", next(ago), 5, ())]
        )
    )
    batch = link.Batch([call], Keys("h"), "leastload")

    told = [words[-2] for _ in range(3) for words in batch.commands()]

    assert told == ["100 5", "200 5", "300 5"]


def test_a_submit_that_was_refused_is_not_sent_again(carrying):
    *_, first, _ = carrying.commands()
    carrying.take([[b"a"], b"OK", said("NOSCRIPT No matching script"), [b"b"]])

    _, again = carrying.commands()

    assert again == first


def test_what_a_full_redis_refuses_ahead_is_sent_in_the_call(carrying):
    carrying.commands()
    missed = said("REDTASK_BADARG c-2 has no arguments")

    assert carrying.take([[b"a"], said(FULL), missed, [b"b"]]) == []

    ((verb, *words),) = carrying.commands()
    assert verb == "EVALSHA"
    assert BIG in words
    carrying.take([[b"ok", 0, 2]])
    assert carrying.done


def test_why_nothing_could_be_sent_ahead_is_what_is_told(carrying):
    carrying.commands()
    misconf = said("MISCONF Errors writing to the AOF file")
    missed = said("REDTASK_BADARG c-2 has no arguments")

    with pytest.raises(exceptions.ResponseError, match="AOF"):
        carrying.take([[b"a"], misconf, missed, [b"b"]])

    assert verbs(carrying) == ["SET", "EVALSHA"]


def test_parcels_of_what_is_refused_are_to_be_deleted(carrying):
    carrying.commands()

    with pytest.raises(error.PayloadTooLarge):
        carrying.take([[b"a"], b"OK", said("REDTASK_TOOLARGE c-2"), [b"b"]])

    assert carrying.litter() == [("UNLINK", Keys("h").parcel("c-2"))]


def test_parcels_that_arrived_are_not_to_be_deleted(carrying):
    carrying.commands()

    with pytest.raises(error.BadArgument):
        carrying.take([said("REDTASK_BADARG no"), b"OK", [b"ok", 2, 0], [b"b"]])

    assert carrying.litter() == []


def test_where_a_script_is_unknown_all_of_the_call_is_sent_again(carrying):
    carrying.commands()
    unknown = said("NOSCRIPT No matching script. Please use EVAL.")

    ((verb, *_),) = carrying.take([[b"a"], b"OK", unknown, [b"b"]])

    assert verb == "SCRIPT"
    assert verbs(carrying) == ["SET", "EVALSHA"]


def test_tries_end_with_patience():
    tries = link.Tries(patience=0)

    with pytest.raises(error.ConnectionLost, match="reset"):
        tries.after(exceptions.ConnectionError("reset"))


def test_tries_go_on_while_there_is_patience():
    tries = link.Tries(patience=None)

    pauses = [tries.after(exceptions.ConnectionError("reset")) for _ in range(50)]

    assert pauses[0] == 0
    assert max(pauses) <= 1


@pytest.mark.parametrize("away_for", [0.0, 29.0])
def test_who_has_little_time_hears_when_it_is_over(away_for):
    now = time.monotonic()
    tries = link.Tries(patience=30.0, until=now - 1, away_since=now - away_for)

    assert tries.after(exceptions.ConnectionError("reset")) == 0
    with pytest.raises(error.StillAway, match="reset"):
        tries.after(exceptions.ConnectionError("reset"))


def test_who_waited_long_for_nothing_does_not_wait_again():
    now = time.monotonic()
    tries = link.Tries(patience=30.0, begun=now - 15, until=now - 14)

    with pytest.raises(error.StillAway):
        tries.after(exceptions.TimeoutError("it does not answer"))


def test_who_has_little_time_tries_once_more_at_its_end():
    tries = link.Tries(patience=None, until=time.monotonic() + 0.005)

    pauses = [tries.after(exceptions.ConnectionError("reset")) for _ in range(2)]

    assert pauses[0] == 0
    assert 0 < pauses[1] <= 0.005


def test_patience_ends_also_for_who_has_little_time():
    now = time.monotonic()
    tries = link.Tries(patience=30.0, until=now - 1, away_since=now - 31)
    tries.after(exceptions.ConnectionError("reset"))

    with pytest.raises(error.ConnectionLost) as caught:
        tries.after(exceptions.ConnectionError("reset"))

    assert not isinstance(caught.value, error.StillAway)


def test_tries_end_with_what_does_not_pass():
    tries = link.Tries(patience=None)

    with pytest.raises(error.ConfigurationError, match="password"):
        tries.after(exceptions.AuthenticationError("no"))
    with pytest.raises(error.HubFull):
        tries.after(said("OOM command not allowed when used memory > 'maxmemory'."))


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("redis://h:1234/3", "tcp", {"host": "h", "port": 1234, "db": 3}),
        ("rediss://h", "tls", {"host": "h"}),
        ("unix:///run/r.sock", "unix", {"path": "/run/r.sock"}),
        ("redis://user:pass@h", "tcp", {"username": "user", "password": "pass"}),
    ],
)
def test_a_url_becomes_options(url, kind, expected):
    found, options = link.options(url)

    assert found == kind
    assert expected.items() <= options.items()
    assert options["socket_timeout"] == link.REPLY
    assert ("socket_keepalive" in options) == (kind != "unix")


@pytest.mark.parametrize("seconds", [0.2, link.LONGEST_BLOCK])
def test_who_reads_waits_longer_than_the_server(seconds):
    assert seconds < link.limit(seconds) < seconds + link.REPLY
    assert link.limit(seconds, 2.0) == seconds + 2


def test_no_number_is_left_to_hiredis(monkeypatch):
    """If a signal handler raises while it makes text of one, the process crashes."""
    given, pack = list[Any](), hiredis.pack_command

    def pack_noted(words):
        given.extend(words)
        return pack(words)

    monkeypatch.setattr(hiredis, "pack_command", pack_noted)

    (sent,) = link.packed([("GET", "key"), ("SET", "key", b"value", "EX", 60)])

    assert sent.endswith(b"$5\r\nvalue\r\n$2\r\nEX\r\n$2\r\n60\r\n")
    assert int not in map(type, given)


@pytest.mark.parametrize(
    ("patience", "seconds"),
    [(None, link.REPLY), (30.0, link.REPLY), (5, 5), (2, 2), (0.1, 2), (0, 2)],
)
def test_who_has_little_time_waits_less_for_a_reply(patience, seconds):
    assert link.reply_of(patience) == seconds


def test_large_payloads_are_sent_in_parts_and_have_more_time():
    large = bytes(range(256)) * (40 << 10)
    words = ("SET", "key", Rope([large]))

    sent = link.packed([words])

    head = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n" % len(large)
    assert b"".join(sent) == head + large + b"\r\n"
    assert max(map(len, sent)) < len(large) / 2
    assert link.time_to_send(sent) > 2


def test_a_hub_that_changes_its_scheme_all_the_time_is_given_up_in_the_end():
    batch = link.Batch([calls.status()], Keys("h"), "lru")
    names = itertools.cycle(["twobin", "lru"])

    def go_on():
        while True:
            batch.commands()
            batch.take([said(f"REDTASK_SCHEME {next(names)}")])

    with pytest.raises(error.SchemeChanged):
        go_on()

    assert not batch.done


def test_a_scheme_of_ones_own_is_asked_for_and_used():
    keyring = Keyring("h", parse_keys(Key.new().text, source="test"))
    batch = link.Batch([calls.status()], Keys("h"), "lru", keyring)
    batch.commands()

    (asked,) = batch.take([said("REDTASK_SCHEME mine@12")])
    text = b"return {}"
    batch.load([b"mine@12", text, keyring.sign_scheme("mine@12", text)])

    assert asked == ("HMGET", "{redtask:h}:scheme", "name", "text", "signature")
    assert batch.scheme == Scheme("mine@12", "return {}", "scheme mine@12")


def test_ropes_are_sent_piece_by_piece():
    large = bytes(100_000)
    rope = Rope([b"head", large, b"tail"])

    sent = link.packed([("SET", "key", rope, 5), ("GET", "key")])

    assert len(sent) == 3
    assert sent[1] is large
    plain = [("SET", "key", bytes(rope), 5), ("GET", "key")]
    assert b"".join(sent) == b"".join(link.packed(plain))


def test_small_commands_are_sent_as_one():
    assert len(link.packed([("GET", "a"), ("GET", "b"), ("GET", "c")])) == 1
    assert link.packed([]) == []


def test_a_server_that_does_not_answer_is_told_of_once(caplog):
    contact = Contact()
    silence = exceptions.TimeoutError("Timeout reading from socket")

    for problem in (silence, silence, exceptions.ConnectionError("closed")):
        link.tell_of_silence(problem, contact.falls_silent)
    before = caplog.text.count("does not answer")
    contact.hears()
    link.tell_of_silence(silence, contact.falls_silent)

    assert before == 1
    assert caplog.text.count("does not answer") == 2


def test_who_has_a_millisecond_looks_and_does_not_wait():
    inbox: Any = SimpleNamespace(client="c", position="1-0")

    looks = link.read_stream(Keys("hub"), inbox, 1, "7-0")
    waits = link.read_stream(Keys("hub"), inbox, 2, "7-0")

    assert "BLOCK" not in looks
    assert waits[3:5] == ("BLOCK", 2)
    assert (*waits[:3], *waits[5:]) == looks
