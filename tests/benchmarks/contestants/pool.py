"""``multiprocessing.Pool``: the same machine only, nothing kept."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Pool(Contestant):
    """The pool of the standard library."""

    name = "pool"
    about = "multiprocessing.Pool(2), chunksize=1: pipes, one machine, nothing kept"
    on_redis = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._singles: list[Any] = []
        self._maps: list[Any] = []

    def open(self) -> None:
        """Do nothing: it can be given nothing without its processes."""

    def man(self) -> None:
        # Not forked: they must not inherit what other contestants have open.
        self._pool = multiprocessing.get_context("spawn").Pool(self.engines)
        self._things.callback(self._pool.join)
        self._things.callback(self._pool.terminate)

    def pids(self) -> Iterable[int]:
        return [process.pid for process in self._pool._pool]  # type: ignore[attr-defined]

    def submit_many(self, values: Sequence[Any]) -> None:
        self._maps.append(self._pool.map_async(same, values, chunksize=1))

    def submit_each(self, values: Sequence[Any]) -> None:
        submit = self._pool.apply_async
        self._singles += [submit(same, (value,)) for value in values]

    def gather(self) -> list[Any]:
        values = [result.get() for result in self._singles]
        for result in self._maps:
            values += result.get()
        self._singles, self._maps = [], []
        return values

    def trip(self, value: object) -> object:
        return self._pool.apply(same, (value,))
