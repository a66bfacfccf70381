"""Graphs of tasks with real workers, who may die: right values in the right order."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import redtask
from tests import shapes
from tests.processes import until

pytestmark = pytest.mark.acceptance

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
#: Of a large graph, in seconds.
PATIENCE = 300


@pytest.fixture
def shape(request):
    count = request.config.getoption("--graph-nodes")
    return shapes.layered(count, width=max(10, count // 100), seed=7)


def check(results, shape, ledger):
    """Compare values with those of a serial run, and both orders with the graph."""
    ids = [results[number].msg_ids[0] for number in range(len(shape))]
    # The results may be a client's that is no more.
    with redtask.Client() as rc:
        found = rc.get_result(ids)
        values, about = found.get(PATIENCE), found.metadata
    assert values == shapes.serial(shape)
    early = [
        (parent, child)
        for child, before in enumerate(shape)
        for parent in before
        if about[parent].completed > about[child].started
    ]
    assert early == []
    assert shapes.too_early(shape, ledger) == []
    assert shapes.runs(ledger).keys() == set(range(len(shape)))


def test_a_random_graph_runs_in_order_and_gives_the_values_of_a_serial_run(site, shape):
    site.worker("-n", "2")
    site.worker("-n", "2", "--name", "other")

    results = site.view.submit_graph(
        dict(enumerate(shape)), shapes.jobs(shape, site.ledger)
    )

    check(results, shape, site.ledger)
    assert set(shapes.runs(site.ledger).values()) == {1}


def test_a_graph_runs_in_order_although_engines_are_killed(site, shape):
    workers = [site.worker("-n", "2"), site.worker("-n", "2", "--name", "other")]
    # One task may be unlucky more than three times.
    site.configure(max_deaths=1000)
    dice = random.Random(3)  # noqa: S311 - a plan, no secret
    over, killed = threading.Event(), []

    def disturb():
        while not over.wait(0.05):
            if pids := dice.choice(workers).engines():
                killed.append(dice.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)

    view = site.view.with_flags(retries=1000)
    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        results = view.submit_graph(
            dict(enumerate(shape)), shapes.jobs(shape, site.ledger)
        )
        check(results, shape, site.ledger)
    finally:
        over.set()
        disturbing.join()

    assert len(killed) > 3
    # Run again was only what an engine was in when it died.
    assert sum(shapes.runs(site.ledger).values()) <= len(shape) + len(killed)


@pytest.fixture
def program(own_site):
    """Start a program of Python, as somebody else would; stop it in the end."""
    started: list[subprocess.Popen[str]] = []

    def start(code, *words):
        file = own_site.folder / f"program{len(started)}.py"
        file.write_text(textwrap.dedent(code))
        started.append(
            subprocess.Popen(
                [sys.executable, str(file), *map(str, words)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_everything_but_redis_dies_and_old_results_are_there_in_the_end(
    own_site, program, shape
):
    site = own_site
    old = site.worker("-n", "2")
    site.configure(max_deaths=1000)
    asked = site.folder / "results"
    client = program(
        """
        import pathlib, pickle, sys, time
        import redtask
        from tests import shapes

        count, ledger, asked = int(sys.argv[1]), *map(pathlib.Path, sys.argv[2:])
        shape = shapes.layered(count, max(10, count // 100), seed=7)
        view = redtask.Client().load_balanced_view(retries=1000)
        graph = dict(enumerate(shape))
        results = view.submit_graph(graph, shapes.jobs(shape, ledger))
        asked.with_suffix(".new").write_bytes(pickle.dumps(results))
        asked.with_suffix(".new").rename(asked)
        results[count - 1].get()
        """,
        len(shape),
        site.ledger,
        asked,
    )
    until(asked.exists, "the results that were asked for", PATIENCE)
    until(lambda: len(shapes.runs(site.ledger)) > len(shape) // 4, "a quarter")

    client.kill()
    engines = old.engines()
    old.kill()
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
    assert len(shapes.runs(site.ledger)) < len(shape)
    site.worker("-n", "2", "--name", "new")
    heir = program(
        """
        import json, pathlib, pickle, sys

        results = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
        print(json.dumps([results[n].get(300) for n in range(len(results))]))
        """,
        asked,
    )
    told, _ = heir.communicate(timeout=PATIENCE)

    assert json.loads(told) == shapes.serial(shape)
    check(pickle.loads(asked.read_bytes()), shape, site.ledger)


def test_a_workflow_of_a_file_is_run(site):
    site.worker("-n", "2")
    shape = shapes.layered(40, width=10)
    file = site.folder / "flow.json"
    names = [f"task_{number:03}" for number in range(len(shape))]
    specification = [
        {"id": name, "name": name, "parents": [names[one] for one in before]}
        for name, before in zip(names, shape, strict=True)
    ]
    execution = [{"id": name, "runtimeInSeconds": 2.5} for name in names]
    flow = {
        "specification": {"tasks": specification},
        "execution": {"tasks": execution},
    }
    file.write_text(
        json.dumps({"name": "small", "schemaVersion": "1.5", "workflow": flow})
    )

    told = subprocess.run(
        [sys.executable, str(EXAMPLES / "workflow.py"), str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    assert "small: 40 tasks, 90 edges" in told.stdout
    assert "order: 90 of 90 edges right" in told.stdout
    assert "values: 40 of 40 as in a run without redtask" in told.stdout
