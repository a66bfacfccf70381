"""What there is in a hub: tasks and what they wait for, engines, outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LEASE = 15000
TTL = 86_400_000
FAILED_TTL = 7 * TTL
MAX_DEATHS = 3
ENDED = ("completed", "failed", "aborted")
GATE = 600_000
GATE_KEPT = 3_600_000
#: A record that is needed is looked at again after so many ms.
LATER = 3_600_000
#: A function that nobody needs stays so long.
IDLE = 3_600_000
#: Kept until there is no room.
FOREVER = 2**52
#: What is added to that of a task with a retention of its own.
OWN = 2**51
DAY = 86_400_000
#: More placements of one script than these are not tried in every order.
MOST_ORDERS = 5


def numbers(text: str) -> frozenset[int]:
    """Return the numbers in a text like "0-2,5"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


@dataclass(frozen=True)
class Places:
    """The engines, by their labels, that may run a task."""

    labels: frozenset[int]
    #: Only those; else all but those.
    only: bool

    def admits(self, label: int) -> bool:
        """Is it one of them?"""
        return (label in self.labels) == self.only

    @classmethod
    def read(cls, text: str) -> Places:
        """Read the name of a class."""
        return cls(numbers(text[1:]), text[:1] == "=")


@dataclass
class Members:
    """A set of tasks that one depends on: IPython.parallel's Dependency."""

    #: a or n: all or any; then s and f: whether success and failure count.
    letters: str
    names: list[str] = field(default_factory=list)
    #: How each ended, and where it last ran, as far as the dependent was told.
    heard: dict[str, tuple[str, int | None]] = field(default_factory=dict)

    @property
    def pending(self) -> list[str]:
        """Those not heard of."""
        return [name for name in self.names if name not in self.heard]

    def counts(self, state: str) -> bool:
        """Is a member that ended so one of those that are meant?"""
        return ("s" if state == "completed" else "f") in self.letters[1:]

    def counted(self) -> list[str]:
        """Return the members that ended as is meant."""
        return [name for name in self.names if self._counts(name) is True]

    def fatal(self) -> list[str]:
        """Return the members that ended otherwise."""
        return [name for name in self.names if self._counts(name) is False]

    def _counts(self, name: str) -> bool | None:
        told = self.heard.get(name)
        return None if told is None else self.counts(told[0])

    def verdict(self, *, whole: bool) -> str:
        """Return met, never or open. Not ``whole``: members may be added."""
        count = len(self.names)
        if self.letters[0] == "a":
            if self.fatal():
                return "never"
            return "met" if whole and len(self.counted()) == count else "open"
        if self.counted():
            return "met"
        return "never" if whole and len(self.fatal()) == count else "open"

    def labels(self) -> frozenset[int]:
        """Return where members that count ran."""
        places = [self.heard[name][1] for name in self.counted()]
        return frozenset(label for label in places if label is not None)

    def cell(self) -> str:
        """Return what became of the members: S, F, P for each."""
        letters = []
        for name in self.names:
            state = self.heard.get(name, ("",))[0]
            letters.append({"": "P", "completed": "S"}.get(state, "F"))
        return "".join(sorted(letters, key="SFP".index))


@dataclass
class Task:
    """One task, or (without a function) a gate."""

    name: str
    #: Sorts by priority, then submission: its score in every index.
    rank: int
    #: Which of all submitted ones it is.
    submitted: int = 0
    fn: str = ""
    queue: str = "default"
    args: bytes = b""
    retries: int = 0
    ttl: int = TTL
    #: What its expiry begins from: ``OWN`` if that is its own.
    floor: int = 0
    after: Members | None = None
    follow: Members | None = None
    targets: frozenset[int] | None = None
    timeout: int | None = None
    pause: tuple[int, float] | None = None
    elsewhere: bool = False
    gate: str | None = None
    refs: list[str] = field(default_factory=list)
    #: Of how many it was told after it was submitted.
    told: int = 0
    state: str = "waiting"
    verdict: str = ""
    tries: int = 0
    deaths: int = 0
    #: Where it is, or was last.
    engine: str = ""
    #: The engine that it last ran on, and its label.
    ran_on: tuple[str, int] | None = None
    token: str = ""
    #: Labels of the engines that are not to have it.
    refused: set[int] = field(default_factory=set)
    #: Is it to be interrupted?
    unwanted: bool = False
    start: int | None = None
    left: int | None = None
    #: By letter: when its timer is due.
    timers: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    expiry: float = 0
    #: Is its retention over, and is it kept only for others?
    put_off: bool = False
    watchers: set[str] = field(default_factory=set)
    #: What was said of it, to be said of a copy; and whose copy it is.
    group: dict[str, Any] = field(default_factory=dict)
    copy_of: str = ""
    #: How often an engine refused it.
    refusals: int = 0
    #: The line it was last seen in.
    stands: str = ""

    @property
    def ran(self) -> int | None:
        """Label of the engine that it last ran on."""
        return self.ran_on[1] if self.ran_on else None

    def sets(self) -> list[tuple[str, Members]]:
        """Return what it depends on, by letter."""
        both = (("a", self.after), ("f", self.follow))
        return [(letter, members) for letter, members in both if members]

    def place(self) -> frozenset[int]:
        """Return where the members it is to follow have run."""
        return self.follow.labels() if self.follow else frozenset()

    def is_open(self, letter: str) -> bool:
        """Is it still told of members of that set?"""
        members = self.after if letter == "a" else self.follow
        if members is None or self.state in ENDED:
            return False
        if letter == "f" or members.letters[0] == "a":
            return bool(members.pending or self.gate)
        return not members.counted() and bool(members.pending or self.gate)


@dataclass
class Engine:
    """One engine."""

    name: str
    label: int
    queues: list[str]
    lease: int
    number: int = 0
    nonce: str = ""
    #: The nonce of its next turn, in which a task may be handed to it.
    next: str = ""
    used: int = 0
    #: It is being taken apart.
    leaving: bool = False
    #: It is to get nothing new, until it is resumed.
    drained: bool = False
    #: It said that it wants nothing, so its bell may be silent.
    away: bool = False
    assigned: list[Task] = field(default_factory=list)
    held: list[Task] = field(default_factory=list)

    @property
    def load(self) -> int:
        """Tasks it has."""
        return len(self.assigned) + len(self.held)

    @property
    def closed(self) -> bool:
        """Does it get nothing?"""
        return self.leaving or self.drained


@dataclass(frozen=True)
class Outcome:
    """What an engine reports of a task."""

    #: ok error late final unbegun unmet aborted
    kind: str
    name: str
    token: str
    #: Of an unmet one: the function can never run there.
    by: bool = False
