"""``Client``: an asyncio program's connection to a hub."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from redtask import absent, ferry, link
from redtask.aio.batch import Batch
from redtask.aio.direct import DirectView
from redtask.aio.fleet import Fleet
from redtask.aio.pier import Pier
from redtask.aio.result import AsyncHubResult, Callbacks
from redtask.aio.store import open_store
from redtask.aio.stored import StoredTasks
from redtask.aio.stream import Stream
from redtask.aio.view import LoadBalancedView
from redtask.connect import address, check_server, known_keys, meet
from redtask.current import desk
from redtask.durability import MEMORY
from redtask.error import ConfigurationError, StillAway
from redtask.flags import Flags
from redtask.flows import story
from redtask.outcomes import Elsewhere, tasks_elsewhere
from redtask.place import Place
from redtask.profile import Profile
from redtask.session import Session, is_single
from redtask.slices import is_long
from redtask.targets import Row, check_key
from redtask.timeouts import limit_of, patience_of, until_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Sequence,
    )
    from typing import Self

    from redtask import flows
    from redtask.aio.pier import Letter
    from redtask.aio.result import AsyncResult
    from redtask.aio.store import Driver
    from redtask.cluster import Cluster
    from redtask.ferry import Passenger
    from redtask.inbox import TaskSet
    from redtask.session import Slices
    from redtask.slices import Task

T = TypeVar("T")

_NOT_CONNECTED: Final = (
    "not connected: use 'async with Client(...)' or 'await Client(...)'"
)
_OTHER_LOOP: Final = (
    "this client belongs to another event loop, in which it was connected: each has to "
    "have its own"
)
_NO_LOOP: Final = (
    "this client belongs to an event loop, in which it was connected: from outside use "
    "loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
)
#: In each event loop, the clients of results from other processes, one per hub.
_clients: Final[dict[asyncio.AbstractEventLoop, dict[Place, asyncio.Task[Client]]]] = {}
#: The clients that were made in each event loop.
_living: Final[
    weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[Client]]
] = weakref.WeakKeyDictionary()


class Client(StoredTasks, Fleet):
    """A client of a hub, for one event loop.

    ``async with Client(...) as rc`` connects and closes it; so do ``rc = await
    Client(...)``, or ``await Client.connect(...)``, and ``await rc.close()``. The
    arguments are those of the blocking ``redtask.Client``:

    :param url: where Redis is: ``redis://``, ``rediss://``, ``unix://`` or
        ``tcp://host:port``; ``?hub=NAME`` chooses a hub.
    :param profile: name of the profile to use.
    :param key: key text, instead of the profile's key file.
    :param timeout: how long a call is retried while Redis is away, in seconds.

    A forked child or another event loop needs a client of its own. Raises
    ``TypeError`` or ``ValueError`` for an invalid timeout; connecting raises
    ``ConfigurationError`` and ``ConnectionLost``, use in another loop
    ``ConfigurationError``.
    """

    @absent.refused("Client()")
    def __init__(
        self,
        url: str | None = None,
        *,
        profile: str | None = None,
        key: str | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        #: The ``Cluster`` that made it; None: it was made by itself.
        self.cluster: Cluster | None = None
        self._arguments = profile, url, key
        self._patience = patience_of(timeout)
        self._driver: Driver | None = None
        self._parting: AsyncGenerator[None, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Connects it, for so many callers.
        self._connecting: asyncio.Task[None] | None = None
        self._callers = 0
        self._known_session: Session | None = None
        self._known_place: Place | None = None
        self._callbacks = Callbacks()
        self._pier = Pier(self._cross, timeout)
        self._shown = "nothing yet"
        self.closed = False

    def __repr__(self) -> str:
        name = self._known_session.client if self._known_session else "-"
        return f"<Client {name} of {self._shown}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: functions would carry along the clients they use."""
        raise TypeError(
            "a client does not travel: make one where it is used, redtask.Client()"
        )

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        *,
        profile: str | None = None,
        key: str | None = None,
        timeout: float | None = 30.0,
    ) -> Self:
        """Return a connected client; the arguments are those of the class."""
        client = cls(url, profile=profile, key=key, timeout=timeout)
        await client._connect()
        return client

    def __await__(self) -> Generator[Any, Any, Self]:
        """Connect it; return it."""
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _connect(self) -> None:
        """Connect it, once for all who want that at the same time."""
        self._check_open()
        self._check_loop()
        if self._known_session is not None:
            return
        if self._connecting is None:
            self._loop = asyncio.get_running_loop()
            # It serves all, and must not keep the context of the first.
            self._connecting = asyncio.create_task(self._begin(), context=Context())
            self._connecting.add_done_callback(self._has_tried)
        connecting = self._connecting
        self._callers += 1
        try:
            # Shielded: cancelling one caller must not cancel it for the others.
            await asyncio.shield(connecting)
        finally:
            self._callers -= 1
            if not self._callers and not connecting.done():
                connecting.cancel()
                self._connecting = None
                # It has a connection to close.
                await asyncio.wait((connecting,))

    def _has_tried(self, connecting: asyncio.Task[None]) -> None:
        # To ask for the exception says that somebody has heard of it.
        failed = connecting.cancelled() or connecting.exception() is not None
        if self._connecting is connecting:
            self._connecting = None
        if failed and self._connecting is None and self._known_session is None:
            # It may be connected in another loop.
            self._loop = None

    async def _begin(self) -> None:
        name, url, key = self._arguments
        # Reading files must not block the loop.
        profile = await asyncio.to_thread(Profile.load, name, url=url, key=key)
        self._shown = str(profile.shown_url)
        # The first contact is not retried: the user wants to know at once.
        reply = link.reply_of(self._patience)
        store = open_store(address(profile), profile.hub, patience=0.0, reply=reply)
        driver = store.driver()
        try:
            store.contact.server = await driver.run(
                check_server(profile, self._patience)
            )
            store.patience = self._patience
            store.keyring = known_keys(profile)
            store.contact.told = 0.0
            keyring = store.keyring = await driver.run(meet(profile))
            # It may have been closed meanwhile.
            self._check_open()
        except BaseException:
            await driver.close()
            raise
        self._driver = driver
        self._parting = _parting(driver)
        await anext(self._parting)
        self._known_place = Place.of(profile)
        _living.setdefault(asyncio.get_running_loop(), weakref.WeakSet()).add(self)
        self._known_session = Session(store.keys, keyring, store.contact)

    async def close(self, linger: float | None = None) -> None:  # noqa: ARG002 - as there
        """Close the connections. Tasks go on; their results can be fetched later.

        ``linger`` is accepted, as in IPython.parallel: nothing is left to be sent.
        """
        if self._loop is not None and self._loop.is_closed():
            # The connections were closed when it was shut down.
            self.closed = True
            return
        self._check_loop()
        self.closed = True
        self._callbacks.close()
        if self._driver is not None and self._parting is not None:
            await self._driver.close()
            # Nothing is left to do for it.
            await self._parting.aclose()

    @property
    def _session(self) -> Session:
        if self._known_session is None:
            raise ConfigurationError(_NOT_CONNECTED)
        return self._known_session

    @property
    def _key(self) -> object:
        """Distinguishes this client from others."""
        return self

    @property
    def _place(self) -> Place:
        if self._known_place is None:
            raise ConfigurationError(_NOT_CONNECTED)
        return self._known_place

    @property
    def _revive(self) -> Callable[..., AsyncResult]:
        """Rebuilds this client's results in other processes."""
        return revive

    async def _run(self, flow: flows.Flow[T], until: float | None = None) -> T:
        batch = Batch.of(self)
        if batch is not None and len(batch):
            # This may ask about tasks still in the batch.
            await batch.flush()
        return await self._drive(flow, until=until)

    async def _drive(
        self,
        flow: flows.Flow[T],
        since: float | None = None,
        until: float | None = None,
    ) -> T:
        self._check_open()
        # A task may ask about others that its engine has ended, and not reported yet.
        desk(os.getpid()).settle()
        session, driver = self._session, self._driver
        self._check_loop()
        assert driver is not None  # noqa: S101 - there is a session
        if session.must_recover:
            # A caller that is out of time leaves recovery to the next one.
            with contextlib.suppress(StillAway):
                await driver.run(session.recover(), since, until)
        return await driver.run(flow, since, until)

    def _check_open(self) -> None:
        if self.closed:
            raise link.closed()

    def _check_loop(self) -> None:
        """Raise in another event loop: what is awaited there would never come."""
        if self._loop is None:
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(_NO_LOOP) from None
        if self._loop is not running:
            raise ConfigurationError(_OTHER_LOOP)

    def _call_back(
        self, result: AsyncResult, callback: Callable[[AsyncResult], Any]
    ) -> None:
        self._check_loop()
        self._callbacks.add(result, callback)

    async def _submit(self, slices: Slices) -> None:
        await self._run(self._session.submit(slices))

    async def _enter(self, task: Task) -> None:
        """Submit one task, possibly in one call with those of other coroutines."""
        self._check_loop()
        batch = Batch.of(self)
        if batch is not None and not is_long(task):
            await batch.add(task)
            return
        try:
            if is_long(task):
                await self._submit(self._session.cut((task,)))
            else:
                await self._pier.submit(task)
        finally:
            self._session.arrived((task.task_id,))

    async def _enter_all(self, tasks: Sequence[Task]) -> None:
        """Submit tasks together: all or none, unless they are part of a batch."""
        if len(tasks) == 1 or Batch.of(self) is not None:
            for task in tasks:
                await self._enter(task)
        else:
            await self._submit(self._session.whole(tasks))

    async def _post(self, task: Task) -> Letter | None:
        """Submit one task soon, while others run; None: it has been submitted."""
        self._check_loop()
        alone = is_long(task) or len(task.envelope) > ferry.MOST_BYTES
        if alone or Batch.of(self) is not None:
            await self._enter(task)
            return None
        landed = functools.partial(self._session.arrived, (task.task_id,))
        return self._pier.post(task, landed)

    async def _assure(self, durability: str) -> None:
        """Make sure that submits can be made durable."""
        if durability != MEMORY:
            await self._run(self._session.assure(durability))

    async def _confirm(self, durability: str, ids: Sequence[str]) -> None:
        """Wait until submitted tasks are durable."""
        if durability != MEMORY and ids:
            await self._run(self._session.confirm(durability, ids))

    async def _cross(self, aboard: Sequence[Passenger]) -> None:
        await self._drive(self._session.cross(aboard), aboard[0].since)

    # -- engines

    async def ids(self) -> list[int]:
        """Return the ids of the living engines, sorted."""
        status = await self._run(self._session.status())
        return [engine.engine_id for engine in status.engines]

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """Return a view whose tasks run on whichever engine the hub chooses.

        ``targets`` restricts the choice: an id, a list of ids, or a slice of the ids;
        None and ``"all"`` do not. They are looked up by the first submit, which raises
        ``IndexError`` for an engine that does not exist. ``flags`` are those of the
        view: ``retries``, ``after`` ... Raises ``KeyError``, ``TypeError`` or
        ``ValueError``.
        """
        return LoadBalancedView(self, Flags().replaced(targets=targets, **flags))

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """Return a view that calls functions on each of its engines.

        ``targets`` is an id, a list of ids, or a slice of the ids, looked up by the
        first call, which raises ``NoEnginesRegistered``, and ``IndexError`` for an
        engine that does not exist; or ``"all"``, those that live at the time of each
        call. ``flags`` are those of the view: ``retries``, ``after`` ... Raises
        ``KeyError``, ``TypeError`` or ``ValueError``.
        """
        view = DirectView(self)
        view.set_flags(targets=targets, **flags)
        return view

    def __getitem__(self, key: int | slice | Iterable[int]) -> DirectView:
        """Return a view of one engine, by its id, or of several.

        A slice is one of the ids; negative numbers count from the last engine. Raises
        ``TypeError``; what else may be wrong, as with ``direct_view``.
        """
        check_key(key)
        return self.direct_view(key)

    if not TYPE_CHECKING:
        # Python would ask __getitem__ for 0, 1 ... instead, without an end.
        __contains__ = None

        def __iter__(self) -> NoReturn:
            raise TypeError("'Client' object is not iterable: use 'async for'")

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(absent.words("'Client' object", name, awaited=True))

    def __aiter__(self) -> AsyncIterator[DirectView]:
        """Yield a view of each engine."""
        return _Views(self)

    async def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Clear the namespaces of engines, of all by default.

        Returns None if that is waited for, or with ``block=False`` an ``AsyncResult``.
        """
        view = self.direct_view("all" if targets is None else targets)
        return await view.clear(block=block)

    async def wait_for_engines(
        self,
        n: int = 1,
        *,
        timeout: float | None = -1,
        block: bool = True,
        interactive: bool | None = None,  # noqa: ARG002 - as in IPython.parallel
        widget: Any = None,  # noqa: ARG002 - as in IPython.parallel
    ) -> None:
        """Wait until at least ``n`` engines have joined; ``timeout=-1`` is forever.

        Raises ``TimeoutError``; with ``block=False`` it looks once and raises
        ``NoEnginesRegistered``.
        """
        limit = limit_of(timeout)
        flow = story.joined(n, self._session.keys, limit, block=block)
        await self._run(flow, until_of(timeout))

    # -- results

    @property
    def history(self) -> list[str]:
        """Ids that this client submitted, each once, oldest first; the last 100,000."""
        return self._session.history

    async def outstanding(self) -> set[str]:
        """Return the ids that this client submitted and that have not ended."""
        return await self._open(None)

    async def _open(self, history: Sequence[str] | None) -> set[str]:
        """Return those of a view, or (None) all, that have not ended."""
        await self._pier.settle()
        ids = None if history is None else self._session.open_of(history)
        return await self._run(self._session.outstanding(ids))

    async def get_result(
        self,
        indices_or_msg_ids: Any = None,
        block: bool | None = None,
        owner: bool = True,  # noqa: ARG002 - as in IPython.parallel
    ) -> AsyncHubResult:
        """Return the result of tasks by their ids, whoever submitted them.

        An id or result gives its value, a list of them a list. Integers index
        ``history``; None is the latest. Raises ``KeyError`` for an id that the hub
        does not know (any more), ``IndexError`` for no position in ``history``.
        """
        wanted = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        tasks = await self._run(self._session.find(wanted))
        result = AsyncHubResult(self, tasks, single=is_single(wanted))
        if block:
            await result.wait()
        return result

    async def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids or positions; None: all that this client submitted.

        Returns whether they have all ended. A negative timeout is forever, like None.
        """
        return await self._run(self._session.wait(jobs, timeout), until_of(timeout))

    async def abort(
        self,
        jobs: Any = None,
        targets: Any = None,  # noqa: ARG002 - as in IPython.parallel
        block: bool | None = None,  # noqa: ARG002 - it is immediate
        *,
        running: bool = False,
        dependents: bool = False,
    ) -> dict[str, str]:
        """Abort tasks that no engine has begun; None: this client's own.

        Final and immediate, even with no engine alive. With ``running``, running tasks
        are interrupted too: they end as aborted within moments, unless they complete
        first. Dependents of an aborted task fail, or with ``dependents`` are aborted
        as well. Returns a word for each id: ``aborted``, ``running`` (it goes on, or
        is being interrupted), ``ended`` or ``unknown``.
        """
        if jobs is None:
            await self._pier.settle()
        flow = self._session.abort(jobs, running=running, dependents=dependents)
        return await self._run(flow)


class _Views(Stream[DirectView]):
    """A view of each engine that lives when the first one is asked for."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client: Client | None = client

    async def _more(self) -> Iterable[DirectView]:
        if (client := self._client) is None:
            raise StopAsyncIteration
        living = await client._run(client._session.living())
        self._client = None
        rows = [Row.of(number).among(living) for number in living]
        return [DirectView(client, Flags().replaced(targets=row)) for row in rows]


async def _parting(driver: Driver) -> AsyncGenerator[None, None]:
    """Once begun, close the driver when its event loop is shut down.

    asyncio does that for asynchronous generators that nobody closed; when a loop is
    closed it is too late.
    """
    try:
        yield
    finally:
        await driver.close()


class _Elsewhere(Elsewhere):
    def __init__(self, place: Place, tasks: TaskSet) -> None:
        super().__init__(place, tasks)
        self._callbacks = Callbacks()

    @property
    def _revive(self) -> Callable[..., AsyncResult]:
        return revive

    @property
    def _session(self) -> Session:
        client = _known_client(self._place)
        if client is None:
            raise ConfigurationError(
                "this result came from another process: await it, or its wait(0)"
            )
        return self._expect(client._session)

    async def _run(self, flow: flows.Flow[T], until: float | None = None) -> T:
        client = await _client_of(self._place)
        self._expect(client._session)
        return await client._run(flow, until)

    def _call_back(
        self, result: AsyncResult, callback: Callable[[AsyncResult], Any]
    ) -> None:
        self._callbacks.add(result, callback)


def revive(
    place: Place,
    kind: type[AsyncResult],
    ids: tuple[str, ...],
    submitted: float,
    about: dict[str, Any],
) -> AsyncResult:
    """Rebuild a pickled result; it connects when first used."""
    tasks = tasks_elsewhere(ids, submitted)
    return kind._revived(_Elsewhere(place, tasks), tasks, about)


def _in_use(place: Place) -> Client | None:
    """Return a client of this loop: it knows the key, which may be nowhere else."""
    for client in _living.get(asyncio.get_running_loop(), ()):
        if not client.closed and client._place.is_same(place):
            return client
    return None


def _known_client(place: Place) -> Client | None:
    """Return this loop's client for results from elsewhere, if one is connected."""
    if (client := _in_use(place)) is not None:
        return client
    # Its own may have another address than the place.
    connected = _clients.get(asyncio.get_running_loop(), {}).get(place)
    if connected is None or not connected.done() or connected.cancelled():
        return None
    failed = connected.exception() is not None or connected.result().closed
    return None if failed else connected.result()


async def _client_of(place: Place) -> Client:
    """Return this loop's client for results from elsewhere; connect if need be."""
    if (client := _known_client(place)) is not None:
        return client
    for loop in [one for one in _clients if one.is_closed()]:
        del _clients[loop]
    known = _clients.setdefault(asyncio.get_running_loop(), {})
    connecting = known.get(place)
    if connecting is None or connecting.done():
        connecting = known[place] = asyncio.create_task(
            _connect(place), context=Context()
        )
    # Shielded: cancelling one waiter must not cancel it for the others.
    return await asyncio.shield(connecting)


async def _connect(place: Place) -> Client:
    url = await asyncio.to_thread(place.url_here)
    return await Client.connect(url, profile=place.profile)
