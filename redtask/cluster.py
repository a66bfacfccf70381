"""``Cluster``: a hub and engines on this machine, for scripts and notebooks."""

from __future__ import annotations

import atexit
import logging
import numbers
import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING, Any

from redtask import absent
from redtask.client import Client
from redtask.error import ClusterError, ConnectionLost
from redtask.keeper import line
from redtask.keeper.plan import SCRIPT, Plan

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from types import TracebackType

    from redtask import aio

_log = logging.getLogger("redtask")


class Cluster:
    """A hub and ``n`` engines on this machine, for as long as this script runs.

    ::

        with redtask.Cluster(n=4) as rc:
            view = rc.load_balanced_view()

    ``async with`` gives a ``redtask.aio.Client``, and waits without blocking the loop.

    If a Redis is named (``url``, ``REDTASK_URL``, the profile's settings), it is used.
    Otherwise the embedded one of the profile is started, or joined if it already runs:
    scripts of one profile share a hub, engines serve them all, and what was submitted
    is still there the next time. ``private=True`` gives a hub of its own in a temporary
    folder, which is deleted with the cluster.

    :param n: how many engines; by default one per processor.
    :param profile: name of the profile to use.
    :param url: where Redis is.
    :param key: key text, instead of the profile's key file.
    :param hwm: the most tasks an engine of the hub may have at a time.
    :param max_payload: the most bytes that arguments or a result may have.
    :param scheme: how engines are chosen: a name, or the path of a Lua file.
    :param engine_timeout: how many seconds engines may take to join.
    :param drain: how many seconds running tasks may go on when the cluster is
        stopped; None: as long as they take.

    Nothing outlives the script, however it ends. Thread-safe.
    """

    @absent.refused("Cluster()")
    def __init__(  # noqa: PLR0913 - all but the first are options
        self,
        n: int | None = None,
        *,
        profile: str | None = None,
        url: str | None = None,
        key: str | None = None,
        hwm: int | None = None,
        max_payload: int | None = None,
        scheme: str | os.PathLike[str] | None = None,
        private: bool = False,
        engine_timeout: float = 60.0,
        drain: float | None = 10.0,
    ) -> None:
        engines = len(os.sched_getaffinity(0)) if n is None else _whole(n)
        if private and (profile or url or key):
            raise ValueError("a private cluster has no profile, url or key")
        for name, value in (("hwm", hwm), ("max_payload", max_payload)):
            _check_number(name, value)
        if scheme is not None and not isinstance(scheme, (str, os.PathLike)):
            kind = type(scheme).__name__
            raise TypeError(f"scheme must be a name or a path, not {kind}")
        #: The number of engines it starts with.
        self.n = engines
        self.profile = profile
        self.engine_timeout = _seconds("engine_timeout", engine_timeout)
        self.drain = None if drain is None else _seconds("drain", drain)
        self._url = url
        self._key = key
        self._hwm = hwm
        self._max_payload = max_payload
        self._scheme = None if scheme is None else os.fspath(scheme)
        self._private = private
        self._keeper: subprocess.Popen[bytes] | None = None
        self._about: dict[str, Any] = {}
        #: How its keeper was lost; "" if it was not.
        self._lost = ""
        self._client: Client | None = None
        self._aio_client: aio.Client | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        if not self.is_running:
            return f"<Cluster n={self.n}, not running>"
        where = self._about["shown_url"]
        return f"<Cluster n={self.n}, hub {self._about['hub']} at {where}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(absent.words("'Cluster' object", name))

    @property
    def is_running(self) -> bool:
        """Is it started, and not stopped?"""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def url(self) -> str | None:
        """URL of its hub, with the name; None: it is not running."""
        return self._about["url"] if self.is_running else None

    @property
    def key(self) -> str | None:
        """Key text of its hub, a secret, if no file has it: for a client elsewhere.

        None: the profile has it, or the cluster is not running.
        """
        return (self._about["key"] or self._key) if self.is_running else None

    # -- all at once

    def start_cluster(self, n: int | None = None) -> Cluster:
        """Start the hub unless it is external, and ``n`` engines; wait until they join.

        Raises ``ClusterError`` and what ``Client`` raises; then nothing is left. And
        ``TypeError`` or ``ValueError`` for a wrong number.
        """
        with self._lock:
            if self.is_running:
                raise ClusterError("this cluster is running")
            if n is not None:
                self.n = _whole(n)
            plan = Plan(
                engines=self.n,
                mode=SCRIPT,
                profile=self.profile,
                url=self._url,
                key=self._key,
                hwm=self._hwm,
                max_payload=self._max_payload,
                scheme=self._scheme,
                private=self._private,
                patience=self.engine_timeout,
                parent=os.getpid(),
            )
            self._pid = os.getpid()
            self._keeper, self._about = line.launch(plan)
            # Also keeps the cluster alive if only its client is referenced.
            atexit.register(self.stop_cluster)
            return self

    def start_and_connect(self, n: int | None = None, activate: bool = False) -> Client:
        """Start the cluster and return a client of it.

        With ``activate``, ``%px`` in IPython means its engines, whatever clients come.
        """
        self.start_cluster(n)
        try:
            client = self.connect_client()
            if activate:
                client.activate()
        except BaseException:
            self.stop_cluster()
            raise
        return client

    def stop_cluster(self) -> None:
        """Drain the engines, and stop what was started. The hub's data stay.

        Does nothing if it is not running.
        """
        if self._pid != os.getpid():
            return  # a forked child has no cluster
        with self._lock:
            process, self._keeper = self._keeper, None
            if process is None:
                return
            atexit.unregister(self.stop_cluster)
            client, self._client = self._client, None
            if client is not None:
                client.close()
            try:
                line.end(process, self.drain)
            except KeyboardInterrupt:
                line.end(process, 0.0)
                raise
            self._look_after(process)

    def _look_after(self, keeper: subprocess.Popen[bytes]) -> None:
        """Do what a keeper that was killed could not do itself."""
        self._lost = ""
        if keeper.returncode >= 0:
            return
        killer = _signal_name(-keeper.returncode)
        self._lost = f"the keeper of the cluster was killed by {killer}"
        _log.warning("%s", self._lost)
        if home := self._about["home"]:
            shutil.rmtree(home, ignore_errors=True)

    def _explain(self, problem: BaseException | None) -> None:
        """Note on a lost connection that it was lost with the cluster."""
        if self._lost and isinstance(problem, ConnectionLost):
            problem.add_note(self._lost)

    def __enter__(self) -> Client:
        return self.start_and_connect()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_cluster()
        self._explain(problem)

    async def __aenter__(self) -> aio.Client:
        from redtask import aio  # noqa: PLC0415 - asyncio takes a while to import

        await _shielded(self.start_cluster, self.stop_cluster)
        try:
            self._aio_client = await aio.Client.connect(
                self.url, profile=self.profile, key=self.key
            )
        except BaseException:
            await _shielded(self.stop_cluster)
            raise
        self._aio_client.cluster = self
        return self._aio_client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client, self._aio_client = self._aio_client, None
        try:
            if client is not None:
                await client.close()
        finally:
            await _shielded(self.stop_cluster)
            self._explain(problem)

    # -- its parts

    def connect_client(self) -> Client:
        """Return a client of the cluster. It is closed when the cluster stops."""
        with self._lock:
            self._running()
            if self._client is None:
                self._client = Client(self.url, profile=self.profile, key=self.key)
                self._client.cluster = self
            return self._client

    def start_engines(self, n: int | None = None) -> str:
        """Start ``n`` more engines; return the name of the set when they have joined.

        Raises ``ClusterError``, and ``TypeError`` or ``ValueError`` for a wrong number.
        """
        engines = _whole(self.n if n is None else n, least=1)
        with self._lock:
            answer = line.request(
                self._running(),
                do="start",
                engines=engines,
                patience=self.engine_timeout,
            )
            return str(answer["name"])

    def stop_engines(self, engine_set_id: str | None = None) -> None:
        """Drain and stop a set of engines, or (None) all. Raises ``ClusterError``."""
        with self._lock:
            line.request(
                self._running(), do="stop", name=engine_set_id, drain=self.drain
            )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._keeper is None:
            raise ClusterError("this cluster is not running: start_cluster() first")
        return self._keeper

    # IPython.parallel has these beside awaitable ones.
    start_cluster_sync = start_cluster
    start_and_connect_sync = start_and_connect
    stop_cluster_sync = stop_cluster
    connect_client_sync = connect_client
    start_engines_sync = start_engines
    stop_engines_sync = stop_engines


async def _shielded(
    work: Callable[[], object], undo: Callable[[], object] | None = None
) -> None:
    """Do something in a thread, to its end even if the caller is cancelled.

    If he is, it is undone.
    """
    import asyncio  # noqa: PLC0415 - it takes a while to import

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        if undo is not None:
            await _shielded(undo)
        raise


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Some real-time signals have no name.
        return f"signal {number}"


def _whole(n: object, *, least: int = 0) -> int:
    """Return a number of engines. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(n, numbers.Integral):
        kind = type(n).__name__
        raise TypeError(f"n must be a whole number of engines, not {kind}")
    if n < least:
        raise ValueError(f"n is a number of engines, not {n!r}")
    return int(n)


def _check_number(name: str, value: object) -> None:
    """Raise ``TypeError`` for what is no whole number, and not None."""
    if value is not None and not isinstance(value, numbers.Integral):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a whole number, not {kind}")


def _seconds(name: str, value: object) -> float:
    """Return a number of seconds. Raises ``TypeError`` or ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a number of seconds, not {kind}")
    seconds = float(value)
    if not seconds >= 0:
        raise ValueError(f"{name} must be a number of seconds, not {value!r}")
    return seconds


__all__ = ["Cluster"]
