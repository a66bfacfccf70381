"""How long recovery takes, measured one fault at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import redtask
from redtask.connect import connect
from redtask.hub import calls
from redtask.profile import Profile
from tests.processes import until
from tests.soak.ledger import Ledger
from tests.soak.work import Job, run
from tests.soak.world import ROOT, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.soak.ledger import Run
    from tests.soak.world import World

_KILLS: Final = 15
_LOSSES: Final = 2
_CLIENTS: Final = 50
_OUTAGE: Final = 5.0
_LEASE: Final = 15000


def measure(world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures, in seconds."""
    store, _ = connect(Profile.load(url=world.server.url))
    store.do(calls.configure({"lease": _LEASE}))
    store.close()
    (world.folder / "ledger").mkdir()
    figures = {}
    for name, act in (
        ("engine killed", _engines),
        ("machine lost", _machines),
        ("redis back", _redis),
    ):
        figures[name] = act(world)
        say(f"{name}: {figures[name]}")
    return figures


def _machine(world: World, name: str, engines: int) -> Machine:
    machine = Machine(name, world.server.url, engines, world.folder, world.env)
    # Whatever comes, the world stops it in the end.
    world.machines[name] = machine
    machine.start()
    until(
        lambda: len(machine.pids()) == engines and "ready" in machine.log.read_text(),
        "engines",
        60,
    )
    return machine


def _runs(world: World, key: str) -> Sequence[Run]:
    ledger = Ledger(world.folder / "ledger")
    ledger.read()
    return ledger.runs.get(key, [])


def _inside(world: World, key: str) -> int:
    """Wait until a task runs; return the pid of its engine."""

    def found() -> int:
        for path in (world.folder / "ledger").iterdir():
            if f"b {key} " in path.read_text():
                return int(path.name.partition("-")[2])
        return 0

    pid: int = until(found, key, 60)
    return pid


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(times), 3),
        "worst": round(max(times), 3),
        "count": len(times),
    }


def _engines(world: World) -> dict[str, Any]:
    """An engine dies in the midst of a task: it runs again, or fails."""
    machine = _machine(world, "figures", 3)
    again, failed = [], []
    with redtask.Client(world.server.url) as client:
        for at in range(_KILLS):
            view = client.load_balanced_view(retries=1)
            result = view.apply_async(run, Job(f"again{at}", 0.5))
            pid = _inside(world, f"again{at}")
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            result.get(60)
            again.append(_runs(world, f"again{at}")[1].began - killed)
            view = client.load_balanced_view(retries=0)
            result = view.apply_async(run, Job(f"failed{at}", 30))
            pid = _inside(world, f"failed{at}")
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(redtask.EngineError):
                result.get(60)
            failed.append(time.monotonic() - killed)
            until(lambda: len(machine.pids()) == machine.engines, "engines", 60)
    machine.stop()
    return {"begins again": _summary(again), "fails": _summary(failed)}


def _machines(world: World) -> dict[str, Any]:
    """A machine stops, and another one takes over what it had."""
    times = []
    with redtask.Client(world.server.url) as client:
        for at in range(_LOSSES):
            lost = _machine(world, f"lost{at}", 1)
            view = client.load_balanced_view(retries=1)
            result = view.apply_async(run, Job(f"moved{at}", 8.0))
            _inside(world, f"moved{at}")
            other = _machine(world, f"other{at}", 1)
            begun = time.monotonic()
            pids = lost.signal(signal.SIGSTOP, engines=True)
            result.get(120)
            times.append(_runs(world, f"moved{at}")[-1].began - begun)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            lost.kill()
            other.stop()
    return {"lease": _LEASE / 1000, "begins elsewhere": _summary(times)}


def _redis(world: World) -> dict[str, Any]:
    """Redis is away for a while, with many clients in the midst of their work."""
    machine = _machine(world, "outage", 8)
    over = threading.Event()
    ended: list[float] = []
    problems: list[Exception] = []

    def work() -> None:
        with redtask.Client(world.server.url, timeout=60) as client:
            view = client.load_balanced_view(retries=3)
            while not over.is_set():
                try:
                    view.apply_async(run, Job("storm")).get(60)
                except Exception as problem:  # noqa: BLE001 - to be told in the end
                    problems.append(problem)
                ended.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    until(lambda: len(ended) > 5 * _CLIENTS, "work", 60)
    begun = time.monotonic()
    before = len(ended)
    time.sleep(2)
    rate = (len(ended) - before) / 2
    world.server.kill()
    time.sleep(_OUTAGE)
    world.server.start()
    back = time.monotonic()
    connections = []
    for _ in range(20):
        time.sleep(0.25)
        with world.redis() as redis:
            connections.append(redis.info("stats")["total_connections_received"])
    over.set()
    for thread in threads:
        thread.join()
    with world.redis() as redis:
        known = redis.zcard(f"{ROOT}:engines")
    machine.stop()
    after = [at - back for at in ended if at > back]
    steps = [b - a for a, b in zip([0, *connections], connections, strict=False)]
    return {
        "clients": _CLIENTS,
        "engines": known,
        "outage": round(back - begun - 2, 1),
        "first result": round(min(after), 3),
        "tasks per second before": round(rate),
        "tasks in each second after": [
            sum(n <= at < n + 1 for at in after) for n in range(5)
        ],
        "connections in each quarter second": steps,
        "errors": sorted({f"{type(one).__name__}: {one}" for one in problems}),
    }
