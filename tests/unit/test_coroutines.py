"""Coroutines: engines run them, and what they need does not outlive them."""

import asyncio

from redtask.engine.coroutines import finished
from tests import tasks


def test_the_event_loop_of_an_engines_other_tasks_stays():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    value = finished(tasks.later(1))

    assert value == 1
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()
