"""An engine that is cut off while its supervisor is not ends itself."""

from __future__ import annotations

import time

import pytest

from redtask.engine.block import Block
from redtask.engine.engine import deadline
from redtask.engine.watchdog import CUT_OFF, Watchdog

LEASE = 15_000
PROBLEM = OSError("too many open files")


class Scene:
    """An engine's block, a clock, and how the engine ended."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.ended: list[int] = []
        self.block = Block()
        self.block.joined(0, LEASE, deadline(int(self.now * 1e9), LEASE))
        self.watchdog = Watchdog(self.block, self.ended.append)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def beat(self):
        """Let the supervisor be heard."""
        self.block.renew(deadline(int(self.now * 1e9), LEASE))


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


def test_an_engine_that_alone_is_cut_off_ends_after_a_lease(scene):
    begun = scene.now = 1001.0

    for _ in range(16):
        scene.now += 1
        scene.beat()
        scene.watchdog.trouble(begun, PROBLEM)
    assert scene.ended == []
    scene.now += 1
    scene.watchdog.trouble(begun, PROBLEM)

    assert scene.ended == [CUT_OFF]


def test_while_redis_is_away_for_all_it_waits(scene):
    begun = scene.now = 1001.0

    for _ in range(1000):
        scene.now += 1
        scene.watchdog.trouble(begun, PROBLEM)

    assert scene.ended == []


def test_after_an_outage_it_has_as_long_as_ever_to_come_back(scene):
    begun = scene.now = 1001.0
    scene.now += 500
    scene.watchdog.trouble(begun, PROBLEM)

    scene.beat()
    scene.watchdog.trouble(begun, PROBLEM)
    scene.now += 14
    scene.watchdog.trouble(begun, PROBLEM)
    later = scene.now
    scene.beat()
    scene.now += 10
    scene.watchdog.trouble(later, PROBLEM)

    assert scene.ended == []
