"""Celery: its application."""

from __future__ import annotations

import os

from celery import Celery

_URL = os.environ["BENCH_URL"].replace("unix://", "redis+socket://")

app = Celery("bench", broker=_URL, backend=_URL)


@app.task
def same(value: object) -> object:
    """Return the value."""
    return value
