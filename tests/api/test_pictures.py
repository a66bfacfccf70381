"""``redtask graph`` and ``redtask timeline``: what they show, in each form."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import click
import pytest

from redtask.dependency import Ref
from redtask.family import family
from tests import tasks
from tests.processes import until

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def view(client):
    """Return a view that does not block."""
    return client.load_balanced_view()


@pytest.fixture
def diamond(client, view):
    """Submit a graph that has ended: one, four of which one fails, and their sum."""
    graph = {"one": [], **{f"mid{x}": ["one"] for x in range(4)}}
    graph["sum"] = [f"mid{x}" for x in range(4)]
    jobs = {"one": (tasks.double, (1,)), "sum": (tasks.noop, (Ref("mid0"),))}
    for x in range(4):
        jobs[f"mid{x}"] = (tasks.fail_odd, (4 if x else 3,))
        graph[f"mid{x}"] = ["one"]
    results = view.submit_graph(graph, jobs)
    other = view.apply_async(tasks.double, 7)
    client.wait([*results.values(), other])
    return {node: result.msg_ids[0] for node, result in results.items()}


def texts(svg):
    return [one.text for one in ET.fromstring(svg).iter() if one.tag == SVG + "text"]


def test_a_graph_is_a_tree_of_words(command, diamond):
    short = {node: f"{name[:6]}-{name[13:]}" for node, name in diamond.items()}

    text = command("graph", diamond["mid0"]).stdout
    full = command("graph", diamond["sum"], "--full").stdout

    lines = text.splitlines()
    assert lines[:2] == [
        f"double  {short['one']}  completed  2",
        f"└─ fail_odd  {short['mid0']}  failed  ValueError: odd 3  ◀",
    ]
    assert lines[2].startswith(f"   └─ noop  {short['sum']}  failed  impossible: after")
    assert len(lines) == 3
    assert full.count("\n") == 6


def test_a_graph_fits_the_terminal(command, client, view, monkeypatch):
    def fail_with_a_name_that_leaves_hardly_any_room():
        raise ValueError("x" * 50)

    label = "night" * 4
    failed = view.with_flags(label=label).apply_async(
        fail_with_a_name_that_leaves_hardly_any_room
    )
    client.wait([failed])
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)

    line = command("graph", failed.msg_ids[0], COLUMNS="90").stdout

    assert len(click.unstyle(line).rstrip("\n")) == 90
    assert "failed" in line


def test_much_of_one_kind_is_one_line(command, client, view):
    first = view.apply_async(tasks.double, 1)
    many = view.with_flags(after=first).map_async(tasks.double, range(9))
    last = view.with_flags(after=many).apply_async(tasks.noop)
    client.wait()

    lines = command("graph", last.msg_ids[0]).stdout.splitlines()

    assert len(lines) == 3
    assert lines[1].startswith("└─ 9 times double  completed")
    assert lines[2].startswith("   └─ noop")
    assert "after 9" in lines[2]


def test_a_graph_goes_up_or_down_if_told(client, diamond):
    session = client._session

    up = client._run(family(session, [diamond["mid1"]], down=False))
    down = client._run(family(session, [diamond["mid1"]], up=False))
    both = client._run(family(session, [diamond["one"]]))

    assert set(up.records) == {diamond["one"], diamond["mid1"]}
    assert set(down.records) == {diamond["mid1"], diamond["sum"]}
    assert set(both.records) == set(diamond.values())
    assert both.depths()[diamond["sum"]] == 2
    assert next(iter(both.records)) == diamond["one"]


def test_a_graph_may_be_too_large_to_be_shown_whole(command, diamond):
    done = command("graph", diamond["one"], "--limit", 2, "--full")

    assert len(done.stdout.splitlines()) == 2
    assert "more than 2 tasks: see --limit" in done.stderr


def test_a_task_that_is_forgotten_has_a_place(command, client, view):
    first = view.apply_async(tasks.double, 1)
    client.wait([first])
    child = view.with_flags(after=first).apply_async(tasks.double, 2)
    client.wait([child])
    command.well("purge", first.msg_ids[0])

    (found,) = command.objects("graph", child.msg_ids[0])

    assert [one["state"] for one in found["nodes"]] == ["gone", "completed"]
    assert found["edges"] == [{"from": first.msg_ids[0], "to": child.msg_ids[0]}]


def test_a_graph_is_a_text_for_mermaid(command, diamond):
    lines = command("graph", diamond["one"], "--format", "mermaid").stdout.splitlines()

    assert lines[0] == "flowchart LR"
    assert sum(" --> " in line for line in lines) == 8
    assert sum(line.endswith(":::failed") for line in lines) == 2
    assert any(line.startswith("  classDef failed") for line in lines)


def test_a_graph_is_a_picture(command, diamond, tmp_path):
    path = tmp_path / "graph.svg"

    command.well("graph", diamond["one"], "--format", "svg", "-o", path)

    found = texts(path.read_text())
    assert found.count("fail_odd") == 4
    assert len(found) == 12


# -- time


def test_a_timeline_says_what_each_engine_did(command, client, view, tmp_path):
    path = tmp_path / "run.svg"
    result = view.map_async(tasks.double, range(20))
    retried = view.with_flags(retries=1).apply_async(tasks.fail, 1)
    client.wait()

    lines = command.well("timeline", "--since", "1h", "-o", path)
    spans = command.objects("timeline")

    assert sum(int(line[1]) for line in lines) == 22
    assert sum(int(line[2]) for line in lines) == 2
    assert {one["id"] for one in spans} == {*result.msg_ids, *retried.msg_ids}
    assert sorted(one["state"] for one in spans)[-2:] == ["failed", "tried"]
    found = texts(path.read_text())
    assert found[0].startswith("22 runs on ")
    assert {"double", "fail"} <= set(found)


def test_a_timeline_of_what_runs_goes_on_until_now(command, client, view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate))
    (name,) = slow.msg_ids
    until(lambda: command.objects("why", name)[0]["state"] == "running")

    (found,) = command.objects("timeline")
    gate.touch()
    client.wait([slow])

    assert (found["id"], found["state"]) == (name, "running")
    assert found["started"]
    assert found["completed"] is None


def test_a_timeline_has_what_has_run_since_before_it_begins(
    command, client, view, gate
):
    ended = view.apply_async(tasks.double, 1)
    slow = view.apply_async(tasks.pass_gate, str(gate))
    again = view.with_flags(retries=1, retry_delay=3600.0).apply_async(tasks.fail, 1)
    client.wait([ended])
    (name,) = slow.msg_ids
    until(lambda: command.objects("why", name)[0]["state"] == "running")
    until(lambda: command.objects("why", *again.msg_ids)[0]["tries"] == 1)

    (found,) = command.objects("timeline", "--since", "0s")
    late = command("timeline", "--since", "2h", "--until", "1h")
    gate.touch()
    client.abort(again)
    client.wait([slow])

    assert (found["id"], found["state"]) == (name, "running")
    assert late.exit_code == 1


def test_a_time_that_ends_before_it_begins_is_refused(command):
    done = command("timeline", "--since", "1h", "--until", "2h")

    assert done.exit_code == 2
    assert "--until has to be later than --since" in done.stderr


def test_a_picture_that_cannot_be_written_is_told(command, diamond, tmp_path):
    path = tmp_path / "nowhere" / "graph.svg"

    done = command("graph", diamond["one"], "--format", "svg", "-o", path)

    assert done.exit_code == 1
    assert done.stderr.startswith("redtask: ")
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_where_nothing_ran_there_is_no_picture(command, tmp_path):
    path = tmp_path / "run.svg"

    done = command("timeline", "-o", path)

    assert done.exit_code == 1
    assert done.stderr == "redtask: nothing ran in that time\n"
    assert not path.exists()
