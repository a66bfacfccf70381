"""How a worker is watched, and how it ends: health, signals, logs, burst, limits."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import sites, tasks
from tests.processes import DEADLINE, until
from tests.sites import writer

pytestmark = pytest.mark.acceptance


def ask(port):
    """Ask a worker how it is; return the status and what it says."""
    url = f"http://127.0.0.1:{port}/health"
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as problem:
        return problem.code, json.loads(problem.read())


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def test_a_worker_says_how_it_is(site, gate, tmp_path, monkeypatch):
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(DEADLINE)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    pid_file = tmp_path / "w.pid"
    options = ("--health-port", "0", "--pid-file", str(pid_file), "-l", "gpu")
    logs = ("--log-format", "json", "--log-tasks", "info")
    worker = site.worker("-c", "1", "-Q", "default", *options, *logs)
    (port,) = re.findall(r"asked on port (\d+)", worker.told)

    assert notified.recv(100).startswith(b"READY=1")
    assert notified.recv(100) == b"WATCHDOG=1"
    until(lambda: ask(port)[0] == 200)
    assert int(pid_file.read_text()) == worker.process.pid
    second = site.worker("-n", "1", "--pid-file", str(pid_file), ready=False)
    assert second.wait() == 5
    assert "lives" in second.told

    # What a task logs says which task it is of.
    result = site.view.apply_async(tasks.log, "hello")
    result.get(DEADLINE)
    lines = [json.loads(line) for line in worker.told.splitlines()]
    (told,) = [line for line in lines if line["message"] == "hello"]
    assert (told["id"], told["attempt"], told["engine_id"]) == (result.msg_ids[0], 1, 0)
    assert told["logger"] == "application"

    # Quiet, and on again; where is its code?
    worker.signal(signal.SIGUSR1)
    until(lambda: ask(port) == (503, {**ask(port)[1], "consuming": False}))
    assert ask(port)[1]["why"] == "its engines are drained"
    waiting = site.view.apply_async(tasks.pass_gate, str(gate), 7)
    assert site.state(waiting.msg_ids[0]) == "ready"
    worker.signal(signal.SIGCONT)
    until(lambda: site.state(waiting.msg_ids[0]) == "running")
    until(lambda: any(one.task for one in site.client.stacks()))
    worker.signal(signal.SIGUSR2)
    worker.wait_for("in pass_gate")
    gate.touch()
    assert waiting.get(DEADLINE) == 7

    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert not pid_file.exists()
    notified.close()


def test_a_drained_worker_that_starts_again_says_so_from_the_first(site):
    options = ("-n", "1", "--name", "w", "--health-port", "0")
    first = site.worker(*options)
    first.signal(signal.SIGUSR1)
    until(lambda: site.story("engine drained"), "the drain")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0

    again = site.worker(*options)
    (port,) = re.findall(r"asked on port (\d+)", again.told)
    told = until(lambda: (seen := ask(port))[1]["joined"] and seen)

    assert told[0] == 503
    assert told[1]["why"] == "its engines are drained"


def test_a_pid_file_may_have_been_left_by_a_process_of_the_same_id(site):
    leave = ["sh", "-c", 'echo $$ >w.pid; exec "$@"', "sh"]
    words = [sys.executable, "-m", "redtask", "worker", "-n1", "--burst"]
    words += ["--pid-file", "w.pid"]

    done = subprocess.run([*leave, *words], check=False, cwd=site.folder)

    assert done.returncode == 0
    assert not (site.folder / "w.pid").exists()


def test_a_pid_file_of_a_dead_worker_may_name_who_has_its_id_now(site):
    pid_file = site.folder / "w.pid"
    pid_file.write_text(f"{os.getpid()}\n")

    burst = site.worker("-n", "1", "--burst", "--pid-file", str(pid_file))

    assert burst.wait() == 0
    assert not pid_file.exists()


def test_a_pid_file_that_cannot_be_written_is_named_with_its_option(site):
    refused = site.worker("--pid-file", str(site.folder / "no" / "w.pid"), ready=False)

    assert refused.wait() == 1
    assert "redtask: --pid-file" in refused.told
    assert "No such file or directory" in refused.told


def test_what_outlasts_the_drain_goes_back_and_no_try_is_used(site, gate):
    worker = site.worker("-n", "1", "--drain-timeout", "50ms")
    view = site.view.with_flags(retries=1)
    result = view.apply_async(tasks.pass_gate, str(gate), 7)
    until(lambda: any(one.task for one in site.client.stacks()))

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 1
    assert "what runs goes back" in worker.told
    assert site.state(result.msg_ids[0]) == "ready"
    gate.touch()
    burst = site.worker("-n", "1", "--burst", "--name", "w")
    assert burst.wait() == 0
    assert result.get(DEADLINE) == 7
    assert b"tries" not in site.redis.hgetall(site.record(result.msg_ids[0]))
    assert "nothing is left to do" in burst.told


@pytest.fixture
def cut_off(own_site, own_server, gate):
    """A task runs on a worker, and ends when its Redis is away."""
    own_site.redis.config_set("appendfsync", "always")
    worker = own_site.worker("-n", "2", "-v", "--drain-timeout", "50ms")
    view = own_site.view.with_flags(retries=1)
    note = writer(own_site.ledger)

    def run(name, gate):
        note(name)
        return tasks.pass_gate(gate, name)

    def begin(name, gate):
        result = view.apply_async(run, name, str(gate))
        until(lambda: own_site.executions()[name], "the task")
        return result

    ends = begin("ends", gate)

    def cut():
        own_server.kill()
        gate.touch()
        worker.wait_for("completed after")
        worker.wait_for("trying on")

    return worker, begin, ends, cut


def test_what_has_finished_is_told_after_the_drain_however_long_redis_is_away(
    cut_off, own_server
):
    worker, _, ends, cut = cut_off
    cut()

    worker.signal(signal.SIGTERM)
    worker.wait_for("still to be reported")
    own_server.start()

    assert worker.wait() == 0
    assert ends.get(DEADLINE) == "ends"


def test_what_outlasts_the_drain_costs_nothing_that_has_finished(
    cut_off, own_server, own_site, tmp_path
):
    worker, begin, ends, cut = cut_off
    lasts = begin("lasts", tmp_path / "never")
    cut()

    worker.signal(signal.SIGTERM)
    worker.wait_for("what runs goes back")
    worker.wait_for("still to be reported")
    own_server.start()

    assert worker.wait() == 1
    assert ends.get(DEADLINE) == "ends"
    assert own_site.states(lasts) == ["ready"]


def test_who_asks_again_does_not_wait_for_redis_and_is_told_what_that_costs(
    cut_off, own_server
):
    worker, _, ends, cut = cut_off
    cut()
    worker.signal(signal.SIGTERM)
    worker.wait_for("still to be reported")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 1
    assert "1 outcome cannot be reported" in worker.told
    own_server.start()
    assert not ends.ready()


def test_a_worker_that_is_told_to_quit_waits_for_nothing(site, gate):
    worker = site.worker("-n", "1")
    result = site.view.with_flags(retries=1).apply_async(tasks.pass_gate, str(gate), 7)
    until(lambda: any(one.task for one in site.client.stacks()))

    worker.signal(signal.SIGQUIT)

    assert worker.wait() == 1
    assert "SIGQUIT: stopping now; what runs goes back" in worker.told
    assert site.state(result.msg_ids[0]) == "ready"


def test_what_does_not_heed_the_second_signal_ends_with_the_third(site, gate):
    worker = site.worker("-n", "1")
    result = site.view.apply_async(tasks.ignore_interrupts, str(gate))
    until(gate.exists)

    worker.signal(signal.SIGTERM)
    worker.wait_for("what runs may finish")
    worker.signal(signal.SIGINT)
    worker.wait_for("what runs goes back")
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 1
    assert "ending what runs" in worker.told
    assert "its worker was stopped" in str(result.exception(DEADLINE))


def test_engines_are_replaced_when_they_take_too_much_and_a_worker_ends_idle(site):
    worker = site.worker("-n", "1", "--max-memory", "150M", "--max-idle", "2s")

    pids = {site.view.apply_async(tasks.keep_bytes, 200 << 20).get(DEADLINE)}
    until(lambda: "it takes" in worker.told)
    pids.add(site.view.apply_async(tasks.keep_bytes, 1).get(DEADLINE))

    assert len(pids) == 2
    assert worker.wait() == 0
    assert "nothing to do for 2 s" in worker.told


def test_what_engines_share_with_their_worker_is_not_their_memory(site):
    (site.folder / "large.py").write_text("data = b'x' * (200 << 20)\n")

    words = ("--preload", "large", "--max-memory", "100M", "--max-idle", "2s")
    worker = site.worker("-n", "1", *words)

    assert worker.wait() == 0
    assert "nothing to do for 2 s" in worker.told
    assert "is replaced" not in worker.told


def test_who_may_drain_for_no_time_at_all_hands_back_at_once(site):
    worker = site.worker("-n", "1", "--drain-timeout", "0")
    shut = site.folder / "go"
    runs = site.view.with_flags(retries=1).apply_async(sites.gate(shut))
    until(sites.begun(shut).exists, "it runs")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 1
    assert site.states(runs) == ["ready"]


#: Has a worker wait where it looks for what dead ones have left.
SLOW = """
import time
from pathlib import Path
from redtask.engine import worker
inherit = worker.inherit
def wait(*args):
    Path("begun").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    inherit(*args)
worker.inherit = wait
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_who_is_stopped_while_it_talks_to_redis_first_ends_in_order(site, number):
    (site.folder / "slow.py").write_text(SLOW)
    worker = site.worker("-n", "1", "--preload", "slow", ready=False)
    until((site.folder / "begun").exists, "the start")

    worker.signal(number)
    (site.folder / "gate").touch()

    assert worker.wait() == 0
    assert f"{number.name}: stopping" in worker.told
    assert "ready" not in worker.told
    assert site.redis.keys("*:engine:*") == []


def test_process_1_can_be_ended_before_its_engines_start(site):
    (site.folder / "slow.py").write_text(
        "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(600)"
    )
    words = ["redtask", "worker", "-n1", "--preload", "slow"]
    alone = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", *words],
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{site.folder}"},
    )
    try:
        begun = site.folder / "begun"
        until(lambda: begun.exists() or alone.poll() is not None, "the import")
        if not begun.exists():
            pytest.skip("no namespace of processes may be made here")
        children = Path(f"/proc/{alone.pid}/task/{alone.pid}/children")

        os.kill(int(children.read_text()), signal.SIGTERM)

        assert alone.wait(20) == 128 + signal.SIGTERM
    finally:
        alone.kill()
        alone.wait()
