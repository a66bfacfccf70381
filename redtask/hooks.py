"""What other libraries call, or find, to work with redtask."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from redtask.client import Client, newest
from redtask.view import joblib_backend

if TYPE_CHECKING:
    from redtask.view import LoadBalancedView


def register_joblib_backend(
    name: str = "redtask",
    make_default: bool = False,
    view: LoadBalancedView | None = None,
) -> None:
    """Let joblib run its calls on engines: ``joblib.Parallel(backend="redtask")``.

    As tasks of a view; None: one of the newest client of this process, or else of
    ``Client()``. Engines need joblib, too. With ``make_default``, all of joblib uses it
    unless told otherwise. Raises ``ModuleNotFoundError`` if there is no joblib.
    """
    own = functools.cache(Client)

    def views() -> LoadBalancedView:
        return (newest() or own()).load_balanced_view() if view is None else view

    joblib_backend().register(name, views, make_default=make_default)


def load_ipython_extension(shell: Any) -> None:
    """Have ``%px`` and its kin, for the newest client: ``%load_ext redtask``."""
    from redtask import magics  # noqa: PLC0415 - needs IPython

    magics.load(shell, newest)


__all__ = ["load_ipython_extension", "register_joblib_backend"]
