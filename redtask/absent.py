"""What IPython.parallel has and redtask does not, and what to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIRECT: Final = "rc.direct_view() or rc[:]"

#: By name, for any owner.
INSTEAD: Final[Mapping[str, str]] = {
    "broadcast_view": _DIRECT,
    "BroadcastView": _DIRECT,
    **{
        name: f"rc.load_balanced_view().{name}"
        for name in (
            *("apply", "apply_async", "apply_sync"),
            *("map", "map_async", "map_sync", "imap"),
        )
    },
    **dict.fromkeys(
        (
            *("push", "pull", "update", "get", "scatter", "gather"),
            *("execute", "run", "sync_imports", "importer"),
        ),
        f"a direct view: {_DIRECT}",
    ),
    "executor": "rc.executor(targets)",
    **dict.fromkeys(
        ("spin", "spin_thread", "stop_spin_thread"),
        "nothing: results come by themselves",
    ),
    "results": "rc.get_result(ids)",
    "metadata": "rc.get_result(ids).metadata",
    "activate": "view.execute(code), for there are no magics",
    "use_pickle": "nothing: cloudpickle is used where pickle does not do",
    # What wait and as_completed of concurrent.futures ask for first.
    "_condition": "redtask.as_completed(results), or futures of view.executor",
    **dict.fromkeys(
        (
            *("become_dask", "become_distributed", "stop_dask", "stop_distributed"),
            *("register_joblib", "register_joblib_backend"),
        ),
        "view.executor",
    ),
    "use_dill": "nothing: cloudpickle is always used",
    "use_cloudpickle": "nothing: it is always used",
    "publish_data": "current_task().progress",
}


_BLOCKING: Final = "view.executor of the blocking redtask.Client"

#: What differs in ``redtask.aio``.
AWAITED: Final[Mapping[str, str]] = {
    **INSTEAD,
    **{
        name: f"await rc.load_balanced_view().{verb}(...)"
        for name, verb in (
            *(("apply", "apply"), ("apply_sync", "apply")),
            *(("map", "map"), ("map_sync", "map")),
        )
    },
    "results": "await rc.get_result(ids)",
    "metadata": "(await rc.get_result(ids)).metadata()",
    **dict.fromkeys(
        (name for name, instead in INSTEAD.items() if "executor" in instead), _BLOCKING
    ),
    "_condition": "redtask.aio.as_completed(results)",
}


def words(owner: str, name: str, *, awaited: bool = False) -> str:
    """Return the message for a missing attribute; ``awaited``: of ``redtask.aio``."""
    said = f"{owner} has no attribute {name!r}"
    return instead(said, name, AWAITED if awaited else INSTEAD)


def instead(said: str, name: str, known: Mapping[str, str] = INSTEAD) -> str:
    """Return a message, and what there is instead of a name, if it is known."""
    if name not in known:
        return said
    return f"{said}; instead of IPython.parallel's use {known[name]}"


__all__ = ["AWAITED", "INSTEAD", "instead", "words"]
