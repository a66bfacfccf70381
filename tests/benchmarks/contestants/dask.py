"""Dask's scheduler: no Redis, nothing kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Dask(Contestant):
    """A local cluster of ``dask.distributed``."""

    name = "dask"
    about = "LocalCluster(2 processes, 1 thread each); kept in the scheduler's memory"
    needs = ("distributed",)
    on_redis = False
    share = 0.05
    rows = Contestant.rows | {"chain", "fan", "dag"}

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._futures: list[Any] = []

    def open(self) -> None:
        """Do nothing: it can be given nothing without its processes."""

    def man(self) -> None:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - where installed

        self._cluster = LocalCluster(
            n_workers=self.engines,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(self.folder),
        )
        self._things.callback(self._cluster.close)
        self._client = Client(self._cluster)
        self._things.callback(self._client.close)

    def pids(self) -> Iterable[int]:
        return [worker.pid for worker in self._cluster.workers.values()]

    def submit_many(self, values: Sequence[Any]) -> None:
        self._futures += self._client.map(same, values, pure=False)

    def submit_each(self, values: Sequence[Any]) -> None:
        submit = self._client.submit
        self._futures += [submit(same, value, pure=False) for value in values]

    def submit_graph(self, parents: Sequence[Sequence[int]]) -> None:
        submitted: list[Any] = []
        for place, before in enumerate(parents):
            needed = [submitted[one] for one in before]
            submitted.append(self._client.submit(_after, place, needed, pure=False))
        self._futures += submitted

    def gather(self) -> list[Any]:
        futures, self._futures = self._futures, []
        return list(self._client.gather(futures))

    def trip(self, value: object) -> object:
        return self._client.submit(same, value, pure=False).result()


def _after(value: object, _: object) -> object:
    return value
