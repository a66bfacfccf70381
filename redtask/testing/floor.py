"""Where the tasks of a hub in this process run, one at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redtask.current import Desk, desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.testing.engine import Engine

_NAMES: Final = tuple(field.name for field in dataclasses.fields(Desk))


class Scene(NamedTuple):
    """What of this process is a task's: its streams and its desk."""

    stdout: Any
    stderr: Any
    desk: Desk

    @classmethod
    def present(cls) -> Scene:
        """Return what there is now."""
        here = dataclasses.replace(desk(os.getpid()))
        return cls(sys.stdout, sys.stderr, here)

    def set(self) -> None:
        """Let it be what there is."""
        sys.stdout, sys.stderr = self.stdout, self.stderr
        here = desk(os.getpid())
        for name in _NAMES:
            setattr(here, name, getattr(self.desk, name))


class Floor:
    """Who has it runs, and streams and the current task of the process are its own.

    A task that waits gives it up. While nobody has it, they are again those of a task
    that waits: threads and coroutines of that may go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: What the engines' tasks have, and (None) the test has, while another's is
        #: shown.
        self._scenes: dict[Engine | None, Scene] = {}
        self._shown: Engine | None = None
        self._closed = False

    def acquire(self, seconds: float = -1) -> bool:
        """Wait at most so long for it; negative is forever. Return whether we have it.

        Only who has it calls ``occupied`` and ``show``.
        """
        return self._lock.acquire(timeout=seconds)

    def release(self) -> None:
        """Give it up."""
        self._lock.release()

    @contextlib.contextmanager
    def occupied(self, engine: Engine) -> Iterator[None]:
        """Let it be the place of the engine's task, from its beginning to its end."""
        # What the task prints is shown on the test's streams.
        self.show(None)
        self._scenes[engine] = engine.scene()
        self.show(engine)
        try:
            yield
        finally:
            waiting = (one for one in self._scenes if one is not None and one.waits)
            self.show(next(waiting, None))
            del self._scenes[engine]

    def knows(self, engine: Engine) -> bool:
        """Has this engine begun a task here, and not ended it?"""
        return engine in self._scenes

    def show(self, engine: Engine | None) -> None:
        """Let streams and current task be those of this engine; None: the test's."""
        if engine is not self._shown and not self._closed:
            self._scenes[self._shown] = Scene.present()
            self._shown = engine
            self._scenes[engine].set()

    def close(self) -> None:
        """Return to the test what is its own, also if a task has not ended."""
        self.show(None)
        self._closed = True
