"""Workers as real processes on a real Redis: what they promise when things go wrong."""

import ctypes
import fcntl
import multiprocessing
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import redtask
from redtask.connect import connect
from redtask.hub import calls
from redtask.profile import Profile
from tests.processes import DEADLINE, until
from tests.sites import ROOT, begun, gate, is_dead, writer

pytestmark = pytest.mark.acceptance


def test_tasks_run_and_what_they_print_is_kept(site):
    site.worker("-n", "2")

    def double(x):
        print("doubling", x)  # noqa: T201
        print("no trouble", file=sys.stderr)  # noqa: T201
        return 2 * x

    result = site.view.map_async(double, range(100))

    assert result.get(DEADLINE) == [2 * x for x in range(100)]
    one = site.view.apply_async(double, 7)
    assert one.get(DEADLINE) == 14
    assert one.stdout == "doubling 7\n"
    assert one.stderr == "no trouble\n"
    assert "doubling" not in site.workers[0].told


def test_a_worker_whose_log_nobody_reads_goes_on(site):
    source, target = os.pipe()
    fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, 4096)
    words = ["-m", "redtask", "worker", "-n", "1", "-v"]
    with subprocess.Popen([sys.executable, *words], stderr=target) as worker:
        os.close(target)
        try:
            results = site.view.map_async(abs, range(300))
            assert len(results.get(DEADLINE)) == 300
            worker.terminate()
            assert worker.wait(DEADLINE) == 0
        finally:
            worker.kill()
            os.close(source)


def test_a_failure_is_told_with_the_traceback_of_the_users_code_alone(site):
    site.worker("-n", "1")

    def fail(x):
        raise ValueError(f"not {x}")

    with pytest.raises(redtask.RemoteError) as raised:
        site.view.apply_async(fail, 3).get(DEADLINE)

    assert (raised.value.ename, raised.value.evalue) == ("ValueError", "not 3")
    assert "in fail" in raised.value.traceback
    assert "redtask/" not in raised.value.traceback
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_killed_engine_blames_the_task_that_ran_and_no_other(site):
    worker = site.worker("-n", "2")
    note, killed = writer(site.ledger), site.folder / "killed"

    def task(x):

        note(x)
        if x == 613 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), 9)
        return x

    view = site.view.with_flags(retries=1)
    result = view.map_async(task, range(2000))

    assert result.get(DEADLINE) == list(range(2000))
    times = site.executions()
    assert {x: count for x, count in times.items() if count != 1} == {"613": 2}
    (lost,) = site.story("lost")
    assert re.fullmatch(r"killed by signal 9 \(SIGKILL\), memory \d+ MiB", lost["why"])
    assert "engine" in worker.told
    until(lambda: len(worker.engines()) == 2, "a new engine")


def test_an_engine_is_replaced_also_if_who_started_the_worker_ignores_children(site):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        worker = site.worker("-n", "1", ready=False)
    finally:
        signal.signal(signal.SIGCHLD, before)
    (killed,) = worker.wait_for("ready").engines()

    os.kill(killed, signal.SIGKILL)

    worker.wait_for("is gone: killed by signal 9 (SIGKILL)")
    until(lambda: worker.engines() not in ([], [killed]), "a new engine")


def test_engines_killed_from_outside_again_and_again_lose_nothing(site):
    worker = site.worker("-n", "2")
    note = writer(site.ledger)

    def task(x):
        note(x)
        return x

    result = site.view.with_flags(retries=5).map_async(task, range(3000))
    for share in range(1, 5):

        def gets_on(most=share * 500):
            return result.progress > most

        until(gets_on, "progress")
        for pid in worker.engines()[:1]:
            os.kill(pid, signal.SIGKILL)

    assert result.get(DEADLINE) == list(range(3000))
    again = sum(count - 1 for count in site.executions().values())
    assert again <= len(site.story("lost"))


def test_engines_die_with_their_supervisor_and_the_next_one_takes_over_at_once(site):
    first = site.worker("-n", "2", "--name", "w")
    note = writer(site.ledger)
    begun = site.folder / "begun"

    def task(x):

        note(x)
        if x == 0 and not begun.exists():
            begun.touch()
            time.sleep(60)
        return x

    result = site.view.with_flags(retries=1).map_async(task, range(50))
    until(begun.exists, "the first task")
    engines = first.engines()
    first.kill()
    until(lambda: all(map(is_dead, engines)), "the death of the engines")
    started = time.monotonic()
    site.worker("-n", "2", "--name", "w").wait_for("took over 2 engines")

    assert result.get(DEADLINE) == list(range(50))
    assert time.monotonic() - started < 5
    assert {lost["why"] for lost in site.story("lost")} == {"its worker died"}


@pytest.mark.parametrize("how", ["program", "bare program", "fork"])
def test_what_tasks_of_a_killed_supervisor_have_started_ends_before_they_run_again(
    site, how
):
    first = site.worker("-n", "1", "--name", "w")
    pids = site.folder / "pids"

    def task():
        if how == "fork":
            child = os.fork()
            if not child:
                time.sleep(600)
                os._exit(0)
        else:
            command = ["sh", "-c", "env -i sleep 600 & exec sleep 600"]
            bare = {"PATH": os.environ["PATH"]} if how == "bare program" else None
            subprocess.Popen(["sleep", "600"])
            child = subprocess.Popen(command, env=bare).pid
        elder = pids.read_text().split() if pids.exists() else []
        with pids.open("a") as file:
            file.write(f"{child}\n")
        if not elder:
            time.sleep(600)
        os.kill(child, signal.SIGKILL)
        return [is_dead(pid) for pid in elder]

    result = site.view.with_flags(retries=1).apply_async(task)
    until(lambda: pids.exists() and pids.read_text().endswith("\n"), "the first try")
    first.kill()
    worker = site.worker("-n", "1", "--name", "w")

    assert result.get(DEADLINE) == [True]
    assert "ended what tasks of dead engines had started" in worker.told


def test_what_they_started_in_a_session_of_its_own_goes_on(site):
    first = site.worker("-n", "1", "--name", "w")

    def start():
        command = ["sleep", "600"]
        return subprocess.Popen(command, start_new_session=True).pid

    pid = site.view.apply_async(start).get(DEADLINE)
    first.kill()
    site.worker("-n", "1", "--name", "w").wait_for("took over 1 engine")

    assert not is_dead(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_task_that_is_taken_over_is_lost_with_one_dead_engine_only(site):
    first = site.worker("-n", "8", "--name", "w")
    note, ledger = writer(site.ledger), str(site.ledger)

    def task(x):
        note(x)
        if len(Path(ledger).read_text().split()) <= 4:
            time.sleep(60)
        return x

    view = site.view.with_flags(retries=1)
    results = [view.apply_async(task, x) for x in range(4)]
    until(lambda: len(site.executions()) == 4, "the tasks")
    first.kill()
    site.worker("-n", "8", "--name", "w")

    assert [result.get(DEADLINE) for result in results] == list(range(4))
    assert set(site.executions().values()) == {2}
    assert len(site.story("lost")) == 4


def test_a_second_worker_of_the_name_is_refused(site):
    site.worker("-n", "1", "--name", "w")

    second = site.worker("-n", "1", "--name", "w", ready=False)

    assert second.wait() == 5
    assert second.told.splitlines()[-1].startswith("redtask: a worker named w is alive")
    assert site.view.apply_async(lambda: 1).get(DEADLINE) == 1


def test_a_worker_that_is_asked_to_stop_lets_what_runs_finish(site):
    worker = site.worker("-n", "2")
    note, wait = writer(site.ledger), gate(site.folder / "go")

    def task(x):
        note(x)
        wait()
        return x

    result = site.view.map_async(task, range(10))
    until(lambda: sum(site.executions().values()) == 2, "two tasks")
    worker.signal(signal.SIGTERM)
    worker.wait_for("stopping")
    until(lambda: Counter(site.states(result)) == {"running": 2, "ready": 8})
    (site.folder / "go").touch()

    assert worker.wait() == 0
    assert Counter(site.states(result)) == {"completed": 2, "ready": 8}
    assert sum(site.executions().values()) == 2
    assert not site.story("lost")
    site.worker("-n", "1")
    assert result.get(DEADLINE) == list(range(10))
    assert sum(site.executions().values()) == 10


def test_a_hangup_is_no_second_request_to_stop(site):
    worker = site.worker("-n", "1")
    result = site.view.apply_async(gate(site.folder / "go"))
    until(begun(site.folder / "go").exists, "it runs")

    worker.signal(signal.SIGINT)
    worker.wait_for("SIGINT: stopping")
    worker.signal(signal.SIGHUP)
    worker.signal(signal.SIGUSR2)
    worker.wait_for("engine 0: task")
    (site.folder / "go").touch()

    assert worker.wait() == 0
    assert site.states(result) == ["completed"]


def test_an_idle_worker_stops_at_once(site):
    worker = site.worker("-n", "2")
    engines = worker.engines()

    worker.signal(signal.SIGINT)

    assert worker.wait() == 0
    assert all(map(is_dead, engines))
    assert [gone["why"] for gone in site.story("engine gone")] == ["drained"] * 2


def stop_twice(site, result):
    """Have what runs on a worker interrupted."""
    worker = site.workers[-1]
    # It has that state before the engine begins it, which could still give it back.
    until(lambda: any(one.task for one in site.client.stacks()), "it runs")
    assert site.states(result) == ["running"]
    worker.signal(signal.SIGTERM)
    worker.wait_for("stopping")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1


def test_the_second_signal_stops_what_runs(site):
    site.worker("-n", "1")
    result = site.view.with_flags(retries=1).apply_async(gate(site.folder / "never"))

    stop_twice(site, result)

    assert site.states(result) == ["ready"]
    assert b"tries" not in site.redis.hgetall(site.record(result.msg_ids[0]))


@pytest.mark.parametrize("retries", [0, 1])
def test_what_cannot_be_interrupted_goes_back_as_well_if_it_may_run_twice(
    site, retries
):
    worker = site.worker("-n", "1")
    mark = site.folder / "never.begun"

    def count():
        mark.touch()
        return sum(range(10**12))

    result = site.view.with_flags(retries=retries).apply_async(count)
    stop_twice(site, result)

    assert "its worker was stopped, in task" in worker.told
    assert site.states(result) == ["ready" if retries else "failed"]
    record = site.redis.hgetall(site.record(result.msg_ids[0]))
    assert (b"deaths" in record, b"tries" in record) == (not retries, not retries)


def test_what_a_dead_worker_was_sent_and_never_took_runs_on_the_next(site):
    worker = site.worker("-n", "2")
    assert site.view.map_async(abs, range(20)).get(DEADLINE) == list(range(20))
    free = f"{ROOT}:free:default"
    until(lambda: site.redis.zcard(free) == 2, "both are idle")
    engines = worker.engines()
    worker.kill()
    until(lambda: all(map(is_dead, engines)), "its engines are dead, too")

    results = [site.view.apply_async(abs, -number) for number in range(6)]
    sent = [site.states(result) for result in results].count(["running"])
    site.worker("-n", "2")

    assert sent == 2
    assert [result.get(DEADLINE) for result in results] == list(range(6))


def test_what_has_no_retries_does_not_begin_again_after_that(site):
    site.worker("-n", "1")
    result = site.view.apply_async(gate(site.folder / "never"))

    stop_twice(site, result)

    with pytest.raises(redtask.EngineError, match="it has no retries") as raised:
        result.get(DEADLINE)
    assert "in wait" in raised.value.traceback
    assert site.states(result) == ["failed"]


def test_a_slow_task_holds_up_neither_those_before_it_nor_those_after(site):
    site.worker("-n", "1")
    note, wait = writer(site.ledger), gate(site.folder / "go")
    # The engine learns that tasks are short, so that it takes many at once.
    assert len(site.view.map_async(lambda x: x, range(1000)).get(DEADLINE)) == 1000

    def task(x):
        if x == "slow":
            note(x)
            wait()
        return x

    items = [*range(50), "slow", *range(51, 400)]
    result = site.view.map_async(task, items)
    until(lambda: site.executions()["slow"], "the slow one begins")
    began = time.monotonic()
    place = items.index("slow")
    # All that were done are reported, all that it took and did not begin are back.
    until(
        lambda: (
            Counter(site.states(result))
            == {"completed": place, "running": 1, "ready": len(items) - place - 1}
        )
    )
    waited = time.monotonic() - began

    # Another engine gets them meanwhile.
    site.worker("-n", "1")
    until(lambda: Counter(site.states(result)) == {"completed": 399, "running": 1})
    (site.folder / "go").touch()
    assert result.get(DEADLINE) == items
    assert waited < 1
    assert site.executions()["slow"] == 1
    assert not site.story("stale")


def test_a_task_may_fork_and_its_child_is_no_engine(site):
    site.worker("-n", "1")
    note = writer(site.ledger)

    def task():

        child = os.fork() == 0
        note("child" if child else "parent")
        return "child" if child else "parent"

    results = [site.view.apply_async(task) for _ in range(5)]

    assert [result.get(DEADLINE) for result in results] == ["parent"] * 5
    until(lambda: site.executions() == {"parent": 5, "child": 5})
    assert not site.story("stale")


def test_a_child_of_a_task_can_be_terminated(site):
    site.worker("-n", "1")

    def task():

        child = multiprocessing.get_context("fork").Process(
            target=time.sleep, args=[60]
        )
        child.start()
        child.terminate()
        child.join(10)
        return child.exitcode

    assert site.view.apply_async(task).get(DEADLINE) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os._exit(0), "exit code 0"),
        (lambda: os._exit(5), "exit code 5"),
        (lambda: ctypes.string_at(0), r"killed by signal 11 \(SIGSEGV\)"),
    ],
    ids=["exit", "exit-0", "exit-5", "segfault"],
)
def test_a_task_that_ends_its_engine_fails_with_the_reason(site, end, reason):
    site.worker("-n", "1")
    source = site.view.apply_async(end)

    with pytest.raises(redtask.EngineError, match=reason):
        source.get(DEADLINE)

    assert site.view.apply_async(lambda: "next").get(DEADLINE) == "next"


#: Fails to make blocks while there is a file of that name, as a full /dev/shm does.
FULL = """
from pathlib import Path
from redtask.engine import worker
make = worker.Block
def block():
    if Path("full").exists():
        raise OSError(28, "No space left on device")
    return make()
worker.Block = block
"""


#: Fails to make blocks, as a read-only /dev/shm does.
NONE = """
import multiprocessing.context
def refuse(*_):
    raise OSError(30, "Read-only file system")
multiprocessing.context.BaseContext.Lock = refuse
"""


def test_an_engine_that_cannot_be_replaced_yet_costs_no_other(site):
    (site.folder / "shm.py").write_text(FULL)
    worker = site.worker("-n", "2", "--preload", "shm")
    one, other = worker.engines()
    (site.folder / "full").touch()

    os.kill(one, signal.SIGKILL)
    worker.wait_for("no engine can be started: [Errno 28] No space left on device")
    (site.folder / "full").unlink()

    until(lambda: len(worker.engines()) == 2, "the next engine")
    assert other in worker.engines()


def test_a_worker_without_shared_memory_says_what_it_needs(site):
    (site.folder / "shm.py").write_text(NONE)
    path = f"{os.environ['PYTHONPATH']}:{site.folder}"

    done = run("worker", "-n", "1", "--preload", "shm", PYTHONPATH=path)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "redtask: the shared memory of engines cannot be made: Read-only file system. "
        "A worker needs a /dev/shm that can be written to and is not full"
    )


def test_what_a_dead_engines_task_started_dies_too(site):
    site.worker("-n", "1")

    def task():

        program = "import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", program])
        Path("child").write_text(str(child.pid))
        os._exit(1)

    with pytest.raises(redtask.EngineError):
        site.view.apply_async(task).get(DEADLINE)

    pid = int((site.folder / "child").read_text())
    until(lambda: is_dead(pid), "the death of the grandchild")


def test_a_task_that_keeps_the_gil_keeps_its_lease(site):
    site.configure(lease=500)
    site.worker("-n", "1")
    note = writer(site.ledger)

    def task():
        note("gil")
        # Not CDLL: that would let go of the lock.
        ctypes.PyDLL(None).sleep(3)
        return "done"

    assert site.view.with_flags(retries=3).apply_async(task).get(DEADLINE) == "done"
    assert site.executions() == {"gil": 1}
    assert not site.story("lost")


def test_an_engine_whose_supervisor_is_stopped_begins_nothing(site):
    site.configure(lease=500)
    worker = site.worker("-n", "1")
    engines = worker.engines()
    note = writer(site.ledger)

    os.kill(worker.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        until(lambda: time.monotonic() > stopped + 0.6, "the end of the lease")
        result = site.view.apply_async(note, "task")
        until(lambda: time.monotonic() > stopped + 1)
        assert not site.executions()
        assert site.states(result)[0] in {"ready", "assigned"}
    finally:
        os.kill(worker.process.pid, signal.SIGCONT)

    assert result.get(DEADLINE) is None
    assert site.executions() == {"task": 1}
    assert worker.engines() == engines


def test_a_lease_that_is_shortened_costs_no_task_that_runs(site):
    site.configure(lease=5000)
    site.worker("-n", "1")
    result = site.view.apply_async(gate(site.folder / "go"))
    until(lambda: site.states(result) == ["running"], "it runs")
    store, _ = connect(Profile.load(url=site.server.url))
    leases = set()

    def renewed():
        # As other workers do.
        store.do(calls.sweep())
        leases.update(site.redis.zrange(f"{ROOT}:engines", 0, -1, withscores=True))
        return len(leases) > 10 or site.states(result) != ["running"]

    site.configure(lease=300)
    until(renewed, "beats")
    (site.folder / "go").touch()

    assert result.get(DEADLINE) is None
    assert not site.story("lost")
    store.close()


def test_work_that_was_tampered_with_is_never_unpickled(site):
    bombed = site.folder / "bombed"

    class Bomb:
        def __reduce__(self):
            return (open, (str(bombed), "w"))

    honest = site.view.apply_async(lambda x: x, 1)
    altered = site.view.apply_async(lambda x: x, 2)
    moved = site.view.apply_async(lambda x: x, 3)
    swapped = site.view.apply_async(lambda x: (x, x), 4)
    (altered_id,), (moved_id,) = altered.msg_ids, moved.msg_ids
    (honest_id,), (swapped_id,) = honest.msg_ids, swapped.msg_ids
    args = site.redis.hget(site.record(altered_id), "args")
    site.redis.hset(
        site.record(altered_id), "args", args[:20] + b"a" + pickle.dumps((Bomb(),))
    )
    site.redis.hset(
        site.record(moved_id), "args", site.redis.hget(site.record(honest_id), "args")
    )
    # The digest, and after it until when the task may run.
    digest, _ = site.redis.hget(site.record(swapped_id), "fn").decode().split()
    site.redis.hset(f"{ROOT}:fn:{digest}", "blob", b"p" + pickle.dumps(Bomb()))

    worker = site.worker("-n", "1")

    assert honest.get(DEADLINE) == 1
    for result in (altered, moved, swapped):
        with pytest.raises(redtask.RemoteError, match="refused") as raised:
            result.get(DEADLINE)
        assert raised.value.ename == "SignatureError"
    assert not bombed.exists()
    assert worker.told.count("is refused") == 3


def test_a_function_is_found_by_name_where_the_worker_was_started(site):
    (site.folder / "mine.py").write_text("def triple(x): return 3 * x\n")
    site.worker("-n", "1", "--preload", "mine")

    assert site.view.apply_async("mine:triple", 4).get(DEADLINE) == 12


def test_large_arguments_and_results_pass(site):
    site.worker("-n", "2")
    site.view.map_async(lambda x: x, range(200)).get(DEADLINE)
    blob = os.urandom(700_000)

    result = site.view.map_async(lambda x: x + b"!", [blob] * 12)

    assert result.get(DEADLINE) == [blob + b"!"] * 12


def test_a_result_over_the_limit_is_the_tasks_error(site):
    site.configure(max_payload=100_000)
    site.worker("-n", "1")

    with pytest.raises(redtask.RemoteError, match="the limit is 100000") as raised:
        site.view.apply_async(lambda: bytes(200_000)).get(DEADLINE)

    assert raised.value.ename == "PayloadTooLarge"


def test_engines_heed_a_limit_that_was_raised_and_new_ones_also_a_lower_one(site):
    site.configure(max_payload=100_000)
    site.worker("-n", "1", "--max-tasks", "2")
    large = [lambda: bytes(200_000)] * 2

    site.configure(max_payload=300_000)
    for task in large:
        assert site.view.apply_async(task).get(DEADLINE) == bytes(200_000)

    site.configure(max_payload=150_000)
    with pytest.raises(redtask.RemoteError, match="the limit is 150000"):
        site.view.apply_async(large[0]).get(DEADLINE)


def test_engines_are_replaced_after_so_many_tasks(site):
    site.worker("-n", "1", "--max-tasks", "10")

    pids = site.view.map_async(lambda _: os.getpid(), range(95)).get(DEADLINE)

    assert set(Counter(pids).values()) <= set(range(1, 11))
    assert len(set(pids)) >= 10
    assert not site.story("lost")


def nap():
    """Let others be submitted meanwhile; return whose process this is."""
    time.sleep(0.3)
    return os.getpid()


def test_an_engine_is_not_replaced_before_it_ran_what_only_it_may(site):
    site.worker("-n", "1", "--max-tasks", "1")
    first = site.view.apply_async(nap)
    second = site.view.with_flags(follow=first).apply_async(os.getpid)
    third = site.view.with_flags(follow=second).apply_async(os.getpid)

    pids = [result.get(DEADLINE) for result in (first, second, third)]

    assert len(set(pids)) == 1
    assert site.view.apply_async(os.getpid).get(DEADLINE) != pids[0]


def test_a_task_that_closes_all_files_hurts_nobody(site):
    worker = site.worker("-n", "1")

    def task():

        os.closerange(3, 256)

    for _ in range(3):
        site.view.apply_async(task).get(DEADLINE)

    assert site.view.map_async(lambda x: x, range(300)).get(DEADLINE) == list(
        range(300)
    )
    assert len(worker.engines()) == 1


@pytest.mark.parametrize(
    "task",
    [
        lambda: sys.exit(3),
        lambda: (_ for _ in ()).throw(KeyboardInterrupt),
        lambda: threading.Lock,
        threading.Lock,
    ],
    ids=["exit", "interrupt", "generator", "lock"],
)
def test_no_exception_ends_an_engine(site, task):
    worker = site.worker("-n", "1")
    engines = worker.engines()

    def run():
        value = task()
        return value() if callable(value) else value

    with pytest.raises(redtask.RemoteError):
        site.view.apply_async(run).get(DEADLINE)

    assert site.view.apply_async(lambda: "next").get(DEADLINE) == "next"
    assert worker.engines() == engines


def test_redis_killed_and_restarted_loses_nothing(own_site, own_server):
    worker = own_site.worker("-n", "2")
    note = writer(own_site.ledger)

    def task(x):

        note(x)
        time.sleep(0.002)
        return x

    result = own_site.view.with_flags(retries=2).map_async(task, range(1000))
    # What was submitted is on disk.
    until(lambda: own_site.redis.info("persistence")["aof_pending_bio_fsync"] == 0)
    until(lambda: sum(own_site.executions().values()) > 300, "some tasks")
    own_server.restart()

    assert result.get(DEADLINE) == list(range(1000))
    assert worker.process.poll() is None
    own_site.redis = own_server.redis()
    until(lambda: "is back" in worker.told or "trying on" not in worker.told)


def test_scripts_that_redis_forgets_are_loaded_again(site):
    site.worker("-n", "2")
    over = threading.Event()

    def flush():
        with site.server.redis() as client:
            while not over.wait(0.02):
                client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        result = site.view.map_async(lambda x: x, range(3000))
        assert result.get(DEADLINE) == list(range(3000))
    finally:
        over.set()
        flusher.join()


def test_a_hub_that_vanished_is_made_anew(site):
    worker = site.worker("-n", "2")

    site.redis.flushall()
    worker.wait_for("made anew")

    until(lambda: len(site.client.ids) == 2, "both engines")
    assert site.view.apply_async(lambda: 5).get(DEADLINE) == 5


def test_a_task_that_the_hub_has_lost_is_interrupted(site, tmp_path):
    began, ended = tmp_path / "began", tmp_path / "ended"

    def outlive():
        began.touch()
        try:
            time.sleep(600)
        finally:
            ended.touch()

    worker = site.worker("-n", "1")
    site.view.apply_async(outlive)
    until(began.exists, "the task")

    site.redis.flushall()

    worker.wait_for("made anew")
    until(ended.exists, "the end of the task", DEADLINE)
    until(lambda: len(site.client.ids) == 1, "the engine")
    assert site.view.apply_async(lambda: 5).get(DEADLINE) == 5


def test_the_log_calls_engines_as_the_hub_does(site):
    worker = site.worker("-n", "1").wait_for("1 engine is ready")

    def kill(number):
        until(lambda: site.client.ids == [number], "the engine")
        # Between its register and its first turn its worker is told the number.
        until(lambda: site.redis.exists(f"{ROOT}:free:default"), "its first turn")
        (pid,) = worker.engines()
        os.kill(pid, signal.SIGKILL)
        worker.wait_for(f"engine {number} (seat 0) is gone: killed by signal 9")

    kill(0)
    kill(1)

    assert ", 1 engine\n" in worker.told


def test_the_log_says_which_tasks_fail(site):
    worker = site.worker("-n", "1", "-v").wait_for("1 engine is ready")

    good = site.view.apply_async(abs, -1)
    bad = site.view.with_flags(retries=1).apply_async(int, "one\ntwo")
    dead = site.view.apply_async(os._exit, 3)
    for result in good, bad, dead:
        result.wait(DEADLINE)
    worker.wait_for("is gone")

    (good,), (bad,), (dead,) = good.msg_ids, bad.msg_ids, dead.msg_ids
    assert re.search(rf"DEBUG +\[{good}/1 engine 0\] completed after", worker.told)
    said = r"failed after 0\.\d+ s: ValueError: invalid literal for int"
    for attempt in 1, 2:
        of = rf"WARNING \[{bad}/{attempt} engine \d\] {said}.*one.*two.*\n"
        assert re.search(of, worker.told)
    gone = rf"engine 0 \(seat 0\) is gone: exit code 3, .*, in task {dead}\n"
    assert re.search(gone, worker.told)


def run(*words, **environment):
    program = "from redtask.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_without_a_redis_the_worker_says_what_to_do(home):
    told = run("worker", "-n", "1")

    assert told.returncode == 3
    (line,) = told.stderr.splitlines()
    assert "no Redis is known" in line
    assert "REDTASK_URL" in line


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("nosuchmod", 2, "No module named 'nosuchmod'"),
        ("json.nosuch", 2, "No module named 'json.nosuch'"),
        ("broken", 1, "--preload broken: ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_imported_first_is_told_in_one_line(site, module, code, told):
    (site.folder / "broken.py").write_text("1 / 0\n")
    path = f"{os.environ['PYTHONPATH']}:{site.folder}"

    done = run("worker", "-b", "--preload", module, PYTHONPATH=path)

    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith("redtask: ")
    assert told in last
    assert "Traceback" not in done.stderr


def test_a_worker_needs_no_standard_streams(site):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    words = [sys.executable, "-m", "redtask", "worker", "-n", "1"]
    worker = subprocess.Popen([*closed, *words], cwd=site.folder)

    def task():
        print("there", flush=True)  # noqa: T201
        files = [Path(f"/proc/self/fd/{number}") for number in range(3)]
        return [str(file.readlink()) for file in files]

    result = site.view.apply_async(task)

    try:
        assert result.get(DEADLINE) == ["/dev/null"] * 3
        assert result.stdout == "there\n"
    finally:
        worker.terminate()
    assert worker.wait(DEADLINE) == 0


def test_a_redis_that_cannot_be_reached_is_named_without_its_password(home):
    told = run("worker", REDTASK_URL="redis://:secret@127.0.0.1:1/0")

    assert told.returncode == 69
    (line,) = told.stderr.splitlines()
    assert "127.0.0.1:1" in line
    assert "secret" not in line


def test_a_worker_without_the_hubs_key_says_which_to_copy(site):
    told = run("worker", REDTASK_HOME=str(site.folder / "elsewhere"))

    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert "REDTASK_KEY" in line


@pytest.mark.parametrize(
    "words", [["-n", "0"], ["--name", "a b"], ["-q", "A!"], ["--nonsense"]]
)
def test_wrong_options_are_refused(home, words):
    assert run("worker", *words).returncode == 2


def test_the_help_imports_no_redis():
    program = (
        "import sys\nfrom redtask.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "assert 'redis' not in sys.modules and 'cloudpickle' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_idle_worker_says_little_to_redis(site):
    site.worker("-n", "4")

    def count():
        return site.redis.info("stats")["total_commands_processed"]

    before = count()
    assert select.select([], [], [], 4) == ([], [], [])
    # Scripts count each command inside; two of ours are asking.
    calls_made = count() - before
    assert calls_made < 120
