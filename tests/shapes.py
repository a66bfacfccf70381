"""Graphs of many nodes: for each node the places of those it comes after.

What a node does when it runs is told in a ledger, a file outside of redtask.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from redtask import Ref

if TYPE_CHECKING:
    from pathlib import Path

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


def combine(number: int, values: list[int]) -> int:
    """Return the value of a node: each parent counts, and in its place."""
    found = number + 1
    for value in values:
        found = (found * 1_000_003 + value) % (1 << 61)
    return found


def serial(shape: Shape) -> list[int]:
    """Return the value of each node, one after the other."""
    values: list[int] = []
    for number, before in enumerate(shape):
        values.append(combine(number, [values[one] for one in before]))
    return values


def _note(ledger: str, line: str) -> None:
    # One write of a short line is whole, and in its place among those of others.
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def run(ledger: str, number: int, *values: int) -> int:
    """Be a node: note begin and end, and combine the values of its parents."""
    _note(ledger, f"begin {number}")
    time.sleep(0.0005 * (number % 5))
    _note(ledger, f"end {number}")
    return combine(number, list(values))


def jobs(shape: Shape, ledger: Path) -> dict[int, tuple[Any, ...]]:
    """Return what ``submit_graph`` is to call for each node."""
    return {
        number: (run, (str(ledger), number, *map(Ref, before)))
        for number, before in enumerate(shape)
    }


def too_early(shape: Shape, ledger: Path) -> list[str]:
    """Return what began before one of its parents had ended, by the ledger."""
    ended: set[int] = set()
    wrong = []
    for line in ledger.read_text().splitlines():
        what, number = line.split()
        if what == "end":
            ended.add(int(number))
        elif not ended.issuperset(shape[int(number)]):
            wrong.append(line)
    return wrong


def runs(ledger: Path) -> Counter[int]:
    """Return how often each node ran to its end."""
    lines = ledger.read_text().splitlines()
    return Counter(int(line[4:]) for line in lines if line.startswith("end "))
