"""Graphs of tasks: dependencies, and what each node calls. No I/O here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from redtask.dependency import Dependency

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

Node: TypeAlias = "Hashable"
N = TypeVar("N", bound="Hashable")
#: The most nodes shown of a cycle.
_SHOWN: Final = 10
#: Length of (function, args, kwargs).
_PARTS: Final = 3


class Job(NamedTuple):
    """What one node calls."""

    #: The function, or its name.
    function: Any
    #: Its arguments; Refs among them may name nodes.
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order: each after its predecessors."""

    #: The predecessors of each node.
    parents: Mapping[Node, tuple[Node, ...]]
    #: Conditions other than the success of all, in the hub's notation.
    letters: Mapping[Node, str]

    @classmethod
    def of(cls, graph: Any) -> Graph:
        """Read a graph: networkx's DiGraph, or a mapping node -> predecessors.

        The predecessors are an iterable of nodes; or, if nodes are strings, a
        ``Dependency`` with conditions other than the success of all. Raises
        ``TypeError`` if it is not a graph, and ``ValueError`` naming a cycle or a
        predecessor that is not a node.
        """
        letters: dict[Node, str] = {}
        parents: dict[Node, tuple[Node, ...]] = {}
        for node, before in _rows(graph):
            if isinstance(before, Dependency) and not before.is_plain:
                letters[node] = before.letters
            parents[node] = _nodes(node, before)
        for node, before in parents.items():
            for one in before:
                if one not in parents:
                    raise ValueError(
                        f"node {node!r} comes after {one!r}, which is not in the graph"
                    )
        order = in_order(parents)
        if len(order) < len(parents):
            cycle = _cycle(parents, parents.keys() - set(order))
            raise ValueError(f"the graph has a cycle: {_shown(cycle)}")
        return cls({node: parents[node] for node in order}, letters)


def _rows(graph: Any) -> Iterable[tuple[Node, Any]]:
    if hasattr(graph, "nodes") and hasattr(graph, "predecessors"):
        return ((node, graph.predecessors(node)) for node in graph.nodes)
    if isinstance(graph, Mapping):
        return graph.items()
    raise TypeError(
        "a graph is a networkx DiGraph or a mapping of nodes to their predecessors, "
        f"not {type(graph).__name__}"
    )


def _nodes(node: Node, before: Any) -> tuple[Node, ...]:
    if isinstance(before, Dependency):
        return tuple(before.ordered())
    # The usual first: to find out what else is iterable takes long.
    several = isinstance(before, (list, tuple, Iterable))
    if isinstance(before, (str, bytes)) or not several:
        raise TypeError(
            f"the predecessors of node {node!r} must be several nodes, "
            f"not {type(before).__name__}: {before!r}"
        )
    return tuple(dict.fromkeys(before))


def in_order(parents: Mapping[N, Collection[N]]) -> list[N]:
    """Return nodes, each after its predecessors, otherwise in the given order.

    Those on a cycle, and what comes after them, are left out.
    """
    left = {node: len(before) for node, before in parents.items()}
    children: dict[N, list[N]] = {}
    for node, before in parents.items():
        for one in before:
            children.setdefault(one, []).append(node)
    free = deque(node for node, count in left.items() if count == 0)
    order: list[N] = []
    while free:
        node = free.popleft()
        order.append(node)
        for child in children.get(node, ()):
            left[child] -= 1
            if left[child] == 0:
                free.append(child)
    return order


def _cycle(parents: Mapping[Node, tuple[Node, ...]], stuck: set[Node]) -> list[Node]:
    """Return a cycle among nodes that each have a predecessor among them."""
    node = next(one for one in parents if one in stuck)
    place: dict[Node, int] = {}
    path: list[Node] = []
    while node not in place:
        place[node] = len(path)
        path.append(node)
        node = next(one for one in parents[node] if one in stuck)
    # It was walked backwards.
    return [node, *reversed(path[place[node] :])]


def _shown(cycle: list[Node]) -> str:
    names = [repr(node) for node in cycle]
    if len(names) > _SHOWN:
        names[_SHOWN // 2 : -_SHOWN // 2] = ["..."]
    return " -> ".join(names)


def jobs_of(jobs: Any, nodes: Mapping[Node, Any]) -> dict[Node, Job]:
    """Return what each node calls.

    ``jobs`` is one function for all nodes, or a mapping node -> function, or
    (function, args), or (function, args, kwargs). Raises ``ValueError`` for a node
    without a job or a job without a node, and ``TypeError`` for an invalid job.
    """
    if not isinstance(jobs, Mapping):
        return dict.fromkeys(nodes, _job(jobs))
    for node in jobs:
        if node not in nodes:
            raise ValueError(f"there is a job for {node!r}, which is not in the graph")
    found = {}
    for node in nodes:
        if node not in jobs:
            raise ValueError(f"there is no job for node {node!r}")
        found[node] = _job(jobs[node], node)
    return found


def _whose(node: Sequence[Node]) -> str:
    return f"node {node[0]!r}" if node else "the graph"


def _job(job: Any, *node: Node) -> Job:
    """Read the job of a node, or of all nodes."""
    if callable(job) or isinstance(job, str):
        return Job(job, (), {})
    if not isinstance(job, tuple):
        raise TypeError(
            f"the job of {_whose(node)} must be a function or (function, args, "
            f"kwargs), not {type(job).__name__}"
        )
    if not 0 < len(job) <= _PARTS:
        raise TypeError(
            f"the job of {_whose(node)} has {len(job)} parts, not 1 to {_PARTS}"
        )
    function = job[0]
    args = job[1] if len(job) > 1 else ()
    kwargs = job[2] if len(job) == _PARTS else {}
    if not callable(function) and not isinstance(function, str):
        raise TypeError(
            f"the function of {_whose(node)} cannot be called: {function!r}"
        )
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"the args of {_whose(node)} must be a tuple, not {args!r}")
    if not isinstance(kwargs, (dict, Mapping)):
        raise TypeError(f"the kwargs of {_whose(node)} must be a dict, not {kwargs!r}")
    return Job(function, tuple(args), kwargs)
