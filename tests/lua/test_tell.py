"""tell: leave a message for the supervisor of a worker."""

import pytest

from redtask import error
from redtask.hub import calls


def test_a_message_waits_for_a_minute(hub):
    hub.register(1, "e", worker="w")

    assert hub.do(calls.tell("w", b"signed", now=2))

    control = hub.key("worker", "w", "control")
    assert hub.redis.lrange(control, 0, -1) == [b"signed"]
    assert 0 < hub.redis.pttl(control) <= 60_000


def test_nobody_of_this_name_is_there(hub):
    assert not hub.do(calls.tell("w", b"signed", now=2))

    assert not hub.redis.exists(hub.key("worker", "w", "control"))


def test_what_nobody_reads_is_bounded(hub):
    hub.register(1, "e", worker="w")

    for number in range(1010):
        hub.do(calls.tell("w", b"%d" % number, now=2))

    kept = hub.redis.lrange(hub.key("worker", "w", "control"), 0, -1)
    assert (len(kept), kept[-1]) == (1000, b"1009")


@pytest.mark.parametrize(
    ("worker", "message"),
    [("a:b", b"m"), ("w" * 65, b"m"), ("w", b""), ("w", b"m" * 4097)],
)
def test_a_message_that_is_none_is_refused(hub, worker, message):
    with hub.refuses(error.BadArgument):
        hub.do(calls.tell(worker, message, now=2))
