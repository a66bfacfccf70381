"""The card that describes a profile's running cluster, and locks."""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from redtask import files, process
from redtask.address import redact_url
from redtask.profile import LOCK

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Card:
    """Public facts about a cluster: ``cluster.json`` of its profile."""

    #: The keeper's process.
    pid: int
    birth: str
    boot: str
    #: ``TERMINAL`` or ``DAEMON``.
    mode: str
    #: URL of Redis; may contain a password.
    url: str
    hub: str
    #: Does Redis belong to the cluster?
    embedded: bool
    engines: int
    #: Names of its workers.
    workers: list[str]
    #: When it was started, seconds since the epoch.
    since: float
    #: Its log file; "" for the terminal.
    log: str

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """Read the card of the running cluster; None if there is none."""
        if not is_held(folder):
            return None
        try:
            return cls(**json.loads(card_file(folder).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # it is just starting or ending

    @property
    def shown_url(self) -> str:
        """URL of Redis, without password and hub."""
        return redact_url(re.sub(r"[?&]hub=[^&]*$", "", self.url))

    @property
    def is_elsewhere(self) -> bool:
        """Is it in another pid namespace, such as a container?"""
        return self.boot != process.boot()

    def open(self) -> int:
        """Return a pidfd of the keeper, never of a process that reuses its pid.

        Raises ``ProcessLookupError`` if it is dead.
        """
        found = os.pidfd_open(self.pid)
        if process.birth(self.pid) != self.birth:
            os.close(found)
            raise ProcessLookupError
        return found

    def write(self, folder: Path) -> None:
        """Replace the card atomically."""
        files.replace(card_file(folder), json.dumps(asdict(self)) + "\n")


def card_file(folder: Path) -> Path:
    """Return the path of a profile's card."""
    return folder / "cluster.json"


def is_held(folder: Path) -> bool:
    """Has a cluster the lock of this profile's folder? Creates no file.

    Raises ``ConfigurationError`` if we may not ask.
    """
    return files.is_locked(folder / LOCK)


def lock(path: Path, kind: int) -> int:
    """Lock a file for as long as the descriptor is open.

    Raises ``BlockingIOError`` if it is in use, and ``ConfigurationError``.
    """
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise files.refused(path, problem) from problem
    try:
        fcntl.flock(held, kind | fcntl.LOCK_NB)
    except BaseException:
        os.close(held)
        raise
    return held


def claim(server: Path) -> int | None:
    """Lock an embedded server's folder exclusively; None if it is in use."""
    try:
        return lock(server / "used", fcntl.LOCK_EX)
    except BlockingIOError:
        return None
