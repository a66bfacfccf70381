"""Coroutines: engines run them, and what they need does not outlive them."""

import asyncio
import signal

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


async def handle_signals():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)


def test_the_signal_handlers_of_an_engine_stay():
    def ignore(*_):
        pass

    before = signal.signal(signal.SIGTERM, ignore)

    finished(handle_signals())

    assert signal.signal(signal.SIGTERM, before) is ignore
