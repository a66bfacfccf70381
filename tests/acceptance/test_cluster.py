"""Clusters of scripts: what they start, and that nothing is left of it."""

import asyncio
import math
import os
import select
import signal
from typing import Any, cast

import pytest

import redtask
from redtask import aio
from redtask.error import ClusterError, ConnectionLost
from tests.clusters import KEEPER, REDIS, WORKER, engine_pids
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance


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


def test_coroutines_get_a_client_for_asyncio_and_nothing_is_left(land):
    async def compute() -> tuple[Any, ...]:
        cluster = redtask.Cluster(n=2, private=True)
        async with cluster as rc, aio.Client(cluster.url, key=cluster.key) as other:
            many = await rc.load_balanced_view().map(lambda x: -x, range(9))
            one = await other.load_balanced_view().apply(abs, -7)
        return many, one, rc.closed, cluster.key

    assert asyncio.run(compute()) == ([-x for x in range(9)], 7, True, None)
    assert land.is_empty()


def test_its_clients_know_it_and_others_none(land):
    rc = redtask.Cluster(n=1, private=True).start_and_connect()
    cluster = cast(redtask.Cluster, rc.cluster)

    with redtask.Client(cluster.url, key=cluster.key) as other:
        assert other.cluster is None
    assert cluster.connect_client() is rc
    cluster.start_engines(1)
    assert len(rc) == 2

    cluster.stop_cluster()
    assert land.is_empty()


def test_a_client_for_asyncio_knows_its_cluster_and_others_none(land):
    async def look() -> tuple[bool, object]:
        cluster = redtask.Cluster(n=1, private=True)
        async with cluster as rc, aio.Client(cluster.url, key=cluster.key) as other:
            return rc.cluster is cluster, other.cluster

    assert asyncio.run(look()) == (True, None)


def test_whoever_is_cancelled_while_it_starts_leaves_nothing(land):
    async def start() -> str:
        begun = asyncio.current_task()
        assert begun is not None
        asyncio.get_running_loop().call_later(0.2, begun.cancel)
        try:
            async with redtask.Cluster(n=1, private=True):
                return "started"
        except asyncio.CancelledError:
            return "cancelled"

    assert asyncio.run(start()) == "cancelled"
    assert land.is_empty()


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


def test_its_hub_may_have_another_limit(land):
    with redtask.Cluster(n=1, private=True, max_payload=100_000) as rc:
        view = rc.load_balanced_view()
        assert view.apply_sync(len, bytes(90_000)) == 90_000
        with pytest.raises(redtask.PayloadTooLarge, match="the limit is 100000"):
            view.apply_async(len, bytes(110_000))


@pytest.mark.parametrize(
    ("option", "value", "kind", "words"),
    [
        ("engine_timeout", "x", TypeError, "a number of seconds, not str"),
        ("engine_timeout", None, TypeError, "a number of seconds, not NoneType"),
        ("engine_timeout", math.nan, ValueError, "a number of seconds, not nan"),
        ("drain", "x", TypeError, "a number of seconds, not str"),
        ("drain", -1, ValueError, "a number of seconds, not -1"),
        ("hwm", 1.5, TypeError, "a whole number, not float"),
        ("max_payload", "1G", TypeError, "a whole number, not str"),
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


def lose_the_keeper(land):
    """Kill the only keeper; raise what a client of its cluster does then."""
    (keeper,) = land.pids(KEEPER)
    os.kill(keeper, signal.SIGKILL)
    until(land.is_empty, "the end of workers and Redis")
    raise redtask.ConnectionLost


def with_a_cluster(land):
    with redtask.Cluster(n=1, private=True):
        lose_the_keeper(land)


async def with_a_cluster_async(land):
    async with redtask.Cluster(n=1, private=True):
        lose_the_keeper(land)


@pytest.mark.parametrize(
    "work", [with_a_cluster, lambda land: asyncio.run(with_a_cluster_async(land))]
)
def test_a_script_whose_keeper_was_killed_hears_it_and_nothing_is_left(
    land, caplog, work
):
    with pytest.raises(redtask.ConnectionLost) as raised:
        work(land)

    assert raised.value.__notes__ == ["the keeper of the cluster was killed by SIGKILL"]
    assert caplog.messages[-1] == "the keeper of the cluster was killed by SIGKILL"
    assert not list(land.folder.glob("redtask-*"))


def test_a_task_that_outlasts_its_script_is_ended(land):
    process = script(land, more="view.apply_async(time.sleep, 600)")

    process.kill()

    until(land.is_empty, "the end of the cluster")
