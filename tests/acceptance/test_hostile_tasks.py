"""Whatever a task does to its engine: it ends, and the next task runs as ever."""

import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time

import pytest

import redtask
from tests.processes import until
from tests.sites import ROOT

pytestmark = pytest.mark.acceptance

DEADLINE = 60


def all_is_well(site):
    """Do a task alone and many together run as ever?"""
    view = site.client.load_balanced_view()
    alone = view.apply_async(lambda x: x + 1, 1).get(DEADLINE)
    return alone == 2 and view.map_async(lambda x: x, range(50)).get(DEADLINE) == list(
        range(50)
    )


def leave_an_alarm(handler):
    """Return a task that sets an alarm and is gone when it rings."""

    def task():
        react = signal.SIG_DFL if handler == "default" else lambda *_: 1 / 0
        signal.signal(signal.SIGALRM, react)
        signal.setitimer(signal.ITIMER_REAL, 0.2)

    return task


@pytest.mark.parametrize("handler", ["default", "raises"])
def test_an_alarm_that_a_task_leaves_does_not_ring_in_another(site, handler):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    site.view.apply_async(leave_an_alarm(handler)).get(DEADLINE)

    slept = site.view.apply_async(time.sleep, 0.4)

    assert slept.get(DEADLINE) is None
    assert worker.engines() == engines


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may do that")
@pytest.mark.parametrize("drop", [os.setuid, os.seteuid])
def test_an_engine_whose_task_gave_up_rights_runs_no_other(site, drop):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    # The engine learns that tasks are short, so that it takes many at once.
    assert len(site.view.map_async(abs, range(1000)).get(DEADLINE)) == 1000

    def task(x):
        if x == 30:
            drop(65534)
            redtask.current_task().progress(0.5)
        return os.geteuid() + os.getgid()

    values = site.view.map_async(task, range(100)).get(DEADLINE)

    assert values == [65534 if x == 30 else 0 for x in range(100)]
    until(lambda: len(worker.engines()) == 1, "the next engine")
    assert worker.engines() != engines
    assert "is gone" not in worker.told
    assert not site.story("lost")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may do that")
def test_an_engine_whose_task_changed_its_group_is_replaced(site):
    worker = site.worker("-n", "1")
    engines = worker.engines()

    assert site.view.apply_sync(os.setgid, 65534) is None

    until(lambda: worker.engines() not in ([], engines), "the next engine")
    assert site.view.apply_sync(os.getgid) == 0


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("timer", [signal.ITIMER_PROF, signal.ITIMER_VIRTUAL])
def test_a_profilers_timer_that_a_task_leaves_ends_no_other(site, timer):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    site.view.apply_async(signal.setitimer, timer, 0.05).get(DEADLINE)

    burnt = site.view.apply_async(burn, 0.2)

    assert burnt.get(DEADLINE) is None
    assert worker.engines() == engines


def change_directory():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)  # noqa: PTH106 - where it stands has no path then


def ignore_signals():
    for number in set(range(1, 65)) - {9, 19, 32, 33}:
        signal.signal(number, signal.SIG_IGN)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))


def break_sockets():
    os.closerange(3, 256)
    socket.setdefaulttimeout(0.0001)


def close_streams():
    sys.stdout.close()
    os.close(1)
    os.close(2)


def leave_threads():
    for _ in range(100):
        threading.Thread(target=time.sleep, args=(600,)).start()


def leave_a_child():
    if os.fork() == 0:
        time.sleep(600)


def forget_the_environment():
    os.environ.clear()
    os.umask(0o777)


def test_what_a_task_does_to_its_process_hurts_nobody(site):
    site.worker("-n", "1")
    tasks = [
        change_directory,
        ignore_signals,
        block_signals,
        break_sockets,
        close_streams,
        leave_threads,
        leave_a_child,
        forget_the_environment,
    ]

    for task in tasks:
        site.view.apply_async(task).get(DEADLINE)
        assert all_is_well(site), task.__name__


def test_a_task_whose_record_is_no_text_is_refused_and_ends_no_engine(site):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    view = site.view.with_flags(timeout=100)
    site.client.drain()
    result = view.apply_async(abs, -1)
    (key,) = map(site.record, result.msg_ids)
    digest = site.redis.hget(key, "fn").split(b" ")[0]
    site.redis.hset(key, "fn", digest + b" \xff")

    site.client.resume()

    with pytest.raises(redtask.RemoteError, match="SignatureError: refused"):
        result.get(DEADLINE)
    assert all_is_well(site)
    assert worker.engines() == engines


def test_a_bell_that_rings_strangely_ends_no_engine(site):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    (uuid,) = (
        one.uuid for one in site.client._run(site.client._session.status()).engines
    )

    site.redis.rpush(f"{ROOT}:engine:{uuid}:bell", b"\xff\n\xff\n\xff\n1\n\n", b"a\nb")

    until(lambda: not site.redis.exists(f"{ROOT}:engine:{uuid}:bell"), "a wake engine")
    assert all_is_well(site)
    assert worker.engines() == engines


def test_a_task_that_ignores_signals_is_stopped_all_the_same(site):
    site.worker("-n", "1")

    def stubborn():
        ignore_signals()
        while True:
            time.sleep(1)

    result = site.view.with_flags(time_limit=0.2).apply_async(stubborn)

    with pytest.raises(redtask.TimeLimitExceeded):
        result.get(DEADLINE)
    assert all_is_well(site)


def test_an_engine_that_a_task_left_without_descriptors_is_replaced(site):
    site.configure(lease=1000)
    worker = site.worker("-n", "1")
    engines = worker.engines()

    def exhaust():
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.closerange(3, 256)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        return "done"

    result = site.view.apply_async(exhaust)

    assert result.get(DEADLINE) == "done"
    until(lambda: "cut off from Redis" in worker.told, "the watchdog")
    assert all_is_well(site)
    assert worker.engines() != engines


def test_a_gigabyte_of_output_is_cut_and_costs_no_memory(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()

    def flood():
        line = "x" * 1_000_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(1000):
            print(line)  # noqa: T201
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    result = site.view.apply_async(flood)

    assert result.get(DEADLINE) < 50_000
    assert 100_000 < len(result.stdout) < 2_000_000
    assert worker.engines() == [engine]


class StubbornError(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise RuntimeError("no")


class SilentError(Exception):
    """Cannot be shown."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def raise_stubborn():
    raise StubbornError


def raise_silent():
    raise SilentError


def raise_in_a_circle():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def raise_a_group():
    raise ExceptionGroup("several", [ValueError(1), SilentError()])


def raise_a_long_one():
    raise ValueError("x" * 20_000_000)


def ask_for_much():
    return bytearray(10**14)


def test_every_exception_is_told_by_its_name_and_no_engine_ends(site):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    told = {
        raise_stubborn: "StubbornError",
        raise_silent: "SilentError",
        raise_in_a_circle: "ValueError",
        raise_a_group: "ExceptionGroup",
        raise_a_long_one: "ValueError",
        ask_for_much: "MemoryError",
    }

    for task, ename in told.items():
        with pytest.raises(redtask.RemoteError) as raised:
            site.view.apply_async(task).get(DEADLINE)
        assert raised.value.ename == ename

    assert all_is_well(site)
    assert worker.engines() == engines


def test_a_poisonous_task_ends_and_the_engines_it_killed_are_back(site):
    worker = site.worker("-n", "2")
    before = set(worker.engines())

    def poison():
        print("the last that was heard", flush=True)  # noqa: T201
        os.kill(os.getpid(), 9)

    good = site.view.map_async(lambda x: x, range(500))
    result = site.view.with_flags(retries=100).apply_async(poison)

    with pytest.raises(redtask.EngineError) as raised:
        result.get(DEADLINE)
    told = str(raised.value)
    assert "killed by signal 9 (SIGKILL), memory" in told
    assert result.stdout == "the last that was heard\n"
    assert good.get(DEADLINE) == list(range(500))
    assert len(site.story("lost")) == 3
    until(lambda: len(worker.engines()) == 2, "the engines")
    assert before != set(worker.engines())
    assert all_is_well(site)
