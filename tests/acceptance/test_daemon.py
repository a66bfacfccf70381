"""``redtask cluster start --daemonize``, and whoever joins and stops it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import redtask
from redtask.keeper import guests
from redtask.keeper.card import claim
from redtask.server.binary import find_binary
from tests.clusters import KEEPER, REDIS, WORKER, begin_task, ignoring
from tests.processes import DEADLINE, until
from tests.sites import begun

pytestmark = pytest.mark.acceptance


def test_a_client_ends_a_cluster_that_others_joined(land, daemon):
    more = land.start("-m", "redtask", "cluster", "engines", "-n", "1")
    with redtask.Client() as client:
        client.wait_for_engines(2, timeout=DEADLINE)
        more.terminate()
        assert more.wait(DEADLINE) == 0

        client.shutdown(hub=True)

    until(lambda: not land.pids(), "the end of the cluster")
    assert land.run("cluster", "status").code == 3


def test_who_stops_a_cluster_is_told_of_workers_that_go_on_waiting(land, daemon):
    more = land.start("-m", "redtask", "worker", "-n", "2")
    with redtask.Client() as client:
        client.wait_for_engines(3, timeout=DEADLINE)

    done = land.run("cluster", "stop")

    assert done.code == 0
    assert "2 engines of other workers wait for its Redis: start the" in done.err
    assert more.poll() is None
    more.terminate()
    assert more.wait(DEADLINE) == 0


def waits_for(gate):
    """Return a function that runs until there is this file."""

    def work():
        begun(gate).touch()
        while not gate.exists():
            time.sleep(0.01)
        return 7

    return work


def busy_until(client, gate):
    """Return what runs on the second engine until there is this file, and that."""
    client.wait_for_engines(2, timeout=DEADLINE)
    runs = client.load_balanced_view(targets=1).apply_async(waits_for(gate))
    until(begun(gate).exists, "the begin of the task")
    return runs, gate


def test_engines_that_were_added_finish_what_they_run_when_the_cluster_is_stopped(
    land, daemon
):
    more = land.start("-m", "redtask", "cluster", "engines", "-n", "1")
    client = redtask.Client()
    runs, gate = busy_until(client, land.folder / "gate")

    stopping = land.start("-m", "redtask", "cluster", "stop")
    assert "waiting for what runs" in stopping.stderr.readline()
    gate.touch()

    assert runs.get(DEADLINE) == 7
    assert stopping.wait(DEADLINE) == 0
    assert "stopped 2 engines after what ran" in stopping.stdout.read()
    assert more.wait(DEADLINE) == 0
    assert land.is_empty()


def watched_by(pid):
    """Return the processes for whose end a process waits."""
    told = ""
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        # It may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            told += file.read_text()
    return [int(one) for one in re.findall(r"^Pid:\t(\d+)$", told, re.MULTILINE)]


def test_engines_that_were_added_are_told_once_that_a_client_ends_all(land, daemon):
    more = land.start("-m", "redtask", "cluster", "engines", "-n", "1")
    client = redtask.Client()
    runs, gate = busy_until(client, land.folder / "gate")

    client.shutdown(hub=True)
    # A second request would stop what runs.
    (keeper,) = land.pids(KEEPER)
    until(lambda: more.pid in watched_by(keeper), "the keeper waits for the worker")
    gate.touch()

    assert runs.get(DEADLINE) == 7
    assert more.wait(DEADLINE) == 0
    until(land.is_empty, "the end of all")


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP,)])
def test_engines_that_were_told_before_are_not_hurried_when_their_cluster_stops(
    land, daemon, ignored
):
    engines = ("-m", "redtask", "cluster", "engines", "-n", "1")
    more = land.start(*engines, **ignoring(*ignored))
    client = redtask.Client()
    runs, gate = busy_until(client, land.folder / "gate")
    more.send_signal(signal.SIGINT)
    until(lambda: "SIGINT: stopping" in more.stderr.readline(), "the word")

    stopping = land.start("-m", "redtask", "cluster", "stop")
    (keeper,) = land.pids(KEEPER)
    until(lambda: more.pid in watched_by(keeper), "the keeper waits for the worker")
    gate.touch()

    assert runs.get(DEADLINE) == 7
    assert more.wait(DEADLINE) == 0
    assert stopping.wait(DEADLINE) == 0


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP, signal.SIGQUIT)])
def test_engines_that_were_added_stop_at_once_with_their_cluster(land, daemon, ignored):
    engines = ("-m", "redtask", "cluster", "engines", "-n", "1")
    more = land.start(*engines, **ignoring(*ignored))
    client = redtask.Client()
    client.wait_for_engines(2, timeout=DEADLINE)
    begin_task(client, land.folder, 600)

    stopped = land.run("cluster", "stop", "--now")

    assert "stopped 2 engines at once" in stopped.out
    assert more.wait(DEADLINE) is not None
    assert land.is_empty()


def test_a_daemon_is_ready_when_its_start_returns(land, daemon):
    with redtask.Client() as client:
        assert len(client) == 1

    assert "redtask cluster stop" in daemon.out
    status = land.run("cluster", "status", "--json")
    told = json.loads(status.out)
    assert status.code == 0
    assert (told["running"], told["engines"], told["living"]) == (True, 1, 1)
    assert "1 of 1" in land.run("cluster", "status").out
    listed = json.loads(land.run("cluster", "list", "--json").out)
    assert (listed["profile"], listed["pid"]) == ("default", told["pid"])


def test_a_second_start_is_refused_in_one_sentence(land, daemon):
    before = land.pids()

    for more in ((), ("--daemonize",)):
        second = land.run("cluster", "start", "-n", "1", *more)

        assert second.code == 5
        assert second.err.count("\n") == 1
        assert "is already running" in second.err
    assert land.pids() == before


def test_stop_says_what_it_did_and_finds_nothing_the_second_time(land, daemon):
    stopped = land.run("cluster", "stop")
    again = land.run("cluster", "stop")

    assert stopped.code == 0
    assert "stopped 1 engine after" in stopped.out
    assert "the data stay" in stopped.out
    assert land.is_empty()
    assert again.code == 3
    assert "no cluster" in again.err
    status = land.run("cluster", "status", "--json")
    assert status.code == 3
    assert json.loads(status.out)["running"] is False
    assert land.run("cluster", "list", "--json").out == ""


def test_stop_waits_for_what_runs_and_now_does_not(land, daemon):
    client = redtask.Client()
    begin_task(client, land.folder, 600)

    waiting = land.start("-m", "redtask", "cluster", "stop")
    assert "waiting for what runs" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == 130
    assert land.pids(KEEPER)

    stopped = land.run("cluster", "stop", "--now")
    assert (stopped.code, "at once" in stopped.out) == (0, True)
    assert land.is_empty()


# Shells start what ends in & like that.
@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGQUIT)])
def test_what_is_stopped_now_can_clean_up(land, ignored):
    begun, cleaned = land.folder / "begun", land.folder / "cleaned"

    def work():
        begun.touch()
        try:
            time.sleep(600)
        finally:
            cleaned.touch()

    start = ("cluster", "start", "-n", "1", "--daemonize")
    assert land.run(*start, **ignoring(*ignored)).code == 0
    redtask.Client().load_balanced_view().apply_async(work)
    until(begun.exists, "the begin of the task")

    assert land.run("cluster", "stop", "--now").code == 0

    assert cleaned.exists()
    assert land.is_empty()


def test_who_stops_a_cluster_again_does_not_hurry_it(land, daemon):
    client, gate = redtask.Client(), land.folder / "gate"
    runs = client.load_balanced_view().apply_async(waits_for(gate))
    until(lambda: client.why(runs.msg_ids[0]).state == "running", "the begin")

    stopping = [land.start("-m", "redtask", "cluster", "stop") for _ in range(2)]
    for one in stopping:
        assert "waiting for what runs" in one.stderr.readline()
    gate.touch()

    for one in stopping:
        assert one.wait(DEADLINE) == 0
    with redtask.Cluster(n=0) as later:
        assert later.get_result(runs.msg_ids).get(DEADLINE) == [7]


def test_stop_says_if_redis_has_not_ended(land, daemon):
    (server,) = land.pids(REDIS)
    os.kill(server, signal.SIGSTOP)

    stopped = land.run("cluster", "stop", "--now")

    log = (land.home / "profiles" / "default" / "cluster.log").read_text()
    told = f"Redis (process {server}) was told to stop, but has not yet"
    assert told in stopped.out
    assert f"(pid {server}) was told to stop, but has not within 10 seconds" in log
    os.kill(server, signal.SIGCONT)


def test_stop_with_a_timeout_waits_that_long(land, daemon):
    begin_task(redtask.Client(), land.folder, 600)

    stopped = land.run("cluster", "stop", "--timeout", "0.1")

    assert (stopped.code, "at once" in stopped.out) == (0, True)


def test_the_redis_of_a_daemon_outlives_it_until_the_next_stop(land, daemon):
    (keeper,) = land.pids(KEEPER)

    os.kill(keeper, signal.SIGKILL)
    until(lambda: not land.pids(WORKER), "the end of the worker")

    assert len(land.pids(REDIS)) == 1
    assert land.run("cluster", "status").code == 3
    stopped = land.run("cluster", "stop")
    assert (stopped.code, "a dead cluster" in stopped.out) == (0, True)
    assert land.is_empty()


@pytest.fixture
def orphans(land, daemon):
    """Engines that were added to a cluster that was killed, one of which works."""
    more = land.start("-m", "redtask", "cluster", "engines", "-n", "1")
    client = redtask.Client()
    runs, gate = busy_until(client, land.folder / "gate")
    (keeper,) = land.pids(KEEPER)
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not land.pids("-m redtask worker"), "the end of the worker")
    return more, runs, gate


def test_engines_of_a_dead_cluster_finish_what_they_run_before_its_redis_stops(
    land, orphans
):
    more, runs, gate = orphans

    cleaned = land.run("cluster", "clean", "--data", "--yes")
    stopping = land.start("-m", "redtask", "cluster", "stop")
    assert "waiting for what runs" in stopping.stderr.readline()
    assert more.poll() is None
    gate.touch()

    assert (cleaned.code, "1 worker of" in cleaned.err) == (5, True)
    assert runs.get(DEADLINE) == 7
    assert stopping.wait(DEADLINE) == 0
    assert "stopped 1 worker of a dead cluster" in stopping.stdout.read()
    assert more.wait(DEADLINE) == 0
    assert land.is_empty()


@pytest.mark.parametrize("words", [("--now",), ("--timeout", "0.1")])
def test_engines_of_a_dead_cluster_are_stopped_at_once(land, orphans, words):
    more, _, _ = orphans

    stopped = land.run("cluster", "stop", *words)

    assert (stopped.code, "a dead cluster had left" in stopped.out) == (0, True)
    more.wait(DEADLINE)
    assert land.is_empty()


def test_a_key_that_others_can_read_keeps_nobody_from_stopping_a_cluster(land, daemon):
    (land.home / "profiles" / "default" / "default.keys").chmod(0o644)

    status = land.run("cluster", "status")
    listed = land.run("cluster", "list")
    again = land.run("cluster", "start", "-n", "1", "--url", "redis://127.0.0.1:1")
    stopped = land.run("cluster", "stop")
    cleaned = land.run("cluster", "clean", "--data", "--yes")

    assert [one.code for one in (status, listed, stopped, cleaned)] == [0, 0, 0, 0]
    assert (again.code, "chmod 600" in again.err) == (1, True)


def test_a_daemon_starts_again_after_a_violent_end(land, daemon):
    (keeper,) = land.pids(KEEPER)
    redis = land.pids(REDIS)
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not land.pids(WORKER), "the end of the worker")

    again = land.run("cluster", "start", "-n", "1", "--daemonize")

    assert again.code == 0
    assert land.pids(REDIS) == redis
    assert land.run("cluster", "stop").code == 0
    assert land.is_empty()


def test_stop_leaves_the_redis_of_a_script_alone(land):
    with redtask.Cluster(n=1) as rc:
        refused = land.run("cluster", "stop")

        assert refused.code == 3
        assert "script" in refused.err
        assert rc.load_balanced_view().apply_sync(pow, 2, 5) == 32


def test_the_high_water_mark_can_be_set_at_the_start(land):
    started = land.run("cluster", "start", "-n", "1", "--daemonize", "--hwm", "7")

    told = json.loads(land.run("status", "--json").out)

    assert started.code == 0
    assert told["settings"]["hwm"] == 7
    land.run("cluster", "stop")


def test_a_cluster_on_another_redis_starts_none(land, real_server):
    started = land.run(
        "cluster", "start", "-n", "1", "--daemonize", "--url", real_server.url
    )
    redis = land.pids(REDIS)
    with redtask.Client(real_server.url) as client:
        value = client.load_balanced_view().apply_sync(pow, 2, 5)
    stopped = land.run("cluster", "stop")

    assert started.code == 0
    assert "REDTASK_URL" in started.out
    assert redis == []
    assert value == 32
    assert "goes on" in stopped.out
    assert real_server.redis().ping()


def test_engines_join_the_redis_of_the_cluster_wherever_it_is(land, real_server):
    url = real_server.url
    started = land.run("cluster", "start", "-n", "1", "--daemonize", "--url", url)
    assert started.code == 0, started

    land.start("-m", "redtask", "cluster", "engines", "-n", "1")

    with redtask.Client(url) as client:
        client.wait_for_engines(2, timeout=DEADLINE)
    assert land.run("cluster", "stop").code == 0
    assert land.is_empty()


@pytest.fixture
def go(land, monkeypatch):
    """Have Redis start only when there is this file."""
    go, slow = land.folder / "go", land.folder / "redis-server"
    slow.write_text(
        f"#!/bin/sh\ncase $1 in -v|--version) ;;\n"
        f"*) until [ -e {go} ]; do sleep 0.01; done;; esac\n"
        f'exec {find_binary().path} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("REDTASK_REDIS_SERVER", str(slow))
    return go


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_daemon_does_not_go_on_starting_when_its_starter_is_ended(land, go, number):
    starting = land.start("-m", "redtask", "cluster", "start", "-n", "1", "--daemonize")
    until(lambda: land.pids("redis-server"), "its Redis")

    starting.send_signal(signal.Signals[number])
    starting.wait(DEADLINE)
    go.touch()

    until(land.is_empty, "the end of all")
    assert land.run("cluster", "stop").code == 3


def test_a_cluster_that_is_just_starting_is_left_alone(land, go):
    profile = land.home / "profiles" / "default"
    starting = land.start("-m", "redtask", "cluster", "start", "-n", "1")
    until((profile / "server" / "used").exists, "the begin")
    until(lambda: land.pids("redis-server"), "its Redis")

    stopped = land.run("cluster", "stop")
    cleaned = land.run("cluster", "clean", "--data", "--yes")
    unused = claim(profile / "server")
    go.touch()

    assert (stopped.code, cleaned.code, unused) == (5, 5, None)
    assert "is just starting or ending" in stopped.err
    assert "redtask 0" in starting.stdout.readline()
    starting.send_signal(signal.SIGINT)
    assert starting.wait(DEADLINE) == 0


def test_who_has_no_standard_streams_is_told_no_tracebacks(land, daemon):
    land.run("cluster", "stop")

    def close():
        os.close(0)
        os.close(2)

    done = land.run("cluster", "clean", "--data", preexec_fn=close)

    assert done.code == 2
    assert (land.home / "profiles" / "default" / "server" / "data").exists()


def test_the_files_of_engines_that_live_stay(tmp_path):
    living, dead = (guests.file_of(tmp_path, name) for name in ("a", "b"))
    dead.touch()
    hold = f"import fcntl; held = open({str(living)!r}, 'w'); "
    hold += "fcntl.lockf(held, fcntl.LOCK_EX); print(flush=True); input()"
    held = subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with held:
        assert held.stdout
        assert held.stdout.readline()

        assert guests.left(tmp_path) == [dead]
        assert guests.names(tmp_path) == ["a"]

        held.communicate("\n")
