"""ipyparallel: whose interface redtask has."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from tests.benchmarks import stage
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class IPyParallel(Contestant):
    """A local cluster of ipyparallel, and its load-balanced view."""

    name = "ipyparallel"
    about = "ipyparallel.Cluster(n=2), load_balanced_view, chunksize=1"
    needs = ("ipyparallel",)
    on_redis = False
    share = 0.05
    rows = Contestant.rows | {"chain", "fan", "dag"}

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._singles: list[Any] = []
        self._maps: list[Any] = []

    def open(self) -> None:
        # Before the import: the processes it starts read both.
        os.environ["IPYTHONDIR"] = str(self.folder / "ipython")
        os.environ["PYTHONPATH"] = stage.environment()["PYTHONPATH"]
        import ipyparallel  # noqa: PLC0415 - where installed

        self._cluster = ipyparallel.Cluster(
            n=self.engines, log_level=logging.ERROR, send_engines_connection_env=False
        )

    def man(self) -> None:
        self._things.callback(self._cluster.stop_cluster_sync)
        self._client = self._cluster.start_and_connect_sync()
        self._things.callback(self._client.close)
        self._client.wait_for_engines(self.engines, timeout=stage.PATIENCE)
        self._view = self._client.load_balanced_view()
        self._pids = list(self._client[:].apply_sync(os.getpid))

    def pids(self) -> Iterable[int]:
        """Return the engines; the controller's processes are not told."""
        return self._pids

    def submit_many(self, values: Sequence[Any]) -> None:
        self._maps.append(self._view.map_async(same, values, chunksize=1))

    def submit_each(self, values: Sequence[Any]) -> None:
        submit = self._view.apply_async
        self._singles += [submit(same, value) for value in values]

    def submit_graph(self, parents: Sequence[Sequence[int]]) -> None:
        submitted: list[Any] = []
        for place, before in enumerate(parents):
            with self._view.temp_flags(after=[submitted[one] for one in before]):
                submitted.append(self._view.apply_async(same, place))
        self._singles += submitted

    def gather(self) -> list[Any]:
        values = [result.get() for result in self._singles]
        for result in self._maps:
            values += result.get()
        self._singles, self._maps = [], []
        return values

    def trip(self, value: object) -> object:
        return self._view.apply_sync(same, value)
