"""taskiq, with the list broker of taskiq-redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import AsyncPeer
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Taskiq(AsyncPeer):
    """taskiq and its workers."""

    name = "taskiq"
    about = (
        "taskiq worker --workers 2, up to 100 tasks at once each, ListQueueBroker; "
        "results polled every 2 ms, 20 at once"
    )
    needs = ("taskiq", "taskiq-redis")
    share = 0.1
    #: Without payloads: it makes text of bytes.
    rows = frozenset({"bulk", "single", "trip"})

    def commands(self) -> Sequence[Sequence[str]]:
        command = ["-m", "taskiq", "worker", f"{self.app_name()}:broker"]
        return [[*command, "--workers", str(self.engines), "--log-level", "ERROR"]]

    async def call_up(self) -> None:
        await self.app.broker.startup()

    async def hang_up(self) -> None:
        await self.app.broker.shutdown()

    async def send(self, value: object) -> Any:
        return await self.app.same.kiq(value)

    async def receive(self, result: Any) -> Any:
        found = await result.wait_result(check_interval=0.002, timeout=PATIENCE)
        return found.return_value
