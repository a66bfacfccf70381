"""Processes of this machine: identified beyond reuse of their ids, and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SET_DEATH_SIGNAL: Final = 1
#: The pid namespace of the machine (PROC_PID_INIT_INO of Linux).
_FIRST_PIDS: Final = 0xEFFFFFFC
_SET_NAME: Final = 15


def _booted() -> str:
    """Identify this boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def boot() -> str:
    """Identify this boot of this machine, and the pid namespace.

    A container has its own process ids: a pid means nothing outside of it.
    """
    space = str(Path("/proc/self/ns/pid").readlink()).partition("[")[2].rstrip("]")
    return f"{_booted()}-{space}"


def is_contained() -> bool:
    """Are process ids those of a container, where each start may have the same?"""
    found = Path("/proc/self/ns/pid").readlink()
    return str(found) != f"pid:[{_FIRST_PIDS}]"


def birth(pid: int) -> str | None:
    """Return when a process was started, in ticks since boot; None: there is none.

    A zombie does not count.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return None if line[0] in (b"Z", b"X") else line[19].decode()


def is_hidden(pid: int) -> bool:
    """Does a process exist whose start time we may not see?

    That of another user, where /proc is mounted with ``hidepid``.
    """
    if birth(pid) is not None:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies.

    Kills it at once if the parent is already dead.
    """
    hear_of_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def hear_of_parent(number: int) -> None:
    """Have the kernel send us this signal when our parent dies; 0: none any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_DEATH_SIGNAL, int(number), 0, 0, 0) != 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem))


def set_name(name: str) -> None:
    """Set the name shown in process lists; at most 15 bytes."""
    ctypes.CDLL(None).prctl(_SET_NAME, name.encode(), 0, 0, 0)


def open_streams() -> None:
    """Connect standard streams that were closed by our starter to /dev/null.

    Otherwise they are None in Python, and other files get their numbers.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


@dataclass(frozen=True, slots=True)
class Process:
    """One process, never confused with a later one of the same pid."""

    pid: int
    #: Boot of the machine, and start time within it.
    birth: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        birth = _unique_birth(pid)
        return None if birth is None else cls(pid, birth)

    def alive(self) -> bool:
        return _unique_birth(self.pid) == self.birth

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to this process or to none."""
        with contextlib.suppress(ProcessLookupError), self._hold() as handle:
            if not self.alive():
                return
            if handle is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)

    def wait(self, timeout: float) -> bool:
        """Wait until it is dead or the time is up; return whether it is dead."""
        try:
            with self._hold() as handle:
                if handle is not None:
                    poll = select.poll()
                    poll.register(handle, select.POLLIN)
                    return not self.alive() or bool(poll.poll(timeout * 1000))
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + timeout  # a system without pidfds
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(0.02, timeout))
        return True

    def end(self) -> None:
        """Terminate it; kill it if that does not help."""
        self.send(signal.SIGTERM)
        if not self.wait(2.0):
            self.send(signal.SIGKILL)
            self.wait(2.0)

    @contextlib.contextmanager
    def _hold(self) -> Iterator[int | None]:
        """Hold the process by a pidfd, which no later process can have."""
        try:
            opened: Callable[[int], int] = os.pidfd_open
            handle = opened(self.pid)
        except ProcessLookupError:
            raise
        except (AttributeError, OSError):
            yield None
            return
        try:
            yield handle
        finally:
            os.close(handle)


def _unique_birth(pid: int) -> str | None:
    """Return the start time of a living process, unique across boots."""
    if sys.platform != "linux":
        return _birth_by_ps(pid)
    born = birth(pid)
    return None if born is None else f"{_booted()}:{born}"


def _birth_by_ps(pid: int) -> str | None:
    line = subprocess.run(  # noqa: S603
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        check=False,
        text=True,
    ).stdout.strip()
    return None if not line or line.startswith("Z") else line.partition(" ")[2].strip()
