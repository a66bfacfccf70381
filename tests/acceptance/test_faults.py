"""Clients and workers go on by themselves, whatever becomes of Redis and the way to it.

What really ran stands in a ledger outside of redtask: one line per run.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections import Counter
from contextlib import closing

import pytest

from redtask.error import HubFull
from tests.processes import until
from tests.proxies import LossyProxy
from tests.scenes import DEADLINE

pytestmark = pytest.mark.acceptance


def test_replies_that_are_lost_after_the_command_ran_double_and_lose_nothing(
    scene, tmp_path
):
    here = scene()
    ways = [
        LossyProxy(tmp_path / name, here.server.socket, loss=0.0, seed=seed)
        for seed, name in enumerate(("c", "w"))
    ]
    here.worker(ways[1].url)
    with here.client(ways[0].url) as rc:
        view, task = rc.load_balanced_view(), here.task()
        for way in ways:
            way.loss = 0.05

        one_by_one = [view.apply_async(task, x) for x in range(300)]
        many = view.map_async(task, range(300, 3000))

        assert [ar.get(DEADLINE) for ar in one_by_one] == list(range(300))
        assert many.get(DEADLINE) == list(range(300, 3000))
        for way in ways:
            way.loss = 0.0

    here.stop()
    for way in ways:
        way.close()
    assert sum(way.lost for way in ways) > 10
    assert here.runs() == Counter(range(3000))


def test_kills_of_redis_and_engines_and_forgotten_scripts_lose_nothing(scene):
    here = scene(appendonly="yes", appendfsync="always")
    worker = here.worker()
    dice = random.Random(7)  # noqa: S311 - a plan, no secret
    over = threading.Event()

    def disturb():
        for turn in itertools.count():
            if over.wait(0.1):
                return
            if turn % 10 == 5:
                here.server.restart()
            if turn % 4 == 1 and (pids := here.engines(worker)):
                os.kill(dice.choice(pids), signal.SIGKILL)
            with closing(here.server.redis()) as redis:
                redis.script_flush()

    with here.client() as rc:
        view, task = rc.load_balanced_view(retries=1000), here.task()
        # A task may be unlucky more than three times here.
        here.configure(max_deaths=1000)
        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            results = [
                view.map_async(task, range(at, at + 500)) for at in range(0, 6000, 500)
            ]
            values = [value for ar in results for value in ar.get(DEADLINE)]
        finally:
            over.set()
            disturbing.join()

        assert values == list(range(6000))
        ids = [name for ar in results for name in ar.msg_ids]
        assert len(set(ids)) == 6000
        with closing(here.server.redis()) as redis:
            assert redis.zcard("{redtask:default}:ended:completed") == 6000
    runs = here.runs()
    assert runs.keys() == set(range(6000))
    # Run again was only what an engine was in when it died, or Redis had not kept.
    assert sum(runs.values()) < 6000 * 1.2


def test_a_full_redis_refuses_submits_and_drains_what_it_has(scene):
    here = scene()
    with here.client() as rc, closing(here.server.redis()) as redis:
        view, task = rc.load_balanced_view(), here.task()
        view.apply_async(task, 0)
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 3_000_000)

        accepted = [view.apply_async(task, 1)]
        with pytest.raises(HubFull):
            accepted.extend(view.apply_async(task, x) for x in range(2, 100_000))

        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 200_000)
        here.worker()
        redis.config_set("maxmemory", 1)
        last = len(accepted)
        assert [ar.get(DEADLINE) for ar in accepted] == list(range(1, last + 1))
        assert here.runs() == Counter(range(last + 1))

        redis.config_set("maxmemory", 0)
        assert view.apply_async(task, last + 1).get(DEADLINE) == last + 1


def test_who_waits_is_answered_after_a_pause_of_redis(scene):
    here = scene()
    here.worker()
    with here.client() as rc, closing(here.server.redis()) as redis:
        view = rc.load_balanced_view()
        assert view.apply_sync(abs, -1) == 1

        redis.execute_command("CLIENT", "PAUSE", 1000)
        result = view.apply_async(abs, -2)

        assert result.get(DEADLINE) == 2


def test_a_killed_engine_is_made_good_within_a_second(scene):
    here = scene()
    worker = here.worker()
    with here.client() as rc:
        view, task = rc.load_balanced_view(retries=1), here.task()
        result = view.map_async(task, range(10_000))
        until(lambda: result.progress > 1000, "some results")
        os.kill(here.engines(worker)[0], signal.SIGKILL)

        assert result.get(DEADLINE) == list(range(10_000))
    again = {x: n for x, n in here.runs().items() if n > 1}
    assert len(again) <= 1
