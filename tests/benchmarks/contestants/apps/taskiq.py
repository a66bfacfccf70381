"""taskiq: its broker and its task."""

from __future__ import annotations

import os

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

_URL = os.environ["BENCH_URL"]

broker = ListQueueBroker(_URL).with_result_backend(
    RedisAsyncResultBackend(_URL, result_ex_time=600)
)


@broker.task
async def same(value: object) -> object:
    """Return the value."""
    return value
