"""``view.batch()``: calls made in a block are sent together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from redtask.gathering import Gathering

if TYPE_CHECKING:
    from types import TracebackType

    from redtask.client import Client


class Batch(Gathering):
    """A context manager: calls made inside it are sent when the block ends.

    ::

        with view.batch():
            first = view.apply_async(load, path)
            with view.temp_flags(after=first):
                second = view.apply_async(work, path)

    They are also sent whenever one call is full (500 plain tasks), and before anything
    else is asked of the hub, as by ``first.get()`` or a ``map``. It applies to all
    views of the client, in this thread.

    It only makes the block faster: if the block raises, earlier calls are sent all the
    same. A task that the hub rejects is left out, and its result raises ``TaskLost``;
    the first such error is raised at the end of a block that did not raise. Errors that
    concern all, such as ``HubFull`` and ``ConnectionLost``, are raised at once.
    """

    _client: Client

    def __enter__(self) -> Self:
        if outer := self.of(self._client):
            # Tasks of the outer batch may be awaited by those of this one.
            outer.flush()
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        try:
            self.flush()
        except Exception as trouble:
            if problem is None:
                raise
            problem.add_note(f"and the batch could not be sent: {trouble}")
            return
        if problem is None and (refusal := self._first_refusal()):
            raise refusal

    def flush(self) -> None:
        """Send the tasks gathered so far."""
        if taken := self._take():
            client = self._client
            client._drive(self._sending(client._session, taken))

    def add(self, task: Any) -> None:
        """Take a task; if it does not fit, first send the others."""
        while not self._fits(task):
            self.flush()


__all__ = ["Batch"]
