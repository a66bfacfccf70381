"""The event loop: keys and news make a new state, which is rendered as lines."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.console import Console

from redtask.tui import model, view
from redtask.tui.actions import Actor
from redtask.tui.ear import Ear, Said
from redtask.tui.history import History
from redtask.tui.reader import Reader
from redtask.tui.state import Notice, Snapshot, State
from redtask.tui.terminal import ENDING, Terminal
from redtask.tui.text import ASCII, UNICODE
from redtask.tui.worker import Lost, Worker

if TYPE_CHECKING:
    from redtask.profile import Profile
    from redtask.store import Store
    from redtask.tui.text import Glyphs
    from redtask.tui.worker import News

#: How long quitting waits for work in progress, in seconds.
_FAREWELL: Final = 0.5
_SECOND: Final = 1.0


def can_show() -> bool:
    """Are stdin and stdout terminals with the capabilities needed?"""
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def run(profile: Profile, store: Store, interval: float) -> int:
    """Show the screens until the user quits; return the exit code.

    ``interval``: seconds between two reads of the hub.
    """
    terminal = Terminal(sys.stdin.fileno(), sys.stdout.fileno(), Console())
    actor = Actor(profile)
    worker = Worker(Reader(store, interval).read, actor.act, terminal.wake)
    state = State(
        profile.hub,
        profile.shown_url or "",
        glyphs=_glyphs(),
        history=History(interval),
    )
    ear = Ear(actor.client, worker.tell)
    with terminal:
        code = _App(terminal, worker, ear, state, interval).run()
    ear.listen("")
    if worker.close(_FAREWELL):
        actor.close()
        terminal.close()
    return code


def _glyphs() -> Glyphs:
    """Return the glyphs that the terminal can show."""
    try:
        "▁█░─…·▶".encode(sys.stdout.encoding or "ascii")
    except UnicodeError:
        return ASCII
    return UNICODE


class _App:
    """The event loop."""

    def __init__(
        self,
        terminal: Terminal,
        worker: Worker,
        ear: Ear,
        state: State,
        interval: float,
    ) -> None:
        self._terminal, self._worker, self._ear = terminal, worker, ear
        self._state, self._interval = state, interval
        #: When to read again; None: a read is in progress.
        self._due: float | None = None

    def run(self) -> int:
        self._state = model.resize(self._state, self._terminal.size)
        self._look()
        self._terminal.show(view.draw(self._state), anew=True)
        while True:
            keys, signals = self._terminal.hear(self._pause())
            ended = sorted(ENDING & signals)
            if ended:
                return 128 + ended[0]
            anew = self._heed(signals) or "redraw" in keys
            for key in keys:
                self._press(key)
            if self._state.over:
                return 0
            for news in self._worker.news():
                self._take(news)
            self._state = replace(self._state, now=time.monotonic())
            self._ear.listen(self._state.listens)
            if self._due is not None and self._due <= self._state.now:
                self._look()
            self._terminal.show(view.draw(self._state), anew=anew)

    def _pause(self) -> float:
        """Return how long the loop may sleep."""
        if self._due is None:
            # While Redis is silent, the screen counts the seconds.
            return min(_SECOND, self._interval)
        return max(0.0, self._due - time.monotonic())

    def _heed(self, signals: set[int]) -> bool:
        """React to signals. Must everything be redrawn?"""
        anew = False
        if signal.SIGTSTP in signals:
            self._terminal.stop()
            anew = True
        elif signal.SIGCONT in signals:
            # The shell has used the terminal meanwhile.
            self._terminal.take()
        if signals & {signal.SIGWINCH, signal.SIGCONT} or anew:
            before = self._state.wish
            self._state = model.resize(self._state, self._terminal.size)
            if self._state.wish != before:
                self._look()
            anew = True
        return anew

    def _press(self, key: str) -> None:
        before, frozen = self._state.wish, self._state.frozen
        self._state = model.press(self._state, key)
        if self._state.doing is not None:
            self._worker.act(self._state.doing)
            self._state = replace(self._state, doing=None)
        if self._state.wish != before or (frozen and not self._state.frozen):
            self._look()
        elif self._state.frozen:
            self._due = None

    def _look(self) -> None:
        self._worker.wish(self._state.wish)
        self._due = None

    def _take(self, news: News) -> None:
        now = time.monotonic()
        if isinstance(news, Notice):
            self._state = model.tell(self._state, news)
            # So that the effect is seen.
            self._look()
            return
        if isinstance(news, Said):
            self._state = (
                model.tell(self._state, Notice(f"nothing is heard: {news.text}"))
                if news.deaf
                else model.hear(self._state, news.task_id, news.text)
            )
            return
        if isinstance(news, Lost):
            self._state = model.lose(self._state, news.problem, now)
        elif isinstance(news, Snapshot):
            self._state = model.receive(self._state, news, now)
            if news.wish != self._state.wish:
                # Another one was requested meanwhile, and is being read.
                return
        self._due = None if self._state.frozen else now + self._interval
