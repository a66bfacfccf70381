"""A client process of a soak: submits whatever can be submitted, and waits for it.

Reads on standard input ``round NUMBER SECONDS TASKS``, lets its actors work for so
long, waits for all it has submitted, writes what it knows into a file, and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redtask
import redtask.aio
from redtask import Ref
from redtask.error import ConnectionLost, HubFull, RedtaskError
from tests.soak.work import Job, run, value

if TYPE_CHECKING:
    from collections.abc import Coroutine

#: A result is waited for at most so long, in seconds: whoever is not answered until
#: then never is.
PATIENCE: Final = 180.0
#: Kinds of tasks, and how often they come in comparison.
_KINDS: Final = {
    "one": 20,
    "many": 12,
    "graph": 4,
    "flaky": 6,
    "kills": 1,
    "later": 4,
    "big": 2,
    "again": 4,
    "no": 4,
    "after": 4,
    "follow": 4,
    "forget": 2,
}
#: Those that may end an engine.
_WILD: Final = {"kills", "no"}
#: How a task may end its engine.
KILLS: Final = ("exit", "segfault", "SIGKILL", "SIGABRT")


@dataclass(slots=True)
class Told:
    """One task, as its client knows it."""

    #: Its name in the ledger; those of resubmitted ones are the same.
    key: str
    #: Its id; "" when its submit was refused.
    task_id: str
    #: What it is.
    kind: str
    #: It may run so often.
    most: int
    #: The names of those that are to have ended before it begins.
    after: list[str] = field(default_factory=list)
    #: What the client was told: completed, failed, aborted, refused (by a full
    #: Redis), unsure (Redis was away), unanswered, wrong (another value).
    state: str = "unanswered"
    #: The name of the error.
    ename: str = ""
    #: Was the hub told to forget it?
    purged: bool = False


async def settled(result: Any) -> Any:
    """Return what a call of either face came to."""
    return await result if inspect.isawaitable(result) else result


class Actor:
    """One thread, or one asyncio task, that uses a client."""

    def __init__(self, client: Any, options: argparse.Namespace, at: int) -> None:
        self._client = client
        self._kinds = {
            kind: often
            for kind, often in _KINDS.items()
            if not options.calm or kind not in _WILD
        }
        self._name = f"{options.name}{at}"
        self._dice = random.Random(f"{options.seed} {at}")  # noqa: S311 - a plan, no secret
        self._aio = options.aio
        self._count = 0
        #: Results that are still to be asked for, with what is known of their tasks.
        self._open: list[tuple[Any, list[Told], list[Job]]] = []
        self.told: list[Told] = []

    async def work(self, number: int, seconds: float, tasks: int) -> None:
        """Submit up to so many tasks, in so many seconds, and wait for them all."""
        self._prefix = f"{number}.{self._name}"
        self.told, end = [], time.monotonic() + seconds
        begun = time.monotonic()
        while (now := time.monotonic()) < end:
            due = tasks * (now - begun) / seconds
            if len(self.told) > due:
                await self._rest((len(self.told) - due) * seconds / tasks)
                continue
            await self._submit()
            while len(self._open) > 20:
                await self._answer(self._dice.randrange(len(self._open)))
        while self._open:
            await self._answer(-1)

    async def _rest(self, seconds: float) -> None:
        if self._aio:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - it has the thread to itself

    def _job(self, **about: Any) -> Job:
        self._count += 1
        return Job(f"{self._prefix}.{self._count}", **about)

    def _kind(self) -> str:
        return self._dice.choices(tuple(self._kinds), tuple(self._kinds.values()))[0]

    async def _submit(self) -> None:
        kind, dice = self._kind(), self._dice
        retries = dice.choice((0, 0, 1, 3))
        lasts = dice.choice((0.0, 0.0, 0.0, 0.001, 0.02))
        view = self._client.load_balanced_view(retries=retries)
        if kind == "many":
            jobs = [self._job(lasts=lasts) for _ in range(dice.randrange(5, 120))]
            await self._enter(kind, retries, jobs, view.map_async, run, jobs)
        elif kind == "graph":
            await self._graph(view, retries)
        elif kind == "again":
            await self._again(retries)
        elif kind == "forget":
            await self._forget()
        else:
            await self._one(view, kind, retries, lasts)

    async def _one(self, view: Any, kind: str, retries: int, lasts: float) -> None:
        dice = self._dice
        job = self._job(lasts=lasts)
        if kind == "flaky":
            job = job._replace(fails=dice.randrange(1, 4))
        elif kind == "kills":
            job = job._replace(kills=dice.choice((*KILLS, "memory")))
        elif kind == "big":
            job = job._replace(size=dice.choice((2_000, 100_000, 1_000_000)))
        elif kind == "later":
            view = view.with_flags(
                delay=dice.uniform(0, 0.5), priority=dice.choice((0, 5))
            )
        elif kind in ("after", "follow") and self._open:
            before, told, _ = dice.choice(self._open)
            if len(told) == 1:
                view = view.with_flags(**{kind: before})
        await self._enter(kind, retries, [job], view.apply_async, run, job)
        if kind == "no" and self._open:
            # Whichever it is by now: waiting, on an engine, or ended.
            result, _, _ = dice.choice(self._open)
            try:
                await settled(result.abort(running=dice.random() < 0.3))
            except (RedtaskError, RuntimeError) as problem:
                # It has ended, or Redis is away.
                self._complain(problem)

    async def _enter(
        self, kind: str, retries: int, jobs: list[Job], submit: Any, *args: Any
    ) -> None:
        told = [Told(job.key, "", kind, retries + 1) for job in jobs]
        self.told += told
        try:
            result = await settled(submit(*args))
        except HubFull:
            for one in told:
                one.state = "refused"
            return
        except ConnectionLost as problem:
            for one in told:
                one.state, one.ename = "unsure", str(problem)
            return
        for one, task_id in zip(told, result.msg_ids, strict=True):
            one.task_id = task_id
        self._open.append((result, told, jobs))

    async def _graph(self, view: Any, retries: int) -> None:
        dice = self._dice
        jobs = [self._job() for _ in range(dice.randrange(4, 40))]
        parents = {
            at: tuple(sorted(dice.sample(range(at), min(at, dice.randrange(4)))))
            for at in range(len(jobs))
        }
        calls = {
            at: (run, (job, *map(Ref, parents[at][: dice.randrange(2)])))
            for at, job in enumerate(jobs)
        }
        told = [
            Told(
                job.key, "", "graph", retries + 1, [jobs[up].key for up in parents[at]]
            )
            for at, job in enumerate(jobs)
        ]
        self.told += told
        try:
            results = await settled(view.submit_graph(parents, calls))
        except (HubFull, ConnectionLost) as problem:
            full = isinstance(problem, HubFull)
            for one in told:
                one.state, one.ename = "refused" if full else "unsure", str(problem)
            return
        for at, one in enumerate(told):
            (one.task_id,) = results[at].msg_ids
            self._open.append((results[at], [one], [jobs[at]]))

    async def _again(self, retries: int) -> None:
        ended = [
            one for one in self.told[-200:] if one.state in ("completed", "failed")
        ]
        ended = [one for one in ended if one.kind in ("one", "flaky")]
        if not ended:
            return
        old = self._dice.choice(ended)
        told = Told(old.key, "", "again", old.most)
        try:
            result = await settled(self._client.resubmit(old.task_id))
        except ConnectionLost as problem:
            told.state, told.ename = "unsure", str(problem)
            self.told.append(told)
            return
        except (HubFull, KeyError, ValueError) as problem:
            # Full, or Redis has forgotten its end, or all of it.
            self._complain(problem)
            return
        (told.task_id,) = result.msg_ids
        self.told.append(told)
        self._open.append((result, [told], [Job(old.key)]))

    async def _forget(self) -> None:
        """Have the hub forget what has been answered."""
        ended = [
            one for one in self.told[-100:] if one.state in ("completed", "failed")
        ]
        doomed = [
            one for one in ended if one.kind in ("many", "big") and not one.purged
        ]
        if not doomed:
            return
        for one in doomed:
            one.purged = True
        try:
            await settled(self._client.purge_results([one.task_id for one in doomed]))
        except (RedtaskError, ValueError, RuntimeError) as problem:
            self._complain(problem)

    async def _answer(self, at: int) -> None:
        result, told, jobs = self._open.pop(at)
        try:
            values = await settled(result.get(PATIENCE, return_exceptions=True))
        except Exception as problem:  # noqa: BLE001 - no answer, whatever it is
            for one in told:
                one.ename = f"{type(problem).__name__}: {problem}"
            self._complain(problem)
            return
        if not isinstance(values, list):
            values = [values]
        for one, job, found in zip(told, jobs, values, strict=True):
            _read(one, job, found)

    def _complain(self, problem: Exception) -> None:
        sys.stderr.write(f"{self._name}: {type(problem).__name__}: {problem}\n")


def _read(one: Told, job: Job, found: Any) -> None:
    if isinstance(found, redtask.TaskAborted):
        one.state = "aborted"
    elif isinstance(found, Exception):
        one.state = "failed"
        one.ename = str(getattr(found, "ename", "") or type(found).__name__)
        if one.ename == "ValueError" and str(getattr(found, "evalue", "")) != job.key:
            one.state, one.ename = "wrong", str(found)[:200]
    elif found == value(job):
        one.state = "completed"
    else:
        one.state, one.ename = "wrong", repr(found)[:200]


def _report(actors: list[Actor], path: Path) -> None:
    lines = [json.dumps(asdict(one)) for actor in actors for one in actor.told]
    path.with_suffix(".part").write_text("\n".join(lines), encoding="utf-8")
    path.with_suffix(".part").rename(path)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run what never has to wait for anything that is awaited."""
    with contextlib.suppress(StopIteration):
        work.send(None)


def _blocking(options: argparse.Namespace) -> None:
    with redtask.Client(options.url, timeout=60) as client:
        actors = [Actor(client, options, at) for at in range(options.actors)]
        _say("ready")
        for line in sys.stdin:
            _, number, seconds, tasks = line.split()
            share = max(1, int(tasks) // len(actors))

            works = [one.work(int(number), float(seconds), share) for one in actors]
            with ThreadPoolExecutor(len(works)) as threads:
                list(threads.map(_finish, works))
            _report(actors, options.folder / f"{options.name}.{number}")
            _say(f"done {number}")


async def _awaiting(options: argparse.Namespace) -> None:
    client = await redtask.aio.Client.connect(options.url, timeout=60)
    async with client:
        actors = [Actor(client, options, at) for at in range(options.actors)]
        _say("ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            _, number, seconds, tasks = line.split()
            share = max(1, int(tasks) // len(actors))
            await asyncio.gather(
                *(one.work(int(number), float(seconds), share) for one in actors)
            )
            _report(actors, options.folder / f"{options.name}.{number}")
            _say(f"done {number}")


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be a client process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--actors", type=int, default=3)
    parser.add_argument("--aio", action="store_true")
    parser.add_argument("--calm", action="store_true")
    options = parser.parse_args()
    if options.aio:
        asyncio.run(_awaiting(options))
    else:
        _blocking(options)


if __name__ == "__main__":
    main()
