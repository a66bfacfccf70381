"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A problem: tasks are lost or stuck, or may be.
WRONG: Final = "wrong"
#: No problem, but operators should know.
NOTE: Final = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding."""

    #: ``wrong`` or ``note``.
    grade: str
    #: Area: server, connection, fleet or data.
    area: str
    #: The kind of finding, in one word.
    code: str
    #: What it concerns: a setting, a worker, a task.
    subject: str
    #: A description.
    words: str
    #: What to do; "" if nothing can be done.
    advice: str = ""
    #: For data: ``found`` (can be repaired), ``mended`` or ``left`` (cannot be).
    fate: str = ""

    @property
    def is_wrong(self) -> bool:
        """Is it a problem that remains?"""
        return self.grade == WRONG and self.fate != "mended"
