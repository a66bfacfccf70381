"""Graphs of tasks: their order, their cycles, their jobs."""

from __future__ import annotations

import itertools
import random

import pytest

from redtask.dependency import Dependency
from redtask.graph import Graph, Job, jobs_of


class DiGraph:
    """As much of networkx's DiGraph as is asked for."""

    def __init__(self, edges):
        self.nodes = list(dict.fromkeys(itertools.chain.from_iterable(edges)))
        self._edges = edges

    def predecessors(self, node):
        return (one for one, other in self._edges if other == node)


def test_a_mapping_names_the_predecessors():
    found = Graph.of({"c": ["a", "b", "a"], "a": [], "b": {"a"}})

    assert list(found.parents) == ["a", "b", "c"]
    assert found.parents["c"] == ("a", "b")
    assert found.letters == {}


def test_a_graph_of_networkx_knows_them():
    found = Graph.of(DiGraph([(1, 3), (2, 3), (3, 0)]))

    assert list(found.parents) == [1, 2, 3, 0]
    assert found.parents == {1: (), 2: (), 3: (1, 2), 0: (3,)}


def test_networkx_itself_is_understood():
    networkx = pytest.importorskip("networkx")

    assert Graph.of(networkx.DiGraph([(1, 2)])).parents == {1: (), 2: (1,)}
    with pytest.raises(TypeError, match="not Graph"):
        Graph.of(networkx.Graph([(1, 2)]))


def test_nothing_is_a_graph():
    assert Graph.of({}).parents == {}


def test_a_dependency_brings_its_conditions():
    found = Graph.of(
        {"a": (), "b": (), "c": Dependency(["b", "a"], all=False), "d": Dependency("c")}
    )

    assert found.parents["c"] == ("b", "a")
    assert found.letters == {"c": "ns"}


@pytest.mark.parametrize("seed", range(5))
def test_each_node_comes_after_its_predecessors(seed):
    dice = random.Random(seed)  # noqa: S311 - no secrets here
    names = list(range(300))
    dice.shuffle(names)
    parents = {
        name: dice.sample(names[:at], min(at, 3)) for at, name in enumerate(names)
    }
    given = dict(dice.sample(list(parents.items()), len(parents)))

    order = list(Graph.of(given).parents)

    place = {name: at for at, name in enumerate(order)}
    assert set(order) == set(names)
    assert len(order) == len(names)
    assert all(
        place[before] < place[node] for node in names for before in parents[node]
    )


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"a": ["a"]}, "cycle: 'a' -> 'a'"),
        ({"a": ["c"], "b": ["a"], "c": ["b"], "d": ["c"], "e": []}, "cycle: "),
        ({"a": ["nobody"]}, "'a' comes after 'nobody', which is not in the graph"),
    ],
)
def test_what_cannot_be_ordered_is_refused_by_name(graph, words):
    with pytest.raises(ValueError, match=words):
        Graph.of(graph)


def test_a_cycle_is_told_in_its_order():
    graph = {"x": ["c"], "a": ["c"], "b": ["a"], "c": ["b"]}

    with pytest.raises(ValueError, match="cycle") as told:
        Graph.of(graph)

    cycle = str(told.value).partition(": ")[2].replace("'", "").split(" -> ")
    assert cycle[0] == cycle[-1]
    assert sorted(cycle[1:]) == ["a", "b", "c"]
    assert all(one in graph[other] for one, other in itertools.pairwise(cycle))


def test_a_long_cycle_is_shortened():
    graph = {number: [(number + 1) % 1000] for number in range(1000)}

    with pytest.raises(ValueError, match=r"-> '?\.\.\.'? ->") as told:
        Graph.of(graph)

    assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ([1, 2], "a mapping of nodes to their predecessors, not list"),
        ({"a": "bc"}, "predecessors of node 'a' must be several nodes, not str"),
        ({"a": None}, "predecessors of node 'a'"),
    ],
)
def test_what_is_no_graph_is_refused(graph, words):
    with pytest.raises(TypeError, match=words):
        Graph.of(graph)


def test_a_job_is_a_function_with_or_without_arguments():
    jobs = {"a": len, "b": (len, [[]]), "c": (int, ("7",), {"base": 8}), "d": "os:sep"}

    assert jobs_of(jobs, dict.fromkeys("abcd")) == {
        "a": Job(len, (), {}),
        "b": Job(len, ([],), {}),
        "c": Job(int, ("7",), {"base": 8}),
        "d": Job("os:sep", (), {}),
    }
    assert jobs_of((len,), {1: None}) == {1: Job(len, (), {})}
    assert jobs_of(len, {1: None, 2: None}) == dict.fromkeys((1, 2), Job(len, (), {}))


@pytest.mark.parametrize(
    ("jobs", "kind", "words"),
    [
        ({}, ValueError, "no job for node 'a'"),
        ({"a": len, "z": len}, ValueError, "'z', which is not in the graph"),
        ({"a": 5}, TypeError, "job of node 'a'"),
        (None, TypeError, "job of the graph"),
        ({"a": ()}, TypeError, "0 parts"),
        ({"a": (len, (), {}, 1)}, TypeError, "4 parts"),
        ({"a": (5,)}, TypeError, "function of node 'a'"),
        ({"a": (len, "text")}, TypeError, "args of node 'a'"),
        ({"a": (len, (), 5)}, TypeError, "kwargs of node 'a'"),
    ],
)
def test_what_is_no_job_is_refused_by_name(jobs, kind, words):
    with pytest.raises(kind, match=words):
        jobs_of(jobs, {"a": ()})
