"""Signals for a loop that waits in a selector: they wake it, and only it reacts."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

#: What we send to a process of ours: to stop, which said again means nothing more, and
#: (to workers) to stop now. Unlike SIGHUP (``nohup``), SIGINT and SIGQUIT (``&`` in a
#: shell script) they are never ignored.
END_WITH_CLUSTER: Final = signal.SIGRTMIN + 7
END_NOW: Final = signal.SIGRTMIN + 8


def name_of(number: int) -> str:
    """Return the name of a signal, as for a log."""
    if number in (END_WITH_CLUSTER, END_NOW):
        return "redtask cluster"
    return signal.Signals(number).name


def hear_of_children() -> None:
    """Let the kernel keep how children end, also if who started us ignores that.

    Redis, which would inherit it, waits for its children, too.
    """
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _note(*_: object) -> None:
    """Do nothing: the loop reads the signal's number from the wakeup fd."""


class Signals:
    """A context in which signals wake a loop.

    Signals ignored by the parent, as under nohup, stay ignored unless ``needed``.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        numbers: Collection[int],
        hear: Callable[[int], None],
        *,
        needed: Collection[int],
        at_once: Callable[[int, object], None] = _note,
    ) -> None:
        """Let the loop call ``hear``; ``at_once`` is called before, in the handler."""
        self._hear = hear
        self._caught = [
            number
            for number in numbers
            if number in needed or signal.getsignal(number) != signal.SIG_IGN
        ]
        self._at_once = at_once
        self._before: dict[int, Any] = {}
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        selector.register(self._woken, selectors.EVENT_READ, self._read)

    def __enter__(self) -> Self:
        for number in self._caught:
            self._before[number] = signal.signal(number, self._at_once)
        waker = self._waker.fileno()
        self._wakeup = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._woken.recv(4096):
                # Other code of this process may handle the rest.
                if number in self._caught:
                    self._hear(number)

    def close(self) -> None:
        """Close this process's ends; those of a parent stay open."""
        self._woken.close()
        self._waker.close()
