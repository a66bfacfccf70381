"""What the hub knows of functions: their names, and where engines import them from.

No I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redtask import payload
from redtask.flows import Commands
from redtask.hub.records import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redtask.flows import Flow
    from redtask.hub.keys import Keys

#: Functions whose data is longer are not sent by name.
_LONGEST_NAME: Final = 1024


class Functions:
    """Functions by their digests, each looked up once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._names: dict[str, str] = {}
        self._imported: dict[str, str | None] = {}

    def learn(self, digests: Iterable[str]) -> Flow[None]:
        """Look up the names of functions that are not known yet."""
        yield from self._learn(set(digests) - self._names.keys(), ())

    def learn_all(self, digests: Iterable[str]) -> Flow[None]:
        """Look up names, and where engines import functions from."""
        new = set(digests)
        yield from self._learn(
            new - self._names.keys(), sorted(new - self._imported.keys())
        )

    def _learn(self, unnamed: Iterable[str], unplaced: Iterable[str]) -> Flow[None]:
        unnamed, unplaced = sorted(unnamed), list(unplaced)
        commands = [("HGET", self._keys.function(one), "name") for one in unnamed]
        # Those that are sent by value may be large: they are not read.
        commands += [("HSTRLEN", self._keys.function(one), "blob") for one in unplaced]
        if not commands:
            return
        replies = yield Commands(commands)
        found = replies[: len(unnamed)]
        names = (text(name or b"") for name in found)
        self._names.update(zip(unnamed, names, strict=True))
        sizes = dict(zip(unplaced, replies[len(unnamed) :], strict=True))
        self._imported.update(
            (one, "" if size else None) for one, size in sizes.items()
        )
        short = [one for one, size in sizes.items() if 0 < size <= _LONGEST_NAME]
        if short:
            blobs = yield Commands(
                [("HGET", self._keys.function(one), "blob") for one in short]
            )
            for one, blob in zip(short, blobs, strict=True):
                self._imported[one] = payload.import_name(blob or b"") or ""

    def name(self, digest: str) -> str:
        """Return a function's name; "": unknown."""
        return self._names.get(digest, "")

    def imported(self, digest: str) -> str | None:
        """Return its ``module:name``; "": it is sent by value; None: unknown."""
        return self._imported.get(digest)

    def module(self, digest: str) -> str | None:
        """Return the module that engines import it from; None: none, or unknown."""
        return (self._imported.get(digest) or "").partition(":")[0] or None

    def names(self, digest: str) -> tuple[str, ...]:
        """Return the names that it goes by: alone, and after its module."""
        return self.name(digest), self.imported(digest) or ""


def import_name_of(keys: Keys, digest: str) -> Flow[str | None]:
    """Return ``module:name`` of a function; "": it is sent by value; None: unknown."""
    functions = Functions(keys)
    yield from functions.learn_all([digest])
    return functions.imported(digest)
