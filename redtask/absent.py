"""What IPython.parallel or others have and redtask has not, and what to use instead."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
T = TypeVar("T")

_JOBLIB: Final = "redtask.register_joblib_backend()"
_DIRECT: Final = "rc.direct_view() or rc[:]"


def _with_sync(names: Mapping[str, str]) -> dict[str, str]:
    """Return the same, also for the methods of IPython.parallel with ``_sync``."""
    return {f"{name}{end}": said for name, said in names.items() for end in _ENDS}


_ENDS: Final = ("", "_sync")

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
    "activate": "that of a direct view, or rc.activate()",
    "use_pickle": "nothing: cloudpickle is used where pickle does not do",
    # What wait and as_completed of concurrent.futures ask for first.
    "_condition": "redtask.as_completed(results), or futures of view.executor",
    **dict.fromkeys(
        ("become_dask", "become_distributed", "stop_dask", "stop_distributed"),
        "view.executor: dask.compute(..., scheduler=view.executor)",
    ),
    **dict.fromkeys(("register_joblib", "register_joblib_backend"), _JOBLIB),
    "use_dill": "nothing: cloudpickle is always used",
    "use_cloudpickle": "nothing: it is always used",
    "publish_data": "current_task().progress",
    **_with_sync(
        {
            "restart_engines": "stop_engines() and start_engines()",
            "signal_engines": "rc.send_signal",
            **dict.fromkeys(
                ("start_controller", "stop_controller"),
                "start_cluster() and stop_cluster(), for there is no controller",
            ),
            **dict.fromkeys(
                ("from_file", "from_dict", "to_dict", "to_file", "update_cluster_file"),
                "redtask.Client(profile=...), which finds a cluster that runs",
            ),
        }
    ),
}

_PLACE: Final = "a URL of Redis, or profile=, for there are no connection files"
_SSH: Final = "a URL of Redis, which a tunnel of yours may lead to"
_PROFILE: Final = "profile="
_NO_CONTROLLER: Final = "nothing: there is no controller"
_WORKERS: Final = "redtask worker, started by whatever starts programs there"

#: By name, arguments of any class.
ARGUMENTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("url_file", "url_or_file", "connection_info"), _PLACE),
    **dict.fromkeys(("sshserver", "sshkey", "paramiko", "password"), _SSH),
    **dict.fromkeys(("cluster_id", "cluster", "profile_dir", "ipython_dir"), _PROFILE),
    **dict.fromkeys(("context", "debug"), "nothing: there is no ZeroMQ"),
    **dict.fromkeys(("engines", "engine_launcher_class"), _WORKERS),
    **dict.fromkeys(
        (
            *("controller", "controller_args", "controller_ip", "controller_location"),
            *("controller_launcher_class", "controller_log_level"),
        ),
        _NO_CONTROLLER,
    ),
    "shutdown_atexit": "redtask cluster start --daemonize",
    "delay": "nothing: engines start at once",
    "log_level": "logging.getLogger('redtask')",
}


_TABLE: Final = "see 'Coming from Celery or RQ' in docs/running.rst"
_NO_IDS: Final = (
    f"ids are made here, and naming them is not there: keep ar.msg_ids; {_TABLE}"
)
_NOT_UNIQUE: Final = f"tasks that exclude each other are not there; {_TABLE}"
_FEW_AT_A_TIME: Final = (
    "it is not there: a queue of its own, which few engines serve, limits how many run "
    f"at a time; {_TABLE}"
)
_HOW_LONG_IT_WAITS: Final = "use timeout, for how long it may wait"
_NO_PICKLER: Final = "nothing is needed: cloudpickle is used where pickle does not do"

#: By name, what Celery, RQ and others call flags, as the end of a sentence.
FLAGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("countdown", "defer_by", "schedule_in", "start_in"), "use delay"),
    **dict.fromkeys(("defer_until", "schedule_at", "start_at", "run_at"), "use eta"),
    **dict.fromkeys(("expires", "max_age", "queue_timeout"), _HOW_LONG_IT_WAITS),
    "ttl": f"{_HOW_LONG_IT_WAITS}, or result_ttl, for how long its result is kept",
    **dict.fromkeys(
        ("failure_ttl", "result_expires", "keep_result", "ignore_result"),
        "use result_ttl",
    ),
    **dict.fromkeys(("max_retries", "retry"), "use retries"),
    **dict.fromkeys(
        ("max_tries", "max_attempts", "attempts"),
        "use retries, which does not count the first attempt",
    ),
    **dict.fromkeys(("default_retry_delay", "min_backoff"), "use retry_delay"),
    **dict.fromkeys(
        ("backoff", "retry_policy"), "use retry_delay, retry_backoff, retry_jitter"
    ),
    **dict.fromkeys(
        ("max_backoff", "retry_backoff_max"),
        "it is not there: retries and retry_backoff say how long the last pause is",
    ),
    **dict.fromkeys(("autoretry_for", "retry_for", "throws"), "use retry_on"),
    **dict.fromkeys(
        ("job_timeout", "soft_time_limit", "hard_time_limit", "execution_timeout"),
        "use time_limit",
    ),
    **dict.fromkeys(("queue_name", "routing_key", "exchange"), "use queue"),
    "at_front": "use priority",
    **dict.fromkeys(
        ("depends_on", "link", "on_success"), "use after, and Ref for a result"
    ),
    **dict.fromkeys(
        ("link_error", "on_failure"),
        "use after=redtask.Dependency(task, success=False, failure=True)",
    ),
    **dict.fromkeys(("description", "tags"), "use label"),
    "acks_late": "retries says whether what its engine did not finish runs again",
    "bind": "use redtask.current_task()",
    **dict.fromkeys(("serializer", "compression"), _NO_PICKLER),
    **dict.fromkeys(("task_id", "job_id"), _NO_IDS),
    **dict.fromkeys(("unique", "key", "lock", "queueing_lock"), _NOT_UNIQUE),
    **dict.fromkeys(
        ("rate_limit", "concurrency", "max_concurrency", "limit"), _FEW_AT_A_TIME
    ),
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
    "activate": "await rc[:].execute(code), or activate() of a blocking redtask.Client",
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


def refused(owner: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function refuse arguments of IPython.parallel with a hint.

    ``owner`` is what the error calls it.
    """

    def decorate(f: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(f)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name in ARGUMENTS:
                    raise TypeError(
                        f"{owner} has no argument {name!r}; instead of "
                        f"IPython.parallel's use {ARGUMENTS[name]}"
                    )
            return f(*args, **kwargs)

        return call

    return decorate


__all__ = ["ARGUMENTS", "AWAITED", "FLAGS", "INSTEAD", "instead", "refused", "words"]
