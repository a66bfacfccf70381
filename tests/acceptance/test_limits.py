"""Time limits and aborts of what runs, with real engines."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

import redtask
from redtask.connect import connect
from redtask.hub import calls
from redtask.hub.keys import Keys
from redtask.profile import Profile
from redtask.signing import Keyring
from tests.processes import DEADLINE, until
from tests.sites import writer

pytestmark = pytest.mark.acceptance

#: What a task may go on after it was interrupted, in seconds.
GRACE = 2.0


def where():
    """Return the process that runs the task."""
    return os.getpid()


def sleeper(seconds):
    """Return a function that sleeps, and then says where it ran."""

    def sleep(_=None):
        time.sleep(seconds)
        return os.getpid()

    return sleep


async def sleep_in_a_loop(_=None):
    """Sleep as coroutines do."""
    await asyncio.sleep(60)


def stubborn(seconds):
    """Return a function that goes on whatever is raised in it."""

    def go_on(_=None):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)

    return go_on


def test_a_task_over_its_limit_is_interrupted_and_its_engine_lives(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()
    begun = time.monotonic()

    with pytest.raises(redtask.TimeLimitExceeded) as raised:
        site.view.with_flags(time_limit=0.3).apply_async(sleeper(60)).get(DEADLINE)

    assert 0.3 < time.monotonic() - begun < GRACE
    assert raised.value.evalue == "time limit of 0.3 s exceeded"
    # It shows where the task was, and not how it was interrupted there.
    assert "engine/guard.py" not in raised.value.traceback
    # It is found by the name of its exception, like those that are killed.
    found = site.client.db_query({"ename": "TimeLimitExceeded"})
    assert len(found) == 1
    assert site.view.apply_async(where).get(DEADLINE) == engine


def test_a_coroutine_is_interrupted_as_well(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()

    with pytest.raises(redtask.TimeLimitExceeded) as raised:
        site.view.with_flags(time_limit=0.3).apply_async(sleep_in_a_loop).get(DEADLINE)
    result = site.view.apply_async(sleep_in_a_loop)
    until(lambda: result.metadata["started"])
    site.client.abort(result, running=True)

    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)
    assert site.view.apply_async(where).get(DEADLINE) == engine
    # It shows where the coroutine was, which is not where it was interrupted.
    assert "in sleep_in_a_loop" in raised.value.traceback
    assert raised.value.traceback.startswith("redtask.error.TimeLimitExceeded: ")
    assert "redtask/engine" not in raised.value.traceback
    assert type(raised.value.__cause__) in {type(None), redtask.TimeLimitExceeded}


def test_a_task_that_goes_on_is_ended_with_its_engine(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()
    view = site.view.with_flags(time_limit=0.3)
    begun = time.monotonic()

    with pytest.raises(redtask.TimeLimitExceeded) as raised:
        view.apply_async(stubborn(60)).get(DEADLINE)

    assert 0.3 + GRACE < time.monotonic() - begun < 0.3 + 2 * GRACE
    assert raised.value.evalue == "time limit of 0.3 s exceeded"
    found = site.client.db_query({"ename": "TimeLimitExceeded"})
    assert [one["verdict"] for one in found] == ["time_limit"]
    assert site.view.apply_async(where).get(DEADLINE) != engine
    told = r"engine \d+ \(seat 0\) is ended: time limit of 0\.3 s exceeded"
    assert re.search(rf"{told}, in task \w+-0\n", worker.told)


def test_a_task_that_is_not_in_python_at_all_is_ended_too(site):
    worker = site.worker("-n", "1")
    begun = time.monotonic()

    def hold():
        # The interpreter does not come to hear signals in there.
        return sum(range(10**12))

    result = site.view.with_flags(time_limit=0.2).apply_async(hold)
    with pytest.raises(redtask.TimeLimitExceeded):
        result.get(DEADLINE)

    assert time.monotonic() - begun < 0.2 + 2 * GRACE
    assert "in hold" in result.stderr
    assert "redtask/engine" not in result.stderr
    assert "in hold" in worker.told


def test_a_task_may_clean_up_when_its_time_is_over(site):
    site.worker("-n", "1")

    def task():
        try:
            time.sleep(60)
        except redtask.TimeLimitExceeded:
            return "half"

    view = site.view.with_flags(time_limit=0.2)

    assert view.apply_async(task).get(DEADLINE) == "half"


def test_who_is_late_has_used_a_try(site):
    site.worker("-n", "1")
    note = writer(site.ledger)

    def task():
        note("x")
        time.sleep(60)

    view = site.view.with_flags(time_limit=0.2, retries=1)
    with pytest.raises(redtask.TimeLimitExceeded):
        view.apply_async(task).get(DEADLINE)

    assert site.executions() == {"x": 2}


def test_each_task_of_a_batch_has_its_own_limit(site):
    site.worker("-n", "1")
    note = writer(site.ledger)

    def task(x):
        note(x)
        if x in {300, 301}:
            time.sleep(60)
        return x

    results = site.view.with_flags(time_limit=0.2).map_async(
        task, range(600), chunksize=1
    )
    got = results.get(DEADLINE, return_exceptions=True)

    late = {x for x, value in enumerate(got) if value != x}
    assert late == {300, 301}
    assert all(isinstance(got[x], redtask.TimeLimitExceeded) for x in late)
    assert set(site.executions().values()) == {1}


def test_a_task_that_is_ended_with_its_engine_harms_none_of_its_batch(site):
    site.worker("-n", "1")
    note, slow = writer(site.ledger), stubborn(60)

    def task(x):
        note(x)
        if x == 300:
            slow()
        return x

    results = site.view.with_flags(time_limit=0.2).map_async(
        task, range(600), chunksize=1
    )
    got = results.get(DEADLINE, return_exceptions=True)

    assert [x for x, value in enumerate(got) if value != x] == [300]
    assert set(site.executions().values()) == {1}


def test_tasks_that_end_about_when_their_time_is_over_end_one_way_or_the_other(site):
    worker = site.worker("-n", "2")
    engines = worker.engines()

    def task(x):
        time.sleep(0.02 + (x % 40) / 4000)
        return x

    results = site.view.with_flags(time_limit=0.025).map_async(
        task, range(400), chunksize=1
    )
    got = results.get(DEADLINE, return_exceptions=True)

    late = [value for x, value in enumerate(got) if value != x]
    assert {type(value) for value in late} == {redtask.TimeLimitExceeded}
    assert 0 < len(late) < 400
    assert worker.engines() == engines


def test_what_is_in_time_is_not_disturbed(site):
    worker = site.worker("-n", "2")
    engines = worker.engines()

    results = site.view.with_flags(time_limit=1).map_async(
        lambda x: x, range(5000), chunksize=1
    )

    assert results.get(DEADLINE) == list(range(5000))
    assert worker.engines() == engines


def running(site, *results):
    """Wait until tasks run."""
    until(
        lambda: all(state == "running" for one in results for state in site.states(one))
    )


def abort(site, result):
    """Have what runs aborted, as a client does."""
    store, keyring = connect(Profile.load(url=site.server.url))
    (word,) = store.do(calls.abort(result.msg_ids, running=True))
    _, worker, _, token = word.split(" ")
    message = f"abort {result.msg_ids[0]} {token}"
    expiry = round(time.time() * 1000) + 60_000
    envelope = keyring.sign_control(worker, expiry, message)
    store.command("RPUSH", store.keys.control(worker), envelope)
    store.close()


def wait_for_another():
    """Wait for a task in a task, as blocking views do."""
    with redtask.Client() as client:
        return client.load_balanced_view().apply_sync(time.sleep, 60)


def test_a_task_that_waits_for_another_is_aborted_and_not_completed(site):
    site.worker("-n", "2")
    outer = site.view.apply_async(wait_for_another)
    running(site, outer)
    until(lambda: len(site.client.db_query({"state": "running"}, keys=["state"])) == 2)

    site.client.abort(outer, running=True)

    with pytest.raises(redtask.TaskAborted):
        outer.get(DEADLINE)
    site.client.abort(
        [one["msg_id"] for one in site.client.db_query({"state": "running"})],
        running=True,
    )


def test_what_an_aborted_task_has_printed_stays(site, tmp_path):
    site.worker("-n", "1")
    there = tmp_path / "printed"

    def work():
        sys.stdout.write("half of it\n")
        there.touch()
        time.sleep(60)

    result = site.view.apply_async(work)
    until(there.exists)

    abort(site, result)

    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)
    assert result.stdout == "half of it\n"


def test_what_runs_is_aborted_when_asked_for(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()
    result = site.view.apply_async(sleeper(60))
    running(site, result)
    begun = time.monotonic()

    abort(site, result)

    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)
    assert time.monotonic() - begun < GRACE
    assert site.view.apply_async(where).get(DEADLINE) == engine


def test_what_runs_is_not_aborted_otherwise(site):
    site.worker("-n", "1")
    result = site.view.apply_async(sleeper(0.5))
    running(site, result)

    site.client.abort(result)

    assert result.get(DEADLINE)


def test_an_aborted_task_that_goes_on_is_ended_with_its_engine(site):
    worker = site.worker("-n", "1")
    (engine,) = worker.engines()
    result = site.view.with_flags(retries=3).apply_async(stubborn(60))
    running(site, result)

    abort(site, result)

    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)
    assert site.view.apply_async(where).get(DEADLINE) != engine
    assert "is ended: aborted while it ran" in worker.told


def test_only_what_is_named_is_aborted(site):
    worker = site.worker("-n", "2")
    engines = worker.engines()
    kept, aborted = (site.view.apply_async(sleeper(1.5)) for _ in range(2))
    running(site, kept, aborted)

    abort(site, aborted)

    with pytest.raises(redtask.TaskAborted):
        aborted.get(DEADLINE)
    assert kept.get(DEADLINE) in engines


def test_aborts_reach_a_worker_after_redis_was_restarted(own_site, own_server):
    own_site.worker("-n", "1")
    own_server.restart()
    assert own_site.view.apply_async(where).get(DEADLINE)
    own_site.redis.close()
    own_site.redis = own_server.redis()
    until(lambda: blocked(own_site) == 2, "the wire and the bell")
    result = own_site.view.apply_async(sleeper(60))
    running(own_site, result)

    abort(own_site, result)

    with pytest.raises(redtask.TaskAborted):
        result.get(DEADLINE)


def test_a_message_of_somebody_without_the_key_is_refused(site):
    worker = site.worker("-n", "1", "--name", "w")
    result = site.view.apply_async(sleeper(1))
    running(site, result)
    (task_id,) = result.msg_ids
    token = site.redis.hget(site.record(task_id), "token").decode()
    unsigned = Keyring("default", (), signed=False)
    message = unsigned.sign_control("w", 1 << 50, f"abort {task_id} {token}")

    site.redis.rpush(Keys("default").control("w"), message)

    worker.wait_for("a message is refused: signed with a key that is not ours")
    assert result.get(DEADLINE)


@pytest.mark.alone
def test_an_alarm_has_the_worker_sweep_at_once(site):
    site.worker("-n", "1")
    until(lambda: blocked(site) == 2, "the wire and the bell")

    def sweeps():
        counts = site.redis.info("commandstats")
        return counts["cmdstat_evalsha"]["calls"]

    before = sweeps()
    begun = time.monotonic()
    site.redis.rpush(Keys("default").alarm(), "1")

    until(lambda: sweeps() > before, "a sweep")
    assert time.monotonic() - begun < 0.3
    assert not site.redis.exists(Keys("default").alarm())


def blocked(site):
    """Return how many connections wait on the server."""
    return site.redis.info("clients")["blocked_clients"]


def test_a_wire_that_is_cut_is_made_again(site):
    site.worker("-n", "1")
    until(lambda: blocked(site) == 2, "the wire and the bell")
    mine = site.redis.client_id()

    for one in site.redis.client_list():
        if int(one["id"]) != mine and one["cmd"] == "blpop":
            with contextlib.suppress(Exception):
                site.redis.client_kill_filter(_id=one["id"])

    until(lambda: blocked(site) == 2, "both again")
    assert site.view.apply_async(where).get(DEADLINE)


def test_an_idle_worker_with_a_wire_sleeps(site):
    worker = site.worker("-n", "1")
    until(lambda: blocked(site) == 2, "the wire and the bell")
    pid = worker.process.pid

    before = spent(pid)
    signal.sigtimedwait([], 2)

    assert spent(pid) - before <= 0.02


def spent(pid):
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
