"""Huey, which keeps no record: what a killed worker held is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import Peer, patiently

if TYPE_CHECKING:
    from collections.abc import Sequence


class Huey(Peer):
    """Huey and its consumer."""

    name = "huey"
    about = "huey_consumer -w 2 -k process, notify_result; no record of running tasks"
    needs = ("huey[redis]",)
    share = 0.2

    def commands(self) -> Sequence[Sequence[str]]:
        command = ["-m", "huey.bin.huey_consumer", f"{self.app_name()}.huey"]
        return [[*command, "-w", str(self.engines), "-k", "process", "-q"]]

    def submit(self, value: object) -> Any:
        return self.app.same(value)

    def value_of(self, result: Any) -> Any:
        from huey.exceptions import ResultTimeout  # noqa: PLC0415 - where installed

        return patiently(lambda: result.get(blocking=True, timeout=2), ResultTimeout)
