"""A persistent, load-balanced task queue for Python on Redis.

With the task interface of IPython.parallel::

    import redtask

    rc = redtask.Client()
    view = rc.load_balanced_view(block=True)
    view.map(lambda x: x ** 10, range(32))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from builtins import TimeoutError as TimeoutError  # noqa: A004 - see _HOMES

    from redtask import aio, error
    from redtask.client import Client
    from redtask.cluster import Cluster
    from redtask.current import CurrentTask, TaskFilter, current_task
    from redtask.dependency import Dependency, Ref
    from redtask.direct import DirectView
    from redtask.error import (
        ClusterError,
        CompositeError,
        ConfigurationError,
        ConnectionLost,
        DependencyTimeout,
        EngineError,
        HubFull,
        ImpossibleDependency,
        InvalidDependency,
        KernelError,
        NoEnginesRegistered,
        NoHub,
        NoRedis,
        NotDurable,
        PayloadTooLarge,
        PureScheme,
        RedtaskError,
        RemoteError,
        SerializationError,
        SignatureError,
        TaskAborted,
        TaskError,
        TaskLost,
        TaskPending,
        TaskTimeout,
        TimeLimitExceeded,
        UnknownTask,
        UnmetDependency,
    )
    from redtask.functional import depend, dependent, interactive, require
    from redtask.hooks import register_joblib_backend
    from redtask.namespace import Reference
    from redtask.result import (
        AsyncHubResult,
        AsyncMapResult,
        AsyncResult,
        as_completed,
    )
    from redtask.view import LoadBalancedView, parallel, remote

#: The module of each public name: imported on first use, so that ``import redtask``
#: costs next to nothing.
_HOMES = {
    "Client": "client",
    "Cluster": "cluster",
    "DirectView": "direct",
    "LoadBalancedView": "view",
    "parallel": "view",
    "remote": "view",
    "CurrentTask": "current",
    "TaskFilter": "current",
    "current_task": "current",
    "Dependency": "dependency",
    "Ref": "dependency",
    "depend": "functional",
    "dependent": "functional",
    "interactive": "functional",
    "register_joblib_backend": "hooks",
    # For IPython alone.
    "load_ipython_extension": "hooks",
    "Reference": "namespace",
    "require": "functional",
    "AsyncHubResult": "result",
    "AsyncMapResult": "result",
    "AsyncResult": "result",
    "as_completed": "result",
    "ClusterError": "error",
    "CompositeError": "error",
    "ConfigurationError": "error",
    "ConnectionLost": "error",
    "DependencyTimeout": "error",
    "EngineError": "error",
    "HubFull": "error",
    "ImpossibleDependency": "error",
    "InvalidDependency": "error",
    "KernelError": "error",
    "NoEnginesRegistered": "error",
    "NoHub": "error",
    "NoRedis": "error",
    "NotDurable": "error",
    "PayloadTooLarge": "error",
    "PureScheme": "error",
    "RedtaskError": "error",
    "RemoteError": "error",
    "SerializationError": "error",
    "SignatureError": "error",
    "TaskAborted": "error",
    "TaskError": "error",
    "TaskLost": "error",
    "TaskPending": "error",
    "TaskTimeout": "error",
    "TimeLimitExceeded": "error",
    "UnknownTask": "error",
    "UnmetDependency": "error",
    # For scripts of IPython.parallel. To import everything must not hide the builtin
    # one, although it is the same.
    "TimeoutError": "error",
}
_MODULES = ("aio", "error")

__all__ = [  # noqa: RUF022 - grouped, not sorted
    # Start here
    "Client",
    "Cluster",
    # Views
    "LoadBalancedView",
    "DirectView",
    "parallel",
    "remote",
    # Dependencies
    "Dependency",
    "Ref",
    # Functional dependencies
    "depend",
    "dependent",
    "require",
    # Functions of modules that engines do not have
    "interactive",
    # Names that engines keep
    "Reference",
    # Inside of a task
    "CurrentTask",
    "TaskFilter",
    "current_task",
    # Results
    "AsyncResult",
    "AsyncMapResult",
    "AsyncHubResult",
    "as_completed",
    # Other libraries
    "register_joblib_backend",
    # Errors
    "error",
    "ClusterError",
    "CompositeError",
    "ConfigurationError",
    "ConnectionLost",
    "DependencyTimeout",
    "EngineError",
    "HubFull",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "NoEnginesRegistered",
    "NoHub",
    "NoRedis",
    "NotDurable",
    "PayloadTooLarge",
    "PureScheme",
    "RedtaskError",
    "RemoteError",
    "SerializationError",
    "SignatureError",
    "TaskAborted",
    "TaskError",
    "TaskLost",
    "TaskPending",
    "TaskTimeout",
    "TimeLimitExceeded",
    "UnknownTask",
    "UnmetDependency",
    # The same names, awaitable
    "aio",
]


# For type checkers every name would exist, however it is spelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"redtask.{name}")
        if name not in _HOMES:
            absent = import_module("redtask.absent")
            raise AttributeError(absent.words("module 'redtask'", name))
        value = getattr(import_module(f"redtask.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    # Not the modules that happen to be loaded.
    return sorted({*__all__, *(name for name in globals() if name[:2] == "__")})
