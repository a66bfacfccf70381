"""Other queues on Redis: what their drivers have in common."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks import stage
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.usage import children

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

#: So many calls of an asyncio client are under way at once.
_TOGETHER = 20
_APPS = "tests.benchmarks.contestants.apps"


def patiently(wait: Callable[[], Any], problem: type[Exception]) -> Any:
    """Wait by short waits: redis-py of late waits 5 seconds for a reply, no longer."""
    deadline = time.monotonic() + stage.PATIENCE
    while True:
        try:
            return wait()
        except problem:
            if time.monotonic() > deadline:
                raise


async def _together(
    call: Callable[[Any], Awaitable[Any]], values: Iterable[Any]
) -> list[Any]:
    """Call with each value, some at once: each has a connection until it is done."""
    room = asyncio.Semaphore(_TOGETHER)

    async def one(value: object) -> Any:
        async with room:
            return await call(value)

    return await asyncio.gather(*map(one, values))


class Peer(Contestant):
    """A queue with a Redis of its own, started as its manual has it."""

    share = 0.05

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._pids: list[int] = []
        self._results: list[Any] = []

    @classmethod
    def app_name(cls) -> str:
        """Return the module that its workers import."""
        return f"{_APPS}.{cls.name}"

    def commands(self) -> Sequence[Sequence[str]]:
        """Return the arguments of Python that start its workers."""
        raise NotImplementedError

    def open(self) -> None:
        assert self.server is not None
        self.url = os.environ["BENCH_URL"] = self.server.url
        self.app: Any = importlib.import_module(self.app_name())

    def man(self) -> None:
        log = self.folder / "workers.log"
        started = self._things.enter_context(
            stage.processes(self.commands(), log, BENCH_URL=self.url)
        )
        self._pids = [process.pid for process in started]
        deadline = time.monotonic() + stage.PATIENCE
        self.trip(0)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the workers did not start: {log.read_text()}")

    def pids(self) -> Iterable[int]:
        return [*self._pids, *(one for pid in self._pids for one in children(pid))]

    def submit(self, value: object) -> Any:
        """Submit a task by one call; return what its result is asked for by."""
        raise NotImplementedError

    def value_of(self, result: Any) -> Any:
        """Wait for a result."""
        raise NotImplementedError

    def submit_many(self, values: Sequence[Any]) -> None:
        self.submit_each(values)

    def submit_each(self, values: Sequence[Any]) -> None:
        self._results += map(self.submit, values)

    def gather(self) -> list[Any]:
        results, self._results = self._results, []
        return [self.value_of(result) for result in results]

    def trip(self, value: object) -> object:
        return self.value_of(self.submit(value))


class AsyncPeer(Peer):
    """One whose client is made for asyncio: calls that belong together run together."""

    def open(self) -> None:
        super().open()
        self._loop = asyncio.new_event_loop()
        self._things.callback(self._loop.close)
        self._things.callback(lambda: self._loop.run_until_complete(self.hang_up()))
        self._loop.run_until_complete(self.call_up())

    async def call_up(self) -> None:
        """Connect."""

    async def hang_up(self) -> None:
        """Close the connections."""

    async def send(self, value: object) -> Any:
        """Submit a task by one call; return what its result is asked for by."""
        raise NotImplementedError

    async def receive(self, result: Any) -> Any:
        """Wait for a result."""
        raise NotImplementedError

    def submit(self, value: object) -> Any:
        return self._loop.run_until_complete(self.send(value))

    def value_of(self, result: Any) -> Any:
        return self._loop.run_until_complete(self.receive(result))

    def submit_many(self, values: Sequence[Any]) -> None:
        self._results += self._loop.run_until_complete(_together(self.send, values))

    def submit_each(self, values: Sequence[Any]) -> None:
        async def one_by_one() -> list[Any]:
            return [await self.send(value) for value in values]

        self._results += self._loop.run_until_complete(one_by_one())

    def gather(self) -> list[Any]:
        results, self._results = self._results, []
        return self._loop.run_until_complete(_together(self.receive, results))
