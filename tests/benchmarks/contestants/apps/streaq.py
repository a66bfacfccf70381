"""streaQ: its worker and its task."""

from __future__ import annotations

import os

from streaq import Worker

worker = Worker(redis_url=os.environ["BENCH_URL"], queue_name="bench")


@worker.task(silent=True)
async def same(value: object) -> object:
    """Return the value."""
    return value
