"""Where coroutines wait for a ferry: each returns once its own task is in Redis."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from redtask import ferry
from redtask.ferry import Ferry, Passenger
from redtask.interrupt import let_through

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redtask.slices import Task


class Letter(ferry.Letter):
    """A passenger whose owner, a coroutine, does not wait at the pier."""

    __slots__ = ("_told",)

    def __init__(
        self, task: Task, send: Callable[[Letter], None], landed: Callable[[], object]
    ) -> None:
        """``send`` is to lead its trip; ``landed`` is called when that is over."""
        self._told = asyncio.Event()
        super().__init__(task, send, landed, self._told)

    async def wait(self) -> None:
        """Return once the outcome is known."""
        await self._told.wait()


class Pier:
    """Lets coroutines submit single tasks, several in one call.

    ``cross`` sends tasks and records the outcome with each; what it raises concerns
    all. ``patience`` is how long it tries, in seconds.
    """

    def __init__(
        self,
        cross: Callable[[list[Passenger]], Awaitable[None]],
        patience: float | None,
    ) -> None:
        self._cross = cross
        self._patience = patience
        self._ferry = Ferry()
        #: Leads a trip for letters; kept, as asyncio only has a weak reference.
        self._courier: asyncio.Task[None] | None = None
        #: The last letter, before which all others arrive.
        self._latest: Letter | None = None

    async def submit(self, task: Task) -> None:
        """Submit one task; raise if that failed."""
        me = Passenger(task)
        if len(task.envelope) > ferry.MOST_BYTES:
            await self._cross([me])
        else:
            try:
                if not self._ferry.board(me):
                    await _call(me)
                if not me.over:
                    await self._lead()
            except BaseException:
                # A cancelled caller stops waiting, and another one leads.
                self._ferry.leave(me)
                raise
        if me.problem is not None:
            raise me.problem

    def post(self, task: Task, landed: Callable[[], object]) -> Letter:
        """Submit one task soon, while others run; ``landed`` is called then."""
        letter = self._latest = Letter(task, self._send, landed)
        if self._ferry.board(letter):
            self._send(letter)
        return letter

    async def settle(self) -> None:
        """Wait until the outcome of all that was posted is known."""
        if self._latest is not None:
            await self._latest.wait()

    def _send(self, letter: Letter) -> None:
        # It serves all, and must not keep the context of one.
        self._courier = asyncio.create_task(self._lead_for(letter), context=Context())

    async def _lead_for(self, letter: Letter) -> None:
        try:
            if self._ferry.awaits(letter):
                await self._lead()
        except BaseException:
            # The event loop is being closed.
            self._ferry.leave(letter)
            raise
        finally:
            if letter.over:
                letter.wake()

    async def _lead(self) -> None:
        aboard = self._ferry.load()
        try:
            await self._cross(aboard)
        except Exception as problem:  # noqa: BLE001 - it is raised by each of them
            let_through(problem)
            self._ferry.fail(problem, self._patience)
        self._ferry.land()


def _call(passenger: Passenger) -> asyncio.Future[None]:
    """Return what ends when it is over, or when its owner must lead."""
    future = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    passenger.wake = wake
    return future
