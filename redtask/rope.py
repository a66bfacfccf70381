"""Bytes in several pieces, so that what is large need not be copied. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rope:
    """Bytes that stand in several places one after the other; never changed."""

    __slots__ = ("_size", "pieces")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        #: The pieces, in order.
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
        """Return it with something before it."""
        return Rope((head, *self.pieces))


#: ``bytes | Rope``: what is packed. Small ones, which are all that most callers can
#: ever have, are bytes; who looks inside knows which it is.
Written: TypeAlias = Any
#: ``bytes | memoryview``: what was read; a view when it is large.
Read: TypeAlias = Any
