"""What ``redtask doctor`` says of a hub of tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

from redtask.doctor.walk import WELL, Walk
from redtask.hub import calls
from redtask.hub.records import Examined

#: Things in one call.
PIECE = 500


class Scanned:
    """A hub as the walk of the doctor reads it, each key in one go."""

    def __init__(self, hub):
        self.keys = hub.keys
        self._redis = hub.redis

    def commands(self, several):
        """Return the replies of plain reads."""
        return [self._redis.execute_command(*words) for words in several]

    def command(self, verb, key, *_):
        """Return the reply of a scan."""
        if verb == "SCAN":
            return b"0", self._redis.keys(f"{self.keys.root}:*")
        if verb == "HSCAN":
            pairs = self._redis.hgetall(key).items()
        else:
            pairs = self._redis.zrange(key, 0, -1, withscores=True)
        return b"0", [part for pair in pairs for part in pair]


def flaws(hub, now):
    """Return all that the doctor finds, of things and of sums."""
    store: Any = Scanned(hub)
    walk = Walk(store)
    things = [thing for thing in walk.things() if thing[0] != WELL]
    assert not walk.unknown, walk.unknown
    found: list[Any] = []
    sums: Counter[str] = Counter()
    while things:
        told = _ask(hub, things[:PIECE], now)
        found += told.flaws
        sums.update(dict(told.tallies))
        things = things[told.done :]
    sums["bytes -"] = sums.pop("bytes", 0)
    tallies = [("tally", f"{name} {right} -") for name, right in sums.items()]
    return [*found, *_ask(hub, tallies, now).flaws]


def _ask(hub, things, now):
    reply = hub.send(calls.examine(things, now=now))
    return Examined.read(reply)
