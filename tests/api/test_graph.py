"""Graphs of tasks, through both faces."""

from __future__ import annotations

import gc
import itertools
import random
import time
from typing import Any

import pytest

from redtask import Dependency, Ref, error
from tests import tasks

DEADLINE = 30


def layered(count, parents, seed=0):
    """Return a random graph: each node has up to so many earlier predecessors."""
    dice = random.Random(seed)  # noqa: S311 - no secrets here
    return {
        node: dice.sample(range(max(0, node - 50), node), min(node, parents))
        for node in range(count)
    }


def values(graph):
    """Compute in one process what the tasks of ``summing`` compute."""
    found: dict[Any, int] = {}
    for node, before in graph.items():
        found[node] = (1 + sum(found[one] for one in before)) % 1000
    return found


def one_more(*parents):
    """Combine the values of the predecessors."""
    return (1 + sum(parents)) % 1000


def summing(graph):
    return {
        node: (one_more, [Ref(one) for one in before]) for node, before in graph.items()
    }


def test_a_graph_runs_in_its_order(view):
    graph = {"c": ["a", "b"], "a": [], "b": ["a"], "d": ["c"]}

    results = view.submit_graph(graph, tasks.noop)

    assert list(results) == ["a", "b", "c", "d"]
    results["d"].wait(30)
    when = {node: result.metadata for node, result in results.items()}
    for node, before in graph.items():
        for one in before:
            assert when[one]["completed"] < when[node]["started"]
    assert list(view.history) == [one.msg_ids[0] for one in results.values()]


def test_times_are_exact_enough_to_tell_the_order_of_short_tasks(view):
    chain = {node: [node - 1] if node else [] for node in range(500)}

    results = view.submit_graph(chain, tasks.noop)

    results[499].wait(30)
    runs = [result.metadata for result in results.values()]
    assert all(a["completed"] < b["started"] for a, b in itertools.pairwise(runs))


def test_results_flow_along_the_edges(view):
    graph = {"a": [], "b": ["a"], "c": ["a", "b"]}
    jobs = {
        "a": (tasks.double, (4,)),
        "b": (tasks.add, [Ref("a")], {"y": 100}),
        "c": (tasks.add, (), {"x": Ref("a"), "y": Ref("b")}),
    }

    results = view.submit_graph(graph, jobs)

    assert {node: one.get(30) for node, one in results.items()} == {
        "a": 8,
        "b": 108,
        "c": 116,
    }


def test_a_large_graph_enters_whole_and_computes_what_one_process_does(place, view):
    graph = layered(620, 3)

    results = view.submit_graph(graph, summing(graph))

    expected = values(graph)
    assert {node: one.get(100) for node, one in results.items()} == expected


@pytest.mark.parametrize("count", [3, 1_000])
def test_the_collector_is_on_and_a_small_graph_changes_nothing(view, count):
    class Noting(dict[int, list[int]]):
        def items(self):
            found.append((gc.isenabled(), gc.get_threshold() == usual))
            return super().items()

    usual = gc.get_threshold()
    found: list[tuple[bool, bool]] = []

    view.submit_graph(Noting({node: [] for node in range(count)}), tasks.noop)

    assert found[0] == (True, count == 3)
    assert gc.get_threshold() == usual


def test_one_to_many_to_one(view):
    graph: dict[Any, Any] = {"first": [], "last": range(600)}
    graph.update({n: ["first"] for n in range(600)})

    results = view.submit_graph(graph, tasks.noop)

    assert results["last"].wait(100)
    began = results["last"].metadata["started"]
    assert all(results[n].metadata["completed"] < began for n in (0, 500, 599))


def test_what_comes_after_a_failed_node_is_impossible(view):
    graph = {"a": [], "b": ["a"], "c": ["b"], "d": []}
    jobs = {"a": (tasks.fail, (1,)), "b": tasks.noop, "c": tasks.noop, "d": tasks.noop}

    results = view.submit_graph(graph, jobs)

    with pytest.raises(error.RemoteError, match="no 1"):
        results["a"].get(30)
    for node in "bc":
        with pytest.raises(error.ImpossibleDependency):
            results[node].get(30)
    assert results["d"].get(30) is None


def test_edges_may_have_conditions(view):
    graph = {"a": [], "b": Dependency("a", success=False, failure=True)}

    results = view.submit_graph(graph, {"a": (tasks.fail, (1,)), "b": tasks.noop})

    assert results["b"].get(30) is None


def test_the_flags_of_the_view_hold_for_the_graph(view, gate):
    first = view.apply_async(tasks.pass_gate, str(gate), 5)
    with view.temp_flags(after=first, label="dag"):
        results = view.submit_graph({"a": [], "b": ["a"]}, tasks.noop)

    assert not results["a"].wait(0.02)
    gate.touch()
    assert results["b"].get(30) is None
    assert results["b"].metadata["label"] == "dag"
    assert results["a"].metadata["after"] == first.msg_ids
    assert results["b"].metadata["after"] == results["a"].msg_ids


def test_a_node_may_need_the_result_of_an_earlier_task(view):
    first = view.apply_async(tasks.double, 4)

    results = view.submit_graph({"a": []}, {"a": (tasks.double, (Ref(first),))})

    assert results["a"].get(30) == 16


def test_an_empty_graph_is_no_tasks(view):
    assert view.submit_graph({}, {}) == {}


def test_nothing_is_written_of_a_graph_that_cannot_be(place, view):
    for graph, jobs, kind in (
        ({"a": ["b"], "b": ["a"]}, tasks.noop, ValueError),
        ({"a": ["z"]}, tasks.noop, ValueError),
        (
            {"a": [], "b": []},
            {"a": tasks.noop, "b": (tasks.double, (view,))},
            TypeError,
        ),
    ):
        with pytest.raises(kind):
            view.submit_graph(graph, jobs)

    for kind_of_key in ("task", "fn"):
        assert place.redis.keys(f"{place.keys.root}:{kind_of_key}:*") == []
    assert list(view.history) == []


def test_a_node_that_needs_results_of_others_waits_for_their_success(view):
    first = view.apply_async(tasks.double, 4)
    graph = {"a": [], "b": [], "c": Dependency(["a", "b"], all=False)}
    said = (
        "^node 'c': a Dependency must be on the success of all members, since the call "
        "needs the results of "
    )

    for needed, named in (
        ([Ref("a")], "'a'"),
        ([Ref("a"), Ref("b")], "'a', 'b'"),
        ([Ref(first)], first.msg_ids[0]),
    ):
        jobs = {"a": tasks.noop, "b": tasks.noop, "c": (tasks.total, needed)}
        with pytest.raises(ValueError, match=f"{said}{named}$"):
            view.submit_graph(graph, jobs)
    jobs = {"a": tasks.noop, "b": (tasks.double, [Ref("a")]), "c": tasks.noop}
    with pytest.raises(ValueError, match=r"^node 'b': Ref\('a'\) is not to one of"):
        view.submit_graph(graph, jobs)
    view.set_flags(after=Dependency(first, failure=True))
    with pytest.raises(ValueError, match=r"^node 'b': flag after must be"):
        view.submit_graph({"b": []}, {"b": (tasks.double, [Ref(first)])})


def test_a_graph_that_is_refused_half_way_is_given_up(place, client):
    view = client.load_balanced_view()
    graph = layered(1300, 2)
    jobs = dict.fromkeys(graph, (tasks.size_of, (b"",)))
    place.redis.hset(place.keys.root + ":hub", "max_payload", 1 << 20)
    jobs[1250] = (tasks.size_of, (bytes(2 << 20),))

    with pytest.raises(error.PayloadTooLarge):
        view.submit_graph(graph, jobs)

    deadline = time.monotonic() + DEADLINE
    while states_of(place) != {b"aborted"}:
        assert time.monotonic() < deadline
    assert client.outstanding == set()


def test_what_comes_late_in_a_graph_that_is_refused_half_way_is_aborted_as_well(
    place, rc
):
    graph = {n: [min(n // 600, n - 1)] if n else [] for n in range(1300)}
    jobs = dict.fromkeys(graph, (tasks.size_of, (b"",)))
    place.redis.hset(place.keys.root + ":hub", "max_payload", 1 << 20)
    jobs[1250] = (tasks.size_of, (bytes(2 << 20),))

    with pytest.raises(error.PayloadTooLarge):
        rc.load_balanced_view().submit_graph(graph, jobs)

    deadline = time.monotonic() + DEADLINE
    while b"waiting" in states_of(place):
        assert time.monotonic() < deadline
    assert states_of(place) == {b"aborted"}


def states_of(place):
    names = place.redis.keys(place.keys.root + ":task:*")
    records = [name for name in names if name.count(b":") == 3]
    return {place.redis.hget(name, "state") for name in records}
