"""Large arguments and results, through both faces."""

from __future__ import annotations

import threading

import pytest

import redtask
from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group
from tests import tasks

DEADLINE = 30
SIZES = [1000, 16_384, 70_000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_any_size_goes_there_and_back(view, size):
    data = bytes(range(256)) * (size // 256)

    result = view.apply_async(bytes, data)

    assert result.get(DEADLINE) == data


@pytest.mark.parametrize("size", SIZES)
def test_results_of_any_size_are_arguments_of_others(view, size):
    data = bytes(size)
    first = view.apply_async(bytes, data)

    second = view.apply_async(tasks.size_of, redtask.Ref(first))

    assert second.get(DEADLINE) == size


def test_large_arguments_are_kept_out_of_scripts(place, view):
    data = bytes(20_000)
    view.apply_async(len, data).get(DEADLINE)
    before = reads(place.redis)

    results = [view.apply_async(len, data) for _ in range(10)]

    assert [one.get(DEADLINE) for one in results] == [20_000] * 10
    assert reads(place.redis) - before == 10


def reads(redis):
    """Return how often whole strings or parts of them were read."""
    stats = redis.info("commandstats")
    # An engine reads arguments of its next tasks as far as they are small.
    names = ("cmdstat_get", "cmdstat_getrange")
    return sum(stats[name]["calls"] for name in names if name in stats)


def test_the_next_slice_is_made_while_large_arguments_are_under_way(place):
    store, made = place.client()._store, []
    group = Group("digest", b"blob", "f", {}, ["x-1", bytes(20_000)])

    store.do(calls.submit([group]), meanwhile=lambda: made.append(1))

    assert made == [1]


def test_large_arguments_that_are_refused_are_not_kept(place, face):
    view = place.client(face).load_balanced_view()
    place.redis.hset(place.keys.root + ":hub", "max_payload", 100_000)

    with pytest.raises(error.PayloadTooLarge):
        view.apply_async(len, bytes(200_000))
    with pytest.raises(error.PayloadTooLarge):
        view.map_async(len, [bytes(50_000), bytes(200_000)])

    assert place.redis.keys(place.keys.parcel("*")) == []


def test_large_results_that_are_read_one_by_one_are_not_kept(view):
    result = view.map_async(bytes, [100_000] * 20)
    result.wait(DEADLINE)

    sizes = []
    for value in result:
        sizes.append(len(value))
        kept = result._tasks.outcomes.values()
        assert sum(len(outcome.payload) for outcome in kept) == 0

    assert sizes == [100_000] * 20
    assert result._decoded == {}
    assert [len(value) for value in result] == sizes


def test_of_a_large_result_only_the_value_is_kept(view):
    result = view.apply_async(bytes, 100_000)

    first = result.get(DEADLINE)

    assert result._tasks.outcomes[result.msg_ids[0]].payload == b""
    assert result.get(DEADLINE) is first


def test_middling_results_are_read_many_at_once(place, view):
    result = view.map_async(bytes, [2000] * 150)
    result.wait(DEADLINE)
    before = place.redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    values = list(result)

    assert [len(value) for value in values] == [2000] * 150
    assert place.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 3


def test_large_errors_come_back(view):
    result = view.apply_async(_fail_at_length)

    with pytest.raises(error.RemoteError, match="xxxx"):
        result.get(DEADLINE)


def _fail_at_length():
    raise ValueError("x" * 60_000)


def test_an_altered_large_result_is_refused(place, view):
    result = view.apply_async(bytes, 100_000)
    result.wait(DEADLINE)
    key = place.keys.task(result.msg_ids[0], "result")
    place.redis.setrange(key, 90_000, b"x")

    with pytest.raises(error.SignatureError):
        result.get(DEADLINE)


def test_a_task_is_replayed_with_large_arguments(rc, view):
    first = view.apply_async(len, b"short")
    first.wait(DEADLINE)

    again = rc.replay(ids=first.msg_ids, args=(bytes(3_000_000),))

    assert again.get(DEADLINE) == [3_000_000]


def test_a_large_map_may_be_read_in_several_ways_at_once(view):
    result = view.map_async(bytes, [100_000] * 12)
    read = []

    def iterate():
        read.append([len(value) for value in result])

    def get():
        read.append([len(value) for value in result.get(DEADLINE)])

    readers = [threading.Thread(target=how) for how in (iterate, get, iterate, get)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(DEADLINE)

    assert read == [[100_000] * 12] * 4
    assert [len(value) for value in result.get(DEADLINE)] == [100_000] * 12


def test_what_a_reader_has_let_go_of_is_fetched_again(place):
    place.engine()
    view = place.client("blocking").load_balanced_view()
    result = view.map_async(bytes, [100_000] * 3)
    result.wait(DEADLINE)
    collect = result._collect
    others: list[object] = []

    def collect_late(**options):
        if not others:
            # One who iterates has been faster.
            others.append(result._tasks)
            for name in result._tasks.ids:
                result._tasks.release(name)
        return collect(**options)

    result._collect = collect_late

    assert [len(value) for value in result.get(DEADLINE)] == [100_000] * 3
    assert others
