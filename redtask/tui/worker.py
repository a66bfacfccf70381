"""The thread that talks to Redis, so that keys work while Redis is silent."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from redtask.error import RedtaskError
from redtask.tui.ear import Said
from redtask.tui.state import Action, Notice, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.tui.state import Wish


@dataclass(frozen=True, slots=True)
class Lost:
    """A failed read."""

    #: The reason, in a sentence.
    problem: str


News: TypeAlias = Snapshot | Lost | Notice | Said


class Worker:
    """Performs the latest read requested, and all actions, one by one."""

    def __init__(
        self,
        read: Callable[[Wish], Snapshot],
        act: Callable[[Action], Notice],
        wake: Callable[[], None],
    ) -> None:
        self._read, self._act, self._wake = read, act, wake
        self._changed = threading.Condition()
        self._wish: Wish | None = None
        self._actions: deque[Action] = deque()
        self._news: deque[News] = deque()
        self._over = False
        # A daemon: quitting does not wait for a silent Redis.
        self._thread = threading.Thread(
            target=self._work, name="redtask-status", daemon=True
        )
        self._thread.start()

    def wish(self, wish: Wish) -> None:
        """Request a read, which replaces any earlier request."""
        with self._changed:
            self._wish = wish
            self._changed.notify()

    def act(self, action: Action) -> None:
        """Request an action."""
        with self._changed:
            self._actions.append(action)
            self._changed.notify()

    def tell(self, news: News) -> None:
        """Add news from another thread; once it is closed there are none."""
        with self._changed:
            if not self._over:
                self._news.append(news)
                self._wake()

    def news(self) -> list[News]:
        """Return the news since the last call."""
        with self._changed:
            found, self._news = list(self._news), deque()
            return found

    def close(self, seconds: float) -> bool:
        """Stop it; wait at most this long. Return whether it has stopped."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._over or self._actions or self._wish):
                    self._changed.wait()
                if self._over:
                    return
                action = self._actions.popleft() if self._actions else None
                wish = None if action else self._wish
                if wish is not None:
                    self._wish = None
            told = self._do(action) if action else self._look(wish)
            with self._changed:
                self._news.append(told)
                if self._over:
                    return
            self._wake()

    def _look(self, wish: Wish | None) -> News:
        assert wish is not None  # noqa: S101 - for mypy
        try:
            return self._read(wish)
        except (RedtaskError, OSError) as problem:
            return Lost(str(problem))
        except Exception as problem:  # noqa: BLE001 - without the thread nothing moves
            return Lost(_words(problem))

    def _do(self, action: Action) -> News:
        try:
            return self._act(action)
        except (RedtaskError, OSError, ValueError, KeyError) as problem:
            told = problem.args[0] if problem.args else problem
            return Notice(f"{action.verb} {action.name}: {told}", bad=True)
        except Exception as problem:  # noqa: BLE001 - likewise
            told = _words(problem)
            return Notice(f"{action.verb} {action.name}: {told}", bad=True)


def _words(problem: Exception) -> str:
    """Return what to say of an error that nobody has expected."""
    return f"this cannot be read: {type(problem).__name__}: {problem}"
