"""What programs leave for the end of their process, done when an engine ends in order.

An engine ends by ``os._exit``, so as not to do what its supervisor has left for its own
end. So what Python does at the end of a program, it does here, for what was left since
the fork: functions of ``atexit``, finalizers, thread pools, and what is not yet written
to files and logs.
"""

# ruff: noqa: SLF001
# What Python itself does at the end has no public names.

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import threading
import weakref
from multiprocessing import process, util
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Files that keep what was written to them for a while.
_FILES: Final = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)

#: Of what is called below there are no types.
_atexit: Any = atexit
_threading: Any = threading
_util: Any = util
_process: Any = process
_finalize: Any = weakref.finalize

_log = logging.getLogger("redtask.engine")


class Exits:
    """What is left for the end of this process since this was made, after a fork."""

    def __init__(self) -> None:
        _atexit._clear()
        for one in list(_finalize._registry):
            one.atexit = False
        _util._finalizer_registry.clear()
        _process._children.clear()
        # What Python's own modules register but once, when they are first needed.
        for do in (_finalize._exitfunc, logging.shutdown, _util._exit_function):
            atexit.register(do)
        _finalize._registered_with_atexit = True
        self._ours: int = _atexit._ncallbacks()

    @property
    def are_left(self) -> bool:
        """Is there anything that may take a while?"""
        return (
            _atexit._ncallbacks() > self._ours
            or any(one.atexit for one in list(_finalize._registry))
            or bool(_util._finalizer_registry or _process._children)
            or threading.active_count() > 1
            or any(_files())
        )

    def run(self) -> None:
        """Do all of it, in Python's order: thread pools, functions, files."""
        for one in reversed(list(_threading._threading_atexits)):
            _do(one)
        _do(_atexit._run_exitfuncs)
        for file in _files():
            _do(file.flush)


def _files() -> Iterator[Any]:
    """Yield files that were opened since the fork, before which objects are frozen."""
    for one in gc.get_objects():
        # Not isinstance, which would ask proxies of the user's own.
        if type(one) in _FILES:
            with contextlib.suppress(ValueError):
                if not one.closed and one.writable():
                    yield one


def _do(one: Callable[[], object]) -> None:
    """Do one thing, and the others all the same if it fails."""
    try:
        one()
    except BaseException as problem:  # noqa: BLE001 - it is the user's code
        _log.warning("at the end of an engine: %s: %s", type(problem).__name__, problem)


__all__ = ["Exits"]
