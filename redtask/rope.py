"""Byte strings in several pieces, so that large ones need no copy. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rope:
    """An immutable byte string that consists of several pieces."""

    __slots__ = ("_size", "pieces")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = tuple(pieces)
        self._size = sum(map(len, self.pieces))

    def __repr__(self) -> str:
        return f"<Rope of {self._size} bytes in {len(self.pieces)} pieces>"

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (bytes, Rope)):
            return bytes(self) == bytes(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(bytes(self))

    def behind(self, head: bytes) -> Rope:
        """Return it with a head in front."""
        return Rope((head, *self.pieces))


#: ``bytes | Rope``: packed data. Small data, the only kind that most callers meet, is
#: bytes; those that look inside check the type.
Written: TypeAlias = Any
#: ``bytes | memoryview``: data that was read; a view if it is large.
Read: TypeAlias = Any
