"""What a worker is told, and obeys."""

from __future__ import annotations

import contextlib
import selectors
import time
from typing import Any, cast

import pytest

from redtask.engine.control import Control
from redtask.keyfile import Key
from redtask.signing import Keyring
from redtask.store import Store
from tests.fakes import SocketFakeServer

DEADLINE = 20
RING = Keyring("h", (Key.new(),))


class Herald:
    """A herald that hears Redis."""

    is_heard = True

    def sweep_now(self):
        """Do nothing."""


class Place:
    """A worker's ear, and somebody who talks to it."""

    def __init__(self, stack):
        server = stack.enter_context(contextlib.closing(SocketFakeServer()))
        self.store = stack.enter_context(contextlib.closing(Store(server.url, "h")))
        self.selector = stack.enter_context(selectors.DefaultSelector())
        self.redis = stack.enter_context(server.redis())
        self.told: list[str] = []
        herald = cast(Any, Herald())
        self.control = Control(self.store, "w", RING, herald, self.told.append)
        stack.enter_context(contextlib.closing(self.control))
        self.control.serve(self.selector)
        self.control.open()

    def say(self, text, seconds):
        """Say something that is to be obeyed within so many seconds."""
        expiry = round((time.time() + seconds) * 1000)
        message = RING.sign_control("w", expiry, text)
        self.redis.rpush(self.store.keys.control("w"), message)
        for key, _ in self.selector.select(DEADLINE):
            key.data()


@pytest.fixture
def place():
    with contextlib.ExitStack() as stack:
        yield Place(stack)


def test_what_is_said_in_time_is_obeyed(place, caplog):
    place.say("look", 60)
    place.say("too late", -60)

    assert place.told == ["look"]
    assert "a message is refused: it came too late" in caplog.text


def test_what_is_said_in_time_is_obeyed_after_a_clock_was_set(place):
    place.control._wire.ahead += 600_000

    place.say("look", 60)

    assert place.told == ["look"]
