"""Check the consistency of a hub's data, in small pieces while it is in use.

One atomic script judges a thing. Some states are wrong only if they persist, such as an
engine whose bell has rung, so a flaw only counts if it is still there a moment later.
Counters of the whole hub cannot be judged atomically: they are wrong if two walks count
the same number, and the hub has the same different one both times.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from redtask.doctor.finding import NOTE, WRONG, Finding
from redtask.doctor.pace import Pace
from redtask.doctor.walk import WELL, Thing, Walk
from redtask.hub import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from redtask.hub.records import Flaw
    from redtask.store import Store

#: Things in one call, which takes some ms.
_PIECE: Final = 60
#: Whatever is in transit has arrived after this, in s.
_MOMENT: Final = 1.0
#: Most flaws that are kept.
_MOST: Final = 10000


@dataclass
class Examination:
    """An examination of a hub's data."""

    store: Store
    #: Repair what can be repaired?
    mend: bool = False
    #: Most things to examine; None: all.
    most: int | None = None
    #: Called with the numbers of things examined and of flaws found.
    progress: Callable[[int, int], None] = field(default=lambda _, __: None)
    #: Numbers of things examined, and of flaws.
    looked: int = 0
    flaws: int = 0
    #: Duration of the longest call, in s.
    longest: float = 0.0
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        """Begin to look how busy Redis is."""
        self.pace = Pace(self.store)

    def run(self) -> list[Finding]:
        """Examine everything, repair what is to be; return findings."""
        # Load the script before calls are timed.
        self.store.do(calls.examine(()))
        walk, tallies = Walk(self.store), Counter[str]()
        suspects = self._look(islice(walk.things(), self.most), tallies)
        found = self._again(suspects)
        if self.most is None:
            found += self._again(self._sums(tallies))
        self.flaws = len(found)
        findings = [_finding(flaw) for flaw in found]
        findings += _mistyped(walk)
        return findings + [
            Finding(NOTE, "data", "unknown", name, f"{name} is no key of redtask's")
            for name in walk.unknown[:_MOST]
        ]

    def _look(self, things: Iterable[Thing], tallies: Counter[str]) -> list[Thing]:
        """Return the things with flaws, and sum up what all of them imply."""
        suspects: list[Thing] = []
        todo = self._doubtful(things)
        piece = list(islice(todo, _PIECE))
        while piece:
            done, flaws, sums = self._examine(piece, mend=False)
            tallies.update(sums)
            # A thing may have several flaws.
            suspects += {(flaw.kind, flaw.name): None for flaw in flaws}
            del suspects[_MOST:]
            self.looked += done
            self.progress(self.looked, len(suspects))
            piece = piece[done:] + list(islice(todo, done))
        self.progress(self.looked, len(suspects))
        return suspects

    def _doubtful(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """Leave out what plain reads have shown to be right."""
        for thing in things:
            if thing[0] == WELL:
                self.looked += 1
            else:
                yield thing

    def _examine(
        self, piece: list[Thing], *, mend: bool
    ) -> tuple[int, tuple[Flaw, ...], dict[str, int]]:
        begun = time.monotonic()
        reply = self.store.do(calls.examine(piece, mend=mend))
        took = time.monotonic() - begun
        self.longest = max(self.longest, took)
        self.pace.rest(took)
        return reply.done, reply.flaws, dict(reply.tallies)

    def _again(self, suspects: list[Thing]) -> list[Flaw]:
        """Return flaws that persist, or were repaired."""
        if not suspects:
            return []
        time.sleep(_MOMENT)
        found: list[Flaw] = []
        while suspects:
            done, flaws, _ = self._examine(suspects[:_PIECE], mend=self.mend)
            found += flaws
            suspects = suspects[done:]
        return found

    def _sums(self, tallies: Counter[str]) -> list[Thing]:
        """Return counters that are wrong, as things to examine once more."""
        before = self._judge(tallies)
        if not before:
            return []
        again = Counter[str]()
        self._look(Walk(self.store).things(), again)
        after = self._judge(again)
        return [
            ("tally", f"{name} {right} {seen}")
            for name, (right, seen) in after.items()
            if before.get(name) == (right, seen)
        ]

    def _judge(self, tallies: Counter[str]) -> dict[str, tuple[int, str]]:
        """Return wrong counters of the hub, by name: right number and stored one."""
        expected = {name: tallies.get(name, 0) for name in self._counted(tallies)}
        things = [("tally", f"{name} {right} -") for name, right in expected.items()]
        wrong: dict[str, tuple[int, str]] = {}
        while things:
            done, flaws, _ = self._examine(things[:_PIECE], mend=False)
            for flaw in flaws:
                name, right, _ = flaw.name.rsplit(" ", 2)
                wrong[name] = (int(right), flaw.words.split(",")[0].split()[-1])
            things = things[done:]
        return wrong

    def _counted(self, tallies: Counter[str]) -> Iterator[str]:
        """Yield the names of all counters: those counted, and those on the hub."""
        names = {("bytes -" if name == "bytes" else name) for name in tallies}
        tallies["bytes -"] = tallies.get("bytes", 0)
        names.add("bytes -")
        keys = self.store.keys
        queues, apart = self.store.commands(
            [("HKEYS", keys.queues()), ("HKEYS", f"{keys.root}:apart")]
        )
        names.update(f"engines {queue.decode()}" for queue in queues)
        names.update(f"apart {queue.decode()}" for queue in apart)
        yield from sorted(names)


def mistyped(store: Store) -> list[Finding]:
    """Return the keys of a wrong type, without looking at anything else."""
    walk = Walk(store)
    for _ in walk.names():
        pass
    return _mistyped(walk)


def _mistyped(walk: Walk) -> list[Finding]:
    return [
        Finding(
            WRONG,
            "data",
            "key-type",
            name,
            f"key {name}: it is a {kind}, and not a {right}",
            f"RENAME {walk.root}:{name} {name}, then redtask doctor --repair",
            "left",
        )
        for name, kind, right in walk.mistyped[:_MOST]
    ]


def _finding(flaw: Flaw) -> Finding:
    advice = {
        "found": "redtask doctor --repair",
        "left": "resubmit or purge the task" if flaw.kind == "task" else "",
    }.get(flaw.fate, "")
    if flaw.code == "overdue":
        advice = "start a worker: redtask worker"
    return Finding(
        WRONG,
        "data",
        f"{flaw.kind}-{flaw.code}",
        flaw.name,
        f"{flaw.kind} {flaw.name}: {flaw.words}",
        advice,
        flaw.fate,
    )
