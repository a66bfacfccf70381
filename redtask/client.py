"""``Client``: how a program speaks to a hub."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redtask import flows
from redtask.connect import connect
from redtask.error import ConfigurationError, NoEnginesRegistered, TaskLost
from redtask.flags import Flags
from redtask.hub import calls
from redtask.inbox import TaskSet
from redtask.outcomes import Results
from redtask.profile import Profile
from redtask.result import AsyncHubResult, AsyncResult, CallbackThread
from redtask.session import Session
from redtask.store import Driver
from redtask.view import LoadBalancedView

if TYPE_CHECKING:
    from redtask.hub.calls import Group
    from redtask.hub.records import Status

T = TypeVar("T")


class Client:
    """A client of a hub.

    Without arguments it uses the profile ``default``: the hub of a cluster started
    on this machine, or what ``REDTASK_URL`` and ``REDTASK_KEY`` name.

    :param url: where Redis is: ``redis://``, ``rediss://``, ``unix://`` or
        ``tcp://host:port``; ``?hub=NAME`` chooses a hub.
    :param profile: name of the profile to use.
    :param key: key text, instead of the profile's key file.
    :param timeout: for how many seconds a call is tried again while Redis is away.

    Thread-safe. A forked child becomes a client of its own. Raises
    ``ConfigurationError`` and ``ConnectionLost``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        profile: str | None = None,
        key: str | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        self._profile = Profile.load(profile, url=url, key=key)
        self._store, keyring = connect(self._profile, patience=timeout)
        self._session = Session(self._store.keys, keyring)
        self._driver = Driver(self._store)
        self._callbacks = CallbackThread(self._run)
        self._lock = threading.Lock()
        self._closed = False
        #: Default of the views made from now on.
        self.block = False

    def __repr__(self) -> str:
        return f"<Client {self._session.client} of {self._profile.shown_url}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Tasks go on; their results can be had later."""
        self._closed = True
        self._store.close()

    def _run(self, flow: flows.Flow[T]) -> T:
        if self._closed:
            raise ConfigurationError("this client is closed")
        return self._driver.run(flow)

    def _do(self, call: calls.Call[T]) -> T:
        return self._run(flows.ask(call))

    def _submit(self, slices: Iterable[Sequence[Group]]) -> None:
        session = self._session
        self._run(flows.listen(session.inbox))
        self._run(flows.submit(slices, session.sent))

    def _call_back(
        self, result: AsyncResult, callback: Callable[[AsyncResult], Any]
    ) -> None:
        self._callbacks.add(result, callback)

    # -- engines

    def _status(self) -> Status:
        return self._do(calls.status(10000))

    @property
    def ids(self) -> list[int]:
        """The ids of the engines that live, sorted."""
        return [engine.engine_id for engine in self._status().engines]

    def __len__(self) -> int:
        """Return the number of engines."""
        return int(self._do(calls.status(0)).hub["registered"])

    def __bool__(self) -> bool:
        """Be true also without engines."""
        return True

    def load_balanced_view(self, **flags: Any) -> LoadBalancedView:
        """Return a view whose tasks run on whichever engine the hub chooses.

        ``flags`` are the view's: ``block``, ``retries``, ``label`` ...
        """
        flags.setdefault("block", self.block)
        return LoadBalancedView(self, Flags().replaced(**flags))

    def wait_for_engines(
        self, n: int = 1, *, timeout: float | None = -1, block: bool = True
    ) -> None:
        """Wait until at least ``n`` engines have joined.

        Raises ``TimeoutError``; with ``block=False`` it looks once and raises
        ``NoEnginesRegistered``.
        """
        deadline = (
            None if timeout is None or timeout < 0 else time.monotonic() + timeout
        )
        position = self._story_end()
        while (joined := len(self)) < n:
            if not block:
                raise NoEnginesRegistered(f"{joined} of {n} engines have joined")
            left = 5.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{joined} of {n} engines have joined")
            # The story tells of every engine that joins.
            position = self._await_story(position, min(left, 5.0))

    def _story_end(self) -> str:
        story = self._store.keys.story()
        latest = self._store.command("XREVRANGE", story, "+", "-", "COUNT", 1)
        return latest[0][0].decode() if latest else "0-0"

    def _await_story(self, position: str, seconds: float) -> str:
        story = self._store.keys.story()
        milliseconds = max(1, int(seconds * 1000))
        reply = self._store.block(
            "XREAD", "COUNT", 100, "BLOCK", milliseconds, "STREAMS", story, position
        )
        return reply[0][1][-1][0].decode() if reply else position

    # -- results

    @property
    def history(self) -> list[str]:
        """Ids that this client submitted, each once, oldest first; the last 100,000."""
        return list(self._session.history)

    @property
    def outstanding(self) -> set[str]:
        """Ids that this client submitted and that have not ended."""
        return self._open(self.history)

    def _open(self, ids: Sequence[str]) -> set[str]:
        tasks = TaskSet(ids)
        self._run(flows.recheck(self._session.inbox, tasks))
        return set(tasks.open_ids())

    def _ids_of(self, jobs: Any) -> list[str]:
        """Return the ids that jobs name: id, position, result, or several of them."""
        if isinstance(jobs, str):
            return [jobs]
        if isinstance(jobs, Results):
            return jobs.msg_ids
        if isinstance(jobs, int) and not isinstance(jobs, bool):
            return [self.history[jobs]]
        if isinstance(jobs, Iterable):
            listed = [name for one in jobs for name in self._ids_of(one)]
            return list(dict.fromkeys(listed))
        raise TypeError(
            f"jobs are ids, positions or results, not {type(jobs).__name__}"
        )

    def get_result(
        self,
        indices_or_msg_ids: Any = None,
        block: bool | None = None,
        owner: bool = True,  # noqa: ARG002 - as in IPython.parallel
    ) -> AsyncHubResult:
        """Return the result of tasks by their ids, whoever submitted them.

        An id or result gives its value, a list of them a list. Positions count in
        ``history``; None is the latest. Raises ``KeyError`` for an id that the hub
        does not know (any more).
        """
        wanted = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        single = isinstance(wanted, (str, int))
        if isinstance(wanted, AsyncResult):
            single = wanted._single  # noqa: SLF001 - of one kind
        tasks = TaskSet(self._ids_of(wanted))
        self._session.inbox.expect(tasks)
        self._run(flows.recheck(self._session.inbox, tasks))
        for name, outcome in tasks.outcomes.items():
            if outcome.state == "unknown":
                raise TaskLost(f"No such message: {name}")
        result = AsyncHubResult(self, tasks, single=single)
        if block if block is not None else self.block:
            result.wait()
        return result

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for results, ids or positions; None: all that this client submitted.

        Returns whether they have all ended.
        """
        ids = self.history if jobs is None else self._ids_of(jobs)
        tasks = TaskSet(ids)
        inbox = self._session.inbox
        inbox.expect(tasks)
        self._run(flows.recheck(inbox, tasks))
        limit = None if timeout is None or timeout < 0 else timeout
        return self._run(flows.wait(inbox, tasks, limit))

    def abort(
        self,
        jobs: Any = None,
        targets: Any = None,  # noqa: ARG002 - as in IPython.parallel
        block: bool | None = None,  # noqa: ARG002 - it is immediate
    ) -> dict[str, str]:
        """Abort tasks that no engine has begun; None: this client's own.

        Final, immediate, works with no engine alive. Returns a word for each id:
        ``aborted``, ``running`` (it goes on), ``ended`` or ``unknown``.
        """
        ids = self.outstanding if jobs is None else self._ids_of(jobs)
        return self._run(flows.abort(list(ids)))

    def __iter__(self) -> Iterator[int]:
        """Yield the ids of the engines."""
        return iter(self.ids)
