"""A seat: when the next engine is started in it."""

import time

from redtask.engine.seat import Seat


def test_an_engine_that_cannot_be_started_is_tried_later_each_time():
    seat = Seat(0, born=time.monotonic() - 60)
    pauses = []

    for _ in range(3):
        seat.put_off()
        assert seat.start_at is not None
        pauses.append(seat.start_at - time.monotonic())

    assert 0 < pauses[0] < pauses[1] < pauses[2]
