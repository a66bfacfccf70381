"""Stored tasks, as a client asks about them and acts on ended ones, awaitable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redtask import ended, listing, standing
from redtask.aio.result import AsyncHubResult
from redtask.replay import Replay, Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.flows import Flow
    from redtask.hub.records import Purged
    from redtask.hub.why import Why
    from redtask.session import Session

T = TypeVar("T")


class StoredTasks:
    """What a ``Client`` can do with tasks that the hub knows, whoever submitted them.

    A part of ``Client``.
    """

    if TYPE_CHECKING:

        @property
        def _session(self) -> Session: ...

        async def _run(self, flow: Flow[T]) -> T: ...

    # -- how things stand

    async def result_status(
        self, msg_ids: Any, status_only: bool = True
    ) -> dict[str, Any]:
        """Return which of these tasks are ``pending`` and which ``completed``.

        With ``status_only=False`` the dict has their values as well, by id; those
        that failed are raised. Raises ``KeyError`` for an id that is unknown.
        """
        flow = standing.result_status(self._session, msg_ids, status_only=status_only)
        return await self._run(flow)

    async def queue_status(
        self, targets: Any = "all", verbose: bool = False
    ) -> dict[Any, Any]:
        """Return what engines have: {engine id: counts, "unassigned": count}.

        ``tasks`` were placed on the engine or are running there, ``queue`` wait for
        this engine alone, ``completed`` ended there. With ``verbose`` they are ids, of
        tasks that are still known. A single id gives the inner dict. Raises
        ``IndexError`` (of a list ``KeyError``) for what is no living engine.
        """
        flow = standing.queue_status(self._session, targets, verbose=verbose)
        return await self._run(flow)

    async def hub_history(self) -> list[str]:
        """Return the ids of all tasks that the hub knows, as they were submitted.

        It pages through all of them.
        """
        return await self._run(listing.history(self._session))

    async def db_query(
        self, query: dict[str, Any], keys: Any = None
    ) -> list[dict[str, Any]]:
        """Return the records that match, in the order in which they were submitted.

        ``query`` has a value or operators for each key: ``$in $nin $eq $ne $gt $gte
        $lt $lte $glob $exists``. ``keys`` names those wanted; ``msg_id`` always comes
        along; ``buffers`` and ``result_buffers`` only come when named. By ``msg_id``
        or ``state`` it finds them at once, else it pages through all records. Raises
        ``KeyError`` for an unknown key or operator, ``TypeError`` for what cannot
        be compared.
        """
        return await self._run(listing.find(self._session, query, keys))

    async def why(self, msg_id: Any) -> Why:
        """Return why a task is where it is, and what would change it.

        ``print`` it. ``msg_id`` is an id, a result of one task, or a position in
        ``history``. Raises ``KeyError`` for an id that is unknown.
        """
        return await self._run(self._session.why(msg_id))

    # -- once more, or no more

    async def replay(  # noqa: PLR0913 - all but one by name
        self,
        query: dict[str, Any] | None = None,
        *,
        ids: Any = None,
        downstream: bool = False,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        edit: dict[str, Any] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> AsyncHubResult:
        """Run ended tasks again, and those that failed because of them.

        :param query: what ``db_query`` takes; of these tasks, those that have ended.
        :param ids: instead, ids, results or positions in ``history``.
        :param downstream: also tasks that failed because one of these did, or because
            one of those did; they are looked for among all that failed.
        :param args: other positional arguments, and ``kwargs`` other keyword
            arguments, for a single task.
        :param edit: other values for some arguments of each task that is meant, by name
            or, as ``"0"``, by position; such as JSON has. Nothing is unpickled here.
        :param progress: called with how many have been submitted, and of how many.

        Whatever depends on a task that runs once more depends on its new run, also
        where its arguments have a ``Ref`` to it; on failed tasks that were resubmitted
        before, on what became of those; results that are there are used again. The
        value of the result is a list; ``replay_plan`` says beforehand in which order.

        Raises ``KeyError`` for an unknown task, ``ValueError`` for one that has not
        ended, and for an edit of a chunk of a map.
        """
        wish = Wish(query, ids, downstream, args, kwargs, edit)
        tasks = await self._run(Replay(self._session, wish).run(progress))
        return AsyncHubResult(self, tasks)

    async def replay_plan(
        self,
        query: dict[str, Any] | None = None,
        *,
        ids: Any = None,
        downstream: bool = False,
    ) -> list[str]:
        """Return the ids of what ``replay`` would run once more, in its order."""
        wish = Wish(query, ids, downstream)
        plan = await self._run(Replay(self._session, wish).plan())
        return [copy.old for copy in plan]

    async def resubmit(
        self,
        indices_or_msg_ids: Any = None,
        metadata: Any = None,  # noqa: ARG002 - as in IPython.parallel
        block: bool | None = None,
    ) -> AsyncHubResult:
        """Let ended tasks run once more, as new tasks with all flags of the old ones.

        Ids, results, positions in ``history``, or a list of them; None is the latest.
        The value of the result is a list. Dependencies are judged as things stand now.
        All or none: raises ``KeyError`` for a task that is unknown, ``ValueError`` for
        one that has not ended.
        """
        wanted = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        tasks = await self._run(ended.resubmit(self._session, wanted))
        result = AsyncHubResult(self, tasks)
        if block:
            await result.wait()
        return result

    async def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Check that none of the jobs is outstanding.

        A client of redtask keeps nothing but in its results, which go when nobody
        holds them: so there is nothing to drop. Raises ``RuntimeError`` for outstanding
        jobs, ``ValueError`` when nothing is said.
        """
        await self._run(ended.purge_local(self._session, jobs, targets))

    async def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Have the hub forget ended tasks; return how many are gone, and how many kept.

        :param jobs: ids, results or positions in ``history``; ``"all"``.
        :param targets: ids of engines: all that ended there; ``"all"``.

        Those that other tasks still need are kept. A later dependency on a forgotten
        task still resolves; its result and record are gone. Raises ``ValueError`` for a
        pending task or when nothing is said, ``IndexError`` for no engine.
        """
        return await self._run(ended.purge_hub(self._session, jobs, targets))

    async def purge_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Forget ended tasks here and at the hub, as the two calls for it do."""
        await self.purge_local_results(jobs, targets)
        return await self.purge_hub_results(jobs, targets)

    async def purge_everything(self) -> Purged:
        """Forget every ended task of every client, and this client's history."""
        purged = await self.purge_results("all")
        self._session.forget()
        return purged
