"""Who drives a flow."""

from __future__ import annotations

import socket
import threading
from typing import Any, cast

import pytest

from redtask.error import ConnectionLost
from redtask.flows import Wait
from redtask.hub import calls
from redtask.hub.keys import Keys
from redtask.inbox import Inbox, TaskSet
from redtask.store import Driver, Store


class Interrupted:
    """A store during whose calls Ctrl-C is pressed."""

    def do(self, *_, **__):
        raise KeyboardInterrupt


def test_a_flow_that_is_interrupted_is_closed():
    """A shell keeps the traceback, and so the flow, until the next error."""
    closed = []

    def flow():
        try:
            yield calls.sweep()
        finally:
            closed.append(True)

    kept = flow()
    with pytest.raises(KeyboardInterrupt):
        Driver(Interrupted()).run(kept)  # type: ignore[arg-type]

    assert closed


class Pressed:
    """A lock; Ctrl-C is pressed just when it is released for the first time."""

    def __init__(self, lock):
        self.lock = lock
        self.pressed = False

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *problem):
        self.lock.__exit__(*problem)
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt


def wait(driver, tasks):
    inbox = Inbox("me", cast(Any, None), threading.RLock(), Keys("hub"))
    with pytest.raises(KeyboardInterrupt):
        driver._perform(Wait(inbox, tasks, 0, 10.0), None, None)


def test_who_is_interrupted_just_when_it_would_read_lets_others_read():
    driver = Driver(cast(Any, None))
    driver._lock = cast(Any, Pressed(driver._lock))

    wait(driver, TaskSet(["a"]))

    assert driver._reading is None


def test_who_is_interrupted_while_another_reads_is_not_counted_any_more(monkeypatch):
    driver = Driver(cast(Any, None))
    driver._reading = threading.main_thread()

    def press(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(driver._changed, "wait", press)

    wait(driver, TaskSet(["a"]))

    assert driver._others == 0
    assert driver._reading is threading.main_thread()


def test_it_is_logged_that_redis_is_silent_while_something_large_is_read(
    tmp_path, caplog
):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "sock"))
        silent.listen()
        store = Store(f"unix://{tmp_path}/sock", "hub", patience=0.0, reply=0.1)
        with pytest.raises(ConnectionLost):
            store.fetch([("GET", "result")])
    store.close()

    assert "Redis does not answer: connecting anew" in caplog.text
