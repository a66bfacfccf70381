"""The nightly job of a weather service: 200 tasks, one of which has a bug.

``python nightly.py`` submits it. Engines import the functions from here.
"""

import redtask
from redtask import Ref

STATIONS = range(90)
REGIONS = 18
#: These measured nothing yesterday.
SILENT = {13, 37, 58, 82}


def plan() -> str:
    """Say which day it is about."""
    return "2026-11-27"


def load(day: str, station: int) -> list[float]:
    """Return what a station measured."""
    count = 0 if station in SILENT else 24
    print(f"station {station} on {day}: {count} values")
    return [(7 * station + 3 * hour) % 31 - 5.5 for hour in range(count)]


def fit(values: list[float], station: int) -> float | None:
    """Return the mean of a station."""
    print(f"fitting station {station}")
    return sum(values) / len(values)


def region(*means: float | None) -> float:
    """Return the mean of a region, of those stations that have one."""
    there = [mean for mean in means if mean is not None]
    return sum(there) / len(there)


def report(*regions: float) -> str:
    """Return what stands in the paper."""
    return f"{min(regions):.2f} to {max(regions):.2f} degrees"


def main() -> None:
    """Submit tonight's graph."""
    graph: dict[str, list[str]] = {"plan": []}
    jobs: dict[str, tuple[object, ...]] = {"plan": ("nightly:plan",)}
    for station in STATIONS:
        graph[f"load {station}"] = ["plan"]
        jobs[f"load {station}"] = ("nightly:load", (Ref("plan"), station))
    for station in STATIONS:
        graph[f"fit {station}"] = [f"load {station}"]
        jobs[f"fit {station}"] = ("nightly:fit", (Ref(f"load {station}"), station))
    for number in range(REGIONS):
        some = [f"fit {station}" for station in STATIONS if station % REGIONS == number]
        graph[f"region {number}"] = some
        jobs[f"region {number}"] = ("nightly:region", tuple(map(Ref, some)))
    regions = [f"region {number}" for number in range(REGIONS)]
    graph["report"] = regions
    jobs["report"] = ("nightly:report", tuple(map(Ref, regions)))

    with redtask.Client() as rc:
        view = rc.load_balanced_view(label="night")
        results = view.submit_graph(graph, jobs)
    print(f"{len(results)} tasks, the last is {results['report'].msg_ids[0]}")


if __name__ == "__main__":
    main()
