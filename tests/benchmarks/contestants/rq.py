"""RQ: a process forked for each job, which is its default, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.contestants.peer import Peer
from tests.benchmarks.stage import PATIENCE
from tests.benchmarks.work import same

if TYPE_CHECKING:
    from collections.abc import Sequence


class RQ(Peer):
    """RQ and its workers."""

    name = "rq"
    about = "rq worker x 2, a fork per job (default); enqueue_many"
    needs = ("rq",)
    #: Of its workers.
    options: Sequence[str] = ()

    def commands(self) -> Sequence[Sequence[str]]:
        command = ["-m", "rq.cli", "worker", "bench", "--quiet", "--url", self.url]
        return [[*command, *self.options]] * self.engines

    def submit(self, value: object) -> Any:
        return self.app.queue.enqueue(same, value)

    def submit_many(self, values: Sequence[Any]) -> None:
        queue = self.app.queue
        jobs = [queue.prepare_data(same, (value,)) for value in values]
        self._results += queue.enqueue_many(jobs)

    def value_of(self, result: Any) -> Any:
        return result.latest_result(timeout=int(PATIENCE)).return_value


class SimpleRQ(RQ):
    """RQ with the workers that its manual has for very short jobs."""

    name = "rq-simple"
    about = (
        "rq worker x 2 with SimpleWorker, which RQ offers for very short jobs only: "
        "no fork; enqueue_many"
    )
    options = ("--worker-class", "rq.worker.SimpleWorker")

    @classmethod
    def app_name(cls) -> str:
        return RQ.app_name()
