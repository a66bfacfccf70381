"""Dramatiq: its broker and its actor."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

# JSON, the default, has no bytes.
dramatiq.set_encoder(dramatiq.PickleEncoder())
broker = RedisBroker(url=os.environ["BENCH_URL"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_URL"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def same(value: object) -> object:
    """Return the value."""
    return value
