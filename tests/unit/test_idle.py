"""Connections for blocking reads that nobody uses any more."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from redtask.aio.store import Store as AioStore
from redtask.store import Store

READERS = 20


class Connection:
    """A connection that notes when it is closed."""

    def __init__(self):
        self.closed = False

    def disconnect(self):
        self.closed = True


class AioConnection(Connection):
    """The same for asyncio."""

    async def disconnect(self, *, nowait=False):
        assert nowait
        self.closed = True


@pytest.fixture(params=[(Store, Connection), (AioStore, AioConnection)])
def readers(request):
    """Return a store, and connections on which as many readers wait."""
    store, connection = request.param
    made = store("redis://nowhere", "h")
    connections = [connection() for _ in range(READERS)]
    made._listening.update(connections)
    return made, connections


def perform(found: Any) -> None:
    """Await what the asyncio face returns."""
    if inspect.iscoroutine(found):
        asyncio.run(found)


def still_open(connections):
    return sum(not one.closed for one in connections)


def test_a_few_are_kept_when_the_last_reader_has_ended(readers):
    store, connections = readers

    for one in connections:
        perform(store._give_back(one, blocking=True))

    assert still_open(connections) == len(store._free_blocking) == 4


def test_as_many_are_kept_as_others_wait_on(readers):
    store, connections = readers

    for one in connections[: READERS // 2]:
        perform(store._give_back(one, blocking=True))

    assert still_open(connections) == READERS


def test_a_few_are_kept_when_the_last_readers_are_cancelled(readers):
    store, connections = readers
    for one in connections[: READERS // 2]:
        perform(store._give_back(one, blocking=True))

    for one in connections[READERS // 2 :]:
        perform(store._drop(one, KeyboardInterrupt()))

    assert still_open(connections) == len(store._free_blocking) == 4
