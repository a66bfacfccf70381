"""Celery: its application."""

from __future__ import annotations

import os

# A worker of root's takes no pickles unless told so before.
os.environ["C_FORCE_ROOT"] = "1"

from celery import Celery

_URL = os.environ["BENCH_URL"].replace("unix://", "redis+socket://")

app = Celery("bench", broker=_URL, backend=_URL)
app.conf.update(
    # As its manual has it for many short tasks.
    worker_prefetch_multiplier=64,
    # JSON, the default, makes text of bytes.
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle"],
)


@app.task
def same(value: object) -> object:
    """Return the value."""
    return value
