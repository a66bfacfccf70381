"""What a doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Work is or may get lost, or stands still: not all is well.
WRONG: Final = "wrong"
#: It is well, but who operates it wants to know.
NOTE: Final = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    #: ``wrong`` or ``note``.
    grade: str
    #: Where: server, connection, fleet or data.
    area: str
    #: What is wrong, in one word.
    code: str
    #: What it concerns: a setting, a worker, a task.
    subject: str
    #: What was found, for people.
    words: str
    #: What to do; "" where nothing can be done.
    advice: str = ""
    #: Of data: ``found`` (it can be mended), ``mended`` or ``left`` (it cannot).
    fate: str = ""

    @property
    def is_wrong(self) -> bool:
        """Is not all well because of it?"""
        return self.grade == WRONG and self.fate != "mended"
