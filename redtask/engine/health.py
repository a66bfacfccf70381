"""Whether a worker does its work, for who asks by HTTP or is told by a socket.

``GET`` anything answers 200 when it takes tasks, else 503, and in both cases one JSON
object. Reading a supervisor's state costs nothing, and nobody who asks can block it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redtask.error import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Who asks at the same time, and for how long each may take, in seconds.
_MOST: Final = 16
_PATIENCE: Final = 5.0
_HEAD: Final = 4096


class Health:
    """Answers whoever asks how a worker is."""

    def __init__(self, port: int, tell: Callable[[], dict[str, Any]]) -> None:
        """Listen on a port of all interfaces. Raises ``ConfigurationError``."""
        self._tell = tell
        self._asking: dict[socket.socket, float] = {}
        self._selector: selectors.BaseSelector | None = None
        try:
            self._socket = socket.create_server(("", port), backlog=_MOST)
        except OSError as problem:
            raise ConfigurationError(
                f"nobody can ask on port {port} how the worker is: {problem.strerror}"
            ) from problem
        self._socket.setblocking(False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def serve(self, selector: selectors.BaseSelector) -> None:
        """Answer from now on, in a loop that waits for all that is in the selector."""
        self._selector = selector
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        now = time.monotonic()
        for one, since in list(self._asking.items()):
            if now > since + _PATIENCE or len(self._asking) >= _MOST:
                self._leave(one)
        with contextlib.suppress(OSError):
            one, _ = self._socket.accept()
            one.setblocking(False)
            self._asking[one] = now
            assert self._selector is not None  # noqa: S101 - it told us
            self._selector.register(
                one, selectors.EVENT_READ, partial(self._answer, one)
            )

    def _answer(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if one.recv(_HEAD):
                about = self._tell()
                body = json.dumps(about).encode() + b"\n"
                status = "200 OK" if about["consuming"] else "503 Service Unavailable"
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                # It is short: what does not fit now is not waited for.
                one.send(head.encode() + body)
        self._leave(one)

    def _leave(self, one: socket.socket) -> None:
        del self._asking[one]
        if self._selector is not None:
            self._selector.unregister(one)
        one.close()

    def close(self) -> None:
        """Close this process's end."""
        for one in self._asking:
            one.close()
        self._asking.clear()
        self._socket.close()


def notify(text: str) -> None:
    """Tell systemd how the service is, if it wants to know (``sd_notify``)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there,
    ):
        there.setblocking(False)
        path = "\0" + address[1:] if address.startswith("@") else address
        there.sendto(text.encode(), path)


def watchdog() -> float:
    """How often systemd wants to hear that we live, in seconds; never: infinity."""
    pid = os.environ.get("WATCHDOG_PID", "")
    micros = os.environ.get("WATCHDOG_USEC", "")
    if not micros.isdecimal() or (pid and pid != str(os.getpid())):
        return float("inf")
    return int(micros) / 2e6


__all__ = ["Health", "notify", "watchdog"]
