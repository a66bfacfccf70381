"""Room for calls of an event loop: who waits, who gives up, and when."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from redtask import link
from redtask.aio.room import Room
from redtask.recent import Contact


@pytest.fixture
def contact():
    return Contact()


async def queued(room, over):
    """Return a task that waits for room."""
    waiting = asyncio.create_task(room.enter(over))
    await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


def test_there_is_room_for_so_many_and_then_for_those_who_came_first(contact):
    async def main():
        room = Room(2, contact)
        await room.enter(0.0)
        await room.enter(0.0)
        first, second = await queued(room, math.inf), await queued(room, math.inf)
        room.leave()
        await first
        return second.done(), second.cancel()

    assert asyncio.run(main()) == (False, True)


def test_whose_time_is_over_gives_up_once_nobody_hears_of_redis(contact, monkeypatch):
    monkeypatch.setattr(link, "LEAST_REPLY", 0.01)

    async def main():
        room = Room(1, contact)
        await room.enter(0.0)
        late = await queued(room, time.monotonic())
        with pytest.raises(link.redis.exceptions.TimeoutError, match="does not answer"):
            await late
        room.leave()
        await room.enter(0.0)

    asyncio.run(main())


def test_whose_time_is_over_waits_on_while_redis_replies_to_others(
    contact, monkeypatch
):
    monkeypatch.setattr(link, "LEAST_REPLY", 0.0)
    contact.heard = time.monotonic() + 3600

    async def main():
        room = Room(1, contact)
        await room.enter(0.0)
        late = await queued(room, time.monotonic())
        room.leave()
        await late

    asyncio.run(main())


def test_who_gets_room_when_its_time_is_over_does_not_ask_a_redis_that_is_away(contact):
    async def main():
        room = Room(1, contact)
        await room.enter(0.0)
        late = await queued(room, time.monotonic())
        contact.hears()
        contact.loses()
        room.leave()
        with pytest.raises(link.redis.exceptions.TimeoutError, match="does not answer"):
            await late
        await room.enter(0.0)

    asyncio.run(main())
