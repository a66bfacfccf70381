"""What a task costs Redis where many engines work, and where two do.

Stand-ins speak the real scripts. Hubs with two and with many lie on the same server and
are measured in turn.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.crowd import Hub, Scripts, done, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.hub.records import Work

#: What an engine wants at once, and how many tasks are measured, at least.
WANTS: Final = {"many": (200, 2000), "one": (1, 400)}
#: Engines that take part, and those that a hub may have by the way.
SIZES: Final = (200, 5000)
TIMES: Final = 5


class Crew:
    """Engines that do a backlog, one after the other."""

    def __init__(
        self, redis: Any, engines: int, want: int, tasks: int, backlog: int
    ) -> None:
        self.hub = Hub(redis)
        names = [f"e{number}" for number in range(engines)]
        self.hub.join(*names)
        self.want, self.tasks = want, tasks
        self._names = cycle(names)
        self._taken: dict[str, Sequence[Work]] = {}
        # Idle engines are given one task each; then all are busy, and take more, in the
        # end about as many as they report.
        for count in (engines, backlog, backlog):
            self.hub.submit(count)
            for _ in names:
                self._step()
        self.hub.submit(backlog)

    def _step(self) -> int:
        """Let the next engine report and take; return how many it reported."""
        name = next(self._names)
        reports = [done(work) for work in self._taken.get(name, ())]
        self._taken[name] = self.hub.turn(name, *reports, want=self.want)
        return len(reports)

    def __call__(self) -> float:
        """Return what a task costs, in us of Redis, with the backlog as it was."""
        self.hub.submit(self.tasks)
        before, tasks = Scripts.read(self.hub.redis), 0
        while tasks < self.tasks:
            tasks += self._step()
        return (Scripts.read(self.hub.redis).total - before.total) / tasks


def crew(redis: Any, backlog: int) -> dict[str, float]:
    """Return what tasks cost with many engines, in what they cost with two."""
    figures = {}
    for name, (want, tasks) in WANTS.items():
        two = Crew(redis, 2, want, tasks, backlog)
        figures[f"{name} us, 2 engines"] = two()
        for size in SIZES:
            many = Crew(redis, size, want, tasks, backlog)
            figures[f"{name}, {size} engines"] = ratio(many, two, TIMES)
    return figures
