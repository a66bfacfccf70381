"""The blocking driver: performs calls, runs flows, waits.

A ``Store`` may be used by many threads; each call borrows a connection. A forked
child gets connections of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis import ConnectionError as _RedisConnectionError
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from redtask import link
from redtask.error import ConnectionLost, SchemeChanged
from redtask.flows import Commands
from redtask.hub import scripts
from redtask.hub.calls import Call
from redtask.hub.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.flows import Flow, Step, Wait
    from redtask.inbox import Inbox

T = TypeVar("T")


def _connector(
    url: str, *, blocking: bool, reply: float = link.REPLY
) -> Callable[[], Connection]:
    """Return what makes connections to a URL."""
    kwargs = link.options(url, blocking=blocking, retry=Retry)
    if not blocking:
        kwargs["socket_timeout"] = reply
        kwargs["socket_connect_timeout"] = min(reply, kwargs["socket_connect_timeout"])
    kind = kwargs.pop("connection_class", Connection)
    if kind is UnixDomainSocketConnection:
        kwargs = link.without_keepalive(kwargs)
    elif kind not in (Connection, SSLConnection):
        kind = Connection
    return lambda: kind(**kwargs)


class Store:
    """Redis, as one hub sees it; calls block.

    ``patience`` is for how long a call is tried again while Redis is away, in
    seconds; None is for ever. ``reply`` is how long one reply may take.
    """

    def __init__(
        self,
        url: str,
        hub: str,
        *,
        patience: float | None = 30.0,
        reply: float = link.REPLY,
    ) -> None:
        self.url = url
        self.keys = Keys(hub)
        self.patience = patience
        #: The scheme whose scripts are used; the hub says so when it is another.
        self.scheme = "leastload"
        self._connect = _connector(url, blocking=False, reply=reply)
        self._connect_blocking = _connector(url, blocking=True)
        self._free: list[Connection] = []
        self._free_blocking: list[Connection] = []
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<Store of hub {self.keys.name}>"

    # -- connections

    def _borrow(self, *, blocking: bool = False) -> Connection:
        if os.getpid() != self._pid:
            # A forked child must not speak on its parent's sockets.
            self._free, self._free_blocking = [], []
            self._pid = os.getpid()
        free = self._free_blocking if blocking else self._free
        try:
            return free.pop()
        except IndexError:
            return self._connect_blocking() if blocking else self._connect()

    def _give_back(self, connection: Connection, *, blocking: bool = False) -> None:
        (self._free_blocking if blocking else self._free).append(connection)

    def close(self) -> None:
        """Close the connections that nobody is using."""
        for free in (self._free, self._free_blocking):
            while free:
                free.pop().disconnect()

    # -- commands

    def _exchange(
        self, commands: Sequence[Sequence[Any]], *, blocking: bool = False
    ) -> list[Any]:
        """Send commands in one go and read their replies; errors are replies too.

        A connection that failed in any way is dropped: what is still to come on it
        belongs to nobody.
        """
        connection = self._borrow(blocking=blocking)
        try:
            if len(commands) == 1:
                packed = connection.pack_command(*commands[0])
            else:
                packed = connection.pack_commands(commands)
            connection.send_packed_command(packed, check_health=False)
            replies = []
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except link.redis.ResponseError as problem:
                    replies.append(problem)
        except BaseException:
            connection.disconnect()
            raise
        self._give_back(connection, blocking=blocking)
        return replies

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Try until it works, patience is over, or the error is no passing one."""
        begun = time.monotonic()
        for pause in link.pauses():
            try:
                return attempt()
            except (*link.LOST, link.redis.ResponseError) as problem:
                waited = time.monotonic() - begun + pause
                over = self.patience is not None and waited > self.patience
                if over or not link.is_passing(problem):
                    raise link.translate(problem) from problem
                self._drop_free()
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _drop_free(self) -> None:
        """Forget idle connections: they most likely died with the one that did."""
        while self._free:
            try:
                self._free.pop().disconnect()
            except IndexError:
                break

    def command(self, *words: Any) -> Any:
        """Perform one plain Redis command that is safe to repeat."""
        return self.commands([words])[0]

    def commands(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Perform plain commands that are safe to repeat, in one round trip."""

        def attempt() -> list[Any]:
            replies = self._exchange(commands)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

        return self._persist(attempt)

    def block(self, *words: Any) -> Any:
        """Perform a blocking command, once, on a connection for such.

        It may wait ``link.LONGEST_BLOCK`` at most. Raises ``ConnectionLost``.
        """
        try:
            (reply,) = self._exchange([words], blocking=True)
        except link.LOST as problem:
            raise link.translate(problem) from problem
        if isinstance(reply, Exception):
            if link.is_passing(reply):
                lost = _RedisConnectionError(str(reply))
                raise link.translate(lost) from reply
            raise link.translate(reply) from reply
        return reply

    # -- calls

    def do(self, call: Call[T]) -> T:
        """Perform a call and return its value.

        Raises the exception of its error reply, or ``ConnectionLost``.
        """
        (reply,) = self._perform([call])
        return call.read(reply)

    def do_all(self, calls: Iterable[Call[T]]) -> list[T]:
        """Perform calls in one round trip; the first error is raised."""
        listed = list(calls)
        replies = self._perform(listed)
        return [call.read(reply) for call, reply in zip(listed, replies, strict=True)]

    def _perform(self, calls: Sequence[Call[Any]]) -> list[Any]:
        replies: list[Any] = [None] * len(calls)
        todo = list(range(len(calls)))
        while todo:
            todo = self._persist(lambda todo=todo: self._try(calls, replies, todo))  # type: ignore[misc]
        return replies

    def _try(
        self, calls: Sequence[Call[Any]], replies: list[Any], todo: Sequence[int]
    ) -> list[int]:
        """Perform the calls ``todo``; return those to be sent again.

        A script that the server forgot is loaded, and only the calls that were
        refused for it are repeated.
        """
        scheme = self.scheme
        asked = [link.words(calls[at], self.keys, scheme) for at in todo]
        got = self._exchange([command for _, command in asked])
        again: list[int] = []
        missing: dict[str, scripts.Script] = {}
        for at, (script, _), reply in zip(todo, asked, got, strict=True):
            if not isinstance(reply, Exception):
                replies[at] = reply
            elif link.is_unknown_script(reply):
                missing[script.sha] = script
                again.append(at)
            elif link.is_passing(reply):
                raise reply
            else:
                ours = link.translate(reply, script)
                if not isinstance(ours, SchemeChanged) or str(ours) == scheme:
                    raise ours from reply
                self.scheme = str(ours)
                again.append(at)
        for script in missing.values():
            (loaded,) = self._exchange([("SCRIPT", "LOAD", script.text)])
            if isinstance(loaded, Exception):
                raise loaded
        return again


class Driver:
    """Runs flows for one client: performs each step and waits for its stream.

    One thread at a time reads the stream, for all that wait: the first that has to
    wait becomes the reader, and when its own tasks have arrived another takes over.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._changed = threading.Condition()
        self._reading = False

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end: perform each step, give back what came of it."""
        try:
            step = next(flow)
            while True:
                try:
                    value = self._perform(step)
                except Exception as problem:  # noqa: BLE001 - the flow's to handle
                    step = flow.throw(problem)
                else:
                    step = flow.send(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Call):
            return self.store.do(step)
        if isinstance(step, Commands):
            return self.store.commands(step.commands)
        return self._wait(step)

    def _wait(self, step: Wait) -> bool:
        """Read the stream, or wait for who does, until something has arrived."""
        deadline = time.monotonic() + step.seconds
        while True:
            with self._changed:
                while True:
                    if step.tasks.arrived != step.seen:
                        return True
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    if not self._reading:
                        self._reading = True
                        break
                    self._changed.wait(left)
            try:
                reached = self._read(step.inbox, left)
            finally:
                with self._changed:
                    self._reading = False
                    self._changed.notify_all()
            if not reached:
                return False

    def _read(self, inbox: Inbox, seconds: float) -> bool:
        """Read what the stream has, waiting for it; False if it cannot be read."""
        patience = max(1, int(min(seconds, link.LONGEST_BLOCK) * 1000))
        try:
            reply = self.store.block(
                *link.read_stream(self.store.keys, inbox, patience)
            )
        except ConnectionLost:
            # Whoever waits asks the records next, and that has patience.
            return False
        if reply:
            inbox.feed(link.entries(reply))
        return True
