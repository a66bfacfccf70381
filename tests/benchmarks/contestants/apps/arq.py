"""arq: the settings of its worker."""

from __future__ import annotations

import os
from typing import Any

from arq.connections import RedisSettings

settings = RedisSettings(
    unix_socket_path=os.environ["BENCH_URL"].removeprefix("unix://").partition("?")[0]
)


async def same(_: dict[Any, Any], value: object) -> object:
    """Return the value."""
    return value


# Else it tells of each task that begins and ends.
quiet = {"version": 1, "loggers": {"arq": {"level": "ERROR"}}}


class WorkerSettings:
    """As ``arq`` reads them."""

    functions = (same,)
    redis_settings = settings
    #: It looks into the queue so often; half a second is the default.
    poll_delay = 0.005
