"""arq, which polls on both sides."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import AsyncPeer
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Arq(AsyncPeer):
    """arq and its workers."""

    name = "arq"
    about = (
        "arq x 2, 10 tasks at once each, which polls for tasks every 5 ms "
        "(default: 500); results polled every 2 ms, 20 at once"
    )
    needs = ("arq",)

    def commands(self) -> Sequence[Sequence[str]]:
        app = self.app_name()
        quiet = ["--custom-log-dict", f"{app}.quiet"]
        return [["-m", "arq", f"{app}.WorkerSettings", *quiet]] * self.engines

    async def call_up(self) -> None:
        from arq import create_pool  # noqa: PLC0415 - where installed

        self._pool = await create_pool(self.app.settings)

    async def hang_up(self) -> None:
        await self._pool.aclose()

    async def send(self, value: object) -> Any:
        return await self._pool.enqueue_job("same", value)

    async def receive(self, result: Any) -> Any:
        from arq.jobs import ResultNotFound  # noqa: PLC0415 - where installed

        while True:
            # For a moment a task that ends is neither in the queue nor among results.
            with contextlib.suppress(ResultNotFound):
                return await result.result(timeout=PATIENCE, poll_delay=0.002)
