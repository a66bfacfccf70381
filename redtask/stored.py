"""Stored tasks: queries, and actions on ended ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redtask import ended, listing, standing
from redtask.replay import Replay, Wish
from redtask.result import AsyncHubResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.flows import Flow
    from redtask.hub.records import Purged
    from redtask.hub.why import Why
    from redtask.session import Session

T = TypeVar("T")


class StoredTasks:
    """Actions on tasks that the hub knows, whoever submitted them.

    A part of ``Client``.
    """

    if TYPE_CHECKING:
        block: bool
        _session: Session

        def _run(self, flow: Flow[T]) -> T: ...

        @property
        def outstanding(self) -> set[str]: ...

    # -- queries

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float | None = -1.0
    ) -> None:
        """Wait with a progress bar for results, ids or positions.

        None: all that this client submitted. Also returns at the timeout.
        """
        wanted = sorted(self.outstanding) if jobs is None else jobs
        if not isinstance(wanted, str) and wanted == []:
            return
        tasks = self._run(self._session.find(wanted))
        AsyncHubResult(self, tasks, "tasks").wait_interactive(interval, timeout)

    def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Return which of these tasks are ``pending`` and which ``completed``.

        With ``status_only=False``, the dict also has their values, by id; failures are
        raised. Raises ``KeyError`` for an unknown id.
        """
        flow = standing.result_status(self._session, msg_ids, status_only=status_only)
        return self._run(flow)

    def queue_status(
        self, targets: Any = "all", verbose: bool = False
    ) -> dict[Any, Any]:
        """Return the load of engines: {engine id: counts, "unassigned": count}.

        ``tasks`` were placed on the engine or are running there, ``queue`` wait for
        this engine alone, ``completed`` ended there. With ``verbose``, they are ids of
        tasks that are still known. A single id gives the inner dict. Raises
        ``IndexError`` (in a list ``KeyError``) if it is not a living engine.
        """
        flow = standing.queue_status(self._session, targets, verbose=verbose)
        return self._run(flow)

    def hub_history(self) -> list[str]:
        """Return the ids of all tasks that the hub knows, in order of submission.

        It pages through all records.
        """
        return self._run(listing.history(self._session))

    def db_query(self, query: dict[str, Any], keys: Any = None) -> list[dict[str, Any]]:
        """Return the records that match, in order of submission.

        ``query`` has a value or operators for each key: ``$in $nin $eq $ne $gt $gte
        $lt $lte $glob $exists``. ``keys`` names those wanted; ``msg_id`` is always
        included, ``buffers`` and ``result_buffers`` only if named. Queries by
        ``msg_id`` or ``state`` use an index, others page through all records. Raises
        ``KeyError`` for an unknown key or operator, ``TypeError`` for an operand that
        cannot be compared, ``ValueError`` for an unknown state.
        """
        return self._run(listing.find(self._session, query, keys))

    def why(self, msg_id: Any) -> Why:
        """Return why a task is where it is, and what would change it.

        Print it. ``msg_id`` is an id, a result of one task, or a position in
        ``history``. Raises ``KeyError`` for an unknown id, ``IndexError`` for no
        position, and ``ValueError`` for several tasks.
        """
        return self._run(self._session.why(msg_id))

    # -- rerunning and forgetting

    def replay(  # noqa: PLR0913 - all but one by name
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
        :param args: new positional arguments, and ``kwargs`` new keyword arguments,
            for a single task.
        :param edit: new JSON values for some arguments of each chosen task, by name
            or, as ``"0"``, by position. Nothing is unpickled here.
        :param progress: called with the numbers of tasks submitted and of all.

        Dependents of a task that runs again depend on its new run, also by a ``Ref``
        among their arguments. A dependency on a failed task that was resubmitted before
        moves to its latest run; existing results are reused. The value of the result is
        a list, in the order of ``replay_plan``.

        Raises ``KeyError`` for an unknown task, ``ValueError`` for one that has not
        ended, and for an edit of a map chunk; of ``ids`` all run or none. Of those that
        match a query, what the hub forgets meanwhile is left out.
        """
        wish = Wish(query, ids, downstream, args, kwargs, edit)
        tasks = self._run(Replay(self._session, wish).run(progress))
        return AsyncHubResult(self, tasks)

    def replay_plan(
        self,
        query: dict[str, Any] | None = None,
        *,
        ids: Any = None,
        downstream: bool = False,
    ) -> list[str]:
        """Return the ids of the tasks that ``replay`` would run again, in order."""
        wish = Wish(query, ids, downstream)
        plan = self._run(Replay(self._session, wish).plan())
        return [copy.old for copy in plan]

    def resubmit(
        self,
        indices_or_msg_ids: Any = None,
        metadata: Any = None,  # noqa: ARG002 - as in IPython.parallel
        block: bool | None = None,
    ) -> AsyncHubResult:
        """Run ended tasks again, as new tasks with all flags of the old ones.

        Only ``delay`` and ``eta`` are not kept: the new tasks may start at once.
        Ids, results, positions in ``history``, or a list of them; None is the latest.
        The value of the result is a list. Dependencies are evaluated anew. All or none:
        raises ``KeyError`` for an unknown task, ``IndexError`` for no position, and
        ``ValueError`` for a task that has not ended.
        """
        wanted = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        tasks = self._run(ended.resubmit(self._session, wanted))
        result = AsyncHubResult(self, tasks)
        if self.block if block is None else block:
            result.wait()
        return result

    def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Check that none of the jobs is outstanding.

        redtask keeps values only in result objects, which are garbage-collected, so
        there is nothing to purge. Raises ``RuntimeError`` for outstanding jobs,
        ``ValueError`` if neither argument is given.
        """
        self._run(ended.purge_local(self._session, jobs, targets))

    def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Let the hub forget ended tasks; return how many it forgot and kept.

        :param jobs: ids, results or positions in ``history``; ``"all"``.
        :param targets: ids of engines: all that ended there; ``"all"``.

        Those that other tasks still need are kept. A later dependency on a forgotten
        task still resolves; its result and record are gone. Raises ``ValueError`` for a
        pending task or if neither argument is given, ``IndexError`` for no engine.
        """
        return self._run(ended.purge_hub(self._session, jobs, targets))

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> Purged:
        """Forget ended tasks locally and at the hub, as the two methods do.

        Raises what they raise: ``RuntimeError`` for an outstanding task of this client.
        """
        self.purge_local_results(jobs, targets)
        return self.purge_hub_results(jobs, targets)

    def purge_everything(self) -> Purged:
        """Forget every ended task of every client, and this client's history."""
        purged = self.purge_results("all")
        self._session.forget()
        return purged
