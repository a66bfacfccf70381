"""What a keeper is told by who starts it. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: How the keeper came to be, and whom it outlives.
SCRIPT: Final = "script"
TERMINAL: Final = "terminal"
DAEMON: Final = "daemon"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a keeper is told by who starts it."""

    #: How many engines; 0: only the hub.
    engines: int
    #: ``SCRIPT``, ``TERMINAL`` or ``DAEMON``.
    mode: str = TERMINAL
    profile: str | None = None
    url: str | None = None
    #: A URL that a file of the command line says, and where.
    told: tuple[str, str] | None = None
    key: str | None = None
    #: The most tasks an engine may have, 0: any number; None: as it is.
    hwm: int | None = None
    #: Name of a scheme or path of a file with one; None: what the profile says, or
    #: as it is.
    scheme: str | None = None
    #: A hub of its own in a temporary folder, which goes with it?
    private: bool = False
    #: How long engines may take to join, in seconds.
    patience: float = 60.0
    #: The process to end with; 0: none.
    parent: int = 0
    #: Let workers tell more.
    verbose: bool = False
