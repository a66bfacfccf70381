"""The plan: options of a keeper. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: How the keeper is started, which determines when it ends.
SCRIPT: Final = "script"
TERMINAL: Final = "terminal"
DAEMON: Final = "daemon"


@dataclass(frozen=True, slots=True)
class Plan:
    """Options of a keeper."""

    #: Number of engines; 0: only the hub.
    engines: int
    #: ``SCRIPT``, ``TERMINAL`` or ``DAEMON``.
    mode: str = TERMINAL
    profile: str | None = None
    url: str | None = None
    #: URL from the command line's file, and where it was found.
    told: tuple[str, str] | None = None
    key: str | None = None
    #: Most tasks per engine, 0: no limit; None: leave unchanged.
    hwm: int | None = None
    #: Most bytes of arguments or of a result; None: leave unchanged.
    max_payload: int | None = None
    #: Name of a scheme, or path of its file; None: the profile's, or leave unchanged.
    scheme: str | None = None
    #: Use a hub of its own in a temporary folder?
    private: bool = False
    #: Timeout for engines to join, in seconds.
    patience: float = 60.0
    #: Process whose end ends the keeper; 0: none.
    parent: int = 0
    #: Let workers log even without a log file.
    verbose: bool = False
