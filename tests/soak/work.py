"""What engines run in a soak, and the ledger in which they say so.

Each engine process has a file of its own, of lines that are whole because each is one
write: ``b key time`` when a task begins, ``e key time`` when it has come to its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

#: Names the folder of the ledger.
LEDGER = "SOAK_LEDGER"


class Job(NamedTuple):
    """What one task does."""

    #: Its name in the ledger.
    key: str
    #: How long it takes, in seconds.
    lasts: float = 0.0
    #: So many tries fail.
    fails: int = 0
    #: How it ends its engine; "": it does not.
    kills: str = ""
    #: Bytes of its result.
    size: int = 0


def value(job: Job) -> str:
    """Return what a job's result is."""
    return job.key + "." * job.size


def _note(what: str, key: str) -> None:
    name = f"{os.getppid()}-{os.getpid()}"
    handle = os.open(
        Path(os.environ[LEDGER]) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT
    )
    os.write(handle, f"{what} {key} {time.monotonic_ns()}\n".encode())
    os.close(handle)


def _tries(key: str) -> int:
    """Count the tries of a job that fails at first."""
    path = Path(os.environ[LEDGER]) / f"tries.{key}"
    with path.open("ab") as counted:
        counted.write(b".")
    return path.stat().st_size


def run(job: Job, *_: Any) -> str:
    """Do what the job says, and note it."""
    job = Job(*job)
    _note("b", job.key)
    if job.kills:
        die(job.kills)
    if job.fails and _tries(job.key) <= job.fails:
        raise ValueError(job.key)
    if job.lasts:
        time.sleep(job.lasts)
    _note("e", job.key)
    return value(job)


def die(how: str) -> None:
    """End this process, or what has come to the end of its memory."""
    if how == "exit":
        os._exit(3)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "memory":
        raise MemoryError
    else:
        os.kill(os.getpid(), getattr(signal, how))
