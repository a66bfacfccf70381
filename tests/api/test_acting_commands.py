"""Commands that act: submit, abort, purge."""

from __future__ import annotations

import contextlib
import json
import sys

import pytest

from redtask.cli import waiting
from redtask.dependency import Ref
from tests import tasks
from tests.processes import until


@pytest.fixture
def view(client):
    """Return a view that does not block."""
    return client.load_balanced_view()


def results(command, lines):
    return [command.objects("result", name, "--wait")[0]["what"] for (name,) in lines]


# -- one call


def test_a_call_is_submitted_and_its_result_waited_for(command, client):
    assert command.well("submit", "math:factorial", 20, "--wait") == [
        ["2432902008176640000"]
    ]


def test_who_waits_at_a_terminal_is_told_why_it_takes_long(place, monkeypatch, capsys):
    client = place.client()
    result = client.load_balanced_view().apply_async(tasks.double, 1)
    monkeypatch.setattr(waiting, "_LONG", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    asked = client.why

    def why(name):
        found = asked(name)
        place.engine()
        return found

    monkeypatch.setattr(client, "why", why)

    waiting.wait(client, result.msg_ids)

    assert capsys.readouterr().err.endswith(
        " is ready: no engine lives that serves the queue default.\n"
        "Start a worker for the queue default.\n"
    )


def test_words_are_json_where_they_can_be(command, client):
    ((name,),) = command.well(
        "submit", "tests.tasks:add", "[1, 2]", 'y=["x", null]', "--label", "one"
    )

    result = client.get_result(name)
    assert result.get() == [1, 2, "x", None]
    assert result.metadata.label == "one"


def test_a_negative_number_is_no_option(command, client):
    assert command.well(
        "submit", "tests.tasks:double", "-3", "--wait", "--priority", "-5"
    ) == [["-6"]]


def test_a_failure_is_told_with_its_exit_code(command, client):
    done = command("submit", "tests.tasks:fail", 1, "--wait")
    parsed = command("submit", "tests.tasks:fail", 1, "--wait", "--json")

    assert done.exit_code == parsed.exit_code == 1
    assert done.stderr.endswith("failed: ValueError: no 1\n")
    assert json.loads(parsed.stdout)["ename"] == "ValueError"


def test_who_lacks_a_module_is_told_where_engines_look(command, client):
    told = command("submit", "nosuch:f", "--wait").stderr.splitlines()

    assert "ModuleNotFoundError" in told[-2]
    assert told[-1].startswith("redtask: engines import from the folder where")


def test_flags_reach_the_task(command, client):
    ((first,),) = command.well("submit", "tests.tasks:double", 1)
    ((name,),) = command.well(
        *("submit", "tests.tasks:double", 2, "--retries", 2, "--delay", "1h"),
        *("--after", first, "--any", "--on", "end", "--queue", "slow"),
    )

    (record,) = client.db_query({"msg_id": name})
    client.abort(name)

    assert (record["retries"], record["queue"]) == (2, "slow")
    assert record["after"] == [first]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say which function"),
        (["math.sqrt"], "did you mean math:sqrt?"),
        (["math:sqrt", 1, "--queue", "A B"], "queue must be of a-z"),
        (["math:sqrt", 1, "--skip", 1], "are for lines"),
        (["math:sqrt", 1, "--at", "soon"], "is not a time"),
        (["math:sqrt", 1, "--delay", "soon"], "a span of time"),
        (["math:sqrt", 1, "--delay", "1h", "--at", "2100-01-01"], "not both"),
        (["math:sqrt", "x=1", "y=2", "x=3"], "x is given twice"),
        (["--lines", "-"], "needs a function"),
        (["math:sqrt", "-", "--resume", "B/D"], "'--resume': 'B/D' is not the name"),
        (["math:sqrt", 1, "--any"], "--any goes with --after or --follow"),
        (["math:sqrt", 1, "--on", "end"], "--on goes with --after or --follow"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_written(
    command, place, words, told
):
    done = command("submit", *words)

    assert done.exit_code == 2
    assert told in done.stderr
    assert place.client().hub_history() == []


@pytest.mark.parametrize("words", [["math:factorial", 5], ["math:factorial", "-"]])
def test_an_engine_that_is_not_there_is_told_in_one_line(command, client, words):
    done = command("submit", *words, "--engine", 99, stdin="5\n")
    (parsed,) = command.objects("submit", *words, "--engine", 99, code=3)

    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("redtask: no such engine: 99; there are ")
    assert parsed["kind"] == "UnknownEngine"
    assert client.hub_history() == []


def test_each_line_goes_to_the_engines_that_are_named(command, client):
    number = client.ids[-1]
    words = ["submit", "math:factorial", "-", "--engine", number, "--wait", "--json"]

    done = command(*words, stdin="5\n6\n")

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["engine_id"] for one in found] == [number, number]
    assert [one["targets"] for one in found] == [[number], [number]]


def test_one_task_is_one(command, client):
    done = command("submit", "math:sqrt", "-", stdin="4\n")

    assert done.stderr.startswith("redtask: 1 task submitted as ")


# -- many


def test_each_line_is_a_task(command, client):
    lines = '1\n\n2 y=5\n[3, 4]\n{"args": [5], "kwargs": {"y": 6}}\n'

    found = command.well("submit", "tests.tasks:add", "-", stdin=lines)

    assert results(command, found) == ["2", "7", "7", "11"]
    assert len({name.partition("-")[0] for (name,) in found}) == 1


def test_a_file_may_name_the_functions(command, client, tmp_path):
    path = tmp_path / "calls"
    path.write_text("math:sqrt 16\ntests.tasks:double 'two words'\n")

    found = command.well("submit", "-i", path, "--wait")

    assert [line[1:] for line in found] == [
        ["completed", "4.0"],
        ["completed", "'two wordstwo words'"],
    ]


def test_arguments_may_go_before_those_of_lines(command, client):
    words = ["submit", "tests.tasks:add", 10, "-", "--wait"]

    assert [line[2] for line in command.well(*words, stdin="1\n2\n")] == ["11", "12"]


def test_lines_may_be_texts(command, client):
    words = ["submit", "tests.tasks:double", "-", "--wait"]

    whole = command.well(*words, "--lines", stdin="1 2\n")
    parts = command.well(*words, "--strings", stdin="1\n")

    assert whole[0][2] == "'1 21 2'"
    assert parts[0][2] == "'11'"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--queue", "Bad!"], "queue must be of a-z"),
        (["--time-limit", 0], "time_limit must be more than 0"),
        (["--delay", "1h", "--at", "2026-12-12"], "--delay or --at, not both"),
    ],
)
def test_a_dry_run_refuses_flags_that_a_submit_would_refuse(command, words, told):
    words = ["submit", "math:sqrt", 4, *words]

    done = [command(*words, *more) for more in ([], ["--dry-run"])]

    assert [one.exit_code for one in done] == [2, 2]
    assert all(told in one.stderr for one in done)
    assert done[1].stdout == ""


def test_a_dry_run_skips_what_would_be_skipped(command):
    words = ["submit", "math:sqrt", "-", "--skip", 2, "--dry-run"]

    assert command.well(*words, stdin="1\n2\n3\n") == [["math:sqrt(3)"]]


def test_a_wrong_line_is_told_and_how_to_go_on(command, place):
    lines = [str(number) for number in range(600)]
    lines[550] = '"'

    done = command("submit", "tests.tasks:double", "-", stdin="\n".join(lines))

    name = done.stdout.partition("-")[0]
    assert done.exit_code == 2
    assert "line 551: No closing quotation" in done.stderr
    assert f"500 tasks are submitted, lines 1 to 500; go on with --resume {name}" in (
        done.stderr
    )
    assert len(place.client().hub_history()) == 500


def test_what_was_interrupted_goes_on_under_its_name(command, place):
    first = command.well("submit", "tests.tasks:double", "-", stdin="1\n2\n")
    name = first[0][0].partition("-")[0]

    again = command.well(
        "submit", "tests.tasks:double", "-", "--resume", name, stdin="1\n2\n3\n4\n"
    )
    rest = command.well(
        *("submit", "tests.tasks:double", "-", "--resume", name, "--skip", 4),
        stdin="1\n2\n3\n4\n5\n",
    )

    assert [one for (one,) in again] == [f"{name}-{at}" for at in range(4)]
    assert rest == [[f"{name}-4"]]
    assert sorted(place.client().hub_history()) == [f"{name}-{at}" for at in range(5)]


def test_what_was_interrupted_goes_on_under_the_name_that_lists_show(command, place):
    words = ("submit", "tests.tasks:double", "-")
    ((first,), *_) = command.well(*words, stdin="1\n2\n")
    name = first.partition("-")[0]

    again = command.well(*words, "--resume", name[:6], stdin="1\n2\n3\n")

    assert again == [[f"{name}-{at}"] for at in range(3)]
    assert len(place.client().hub_history()) == 3


def test_a_name_of_several_submissions_or_of_none_is_refused(
    command, place, monkeypatch
):
    words = ("submit", "tests.tasks:double", "-")
    names = ["k3f9ab", "k3f9abw0z1x5", "k3f9zzw0z1x5"]
    monkeypatch.setattr("redtask.bulk.random_name", iter(names).__next__)
    for _ in names:
        command.well(*words, stdin="1\n2\n")

    several = command(*words, "--resume", "k3f9", stdin="1\n2\n3\n")
    none = command(*words, "--resume", "nobody", "--skip", 1, stdin="1\n2\n3\n")
    whole = command(*words, "--resume", "nobodyw0z1x5", stdin="1\n2\n3\n")
    history = place.client().hub_history()
    exact = command.well(*words, "--resume", names[0], "--skip", 2, stdin="1\n2\n3\n")

    assert [one.exit_code for one in (several, none, whole)] == [3, 3, 3]
    assert [one.stdout for one in (several, none, whole)] == ["", "", ""]
    assert f"several submissions: {', '.join(names)}" in several.stderr
    assert "the hub has no task whose id begins with 'nobody'" in none.stderr
    assert "without --resume all lines are submitted" in whole.stderr
    assert len(history) == 6
    assert exact == [["k3f9ab-2"]]


def test_the_rest_is_submitted_also_when_what_was_before_is_forgotten(command, client):
    words = ("submit", "tests.tasks:double", "-")
    ((first,),) = command.well(*words, stdin="1\n")
    name = first.partition("-")[0]
    client.get_result(first).get(60)
    client.purge_results("all")

    rest = command.well(*words, "--resume", name, "--skip", 1, stdin="1\n2\n")

    assert rest == [[f"{name}-1"]]


def test_what_would_be_called_can_be_seen_first(command, place):
    done = command(
        "submit", "tests.tasks:add", 1, "-", "--dry-run", stdin="a y=b\n[2]\n"
    )

    assert done.stdout == ("tests.tasks:add(1, 'a', y='b')\ntests.tasks:add(1, 2)\n")
    assert place.client().hub_history() == []


def test_calls_shown_as_json_can_be_submitted(command, place):
    words = ("submit", "tests.tasks:add", 1, "-")

    shown = command(*words, "--dry-run", "--json", stdin="a y=b\n[2]\n").stdout
    again = command("submit", "-", "--dry-run", "--json", stdin=shown).stdout

    assert [json.loads(line) for line in shown.splitlines()] == [
        {"function": "tests.tasks:add", "args": [1, "a"], "kwargs": {"y": "b"}},
        {"function": "tests.tasks:add", "args": [1, 2], "kwargs": {}},
    ]
    assert again == shown
    assert place.client().hub_history() == []


# -- no more


def test_a_named_task_is_aborted_at_once(command, view):
    (name,) = view.with_flags(delay=3600.0).apply_async(tasks.double, 1).msg_ids

    assert command.well("abort", name) == [[name, "aborted"]]
    again = command("abort", name)
    assert again.exit_code == 5
    assert again.stdout == f"{name}\tended\n"


def test_many_are_aborted_only_if_that_is_wished(command, client, view):
    late = view.with_flags(delay=3600.0, label="x").map_async(tasks.double, range(3))

    asked = command("abort", "--label", "x")
    assert asked.exit_code == 2
    assert "Abort 3 tasks? Nobody can be asked here: pass --yes" in asked.stderr
    assert len(command.well("ls", "--state", "waiting")) == 3
    assert len(command.well("abort", "--label", "x", "--yes")) == 3
    assert client.db_query({"state": "aborted"}, "msg_id") == [
        {"msg_id": name} for name in late.msg_ids
    ]


def test_what_depends_on_a_task_is_aborted_only_if_that_is_wished(
    command, client, view
):
    first = view.with_flags(delay=3600.0, label="x").apply_async(tasks.double, 1)
    second = view.apply_async(tasks.double, Ref(first))
    (name,), (child,) = first.msg_ids, second.msg_ids

    asked = command("abort", name, "--dependents")
    many = command("abort", "--state", "waiting", "--dependents")
    left = command.well("ls", "--state", "waiting")
    done = command.well("abort", name, "--dependents", "--yes")
    nothing = command("abort", "--label", "x", "--dependents")

    assert (asked.exit_code, many.exit_code, len(left)) == (2, 2, 2)
    assert "Abort 1 task, and what depends on it? Nobody can be asked" in asked.stderr
    assert "Abort 2 tasks, and what depends on them? Nobody" in many.stderr
    assert dict(done) == {name: "aborted", child: "aborted"}
    assert (nothing.exit_code, nothing.stderr) == (0, "")


def test_who_aborts_very_many_sees_how_far_it_is(command, view, monkeypatch):
    late = view.with_flags(delay=3600.0, label="x")
    late.map_async(tasks.double, range(250), chunksize=1)
    shown = []

    @contextlib.contextmanager
    def bar(name, total):
        shown.append((name, total))
        yield shown.append

    monkeypatch.setattr("redtask.cli.abort.bar", bar)
    lines = command.well("abort", "--label", "x", "--yes")

    assert [word for _, word in lines] == ["aborted"] * 250
    assert shown == [("abort", 250), 100, 200, 250]


def test_what_runs_is_interrupted_only_if_told(command, client, view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate))
    (name,) = slow.msg_ids
    until(lambda: command.objects("why", name)[0]["state"] == "running")

    refused = command("abort", name)
    told = command.well("abort", name, "--running")
    gate.touch()
    client.wait([slow])

    assert (refused.exit_code, refused.stdout) == (5, f"{name}\trunning\n")
    assert refused.stderr == "redtask: 1 runs and goes on: --running interrupts too\n"
    assert told == [[name, "interrupting"]]


def test_who_aborts_by_a_query_is_told_what_still_runs(command, client, view, gate):
    named = view.with_flags(label="x")
    slow = named.apply_async(tasks.pass_gate, str(gate))
    (name,) = slow.msg_ids
    until(lambda: command.objects("why", name)[0]["state"] == "running")
    late = named.with_flags(delay=3600.0).apply_async(tasks.double, 1)

    done = command("abort", "--label", "x", "--yes")
    gate.touch()
    client.wait([slow])

    assert (done.exit_code, done.stdout) == (0, f"{late.msg_ids[0]}\taborted\n")
    assert done.stderr == "redtask: 1 runs and goes on: --running interrupts too\n"


def test_ended_tasks_are_purged(command, client, view):
    done = view.map_async(tasks.double, range(3))
    done.get()
    late = view.with_flags(delay=3600.0).apply_async(tasks.double, 1)

    assert command("purge", late.msg_ids[0]).exit_code == 5
    assert command("purge", "--name", "double").exit_code == 2
    assert command.well("purge", done.msg_ids[0]) == [["purged", "1"], ["kept", "0"]]
    assert command.objects("purge", "--name", "double", "--yes") == [
        {"purged": 2, "kept": 0}
    ]
    assert client.hub_history() == late.msg_ids
    client.abort(late)
    assert command.objects("purge", "--all", "--yes") == [{"purged": 1, "kept": 0}]


@pytest.mark.parametrize("words", [["purge"], ["abort"], ["purge", "--all", "a-1"]])
def test_nothing_is_done_to_nothing(command, words):
    assert command(*words).exit_code == 2


def test_whether_to_purge_nothing_is_not_asked(command, place):
    place.client()

    assert command.well("purge", "--all") == [["purged", "0"], ["kept", "0"]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("abort --failed", "failed cannot be meant (only waiting, ready, assigned, "),
        ("abort --state ready,running", "what runs needs --running as well"),
        ("purge --state failed,ready", "ready cannot be meant (only completed, failed"),
        ("replay --state waiting", "waiting cannot be meant (only completed, failed"),
    ],
)
def test_states_that_cannot_be_meant_are_refused(command, words, told):
    done = command(*words.split(), "--yes")

    assert done.exit_code == 2
    assert told in done.stderr


# -- queues


def test_a_queue_that_nobody_uses_is_paused_with_a_word(command, place, client):
    place.engine(queues=["reports"])

    misspelt = command("queue", "pause", "report", "default")

    assert misspelt.stdout.split() == ["report", "paused", "default", "paused"]
    assert misspelt.stderr == (
        "nothing waits in report, and nobody serves it; did you mean reports?\n"
    )
    assert command("queue", "resume", "report", "default").stderr == ""
