"""``view.batch()``: what a block applies is sent together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from redtask.gathering import Gathering

if TYPE_CHECKING:
    from types import TracebackType

    from redtask.client import Client


class Batch(Gathering):
    """A context manager: what is applied inside is sent when the block ends.

    ::

        with view.batch():
            first = view.apply_async(load, path)
            with view.temp_flags(after=first):
                second = view.apply_async(work, path)

    Also whenever there are as many as one call carries (500 plain ones), and before
    anything else is asked of the hub, as by ``first.get()`` or a ``map``. It holds for
    all views of the client, in this thread.

    It is the same as without the block, but faster: if the block raises, what was
    applied before is sent all the same. A task that the hub refuses is left out, and
    its result raises ``TaskLost``; the first such refusal is raised when the block has
    ended well. What concerns all, as ``HubFull`` and ``ConnectionLost``, is raised at
    once.
    """

    _client: Client

    def __enter__(self) -> Self:
        if outer := self.of(self._client):
            # What was applied out there may be what we are to wait for.
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
        """Send what has gathered."""
        if taken := self._take():
            client = self._client
            client._drive(self._sending(client._session, taken))

    def add(self, task: Any) -> None:
        """Take a task, and send what is there when it does not fit in."""
        if not self._fits(task):
            self.flush()
            self._fits(task)


__all__ = ["Batch"]
