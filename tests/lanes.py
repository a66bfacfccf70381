"""Tests two at a time: those of scripts stay together, the others go by files.

Those of scripts come first and keep one worker of pytest-xdist, and so their order and
what they have recorded; who is free takes the next file of the others. A test that
measures time (marked ``alone``) has the machine for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How the names of tests begin that stay together.
LANE: Final = "tests/lua/"


class Lanes(LoadScopeScheduling):
    """Gives one worker of pytest-xdist the lane, and others the files that are left."""

    def _split_scope(self, nodeid: str) -> str:
        return LANE if nodeid.startswith(LANE) else nodeid.partition("::")[0]


class Crossing:
    """Where the workers meet: many are on it, or one alone.

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
