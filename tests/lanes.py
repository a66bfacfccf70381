"""Two lanes of tests at once: those that start processes, and all others.

Each lane is a group of pytest-xdist, so it keeps its order, its servers and what it has
recorded. A test that measures time (marked ``alone``) has the machine for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where tests start processes of their own.
BUSY: Final = Path(__file__).parent / "acceptance"


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say in which lane each test runs."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        lane = "processes" if BUSY in item.path.parents else "scripts"
        item.add_marker(pytest.mark.xdist_group(lane))


class Crossing:
    """Where the lanes meet: many are on it, or one alone.

    Who waits to be alone holds the gate, so that nobody enters before.
    """

    def __init__(self) -> None:
        # All workers know these, and neither is ever written to.
        self._gate = os.open(Path(__file__).parent, os.O_RDONLY)
        self._road = os.open(Path(__file__), os.O_RDONLY)

    @contextlib.contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Be on the road, once it is free."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._road, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._road, fcntl.LOCK_UN)
            if alone:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
