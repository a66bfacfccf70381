"""redtask itself, as a user has it: a worker process and a client."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from redtask import Client
from redtask.hub import scripts
from redtask.profile import DEFAULT_HUB, Key
from redtask.scheme import configure
from redtask.store import Store
from tests.benchmarks import stage
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.usage import children
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redtask.result import AsyncResult
    from redtask.view import LoadBalancedView

_COMMAND = ("-c", "from redtask.cli import main; main()")


class Redtask(Contestant):
    """``redtask worker`` and ``Client``."""

    name = "redtask"
    about = "signed tasks with a record each, 2 engines of one worker"
    rows = Contestant.rows | {
        *(
            "chain",
            "fan",
            "dag",
            "crowd",
            "crew",
            "age",
            "dependents",
            "schemes",
            "queue",
            "backlog",
            "idle",
            "threads",
        )
    }
    scripts = True
    #: How the worker is started; --profile has another way.
    command: Sequence[str] = _COMMAND
    worker: int
    client: Client
    view: LoadBalancedView

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._key = Key.new().text
        self._singles: list[AsyncResult] = []
        self._maps: list[AsyncResult] = []

    def open(self) -> None:
        assert self.server is not None
        self.client = Client(self.server.url, key=self._key)
        self._things.callback(self.client.close)
        self.view = self.client.load_balanced_view()

    def man(self) -> None:
        assert self.server is not None
        command = [*self.command, "worker", "-n", str(self.engines), "--quiet"]
        (process,) = self._things.enter_context(
            stage.processes(
                [command],
                self.folder / "worker.log",
                REDTASK_URL=self.server.url,
                REDTASK_KEY=self._key,
            )
        )
        self.worker = process.pid
        with contextlib.suppress(TimeoutError):
            self.client.wait_for_engines(self.engines, timeout=stage.PATIENCE)
            return
        told = (self.folder / "worker.log").read_text(encoding="utf-8")
        raise RuntimeError(f"the engines did not join:\n{told}")

    def pids(self) -> Iterable[int]:
        """Return the supervisor and its engines."""
        return [self.worker, *children(self.worker)]

    def schemes(self) -> Iterable[str]:
        return scripts.schemes()

    def choose_by(self, scheme: str) -> None:
        assert self.server is not None
        store = Store(self.server.url, DEFAULT_HUB)
        configure(store, {}, scheme)
        store.close()

    def submit_many(self, values: Sequence[Any]) -> None:
        self._maps.append(self.view.map_async(same, values))

    def submit_each(self, values: Sequence[Any]) -> None:
        submit = self.view.apply_async
        self._singles += [submit(same, value) for value in values]

    def submit_graph(self, parents: Sequence[Sequence[int]]) -> None:
        jobs = {place: (same, (place,)) for place in range(len(parents))}
        results = self.view.submit_graph(dict(enumerate(parents)), jobs)
        self._singles += results.values()

    def submit_after(self, first: object, values: Sequence[Any]) -> None:
        parent = self.view.apply_async(same, first)
        self._singles.append(parent)
        with self.view.temp_flags(after=parent):
            self.submit_many(values)

    def gather(self) -> list[Any]:
        values = [result.get() for result in self._singles]
        for result in self._maps:
            values += result.get()
        self._singles, self._maps = [], []
        return values

    def trip(self, value: object) -> object:
        return self.view.apply_sync(same, value)
