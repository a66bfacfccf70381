"""Virtual environments of other queues: each has one of its own, made when needed.

So each has what its own metadata asks for, as its users have it: no version of
redis-py suits them all. That of redtask stays as it is.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.benchmarks.stage import HOUSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

#: git ignores it, and ``scripts/bootstrap`` removes it with the rest.
HOME: Final = HOUSE / ".venv" / "peers"
#: Who speaks with Redis: which version it was is worth telling.
_CLIENTS: Final = ("redis", "coredis", "hiredis")
_NAME: Final = re.compile(r"[\w.-]+")


class UnavailableError(Exception):
    """What is asked for cannot be installed."""


class Venv:
    """A virtual environment that holds some packages and what these ask for."""

    def __init__(self, name: str, needs: Sequence[str], home: Path = HOME) -> None:
        self._needs = needs
        self._folder = home / name
        self._stamp = self._folder / "made-of"
        self._lock = home / f"{name}.lock"

    @property
    def python(self) -> str:
        """The interpreter; who needs nothing has ours."""
        return str(self._folder / "bin" / "python") if self._needs else sys.executable

    def make(self, tell: Callable[[], object]) -> None:
        """Make it, unless it is as it should be; ``tell`` is called before."""
        if not self._needs or self._fits():
            return
        tell()
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._fits():
                self._install()

    def versions(self) -> Iterator[tuple[str, str]]:
        """Yield the packages asked for, and by which they speak with Redis."""
        places = [str(one) for one in self._folder.glob("lib/python*/site-packages")]
        names = [_NAME.match(need) for need in self._needs]
        asked = [found.group() for found in names if found]
        for name in dict.fromkeys([*asked, *_CLIENTS]):
            for found in importlib.metadata.distributions(name=name, path=places):
                yield name, found.version

    def _wanted(self) -> str:
        return "\n".join([sys.version, str(self._folder), *self._needs])

    def _fits(self) -> bool:
        return self._stamp.exists() and self._stamp.read_text() == self._wanted()

    def _install(self) -> None:
        # Nothing of a former one, even of one that was left half-made.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._run("venv", "--without-pip", str(self._folder))
        quietly = "--quiet", "--disable-pip-version-check", "--no-input"
        self._run(
            *("pip", "--python", self.python),
            *("install", "--retries", "2", *quietly, *self._needs),
        )
        self._stamp.write_text(self._wanted())

    def _run(self, *arguments: str) -> None:
        told = subprocess.run(
            [sys.executable, "-m", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode:
            lines = told.stderr.strip().splitlines() or ["it does not say why"]
            errors = [line for line in lines if line.startswith("ERROR: ")]
            why = (errors or lines)[-1].removeprefix("ERROR: ")
            wanted = ", ".join(self._needs)
            raise UnavailableError(f"{wanted} could not be installed: {why}")
