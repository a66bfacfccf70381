"""A process that measures one contestant: ``driver JSON``, see ``booth``.

It runs in the contestant's environment, so it has nothing but the standard library
and what the contestant imports. Each line that it reads names a row and how much is
to be done, and is answered by a line of figures; the time is taken in here. It ends
where its input ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.benchmarks.rows import ROWS, Plan
from tests.benchmarks.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.contestants.base import Contestant


def made(told: dict[str, Any]) -> Contestant:
    """Make the contestant that is told of."""
    server = Server(*told["server"]) if told["server"] else None
    kind = getattr(importlib.import_module(told["module"]), told["kind"])
    contestant: Contestant = kind(Path(told["folder"]), told["engines"], server)
    return contestant


def drive(contestant: Contestant, asked: Iterable[str], answers: IO[str]) -> None:
    """Answer one line after the other."""
    ready = False
    for line in asked:
        wanted = json.loads(line)
        row = ROWS[wanted["row"]]
        answer: dict[str, object]
        try:
            if not row.fresh and not ready:
                contestant.open()
                contestant.man()
                contestant.warm()
                ready = True
            answer = {"figures": row.measure(contestant, Plan(**wanted["plan"]))}
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is told
            traceback.print_exc()
            answer = {"problem": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    # Who asked has no more patience: what was started is stopped all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # What others print is no answer.
    with os.fdopen(os.dup(1), "w") as only_ours:
        os.dup2(2, 1)
        with contextlib.closing(made(json.loads(sys.argv[1]))) as mine:
            drive(mine, sys.stdin, only_ours)
