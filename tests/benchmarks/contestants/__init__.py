"""Who is measured. Each is a module with one class, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.contestants.floors import BatchedFloor, ListFloor, SingleFloor
from tests.benchmarks.contestants.ipp import IPyParallel
from tests.benchmarks.contestants.ours import Redtask
from tests.benchmarks.contestants.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOORS: Final[Sequence[type[Contestant]]] = (SingleFloor, BatchedFloor, ListFloor)
PEERS: Final[Sequence[type[Contestant]]] = (IPyParallel, Pool)

__all__ = ["FLOORS", "PEERS", "Contestant", "Redtask"]
