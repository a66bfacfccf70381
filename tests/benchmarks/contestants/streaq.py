"""streaQ: streams, and Lua functions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import AsyncPeer
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Streaq(AsyncPeer):
    """streaQ and its workers."""

    name = "streaq"
    about = (
        "streaq run x 2, 16 tasks at once each; enqueue_many; 20 results awaited "
        "at once: after each, coredis waits 0.1 s before the call returns"
    )
    needs = ("streaq",)

    def commands(self) -> Sequence[Sequence[str]]:
        command = ["-m", "streaq", "run", f"{self.app_name()}:worker"]
        return [command] * self.engines

    async def call_up(self) -> None:
        # It is to be left by the task that entered it.
        self._over, connected = asyncio.Event(), asyncio.Event()
        self._holder = asyncio.create_task(self._hold(connected))
        await connected.wait()

    async def _hold(self, connected: asyncio.Event) -> None:
        async with self.app.worker:
            connected.set()
            await self._over.wait()

    async def hang_up(self) -> None:
        self._over.set()
        await self._holder

    def submit_many(self, values: Sequence[Any]) -> None:
        async def at_once() -> list[Any]:
            tasks = [self.app.same.enqueue(value) for value in values]
            await self.app.worker.enqueue_many(tasks)
            return tasks

        self._results += self._loop.run_until_complete(at_once())

    async def send(self, value: object) -> Any:
        return await self.app.same.enqueue(value)

    async def receive(self, result: Any) -> Any:
        return (await result.result(timeout=int(PATIENCE))).result
