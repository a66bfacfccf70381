"""A run: everything side by side, again and again."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.booth import Booth, BoothError
from tests.benchmarks.lineup import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.benchmarks.contestants.base import Contestant
    from tests.benchmarks.figures import Collection
    from tests.benchmarks.rows import Figures, Plan, Row

#: Of the idle worker.
_MANY_ENGINES: Final = 4
#: So many other queues may be there while one is measured.
_FEW: Final = 2


class Run:
    """Measures rows of contestants ``repeat`` times.

    ``tell`` is told what comes next, and how many of all steps are done.
    """

    def __init__(
        self,
        contestants: Sequence[type[Contestant]],
        rows: Sequence[Row],
        plan: Plan,
        repeat: int,
        tell: Callable[[str, float], None],
    ) -> None:
        self._kinds = contestants
        self._rows = rows
        self._plan = plan
        self._repeat = repeat
        self._tell = tell
        self._open: dict[str, Booth] = {}
        self._folders = 0
        #: Are there so many others that each has its turn, and all rows in it?
        self._apart = len([kind for kind in contestants if kind in PEERS]) > _FEW

    def __call__(self, collection: Collection) -> None:
        """Measure it all."""
        steps = list(self._steps())
        with contextlib.ExitStack() as things:
            # A path of a socket must not be long.
            folder = things.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            for done, (row, kind) in enumerate(steps):
                if kind.name in collection.without:
                    continue
                self._tell(f"{row.name}: {kind.name}", done / len(steps))
                try:
                    figures = self._measure(row, kind, Path(folder), things)
                except BoothError as problem:
                    if kind not in PEERS:
                        raise
                    # Another queue's trouble is not ours: what it did so far counts.
                    collection.without[kind.name] = f"failed at {row.name}: {problem}"
                else:
                    collection.add(row.name, kind.name, figures)
                following = steps[done + 1][1] if done + 1 < len(steps) else None
                failed = kind.name in collection.without
                if failed or (self._apart and kind is not following):
                    self._stop(kind)

    def _stop(self, kind: type[Contestant]) -> None:
        """Let another queue be gone while others are measured: not all idle quietly."""
        if kind in PEERS and kind.name in self._open:
            self._open.pop(kind.name).close()

    def _measure(
        self,
        row: Row,
        kind: type[Contestant],
        folder: Path,
        things: contextlib.ExitStack,
    ) -> Figures:
        if row.fresh:
            with contextlib.ExitStack() as briefly:
                booth = self._make(kind, folder, row.name, briefly)
                return booth.measure(row, self._plan)
        if kind.name not in self._open:
            self._open[kind.name] = self._make(kind, folder, "", things)
        return self._open[kind.name].measure(row, self._plan)

    def _steps(self) -> Iterator[tuple[Row, type[Contestant]]]:
        for number in range(self._repeat):
            # Whoever came first comes last: A B, B A.
            kinds = self._kinds if number % 2 == 0 else self._kinds[::-1]
            rows = [row for row in self._rows if number < row.most]
            steps = [(row, kind) for row in rows for kind in kinds]
            if self._apart:
                steps.sort(key=lambda step: kinds.index(step[1]))
            yield from ((row, kind) for row, kind in steps if row.name in kind.rows)

    def _make(
        self,
        kind: type[Contestant],
        folder: Path,
        row: str,
        things: contextlib.ExitStack,
    ) -> Booth:
        self._folders += 1
        engines = _MANY_ENGINES if row == "idle" else 2
        booth = Booth(kind, folder / f"{self._folders}", engines)
        things.callback(booth.close)
        return booth
