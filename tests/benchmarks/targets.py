"""What the figures of a whole run have to reach: two cores, two engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tests.benchmarks.figures import Place, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.figures import Collection


class Target(NamedTuple):
    """One of them: a figure of redtask's, or its ratio to another's."""

    #: In words.
    about: str
    row: str
    figure: str
    bound: float
    #: Is more better?
    at_least: bool = True
    #: Whose figure it is divided by; None: it stands for itself.
    over: str | None = None

    def found(self, collection: Collection) -> Spread | None:
        """Return what was measured; None when it was not."""
        place = Place(self.row, "redtask", self.figure)
        if self.over is not None:
            return collection.ratio(place, self.over)
        samples = collection.samples.get(place)
        return Spread.of(samples) if samples else None

    def met(self, found: Spread) -> bool:
        """Does the median reach it?"""
        if self.at_least:
            return found.median >= self.bound
        return found.median <= self.bound


TARGETS: Final = (
    Target("bulk map: tasks/s", "bulk", "rate", 30_000),
    Target("bulk map / Huey", "bulk", "rate", 6, over="huey"),
    Target("bulk map / ipyparallel", "bulk", "rate", 40, over="ipyparallel"),
    Target("bulk map / batched floor", "bulk", "rate", 0.35, over="floor-batched"),
    Target("apply_async / Huey", "single", "rate", 2, over="huey"),
    Target("apply_async / ipyparallel", "single", "rate", 10, over="ipyparallel"),
    Target("apply_async / one-trip floor", "single", "rate", 0.6, over="floor-single"),
    Target("apply_async from 8 threads / 1", "threads", "8 / 1", 1.5),
    Target("100 kB in and out / floor", "payload", "rate", 0.6, over="floor-single"),
    *(
        Target(
            f"{figure} round trip / {name}'s",
            "trip",
            figure,
            bound,
            at_least=False,
            over=over,
        )
        for figure, bound, name, over in (
            ("p50", 2.5, "floor", "floor-single"),
            ("p99", 4, "floor", "floor-single"),
            ("p50", 1, "Huey", "huey"),
        )
    ),
    Target("chain / ipyparallel", "chain", "rate", 20, over="ipyparallel"),
    Target("turns and submits per link", "chain", "scripts", 1.1, at_least=False),
    Target("1 - 5,000 - 1 / ipyparallel", "fan", "rate", 30, over="ipyparallel"),
    Target("graph of 10,000 / ipyparallel", "dag", "rate", 20, over="ipyparallel"),
    Target("turn beside pinned / alone", "crowd", "beside pinned", 2, at_least=False),
    Target("turn beside refused / alone", "crowd", "beside refused", 2, at_least=False),
    Target("turn beside waiting / alone", "crowd", "beside waiting", 2, at_least=False),
    Target(
        "refusal, 200 engines / 2", "crowd", "refusal, 200 engines", 2, at_least=False
    ),
    Target(
        "bytes of a refused task, 200 engines / 20",
        "crowd",
        "bytes refused, 200 engines",
        1.1,
        at_least=False,
    ),
    Target(
        "% of releases over 10 ms", "crowd", "release % too long", 0, at_least=False
    ),
    Target("% of firings over 10 ms", "crowd", "timers % too long", 0, at_least=False),
    *(
        Target(
            f"us of Redis, {name} in a turn, {engines} engines / 2",
            "crew",
            f"{name}, {engines} engines",
            bound,
            at_least=False,
        )
        for name in ("many", "one")
        for engines, bound in ((200, 1.3), (5000, 2))
    ),
    Target(
        "% of scripts over 10 ms, a million after one",
        "dependents",
        "work % too long",
        0,
        at_least=False,
    ),
    Target("slowest path, old hub / new", "age", "worst", 2, at_least=False),
    Target("Redis us per task in bulk", "bulk", "redis", 15, at_least=False),
    Target("bytes per queued task", "queue", "bytes", 400, at_least=False),
    Target("idle worker of 4: % of a core", "idle", "cpu %", 0.3, at_least=False),
    Target("idle: commands/s to Redis", "idle", "commands/s", 3, at_least=False),
    Target("MB per idle engine", "idle", "MB per engine", 30, at_least=False),
)


def judged(collection: Collection) -> Iterator[tuple[Target, Spread]]:
    """Yield the targets for which something was measured."""
    for target in TARGETS:
        if (found := target.found(collection)) is not None:
            yield target, found
