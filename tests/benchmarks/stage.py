"""Processes that work for one contestant, with the Python that runs here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOUSE: Final = Path(__file__).parents[2]
#: How long starting and stopping may take, in seconds.
PATIENCE: Final = 30.0


def environment() -> dict[str, str]:
    """Return the environment of a process that can import what tasks call."""
    paths = [str(HOUSE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def processes(
    commands: Sequence[Sequence[str]], log: Path, **variables: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run Python with these arguments, once for each, until the end of the block."""
    with contextlib.ExitStack() as things:
        output = things.enter_context(log.open("ab"))
        yield [
            things.enter_context(_process(command, output, variables))
            for command in commands
        ]


@contextlib.contextmanager
def _process(
    arguments: Sequence[str], output: IO[bytes], variables: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=HOUSE,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
