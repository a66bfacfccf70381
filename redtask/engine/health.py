"""A worker's health, by HTTP and for systemd.

``GET`` of any path returns 200 if the worker takes tasks, otherwise 503, with a JSON
object in both cases. It only reads the supervisor's state, and no client can block it.
"""

from __future__ import annotations

import contextlib
import errno
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

#: Most simultaneous clients, and the timeout of each, in seconds.
_MOST: Final = 16
_PATIENCE: Final = 5.0
_HEAD: Final = 4096
#: This process, or this machine, has as many files open as it may have.
_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)


def _listen(port: int) -> socket.socket:
    """Listen on all interfaces, by IPv4 and by IPv6 where there is that."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=_MOST, dualstack_ipv6=True
            )
    return socket.create_server(("", port), backlog=_MOST)


class Health:
    """Serves a worker's health by HTTP."""

    def __init__(self, port: int, tell: Callable[[], dict[str, Any]]) -> None:
        """Listen on a port of all interfaces. Raises ``ConfigurationError``."""
        self._tell = tell
        self._asking: dict[socket.socket, float] = {}
        self._selector: selectors.BaseSelector | None = None
        try:
            self._socket = _listen(port)
        except OSError as problem:
            raise ConfigurationError(
                f"nobody can ask on port {port} how the worker is: {problem.strerror}"
            ) from problem
        self._socket.setblocking(False)
        #: Given up for a moment to turn somebody away; -1: there is none.
        self._spare = _reserve()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    def serve(self, selector: selectors.BaseSelector) -> None:
        """Start serving, in the event loop of this selector."""
        self._selector = selector
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        now = time.monotonic()
        for one, since in list(self._asking.items()):
            if now > since + _PATIENCE or len(self._asking) >= _MOST:
                self._leave(one)
        try:
            one, _ = self._socket.accept()
        except OSError as problem:
            if problem.errno in _NO_DESCRIPTOR:
                self._turn_away()
            return
        with contextlib.suppress(OSError):
            one.setblocking(False)
            self._asking[one] = now
            assert self._selector is not None  # noqa: S101 - it told us
            self._selector.register(
                one, selectors.EVENT_READ, partial(self._answer, one)
            )

    def _turn_away(self) -> None:
        """Hang up on who waits: he would keep the loop busy until he can be heard."""
        if self._spare >= 0:
            os.close(self._spare)
        with contextlib.suppress(OSError):
            self._socket.accept()[0].close()
        self._spare = _reserve()

    def _answer(self, one: socket.socket) -> None:
        if one not in self._asking:
            # It was turned away a moment ago, to make room for another.
            return
        with contextlib.suppress(OSError):
            if one.recv(_HEAD):
                about = self._tell()
                body = json.dumps(about).encode() + b"\n"
                status = "200 OK" if about["consuming"] else "503 Service Unavailable"
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                # Short enough for the socket's buffer, so do not wait.
                one.send(head.encode() + body)
        self._leave(one)

    def _leave(self, one: socket.socket) -> None:
        del self._asking[one]
        if self._selector is not None:
            self._selector.unregister(one)
        one.close()

    def close(self) -> None:
        """Close all sockets in this process."""
        for one in self._asking:
            one.close()
        self._asking.clear()
        self._socket.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1


def _reserve() -> int:
    """Return a descriptor to give up when there is no other; -1 if there is none."""
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return -1


def notify(text: str) -> None:
    """Notify systemd, if it asked for that (``sd_notify``)."""
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
    """Return the interval for systemd's watchdog, in seconds; infinity if unused."""
    pid = os.environ.get("WATCHDOG_PID", "")
    micros = os.environ.get("WATCHDOG_USEC", "")
    if not micros.isdecimal() or (pid and pid != str(os.getpid())):
        return float("inf")
    return int(micros) / 2e6


__all__ = ["Health", "notify", "watchdog"]
