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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis

from redtask.hub import calls, scripts
from redtask.hub.calls import Group, Report
from redtask.hub.keys import Keys
from redtask.hub.records import read_bell
from redtask.server import find_binary
from tests.benchmarks.stage import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redtask.hub.calls import Call
    from redtask.hub.records import Work

#: As long as those of an empty task are.
ARGS: Final = b"a" * 56
RESULT: Final = b"r" * 46
DIGEST: Final = "d" * 22
#: Tasks of a turn and of a slice in bulk.
TURN: Final = 400
SLICE: Final = 500
#: How often what is small is done.
TIMES: Final = 100
#: Tasks of a chain that are submitted in one call.
LINKS: Final = 100

_TOTAL: Final = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Cost(NamedTuple):
    """What one script of a path costs."""

    #: What is done.
    path: str
    #: Instructions for each task.
    instructions: float
    #: Instructions for each call.
    per_call: float
    #: Commands that scripts call, for each task.
    commands: float


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

    def end(self) -> int:
        """Return how many instructions there were since."""
        self._control("--dump")
        self._dumps += 1
        path = self.folder / f"out.{self._dumps}"
        found = _TOTAL.findall(path.read_text(encoding="utf-8"))
        return int(found[-1])


class Stand:
    """A hub on such a server, and engines that do nothing."""

    def __init__(self, counted: Counted) -> None:
        self.counted = counted
        self.redis: Any = counted.redis
        self.keys = Keys("counted")
        self._tasks = 0
        self._numbers: dict[str, int] = {}
        self._shas: set[str] = set()
        self.do(calls.configure({}, create=True))

    def send(self, call: Call[Any]) -> Any:
        """Perform a call and return its bare reply."""
        script = scripts.bundle(call.script)
        if script.sha not in self._shas:
            self._shas.add(self.redis.script_load(script.text))
        return self.redis.evalsha(script.sha, 1, self.keys.root, *call.args)

    def do(self, call: Call[Any]) -> Any:
        """Perform a call."""
        return call.read(self.send(call))

    def ids(self, count: int) -> list[str]:
        """Return names for tasks."""
        self._tasks += count
        first = self._tasks - count
        return [f"c0ffee00c0ffee00-{first + at}" for at in range(count)]

    def group(self, ids: list[str], **flags: Any) -> Group:
        """Return tasks of one kind."""
        tasks: list[str | bytes] = []
        for name in ids:
            tasks += (name, ARGS)
        return Group(DIGEST, b"", "work.nothing", flags, tasks)

    def submit(self, *groups: Group) -> None:
        """Submit them."""
        self.do(calls.submit(groups))

    def turn(self, engine: str, want: int, works: list[Work]) -> list[Work]:
        """Report that these are done, and take some."""
        number = self._numbers[engine] = self._numbers.get(engine, 0) + 1
        reports = [
            Report(
                "ok",
                work.task_id,
                work.token,
                3210,
                12,
                ("result", RESULT, "repr", "None"),
            )
            for work in works
        ]
        return self.do(
            calls.turn(
                engine,
                number,
                self.nonce(number),
                want,
                reports,
                upcoming=self.nonce(number + 1),
            )
        ).work

    @staticmethod
    def nonce(number: int) -> str:
        """Return the nonce of a turn."""
        return f"nonce{number:07}"

    def heard(self, engine: str) -> Work:
        """Return what came in the bell."""
        ring = self.redis.lpop(self.keys.bell(engine))
        found = read_bell(ring)
        assert found is not None
        self._numbers[engine] += 1
        return found[1]

    def commands(self) -> int:
        """Return how many commands scripts have called."""
        stats = self.redis.info("commandstats")
        own = {"cmdstat_evalsha", "cmdstat_info", "cmdstat_lpop", "cmdstat_ping"}
        own |= {"cmdstat_script|load", "cmdstat_config|resetstat", "cmdstat_hello"}
        return sum(
            about["calls"]
            for name, about in stats.items()
            if name not in own and not name.startswith("cmdstat_client")
        )


def _measured(
    stand: Stand, path: str, tasks: int, times: int, act: Callable[[], None]
) -> Cost:
    """Perform something and return what it cost."""
    before = stand.commands()
    stand.counted.begin()
    act()
    instructions = stand.counted.end()
    commands = stand.commands() - before
    return Cost(path, instructions / tasks, instructions / times, commands / tasks)


def _costs(stand: Stand) -> Iterator[Cost]:
    engines = ["engine-number-one", "engine-number-two"]
    stand.submit(
        Group(DIGEST, b"blob", "work.nothing", {}, [stand.ids(1)[0], ARGS])
    )
    for engine in engines:
        stand.do(calls.register(engine, "worker", ("default",), {"host": "here"}))
    works = {engine: stand.turn(engine, 1, []) for engine in engines}
    busy = next(engine for engine in engines if works[engine])
    idle = next(engine for engine in engines if engine != busy)

    # The idle engine is handed tasks, and has nothing else to do.
    def trips(what: str) -> Callable[[], None]:
        def act() -> None:
            for _ in range(TIMES):
                if what != "turn":
                    stand.submit(stand.group(stand.ids(1)))
                if what == "both":
                    stand.turn(idle, 1, [stand.heard(idle)])

        return act

    trips("both")()
    yield _measured(stand, "round trip", TIMES, TIMES, trips("both"))
    stand.submit(stand.group(stand.ids(1)))
    held = [stand.heard(idle)]
    yield _measured(stand, "submit of one", TIMES, TIMES, trips("submit"))
    yield _measured(
        stand,
        "submit of a slice",
        SLICE * 6,
        6,
        lambda: [stand.submit(stand.group(stand.ids(SLICE))) for _ in range(6)] and None,
    )
    held = stand.turn(idle, TURN, held)

    def one_by_one() -> None:
        nonlocal held
        for _ in range(TIMES):
            held = stand.turn(idle, 1, held)

    def in_bulk() -> None:
        nonlocal held
        for _ in range(4):
            held = stand.turn(idle, TURN, held)

    held = stand.turn(idle, TURN, held)
    yield _measured(stand, "turn in bulk", TURN * 4, 4, in_bulk)
    held = stand.turn(idle, 1, held)
    yield _measured(stand, "turn with one", TIMES, TIMES, one_by_one)
    while held:
        held = stand.turn(idle, 500, held)

    # A chain: each waits for the one before.
    ids = stand.ids(LINKS + 1)
    groups = [stand.group(ids[:1])]
    groups += [
        stand.group([name], after=f"as {before}")
        for before, name in zip(ids, ids[1:], strict=False)
    ]
    yield _measured(
        stand, "submit of a chain", LINKS, 1, lambda: stand.submit(*groups)
    )
    held = [stand.heard(idle)]
    yield _measured(stand, "turn in a chain", LINKS, LINKS, one_by_one)
    assert held
    stand.turn(idle, 0, held)


def measure(*, log: bool = False, binary: Path | None = None) -> list[Cost]:
    """Measure every path; with ``log`` what the append-only log costs as well."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        counted = Counted(Path(folder), log=log, binary=binary)
        with contextlib.closing(counted):
            return list(_costs(Stand(counted)))


if __name__ == "__main__":
    import sys

    for cost in measure(log="--log" in sys.argv):
        print(f"{cost.path:20} {cost.instructions:10,.0f} per task "
              f"{cost.per_call:12,.0f} per call {cost.commands:7.2f} commands")
