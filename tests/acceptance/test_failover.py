"""A Redis dies, and its replica takes its place."""

import os
import signal
from contextlib import closing

import pytest

import redtask
from redtask.error import ConnectionLost
from tests import invariants, servers
from tests.processes import until
from tests.proxies import LossyProxy
from tests.scenes import DEADLINE, ROOT, Scene

pytestmark = pytest.mark.acceptance


def is_in_step(master, replica):
    """Has the replica all that the master had?"""
    with closing(master.redis()) as one, closing(replica.redis()) as other:
        about = other.info("replication")
        return (
            about["master_link_status"] == "up"
            and not about["master_sync_in_progress"]
            and one.info("replication").get("slave0", {}).get("state") == "online"
        )


class Pair(Scene):
    """A Redis and its replica, and a name that leads to one of them.

    The test moves it, as Sentinel does, or who runs a managed Redis.
    """

    def __init__(self, land):
        super().__init__(land, port=servers.free_port())
        self.replica = servers.RealServer(
            self.server.binary, land.folder / "replica", port=servers.free_port()
        ).start()
        with closing(self.replica.redis()) as redis:
            redis.execute_command("REPLICAOF", "127.0.0.1", self.server.config["port"])
        until(lambda: is_in_step(self.server, self.replica), "the replica", DEADLINE)
        self.name = LossyProxy(land.folder / "name.sock", self.server.socket)

    def promote(self):
        """Let the replica be the master, and the name lead to it."""
        with closing(self.replica.redis()) as redis:
            redis.execute_command("REPLICAOF", "NO", "ONE")
        self.name.lead_to(self.replica.socket)

    def close(self):
        self.stop()
        self.name.close()
        with closing(self.replica.redis()) as redis:
            invariants.check(redis, ROOT)
        self.server.kill()
        self.replica.close()


@pytest.fixture
def pair(land):
    here = Pair(land)
    yield here
    here.close()


def test_no_confirmed_work_is_lost_in_a_fail_over(pair):
    worker = pair.worker(pair.name.url)
    engines = pair.engines(worker)
    task = pair.task()
    with pair.client(pair.name.url) as rc:
        view = rc.load_balanced_view(durability="replica", retries=1)
        result = view.map_async(task, range(200), [0.02] * 200, chunksize=1)
        late = view.with_flags(after=result).apply_async(task, 1000)
        until(lambda: result.progress > 20, "some results")

        pair.server.kill()
        pair.promote()

        assert result.get(DEADLINE) == list(range(200))
        assert late.get(DEADLINE) == 1000
        assert rc.load_balanced_view().apply_async(os.getpid).get(DEADLINE) in engines
    assert pair.runs().keys() == {*range(200), 1000}
    # What had ended, and was not passed on in time, may have run once more.
    assert max(pair.runs().values()) <= 2


def test_who_clings_to_the_old_master_is_refused_in_words(pair):
    pair.worker(pair.name.url)
    task = pair.task()
    until(lambda: is_in_step(pair.server, pair.replica), "the replica", DEADLINE)
    with (
        pair.client(pair.name.url) as rc,
        redtask.Client(pair.server.url, timeout=1) as old,
    ):
        # The master stands still, its replica takes over, and the master comes back.
        pair.server.process.send_signal(signal.SIGSTOP)
        pair.promote()
        assert rc.load_balanced_view().apply_async(task, 1).get(DEADLINE) == 1
        pair.server.process.send_signal(signal.SIGCONT)
        view = old.load_balanced_view()
        lost = view.apply_async(task, 2)
        with closing(pair.server.redis()) as redis:
            port = pair.replica.config["port"]
            redis.execute_command("REPLICAOF", "127.0.0.1", port)
        until(lambda: is_in_step(pair.replica, pair.server), "the old master", DEADLINE)

        with pytest.raises(ConnectionLost, match="READONLY You can't write"):
            view.apply_async(task, 3)
        with pytest.raises(ConnectionLost, match="READONLY You can't write"):
            lost.get(DEADLINE)

        assert rc.load_balanced_view().apply_async(task, 4).get(DEADLINE) == 4
    assert pair.runs() == {1: 1, 4: 1}
