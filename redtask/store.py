"""The blocking driver: performs calls, runs flows, waits.

A ``Store`` may be shared by threads; each call borrows a connection. A forked child
gets connections of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from redtask import link
from redtask.error import ConnectionLost, RedtaskError
from redtask.flows import Commands, Fetch, Hear, Meanwhile, Pause
from redtask.haul import Haul
from redtask.hub import scripts
from redtask.hub.calls import Call
from redtask.hub.keys import Keys
from redtask.recent import Contact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redtask.flows import Flow, Step, Wait
    from redtask.hub.scripts import AnyScheme
    from redtask.inbox import Inbox
    from redtask.signing import Keyring

T = TypeVar("T")

#: Stores that stand in for those of a Redis, in tests, by URL: see ``redtask.testing``.
stand_ins: Final[dict[str, Callable[..., Store]]] = {}
_KINDS = {"tcp": Connection, "tls": SSLConnection, "unix": UnixDomainSocketConnection}


def _connector(url: str, reply: float) -> Callable[[], Connection]:
    """Return a factory of connections to a URL."""
    kind, options = link.options(url, reply=reply)
    options["retry"] = Retry(NoBackoff(), 0)
    return lambda: _KINDS[kind](**options)


def _read(connection: Connection) -> Any:
    try:
        return connection.read_response()
    except link.redis.ResponseError as problem:
        return problem


def _wake(connection: Any) -> None:
    """Let the reader of a connection see its end, and close it itself.

    Only the socket is thread-safe, and not the TLS layer on top of it.
    """
    # redtask needs the socket itself, and redis-py has no public access to it.
    if (found := connection._sock) is not None:  # noqa: SLF001
        with contextlib.suppress(OSError):
            socket.socket.shutdown(found, socket.SHUT_RDWR)


def _bound(connection: Any, seconds: float) -> None:
    """Have a connection wait so long for replies, also for those when it is made."""
    if connection.socket_timeout != seconds:
        connection.socket_timeout = seconds
        # Likewise.
        if (found := connection._sock) is not None:  # noqa: SLF001
            found.settimeout(seconds)


def _haul(connection: Any) -> Haul:
    # Likewise.
    return Haul(connection._sock, connection._parser.parse_error)  # noqa: SLF001


def open_store(
    url: str, hub: str, *, patience: float | None = 30.0, reply: float = link.REPLY
) -> Store:
    """Return the store of a hub; the arguments are those of ``Store``."""
    return stand_ins.get(url, Store)(url, hub, patience=patience, reply=reply)


class Store:
    """Redis, as one hub sees it; calls block.

    ``patience`` is how long a call is retried while Redis is away, in seconds; None is
    forever. ``reply`` is how long one reply may take, in seconds.
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
        #: The scheme whose scripts are used; the hub replies if it has another.
        self.scheme: AnyScheme = "leastload"
        #: Verifies schemes that are not redtask's own; None: no key is known yet.
        self.keyring: Keyring | None = None
        #: What is known of the server from talking to it.
        self.contact = Contact()
        #: Called after each failed try: with the time of the first one, and the error.
        self.trouble: Callable[[float, Exception], None] | None = None
        self._connect = _connector(url, reply)
        self._reply = reply
        self._free: list[Connection] = []
        self._free_blocking: list[Connection] = []
        #: Connections with a waiting reader. Threads add and discard: both are atomic.
        self._listening: set[Connection] = set()
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Store of hub {self.keys.name}>"

    def driver(self) -> Driver:
        """Return a driver of flows, for one client."""
        return Driver(self)

    # -- connections

    def renew(self) -> None:
        """Begin anew after a fork: a child must not speak on its parent's sockets."""
        if os.getpid() != self._pid:
            self._free, self._free_blocking = [], []
            self._listening = set()
            self._pid = os.getpid()

    def _borrow(self, *, blocking: bool = False) -> Connection:
        if self._closed:
            raise link.closed()
        self.renew()
        free = self._free_blocking if blocking else self._free
        try:
            return free.pop()
        except IndexError:
            self.contact.opens()
            return self._connect()

    def connection(self) -> Connection:
        """Return a new connection, not yet open, that belongs to the caller."""
        return self._connect()

    def _give_back(self, connection: Connection, *, blocking: bool = False) -> None:
        self._listening.discard(connection)
        (self._free_blocking if blocking else self._free).append(connection)
        if self._closed:
            self._close_free()
        elif blocking:
            self._close_idle()

    def _close_idle(self) -> None:
        """Close the idle connections for blocking reads that are too many."""
        free = self._free_blocking
        while len(free) > link.most_idle(len(self._listening)):
            with contextlib.suppress(IndexError):
                free.pop(0).disconnect()

    def _drop(self, connection: Connection, problem: BaseException) -> None:
        """Close a connection that failed: replies still to come have no reader."""
        self._listening.discard(connection)
        connection.disconnect()
        self._close_idle()
        if isinstance(problem, link.LOST):
            if self._closed:
                raise link.closed() from None
            self.contact.loses()

    def _listen(self, connection: Any, seconds: float) -> None:
        """Register a connection with a waiting reader, to be woken by ``close``.

        It is to read for little longer than so many seconds.
        """
        self._listening.add(connection)
        connection.connect()
        # redtask needs the socket itself, and redis-py has no public access to it.
        connection._sock.settimeout(link.limit(seconds, self._reply))  # noqa: SLF001
        if self._closed:
            # It may have been registered too late to be woken.
            raise link.closed()

    def close(self) -> None:
        """Close the connections; those in use, when they are given back.

        Waiting readers are woken; further calls fail.
        """
        self._closed = True
        if os.getpid() == self._pid:
            for connection in tuple(self._listening):
                _wake(connection)
        self._close_free()

    def _close_free(self) -> None:
        for free in (self._free, self._free_blocking):
            while free:
                with contextlib.suppress(IndexError):
                    free.pop().disconnect()

    # -- commands

    def _exchange(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        blocking: float = 0.0,
        reply: float | None = None,
        meanwhile: Callable[[], None] | None = None,
        large: bool = False,
    ) -> list[Any]:
        """Send commands in one go and read their replies; error replies are returned.

        A connection that failed in any way is dropped. ``blocking`` is how long the
        server waits before it replies, in seconds; 0: it does not. ``reply`` is how
        long that may take, if not as usual. ``meanwhile`` is called once all is sent.
        If replies may be ``large``, long strings are bytearrays, copied only once.
        """
        connection = self._borrow(blocking=bool(blocking))
        try:
            if blocking:
                self._listen(connection, blocking)
            else:
                _bound(connection, self._reply if reply is None else reply)
            connection.send_packed_command(link.packed(commands), check_health=False)
            if meanwhile is not None:
                meanwhile()
            if large:
                haul = _haul(connection)
                replies = [haul.reply() for _ in commands]
            else:
                replies = [_read(connection) for _ in commands]
        except BaseException as problem:
            self._drop(connection, problem)
            link.tell_of_silence(problem, self.contact.falls_silent)
            raise
        self.contact.hears()
        self._give_back(connection, blocking=bool(blocking))
        return replies

    def _left(self, begun: float, until: float | None) -> float:
        return link.reply_left(self._reply, self.patience, begun, until)

    def _persist(
        self,
        attempt: Callable[[], T],
        since: float | None = None,
        until: float | None = None,
    ) -> T:
        """Retry until it works, patience is over, or the error is permanent."""
        begun = time.monotonic() if since is None else since
        tries: link.Tries | None = None
        try:
            while True:
                try:
                    found = attempt()
                except link.TROUBLE as problem:
                    if tries is None:
                        away = self.contact.away_since
                        tries = link.Tries(self.patience, begun, until, away)
                    pause = link.pause_after(problem, tries, self.contact)
                    if self.trouble is not None:
                        self.trouble(begun, problem)
                    self._drop_free()
                else:
                    if tries is not None:
                        self.contact.finds(tries)
                    return found
                time.sleep(pause)
        finally:
            self.contact.waiting.discard(tries)

    def _drop_free(self) -> None:
        """Drop idle connections: most likely they died with the one that failed."""
        while self._free:
            try:
                self._free.pop().disconnect()
            except IndexError:
                break

    def command(self, *words: Any) -> Any:
        """Perform one plain Redis command, which must be idempotent."""
        return self.commands([words])[0]

    def commands(
        self,
        commands: Sequence[Sequence[Any]],
        until: float | None = None,
        since: float | None = None,
        held: float = 0.0,
    ) -> list[Any]:
        """Perform plain, idempotent commands in one round trip.

        ``since`` is when patience began, ``time.monotonic()``; None: now. ``held`` is
        how long the server may wait before it replies, in seconds.
        """
        return self._commands(commands, until, since, held=held)

    def fetch(
        self, commands: Sequence[Sequence[Any]], until: float | None = None
    ) -> list[Any]:
        """Read values that may be large with plain commands, in one round trip."""
        return self._commands(commands, until, large=True)

    def _commands(
        self,
        commands: Sequence[Sequence[Any]],
        until: float | None,
        since: float | None = None,
        *,
        held: float = 0.0,
        large: bool = False,
    ) -> list[Any]:
        begun = time.monotonic() if since is None else since

        def attempt() -> list[Any]:
            left = self._left(begun, until) + held
            return link.checked(self._exchange(commands, reply=left, large=large))

        return self._persist(attempt, begun, until)

    def block(self, *words: Any, seconds: float = link.LONGEST_BLOCK) -> Any:
        """Perform a blocking command, once, on a connection for blocking commands.

        It must wait so many ``seconds`` at most, and no more than
        ``link.LONGEST_BLOCK``. Raises ``ConnectionLost``.
        """
        try:
            (reply,) = self._exchange([words], blocking=seconds)
        except link.LOST as problem:
            raise link.translate(problem) from problem
        if isinstance(reply, Exception):
            raise link.translate(reply) from reply
        return reply

    # -- calls

    def do(
        self,
        call: Call[T],
        since: float | None = None,
        meanwhile: Callable[[], None] | None = None,
        until: float | None = None,
    ) -> T:
        """Perform a call and return its value.

        ``since`` is when patience began, ``time.monotonic()``; None: now. ``meanwhile``
        is called before the reply is read, unless sending fails. Raises the exception
        of the error reply, or ``ConnectionLost``; ``StillAway`` if Redis is away and
        the caller's deadline ``until`` passes first.
        """
        begun = time.monotonic() if since is None else since
        if call.parcels:
            return self._do_all((call,), begun, [], until, meanwhile)[0]
        script = scripts.bundle(call.script, self.scheme)
        try:
            (reply,) = self._exchange(
                [link.evalsha(script, self.keys.root, call)],
                reply=self._left(begun, until),
                meanwhile=meanwhile,
            )
        except link.LOST as problem:
            reply = problem
        if not isinstance(reply, Exception):
            return call.read(reply)
        # The slow path: the script is unknown, or Redis is away.
        return self._do_all((call,), begun, [reply], until)[0]

    def do_all(self, calls: Iterable[Call[T]], since: float | None = None) -> list[T]:
        """Perform calls in one round trip; the first error is raised."""
        return self._do_all(calls, since, [])

    def _do_all(
        self,
        calls: Iterable[Call[T]],
        since: float | None,
        first: list[Any],
        until: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[T]:
        """Perform calls whose ``first`` replies, if any, were errors."""
        batch = link.Batch(calls, self.keys, self.scheme, self.keyring)

        def exchange() -> list[Any]:
            nonlocal meanwhile
            commands = batch.commands()
            if not first:
                # Only the first time.
                act, meanwhile = meanwhile, None
                left = self._left(begun, until)
                return self._exchange(commands, reply=left, meanwhile=act)
            replies = [*first]
            first.clear()
            if isinstance(replies[0], link.LOST):
                raise replies[0]
            return replies

        def attempt() -> None:
            replies = exchange()
            try:
                loadings = batch.take(replies)
            except RedtaskError:
                self._tidy(batch.litter())
                raise
            for loading in loadings:
                (loaded,) = self._exchange([loading], reply=self._left(begun, until))
                if isinstance(loaded, Exception):
                    raise loaded
                batch.load(loaded)

        while not batch.done:
            begun = time.monotonic() if since is None else since
            self._persist(attempt, begun, until)
        self.scheme = batch.scheme
        return batch.values()

    def _tidy(self, litter: Sequence[Sequence[Any]]) -> None:
        """Delete unused parcels; if that fails, they expire."""
        if litter:
            with contextlib.suppress(RedtaskError, *link.LOST):
                self._exchange(litter)


#: After a read that brought nothing for anybody, the reader pauses a little, a bit
#: longer each time, up to the maximum, in seconds.
_BREATH: Final = 0.0002
_MOST_BREATH: Final = 0.002


class _Turn:
    """One wait for an arrival, in which the stream may be read."""

    def __init__(self) -> None:
        #: Where to read on. Not where the inbox is by then: a signal handler may read
        #: what we wait for just before we do.
        self.position: str | None = None


class Driver:
    """Runs flows for one client: performs each step and waits for its stream.

    One thread at a time reads the stream for all that wait: the first that has to wait
    becomes the reader, and once its own tasks have arrived, another takes over. A
    signal handler that interrupts the reader reads itself, on another connection.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._begin()

    def _begin(self) -> None:
        #: Opening a connection may lead to a server that was restarted and lost the
        #: stream.
        self._unsure = True
        self._pauses = link.pauses()
        # Entered itself, and not by the condition: that is Python code, in which a
        # Ctrl-C could leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        #: Who reads; None: nobody.
        self._reading: object | None = None
        #: The thread of the latest who read.
        self._reader: int | None = None
        #: The number of threads that wait for the reader.
        self._others = 0
        self._pid = os.getpid()

    def renew(self) -> None:
        """Begin anew after a fork: the thread that reads stayed behind."""
        if os.getpid() != self._pid:
            self._begin()

    def run(
        self, flow: Flow[T], since: float | None = None, until: float | None = None
    ) -> T:
        """Drive a flow to its end: perform each step and send back its result.

        ``since`` is when patience with its calls began; None: with each call. ``until``
        is the caller's deadline if Redis is away.
        """
        self.renew()
        try:
            step = next(flow)
            while True:
                try:
                    value = self._perform(step, since, until)
                except Exception as problem:  # noqa: BLE001 - the flow's to handle
                    step = flow.throw(problem)
                except (KeyboardInterrupt, SystemExit) as problem:
                    # What the flow has still to do must not take long.
                    until = time.monotonic() + link.PARTING
                    step = flow.throw(problem)
                else:
                    step = flow.send(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            # A traceback may keep the flow alive long after a Ctrl-C.
            flow.close()

    def _perform(self, step: Step, since: float | None, until: float | None) -> Any:
        if isinstance(step, Call):
            return self.store.do(step, since, until=until)
        if isinstance(step, Meanwhile):
            return self.store.do(step.call, since, step.act, until)
        if isinstance(step, Commands):
            return self.store.commands(step.commands, until, since, step.held)
        if isinstance(step, Fetch):
            return self.store.fetch(step.commands, until)
        if isinstance(step, Hear):
            return self.store.block(*step.words)
        return self._wait(step)

    def _wait(self, step: Wait | Pause) -> bool:
        """Read the stream, or wait for its reader, until something has arrived."""
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return False
        me = _Turn()
        try:
            return self._wait_as(me, step)
        finally:
            # Also after a Ctrl-C, wherever that has hit.
            if self._reading is me:
                self._stop_reading(me)

    def _wait_as(self, me: _Turn, step: Wait) -> bool:
        deadline = time.monotonic() + step.seconds
        vain = 0
        while self._must_read(me, step, deadline):
            left = max(0.0, deadline - time.monotonic())
            if vain and not self._others:
                # Entries that nobody waits for may be many: let them gather.
                time.sleep(min(left, vain * _BREATH, _MOST_BREATH))
            reached = self._read(step.inbox, left, me.position)
            vain += 1
            self._stop_reading(me)
            if not reached:
                # The records may still be reachable: pause before they are asked.
                left = deadline - time.monotonic()
                time.sleep(max(0.0, min(left, next(self._pauses))))
                return False
            self._pauses = link.pauses()
        return step.tasks.arrived != step.seen

    def _must_read(self, me: _Turn, step: Wait, deadline: float) -> bool:
        """Wait for an arrival; return True as soon as nobody reads for us."""
        thread = threading.get_ident()
        with self._lock:
            while True:
                me.position = step.inbox.position
                left = deadline - time.monotonic()
                if step.tasks.arrived != step.seen or left <= 0:
                    return False
                if self._reading is None:
                    # In this order: a signal handler may look at them in between.
                    self._reader = thread
                    self._reading = me
                    return True
                if self._reader == thread:
                    # We are in a signal handler, and who reads is the frame below: it
                    # goes on when we have returned. What both hear of does no harm.
                    return True
                self._others += 1
                try:
                    self._changed.wait(left)
                finally:
                    self._others -= 1

    def _stop_reading(self, me: object) -> None:
        """Let others look at what has arrived; let one of them read if we are who did.

        Otherwise that is the frame that our signal handler has interrupted.
        """
        with self._lock:
            if self._reading is me:
                self._reading = None
            self._changed.notify_all()

    def _read(self, inbox: Inbox, seconds: float, since: str | None = None) -> bool:
        """Read the stream, blocking if it is empty; False if it cannot be read.

        ``since`` is where to read on, if not where the inbox is.
        """
        keys = self.store.keys
        patience = max(1, int(min(seconds, link.LONGEST_BLOCK) * 1000))
        try:
            until = time.monotonic() + seconds
            if self._unsure and not self._assure(inbox, until):
                inbox.disturbed()
                return False
            position = since or inbox.position
            words = link.read_stream(keys, inbox, patience, position)
            reply = self.store.block(*words, seconds=patience / 1000)
            if reply:
                legible = inbox.feed(entries := link.entries(reply))
                if not self._has_all(inbox, position, len(entries), until):
                    legible = False
                if not legible:
                    inbox.disturbed()
                    return False
        except ConnectionLost:
            # Waiters ask the records next, with retries.
            self._unsure = True
            inbox.disturbed()
            return False
        return True

    def _has_all(
        self, inbox: Inbox, position: str | None, count: int, until: float
    ) -> bool:
        """Were these all the entries since ``position``? So many were read."""
        if position is None or count < link.ENTRIES:
            return True
        (oldest,) = self.store.commands(
            [link.oldest_entry(self.store.keys, inbox)], until
        )
        return not inbox.was_overtaken(position, oldest)

    def _assure(self, inbox: Inbox, until: float) -> bool:
        """Is this the same server as before, and does it have the stream?"""
        self._unsure = False
        contact = self.store.contact
        epoch = contact.epoch
        command = link.find_stream(self.store.keys, inbox)
        (there,) = self.store.commands([command], until)
        return bool(there) and contact.epoch == epoch
