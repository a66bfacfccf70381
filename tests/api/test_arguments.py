"""``redtask show --arguments``: what a task was called with."""

from __future__ import annotations

import sys
import types

import cloudpickle
import pytest

from redtask import Ref
from tests import tasks


def only(result):
    (name,) = result.msg_ids
    return name


@pytest.fixture
def view(client):
    """Return a view that does not block."""
    return client.load_balanced_view()


def block(done):
    """Return what stands below the heading of the arguments."""
    _, _, rest = done.stdout.partition("\n  arguments")
    lines = rest.split("\n")[1:]
    return [line.strip() for line in lines if line.startswith("    ")]


def test_who_asks_sees_what_a_failed_task_was_called_with(command, client, view):
    failed = view.apply_async(
        tasks.fail, {"order": 17, "lines": [1, 2]}, why="a\x1b[2J"
    )
    client.wait([failed])

    done = command("show", only(failed), "--arguments")
    (found,) = command.objects("show", only(failed), "--arguments")
    silent = command("show", only(failed))

    assert block(done)[:2] == [
        "0={'lines': [1, 2], 'order': 17}",
        "why='a\\x1b[2J'",
    ]
    assert f"redtask: unpickling the arguments of {only(failed)} here" in done.stderr
    assert found["args"] == ["{'lines': [1, 2], 'order': 17}"]
    assert found["kwargs"] == {"why": "'a\\x1b[2J'"}
    assert "arguments" not in silent.stdout


def test_a_task_that_waits_has_arguments_and_references_among_them(command, view):
    first = view.with_flags(delay=3600.0).apply_async(tasks.double, 1)
    second = view.apply_async(tasks.add, Ref(first), y=[Ref(first)])

    done = command("show", only(second), only(first), "--arguments")
    shown = command.objects("show", only(second), only(first), "--arguments")
    command.well("abort", only(first), only(second), "--yes")

    name = repr(only(first))
    assert block(done)[:2] == [f"0=Ref({name})", f"y=[Ref({name})]"]
    assert [(one["args"], one["kwargs"]) for one in shown] == [
        ([f"Ref({name})"], {"y": f"[Ref({name})]"}),
        (["1"], {}),
    ]


def test_long_arguments_are_cut_and_many_are_counted(command, client, view):
    long = view.apply_async(tasks.first_of, "x" * 100_000, *range(200))
    nested = view.apply_async(tasks.first_of, [[list(range(1000))] * 1000] * 1000)
    client.wait([long, nested])

    lines = block(command("show", only(long), "--arguments"))
    (found,) = command.objects("show", only(nested), "--arguments")

    assert max(map(len, lines)) < 600
    assert len(lines) < 60
    assert lines[-1] == "and 151 more"
    assert len(found["args"][0]) < 600


def test_a_call_without_arguments_says_so(command, view):
    empty = view.apply_async(tasks.noop)
    empty.get()

    done = command("show", only(empty), "--arguments")
    (found,) = command.objects("show", only(empty), "--arguments")

    assert block(done) == ["none"]
    assert (found["args"], found["kwargs"]) == ([], {})


def test_a_chunk_of_a_map_shows_what_its_calls_get(command, view):
    pair = view.map_async(tasks.add, [1, 2], [3, 4], chunksize=2)
    single = view.map_async(tasks.add, [1], [3])
    assert (pair.get(), single.get()) == ([4, 6], [4])

    done = command("show", only(pair), "--arguments")
    (found,) = command.objects("show", only(pair), "--arguments")
    (one,) = command.objects("show", only(single), "--arguments")

    assert "  arguments of 2 calls, a chunk of a map\n" in done.stdout
    assert block(done) == ["0 in [1, 2]", "1 in [3, 4]"]
    assert (found["args"], found["calls"]) == (["[1, 2]", "[3, 4]"], 2)
    assert (one["args"], one["calls"]) == (["1", "3"], None)


def test_edits_are_shown_and_moved_references(command, client, view):
    first = view.apply_async(tasks.fail_odd, 3)
    second = view.apply_async(tasks.add, Ref(first), y=1)
    client.wait([first, second])
    again = client.replay(ids=only(first), edit={"0": 4}, downstream=True)
    again.wait()
    changed = client.replay(ids=again.msg_ids[1], edit={"y": "s"})
    changed.wait()

    (edited,) = command.objects("show", again.msg_ids[0], "--arguments")
    (below,) = command.objects("show", only(changed), "--arguments")
    done = command("show", only(changed), "--arguments")

    assert (edited["args"], edited["edits"]) == (["3"], {"0": "4"})
    assert below["args"] == [f"Ref({again.msg_ids[0]!r})"]
    assert (below["kwargs"], below["edits"]) == ({"y": "1"}, {"y": "'s'"})
    assert "  edited for this run\n    y='s'\n" in done.stdout


def test_what_cannot_be_unpickled_here_is_told_and_the_rest_is_shown(
    command, client, view, monkeypatch
):
    lonely = types.ModuleType("lonely_module")
    vars(lonely)["Order"] = type("Order", (), {"__module__": "lonely_module"})
    monkeypatch.setitem(sys.modules, "lonely_module", lonely)
    kept = view.with_flags(delay=3600.0).apply_async(tasks.first_of, lonely.Order())
    monkeypatch.delitem(sys.modules, "lonely_module")

    done = command("show", only(kept), "--arguments")
    (found,) = command.objects("show", only(kept), "--arguments", code=1)
    command.well("abort", only(kept))

    told = "ModuleNotFoundError: No module named 'lonely_module'"
    assert done.exit_code == 1
    assert "first_of  waiting" in done.stdout
    assert block(done) == [f"cannot be unpickled here: {told}"]
    assert (found["args"], found["kwargs"]) == (None, None)
    assert told in found["arguments_error"]
    assert found["state"] == "waiting"


def test_what_nobody_signed_is_not_unpickled(command, client, view, place, tmp_path):
    fine = view.apply_async(tasks.fail, 7)
    client.wait([fine])
    path = tmp_path / "unpickled"
    evil = b"x" * 40 + b"a" + cloudpickle.dumps((Trap(path),))
    place.redis.set(place.keys.task(only(fine), "args"), evil)
    place.redis.hset(place.keys.task(only(fine)), "args", "")

    done = command("show", only(fine), "--arguments")

    assert done.exit_code == 1
    assert "not unpickled" in block(done)[0]
    assert "fail  failed" in done.stdout
    assert not path.exists()


class Trap:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()
