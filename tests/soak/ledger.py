"""What really ran, read from the files that engines wrote."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one task."""

    #: The supervisor, and the engine.
    worker: int
    engine: int
    #: When it began, and came to its end (0: it never did), in seconds.
    began: float
    ended: float


class Ledger:
    """All runs of all tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        #: Runs by the names of tasks, in the order in which they began.
        self.runs: dict[str, list[Run]] = {}
        #: Lines that are none.
        self.broken: list[str] = []

    def read(self) -> None:
        """Read all files, and remove them."""
        found = defaultdict(list)
        for path in list(self.folder.iterdir()):
            if "-" not in path.name:
                path.unlink()
                continue
            worker, _, engine = path.name.partition("-")
            for key, began, ended in self._read(path):
                found[key].append(Run(int(worker), int(engine), began, ended))
            path.unlink()
        for runs in found.values():
            runs.sort(key=lambda run: run.began)
        self.runs = dict(found)

    def _read(self, path: Path) -> list[tuple[str, float, float]]:
        runs: list[tuple[str, float, float]] = []
        inside: tuple[str, float] | None = None
        for line in path.read_text(encoding="utf-8").splitlines():
            what, key, nanoseconds = line.split(" ")
            at = int(nanoseconds) / 1e9
            if what == "b":
                if inside is not None:
                    runs.append((*inside, 0.0))
                inside = key, at
            elif inside is not None and inside[0] == key:
                runs.append((*inside, at))
                inside = None
            else:
                self.broken.append(f"{path.name}: {line}")
        if inside is not None:
            runs.append((*inside, 0.0))
        return runs
