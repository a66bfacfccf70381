"""Control of engines and workers by an asyncio client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redtask import orders
from redtask.fleet import signal_number

if TYPE_CHECKING:
    from redtask.flows import Flow
    from redtask.orders import Answer
    from redtask.session import Session

T = TypeVar("T")


class Fleet:
    """Control of engines. A part of ``Client``.

    ``targets`` are engines: None or ``"all"``, an id or a uuid, or a list of these.
    An unknown id raises ``IndexError``, an unknown uuid ``KeyError``.
    """

    if TYPE_CHECKING:

        @property
        def _session(self) -> Session: ...

        async def _run(self, flow: Flow[T]) -> T: ...

    async def drain(self, targets: Any = None) -> None:
        """Have engines take nothing new, until ``resume``.

        They finish what they have begun, and the rest goes to others. The hub remembers
        it, even if they die.
        """
        await self._run(orders.drain_chosen(self._session, targets))

    async def resume(self, targets: Any = None) -> None:
        """Let drained engines take tasks again."""
        await self._run(orders.drain_chosen(self._session, targets, resume=True))

    async def stacks(self, targets: Any = None) -> list[Answer]:
        """Return the current Python stacks of engines.

        Raises ``TimeoutError`` if a worker does not answer.
        """
        return await self._run(orders.order_chosen(self._session, "stack", targets))

    async def shutdown(
        self,
        targets: Any = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,  # noqa: ARG002 - it always waits for the answer
    ) -> None:
        """Stop engines, or (``restart``) replace them by new ones.

        They finish what they run; what they have not begun goes to others. If all are
        stopped, so are their workers; with ``hub``, also the cluster that runs them, if
        there is one. The hub's data stay. Raises ``TimeoutError`` if a worker does not
        answer.
        """
        flow = orders.shutdown(self._session, targets, restart=restart, hub=hub)
        await self._run(flow)

    async def send_signal(
        self,
        sig: int | str,
        targets: Any = None,
        block: bool | None = None,  # noqa: ARG002 - as in IPython.parallel
    ) -> None:
        """Send the processes of engines a signal: a number, or a name as ``SIGINT``.

        To interrupt a task, use ``abort(running=True)`` instead: it hits that task or
        none. Raises ``ValueError`` for an unknown signal.
        """
        number = signal_number(sig)
        flow = orders.order_chosen(self._session, "signal", targets, (number,))
        await self._run(flow)
