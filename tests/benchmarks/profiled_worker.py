"""``redtask worker`` whose engines tell where their time goes.

``profiled_worker FOLDER worker ...``: on ``SIGNAL`` an engine leaves a file in the
folder. Idle engines are killed when a worker stops, so that would be too late.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redtask.cli import main
from redtask.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNAL: Final = signal.SIGUSR2


def _profiled(run: Callable[[Engine], int], folder: Path) -> Callable[[Engine], int]:
    def profiled(engine: Engine) -> int:
        profile = cProfile.Profile()

        def leave(*_: object) -> None:
            unfinished = folder / f"{os.getpid()}.unfinished"
            profile.dump_stats(unfinished)
            unfinished.rename(folder / f"{os.getpid()}.engine")

        signal.signal(SIGNAL, leave)
        return profile.runcall(run, engine)

    return profiled


if __name__ == "__main__":
    # Engines are forked, so what is changed here is changed in them.
    setattr(Engine, "run", _profiled(Engine.run, Path(sys.argv[1])))  # noqa: B010
    main(sys.argv[2:])
