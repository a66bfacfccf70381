"""Engines and workers, as an asyncio client has them do things."""

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
    """What a ``Client`` can have engines do. A part of ``Client``.

    ``targets`` are engines: None or ``"all"``, an id or a uuid, or a list of these.
    An unknown id raises ``IndexError``, an unknown uuid ``KeyError``.
    """

    if TYPE_CHECKING:

        @property
        def _session(self) -> Session: ...

        async def _run(self, flow: Flow[T]) -> T: ...

    async def drain(self, targets: Any = None) -> None:
        """Have engines take nothing new, until ``resume``.

        What they have begun they finish, and the rest goes to others. It is the hub
        that remembers it, also over their death.
        """
        await self._run(orders.drain_chosen(self._session, targets))

    async def resume(self, targets: Any = None) -> None:
        """Let drained engines have tasks again."""
        await self._run(orders.drain_chosen(self._session, targets, resume=True))

    async def stacks(self, targets: Any = None) -> list[Answer]:
        """Return where the Python code of engines is just now.

        Raises ``TimeoutError`` when a worker does not answer.
        """
        return await self._run(orders.order_chosen(self._session, "stack", targets))

    async def shutdown(
        self,
        targets: Any = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,  # noqa: ARG002 - it waits for the answer at most
    ) -> None:
        """Stop engines, or (``restart``) have new ones take their places.

        What they run they finish, and what they have not begun goes to others. All of
        them: their workers stop; with ``hub`` also the cluster that keeps these, if one
        does. The data of the hub stay. Raises ``TimeoutError`` when a worker does not
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

        To interrupt a task, ``abort(running=True)`` is the better way: it hits that
        task or none. Raises ``ValueError`` for no signal.
        """
        number = signal_number(sig)
        flow = orders.order_chosen(self._session, "signal", targets, (number,))
        await self._run(flow)
