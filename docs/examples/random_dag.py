"""Run a random graph, check the order, and draw when and where each node ran.

The picture is ``random_dag.svg``: a line for each engine, a box for each node from its
begin to its end, its colour from first (blue) to last (red) in the graph, and an
arrow for each dependency. All arrows point to the right.

Needs networkx, which makes the graph.
"""

import pathlib
import random
from datetime import datetime
from typing import Any

import networkx as nx

import redtask

NODES, EDGES = 32, 64
#: Of the picture, in pixels.
WIDTH, LANE, BOX, MARGIN = 1200, 120, 34, 70


def wait() -> float:
    import random
    import time

    seconds = random.uniform(0.005, 0.05)
    time.sleep(seconds)
    return seconds


def random_dag(nodes: int, edges: int) -> Any:
    """Make a graph without cycles: edges only lead from lower to higher numbers."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    while graph.number_of_edges() < edges:
        graph.add_edge(*sorted(random.sample(range(nodes), 2)))
    return graph


def draw(graph: Any, runs: dict[Any, Any]) -> str:
    """Return the picture as the text of an SVG file."""
    first = min(run.started for run in runs.values())
    last = max(run.completed for run in runs.values())
    engines = sorted({run.engine_id for run in runs.values()})
    scale = (WIDTH - 2 * MARGIN) / (last - first).total_seconds()

    def x(moment: datetime) -> float:
        return MARGIN + (moment - first).total_seconds() * scale

    def y(node: Any) -> float:
        return LANE * (engines.index(runs[node].engine_id) + 0.5)

    height = LANE * len(engines) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker>'
        "</defs>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, engine in enumerate(engines):
        middle = LANE * (number + 0.5)
        lines += [
            f'<path d="M{MARGIN} {middle}H{WIDTH - MARGIN}" stroke="#ddd"/>',
            f'<text x="{MARGIN / 2}" y="{middle + 5}">engine {engine}</text>',
        ]
    for one, other in graph.edges:
        x1, y1, x2, y2 = x(runs[one].completed), y(one), x(runs[other].started), y(other)
        # From box to box; within a line in a bow, the longer the higher.
        bow, down = 0.0, BOX / 2 if y2 > y1 else -BOX / 2
        if y1 == y2:
            bow, y1, y2 = 20 + min(24, (x2 - x1) / 15), y1 + down, y2 + down
        else:
            y1, y2 = y1 + down, y2 - down
        bend = (x2 - x1) / 3
        lines.append(
            f'<path d="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1 - bow:.1f} '
            f'{x2 - bend:.1f} {y2 - bow:.1f} {x2:.1f} {y2:.1f}" fill="none" '
            'stroke="#555" stroke-opacity="0.5" marker-end="url(#tip)"/>'
        )
    depths = {
        node: depth
        for depth, nodes in enumerate(nx.topological_generations(graph))
        for node in nodes
    }
    deepest = max(1, *depths.values())
    for node, run in runs.items():
        left, width = x(run.started), x(run.completed) - x(run.started)
        colour = f"hsl({220 - 220 * depths[node] / deepest:.0f} 70% 75%)"
        lines += [
            f'<rect x="{left:.1f}" y="{y(node) - BOX / 2}" width="{max(1, width):.1f}" '
            f'height="{BOX}" rx="3" fill="{colour}" stroke="#333">'
            f"<title>node {node}: {width / scale * 1000:.1f} ms</title></rect>",
            f'<text x="{left + width / 2:.1f}" y="{y(node) + 5}">{node}</text>',
        ]
    milliseconds = (last - first).total_seconds() * 1000
    lines += [
        f'<text x="{MARGIN}" y="{height - 12}">0</text>',
        f'<text x="{WIDTH - MARGIN}" y="{height - 12}">{milliseconds:.0f} ms</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


with redtask.Client() as rc:
    view = rc.load_balanced_view(retries=2)
    graph = random_dag(NODES, EDGES)
    results = view.submit_graph(graph, wait)
    rc.wait(list(results.values()))

    runs = {node: result.metadata for node, result in results.items()}
    for before, after in graph.edges:
        assert runs[after].started > runs[before].completed, f"{before} -> {after}"
    print(f"{NODES} nodes ran in the order of {EDGES} edges")

    picture = pathlib.Path("random_dag.svg")
    picture.write_text(draw(graph, runs))
    print(f"see {picture.resolve()}")
