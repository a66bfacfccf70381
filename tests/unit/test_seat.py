"""A seat: when the next engine is started in it."""

import errno
import os
import time

import pytest

from redtask.engine.block import Block
from redtask.engine.seat import Seat


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
