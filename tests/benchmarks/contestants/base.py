"""What every contestant can be asked to do."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tests import shapes
from tests.benchmarks.usage import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.benchmarks.server import Server

_WARM_UP: Final = 200


class Contestant(ABC):
    """A queue whose tasks call ``work.same`` in processes of their own.

    ``open`` makes it ready to be given tasks and ``man`` gets processes to run them;
    then ``submit_many`` or ``submit_each``, and ``gather`` for the results of all
    that was submitted. Everything ends with ``close``.
    """

    #: As it is called in tables.
    name: ClassVar[str]
    #: What it is, in some words.
    about: ClassVar[str]
    #: The rows it takes part in.
    rows: ClassVar[frozenset[str]] = frozenset({"bulk", "single", "trip", "payload"})
    #: Packages that it needs in an environment of its own; none: ours will do.
    needs: ClassVar[Sequence[str]] = ()
    #: Is a Redis started for it?
    on_redis: ClassVar[bool] = True
    #: Does its Redis run scripts?
    scripts: ClassVar[bool] = False
    #: How much of the usual number of tasks it gets: slow ones would take minutes.
    share: ClassVar[float] = 1.0

    def __init__(
        self, folder: Path, engines: int = 2, server: Server | None = None
    ) -> None:
        self.folder = folder
        self.engines = engines
        #: Its Redis, if it has one.
        self.server = server
        self._things = contextlib.ExitStack()

    def meter(self) -> Meter:
        """Return what measures a run."""
        return Meter(self.server, self.pids)

    def pids(self) -> Iterable[int]:
        """Return the processes that run tasks."""
        return ()

    def close(self) -> None:
        """Stop everything that it started."""
        self._things.close()

    def warm(self) -> None:
        """Do what only the first tasks have to wait for."""
        self.submit_many(range(_WARM_UP))
        self.submit_each(range(_WARM_UP))
        if "dag" in self.rows:
            self.submit_graph(shapes.layered(_WARM_UP, 100))
        self.gather()

    def schemes(self) -> Iterable[str]:
        """Return the schemes that it knows to choose engines by."""
        return ()

    def choose_by(self, scheme: str) -> None:
        """Use this scheme from now on."""
        raise NotImplementedError(scheme)

    def submit_graph(self, parents: Sequence[Sequence[int]]) -> None:
        """Submit a task for each place, after those at the places listed for it."""
        raise NotImplementedError

    def submit_after(self, first: object, values: Sequence[Any]) -> None:
        """Submit one task, and many that wait for it alone."""
        raise NotImplementedError

    @abstractmethod
    def open(self) -> None:
        """Get ready to be given tasks."""

    @abstractmethod
    def man(self) -> None:
        """Start the processes that run tasks, and wait for them."""

    @abstractmethod
    def submit_many(self, values: Sequence[Any]) -> None:
        """Submit a task for each value, in the fastest way there is."""

    @abstractmethod
    def submit_each(self, values: Sequence[Any]) -> None:
        """Submit a task for each value, each by a call of its own."""

    @abstractmethod
    def gather(self) -> list[Any]:
        """Wait for all results and return them, in any order."""

    @abstractmethod
    def trip(self, value: object) -> object:
        """Run one task and return its result."""
