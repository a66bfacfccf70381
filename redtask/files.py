"""Private folders and small files, which are never seen half-written."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from typing import TYPE_CHECKING, Any

from redtask.error import ConfigurationError, ServerError

if TYPE_CHECKING:
    from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a private folder, or check that it is one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise ServerError(f"{folder} belongs to user {owner}, not to you")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def make_private_parent(path: Path) -> None:
    """Make the two folders above a file private (mkdir does so for one only)."""
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.mkdir(exist_ok=True, mode=0o700)


def refused(path: Path, problem: OSError) -> ConfigurationError:
    """Return the error for a folder or file of profiles that the system refuses us."""
    return ConfigurationError(
        f"{path}: {problem.strerror}; REDTASK_HOME may name another folder for profiles"
    )


def is_locked(path: Path) -> bool:
    """Has another process locked a file? Creates none.

    Raises ``ConfigurationError`` if we may not ask.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise refused(path, problem) from problem
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def is_private(folder: Path) -> bool:
    """Is it a real folder, ours, and closed to others?"""
    try:
        status = folder.lstat()
    except OSError:
        return False
    mine = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return mine and stat.S_ISDIR(status.st_mode)


def read_json(path: Path) -> dict[str, Any]:
    """Read a small file of ours; if it is missing or truncated, return nothing.

    Raises ``ConfigurationError`` if we may not read it.
    """
    try:
        stored = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as problem:
        raise refused(path, problem) from problem
    return stored if isinstance(stored, dict) else {}


def replace(path: Path, text: str) -> None:
    """Write a private file atomically, replacing any old one."""
    draft = _draft(path, text)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def publish(path: Path, text: str) -> None:
    """Write a private file atomically; fail if the name is taken."""
    draft = _draft(path, text)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()


def _draft(path: Path, text: str) -> Path:
    """Write a temporary file, to be renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # File names in it may not be valid UTF-8.
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
