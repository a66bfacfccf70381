"""What scripts cost in instructions: a figure that no other process can disturb.

Redis runs under ``callgrind``, and stand-ins speak the real scripts to it. So the same
scripts on the same server give the same figures, whatever else the machine does, and
a change of one part in a hundred is seen.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import redis

from redtask.server.binary import find_binary
from tests.benchmarks.paths import Paths, Stand
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.paths import Step

_TOTAL: Final = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Cost(NamedTuple):
    """What one script of a path costs."""

    #: What is done.
    path: str
    #: Instructions for each task.
    instructions: float
    #: Instructions for each call.
    per_call: float


def missing() -> str:
    """Return why nothing can be measured; "" if it can."""
    for program in ("valgrind", "callgrind_control"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return ""


class Counted:
    """A Redis whose instructions are counted, in a folder of its own."""

    def __init__(
        self, folder: Path, *, log: bool = False, binary: Path | None = None
    ) -> None:
        self.folder = folder
        path = find_binary(binary).path
        socket = folder / "redis.sock"
        command = ["valgrind", "--tool=callgrind", "--quiet"]
        command += [f"--callgrind-out-file={folder}/out", str(path)]
        command += ["--port", "0", "--unixsocket", str(socket), "--save", ""]
        command += ["--dir", str(folder), "--appendonly", "yes" if log else "no"]
        command += ["--hz", "1"]
        with (folder / "log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        self.redis = redis.Redis(unix_socket_path=str(socket), socket_timeout=600)
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.redis.ping()
                break
            if time.monotonic() > deadline:
                self.close()
                raise TimeoutError("no Redis under callgrind")
            time.sleep(0.05)
        self._dumps = 0

    def close(self) -> None:
        """Stop it."""
        self.redis.close()
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _control(self, *words: str) -> None:
        command = ["callgrind_control", *words, str(self._process.pid)]
        subprocess.run(command, check=True, capture_output=True)

    def begin(self) -> None:
        """Count from here on."""
        self._control("--zero")

    def collect(self) -> None:
        """Let Lua collect its garbage."""
        self.redis.eval("collectgarbage()", 0)

    def end(self) -> int:
        """Return how many instructions there were since."""
        self._control("--dump")
        self._dumps += 1
        path = self.folder / f"out.{self._dumps}"
        found = _TOTAL.findall(path.read_text(encoding="utf-8"))
        return int(found[-1])


def _count(counted: Counted, act: Callable[[], None]) -> int:
    """Return how many instructions something takes, its garbage included.

    Lua would collect it whenever it has to, in whatever is done then.
    """
    counted.collect()
    counted.begin()
    act()
    counted.collect()
    return counted.end()


def _cost(counted: Counted, step: Step) -> Cost:
    found = _count(counted, step.act) - _count(counted, lambda: None)
    return Cost(step.path, found / step.tasks, found / step.calls)


def measure(*, log: bool = False, binary: Path | None = None) -> list[Cost]:
    """Measure every path; with ``log`` what the append-only log costs as well."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        counted = Counted(Path(folder), log=log, binary=binary)
        with contextlib.closing(counted):
            return [_cost(counted, step) for step in Paths(Stand(counted.redis))]
