"""Run the coroutines that a coroutine function returned, and tell where they are."""

from __future__ import annotations

import contextlib
import signal
import traceback
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from redtask.payload import is_chunk

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Iterator
    from types import FrameType

    from redtask.rope import Read

#: Signals that engines handle, and programs with an event loop likewise.
_HANDLED: Final = (signal.SIGINT, signal.SIGTERM)
#: The stacks of at most so many coroutines are told.
_MOST: Final = 10
#: What coroutines, generators and asynchronous ones call frame and awaited.
_KINDS: Final = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)


def finished(returned: Any, body: Read) -> Any:
    """Return what a call returned; if that is a coroutine, the value of it.

    A coroutine runs in an event loop of its own. Those of a map chunk, as ``body``, the
    packed arguments, tells, run concurrently: the first exception is raised, and the
    others are cancelled. Among them there may be values.
    """
    kind = type(returned)
    if kind is CoroutineType:
        return awaited(returned)
    if kind is list and is_chunk(body) and CoroutineType in map(type, returned):
        places = [at for at, one in enumerate(returned) if type(one) is CoroutineType]
        values = _run([returned[at] for at in places])
        for at, value in zip(places, values, strict=True):
            returned[at] = value
    return returned


def awaited(coroutine: CoroutineType[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop of its own; return its value."""
    return _run([coroutine])[0]


def _run(coroutines: list[Any]) -> list[Any]:
    # Most engines never need it.
    import asyncio  # noqa: PLC0415

    async def together() -> list[Any]:
        return await asyncio.gather(*coroutines)

    handlers = [(number, signal.getsignal(number)) for number in _HANDLED]
    try:
        # With a factory, the loop does not become, and in the end take away, the one
        # that asyncio.get_event_loop() gives to the engine's next tasks.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(together())
    finally:
        # A loop that was told to handle signals leaves the default, which would end the
        # engine in the midst of another task.
        for number, handler in handlers:
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def whereabouts(loop: AbstractEventLoop) -> str:
    """Return where the tasks of an event loop wait; "" if that cannot be told."""
    from asyncio import all_tasks  # noqa: PLC0415 - it is imported if there is a loop

    told: list[str] = []
    # They may be of a class of the user's own.
    with contextlib.suppress(Exception):
        tasks = sorted(all_tasks(loop), key=_by_name)
        told += filter(None, map(_place_of, tasks))
    if not told:
        return ""
    more = [f"and {len(told) - _MOST} more\n"] if len(told) > _MOST else []
    return "".join(["Where its coroutines were:\n", *told[:_MOST], *more])


def _by_name(task: Task[Any]) -> tuple[int, str]:
    """Sort Task-2 before Task-10."""
    name = task.get_name()
    return len(name), name


def _place_of(task: Task[Any]) -> str:
    stack = traceback.StackSummary.extract(_frames(task.get_coro()))
    return "".join([f"{task.get_name()}\n", *stack.format()]) if stack else ""


def _frames(waiting: Any) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of what is awaited, outermost first, without ours."""
    while waiting is not None:
        kind = next((one for one in _KINDS if hasattr(waiting, one[0])), None)
        if kind is None:
            return
        frame = getattr(waiting, kind[0])
        if frame is not None and frame.f_globals.get("__name__") != __name__:
            yield frame, frame.f_lineno
        waiting = getattr(waiting, kind[1])


__all__ = ["awaited", "finished", "whereabouts"]
