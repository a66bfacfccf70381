"""Coroutines: engines run them, and what they need does not outlive them."""

import asyncio
import signal

import pytest

from redtask import payload
from redtask.engine.coroutines import finished
from tests import tasks

#: A map chunk, as it is after ``redtask replay`` has edited it.
EDITED = payload.lay_over(payload.pack_chunk(((1, 2),)), {"a-1": "b-1"}, {})


def test_the_event_loop_of_an_engines_other_tasks_stays():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    value = finished(tasks.later(1), b"0")

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

    finished(handle_signals(), b"0")

    assert signal.signal(signal.SIGTERM, before) is ignore


@pytest.mark.parametrize("chunk", [payload.pack_chunk(((1, 2),)), EDITED])
def test_a_chunk_may_have_coroutines_among_values(chunk):
    assert finished([0, tasks.later(1), "2", tasks.later(3)], chunk) == [0, 1, "2", 3]


def test_the_list_that_a_call_returns_is_its_own():
    coroutine = tasks.later(1)

    assert finished([coroutine], payload.pack_call((1,), {})) == [coroutine]
    coroutine.close()
