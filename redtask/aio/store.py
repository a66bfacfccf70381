"""The asyncio driver: performs calls, runs flows, waits.

A ``Store`` belongs to the event loop in which it is first used. What it shares with the
blocking one - what to send, what replies and errors mean, when to retry - is in
``redtask.link``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from redtask import link
from redtask.aio.room import Room
from redtask.error import ConnectionLost, RedtaskError
from redtask.flows import Commands, Fetch, Hear, Meanwhile, Pause
from redtask.hub import scripts
from redtask.hub.calls import Call
from redtask.hub.keys import Keys
from redtask.recent import Contact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from redtask.flows import Flow, Step, Wait
    from redtask.hub.scripts import AnyScheme
    from redtask.inbox import Inbox
    from redtask.signing import Keyring

T = TypeVar("T")

_KINDS: Final[dict[str, type[Any]]] = {
    "tcp": Connection,
    "tls": SSLConnection,
    "unix": UnixDomainSocketConnection,
}
#: How many calls are in flight at once; others queue. Blocking commands have
#: connections of their own.
MOST: Final = 4


#: Stores that stand in for those of a Redis, in tests, by URL: see ``redtask.testing``.
stand_ins: Final[dict[str, Callable[..., Store]]] = {}


def open_store(
    url: str, hub: str, *, patience: float | None = 30.0, reply: float = link.REPLY
) -> Store:
    """Return the store of a hub; the arguments are those of ``Store``."""
    return stand_ins.get(url, Store)(url, hub, patience=patience, reply=reply)


class Store:
    """Redis, as one hub sees it; calls are awaited.

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
        self._reply = reply
        self._free: list[Connection] = []
        self._free_blocking: list[Connection] = []
        #: Connections with a waiting reader.
        self._listening: set[Connection] = set()
        self._closed = False
        self._room = Room(MOST, self.contact)
        #: Scripts that have been bundled, and with which scheme.
        self._bundled: set[tuple[str, AnyScheme]] = set()

    def __repr__(self) -> str:
        return f"<Store of hub {self.keys.name}>"

    def driver(self) -> Driver:
        """Return a driver of flows, for one client."""
        return Driver(self)

    # -- connections

    def _borrow(self, *, blocking: bool) -> Connection:
        if self._closed:
            raise link.closed()
        free = self._free_blocking if blocking else self._free
        if free:
            return free.pop()
        self.contact.opens()
        kind, options = link.options(self.url, reply=self._reply)
        # redis-py would use asyncio.wait_for, which loses a cancellation that arrives
        # just as the awaited thing ends (before Python 3.12).
        options["socket_timeout"] = None
        made: Connection = _KINDS[kind](retry=Retry(NoBackoff(), 0), **options)
        return made

    async def _give_back(self, connection: Connection, *, blocking: bool) -> None:
        self._listening.discard(connection)
        (self._free_blocking if blocking else self._free).append(connection)
        if self._closed:
            await self._close_free()
        elif blocking:
            await self._close_idle()

    async def _close_idle(self) -> None:
        """Close the idle connections for blocking reads that are too many."""
        free = self._free_blocking
        while len(free) > link.most_idle(len(self._listening)):
            await free.pop(0).disconnect(nowait=True)

    async def _drop(self, connection: Connection, problem: BaseException) -> None:
        """Close a connection that failed, or whose reader was cancelled.

        Replies still to come have no reader.
        """
        self._listening.discard(connection)
        await connection.disconnect(nowait=True)
        await self._close_idle()
        if isinstance(problem, link.LOST):
            if self._closed:
                raise link.closed() from None
            self.contact.loses()

    async def _listen(self, connection: Connection) -> None:
        """Register a connection with a waiting reader, to be woken by ``close``."""
        self._listening.add(connection)
        await _open(connection)
        if self._closed:
            # It was registered too late to be woken.
            raise link.closed()

    async def close(self) -> None:
        """Close the connections; those in use, when they are given back.

        Waiting readers are woken; further calls fail.
        """
        self._closed = True
        for connection in self._listening:
            _wake(connection)
        await self._close_free()

    async def _close_free(self) -> None:
        for free in (self._free, self._free_blocking):
            while free:
                await free.pop().disconnect()

    # -- commands

    async def _exchange(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        blocking: float = 0.0,
        reply: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Any]:
        """Send commands in one go and read their replies; error replies are returned.

        A connection that failed in any way, or whose reader was cancelled, is dropped.
        ``blocking`` is how long the server waits before it replies, in seconds; 0: it
        does not. ``reply`` is how long that may take, if not as usual. ``meanwhile`` is
        called once all is sent.
        """
        connection = self._borrow(blocking=bool(blocking))
        limit = link.limit(blocking, self._reply if reply is None else reply)
        try:
            packed = link.packed(commands)
            async with asyncio.timeout(limit + link.time_to_send(packed)) as bound:
                if blocking:
                    await self._listen(connection)
                else:
                    await _open(connection)
                await connection.send_packed_command(packed, check_health=False)
                if meanwhile is not None:
                    meanwhile()
                replies: list[Any] = []
                for _ in commands:
                    if replies:
                        # Each may be large.
                        bound.reschedule(asyncio.get_running_loop().time() + limit)
                    replies.append(await _read(connection))
        except BaseException as problem:
            await self._drop(connection, problem)
            link.tell_of_silence(problem, self.contact.falls_silent)
            raise
        self.contact.hears()
        await self._give_back(connection, blocking=bool(blocking))
        return replies

    async def _persist(
        self,
        attempt: Callable[[], Awaitable[T]],
        since: float | None = None,
        until: float | None = None,
    ) -> T:
        """Retry until it works, patience is over, or the error is permanent."""
        begun = time.monotonic() if since is None else since
        over = math.inf if self.patience is None else begun + self.patience
        if until is not None:
            over = min(over, until)
        tries: link.Tries | None = None
        try:
            while True:
                try:
                    await self._room.enter(over)
                    try:
                        found = await attempt()
                    finally:
                        self._room.leave()
                except link.TROUBLE as problem:
                    if tries is None:
                        away = self.contact.away_since
                        tries = link.Tries(self.patience, begun, until, away)
                    pause = link.pause_after(problem, tries, self.contact)
                    await self._drop_free()
                else:
                    if tries is not None:
                        self.contact.finds(tries)
                    return found
                await asyncio.sleep(pause)
        finally:
            self.contact.waiting.discard(tries)

    async def _drop_free(self) -> None:
        """Drop idle connections: most likely they died with the one that failed."""
        while self._free:
            await self._free.pop().disconnect(nowait=True)

    async def command(self, *words: Any) -> Any:
        """Perform one plain Redis command, which must be idempotent."""
        return (await self.commands([words]))[0]

    async def commands(
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
        return await self._commands(commands, until, self._reply, since, held)

    async def fetch(
        self, commands: Sequence[Sequence[Any]], until: float | None = None
    ) -> list[Any]:
        """Read values that may be large with plain commands, in one round trip.

        That may take longer than other calls.
        """
        return await self._commands(commands, until, link.REPLY)

    async def _commands(
        self,
        commands: Sequence[Sequence[Any]],
        until: float | None,
        seconds: float,
        since: float | None = None,
        held: float = 0.0,
    ) -> list[Any]:
        begun = time.monotonic() if since is None else since

        async def attempt() -> list[Any]:
            left = link.reply_left(seconds, self.patience, begun, until) + held
            return link.checked(await self._exchange(commands, reply=left))

        return await self._persist(attempt, begun, until)

    async def block(self, *words: Any) -> Any:
        """Perform a blocking command, once, on a connection for blocking commands.

        It must wait ``link.LONGEST_BLOCK`` at most. Raises ``ConnectionLost``.
        """
        try:
            (reply,) = await self._exchange([words], blocking=link.LONGEST_BLOCK)
        except link.LOST as problem:
            raise link.translate(problem) from problem
        if isinstance(reply, Exception):
            raise link.translate(reply) from reply
        return reply

    # -- calls

    async def do(
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
        return (await self._do_all((call,), since, meanwhile, until))[0]

    async def do_all(
        self, calls: Iterable[Call[T]], since: float | None = None
    ) -> list[T]:
        """Perform calls in one round trip; the first error is raised."""
        return await self._do_all(calls, since, None)

    async def _do_all(
        self,
        calls: Iterable[Call[T]],
        since: float | None,
        meanwhile: Callable[[], None] | None,
        until: float | None = None,
    ) -> list[T]:
        batch = link.Batch(calls, self.keys, self.scheme, self.keyring)

        async def attempt() -> None:
            await self._bundle(batch.names())
            left = link.reply_left(self._reply, self.patience, begun, until)
            replies = await self._exchange(
                batch.commands(), reply=left, meanwhile=meanwhile
            )
            try:
                loadings = batch.take(replies)
            except RedtaskError:
                await self._tidy(batch.litter())
                raise
            for loading in loadings:
                (loaded,) = await self._exchange([loading], reply=left)
                if isinstance(loaded, Exception):
                    raise loaded
                batch.load(loaded)

        while not batch.done:
            begun = time.monotonic() if since is None else since
            await self._persist(attempt, begun, until)
        self.scheme = batch.scheme
        return batch.values()

    async def _bundle(self, names: set[tuple[str, AnyScheme]]) -> None:
        """Bundle scripts before their first use.

        Where bundles cannot be cached in files, that takes a tenth of a second: too
        long for the event loop.
        """
        for name, scheme in names - self._bundled:
            await asyncio.to_thread(scripts.bundle, name, scheme)
            self._bundled.add((name, scheme))

    async def _tidy(self, litter: Sequence[Sequence[Any]]) -> None:
        """Delete unused parcels; if that fails, they expire."""
        if litter:
            with contextlib.suppress(RedtaskError, *link.LOST):
                await self._exchange(litter)


async def _open(connection: Connection) -> None:
    """Connect, unless it is connected, in a context of its own.

    asyncio keeps the context in which a connection was opened as long as that lasts:
    of a request, say, with all that its context variables hold.
    """
    if not connection.is_connected:
        await asyncio.create_task(connection.connect(), context=Context())


def _wake(connection: Any) -> None:
    """Let the reader of a connection see its end."""
    # redis-py has no public access to the transport.
    if (writer := connection._writer) is not None:
        writer.transport.abort()


async def _read(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except link.redis.ResponseError as problem:
        return problem


class Driver:
    """Runs flows for one client: performs each step and waits for its stream.

    One background task reads the stream while anybody waits, and wakes exactly those
    for whom something has arrived: any number of waiters costs one connection.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: set[asyncio.Future[bool]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._pauses = link.pauses()
        #: Opening a connection may lead to a server that was restarted and lost the
        #: stream.
        self._unsure = True

    async def run(
        self, flow: Flow[T], since: float | None = None, until: float | None = None
    ) -> T:
        """Drive a flow to its end: perform each step and send back its result.

        ``since`` is when patience with its calls began; None: with each call. ``until``
        is the caller's deadline if Redis is away.
        """
        try:
            step = next(flow)
            while True:
                try:
                    value = await self._perform(step, since, until)
                except Exception as problem:  # noqa: BLE001 - the flow's to handle
                    step = flow.throw(problem)
                except asyncio.CancelledError as problem:
                    # What the flow has still to do must not take long.
                    until = time.monotonic() + link.PARTING
                    step = flow.throw(problem)
                else:
                    step = flow.send(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            # It may have been cancelled half-way.
            flow.close()

    async def _perform(
        self, step: Step, since: float | None, until: float | None
    ) -> Any:
        if isinstance(step, Call):
            return await self.store.do(step, since, until=until)
        if isinstance(step, Meanwhile):
            return await self.store.do(step.call, since, step.act, until)
        if isinstance(step, (Commands, Fetch)):
            return await self._values(step, since, until)
        if isinstance(step, Hear):
            return await self.store.block(*step.words)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._wait(step)

    async def _values(
        self, step: Commands | Fetch, since: float | None, until: float | None
    ) -> list[Any]:
        if isinstance(step, Fetch):
            return await self.store.fetch(step.commands, until)
        return await self.store.commands(step.commands, until, since, step.held)

    async def _wait(self, step: Wait) -> bool:
        tasks = step.tasks
        if tasks.arrived != step.seen:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def wake(arrived: bool = True) -> None:
            if not future.done():
                future.set_result(arrived)

        tasks.wakers.append(wake)
        self._waiting.add(future)
        over = loop.call_later(step.seconds, wake, False)
        if self._reader is None or self._reader.done():
            self._reader = loop.create_task(
                # It serves all, and must not keep the context of the first.
                self._read(step.inbox),
                name="redtask reader",
                context=Context(),
            )
        try:
            return await future
        finally:
            over.cancel()
            self._waiting.discard(future)
            tasks.wakers.remove(wake)

    async def _read(self, inbox: Inbox) -> None:
        """Read the stream while anybody waits."""
        longest = int(link.LONGEST_BLOCK * 1000)
        while self._waiting:
            try:
                if not await self._read_some(inbox, longest):
                    inbox.disturbed()
                    self._wake_all()
            except ConnectionLost:
                # Waiters ask the records next, with retries.
                self._unsure = True
                inbox.disturbed()
                self._wake_all()
                # The records may still be reachable: pause before they are asked.
                await asyncio.sleep(next(self._pauses))
            except Exception as problem:  # noqa: BLE001 - passed to those who wait
                self._wake_all(problem)
            else:
                self._pauses = link.pauses()

    async def _read_some(self, inbox: Inbox, milliseconds: int) -> bool:
        """Read the stream, blocking if it is empty; False if that may not be all."""
        if self._unsure and not await self._assure(inbox):
            return False
        position = inbox.position
        words = link.read_stream(self.store.keys, inbox, milliseconds, position)
        reply = await self.store.block(*words)
        if not reply:
            return True
        legible = inbox.feed(entries := link.entries(reply))
        return await self._has_all(inbox, position, len(entries)) and legible

    async def _assure(self, inbox: Inbox) -> bool:
        """Is this the same server as before, and does it have the stream?"""
        self._unsure = False
        contact = self.store.contact
        epoch = contact.epoch
        there = await self.store.command(*link.find_stream(self.store.keys, inbox))
        return bool(there) and contact.epoch == epoch

    async def _has_all(self, inbox: Inbox, position: str | None, count: int) -> bool:
        """Were these all the entries since ``position``? So many were read."""
        if position is None or count < link.ENTRIES:
            return True
        oldest = await self.store.command(*link.oldest_entry(self.store.keys, inbox))
        return not inbox.was_overtaken(position, oldest)

    def _wake_all(self, problem: Exception | None = None) -> None:
        for future in self._waiting:
            if future.done():
                continue
            if problem is None:
                future.set_result(False)
            else:
                future.set_exception(problem)
        self._waiting.clear()

    async def close(self) -> None:
        """Stop reading; waiters are told that the client is closed."""
        self._wake_all(link.closed())
        await self.store.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
