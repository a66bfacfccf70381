"""What IPython.parallel has and redtask does not, and what to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_EACH: Final = "view.with_flags(targets=e) for each e in rc.ids"
_VALUES: Final = "values come as arguments, by @require(name=value), or by Ref"

#: By name, for any owner.
INSTEAD: Final[Mapping[str, str]] = {
    "direct_view": _EACH,
    "DirectView": _EACH,
    "broadcast_view": _EACH,
    "BroadcastView": _EACH,
    **{
        name: f"rc.load_balanced_view().{name}"
        for name in (
            *("apply", "apply_async", "apply_sync"),
            *("map", "map_async", "map_sync", "imap"),
        )
    },
    "execute": "functions",
    "run": "functions",
    "push": _VALUES,
    "scatter": _VALUES,
    "pull": "results",
    "gather": "results",
    "clear": "nothing: tasks share no names that could be cleared",
    **dict.fromkeys(
        ("spin", "spin_thread", "stop_spin_thread"),
        "nothing: results come by themselves",
    ),
    "results": "rc.get_result(ids)",
    "metadata": "rc.get_result(ids).metadata",
    "activate": "functions",
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


def words(owner: str, name: str) -> str:
    """Return the message for a missing attribute."""
    return instead(f"{owner} has no attribute {name!r}", name)


def instead(said: str, name: str) -> str:
    """Return a message, and what there is instead of a name, if it is known."""
    if name not in INSTEAD:
        return said
    return f"{said}; instead of IPython.parallel's use {INSTEAD[name]}"


__all__ = ["INSTEAD", "instead", "words"]
