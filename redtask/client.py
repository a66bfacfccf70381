"""``Client``: a program's connection to a hub."""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from redtask import absent, cells, ferry, flows, link
from redtask.batch import Batch
from redtask.connect import connect
from redtask.current import desk
from redtask.direct import DirectView
from redtask.durability import MEMORY
from redtask.error import StillAway
from redtask.executor import AbortThread
from redtask.flags import Flags
from redtask.fleet import Fleet
from redtask.flows import story
from redtask.hub import calls
from redtask.outcomes import Elsewhere, tasks_elsewhere
from redtask.pier import Pier
from redtask.place import Place
from redtask.profile import Profile
from redtask.result import AsyncHubResult, AsyncResult, CallbackThread
from redtask.session import Session, is_single
from redtask.slices import is_long
from redtask.stored import StoredTasks
from redtask.targets import Row, check_key
from redtask.timeouts import limit_of, patience_of, until_of
from redtask.view import LoadBalancedView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redtask.cluster import Cluster
    from redtask.executor import ViewExecutor
    from redtask.ferry import Passenger
    from redtask.pier import Letter
    from redtask.session import Slices
    from redtask.slices import Task

T = TypeVar("T")


class Client(StoredTasks, Fleet):
    """A client of a hub.

    Without arguments it uses the profile ``default``: the hub of a cluster started
    on this machine, or what ``REDTASK_URL`` and ``REDTASK_KEY`` name.

    :param url: where Redis is: ``redis://``, ``rediss://``, ``unix://`` or
        ``tcp://host:port``; ``?hub=NAME`` chooses a hub.
    :param profile: name of the profile to use.
    :param key: key text, instead of the profile's key file.
    :param timeout: how long a call is retried while Redis is away, in seconds.

    Thread-safe. A forked child becomes a client of its own. Raises
    ``ConfigurationError`` and ``ConnectionLost``, and ``TypeError`` or ``ValueError``
    for an invalid timeout.
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
        self._begin(Profile.load(profile, url=url, key=key), timeout)
        if (shell := cells.shell()) is not None:
            from redtask import magics  # noqa: PLC0415 - needs IPython

            magics.offer(shell, newest)

    @classmethod
    def of(
        cls, profile: Profile, *, timeout: float | None = 30.0, make: bool = True
    ) -> Self:
        """Return a client of a profile that is already loaded.

        Without ``make``, raises ``NoHub`` if there is no hub.
        """
        client = cls.__new__(cls)
        client._begin(profile, timeout, make=make)
        return client

    def _begin(
        self, profile: Profile, timeout: float | None, *, make: bool = True
    ) -> None:
        self._profile, patience = profile, patience_of(timeout)
        self._store, keyring = connect(
            profile, patience=patience, reply=link.reply_of(patience), make=make
        )
        self._store.contact.told = 0.0
        self._session = Session(self._store.keys, keyring, self._store.contact)
        self._driver = self._store.driver()
        self._pier = Pier(self._cross, patience)
        self._callbacks = CallbackThread(self)
        self._aborts = AbortThread(self)
        #: Executors whose futures must fail when this client is closed.
        self._executors: weakref.WeakSet[ViewExecutor] = weakref.WeakSet()
        self.closed = False
        #: The ``Cluster`` that made it; None: it was made by itself.
        self.cluster: Cluster | None = None
        _clients().add(self)
        #: Default for views made from now on.
        self.block = False
        self._appear()

    def _appear(self) -> None:
        """Be found in this process by results from elsewhere."""
        key, living = id(self), _living(os.getpid())
        living[key] = weakref.ref(self, lambda _: living.pop(key, None))

    def __repr__(self) -> str:
        return f"<Client {self._session.client} of {self._profile.shown_url}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: functions would carry along the clients they use."""
        raise TypeError(
            "a client does not travel: make one where it is used, redtask.Client()"
        )

    def __enter__(self) -> Self:
        if self.closed:
            raise link.closed()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, linger: float | None = None) -> None:  # noqa: ARG002 - as there
        """Close the connections. Tasks go on; their results can be fetched later.

        ``linger`` is accepted, as in IPython.parallel: nothing is left to be sent.
        """
        self.closed = True
        self._store.close()
        self._callbacks.close()
        for executor in list(self._executors):
            executor.give_up()

    def _renew(self) -> None:
        """Become a client of its own after a fork."""
        self._store.renew()
        self._session.renew()
        self._driver.renew()
        self._pier.renew()
        self._callbacks.renew()
        for executor in list(self._executors):
            executor.renew()
        self._appear()

    @property
    def _key(self) -> object:
        """Distinguishes this client from others."""
        return self

    @property
    def _place(self) -> Place:
        return Place.of(self._profile)

    @property
    def _revive(self) -> Callable[..., AsyncResult]:
        """Rebuilds this client's results in other processes."""
        return revive

    def _run(self, flow: flows.Flow[T], until: float | None = None) -> T:
        batch = Batch.of(self)
        if batch is not None and len(batch):
            # This may ask about tasks still in the batch.
            batch.flush()
        return self._drive(flow, until=until)

    def _drive(
        self,
        flow: flows.Flow[T],
        since: float | None = None,
        until: float | None = None,
    ) -> T:
        if self.closed:
            raise link.closed()
        # A task may ask about others that its engine has ended, and not reported yet.
        desk(os.getpid()).settle()
        if self._session.must_recover:
            # A caller that is out of time leaves recovery to the next one.
            with contextlib.suppress(StillAway):
                self._driver.run(self._session.recover(), since, until)
        try:
            return self._driver.run(flow, since, until)
        except KeyboardInterrupt as problem:
            raise cells.without_ours(problem)  # noqa: B904 - it is the same one

    def _submit(self, slices: Slices) -> None:
        self._run(self._session.submit(slices))

    def _enter(self, task: Task) -> None:
        """Submit one task, possibly in one call with those of other threads."""
        batch = Batch.of(self)
        if batch is not None and not is_long(task):
            batch.add(task)
            return
        try:
            if is_long(task):
                self._submit(self._session.cut((task,)))
            else:
                self._pier.submit(task)
        finally:
            self._session.arrived((task.task_id,))

    def _enter_all(self, tasks: Sequence[Task]) -> None:
        """Submit tasks together: all or none, unless they are part of a batch."""
        if len(tasks) == 1 or Batch.of(self) is not None:
            for task in tasks:
                self._enter(task)
        else:
            self._submit(self._session.whole(tasks))

    def _post(self, task: Task) -> Letter | None:
        """Submit one task soon, from another thread; None: it was submitted here."""
        alone = is_long(task) or len(task.envelope) > ferry.MOST_BYTES
        if alone or Batch.of(self) is not None:
            self._enter(task)
            return None
        landed = functools.partial(self._session.arrived, (task.task_id,))
        return self._pier.post(task, landed)

    def _assure(self, durability: str) -> None:
        """Make sure that submits can be made durable."""
        if durability != MEMORY:
            self._run(self._session.assure(durability))

    def _confirm(self, durability: str, ids: Sequence[str]) -> None:
        """Wait until submitted tasks are durable."""
        if durability != MEMORY and ids:
            self._run(self._session.confirm(durability, ids))

    def _cross(self, aboard: Sequence[Passenger]) -> None:
        self._drive(self._session.cross(aboard), aboard[0].since)

    def _call_back(
        self, result: AsyncResult, callback: Callable[[AsyncResult], Any]
    ) -> None:
        self._callbacks.add(result, callback)

    # -- engines

    @property
    def ids(self) -> list[int]:
        """The ids of the living engines, sorted."""
        status = self._run(self._session.status())
        return [engine.engine_id for engine in status.engines]

    def __iter__(self) -> Iterator[DirectView]:
        """Yield a view of each engine."""
        living = self._run(self._session.living())
        flags = Flags().replaced(block=self.block)
        for number in living:
            row = Row.of(number).among(living)
            yield DirectView(self, flags.replaced(targets=row))

    def __len__(self) -> int:
        """Return the number of engines."""
        return int(self._run(flows.ask(calls.status(0))).hub["registered"])

    def __bool__(self) -> bool:
        """Return True even without engines."""
        return True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(absent.words("'Client' object", name))

    def __getitem__(self, key: int | slice | Iterable[int]) -> DirectView:
        """Return a view of one engine, by its id, or of several.

        A slice is one of ``ids``; negative numbers count from the last engine. Raises
        ``TypeError``, ``IndexError`` and ``NoEnginesRegistered``.
        """
        check_key(key)
        return self.direct_view(key)

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """Return a view whose tasks run on whichever engine the hub chooses.

        ``targets`` restricts the choice: an id, a list of ids, or a slice of ``ids``;
        None and ``"all"`` do not. ``flags`` are those of the view: ``block``,
        ``retries``, ``after`` ... Raises ``IndexError`` for an engine that does not
        exist, and ``KeyError``, ``TypeError`` or ``ValueError`` for a flag.
        """
        view = LoadBalancedView(self)
        flags.setdefault("block", self.block)
        view.set_flags(targets=targets, **flags)
        return view

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """Return a view that calls functions on each of its engines.

        ``targets`` is an id, a list of ids, or a slice of ``ids``, looked up now; or
        ``"all"``, those that live at the time of each call. ``flags`` are those of the
        view: ``block``, ``retries``, ``after`` ... Raises ``NoEnginesRegistered``,
        ``IndexError`` for an engine that does not exist, and ``KeyError``,
        ``TypeError`` or ``ValueError`` for a flag.
        """
        flags.setdefault("block", self.block)
        view = DirectView(self)
        view.set_flags(targets=targets, **flags)
        return view

    def activate(self, targets: Any = "all", suffix: str = "") -> DirectView:
        """Let ``%px`` in IPython mean these engines; return their view, which blocks.

        As ``DirectView.activate``. Without this, it means all of the newest client.
        """
        view = self.direct_view(targets, block=True)
        view.activate(suffix)
        return view

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Clear the namespaces of engines, of all by default.

        Returns None if that is waited for, else an ``AsyncResult``.
        """
        view = self.direct_view("all" if targets is None else targets)
        return view.clear(block=block)

    def executor(self, targets: Any = None) -> ViewExecutor:
        """Return a ``concurrent.futures.Executor`` whose calls are tasks.

        ``targets`` as of ``load_balanced_view``; ``view.executor`` has a view's flags.
        """
        return self.load_balanced_view(targets).executor

    def wait_for_engines(
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
        self._run(flow, until_of(timeout))

    # -- results

    @property
    def history(self) -> list[str]:
        """Ids that this client submitted, each once, oldest first; the last 100,000."""
        return self._session.history

    @property
    def outstanding(self) -> set[str]:
        """Ids that this client submitted and that have not ended."""
        return self._open(None)

    def _open(self, history: Sequence[str] | None) -> set[str]:
        """Return those of a view, or (None) all, that have not ended."""
        self._pier.settle()
        ids = None if history is None else self._session.open_of(history)
        return self._run(self._session.outstanding(ids))

    def get_result(
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
        tasks = self._run(self._session.find(wanted))
        result = AsyncHubResult(self, tasks, single=is_single(wanted))
        if self.block if block is None else block:
            result.wait()
        return result

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids or positions; None: all that this client submitted.

        Returns whether they have all ended. A negative timeout is forever, like None.
        """
        return self._run(self._session.wait(jobs, timeout), until_of(timeout))

    def abort(
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
            self._pier.settle()
        flow = self._session.abort(jobs, running=running, dependents=dependents)
        return self._run(flow)


class _Elsewhere(Elsewhere):
    @property
    def _revive(self) -> Callable[..., AsyncResult]:
        return revive

    @property
    def _session(self) -> Session:
        return self._client()._session

    def _client(self) -> Client:
        client = _client_of(self._place)
        self._expect(client._session)
        return client

    def _run(self, flow: flows.Flow[T], until: float | None = None) -> T:
        return self._client()._run(flow, until)

    def _call_back(
        self, result: AsyncResult, callback: Callable[[AsyncResult], Any]
    ) -> None:
        self._client()._call_back(result, callback)


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


def _client_of(place: Place) -> Client:
    """Return a client of this process for results from elsewhere."""
    client = _in_use(place)
    return _own_client(os.getpid(), place) if client is None else client


def _in_use(place: Place) -> Client | None:
    """Return a client of this process: it knows the key, which may be nowhere else."""
    for found in list(_living(os.getpid()).values()):
        client = found()
        if client is not None and not client.closed and client._place.is_same(place):
            return client
    return None


def newest() -> Client | None:
    """Return the client that this process made last, of those that are open."""
    for found in reversed(list(_living(os.getpid()).values())):
        client = found()
        if client is not None and not client.closed:
            return client
    return None


@functools.cache
def _clients() -> weakref.WeakSet[Client]:
    """Return all clients, also those that this process was forked with.

    A forked child has them begin anew while it has but one thread: two that use a
    client for the first time would each do so, and one with what the other dropped.
    """
    clients = weakref.WeakSet[Client]()

    def renew() -> None:
        for client in list(clients):
            client._renew()

    os.register_at_fork(after_in_child=renew)
    return clients


@functools.cache
def _living(pid: int) -> dict[int, weakref.ref[Client]]:  # noqa: ARG001 - see below
    """Return the clients of this process; a forked child has its own."""
    return {}


@functools.cache
def _own_client(pid: int, place: Place) -> Client:  # noqa: ARG001 - likewise
    """Return a client for results alone, one per hub."""
    return Client(place.url_here(), profile=place.profile)
