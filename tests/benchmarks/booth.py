"""Where one contestant is measured: a process in its own environment, and its Redis."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from tests.benchmarks import server, stage
from tests.benchmarks.venvs import Venv

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.contestants.base import Contestant
    from tests.benchmarks.rows import Figures, Plan, Row

#: No row of anybody takes so long, in seconds.
_LIMIT: Final = 900.0
_TOLD: Final = 500


class BoothError(Exception):
    """The contestant could not be measured."""


class Booth:
    """Has a contestant measured; everything that was started ends with ``close``."""

    def __init__(self, kind: type[Contestant], folder: Path, engines: int) -> None:
        folder.mkdir()
        self._log = folder / "driver.log"
        self._busy = False
        self._things = contextlib.ExitStack()
        with contextlib.ExitStack() as things:
            redis = None
            if kind.on_redis:
                found = things.enter_context(server.running(folder / "server"))
                redis = found.url, found.pid
            told = {
                "module": kind.__module__,
                "kind": kind.__name__,
                "folder": str(folder),
                "engines": engines,
                "server": redis,
            }
            python = Venv(kind.name, kind.needs).python
            command = [python, "-m", "tests.benchmarks.driver", json.dumps(told)]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=stage.HOUSE,
                    env=stage.environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    # What it leaves behind is found by its group.
                    start_new_session=True,
                )
            things.callback(self._end)
            self._things = things.pop_all()

    def measure(self, row: Row, plan: Plan) -> Figures:
        """Measure one row."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._busy = True
        clock = threading.Timer(_LIMIT, self._process.terminate)
        clock.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                print(
                    json.dumps({"row": row.name, "plan": asdict(plan)}),
                    file=self._process.stdin,
                    flush=True,
                )
            line = self._process.stdout.readline()
        finally:
            clock.cancel()
        if not line:
            # What it says last it says when it has closed everything.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(stage.PATIENCE)
            said = self._log.read_text(errors="replace").strip()
            raise BoothError(f"its process ended: {said[-_TOLD:] or 'it says nothing'}")
        self._busy = False
        answer = json.loads(line)
        if "problem" in answer:
            raise BoothError(answer["problem"])
        figures: Figures = answer["figures"]
        return figures

    def close(self) -> None:
        """Stop the process, what it started, and the Redis."""
        self._things.close()

    def _end(self) -> None:
        process = self._process
        if self._busy:
            process.terminate()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(2 * stage.PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(stage.PATIENCE)
        # Mostly there is nobody left in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
