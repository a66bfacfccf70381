"""What IPython.parallel has and redtask has not says what to use instead."""

from __future__ import annotations

import builtins
import inspect
from typing import Any

import pytest

import redtask
from redtask import aio, error


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (redtask.Client, "sshserver", "tunnel"),
        (redtask.Client, "url_file", "no connection files"),
        (redtask.Client, "cluster_id", "profile="),
        (aio.Client, "sshkey", "tunnel"),
        (redtask.Cluster, "engines", "redtask worker"),
        (redtask.Cluster, "controller_args", "no controller"),
    ],
)
def test_arguments(kind, name, words):
    with pytest.raises(TypeError, match=f"instead of IPython.parallel's use .*{words}"):
        kind(**{name: "x"})


def test_other_arguments_are_refused_as_ever():
    other: Any = {"nothing": 1}
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        redtask.Client(**other)
    assert list(inspect.signature(redtask.Client).parameters) == [
        "url",
        "profile",
        "key",
        "timeout",
    ]


def test_connection_files():
    with pytest.raises(error.ConfigurationError, match="There are no connection files"):
        redtask.Client("/x/ipcontroller-client.json")
    with pytest.raises(error.ConfigurationError, match="not a URL of a Redis") as other:
        redtask.Client("/x/ipcontroller-client")
    assert "connection files" not in str(other.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("restart_engines", "stop_engines"),
        ("signal_engines_sync", "send_signal"),
        ("start_controller", "no controller"),
        ("to_dict", "profile="),
        ("become_dask", r"dask\.compute\(.*scheduler=view\.executor"),
        ("register_joblib", r"redtask\.register_joblib_backend\(\)"),
        ("nothing", "'nothing'$"),
    ],
)
def test_methods_of_a_cluster(name, words):
    cluster = redtask.Cluster(n=1)

    with pytest.raises(AttributeError, match=words):
        getattr(cluster, name)


def test_names_of_errors():
    assert redtask.KernelError is error.KernelError
    assert redtask.TimeoutError is builtins.TimeoutError
    assert redtask.PureScheme is error.PureScheme
    assert redtask.PayloadTooLarge is error.PayloadTooLarge
    assert redtask.NoRedis is error.NoRedis
    assert "TimeoutError" not in redtask.__all__
