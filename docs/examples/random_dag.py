"""Run a random graph, check the order, and draw when and where each node ran.

The picture is ``random_dag.svg``: a line for each engine, a box for each node from its
begin to its end, coloured by its depth in the graph, and an arrow for each dependency.
All arrows point to the right.

Needs networkx, which makes the graph.
"""

import pathlib
import random
from datetime import datetime
from typing import Any, NamedTuple

import networkx as nx

import redtask

NODES, EDGES = 32, 64
#: Of the picture, in pixels.
WIDTH, LANE, BOX, MARGIN = 1200, 120, 34, 70

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
  font-family="sans-serif" font-size="13" text-anchor="middle">
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" orient="auto"
  markerWidth="6" markerHeight="6"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>
<rect width="{width}" height="{height}" fill="white"/>"""
LINE = '<path d="M{left} {y}H{right}" stroke="#ddd"/>'
TEXT = '<text x="{x:.1f}" y="{y:.1f}">{words}</text>'
ARROW = """\
<path d="M{x1:.1f} {y1:.1f}C{c1:.1f} {b1:.1f} {c2:.1f} {b2:.1f} {x2:.1f} {y2:.1f}"
  fill="none" stroke="#555" stroke-opacity="0.5" marker-end="url(#tip)"/>"""
RECTANGLE = """\
<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="3"
  fill="hsl({hue:.0f} 70% 75%)" stroke="#333"/>"""


class Box(NamedTuple):
    """Where a node is in the picture: its left, right and middle."""

    left: float
    right: float
    y: float


def wait() -> float:
    """Do what a node does."""
    import random
    import time

    seconds = random.uniform(0.005, 0.05)
    time.sleep(seconds)
    return seconds


def random_dag(nodes: int, edges: int) -> Any:
    """Make a graph without cycles: edges lead from lower to higher numbers."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    while graph.number_of_edges() < edges:
        graph.add_edge(*sorted(random.sample(range(nodes), 2)))
    return graph


def arrow(start: Box, end: Box) -> str:
    """Draw from box to box; from a line to itself in a bow, the longer the higher."""
    x1, x2 = start.right, end.left
    down = BOX / 2 if end.y > start.y else -BOX / 2
    bow, y1, y2 = 0.0, start.y + down, end.y - down
    if start.y == end.y:
        bow, y2 = 20 + min(24, (x2 - x1) / 15), y1
    bend = (x2 - x1) / 3
    c1, c2, b1, b2 = x1 + bend, x2 - bend, y1 - bow, y2 - bow
    return ARROW.format(x1=x1, y1=y1, c1=c1, b1=b1, c2=c2, b2=b2, x2=x2, y2=y2)


def draw(graph: Any, runs: dict[Any, Any]) -> str:
    """Return the picture as the text of an SVG file."""
    first = min(run.started for run in runs.values())
    last = max(run.completed for run in runs.values())
    seconds = (last - first).total_seconds()
    engines = sorted({run.engine_id for run in runs.values()})
    middles = {engine: LANE * (n + 0.5) for n, engine in enumerate(engines)}
    height = LANE * len(engines) + 30

    def x(moment: datetime) -> float:
        share = (moment - first).total_seconds() / seconds
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    boxes = {
        node: Box(x(run.started), x(run.completed), middles[run.engine_id])
        for node, run in runs.items()
    }
    depths = list(nx.topological_generations(graph))

    lines = [HEAD.format(width=WIDTH, height=height)]
    for engine, y in middles.items():
        lines.append(LINE.format(left=MARGIN, right=WIDTH - MARGIN, y=y))
        lines.append(TEXT.format(x=MARGIN / 2, y=y + 5, words=f"engine {engine}"))
    lines += [arrow(boxes[one], boxes[other]) for one, other in graph.edges]
    for depth, nodes in enumerate(depths):
        hue = 220 * (1 - depth / len(depths))
        for node in nodes:
            left, right, y = boxes[node]
            width = max(1.0, right - left)
            lines.append(
                RECTANGLE.format(
                    x=left, y=y - BOX / 2, width=width, height=BOX, hue=hue
                )
            )
            lines.append(TEXT.format(x=left + width / 2, y=y + 5, words=node))
    for at, words in ((MARGIN, "0"), (WIDTH - MARGIN, f"{1000 * seconds:.0f} ms")):
        lines.append(TEXT.format(x=at, y=height - 10, words=words))
    return "\n".join([*lines, "</svg>\n"])


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
