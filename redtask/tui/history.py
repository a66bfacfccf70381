"""What happened while the screens were looked at, for lines of it. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from redtask.tui.text import percentile

if TYPE_CHECKING:
    from redtask.hub.views import Overview

#: Points that are kept.
_MOST: Final = 240
_ENDED: Final = ("completed", "failed", "aborted")


@dataclass(frozen=True, slots=True)
class Point:
    """How it went in one interval."""

    #: Tasks that ended, and those that failed, a second.
    ended: float
    failed: float
    #: How long tasks ran, and how long they waited, in seconds: half of them, and 19
    #: of 20, not longer. None: none ended.
    ran: tuple[float, float] | None = None
    waited: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Points, the latest last, and what the next is measured from."""

    #: Seconds from one point to the next.
    interval: float
    #: The points.
    points: tuple[Point, ...] = ()
    #: When the last point was, ms by the server's clock; None: there is none yet.
    stamp: int | None = None
    #: The hub's counters then.
    counters: tuple[int, ...] = ()

    @property
    def latest(self) -> Point:
        """How it goes now."""
        return self.points[-1] if self.points else Point(0.0, 0.0)

    def add(self, seen: Overview) -> History:
        """Return the history with what was seen now.

        The first that is seen brings buckets with it: what was before.
        """
        counters = tuple(seen.counter(name) for name in _ENDED)
        if self.stamp is None:
            return replace(
                self,
                points=self._before(seen),
                stamp=seen.stamp,
                counters=counters,
            )
        passed = (seen.stamp - self.stamp) / 1000
        if 0 <= passed < 0.8 * self.interval:
            return self
        if passed < 0:
            # The clock was put back, or it is another server.
            return replace(self, stamp=seen.stamp, counters=counters)
        more = [
            max(0, new - old) / passed
            for new, old in zip(counters, self.counters, strict=True)
        ]
        point = Point(sum(more), more[1], *_times(seen))
        # Nothing was seen for a while: that is a gap, and it was not nothing.
        missed = min(_MOST, round(passed / self.interval) - 1)
        points = (
            *self.points,
            *[replace(point, ran=None, waited=None)] * missed,
            point,
        )
        return replace(
            self, points=points[-_MOST:], stamp=seen.stamp, counters=counters
        )

    def _before(self, seen: Overview) -> tuple[Point, ...]:
        points = [
            Point(one.total / self.interval, one.failed / self.interval)
            for one in reversed(seen.buckets)
        ]
        if points:
            points[-1] = Point(points[-1].ended, points[-1].failed, *_times(seen))
        return tuple(points)


def _times(
    seen: Overview,
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    ran, waited = [one.ran for one in seen.times], [one.waited for one in seen.times]
    return _both(ran), _both(waited)


def _both(values: list[float]) -> tuple[float, float] | None:
    half, most = percentile(values, 0.5), percentile(values, 0.95)
    return None if half is None or most is None else (half, most)
