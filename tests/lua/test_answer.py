"""answer: what supervisors say to who gave an order."""

import pytest

from redtask import error
from redtask.hub import calls


def answers(hub, nonce):
    return hub.redis.lrange(hub.keys.answer(nonce), 0, -1)


def test_answers_wait_for_a_minute(hub):
    hub.do(calls.answer("n-1", b"yes", now=1))
    hub.do(calls.answer("n-1", b"no", now=2))

    assert answers(hub, "n-1") == [b"yes", b"no"]
    assert 0 < hub.redis.pttl(hub.keys.answer("n-1")) <= 60_000


def test_answers_that_nobody_reads_are_bounded(hub):
    for number in range(1003):
        hub.do(calls.answer("n", b"%d" % number, now=1))

    assert len(answers(hub, "n")) == 1000


@pytest.mark.parametrize(
    ("nonce", "text"),
    [("", b"x"), ("a:b", b"x"), ("n" * 65, b"x"), ("n", b""), ("n", b"x" * 4194305)],
)
def test_an_answer_that_is_none_is_refused(hub, nonce, text):
    with hub.refuses(error.BadArgument):
        hub.do(calls.answer(nonce, text, now=1))
