"""The protocol between a keeper and whoever started it: JSON lines both ways."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import secrets
import select
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
    """One end of the connection: JSON messages, one per line."""

    source: int
    target: int
    rest: bytes = b""
    lines: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> bool:
        """Read what has arrived; False at end of file."""
        data = os.read(self.source, 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]
        return bool(data)

    @property
    def is_deserted(self) -> bool:
        """Has the other side closed its end?"""
        poll = select.poll()
        poll.register(self.source, 0)
        return bool(poll.poll(0))

    def say(self, answer: Mapping[str, Any]) -> None:
        """Send a message, if anybody still reads."""
        with contextlib.suppress(OSError):
            os.write(self.target, json.dumps(answer).encode() + b"\n")


def as_words(problem: RedtaskError) -> dict[str, Any]:
    """Return an error as a message."""
    return {"error": type(problem).__name__, "message": str(problem)}


def from_words(words: Mapping[str, Any]) -> RedtaskError:
    """Return the error in a message."""
    kind = getattr(error, words["error"], ClusterError)
    return kind(words["message"])


def launch(plan: Plan) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a keeper process for a script or daemon; return it and its ``about()``.

    Raises the errors that it reports.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "redtask.keeper"],
        env={**os.environ, **places(script=plan.mode == SCRIPT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Only the script must get a terminal's Ctrl-C.
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
    """Send a message to a keeper; return its answer, or raise the error in it."""
    assert keeper.stdin is not None  # noqa: S101 - it was made with pipes
    with contextlib.suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps(words).encode() + b"\n")
        keeper.stdin.flush()
        answer = _answer(keeper, words.get("mark"))
        if "error" in answer:
            raise from_words(answer)
        return answer
    raise _gone()


def _answer(keeper: subprocess.Popen[bytes], mark: object) -> dict[str, Any]:
    """Return the answer to a message.

    Those to messages whose senders were interrupted, and did not wait, are skipped.
    """
    assert keeper.stdout is not None  # noqa: S101 - it was made with pipes
    while line := keeper.stdout.readline():
        answer: dict[str, Any] = json.loads(line)
        if answer.pop("mark", mark) == mark:
            return answer
    raise _gone()


def _gone() -> ClusterError:
    return ClusterError("the keeper of the cluster is gone")


def request(keeper: subprocess.Popen[bytes], **words: Any) -> dict[str, Any]:
    """Ask a running keeper for something, as ``ask`` does."""
    return ask(keeper, {**words, "mark": secrets.token_hex(8)})


def end(keeper: subprocess.Popen[bytes], drain: float | None) -> None:
    """Tell a keeper to end, and wait for that."""
    assert keeper.stdin is not None  # noqa: S101 - it was made with pipes
    with contextlib.suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps({"do": "end", "drain": drain}).encode() + b"\n")
        keeper.stdin.flush()
    # Keep the pipes open meanwhile: closing them would mean that nobody waits.
    keeper.wait()
    dismiss(keeper)


def let_go(keeper: subprocess.Popen[bytes]) -> None:
    """Detach from a daemon."""
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            pipe.close()
    # Avoid the ResourceWarning about a process that is still running.
    keeper.returncode = 0


def dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """Close the pipes to a keeper, and wait for its end."""
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    keeper.wait()


def places(*, script: bool = False) -> dict[str, str]:
    """Return PYTHONPATH for a child, to find redtask and modules beside a script."""
    found = [os.environ.get("PYTHONPATH", "")]
    if script and sys.path and not sys.flags.safe_path:
        found.insert(0, sys.path[0])
    try:
        importlib.metadata.distribution("redtask")
    except importlib.metadata.PackageNotFoundError:
        found.append(str(Path(redtask.__file__).resolve().parents[1]))
    found = list(dict.fromkeys(filter(None, found)))
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}
