"""What an engine has taken: entries, and lots, as ``lua/lib/lots.lua`` keeps them.

No I/O here: the caller performs the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def words(held: str) -> list[tuple[str, ...]]:
    """Return the commands that read it, given the key of an engine's entries.

    Lots first: a task that gets an entry meanwhile is then there twice, and never
    missing.
    """
    return [("HVALS", f"{held.removesuffix(':held')}:lots"), ("HKEYS", held)]


def ids(lots: Iterable[bytes], held: Iterable[bytes]) -> list[str]:
    """Return the ids of the tasks, each once, from the replies."""
    found = {name.decode(): None for name in held}
    for lot in lots:
        ids_in_it = lot.partition(b"\n")[2].decode("utf-8", "replace").split()
        found.update(dict.fromkeys(ids_in_it))
    return list(found)


__all__ = ["ids", "words"]
