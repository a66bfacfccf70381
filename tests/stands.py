"""Hubs with stand-ins: engines that are none, and tasks, by the real scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redtask.hub import calls
from redtask.hub.calls import Group, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redtask.hub.records import Work
    from redtask.store import Store

_SLICE = 500
#: Functions, and how many of a hundred calls of each fail, and with what.
_FUNCTIONS = (
    ("etl.load:read_csv", 0, ""),
    ("etl.clean:drop_duplicates", 3, "ValueError"),
    ("models:train", 10, "MemoryError"),
    ("reports:render", 1, "TemplateError"),
)


class Stands:
    """Fills one hub."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = 0
        self._submitted = 0
        self.engines: list[str] = []

    def join(self, count: int, queues: Sequence[str] = ("default",)) -> None:
        """Let engines register, eight to a worker, and ask for work."""
        for number in range(len(self.engines), len(self.engines) + count):
            uuid, worker = f"{number:08x}", f"node{number // 8:02}"
            pid = str(4000 + number // 8)
            about = {"host": worker, "pid": pid, "boot": worker, "begun": "1"}
            self._store.do(calls.register(uuid, worker, queues, about))
            self.engines.append(uuid)
            self._take(uuid, 0)

    def submit(self, count: int, **flags: Any) -> None:
        """Submit tasks of several functions."""
        for at in range(0, count, _SLICE):
            ids = range(self._submitted, self._submitted + min(_SLICE, count - at))
            self._submitted = ids.stop
            groups = []
            for kind, (name, *_) in enumerate(_FUNCTIONS):
                own = [n for n in ids if n % len(_FUNCTIONS) == kind]
                tasks = [part for n in own for part in (f"k3f9ab-{n}", b"x" * 40)]
                if tasks:
                    groups.append(Group(f"digest{kind}", b"blob", name, flags, tasks))
            self._store.do(calls.submit(groups))

    def run(self, count: int) -> None:
        """Let about so many tasks run to their ends."""
        done = 0
        while done < count:
            before = done
            for engine in self.engines:
                works = self._take(engine, min(_SLICE, count - done))
                self._store.do(calls.turn(engine, None, "", 0, self._reports(works)))
                done += len(works)
                if done >= count:
                    return
            if done == before:
                return

    def begin(self, each: int = 1) -> None:
        """Let every engine take tasks, which it goes on to run."""
        for engine in self.engines:
            self._take(engine, each)

    def _take(self, engine: str, want: int) -> list[Work]:
        self._turns += 1
        turn = calls.turn(engine, self._turns, f"n{self._turns}", want)
        return self._store.do(turn).work

    def _reports(self, works: Sequence[Work]) -> Iterator[Report]:
        for work in works:
            number = int(work.task_id.partition("-")[2])
            _, share, ename = _FUNCTIONS[number % len(_FUNCTIONS)]
            took = 2000 + number * 7919 % 40000
            if number // 4 * 31 % 100 < share:
                fields: tuple[str | bytes, ...] = (
                    "error", b"e" * 40, "ename", ename, "evalue", "it is wrong",
                )  # fmt: skip
                yield Report("error", work.task_id, work.token, took, took, fields)
            else:
                fields = ("result", b"r" * 40, "repr", str(number))
                yield Report(
                    "ok", work.task_id, work.token, took, took, fields, work.folded
                )
