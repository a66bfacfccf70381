"""Names drawn at random: of clients, of sets of tasks, of engines."""

from __future__ import annotations

import secrets
from typing import Final

_INITIALS: Final = "abcdefghijklmnopqrstuvwxyz"
_LETTERS: Final = _INITIALS + "0123456789"
#: Letters of a name: 61 bits, so that no two are the same.
_LENGTH: Final = 12


def random_name() -> str:
    """Return 12 small letters and digits.

    The first is a letter, so that commands take the name neither for a number nor for
    an option.
    """
    rest = (secrets.choice(_LETTERS) for _ in range(_LENGTH - 1))
    return secrets.choice(_INITIALS) + "".join(rest)


def is_whole(name: str) -> bool:
    """Is a name as long as those drawn here, so that it begins no other?"""
    return len(name) == _LENGTH
