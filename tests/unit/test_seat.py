"""A seat: when the next engine is started in it."""

import errno
import os
import time

import pytest

from redtask.engine.block import NEVER, Block
from redtask.engine.seat import Seat
from redtask.engine.stacks import about, log_stacks


def test_an_engine_that_cannot_be_started_is_tried_later_each_time():
    seat = Seat(0, born=time.monotonic() - 60)
    pauses = []

    for _ in range(3):
        seat.put_off()
        assert seat.start_at is not None
        pauses.append(seat.start_at - time.monotonic())

    assert 0 < pauses[0] < pauses[1] < pauses[2]


def test_an_engine_that_cannot_be_watched_is_ended(monkeypatch):
    def refuse(_pid):
        raise OSError(errno.EMFILE, "Too many open files")

    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)
    seat = Seat(0)
    monkeypatch.setattr(os, "pidfd_open", refuse)

    with pytest.raises(OSError, match="Too many"):
        seat.sit(pid, Block())

    assert seat.pid == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_task_that_is_being_reported_runs_no_more(caplog):
    caplog.set_level("INFO", "redtask")
    seat = Seat(0)
    seat.block, seat.pid = Block(), 7
    seat.block.join("uuid")
    seat.block.joined(3, 1000, NEVER)
    seat.block.open(1, ["c-1", "1:n"])
    seat.block.begin(0, 1)
    running = about(seat)
    seat.block.spare()

    told = about(seat)
    log_stacks({"uuid": {**told, "stack": None}})

    assert (running["task"], told["task"], told["for"]) == ("c-1", None, None)
    assert running["for"] > 0
    assert "engine 3: runs no task" in caplog.text
