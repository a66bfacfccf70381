"""Do all that a hub keeps fit together? A live hub is looked at in small pieces.

A thing is judged by one atomic script, so what passes by itself (an engine that has
heard its bell and is on its way) is only found wrong when it still is a moment later.
Numbers that sum up a whole hub cannot be judged at once: they are wrong when two walks
count the same and the hub the same other thing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from redtask.doctor.finding import NOTE, WRONG, Finding
from redtask.doctor.walk import Thing, Walk
from redtask.hub import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from redtask.hub.records import Flaw
    from redtask.store import Store

#: Things in one call: some ms.
_PIECE: Final = 60
#: How much of Redis's time we take at most.
_SHARE: Final = 0.4
#: After so long what was on its way has arrived, in s.
_MOMENT: Final = 1.0
#: More flaws are counted, not kept.
_MOST: Final = 10000


@dataclass
class Examination:
    """One look at the data of a hub."""

    store: Store
    #: Mend what can be mended.
    mend: bool = False
    #: Look at so many things at most; None: at all.
    most: int | None = None
    #: Is told how many things were looked at, and how many flaws were found.
    progress: Callable[[int, int], None] = field(default=lambda _, __: None)
    #: How many things were looked at, and how many flaws there are.
    looked: int = 0
    flaws: int = 0
    #: How long Redis was asked at a time, at most, in s.
    longest: float = 0.0

    def run(self) -> list[Finding]:
        """Look at everything, mend what can be; return what is wrong."""
        # The script is loaded before anybody is timed.
        self.store.do(calls.examine(()))
        walk, tallies = Walk(self.store), Counter[str]()
        suspects = self._look(islice(walk.things(), self.most), tallies)
        found = self._again(suspects)
        if self.most is None:
            found += self._again(self._sums(tallies))
        self.flaws = len(found)
        findings = [_finding(flaw) for flaw in found]
        return findings + [
            Finding(NOTE, "data", "unknown", name, f"{name} is no key of redtask's")
            for name in walk.unknown[:_MOST]
        ]

    def _look(self, things: Iterable[Thing], tallies: Counter[str]) -> list[Thing]:
        """Return the things with flaws, and add up what all of them mean."""
        suspects: list[Thing] = []
        things = iter(things)
        piece = list(islice(things, _PIECE))
        while piece:
            done, flaws, sums = self._examine(piece, mend=False)
            tallies.update(sums)
            # A thing of one name may be of several kinds.
            suspects += {(flaw.kind, flaw.name): None for flaw in flaws}
            del suspects[_MOST:]
            self.looked += done
            self.progress(self.looked, len(suspects))
            piece = piece[done:] + list(islice(things, done))
        return suspects

    def _examine(
        self, piece: list[Thing], *, mend: bool
    ) -> tuple[int, tuple[Flaw, ...], dict[str, int]]:
        begun = time.monotonic()
        reply = self.store.do(calls.examine(piece, mend=mend))
        took = time.monotonic() - begun
        self.longest = max(self.longest, took)
        # Others come first.
        time.sleep(took * (1 / _SHARE - 1))
        return reply.done, reply.flaws, dict(reply.tallies)

    def _again(self, suspects: list[Thing]) -> list[Flaw]:
        """Return what is still wrong with them, or was and is mended."""
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
        """Return what does not sum up, as things to look at once more."""
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
        """Return the numbers of the hub that are not what was counted, and what
        they are."""
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
        """Yield the names of all numbers: counted, or kept by the hub."""
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
