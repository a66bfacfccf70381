"""What is wrong when connecting is told in one line that says what to do."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import redtask
from redtask import aio, error
from tests import tasks

KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def told(caught):
    """Return the message, which is one line without a secret."""
    text = str(caught.value)
    assert "\n" not in text
    assert "hidden" not in text
    assert KEY not in text
    return text


@pytest.fixture
def connect(face):
    """Connect with one face or the other."""

    def connect(*args, **kwargs):
        if face == "blocking":
            redtask.Client(*args, **kwargs).close()
            return

        async def main():
            async with aio.Client(*args, **kwargs):
                pass

        asyncio.run(main())

    return connect


def test_nobody_there(connect, tmp_path):
    with pytest.raises(error.ConnectionLost) as caught:
        connect(f"unix://{tmp_path}/none.sock", key=KEY)
    assert f"Redis at unix://{tmp_path}/none.sock (from url) cannot be reached" in told(
        caught
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(error.ConnectionLost) as caught:
            connect(f"redis://me:hidden@127.0.0.1:{port}", key=KEY)
    assert f"Redis at redis://me:***@127.0.0.1:{port}/0" in told(caught)


def test_who_is_there_is_no_redis(connect):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            there, _ = server.accept()
            with there:
                there.recv(1 << 16)
                there.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with ThreadPoolExecutor() as threads:
            threads.submit(refuse)
            with pytest.raises(error.ConnectionLost, match="no Redis") as caught:
                connect(f"redis://127.0.0.1:{server.getsockname()[1]}", key=KEY)
    assert "Redis at redis://127.0.0.1" in told(caught)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://me:hidden@host", "the scheme 'http' is unknown"),
        ("redis://me:hidden@", "it names no host"),
        ("nonsense", "it has no scheme"),
        ("redis://h?hub=Big", "the hub cannot be called 'Big'"),
    ],
)
def test_an_address_that_is_none(connect, url, sentence):
    with pytest.raises(error.ConfigurationError) as caught:
        connect(url, key=KEY)
    assert sentence in told(caught)


def test_no_address_at_all(connect):
    with pytest.raises(error.ConfigurationError, match="redtask cluster start"):
        connect()


def test_a_key_that_is_wrong_or_missing(connect, place):
    place.client()

    with pytest.raises(error.ConfigurationError) as caught:
        connect(place.url, key=KEY)
    assert "is not the key of hub" in told(caught)
    with pytest.raises(error.ConfigurationError) as caught:
        connect(place.url)
    assert "there is no key here: copy the key file from where it was made to" in told(
        caught
    )
    with pytest.raises(error.ConfigurationError) as caught:
        connect(place.url, key="off")
    assert "signing is switched off here" in told(caught)
    with pytest.raises(error.ConfigurationError, match="a key is 32 bytes"):
        connect(place.url, key="nonsense")


@pytest.mark.parametrize("timeout", ["x", float("nan"), -1])
def test_a_timeout_that_is_none_is_refused_by_name(connect, place, timeout):
    with pytest.raises((TypeError, ValueError), match="timeout must"):
        connect(place.url, key=KEY, timeout=timeout)

    assert place.redis.dbsize() == 0


def test_who_comes_first_makes_the_hub_and_its_key(connect, place, monkeypatch):
    connect(place.url)
    client = redtask.Client(place.url)
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    place.keyring = client._session.keyring

    place.engine()

    assert result.get(10) == 8
    client.close()


def test_those_who_meet_a_new_hub_at_once_all_get_its_key(connect, place):
    start = threading.Barrier(8)

    def meet(_):
        start.wait(30)
        connect(place.url)

    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(meet, range(8)))

    assert met == [None] * 8


def test_an_unsigned_hub_is_an_explicit_choice(connect, place):
    connect(place.url, key="off")

    with pytest.raises(error.ConfigurationError, match="is unsigned"):
        connect(place.url)
    connect(place.url, key="off")


def test_the_environment_names_hub_and_key(connect, place, monkeypatch):
    place.client()
    monkeypatch.setenv("REDTASK_URL", place.url)
    monkeypatch.setenv("REDTASK_KEY", place.key)

    connect()


def test_a_password_that_is_wrong(connect, place):
    place.redis.config_set("requirepass", "secret word")
    try:
        base = place.server.url.removeprefix("unix://")
        with pytest.raises(error.ConfigurationError) as caught:
            connect(f"unix://:hidden@{base}?hub={place.name}", key=KEY)
        assert "Redis refuses the password" in told(caught)
        with pytest.raises(error.ConfigurationError) as caught:
            connect(place.url, key=KEY)
        assert "asks for a password, and the URL has none" in told(caught)
        connect(f"unix://:secret%20word@{base}?hub={place.name}", key=place.key)
    finally:
        place.redis.config_set("requirepass", "")


def test_a_user_that_lacks_rights(connect, place):
    place.client()
    base = place.server.url.removeprefix("unix://")
    place.redis.execute_command(
        "ACL", "SETUSER", "few", "on", "nopass", "~*", "&*", "+@all", "-evalsha"
    )
    place.redis.execute_command(
        "ACL", "SETUSER", "noinfo", "on", "nopass", "~*", "&*", "+@all", "-info"
    )
    try:
        with pytest.raises(error.ConfigurationError) as caught:
            connect(f"unix://few:x@{base}?hub={place.name}", key=place.key)
        assert "the Redis user lacks a right" in told(caught)
        connect(f"unix://noinfo:x@{base}?hub={place.name}", key=place.key)
    finally:
        place.redis.execute_command("ACL", "DELUSER", "few", "noinfo")


def test_a_server_that_evicts(connect, place):
    place.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(error.ConfigurationError) as caught:
            connect(place.url, key=KEY)
        assert "set it to noeviction" in told(caught)
    finally:
        place.redis.config_set("maxmemory-policy", "noeviction")
    assert place.redis.dbsize() == 0


def test_a_server_that_does_not_take_the_hub_yet_is_waited_for_in_words(
    connect, place, caplog
):
    place.redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(error.ConnectionLost, match="NOREPLICAS"):
            connect(place.url, key=KEY, timeout=0.5)
    finally:
        place.redis.config_set("min-replicas-to-write", 0)

    (said,) = [one for one in caplog.messages if "trying on" in one]
    assert "NOREPLICAS" in said


def test_a_full_server_says_so(place, face):
    client = place.client(face)
    view = client.load_balanced_view()
    before = place.redis.config_get("maxmemory")["maxmemory"]
    place.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(error.HubFull, match="at its maxmemory"):
            view.apply_async(tasks.double, 1)
        with pytest.raises(error.HubFull):
            view.map_async(tasks.double, range(3))
    finally:
        place.redis.config_set("maxmemory", before)

    assert client.history == []
    result = view.apply_async(tasks.double, 1)
    place.engine()
    assert result.get(10) == 2


def test_what_is_kept_of_ended_tasks_gives_way_to_new_ones(place, face):
    client = place.client(face)
    place.engine()
    view, hub = client.load_balanced_view(), place.keys.root + ":hub"
    made = view.map_async(bytes, [20_000] * 300)
    again = view.apply_async(tasks.double, 4)
    client.wait([made, again], 20)
    used = place.redis.info("memory")["used_memory"]

    place.redis.hset(hub, "keep_bytes", 2_000_000)
    place.redis.config_set("maxmemory", used - 500_000)
    try:
        results = [
            view.apply_async(tasks.double, 1),
            view.map_async(tasks.double, [1]),
            client.resubmit(again),
        ]
    finally:
        place.redis.config_set("maxmemory", 0)

    assert [one.get(10) for one in results] == [2, [2], [8]]


def test_one_waits_also_on_a_full_server(place, face, monkeypatch):
    monkeypatch.setattr("redtask.flows.waiting.QUIET", 0.1)
    client = place.client(face)
    result = client.load_balanced_view().apply_async(tasks.double, 1)
    place.redis.delete(place.keys.done(client._session.client))
    place.redis.config_set("maxmemory", "1")
    try:
        assert not result.wait(0)
        place.engine()
        assert result.get(10) == 2
    finally:
        place.redis.config_set("maxmemory", "0")
