"""RQ: its queue."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

# It waits for results longer than redis-py does of late.
_redis = Redis.from_url(os.environ["BENCH_URL"], socket_timeout=None)
queue = Queue("bench", connection=_redis)
