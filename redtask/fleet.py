"""Engines and workers, as a client has them do things."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, TypeVar

from redtask import orders

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
        _session: Session

        def _run(self, flow: Flow[T]) -> T: ...

    def drain(self, targets: Any = None) -> None:
        """Have engines take nothing new, until ``resume``.

        What they have begun they finish, and the rest goes to others. It is the hub
        that remembers it, also over their death.
        """
        self._run(orders.drain_chosen(self._session, targets))

    def resume(self, targets: Any = None) -> None:
        """Let drained engines have tasks again."""
        self._run(orders.drain_chosen(self._session, targets, resume=True))

    def stacks(self, targets: Any = None) -> list[Answer]:
        """Return where the Python code of engines is just now.

        Raises ``TimeoutError`` when a worker does not answer.
        """
        return self._run(orders.order_chosen(self._session, "stack", targets))

    def shutdown(
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
        self._run(flow)

    def send_signal(
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
        self._run(flow)


def signal_number(sig: int | str) -> int:
    """Return the number of a signal. Raises ``ValueError``."""
    if isinstance(sig, str):
        name = sig.upper().removeprefix("SIG")
        try:
            return int(signal.Signals[f"SIG{name}"])
        except KeyError:
            raise ValueError(f"no such signal: {sig!r}") from None
    return int(signal.Signals(sig))
