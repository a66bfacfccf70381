"""RQ: its queue."""

from __future__ import annotations

import os

from rq import Queue

from tests.benchmarks.stage import connect

queue = Queue("bench", connection=connect(os.environ["BENCH_URL"]))
