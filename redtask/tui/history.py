"""The history shown as sparklines, since the screens were opened. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from redtask.tui.text import percentile

if TYPE_CHECKING:
    from redtask.hub.views import Overview

#: The most points kept.
_MOST: Final = 240
_ENDED: Final = ("completed", "failed", "aborted")


@dataclass(frozen=True, slots=True)
class Point:
    """Rates and times of one interval."""

    #: Tasks that ended, and those that failed, per second.
    ended: float
    failed: float
    #: Run times and waiting times in seconds: median and 95th percentile. None: no task
    #: ended.
    ran: tuple[float, float] | None = None
    waited: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Points, the latest last, and the base of the next one."""

    #: Seconds between points.
    interval: float
    points: tuple[Point, ...] = ()
    #: Time of the last point, in ms by the server's clock; None: there is none yet.
    stamp: int | None = None
    #: The hub's counters at that time.
    counters: tuple[int, ...] = ()

    @property
    def latest(self) -> Point:
        """The latest point."""
        return self.points[-1] if self.points else Point(0.0, 0.0)

    def add(self, seen: Overview) -> History:
        """Return the history extended by a new overview.

        The first overview includes the buckets of earlier intervals.
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
            # The server's clock was set back, or it is another server.
            return replace(self, stamp=seen.stamp, counters=counters)
        more = [
            max(0, new - old) / passed
            for new, old in zip(counters, self.counters, strict=True)
        ]
        point = Point(sum(more), more[1], *_times(seen))
        # Nothing was read for a while: that is a gap, not a rate of zero.
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
