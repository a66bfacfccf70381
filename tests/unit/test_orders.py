"""Orders to workers: what is waited for, and how."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from redtask import orders
from redtask.error import ConnectionLost
from redtask.flows import Hear, Pause
from redtask.hub.keys import Keys


class Session:
    """A session of which only the names of keys are asked."""

    keys = Keys("h")


def test_who_waits_for_an_answer_while_redis_is_away_pauses(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    flow = orders._answers(cast(Any, Session()), {"nonce"}, 10.0)
    assert isinstance(next(flow), Hear)

    assert isinstance(flow.throw(ConnectionLost("gone")), Pause)

    assert isinstance(flow.send(None), Hear)
    with pytest.raises(StopIteration) as end:
        flow.send((b"{redtask:h}:answer:nonce", b'{"engines": {}}'))
    assert end.value.value == []


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"engines": 1}',
        b'{"engines": {"e": 1}}',
        b'{"engines": {"e": {"pid": "x"}}}',
        b'{"engines": {"e": {"engine": []}}}',
        b'{"engines": {"e": {"engine": 1e999}}}',
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(monkeypatch, forged):
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    flow = orders._answers(cast(Any, Session()), {"nonce"}, 10.0)
    next(flow)

    assert isinstance(flow.send((b"{redtask:h}:answer:nonce", forged)), Hear)

    with pytest.raises(StopIteration) as end:
        flow.send((b"{redtask:h}:answer:nonce", b'{"engines": {"e": {"engine": 1}}}'))
    assert [one.engine for one in end.value.value] == [1]


@pytest.mark.parametrize("name", ["payload", "functional", "namespace", "engine/task"])
def test_a_stack_ends_where_redtask_called_the_task(name):
    stack = (
        "Current thread 0x1 (most recent call first):\n"
        '  File "mine.py", line 3 in work\n'
        f'  File "/lib/redtask/{name}.py", line 7 in call\n'
        '  File "/lib/redtask/engine/engine.py", line 9 in run'
    )

    assert orders.own_frames(stack).splitlines()[1:] == [
        '  File "mine.py", line 3 in work'
    ]
    assert orders.own_frames(stack, whole=True) == stack
