"""The embedded Redis of a cluster: watched, restarted, stopped by its last user."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import time
from typing import TYPE_CHECKING, Final

from redtask import files
from redtask.error import RedtaskError
from redtask.keeper.card import claim, lock
from redtask.server.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: How often to look whether the last user of a server has stopped it, in seconds.
_LOOK: Final = 0.02

_log = logging.getLogger("redtask.cluster")


class KeptServer:
    """A Redis that is kept running as long as it is wanted."""

    def __init__(
        self,
        folder: Path,
        selector: selectors.BaseSelector,
        wanted: Callable[[], bool],
        wait: Callable[[float], None],
        *,
        mortal: bool,
    ) -> None:
        """``wait`` is called while it starts again, and may raise to give that up."""
        self.embedded = EmbeddedServer(folder, mortal=mortal)
        #: When to restart it, s of the monotonic clock; None while it runs.
        self.start_at: float | None = None
        #: How many times it has ended while it was watched.
        self.deaths = 0
        self._selector = selector
        self._wanted = wanted
        self._wait = wait
        self._pidfd = -1
        #: Shared lock of the server's users; the last to release it stops the server.
        self._used = -1

    @property
    def folder(self) -> Path:
        """Its data folder."""
        return self.embedded.folder

    def claim(self) -> None:
        """Register as a user of the server, which may still have to be started.

        Raises ``ConfigurationError``.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as problem:
            raise files.refused(self.folder, problem) from problem
        while True:
            with contextlib.suppress(BlockingIOError):
                self._used = lock(self.folder / "used", fcntl.LOCK_SH)
                break
            # Its last user, who is gone in a moment, is stopping it.
            self._wait(_LOOK)

    def watch(self) -> None:
        """Watch the server, which has been started."""
        living = self.embedded.running()
        try:
            if living is None:
                raise ProcessLookupError  # noqa: TRY301 - as if we had come too late
            self._pidfd = os.pidfd_open(living.pid)
        except ProcessLookupError:
            self.start_at = time.monotonic()
            return
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._died)

    def _died(self) -> None:
        self._forget()
        self.deaths += 1
        if self._wanted():
            _log.warning("Redis is gone; starting it again")
            self.start_at = time.monotonic()

    def start_if_due(self, now: float) -> None:
        """Restart it if that is due and it is still wanted.

        If that fails, it is scheduled again.
        """
        if self.start_at is None or now < self.start_at:
            return
        self.start_at = None
        if not self._wanted():
            return
        try:
            self.embedded.start(wait=self._wait)
        except RedtaskError as problem:
            _log.error("%s", problem)
            self.start_at = time.monotonic() + 1.0
        else:
            self.watch()

    def stop(self) -> None:
        """Stop it unless somebody else uses it, whoever started it."""
        self._forget()
        self.let_go()
        last = claim(self.folder)
        if last is not None:
            try:
                self.embedded.stop()
            finally:
                os.close(last)

    def let_go(self) -> None:
        """Stop being a user of it."""
        if self._used >= 0:
            os.close(self._used)
            self._used = -1

    def _forget(self) -> None:
        if self._pidfd >= 0:
            self._selector.unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
