"""Run the coroutines that a coroutine function returned."""

from __future__ import annotations

from types import CoroutineType
from typing import Any


def finished(returned: Any) -> Any:
    """Return what a function returned; if that is a coroutine, the value of it.

    A coroutine runs in an event loop of its own. Those of a map chunk run concurrently:
    the first exception is raised, and the others are cancelled.
    """
    kind = type(returned)
    if kind is CoroutineType:
        return _run([returned])[0]
    if kind is list and returned and type(returned[0]) is CoroutineType:
        return _run(returned)
    return returned


def _run(coroutines: list[Any]) -> list[Any]:
    # Most engines never need it.
    import asyncio  # noqa: PLC0415

    async def together() -> list[Any]:
        return await asyncio.gather(*coroutines)

    # With a factory, the loop does not become, and in the end take away, the one that
    # asyncio.get_event_loop() gives to the engine's next tasks.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(together())


__all__ = ["finished"]
