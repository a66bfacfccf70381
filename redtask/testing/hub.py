"""A hub for the tests of programs that use redtask."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from redtask import aio, store
from redtask.aio import store as aio_store
from redtask.client import Client
from redtask.keyfile import Key
from redtask.scheme import find
from redtask.signing import Keyring
from redtask.testing.aio import LocalStore as AsyncStore
from redtask.testing.clockwork import Clockwork
from redtask.testing.store import LocalStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from redtask.testing.engine import Engine

_NAME: Final = "testing"
_numbers: Final = itertools.count(1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: What the hub counts.
_TICK: Final = timedelta(milliseconds=1)


def _ms(moment: datetime) -> int:
    """Return a time in ms since 1970."""
    return round((moment - _EPOCH) / _TICK)


def _begin(now: datetime | None) -> int:
    """Return when time begins, in ms since 1970."""
    if now is None:
        return round(time.time() * 1000)
    if not isinstance(now, datetime):
        kind = type(now).__name__
        raise TypeError(f"now must be a datetime with a timezone, not {kind}")
    if now.utcoffset() is None:
        raise ValueError(f"now must be a datetime with a timezone, not {now!r}")
    if now < _EPOCH:
        raise ValueError(f"now must be in 1970 or later, not {now!r}")
    return _ms(now)


class Hub:
    """A hub in this process, with engines that run tasks when somebody waits for them.

    As a context manager it is also the hub of every ``redtask.Client()`` and
    ``redtask.aio.Client()`` that is made meanwhile without a URL: it sets
    ``REDTASK_URL`` and ``REDTASK_KEY``. ::

        with testing.Hub() as hub:
            rc = redtask.Client()
            ...

    A task runs in the thread that waits for it, to its end: breakpoints work, and what
    a test has patched is patched. Time stands still. While somebody waits, and nothing
    is left to run, it jumps to whatever is due next: delays and the backoffs of retries
    take no time. Who waits for what can never happen gets ``Stuck``, which says why.

    :param engines: how many engines there are; with 0 nothing runs.
    :param queues: the queues that each of them serves.
    :param scheme: how engines are chosen: one of redtask's schemes, or a Lua file.
    :param now: the time at the beginning, with a timezone; by default the real one.
    :param durable: does its Redis keep a log, and have a replica? Otherwise views with
        ``durability`` are refused.
    :param settings: settings of the hub, as with ``redtask configure``: ``hwm=1``,
        ``max_payload=65536``.

    Raises ``SchemeError`` and ``HubError``, of ``redtask.error``, for a wrong scheme,
    queue or setting, and ``ValueError`` for a negative number of engines or a time
    without a timezone.
    """

    def __init__(
        self,
        engines: int = 1,
        *,
        queues: Sequence[str] = ("default",),
        scheme: str = "leastload",
        now: datetime | None = None,
        durable: bool = True,
        **settings: int,
    ) -> None:
        if engines < 0:
            raise ValueError(f"engines: {engines} is less than 0")
        if isinstance(queues, str):
            raise TypeError("queues must be a list of names, not a string")
        key = Key.new()
        self._clockwork = Clockwork(
            Keyring(_NAME, (key,)), _begin(now), durable=durable
        )
        self._address = f"unix:///redtask.testing/{next(_numbers)}"
        #: For ``redtask.Client(hub.url, key=hub.key)``.
        self.url = f"{self._address}?hub={_NAME}"
        self.key = key.text
        self._before: dict[str, str | None] = {}
        self._queues = tuple(queues)
        self._clockwork.make(find(scheme), settings)
        for _ in range(engines):
            self.add_engine()
        make = functools.partial(LocalStore, clockwork=self._clockwork)
        store.stand_ins[self._address] = make
        make_async = functools.partial(AsyncStore, clockwork=self._clockwork)
        aio_store.stand_ins[self._address] = make_async

    def __repr__(self) -> str:
        return f"<Hub {self.url}: engines {self.engine_ids}, {self.now:%F %T}>"

    def __enter__(self) -> Self:
        for name, value in (("REDTASK_URL", self.url), ("REDTASK_KEY", self.key)):
            self._before[name] = os.environ.get(name)
            os.environ[name] = value
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.close()

    def close(self) -> None:
        """Forget everything. Its clients cannot be used any more."""
        store.stand_ins.pop(self._address, None)
        aio_store.stand_ins.pop(self._address, None)
        self._clockwork.close()

    # -- clients

    def client(self) -> Client:
        """Return a new client of this hub."""
        return Client(self.url, key=self.key)

    def aio_client(self) -> aio.Client:
        """Return a new client for asyncio, for ``async with``."""
        return aio.Client(self.url, key=self.key)

    # -- engines

    @property
    def engine_ids(self) -> list[int]:
        """The ids of the engines, as in ``rc.ids``."""
        return [engine.engine_id for engine in self._clockwork.engines]

    def add_engine(self, queues: Sequence[str] | None = None) -> int:
        """Let one more engine join, for these queues; return its id."""
        given = self._queues if queues is None else tuple(queues)
        return self._clockwork.add(given).engine_id

    def remove_engine(self, engine_id: int) -> None:
        """Let an engine leave. Raises ``KeyError`` if there is no such engine."""
        self._clockwork.remove(self._engine(engine_id))

    def _engine(self, engine_id: int) -> Engine:
        for engine in self._clockwork.engines:
            if engine.engine_id == engine_id:
                return engine
        raise KeyError(f"no engine has the id {engine_id}")

    # -- running

    @property
    def now(self) -> datetime:
        """The hub's time, in whole milliseconds."""
        return _EPOCH + self._clockwork.now * _TICK

    def run(self, most: int | None = None) -> int:
        """Run all tasks that can run now, or ``most`` of them.

        If another thread runs one, that is waited for. Returns how many have run, each
        attempt counted. Nothing that is due later is run: see ``advance``. In a task
        nothing runs either, as that is running.
        """
        ran = 0
        while most is None or ran < most:
            more = self._clockwork.turn(patient=True)
            if more is None:
                break
            ran += more
        return ran

    def advance(self, seconds: float | timedelta) -> int:
        """Let time pass: what is due meanwhile happens when it is due, and tasks run.

        It is rounded to whole milliseconds, and does not pass while another thread runs
        a task. Called in a task, only time passes. Returns how many tasks have run.
        Raises ``ValueError`` for a negative or infinite time, or one that ends after
        9999.
        """
        ran = self._clockwork.advance(self._after(seconds))
        return ran + self.run()

    def _after(self, seconds: float | timedelta) -> int:
        """Return when a time that begins now is over, in ms since 1970."""
        with contextlib.suppress(OverflowError, ValueError):
            span = seconds
            if not isinstance(span, timedelta):
                span = timedelta(seconds=span)
            end = self.now + span
            if span >= timedelta():
                return _ms(end)
        raise ValueError(f"time cannot pass by {seconds!r}")
