"""Dramatiq, with Redis as broker and result backend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import Peer
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Dramatiq(Peer):
    """Dramatiq and its workers."""

    name = "dramatiq"
    about = "dramatiq --processes 2 --threads 1, results in Redis"
    needs = ("dramatiq[redis]",)
    share = 0.1

    def commands(self) -> Sequence[Sequence[str]]:
        sizes = ["--processes", str(self.engines), "--threads", "1"]
        return [["-m", "dramatiq", self.app_name(), *sizes]]

    def submit(self, value: object) -> Any:
        return self.app.same.send(value)

    def value_of(self, result: Any) -> Any:
        from dramatiq.results import ResultTimeout  # noqa: PLC0415 - where installed

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                # No longer than redis-py waits for a reply, 5 seconds of late.
                return result.get_result(block=True, timeout=2000)
            except ResultTimeout:
                if time.monotonic() > deadline:
                    raise
