"""Run a workflow in WfFormat 1.5, as on wfcommons.org: ``workflow.py [FILE]``.

Each task sleeps a thousandth of the time that it ran in the workflow, and combines the
values of its parents. In the end the values are compared with those of a run without
redtask, and the order with that of the workflow.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import redtask
from redtask import Ref

SLOWER = 1000
DIAMOND = {
    "name": "diamond",
    "workflow": {
        "specification": {
            "tasks": [
                {"id": "begin", "parents": []},
                {"id": "left", "parents": ["begin"]},
                {"id": "right", "parents": ["begin"]},
                {"id": "end", "parents": ["left", "right"]},
            ]
        },
        "execution": {
            "tasks": [
                {"id": "begin", "runtimeInSeconds": 20},
                {"id": "left", "runtimeInSeconds": 50},
                {"id": "right", "runtimeInSeconds": 40},
                {"id": "end", "runtimeInSeconds": 10},
            ]
        },
    },
}


def combine(name: str, parents: list[str]) -> str:
    """Return a value that tells whose values went into it."""
    return hashlib.sha256(" ".join([name, *parents]).encode()).hexdigest()[:16]


def work(name: str, seconds: float, *parents: str) -> str:
    """Do what a task does, on an engine."""
    time.sleep(seconds)
    return combine(name, list(parents))


def main(file: str | None) -> None:
    """Run the workflow of a file."""
    found = DIAMOND if file is None else json.loads(Path(file).read_text())
    flow = found["workflow"]
    seconds = {
        task["id"]: task["runtimeInSeconds"] / SLOWER
        for task in flow["execution"]["tasks"]
    }
    graph = {task["id"]: task["parents"] for task in flow["specification"]["tasks"]}
    jobs = {
        name: (work, (name, seconds.get(name, 0.0), *map(Ref, parents)))
        for name, parents in graph.items()
    }
    with redtask.Client() as rc:
        view = rc.load_balanced_view(retries=20)
        begun = time.perf_counter()
        nodes = view.submit_graph(graph, jobs)
        submitted = time.perf_counter() - begun
        tasks = rc.get_result([ar.msg_ids[0] for ar in nodes.values()])
        values = dict(zip(nodes, tasks.get(), strict=True))
        about = dict(zip(nodes, tasks.metadata, strict=True))

    # Nodes come in an order in which each is after its parents.
    alone: dict[str, str] = {}
    longest: dict[str, float] = {}
    for name in nodes:
        parents = graph[name]
        alone[name] = combine(name, [alone[one] for one in parents])
        before = max((longest[one] for one in parents), default=0.0)
        longest[name] = before + seconds.get(name, 0.0)
    early = [
        (parent, name)
        for name, parents in graph.items()
        for parent in parents
        if about[parent].completed > about[name].started
    ]
    began = min(one.started for one in about.values())
    ended = max(one.completed for one in about.values())
    makespan = (ended - began).total_seconds()
    busy = sum((one.completed - one.started).total_seconds() for one in about.values())
    edges = sum(map(len, graph.values()))
    print(f"{found['name']}: {len(graph)} tasks, {edges} edges")
    print(f"submitted in {submitted:.3f} s, makespan {makespan:.3f} s")
    print(
        f"longest path {max(longest.values()):.3f} s, parallelism {busy / makespan:.2f}"
    )
    print(f"engines: {sorted({one.engine_id for one in about.values()})}")
    print(f"order: {edges - len(early)} of {edges} edges right")
    right = sum(values[name] == alone[name] for name in graph)
    print(f"values: {right} of {len(graph)} as in a run without redtask")
    if early or values != alone:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
