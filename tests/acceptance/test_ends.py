"""What runs when an engine ends: what its tasks have left to be done at the end."""

import atexit
import logging.handlers
import multiprocessing.util
import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import DEADLINE, until
from tests.sites import is_dead, writer

pytestmark = pytest.mark.acceptance

#: Whoever ends is killed if that takes longer than this, in seconds.
PATIENCE = 2


def left_over(folder):
    """Return a task that leaves all kinds of things to be done at the end."""

    def leave():
        kept = vars(atexit).setdefault("kept", [])
        kept.append(tempfile.TemporaryDirectory(dir=folder, prefix="temporary-"))
        atexit.register((folder / "atexit").touch)
        multiprocessing.util.Finalize(
            None, (folder / "finalized").touch, exitpriority=1
        )
        kept.append((folder / "buffered").open("w"))
        kept[-1].write("all")
        target = logging.FileHandler(folder / "log")
        memory = logging.handlers.MemoryHandler(1000, target=target)
        memory.emit(logging.makeLogRecord({"msg": "logged", "levelno": 0}))
        kept.append(memory)
        pool = ThreadPoolExecutor()
        pool.submit(abs, -1).result()
        kept.append(pool)
        return os.getpid()

    return leave


def all_is_done(folder):
    assert list(folder.glob("temporary-*")) == []
    assert (folder / "atexit").exists()
    assert (folder / "finalized").exists()
    assert (folder / "buffered").read_text() == "all"
    assert (folder / "log").read_text() == "logged\n"
    return True


def test_an_engine_that_is_recycled_does_what_was_left_for_its_end(site, tmp_path):
    worker = site.worker("-n", "1", "--max-tasks", "1")

    pid = site.view.apply_async(left_over(tmp_path)).get(DEADLINE)
    until(lambda: is_dead(pid), "the end of the engine")

    assert all_is_done(tmp_path)
    assert site.view.apply_async(os.getpid).get(DEADLINE) != pid
    assert "is gone" not in worker.told


def test_an_idle_engine_does_so_when_its_worker_is_stopped(site, tmp_path):
    worker = site.worker("-n", "2")
    site.view.apply_async(left_over(tmp_path)).get(DEADLINE)

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert all_is_done(tmp_path)


def test_a_busy_engine_does_so_after_its_task_when_its_worker_is_stopped(
    site, tmp_path
):
    worker = site.worker("-n", "1")
    leave, gate = left_over(tmp_path), tmp_path / "gate"
    note = writer(site.ledger)

    def task():
        leave()
        note("x")
        while not gate.exists():
            time.sleep(0.01)
        return "done"

    result = site.view.apply_async(task)
    until(lambda: site.executions()["x"], "it runs")
    worker.signal(signal.SIGTERM)
    worker.wait_for("stopping")
    gate.touch()

    assert result.get(DEADLINE) == "done"
    assert worker.wait() == 0
    assert all_is_done(tmp_path)


def never_ends():
    atexit.register(time.sleep, 600)
    return os.getpid()


def test_what_does_not_come_to_an_end_there_is_killed(site):
    worker = site.worker("-n", "1", "--max-tasks", "1")
    first = site.view.apply_async(never_ends).get(DEADLINE)

    second = site.view.apply_async(never_ends).get(DEADLINE)

    assert first != second
    assert is_dead(first)
    worker.wait_for("what was left for its end takes longer than 2 s")
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert time.monotonic() - asked < 3 * PATIENCE


def test_an_engine_gets_nothing_new_while_it_ends(site, tmp_path):
    gate = tmp_path / "gate"
    site.worker("-n", "2", "--max-tasks", "2")

    def end_late():
        def wait():
            (tmp_path / "ends").touch()
            while not gate.exists():
                time.sleep(0.01)

        atexit.register(wait)
        return os.getpid()

    first = site.view.apply_async(end_late).get(DEADLINE)
    while not (tmp_path / "ends").exists():
        site.view.apply_async(os.getpid).get(DEADLINE)
    until(lambda: site.story("engine draining") or site.story("engine drained"))
    asked = time.monotonic()
    pids = {site.view.apply_async(os.getpid).get(DEADLINE) for _ in range(4)}

    assert first not in pids
    assert time.monotonic() - asked < PATIENCE
    gate.touch()


def test_what_its_worker_has_registered_before_is_not_the_engines(site, monkeypatch):
    folder = site.folder
    (folder / "early.py").write_text(
        "import atexit, os, pathlib, tempfile\n"
        "KEPT = tempfile.TemporaryDirectory(dir='.', prefix='early-')\n"
        "def note():\n"
        "    with pathlib.Path('noted').open('a') as file:\n"
        "        file.write(f'{os.getpid()}\\n')\n"
        "atexit.register(note)\n"
    )
    worker = site.worker("-n", "1", "--max-tasks", "1", "--preload", "early")

    pid = site.view.apply_async(left_over(folder)).get(DEADLINE)
    until(lambda: is_dead(pid), "the end of the engine")

    assert all_is_done(folder)
    assert not (folder / "noted").exists()
    assert len(list(folder.glob("early-*"))) == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert (folder / "noted").read_text() == f"{worker.process.pid}\n"
    assert list(folder.glob("early-*")) == []


def test_who_is_killed_does_nothing(site, tmp_path):
    site.worker("-n", "1")
    pid = site.view.apply_async(left_over(tmp_path)).get(DEADLINE)

    os.kill(pid, signal.SIGKILL)
    until(lambda: is_dead(pid), "the end of the engine")

    assert site.view.apply_async(os.getpid).get(DEADLINE) != pid
    assert not (tmp_path / "atexit").exists()
    assert len(list(tmp_path.glob("temporary-*"))) == 1
