"""What goes wrong when: drawn from a seed, or read from a file."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Machines, each with one worker.
MACHINES: Final = ("a", "b")
#: Ways to Redis, each with a proxy: of the clients, and of each machine.
WAYS: Final = ("clients", *MACHINES)

#: What can go wrong, where, how often in comparison, and for how long (seconds).
KINDS: Final = {
    "kill engine": ("machine", 20, (0.0, 0.0)),
    "stop engine": ("machine", 4, (0.1, 1.0)),
    "kill worker": ("machine", 2, (0.0, 0.5)),
    "stop worker": ("machine", 2, (0.1, 3.0)),
    "stop machine": ("machine", 2, (3.0, 6.0)),
    "lose machine": ("machine", 2, (3.0, 6.0)),
    "kill redis": ("server", 6, (0.0, 1.0)),
    "cut log": ("server", 3, (0.0, 1.0)),
    "stop redis": ("server", 4, (0.1, 3.0)),
    "debug sleep": ("server", 2, (0.1, 2.0)),
    "pause clients": ("server", 3, (0.1, 2.0)),
    "flush scripts": ("server", 12, (0.0, 0.0)),
    "kill connections": ("server", 8, (0.0, 0.0)),
    "move clock": ("server", 3, (0.5, 3.0)),
    "full": ("server", 4, (0.2, 2.0)),
    "lose replies": ("way", 6, (0.5, 3.0)),
    "tear": ("way", 6, (0.5, 3.0)),
    "cut": ("way", 10, (0.0, 0.0)),
    "delay": ("way", 3, (0.5, 3.0)),
    "hole": ("way", 2, (0.5, 4.0)),
}
#: With these Redis forgets what it acknowledged: only where it may.
LOSSY: Final = ("cut log",)
#: These need a clock that can be moved.
CLOCKS: Final = ("move clock",)
#: Mean time between two faults at one place, in seconds.
_MEAN: Final = {"machine": 1.0, "server": 2.0, "way": 3.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    #: When it begins, in seconds after the round does.
    at: float
    #: One of ``KINDS``.
    kind: str
    #: A machine, a way, or "server".
    where: str
    #: How long it lasts, in seconds.
    lasts: float
    #: What is drawn when it happens follows from this.
    seed: int


def places(scope: str) -> Sequence[str]:
    """Return where faults of a scope may happen."""
    return {"machine": MACHINES, "way": WAYS, "server": ("server",)}[scope]


def draw(
    seed: int, number: int, seconds: float, only: Sequence[str] = ()
) -> list[Fault]:
    """Return the faults of one round, in order of time.

    At one place they come one after the other.
    """
    found: list[Fault] = []
    for scope, mean in _MEAN.items():
        kinds = [
            kind
            for kind, (of, _, _) in KINDS.items()
            if of == scope and (not only or kind in only)
        ]
        if not kinds:
            continue
        for place in places(scope):
            dice = random.Random(f"{seed} {number} {place}")  # noqa: S311 - a plan
            found += _series(dice, kinds, place, mean, seconds)
    return sorted(found, key=lambda fault: fault.at)


def _series(
    dice: random.Random, kinds: Sequence[str], place: str, mean: float, seconds: float
) -> Iterator[Fault]:
    weights = [KINDS[kind][1] for kind in kinds]
    at = dice.expovariate(1 / mean)
    while at < seconds:
        (kind,) = dice.choices(kinds, weights)
        lasts = round(dice.uniform(*KINDS[kind][2]), 3)
        yield Fault(round(at, 3), kind, place, lasts, dice.randrange(1 << 30))
        at += lasts + dice.expovariate(1 / mean)


def write(path: Path, rounds: Sequence[Sequence[Fault]]) -> None:
    """Keep what goes wrong in each round, one fault a line."""
    lines = [
        json.dumps({"round": number, **asdict(fault)})
        for number, faults in enumerate(rounds)
        for fault in faults
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: Path) -> list[list[Fault]]:
    """Read what ``write`` wrote."""
    rounds: list[list[Fault]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        number = fields.pop("round")
        while len(rounds) <= number:
            rounds.append([])
        rounds[number].append(Fault(**fields))
    return rounds
