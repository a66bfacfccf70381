"""Dramatiq, with Redis as broker and result backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import Peer, patiently

if TYPE_CHECKING:
    from collections.abc import Sequence


class Dramatiq(Peer):
    """Dramatiq and its workers."""

    name = "dramatiq"
    about = "dramatiq --processes 2, each with the usual 8 threads; results in Redis"
    needs = ("dramatiq[redis]",)
    share = 0.1

    def commands(self) -> Sequence[Sequence[str]]:
        size = ["--processes", str(self.engines)]
        return [["-m", "dramatiq", self.app_name(), *size]]

    def submit(self, value: object) -> Any:
        return self.app.same.send(value)

    def value_of(self, result: Any) -> Any:
        from dramatiq.results import ResultTimeout  # noqa: PLC0415 - where installed

        return patiently(
            lambda: result.get_result(block=True, timeout=2000), ResultTimeout
        )
