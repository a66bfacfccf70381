"""When and where tasks run: dependencies, times, targets; through both faces."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import redtask
from redtask import AsyncResult, Dependency, Ref, error
from tests import tasks


def precedes(first, second):
    """Did one task end before the other began?"""
    return first.metadata["completed"] < second.metadata["started"]


def test_a_task_runs_after_another(view, gate):
    first = view.apply_async(tasks.pass_gate, str(gate), 1)
    with view.temp_flags(after=first):
        second = view.apply_async(tasks.double, 2)
    with view.temp_flags(after=[first, second.msg_ids[0]]):
        third = view.apply_async(tasks.double, 3)

    assert not third.wait(0.02)
    gate.touch()

    assert third.get(30) == 6
    assert precedes(first, second)
    assert precedes(second, third)


def test_metadata_say_what_a_task_waited_for(view):
    first = view.map_async(tasks.double, range(6))
    view.set_flags(after=first, follow=first.msg_ids[0])
    second = view.apply_async(tasks.double, 2)
    view.set_flags(after=first.msg_ids[:1], follow=None)
    third = view.apply_async(tasks.double, 2)
    second.wait(30)

    assert second.metadata["after"] == first.msg_ids
    assert second.metadata["follow"] == first.msg_ids[:1]
    assert third.metadata["after"] == first.msg_ids[:1]
    assert third.metadata["follow"] == []


def test_a_task_follows_another(view):
    first = view.map_async(tasks.double, range(8))
    first.wait(30)
    where = [about["engine_id"] for about in first.metadata]

    view.set_flags(follow=None)
    followers = []
    for name in first.msg_ids:
        view.set_flags(follow=name)
        followers.append(view.apply_async(tasks.double, 1))
    for follower in followers:
        follower.wait(30)

    assert [one.metadata["engine_id"] for one in followers] == where


def test_what_depends_on_a_failure_is_impossible_and_says_so(view):
    first = view.apply_async(tasks.fail, 1)
    view.set_flags(after=first)
    second = view.apply_async(tasks.double, 2)
    view.set_flags(after=second)
    third = view.apply_async(tasks.double, 3)

    for result, name in ((second, first.msg_ids[0]), (third, second.msg_ids[0])):
        with pytest.raises(error.ImpossibleDependency, match=name) as caught:
            result.get(30)
        assert caught.value.ename == "ImpossibleDependency"
        assert isinstance(caught.value, error.RemoteError)


def test_what_waits_for_a_failure_runs(view):
    first = view.apply_async(tasks.fail, 1)
    view.set_flags(after=Dependency(first, success=False, failure=True))
    second = view.apply_async(tasks.double, 2)
    view.set_flags(after=Dependency([first, second], failure=True))
    third = view.apply_async(tasks.double, 3)
    view.set_flags(after=Dependency([first, second], all=False))
    fourth = view.apply_async(tasks.double, 4)

    assert [one.get(30) for one in (second, third, fourth)] == [4, 6, 8]


@pytest.mark.parametrize("name", ["nobody-7", "a-0"])
@pytest.mark.parametrize("flag", ["after", "follow"])
def test_a_dependency_on_nobody_is_invalid(view, flag, name):
    view.set_flags(**{flag: name})

    with pytest.raises(error.InvalidDependency, match=name):
        view.apply_async(tasks.double, 1).get(30)


def test_waiting_is_bounded_by_the_timeout(view, gate):
    first = view.apply_async(tasks.pass_gate, str(gate), 1)
    view.set_flags(after=first, timeout=0.05)

    with pytest.raises(error.DependencyTimeout) as caught:
        view.apply_async(tasks.double, 1).get(30)

    assert isinstance(caught.value, error.TaskTimeout)
    assert caught.value.evalue


@pytest.mark.parametrize("flags", [{"timeout": 0.3}, {"timeout": 0.3, "targets": None}])
def test_who_waits_sees_to_the_timeout_when_no_worker_is_there(place, face, flags):
    view = place.client(face).load_balanced_view(**flags)
    begun = time.monotonic()

    with pytest.raises(error.DependencyTimeout):
        view.apply_async(tasks.double, 1).get(30)

    assert 0.3 <= time.monotonic() - begun < 2


@pytest.mark.parametrize("how", ["as_completed", "split", "join"])
def test_who_waits_for_parts_sees_to_the_timeout_too(place, how):
    view = place.client().load_balanced_view(timeout=0.2)
    result = view.map_async(tasks.double, range(2))
    if how == "as_completed":
        parts = list(redtask.as_completed(result, timeout=30))
    elif how == "split":
        parts = list(result.split())
    else:
        parts = [AsyncResult.join(*result.split())]

    with pytest.raises((error.DependencyTimeout, error.CompositeError)):
        parts[0].get(30)


def test_who_asks_for_it_elsewhere_sees_to_the_timeout_too(place, face):
    view = place.client(face).load_balanced_view(timeout=0.2)
    (name,) = view.apply_async(tasks.double, 1).msg_ids

    with pytest.raises(error.DependencyTimeout):
        place.client(face).get_result(name).get(30)


@pytest.mark.parametrize("how", ["delay", "eta", "datetime"])
def test_a_task_may_begin_later(place, view, how):
    begins = datetime.now(UTC) + timedelta(seconds=0.2)
    flags: dict[str, dict[str, Any]] = {
        "delay": {"delay": 0.2},
        "eta": {"eta": begins.timestamp()},
        "datetime": {"eta": begins},
    }
    result = view.with_flags(**flags[how]).apply_async(tasks.double, 1)

    assert place.record(result.msg_ids[0])["state"] == "waiting"
    assert result.get(30) == 2
    assert result.metadata["started"] >= begins - timedelta(milliseconds=2)


def test_targets_are_kept_to(rc):
    for targets, allowed in ((0, {0}), ([1], {1}), (-1, {1}), (slice(None), {0, 1})):
        view = rc.load_balanced_view(targets=targets)
        result = view.map_async(tasks.double, range(6))
        result.wait(30)
        assert {about["engine_id"] for about in result.metadata} <= allowed


def test_a_map_waits_as_a_call_does(view, gate):
    first = view.apply_async(tasks.pass_gate, str(gate), 1)
    with view.temp_flags(after=first):
        second = view.map_async(tasks.double, range(600))

    assert second.progress == 0
    gate.touch()
    assert second.get(60) == [2 * n for n in range(600)]


def test_what_waits_for_more_than_2000_is_told_in_calls_that_the_hub_takes(client):
    view = client.load_balanced_view()
    with view.temp_flags(delay=1000):
        first = view.map_async(tasks.noop, range(2100))
    with view.temp_flags(after=first):
        second = view.apply_async(tasks.double, 1)

    first.abort()

    with pytest.raises(error.ImpossibleDependency, match=r"after \w+-\d+: aborted"):
        second.get(30)


# -- aborting more than one call may name


#: For each node its parent.
CHAINS = {n: [n - 600] if n >= 600 else [] for n in range(1200)}
FANS = {n: [n // 900] if n >= 600 else [] for n in range(1200)}


def submit(view, graph):
    """Submit a graph; return the ids of its tasks."""
    results = view.submit_graph(graph, tasks.noop)
    return [one.msg_ids[0] for one in results.values()]


@pytest.fixture
def idle(place, face):
    """Return a client of a hub without engines, through each face."""
    return place.client(face)


@pytest.mark.parametrize("graph", [CHAINS, FANS], ids=["chains", "fans"])
def test_all_that_are_aborted_end_as_that_and_none_as_impossible(idle, graph):
    ids = submit(idle.load_balanced_view(), graph)

    assert list(idle.abort(ids).items()) == [(name, "aborted") for name in ids]


def test_the_order_in_which_tasks_are_named_does_not_matter_when_they_are_aborted(
    place, idle
):
    view, other = idle.load_balanced_view(), place.client().load_balanced_view()
    ids = submit(view, CHAINS)
    with other.temp_flags(after=ids[:2], priority=9):
        ids += other.map_async(tasks.noop, range(200)).msg_ids
    random.Random(1).shuffle(ids)  # noqa: S311 - no secrets here

    assert set(idle.abort(ids).values()) == {"aborted"}


def test_all_that_depends_on_an_aborted_task_is_aborted_if_that_is_wished(idle):
    ids = submit(idle.load_balanced_view(), CHAINS)

    words = idle.abort(ids[:600], dependents=True)

    assert words == dict.fromkeys(ids, "aborted")


def test_a_result_is_cancelled_with_all_of_its_tasks(idle):
    ids = submit(idle.load_balanced_view(), CHAINS)

    result = idle.get_result(ids, block=False)

    assert result.cancel()
    assert result.cancelled()


def test_a_task_may_wait_for_more_than_a_call_can_say(view):
    first = view.map_async(tasks.noop, range(250))
    with view.temp_flags(after=first):
        second = view.apply_async(tasks.double, 1)

    assert second.get(100) == 2
    assert second.metadata["after"] == first.msg_ids
    last = max(about["completed"] for about in first.metadata)
    assert last < second.metadata["started"]


def test_what_waits_for_much_is_impossible_when_one_fails(view):
    first = view.map_async(tasks.noop, range(150))
    failed = view.apply_async(tasks.fail, 1)
    with view.temp_flags(after=[first, failed]):
        second = view.apply_async(tasks.double, 1)

    with pytest.raises(error.ImpossibleDependency, match=failed.msg_ids[0]):
        second.get(100)


# -- results as arguments


def test_an_argument_may_be_the_result_of_another_task(view, gate):
    first = view.apply_async(tasks.pass_gate, str(gate), 20)
    second = view.apply_async(tasks.add, Ref(first), y=Ref(first.msg_ids[0]))
    third = view.apply_async(sum, [Ref(first), Ref(second), 2])

    assert not third.wait(0.02)
    gate.touch()

    assert third.get(30) == 62
    assert third.metadata["after"] == [*first.msg_ids, *second.msg_ids]


def test_items_of_a_map_may_be_results(view):
    first = view.map_async(tasks.double, range(5))

    refs = [Ref(part) for part in first.split()]
    second = view.map_async(tasks.total, refs, chunksize=2)

    assert second.get(30) == [[0], [2], [4], [6], [8]]


def test_a_result_that_will_never_be_makes_its_call_impossible(view):
    first = view.apply_async(tasks.fail, 1)

    second = view.apply_async(tasks.double, Ref(first))

    with pytest.raises(error.ImpossibleDependency, match=first.msg_ids[0]):
        second.get(30)


def test_a_call_may_need_more_results_than_a_call_can_say(view):
    first = view.map_async(tasks.double, range(250))

    second = view.apply_async(sum, [Ref(name) for name in first.msg_ids], [])

    assert second.get(100) == [2 * n for n in range(250)]


def test_other_conditions_exclude_results_as_arguments(view):
    first = view.apply_async(tasks.double, 1)
    view.set_flags(after=Dependency(first, failure=True))

    with pytest.raises(ValueError, match="flag after"):
        view.apply_async(tasks.double, Ref(first))
    assert view.history[-1] == first.msg_ids[0]


def test_a_ref_that_a_function_has_beside_its_arguments_is_refused(view):
    ref = Ref(view.apply_async(tasks.double, 1))

    for function in (lambda: ref, lambda x=ref: x):
        with pytest.raises(error.SerializationError, match="pass it as an argument"):
            view.apply_async(function)
        with pytest.raises(
            error.SerializationError, match=r"node 'a': Ref\('.+'\) belongs"
        ):
            view.submit_graph({"a": []}, function)
    assert len(view.history) == 1
    assert view.apply_async(lambda x: x, ref).get(30) == 2


def test_a_ref_to_nothing_is_refused_by_what_it_is_to(view):
    with pytest.raises(error.SerializationError, match=r"^Ref\(3\) refers to no task"):
        view.apply_async(tasks.double, Ref(3))
    with pytest.raises(
        error.SerializationError, match=r"^Ref\('b'\) refers to no task"
    ):
        view.map_async(tasks.double, [1, [Ref("b")]])
