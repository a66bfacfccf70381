"""register: an engine joins."""

import pytest

from redtask import error
from redtask.hub import calls

LEASE = 15000
SOMEBODY = {"host": "here", "boot": "b", "pid": 7, "begun": 99}


def test_engines_are_numbered_from_0(hub):
    assert hub.register(1, "x").engine_id == 0
    assert hub.register(2, "y").engine_id == 1


def test_a_number_is_never_used_again(hub):
    hub.register(1, "x")
    hub.gone(2, "x")

    assert hub.register(3, "y").engine_id == 1


def test_an_engine_hears_how_long_its_lease_is(hub):
    hub.configure(1, lease=3000)

    assert hub.register(2, "x").lease == 3000
    assert hub.redis.zscore(hub.key("engines"), "x") == 3002


def test_to_register_twice_is_to_register(hub):
    hub.register(1, "x", **SOMEBODY)
    before = hub.dump()

    assert hub.register(2, "x", **SOMEBODY).engine_id == 0
    assert hub.dump() == before


def test_a_worker_leaves_a_card(hub):
    hub.register(1, "x", **SOMEBODY, python="3.11", version="1")
    hub.register(2, "y", **SOMEBODY)

    assert hub.redis.hgetall(hub.keys.worker("w")) == {
        b"host": b"here",
        b"boot": b"b",
        b"pid": b"7",
        b"begun": b"99",
        b"python": b"3.11",
        b"version": b"1",
        b"engines": b"2",
        b"lease": b"15002",
    }


@pytest.mark.parametrize("other", [{"boot": "c"}, {"pid": 8}, {"begun": 100}])
def test_a_name_belongs_to_one_living_worker(hub, other):
    hub.register(1, "x", **SOMEBODY)

    with hub.refuses(error.NameTaken, "a worker named w is alive"):
        hub.register(2, "y", **{**SOMEBODY, **other})
    with hub.refuses(error.NameTaken):
        hub.register(1 + LEASE - 1, "y", **{**SOMEBODY, **other})


def test_a_name_is_free_when_its_lease_is_over(hub):
    hub.register(1, "x", **SOMEBODY)

    hub.register(1 + LEASE, "y", **{**SOMEBODY, "pid": 8})

    assert hub.redis.hget(hub.keys.worker("w"), "pid") == b"8"


def test_a_name_is_free_when_its_engines_are_gone(hub):
    hub.register(1, "x", **SOMEBODY)
    hub.gone(2, "x")

    hub.register(3, "y", **{**SOMEBODY, "pid": 8})

    assert hub.redis.hget(hub.keys.worker("w"), "engines") == b"1"


def test_other_names_are_free(hub):
    hub.register(1, "x", **SOMEBODY)

    assert hub.register(2, "y", worker="v", **{**SOMEBODY, "pid": 8}).engine_id == 1


def test_an_engine_counts_in_each_of_its_queues(hub):
    hub.register(1, "x", queues="a,b")
    hub.register(2, "y", queues="b")

    queues = {queue.name: queue.engines for queue in hub.status(3).queues}
    assert queues == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("engine", "worker", "queues", "about"),
    [
        ("", "w", "default", {}),
        ("a:b", "w", "default", {}),
        ("a b", "w", "default", {}),
        ("e" * 65, "w", "default", {}),
        ("e", "", "default", {}),
        ("e", "a/b", "default", {}),
        ("e", "w" * 65, "default", {}),
        ("e", "w", "", {}),
        ("e", "w", "a,", {}),
        ("e", "w", ",a", {}),
        ("e", "w", "a,,b", {}),
        ("e", "w", "A", {}),
        ("e", "w", "a,a", {}),
        ("e", "w", "q" * 65, {}),
        ("e", "w", "default", {"colour": "red"}),
        ("e", "w", "default", {"engines": 5}),
    ],
)
def test_an_engine_that_is_none_is_refused(hub, engine, worker, queues, about):
    with hub.refuses(error.BadArgument):
        hub.do(calls.register(engine, worker, queues.split(","), about, now=1))


def test_a_description_without_a_value_is_refused(hub):
    call = calls.register("e", "w", now=1)

    with hub.refuses(error.BadArgument):
        hub.do(calls.Call("register", [*call.args, "host"], call.read))


def test_engines_of_a_card_that_expired_count_until_they_are_gone(hub):
    hub.join(1, "e")
    hub.redis.delete(hub.key("worker", "w"))

    hub.join(90_000_000, "f")

    assert hub.redis.hget(hub.key("worker", "w"), "engines") == b"2"
    hub.gone(90_000_001, "e")
    assert hub.redis.hget(hub.key("worker", "w"), "engines") == b"1"
