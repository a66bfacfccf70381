"""The line between a keeper and who started it: JSON, one line each way."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redtask
from redtask import error
from redtask.error import ClusterError, RedtaskError
from redtask.keeper.plan import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.keeper.plan import Plan


@dataclass(slots=True)
class Line:
    """The words between a script and its keeper: JSON, one line each."""

    source: int
    target: int
    rest: bytes = b""
    lines: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> bool:
        """Read what has come; False at the end."""
        data = os.read(self.source, 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]
        return bool(data)

    def say(self, answer: Mapping[str, Any]) -> None:
        """Answer, if anybody still listens."""
        with contextlib.suppress(OSError):
            os.write(self.target, json.dumps(answer).encode() + b"\n")


def as_words(problem: RedtaskError) -> dict[str, Any]:
    """Return an error as words for the line."""
    return {"error": type(problem).__name__, "message": str(problem)}


def from_words(words: Mapping[str, Any]) -> RedtaskError:
    """Return the error that the words tell of."""
    kind = getattr(error, words["error"], ClusterError)
    return kind(words["message"])


def launch(plan: Plan) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a keeper as a process of its own; return it and what it says it keeps.

    Raises what it raises. For scripts and daemons.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "redtask.keeper"],
        env={**os.environ, **places(script=plan.mode == SCRIPT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C in a terminal is for the script.
        start_new_session=True,
    )
    try:
        about = ask(keeper, asdict(plan))
    except RedtaskError:
        dismiss(keeper)
        raise
    except BaseException:
        keeper.terminate()
        dismiss(keeper)
        raise
    return keeper, about


def ask(keeper: subprocess.Popen[bytes], words: Mapping[str, Any]) -> dict[str, Any]:
    """Say something to a keeper and return its answer. Raises what it raises."""
    assert keeper.stdin is not None  # noqa: S101 - it was made with pipes
    assert keeper.stdout is not None  # noqa: S101
    try:
        keeper.stdin.write(json.dumps(words).encode() + b"\n")
        keeper.stdin.flush()
        line = keeper.stdout.readline()
    except BrokenPipeError:
        line = b""
    if not line:
        raise ClusterError("the keeper of the cluster is gone")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise from_words(answer)
    return answer


def end(keeper: subprocess.Popen[bytes], drain: float | None) -> None:
    """Tell a keeper to end, and wait until it has."""
    assert keeper.stdin is not None  # noqa: S101 - it was made with pipes
    with contextlib.suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps({"do": "end", "drain": drain}).encode() + b"\n")
        keeper.stdin.flush()
    # The line stays open meanwhile: its end would mean that nobody waits.
    keeper.wait()
    dismiss(keeper)


def let_go(keeper: subprocess.Popen[bytes]) -> None:
    """Leave a daemon to itself."""
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            pipe.close()
    # Else it is complained about that nobody has waited for its end.
    keeper.returncode = 0


def dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """Close the line to a keeper, and wait until it has ended."""
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    keeper.wait()


def places(*, script: bool = False) -> dict[str, str]:
    """Return how a child finds redtask, and the modules that lie beside a script."""
    found = [os.environ.get("PYTHONPATH", "")]
    if script and sys.path and not sys.flags.safe_path:
        found.insert(0, sys.path[0])
    try:
        importlib.metadata.distribution("redtask")
    except importlib.metadata.PackageNotFoundError:
        found.append(str(Path(redtask.__file__).resolve().parents[1]))
    found = list(dict.fromkeys(filter(None, found)))
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}
