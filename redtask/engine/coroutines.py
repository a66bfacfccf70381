"""Run the coroutines that a coroutine function returned."""

from __future__ import annotations

import signal
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from redtask.payload import is_chunk

if TYPE_CHECKING:
    from redtask.rope import Read

#: Signals that engines handle, and programs with an event loop likewise.
_HANDLED: Final = (signal.SIGINT, signal.SIGTERM)


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


__all__ = ["awaited", "finished"]
