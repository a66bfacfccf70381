"""Processes of a test, all of which carry its mark in their environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redtask

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 20
HOUSE = Path(redtask.__file__).parents[1]
MARK = "TEST_OF_REDTASK"


def until(true: Callable[[], Any], what: str = "", deadline: float = DEADLINE) -> Any:
    """Wait until something holds; return it."""
    end = time.monotonic() + deadline
    while not (value := true()):
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.005)
    return value


def command_line(pid: int) -> str:
    """Return how a process was called; "" when it is dead."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()


class Land:
    """Where a test's processes live: a user's folder, variables, and a mark."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.mark = f"{MARK}={mark}".encode()
        self.started: list[subprocess.Popen[str]] = []

    def pids(self, pattern: str = "") -> list[int]:
        """Return the living processes of this test, but not that of the test."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                # Redis writes its title over its environment, but lives with its data.
                place = (folder / "cwd").readlink()
                state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except (OSError, IndexError):
                continue
            ours = self.mark in environment or place.is_relative_to(self.folder)
            if ours and pid != os.getpid() and state not in {b"Z", b"X"}:
                found.append(pid)
        return sorted(pid for pid in found if re.search(pattern, command_line(pid)))

    def is_empty(self) -> bool:
        """Is nobody left?"""
        return not self.pids()

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program of Python, as a process that is stopped in the end."""
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, **options: Any) -> Done:
        """Run ``redtask`` with these words to its end."""
        process = self.start("-m", "redtask", *words, **options)
        out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)

    def close(self) -> None:
        """End what is left, and complain about it."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        try:
            until(self.is_empty, "the end of all processes", deadline=10)
        finally:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)


class Done:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"<exit code {self.code}\n{self.out}{self.err}>"
