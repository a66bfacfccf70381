"""Huey: its queue and its task."""

from __future__ import annotations

import os

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["BENCH_URL"], notify_result=True)


@huey.task()
def same(value: object) -> object:
    """Return the value."""
    return value
