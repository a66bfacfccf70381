"""What every command asks of the hub before it does anything."""

from typing import Any

import pytest

from redtask import error
from redtask.hub import calls, scripts
from redtask.hub.calls import Group, Life

NOW = 7
CALLS: dict[str, calls.Call[Any]] = {
    "submit": calls.submit([Group("fn", b"f", "f", {}, ["c-9", b"a"])], now=NOW),
    "turn": calls.turn("e", 9, "n9", 1, now=NOW),
    "register": calls.register("e9", "w", now=NOW),
    "beat": calls.beat("w", [Life("e", 1, ())], now=NOW),
    "sweep": calls.sweep(now=NOW),
    "watch": calls.watch("c", ["c-1"], now=NOW),
    "abort": calls.abort(["c-1"], now=NOW),
    "link": calls.link("c-3", "after", ["c-1"], now=NOW),
    "open": calls.open_gate("c-4", now=NOW),
    "tell": calls.tell("w", b"m", now=NOW),
    "answer": calls.answer("n", b"m", now=NOW),
    "attend": calls.attend(["c-1"], now=NOW),
    "say": calls.say([("c-1", "1:n", ("progress", "1"))], now=NOW),
    "drain": calls.drain(["e"], now=NOW),
    "pause": calls.pause(["default"], now=NOW),
    "examine": calls.examine([("task", "c-1")], now=NOW),
    "resubmit": calls.resubmit([("c-5", "c-6")], now=NOW),
    "purge": calls.purge(["c-5"], now=NOW),
    "why": calls.why("c-1", now=NOW),
    "configure": calls.configure({"hwm": 3}, now=NOW),
    "status": calls.status(now=NOW),
    "overview": calls.overview(now=NOW),
    "engines": calls.engines(now=NOW),
    "tasks": calls.tasks("ready", now=NOW),
    "events": calls.events(now=NOW),
}


@pytest.fixture(params=CALLS)
def call(request):
    """A call of each command that would do something."""
    return CALLS[request.param]


@pytest.fixture
def busy(hub):
    """A hub in which there is something to be done."""
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    hub.submit(2, "c-3", after="as c-2", gate="c-4")
    hub.submit(2, "c-5")
    hub.abort(2, "c-5")
    return hub


def test_every_command_is_tried_here():
    assert CALLS.keys() == set(scripts.commands())
    assert all(call.script == name for name, call in CALLS.items())


def test_a_hub_that_was_never_made_is_none(busy, call):
    busy.redis.flushall()

    with busy.refuses(error.NoHub, "no hub under"):
        busy.do(call)


def test_data_of_another_schema_are_left_alone(busy, call):
    busy.redis.hset(busy.key("hub"), "format", "99 leastload")

    with busy.refuses(error.SchemaMismatch, "the hub has schema 99"):
        busy.do(call)


def test_the_script_of_another_scheme_is_told_which_to_load(busy, call):
    busy.redis.hset(busy.key("hub"), "format", "4 lru")

    with busy.refuses(error.SchemeChanged, "^lru$"):
        busy.do(call)


def test_a_hub_in_use_is_not_told_the_time(busy, call):
    busy.redis.hdel(busy.key("hub"), "testing")

    with busy.refuses(error.NotTesting):
        busy.do(call)


def test_a_hub_whose_testing_is_over_is_not_told_the_time(busy, call):
    busy.configure(3, testing=0)

    with busy.refuses(error.NotTesting):
        busy.do(call)


def test_the_time_must_be_one(busy):
    with busy.refuses(error.NotTesting):
        busy.do(calls.sweep(now="noon"))


def test_a_hub_in_use_takes_the_time_of_the_server(busy):
    busy.redis.hdel(busy.key("hub"), "testing")

    hub = busy.do(calls.status()).hub

    seconds, micros = busy.redis.time()
    assert abs(int(hub["stamp"]) - seconds * 1000 - micros // 1000) < 60000
    assert hub["now"] == hub["stamp"]
