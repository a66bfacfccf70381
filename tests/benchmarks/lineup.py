"""Who is measured, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.benchmarks.contestants.arq import Arq
from tests.benchmarks.contestants.celery import Celery
from tests.benchmarks.contestants.dask import Dask
from tests.benchmarks.contestants.dramatiq import Dramatiq
from tests.benchmarks.contestants.floors import BatchedFloor, ListFloor, SingleFloor
from tests.benchmarks.contestants.huey import Huey
from tests.benchmarks.contestants.ipp import IPyParallel
from tests.benchmarks.contestants.ours import Redtask
from tests.benchmarks.contestants.pool import Pool
from tests.benchmarks.contestants.rq import RQ, SimpleRQ
from tests.benchmarks.contestants.streaq import Streaq
from tests.benchmarks.contestants.taskiq import Taskiq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.contestants.base import Contestant

FLOORS: Final[Sequence[type[Contestant]]] = (SingleFloor, BatchedFloor, ListFloor)
PEERS: Final[Sequence[type[Contestant]]] = (
    Arq,
    Celery,
    Dask,
    Dramatiq,
    Huey,
    IPyParallel,
    Pool,
    RQ,
    SimpleRQ,
    Streaq,
    Taskiq,
)
_ALL: Final[Sequence[type[Contestant]]] = (Redtask, *PEERS, *FLOORS)
KINDS: Final[Mapping[str, type[Contestant]]] = {kind.name: kind for kind in _ALL}
