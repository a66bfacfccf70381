"""Graphs of many nodes: for each node the places of those it comes after."""

from __future__ import annotations

import random
from typing import TypeAlias

#: Nodes are numbered; each comes after the numbers listed at its place, all smaller.
Shape: TypeAlias = list[list[int]]


def chain(count: int) -> Shape:
    """Return nodes each of which comes after the one before."""
    return [[number - 1] if number else [] for number in range(count)]


def fan(width: int) -> Shape:
    """Return one node, so many after it, and one after all of those."""
    return [[], *([0] for _ in range(width)), list(range(1, width + 1))]


def layered(count: int, width: int, parents: int = 3, seed: int = 1) -> Shape:
    """Return layers of nodes that come after some of the layer before, at random."""
    dice = random.Random(seed)  # noqa: S311 - a graph, no secret
    found: Shape = []
    for number in range(count):
        first = (number // width - 1) * width
        before = range(max(first, 0), first + width)
        found.append(sorted(dice.sample(before, min(parents, len(before)))))
    return found
