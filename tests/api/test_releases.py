"""What an earlier release left behind is read, worked on and finished by this one."""

import contextlib
import time

import pytest

import redtask
from redtask.doctor.data import Examination
from redtask.hub.keys import Keys
from redtask.keyfile import parse_keys
from redtask.scheme import configure
from redtask.signing import Keyring
from tests import invariants, releases, servers
from tests.commands import Command
from tests.engines import Engine
from tests.fakes import SocketFakeServer


@pytest.fixture(params=releases.names())
def old(request):
    """Each hub that a release left behind."""
    return releases.read(request.param)


@pytest.fixture(params=servers.NAMES)
def place(request, start_server, old):
    """Return a server on which it is found."""
    if request.param == "fake":
        server = SocketFakeServer()
    else:
        server = start_server(request.param)
    with contextlib.closing(server.redis()) as redis:
        redis.flushall()
        releases.restore(redis, old["keys"])
        yield server, redis
        redis.flushall()
    if request.param == "fake":
        server.close()


def outcome(client, task_id):
    """Return a task's result, or the name of its error."""
    try:
        return client.get_result(task_id).get(timeout=20)
    except redtask.RemoteError as problem:
        return problem.ename
    except redtask.TaskError as problem:
        return type(problem).__name__


def test_there_is_a_hub_of_an_earlier_release():
    assert releases.names()


@pytest.fixture
def work(old, place):
    """Let an engine work on it, long after; return client, dump and Redis."""
    server, redis = place
    root = Keys(releases.HUB).root
    # Delays are over, and so is the lease of the machine that was lost.
    for timer in redis.zrange(f"{root}:timers", 0, -1):
        redis.zadd(f"{root}:timers", {timer: 1})
    redis.zadd(f"{root}:engines", {"lost": 1})
    redis.hset(f"{root}:hub", "last", int(time.time() * 1000))
    keyring = Keyring(releases.HUB, parse_keys(releases.KEY, source="test"))
    url = f"{server.url}?hub={releases.HUB}"
    with redtask.Client(url, key=releases.KEY) as client:
        with Engine(server.url, releases.HUB, keyring, ["default", "elsewhere"]):
            yield client, old
        invariants.check(redis, root)
        assert Examination(client._store).run() == []


def test_all_that_it_was_to_do_is_done(work):
    client, old = work

    assert {name: outcome(client, name) for name in old["expect"]} == old["expect"]


def test_what_had_failed_is_found_and_can_be_run_again(work):
    client, old = work
    query = {"state": "failed", "ename": "ZeroDivisionError"}

    (record,) = client.db_query(query, keys=["ename", "retries"])
    again = client.resubmit(record["msg_id"])

    assert old["expect"][record["msg_id"]] == "ZeroDivisionError"
    with pytest.raises(redtask.RemoteError, match="division by zero"):
        again.get(timeout=20)


def test_it_goes_on_as_it_was_until_it_is_upgraded(work):
    client, old = work
    view, rows = client.load_balanced_view(), client._store.keys.rows()

    assert view.map_async(abs, range(-9, 0)).get(20) == list(range(9, 0, -1))
    assert client._store.command("EXISTS", rows) == 0
    configure(client._store, {}, upgrade=True)

    assert view.map_async(abs, range(-9, 0)).get(20) == list(range(9, 0, -1))
    assert client._store.command("HLEN", rows) > 0
    # What was there is still known.
    assert {name: outcome(client, name) for name in old["expect"]} == old["expect"]


def test_an_upgrade_asks_before_it_shuts_out_workers_that_are_alive(place):
    server, redis = place
    keyring = Keyring(releases.HUB, parse_keys(releases.KEY, source="test"))
    command = Command(f"{server.url}?hub={releases.HUB}", releases.KEY)

    with Engine(server.url, releases.HUB, keyring) as engine:
        redis.hset(engine.store.keys.worker(engine.worker), "version", "0.1.0")
        refused = command("configure", "--upgrade", "--hwm", 7)
        before = command.objects("configure")
        agreed = command.objects("configure", "--upgrade", "--hwm", 7, "--yes")

    assert refused.exit_code == 2
    assert f"what they run be lost: {engine.worker} (0.1.0)?" in refused.stderr
    assert before[0]["hwm"] != agreed[0]["hwm"] == 7


def test_an_upgrade_with_workers_of_this_release_asks_nobody(place):
    server, redis = place
    keyring = Keyring(releases.HUB, parse_keys(releases.KEY, source="test"))
    command = Command(f"{server.url}?hub={releases.HUB}", releases.KEY)

    with Engine(server.url, releases.HUB, keyring):
        command.well("configure", "--upgrade")

    assert redis.hget(f"{Keys(releases.HUB).root}:hub", "format") == b"4 leastload"
