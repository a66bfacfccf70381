"""A notebook's kernel without its messages: IPython runs cells in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Self

from tests.processes import HOUSE

_KERNEL = """
import json
import sys

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

config = Config({"HistoryManager": {"enabled": False}})
shell = InteractiveShell.instance(config=config, colors="nocolor")
for line in sys.stdin:
    with capture_output() as caught:
        done = shell.run_cell(json.loads(line), store_history=True)
    problem = done.error_before_exec or done.error_in_exec
    error = "" if problem is None else type(problem).__name__
    print(json.dumps([caught.stdout, caught.stderr, error]), flush=True)
"""


@dataclass(frozen=True)
class Ran:
    """What a cell has shown."""

    out: str
    err: str
    #: The class of what it raised.
    error: str


class Notebook:
    """Runs cells one after the other."""

    def __init__(self, folder):
        variables = {**os.environ, "IPYTHONDIR": str(folder), "PYTHONPATH": str(HOUSE)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _KERNEL],
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._cells: Any = self.process.stdin
        self._shown: Any = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        self.process.communicate(timeout=60)

    def begin(self, cell):
        """Let it run a cell, and do not wait for that."""
        self._cells.write(json.dumps(cell) + "\n")
        self._cells.flush()

    def end(self):
        """Return what the cell has shown."""
        return Ran(*json.loads(self._shown.readline()))

    def run(self, cell):
        """Run a cell."""
        self.begin(cell)
        return self.end()

    def show(self, cell):
        """Run a cell that must do its work; return what it has shown."""
        ran = self.run(cell)
        assert (ran.error, ran.err) == ("", ""), ran
        return ran.out
