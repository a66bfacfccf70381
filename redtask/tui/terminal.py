"""A terminal, acquired and released: modes, signals, changed lines.

However the program ends - also by an exception or a signal - it is restored.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console

from redtask.tui.keys import Decoder
from redtask.tui.state import Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from rich.text import Text

#: Alternate screen, no cursor, no wrapping; and back.
_TAKE: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
_GIVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
#: How long the rest of an escape sequence may take, in seconds.
_ESCAPE: Final = 0.05
#: Signals that are handled.
_SIGNALS: Final = (
    signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP,
    signal.SIGCONT,
)  # fmt: skip
#: Signals that end the program.
ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def _heard(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wakeup fd delivers the number."""


class Terminal:
    """The terminal of this process, for the duration of the ``with`` block."""

    def __init__(self, keys: int, screen: int, console: Console) -> None:
        self._keys, self._screen = keys, screen
        # Renders lines into a buffer, so that only changed ones are sent.
        self._console = Console(
            file=StringIO(),
            force_terminal=True,
            color_system=console.color_system,  # type: ignore[arg-type]  # its own word
            no_color=console.no_color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        self._plain = console.color_system is None and not console.no_color
        self._encoding = console.encoding
        self._decoder = Decoder()
        self._shown: list[str] = []
        self._size = Size(0, 0)
        self._modes: Any = None
        self._handlers: dict[int, Any] = {}
        self._wakes, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        os.set_blocking(self._wakes, False)
        self._wakeup = -1

    # -- acquiring and releasing

    def __enter__(self) -> Self:
        self._modes = termios.tcgetattr(self._keys)
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, _heard)
        self._wakeup = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        try:
            self.take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give()
        finally:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Close the pipe; ``wake`` must not be called any more."""
        os.close(self._wakes)
        os.close(self._waking)

    def take(self) -> None:
        """Acquire the terminal, possibly again: another program may have changed it."""
        tty.setcbreak(self._keys, termios.TCSADRAIN)
        self._write(_TAKE)
        self._shown = []

    def _give(self) -> None:
        # After a hangup there is no terminal any more.
        with contextlib.suppress(OSError):
            self._write(_GIVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._modes)

    def stop(self) -> None:
        """Suspend the process, as for Ctrl-Z; acquire the terminal when it resumes."""
        self._give()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        try:
            os.kill(os.getpid(), signal.SIGTSTP)
        finally:
            signal.signal(signal.SIGTSTP, _heard)
        self.take()

    # -- input

    def wake(self) -> None:
        """Make ``hear`` return; callable from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waking, b"\0")

    def hear(self, seconds: float) -> tuple[list[str], set[int]]:
        """Wait for keys, signals or ``wake``; return the keys and signals."""
        if self._decoder.is_waiting:
            seconds = min(seconds, _ESCAPE)
        ready, _, _ = select.select(
            [self._keys, self._wakes], [], [], max(0.0, seconds)
        )
        keys: list[str] = []
        numbers: set[int] = set()
        if self._wakes in ready:
            with contextlib.suppress(BlockingIOError):
                numbers = {one for one in os.read(self._wakes, 4096) if one}
        if self._keys in ready:
            data = self._read()
            if not data:
                numbers.add(signal.SIGHUP)
            keys = self._decoder.feed(data)
        elif self._decoder.is_waiting:
            keys = self._decoder.flush()
        return keys, numbers

    def _read(self) -> bytes:
        try:
            return os.read(self._keys, 4096)
        except OSError:
            return b""

    # -- output

    @property
    def size(self) -> Size:
        """Its current size."""
        try:
            width, height = os.get_terminal_size(self._screen)
        except OSError:
            return Size()
        return Size(width, height) if width and height else Size()

    def show(self, lines: Sequence[Text], *, anew: bool = False) -> None:
        """Show lines from the top; only changed ones are sent."""
        if anew or self._size != self.size:
            self._shown, self._size = [], self.size
        drawn = [self._draw(one) for one in lines]
        told = [] if self._shown else ["\x1b[0m\x1b[H\x1b[2J"]
        for at, text in enumerate(drawn):
            if at >= len(self._shown) or self._shown[at] != text:
                told.append(f"\x1b[{at + 1};1H{text}")
        self._shown = drawn
        if told:
            self._write("".join(told))

    def _draw(self, one: Text) -> str:
        # After a full line the cursor is still on its last cell, which must not be
        # cleared.
        rest = "" if one.cell_len >= self._size.width else "\x1b[K"
        if self._plain:
            return one.plain + rest
        with self._console.capture() as drawn:
            self._console.print(
                one, end="", no_wrap=True, overflow="ignore", crop=False
            )
        return f"{drawn.get()}\x1b[0m{rest}"

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._screen, data) :]
