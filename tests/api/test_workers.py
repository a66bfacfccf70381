"""The client with real workers: what only they do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from redtask import error
from tests import tasks

pytestmark = pytest.mark.acceptance

DEADLINE = 30


@pytest.fixture
def worker(place, face):
    """Return a client of a hub with a worker of two engines, and its process."""
    client = place.client(face)
    environment = {
        **os.environ,
        "REDTASK_KEY": place.key,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "redtask", "worker", "-n", "2", "--quiet"]
    process = subprocess.Popen([*command, "--url", place.url], env=environment)
    try:
        client.wait_for_engines(2, timeout=DEADLINE)
        yield client, process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_a_worker_does_what_a_client_wants(place, worker, capsys, face):
    client, process = worker
    view = client.load_balanced_view()

    assert view.map_async(lambda x: x**10, range(32)).get(DEADLINE) == [
        x**10 for x in range(32)
    ]
    assert view.apply_async(tasks.size_of, b"x" * 5_000_000).get(DEADLINE) == 5_000_000
    assert (
        len(view.apply_async(lambda n: b"x" * n, 5_000_000).get(DEADLINE)) == 5_000_000
    )
    with pytest.raises(error.RemoteError, match="no 3") as caught:
        view.apply_async(tasks.fail, 3).get(DEADLINE)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.traceback.startswith("Traceback (most recent call last):")
    assert "redtask" not in caught.value.traceback.partition("tests/tasks.py")[0]
    with pytest.raises(error.RemoteError, match=r"SerializationError|cannot pickle"):
        view.apply_async(tasks.unpicklable).get(DEADLINE)

    spoken = view.map_async(tasks.talk, ["one", "two"])
    spoken.get(DEADLINE)
    assert [about["stdout"] for about in spoken.metadata] == ["one\n", "two\n"]
    assert [about["stderr"] for about in spoken.metadata] == ["one\n", "two\n"]
    assert spoken.serial_time >= 0
    if face == "blocking":
        spoken.display_outputs("order")
        printed = capsys.readouterr().out.splitlines()
        assert [line.partition("] ")[2] for line in printed] == [
            "one",
            "one",
            "two",
            "two",
        ]
        single = view.apply_async(tasks.talk, "alone")
        single.wait(DEADLINE)
        single.display_outputs()
        assert capsys.readouterr().out == "alone\nalone\n"
        assert single.stdout == "alone\n"
        single.display_outputs(result_only=True)
        assert not capsys.readouterr().out
        with pytest.raises(ValueError, match="groupby must be one of"):
            single.display_outputs("colour")

    dead = view.apply_async(os._exit, 3)
    with pytest.raises(error.EngineError):
        dead.get(DEADLINE)
    assert isinstance(dead.exception(), error.RemoteError)
    assert process.poll() is None


def test_what_a_task_says_is_heard_while_it_runs(place, worker, gate, face, capsys):
    client, _ = worker
    view = client.load_balanced_view(label="blue", retries=2)
    gates = [Path(f"{gate}{number}") for number in range(2)]

    result = view.apply_async(tasks.tell_progress, str(gate), "one", "two")
    heard = []
    for said in result.stream_output():
        heard.append((said.stream, said.text, said.progress))
        ours = {text for _, text, _ in heard}
        if {"one", "one\n", "err one\n"} <= ours:
            gates[0].touch()
        if {"two", "two\n", "err two\n"} <= ours:
            gates[1].touch()

    assert [one for one in heard if one[0] == "stdout"] == [
        ("stdout", "one\n", None),
        ("stdout", "two\n", None),
    ]
    assert [one[1:] for one in heard if one[0] == "progress"] == [
        ("one", 0.0),
        ("two", 0.5),
    ]
    name, attempt, engine, *flags = result.get(DEADLINE)
    assert (name, attempt, flags) == (result.msg_ids[0], 1, ["blue", "default", 2])
    assert engine in client.ids
    about = result.metadata
    assert (about["progress"], about["doing"]) == (0.5, "two")
    # Nobody listened meanwhile, and everything is told all the same.
    assert [said.text for said in result.stream_output()] == [
        "one\ntwo\n",
        "err one\nerr two\n",
        "two",
    ]

    if face == "blocking":
        spoken = view.map_async(tasks.talk, ["three", "four"])
        with spoken.stream_output():
            spoken.wait(DEADLINE)
        printed = capsys.readouterr()
        # One may print between a word of another and the end of its line.
        assert sorted(re.findall("three|four", printed.out)) == ["four", "three"]

    last = client.load_balanced_view().apply_async(tasks.print_and_die, "so far")
    with pytest.raises(error.EngineError, match="SIGKILL"):
        last.get(DEADLINE)
    about = last.metadata
    assert (about["stdout"], about["progress"]) == ("so far", 0.5)


def test_waiting_shows_how_far_it_is(client, gate, capsys):
    view = client.load_balanced_view()
    result = view.map_async(tasks.pass_gate, [__file__] * 3 + [str(gate)])

    result.wait_interactive(0.01, 0.2, None, "ALL_COMPLETED")
    assert not result.done()
    gate.touch()
    result.wait_interactive(interval=0.01)

    assert result.done()
    assert "4/4 tasks" in capsys.readouterr().err
    with pytest.raises(ValueError, match="return_when"):
        result.wait_interactive(return_when="NEVER")
