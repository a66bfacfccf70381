"""The same names as in ``redtask``, awaitable.

::

    from redtask import aio

    async with aio.Client() as rc:
        view = rc.load_balanced_view()
        print(await view.map(lambda x: x ** 10, range(32)))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redtask.aio.client import Client
    from redtask.aio.direct import DirectView
    from redtask.aio.result import (
        AsyncHubResult,
        AsyncMapResult,
        AsyncResult,
        as_completed,
    )
    from redtask.aio.view import LoadBalancedView, parallel, remote

#: The module of each public name: imported on first use.
_HOMES = {
    "Client": "client",
    "DirectView": "direct",
    "LoadBalancedView": "view",
    "parallel": "view",
    "remote": "view",
    "AsyncHubResult": "result",
    "AsyncMapResult": "result",
    "AsyncResult": "result",
    "as_completed": "result",
}

__all__ = [  # noqa: RUF022 - grouped, not sorted
    # Start here
    "Client",
    # Views
    "LoadBalancedView",
    "DirectView",
    "parallel",
    "remote",
    # Results
    "AsyncResult",
    "AsyncMapResult",
    "AsyncHubResult",
    "as_completed",
]


# For type checkers every name would exist, however it is spelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            message = f"module 'redtask.aio' has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"redtask.aio.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    # Not the modules that happen to be loaded.
    return sorted({*__all__, *(name for name in globals() if name[:2] == "__")})
