"""What a worker that starts takes for dead."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from redtask import process
from redtask.engine.inherit import inherit
from redtask.error import NameTaken
from redtask.hub.keys import Keys
from redtask.hub.records import Status

PID = 4711
ABOUT = {"boot": "this-one"}


class Store:
    """A hub that knows a worker of this machine, without engines."""

    keys = Keys("h")

    def do(self, _):
        return Status({}, {}, (), ())

    def command(self, *_):
        return [b"boot", b"this-one", b"pid", str(PID).encode(), b"begun", b"123"]


def start(name):
    inherit(cast(Any, Store()), name, ABOUT)


@pytest.fixture
def hide(monkeypatch):
    """Return what hides all processes; another one's is killed with this error."""

    def hide(problem):
        def kill(pid, number):
            assert (pid, number) == (PID, 0)
            raise problem

        monkeypatch.setattr(process, "birth", lambda _: None)
        monkeypatch.setattr(os, "kill", kill)

    return hide


def test_a_worker_whose_process_is_gone_is_dead(hide):
    hide(ProcessLookupError())

    start("w")


def test_a_worker_of_another_user_whose_process_is_hidden_is_not(hide):
    hide(PermissionError())

    with pytest.raises(NameTaken, match="is alive"):
        start("w")
