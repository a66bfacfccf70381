"""What scripts cost in instructions: a figure that no other process can disturb.

Redis runs under ``callgrind``, and stand-ins speak the real scripts to it. So the same
scripts on the same server give the same figures, whatever else the machine does, and
a change of one part in a hundred is seen.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import subprocess
import tempfile
import time
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
SLICES: Final = 6
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
        now, after = self.nonce(number), self.nonce(number + 1)
        call = calls.turn(engine, number, now, want, reports, upcoming=after)
        taken: list[Work] = self.do(call).work
        return taken

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


class _Paths:
    """What is done on each path; there are two engines, and one has other work."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        first: list[str | bytes] = [stand.ids(1)[0], ARGS]
        stand.submit(Group(DIGEST, b"blob", "work.nothing", {}, first))
        engines = ["engine-number-one", "engine-number-two"]
        for engine in engines:
            stand.do(calls.register(engine, "worker", ("default",), {"host": "here"}))
        free = [engine for engine in engines if not stand.turn(engine, 1, [])]
        #: The engine that is free, and what it has.
        self.engine = free[0]
        self.has: list[Work] = []

    def __iter__(self) -> Iterator[Cost]:
        self.trips()
        yield self._cost("round trip", TIMES, TIMES, self.trips)
        self.busy()
        yield self._cost("submit of one", TIMES, TIMES, self.singles)
        yield self._cost("submit of a slice", SLICE * SLICES, SLICES, self.slices)
        self.turns(TURN, 2)
        yield self._cost("turn in bulk", TURN * 4, 4, lambda: self.turns(TURN, 4))
        self.turns(1, 1)
        yield self._cost("turn with one", TIMES, TIMES, lambda: self.turns(1, TIMES))
        self.drain()
        yield self._cost("submit of a chain", LINKS, 1, self.chain)
        self.has = [self._stand.heard(self.engine)]
        yield self._cost("turn in a chain", LINKS, LINKS, lambda: self.turns(1, LINKS))

    def _cost(self, path: str, tasks: int, times: int, act: Callable[[], None]) -> Cost:
        """Perform something and return what it cost."""
        stand = self._stand
        before = stand.commands()
        stand.counted.begin()
        act()
        instructions = stand.counted.end()
        commands = stand.commands() - before
        return Cost(path, instructions / tasks, instructions / times, commands / tasks)

    def trips(self) -> None:
        """Let tasks come one by one to an engine that is idle."""
        stand = self._stand
        for _ in range(TIMES):
            stand.submit(stand.group(stand.ids(1)))
            stand.turn(self.engine, 1, [stand.heard(self.engine)])

    def busy(self) -> None:
        """Give the engine something."""
        stand = self._stand
        stand.submit(stand.group(stand.ids(1)))
        self.has = [stand.heard(self.engine)]

    def singles(self) -> None:
        """Submit tasks one by one while nobody is idle."""
        for _ in range(TIMES):
            self._stand.submit(self._stand.group(self._stand.ids(1)))

    def slices(self) -> None:
        """Submit many."""
        for _ in range(SLICES):
            self._stand.submit(self._stand.group(self._stand.ids(SLICE)))

    def turns(self, want: int, times: int) -> None:
        """Report what there is and take more."""
        for _ in range(times):
            self.has = self._stand.turn(self.engine, want, self.has)

    def drain(self) -> None:
        """Leave nothing."""
        while self.has:
            self.turns(SLICE, 1)

    def chain(self) -> None:
        """Submit a chain in one call."""
        stand = self._stand
        ids = stand.ids(LINKS + 1)
        after = itertools.pairwise(ids)
        groups = [stand.group([one], after=f"as {before}") for before, one in after]
        stand.submit(stand.group(ids[:1]), *groups)


def measure(*, log: bool = False, binary: Path | None = None) -> list[Cost]:
    """Measure every path; with ``log`` what the append-only log costs as well."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        counted = Counted(Path(folder), log=log, binary=binary)
        with contextlib.closing(counted):
            return list(_Paths(Stand(counted)))
