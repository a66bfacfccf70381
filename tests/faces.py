"""The asyncio face, seen as if it were the blocking one: one suite for both."""

from __future__ import annotations

import asyncio
import inspect
import threading

from redtask import aio
from redtask.aio.result import OutputStream
from redtask.flags import Flagged
from redtask.outcomes import Results

DEADLINE = 60
#: Properties of the blocking face that have to be awaited in the other.
AWAITED = {
    "ids", "metadata", "outstanding", "progress", "serial_time", "wall_time",
}  # fmt: skip


class Loop:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self.thread.start()

    def call(self, function, /, *args, **kwargs):
        """Call a function in the loop, and await what it returns if it is to be."""

        async def there():
            value = function(*args, **kwargs)
            pending = inspect.isawaitable(value) and not isinstance(value, Results)
            return await value if pending else value

        future = asyncio.run_coroutine_threadsafe(there(), self.loop)
        try:
            return self.seen(future.result(DEADLINE))
        except BaseException:
            future.cancel()
            raise

    def seen(self, value):
        """Wrap what is of the asyncio face."""
        if isinstance(value, (Results, Flagged, aio.Client, OutputStream)):
            return Blocking(self, value)
        if type(value) in {tuple, set}:
            return type(value)(map(self.seen, value))
        if type(value) is dict:
            return {key: self.seen(one) for key, one in value.items()}
        return value

    def close(self):
        """Stop the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()


class Blocking:
    """An object of the asyncio face, whose coroutines run to their end."""

    def __init__(self, loop, inner):
        self.__dict__.update(_loop=loop, _inner=inner)

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return self._loop.seen(value)
        if name in AWAITED:
            return self._loop.call(value)

        def call(*args, **kwargs):
            return self._loop.call(value, *map(_bare, args), **kwargs)

        return call

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)

    def __getitem__(self, key):
        return self._loop.call(lambda: self._inner[key])

    def __repr__(self):
        return repr(self._inner)

    def __len__(self):
        return len(self._inner)

    def __eq__(self, other):
        return self._inner is _bare(other)

    def __hash__(self):
        return hash(self._inner)

    def __iter__(self):
        iterator = _bare(self._loop.call(self._inner.__aiter__))
        while True:
            try:
                yield self._loop.call(iterator.__anext__)
            except StopAsyncIteration:
                return


def _bare(value):
    if isinstance(value, Blocking):
        return value._inner
    if isinstance(value, (list, tuple, set)):
        return type(value)(map(_bare, value))
    return value
