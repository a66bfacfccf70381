"""Samples of figures, and what is made of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Spread(NamedTuple):
    """The median of samples, and between what they lie."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        """Sum samples up."""
        return cls(statistics.median(samples), min(samples), max(samples))


class Place(NamedTuple):
    """Where a figure belongs."""

    row: str
    contestant: str
    figure: str


@dataclass(slots=True)
class Collection:
    """All samples of a run, by place, in order of repetition."""

    samples: dict[Place, list[float]] = field(default_factory=dict)
    #: Who was left out, or could not go on, and why.
    without: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, contestant: str, figures: Mapping[str, float]) -> None:
        """Take the figures of one repetition."""
        for figure, value in figures.items():
            place = Place(row, contestant, figure)
            self.samples.setdefault(place, []).append(value)

    def spreads(self) -> Iterator[tuple[Place, Spread]]:
        """Yield every figure, summed up."""
        for place, samples in self.samples.items():
            yield place, Spread.of(samples)

    def ratio(self, place: Place, other: str) -> Spread | None:
        """Compare a figure with another contestant's, repetition by repetition.

        Both were taken one after the other, so what slowed one slowed the other.
        """
        ours = self.samples.get(place)
        theirs = self.samples.get(place._replace(contestant=other))
        if not ours or not theirs:
            return None
        return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
