"""The asyncio driver: performs calls, runs flows, waits.

A ``Store`` belongs to the event loop in which it is first used. Whatever is the same
for the blocking one - what to send, what replies and errors mean, when to try again -
is in ``redtask.link``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from redtask import link
from redtask.error import ConnectionLost, RedtaskError
from redtask.flows import Commands, Fetch, Hear, Meanwhile
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
#: So many calls are on their way at once; the others wait in line. Blocking ones
#: have connections of their own.
MOST: Final = 4


class Store:
    """Redis, as one hub sees it; calls are awaited.

    ``patience`` is for how long a call is tried again while Redis is away, in
    seconds; None is forever. ``reply`` is how long one reply may take.
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
        self.scheme: AnyScheme = "leastload"
        #: Verifies a scheme that is not redtask's; None: no key is known yet.
        self.keyring: Keyring | None = None
        #: What is learnt of the server by talking to it.
        self.contact = Contact()
        self._reply = reply
        self._free: list[Connection] = []
        self._free_blocking: list[Connection] = []
        #: Those on which somebody waits.
        self._listening: set[Connection] = set()
        self._closed = False
        self._room = asyncio.Semaphore(MOST)

    def __repr__(self) -> str:
        return f"<Store of hub {self.keys.name}>"

    # -- connections

    def _borrow(self, *, blocking: bool) -> Connection:
        if self._closed:
            raise link.closed()
        free = self._free_blocking if blocking else self._free
        if free:
            return free.pop()
        self.contact.opens()
        kind, options = link.options(self.url, blocking=blocking, reply=self._reply)
        # redis-py would keep the time with asyncio.wait_for, which loses a cancellation
        # that comes together with the end of what it waits for (before Python 3.12).
        options["socket_timeout"] = None
        made: Connection = _KINDS[kind](retry=Retry(NoBackoff(), 0), **options)
        return made

    async def _give_back(self, connection: Connection, *, blocking: bool) -> None:
        self._listening.discard(connection)
        (self._free_blocking if blocking else self._free).append(connection)
        if self._closed:
            await self._close_free()

    async def _drop(self, connection: Connection, problem: BaseException) -> None:
        """Close a connection that failed, or on which nobody waits any more.

        What is still to come on it belongs to nobody.
        """
        self._listening.discard(connection)
        await connection.disconnect(nowait=True)
        if isinstance(problem, link.LOST):
            if self._closed:
                raise link.closed() from None
            self.contact.loses()

    async def _listen(self, connection: Connection) -> None:
        """Have a connection on which somebody waits woken when all is closed."""
        self._listening.add(connection)
        await connection.connect()
        if self._closed:
            # It was made too late to be woken.
            raise link.closed()

    async def close(self) -> None:
        """Close the connections, those in use when they no longer are.

        Whoever waits for something is woken; nobody is served any more.
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
        blocking: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Any]:
        """Send commands in one go and read their replies; errors are replies too.

        A connection that failed in any way, or on which nobody waits any more, is
        dropped. ``meanwhile`` is called when all was sent.
        """
        connection = self._borrow(blocking=blocking)
        limit = link.limit(blocking=blocking, reply=self._reply)
        try:
            packed = link.packed(commands)
            async with asyncio.timeout(limit):
                if blocking:
                    await self._listen(connection)
                await connection.send_packed_command(packed, check_health=False)
                if meanwhile is not None:
                    meanwhile()
                replies = [await _read(connection) for _ in commands]
        except BaseException as problem:
            await self._drop(connection, problem)
            link.tell_of_silence(problem)
            raise
        self.contact.hears()
        await self._give_back(connection, blocking=blocking)
        return replies

    async def _persist(
        self,
        attempt: Callable[[], Awaitable[T]],
        since: float | None = None,
        until: float | None = None,
    ) -> T:
        """Try until it works, patience is over, or the error is no passing one."""
        begun = time.monotonic() if since is None else since
        tries: link.Tries | None = None
        while True:
            try:
                async with self._room:
                    return await attempt()
            except link.TROUBLE as problem:
                if tries is None:
                    away = self.contact.away_since
                    tries = link.Tries(self.patience, begun, until, away)
                pause = tries.after(problem)
                await self._drop_free()
            await asyncio.sleep(pause)

    async def _drop_free(self) -> None:
        """Forget idle connections: they most likely died with the one that did."""
        while self._free:
            await self._free.pop().disconnect(nowait=True)

    async def command(self, *words: Any) -> Any:
        """Perform one plain Redis command that is safe to repeat."""
        return (await self.commands([words]))[0]

    async def commands(
        self, commands: Sequence[Sequence[Any]], until: float | None = None
    ) -> list[Any]:
        """Perform plain commands that are safe to repeat, in one round trip."""

        async def attempt() -> list[Any]:
            replies = await self._exchange(commands)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

        return await self._persist(attempt, until=until)

    async def block(self, *words: Any) -> Any:
        """Perform a blocking command, once, on a connection for such.

        It may wait ``link.LONGEST_BLOCK`` at most. Raises ``ConnectionLost``.
        """
        try:
            (reply,) = await self._exchange([words], blocking=True)
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

        ``since`` is when patience began, ``time.monotonic()``; None: now.
        ``meanwhile`` is called while the reply is on its way, if nothing fails before.
        Raises the exception of its error reply, or ``ConnectionLost``; ``StillAway``
        if Redis is away and the caller has time ``until`` then only.
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
            replies = await self._exchange(batch.commands(), meanwhile=meanwhile)
            try:
                loadings = batch.take(replies)
            except RedtaskError:
                await self._tidy(batch.litter())
                raise
            for loading in loadings:
                (loaded,) = await self._exchange([loading])
                if isinstance(loaded, Exception):
                    raise loaded
                batch.load(loaded)

        while not batch.done:
            await self._persist(attempt, since, until)
        self.scheme = batch.scheme
        return batch.values()

    async def _tidy(self, litter: Sequence[Sequence[Any]]) -> None:
        """Delete what is of no use; if that fails, it goes by itself in time."""
        if litter:
            with contextlib.suppress(RedtaskError, *link.LOST):
                await self._exchange(litter)


def _wake(connection: Any) -> None:
    """Let who reads from a connection see its end."""
    # redis-py gives no other way.
    if (writer := connection._writer) is not None:
        writer.transport.abort()


async def _read(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except link.redis.ResponseError as problem:
        return problem


class Driver:
    """Runs flows for one client: performs each step and waits for its stream.

    One task in the background reads the stream while anybody waits, and wakes exactly
    those for whom something has come: however many wait, they cost one connection.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: set[asyncio.Future[bool]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._pauses = link.pauses()
        #: A connection that is still to be opened may lead to a server that was
        #: restarted, and forgot the stream.
        self._unsure = True

    async def run(
        self, flow: Flow[T], since: float | None = None, until: float | None = None
    ) -> T:
        """Drive a flow to its end: perform each step, give back what came of it.

        ``since`` is when patience with its calls began; None: with each. ``until`` is
        until when the caller has time, if Redis is away.
        """
        try:
            step = next(flow)
            while True:
                try:
                    value = await self._perform(step, since, until)
                except Exception as problem:  # noqa: BLE001 - the flow's to handle
                    step = flow.throw(problem)
                else:
                    step = flow.send(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            # Whoever waits may be cancelled in the middle of it.
            flow.close()

    async def _perform(
        self, step: Step, since: float | None, until: float | None
    ) -> Any:
        if isinstance(step, Call):
            return await self.store.do(step, since, until=until)
        if isinstance(step, Meanwhile):
            return await self.store.do(step.call, since, step.act, until)
        if isinstance(step, (Commands, Fetch)):
            return await self.store.commands(step.commands, until)
        if isinstance(step, Hear):
            return await self.store.block(*step.words)
        return await self._wait(step)

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
                self._read(step.inbox), name="redtask reader"
            )
        try:
            return await future
        finally:
            over.cancel()
            self._waiting.discard(future)
            tasks.wakers.remove(wake)

    async def _read(self, inbox: Inbox) -> None:
        """Read the stream while anybody waits."""
        store, keys = self.store, self.store.keys
        longest = int(link.LONGEST_BLOCK * 1000)
        while self._waiting:
            try:
                if self._unsure and not await self._assure(inbox):
                    inbox.disturbed()
                    self._wake_all()
                    continue
                reply = await store.block(*link.read_stream(keys, inbox, longest))
            except ConnectionLost:
                # Whoever waits asks the records next, and that has patience.
                self._unsure = True
                inbox.disturbed()
                self._wake_all()
                # The records may be within reach all the while: ask them in peace.
                await asyncio.sleep(next(self._pauses))
            except Exception as problem:  # noqa: BLE001 - it is those who wait to know
                self._wake_all(problem)
            else:
                if reply:
                    inbox.feed(link.entries(reply))
                self._pauses = link.pauses()

    async def _assure(self, inbox: Inbox) -> bool:
        """Is the server the one that was heard before, and has it the stream?"""
        self._unsure = False
        contact = self.store.contact
        epoch = contact.epoch
        there = await self.store.command(*link.find_stream(self.store.keys, inbox))
        return bool(there) and contact.epoch == epoch

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
        """Stop reading; whoever still waits hears that the client is closed."""
        self._wake_all(link.closed())
        await self.store.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
