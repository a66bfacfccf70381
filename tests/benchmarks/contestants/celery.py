"""Celery, with Redis as broker and result backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import Peer
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Celery(Peer):
    """Celery and its worker."""

    name = "celery"
    about = (
        "celery worker --concurrency 2 (prefork), prefetch multiplier 64, pickle; "
        "Redis for broker and results"
    )
    needs = ("celery[redis]",)

    def commands(self) -> Sequence[Sequence[str]]:
        app = ["-m", "celery", "-A", self.app_name(), "worker"]
        options = ["--concurrency", str(self.engines), "--loglevel", "ERROR"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return [[*app, *options, *quiet]]

    def submit(self, value: object) -> Any:
        return self.app.same.delay(value)

    def value_of(self, result: Any) -> Any:
        return result.get(timeout=PATIENCE)
