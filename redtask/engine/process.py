"""Processes of this machine: how one is told from every other, and dies in time."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Final

_SET_DEATH_SIGNAL: Final = 1
_SET_NAME: Final = 15


def boot() -> str:
    """Name this boot of this machine, and the space in which process ids count.

    A container has process ids of its own: a pid says nothing outside of it.
    """
    booted = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    space = str(Path("/proc/self/ns/pid").readlink()).partition("[")[2].rstrip("]")
    return f"{booted.strip()}-{space}"


def birth(pid: int) -> str | None:
    """Say when a process was born, in ticks since boot; None: there is no such.

    One that is dead and waits for its parent to notice is none.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return None if line[0] in (b"Z", b"X") else line[19].decode()


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies.

    Ends it at once when the parent is dead already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def set_name(name: str) -> None:
    """Be called so in lists of processes; 15 bytes of it."""
    ctypes.CDLL(None).prctl(_SET_NAME, name.encode(), 0, 0, 0)
