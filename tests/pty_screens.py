"""A program on a pseudo-terminal, and the screen that it draws there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any, Self

import pyte

from tests.processes import HOUSE, until

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The keys that have names, as an xterm sends them.
KEYS = {
    "up": b"\x1b[A", "down": b"\x1b[B", "right": b"\x1b[C", "left": b"\x1b[D",
    "pagedown": b"\x1b[6~", "pageup": b"\x1b[5~", "enter": b"\r", "escape": b"\x1b",
    "space": b" ", "tab": b"\t", "ctrl-c": b"\x03", "ctrl-z": b"\x1a",
}  # fmt: skip
#: For a screen that a busy machine draws.
PATIENCE = 40


class Screen:
    """A program of Python, or without words a shell, at a terminal of its own."""

    def __init__(
        self,
        *words: str,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self._terminal = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._terminal)
        #: Columns and lines.
        self.size = size
        #: All that was sent to the terminal.
        self.raw = b""
        self._set_size(*size)
        command = [sys.executable, *words] if words else ["/bin/sh", "-i"]
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={
                **os.environ,
                "TERM": "xterm-256color",
                "PYTHONPATH": str(HOUSE),
                "PYTHONUTF8": "1",
                "PS1": "shell> ",
                **(env or {}),
            },
            start_new_session=True,
            preexec_fn=self._control,  # noqa: PLW1509 - no other thread runs
        )

    def _control(self) -> None:
        """Make the terminal the one of this session: signals come from it."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(
            self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)
        os.close(self.slave)

    # -- what is shown

    def _pump(self, seconds: float = 0.02) -> None:
        while select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            self.raw += data
            self._stream.feed(data)
            seconds = 0

    @property
    def text(self) -> str:
        """What is on the screen now."""
        self._pump()
        return "\n".join(line.rstrip() for line in self._terminal.display)

    @property
    def cells(self) -> Any:
        """The screen's cells, with their looks: ``[row][column]``."""
        return self._terminal.buffer

    def until(self, *parts: str, without: str | None = None) -> str:
        """Wait until all of these are on the screen; return what is."""

        def is_there() -> str:
            text = self.text
            there = all(part in text for part in parts)
            return text if there and (without is None or without not in text) else ""

        try:
            found: str = until(is_there, deadline=PATIENCE)
        except AssertionError:
            raise AssertionError(f"{parts} never came:\n{self.text}") from None
        return found

    # -- what is done

    def press(self, *keys: str) -> None:
        """Type keys, by name or as they are."""
        for key in keys:
            os.write(self._master, KEYS.get(key, key.encode()))

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        self.size = (width, height)
        self._terminal.resize(height, width)
        self._set_size(width, height)

    def end(self) -> int:
        """Wait for the program's end; return its exit code."""

        def has_ended() -> bool:
            self._pump()
            return self.process.poll() is not None

        until(has_ended, f"the end; there is\n{self.text}", deadline=PATIENCE)
        self._pump()
        return self.process.returncode

    @property
    def is_given_back(self) -> bool:
        """Is the terminal as it was: modes, cursor, the screen of before?"""
        modes = termios.tcgetattr(self.slave) == self.before
        pairs = ((b"?1049h", b"?1049l"), (b"?25l", b"?25h"), (b"?7l", b"?7h"))
        return modes and all(
            self.raw.rfind(off) > self.raw.rfind(on) > -1 for on, off in pairs
        )


def status(url: str, *words: str, **options: Any) -> Screen:
    """Run ``redtask status`` on a terminal."""
    command = ("-m", "redtask", "status", "-u", url, "--interval", "0.2", *words)
    return Screen(*command, **options)
