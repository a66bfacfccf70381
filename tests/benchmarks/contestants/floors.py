"""Bare Redis lists: what no queue on Redis can be faster than.

Clients push pickles of function and arguments to one list; processes pop them, call,
and push pickled results to another. Nothing is recorded: what a process has popped
is lost when it dies.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from tests.benchmarks import stage
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.contestants.floor_worker import (
    BATCH,
    DONE,
    GO,
    READY,
    TASKS,
    pipelined,
)
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def _pickled(value: object) -> bytes:
    return pickle.dumps((same, (value,)), 5)


class SingleFloor(Contestant):
    """One round trip for each task, on each side."""

    name = "floor-single"
    about = "RPUSH and BLPOP of the same pickles, one round trip per task"
    rows = frozenset({"bulk", "single", "trip", "payload", "queue", "backlog"})
    mode = "single"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._open = 0
        self._pids: list[int] = []

    def open(self) -> None:
        assert self.server is not None
        self.redis = self.server.redis

    def man(self) -> None:
        assert self.server is not None
        module = "tests.benchmarks.contestants.floor_worker"
        command = ["-m", module, self.server.url, self.mode]
        started = self._things.enter_context(
            stage.processes([command] * self.engines, self.folder / "floor.log")
        )
        self._pids = [process.pid for process in started]
        for _ in started:
            if self.redis.blpop(READY, int(stage.PATIENCE)) is None:
                raise TimeoutError("the processes of the floor did not start")
        self.redis.rpush(GO, *self._pids)

    def pids(self) -> Iterable[int]:
        return self._pids

    def submit_many(self, values: Sequence[Any]) -> None:
        self.submit_each(values)

    def submit_each(self, values: Sequence[Any]) -> None:
        push = self.redis.rpush
        for value in values:
            push(TASKS, _pickled(value))
        self._open += len(values)

    def gather(self) -> list[Any]:
        count, self._open = self._open, 0
        return [pickle.loads(self._pop()) for _ in range(count)]

    def _pop(self) -> bytes:
        popped = self.redis.blpop(DONE, stage.PATIENCE)
        if popped is None:
            raise TimeoutError("the floor's processes do not answer")
        return popped[1]  # type: ignore[return-value]

    def trip(self, value: object) -> object:
        self.submit_each([value])
        return self.gather()[0]


class BatchedFloor(SingleFloor):
    """Many tasks in each round trip: pipelines of the same commands."""

    name = "floor-batched"
    about = f"the same in pipelines of {BATCH}"
    rows = frozenset({"bulk", "queue", "backlog"})
    mode = "batched"

    def submit_many(self, values: Sequence[Any]) -> None:
        for at in range(0, len(values), BATCH):
            self._push([_pickled(value) for value in values[at : at + BATCH]])
        self._open += len(values)

    def _push(self, pickles: list[bytes]) -> None:
        pipelined(self.redis, TASKS, pickles)

    def gather(self) -> list[Any]:
        values: list[Any] = []
        for popped in self._popped():
            values += map(pickle.loads, popped)
        return values

    def _popped(self) -> Iterator[list[bytes]]:
        left, self._open = self._open, 0
        while left:
            popped = self.redis.lpop(DONE, BATCH) or [self._pop()]
            left -= len(popped)
            yield popped  # type: ignore[misc]


class ListFloor(BatchedFloor):
    """Many tasks in each command: no queue can be faster, or tell tasks apart."""

    name = "floor-lists"
    about = f"{BATCH} tasks in each command"
    mode = "lists"

    def _push(self, pickles: list[bytes]) -> None:
        self.redis.rpush(TASKS, *pickles)
