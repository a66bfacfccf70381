"""Commands that read: ls, show, why, logs, result, events."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len

from redtask import error
from redtask.cli.output import short_id
from tests import tasks
from tests.commands import OF_HUBS
from tests.processes import until

#: Commands that need an id.
OF_ONE = [
    ["show"],
    ["why"],
    ["logs"],
    ["logs", "-f"],
    ["result"],
    ["abort"],
    ["purge"],
    ["replay"],
    ["graph"],
]
#: Commands that need the key.
ACTS = [
    ["abort"],
    ["purge"],
    ["replay"],
    ["result", "--python"],
    ["show", "--arguments"],
    ["logs", "-f"],
    ["submit", "math:sqrt"],
]


#: For a person at a terminal; GOOD, BAD and LATE stand for ids.
SHOWN = (
    """
ls|ls GOOD BAD|ls --fields id,took|show GOOD BAD|why GOOD BAD LATE|logs GOOD BAD
result GOOD|result BAD|result LATE|result --python GOOD|graph BAD|timeline|events
show --arguments GOOD BAD LATE
status --once|queue ls|engine ls|engine show 0|key ls|key new
config show|config show --origin|configure|configure --hwm 2|doctor|doctor --no-data
submit math:factorial 3|submit math:factorial 3 --wait|submit --dry-run math:factorial 3
replay --failed --dry-run|replay BAD --wait|replay --failed --again --yes
queue pause other|queue resume other
abort LATE|purge GOOD|purge --failed --yes|cluster list
""".strip()
    .replace("\n", "|")
    .split("|")
)


def only(result):
    (name,) = result.msg_ids
    return name


@pytest.fixture
def view(client):
    """Return a view that does not block."""
    return client.load_balanced_view()


@pytest.fixture
def few(client, view):
    """Submit a good one, a bad one, and one that waits for an hour."""
    good = view.with_flags(label="day 1").apply_async(tasks.double, 4)
    good.get()
    bad = view.with_flags(label="day 2").apply_async(tasks.fail, 3)
    client.wait([bad])
    late = view.with_flags(delay=3600.0).apply_async(tasks.double, 1)
    yield tuple(map(only, (good, bad, late)))
    client.abort(late)


@pytest.mark.parametrize("words", SHOWN)
def test_every_command_has_something_for_people(command, few, words, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    for name, task_id in zip(("GOOD", "BAD", "LATE"), few, strict=True):
        words = words.replace(name, task_id)

    done = command(*words.split())

    assert done.exception is None or isinstance(done.exception, SystemExit), words
    assert done.exit_code in {0, 1, 5}
    assert done.output


def test_ls_lists_the_latest_first(command, few):
    good, bad, _ = few

    lines = command.well("ls", "--state", "completed,failed")

    assert [[*line[:3], line[-1]] for line in lines] == [
        [bad, "failed", "fail", "ValueError: no 3"],
        [good, "completed", "double", "8"],
    ]


def test_ls_lists_what_is_chosen(command, few):
    for words, which in [
        ("--failed", [1]),
        ("--state completed,waiting", [2, 0]),
        ("--state completed --state waiting", [2, 0]),
        ("--name dou*", [2, 0]),
        ("--label d*", [1, 0]),
        ("--error ValueError", [1]),
        ("--error KeyError", []),
        ("--queue other", []),
        ("--since 1h", [2, 1, 0]),
        ("--since 2100-01-01", []),
        ("--state failed,completed --limit 1", [1]),
        ('--query {"queue":"default","tries":1}', [1]),
        ('--query {"submitted":{"$lt":"1h"}}', []),
        ("--failed --limit 5 --since 1h", [1]),
    ]:
        lines = command.well("ls", *words.split(), "--fields", "id")

        assert sorted(lines) == sorted([few[at]] for at in which), words


def test_functions_of_one_name_are_told_apart_by_their_modules(command, client, view):
    real, other = [
        only(view.apply_async(name, 4)) for name in ("math:sqrt", "cmath:sqrt")
    ]
    sent = only(view.apply_async(lambda: 1))
    client.wait([real, other, sent])

    found = {
        name: sorted(command.well("ls", "--name", name, "--fields", "id"))
        for name in ("sqrt", "math:sqrt", "cmath*", "*:sqrt", "math", "<lambda>")
    }
    listed = command.objects("ls", "--fields", "id,module")
    (whole,) = command.objects("ls", real)

    both = sorted([[real], [other]])
    assert found == {
        "sqrt": both,
        "math:sqrt": [[real]],
        "cmath*": [[other]],
        "*:sqrt": both,
        "math": [],
        "<lambda>": [[sent]],
    }
    assert {one["id"]: one["module"] for one in listed} == {
        real: "math",
        other: "cmath",
        sent: None,
    }
    assert (whole["function"], whole["module"]) == ("sqrt", "math")


def test_whoever_acts_on_a_function_with_its_module_spares_its_namesake(
    command, client, view
):
    real, other = [
        only(view.apply_async(f"{name}:sqrt", 4)) for name in ("math", "cmath")
    ]
    client.wait([real, other])

    drawn = command.objects("timeline", "--name", "math:*")
    planned = command.well("replay", "--name", "math:sqrt", "--dry-run")
    (planned_json,) = command.objects("replay", "--name", "math:sqrt", "--dry-run")
    command.well("purge", "--name", "math:sqrt", "--yes")

    assert [one["id"] for one in drawn] == [real]
    assert [line[0] for line in planned] == [real]
    assert planned_json["module"] == "math"
    assert client.hub_history() == [other]


def test_a_long_listing_is_read_page_by_page(command, client, view):
    result = view.map_async(tasks.double, range(700))
    result.get()
    bad = view.apply_async(tasks.fail_odd, 3)
    client.wait([bad])

    lines = command.well("ls", "--limit", 600, "--fields", "id,state")
    rare = command.well("ls", "--query", '{"repr": "[0]"}')

    assert len({line[0] for line in lines}) == 600
    assert lines[0] == [only(bad), "failed"]
    assert [line[0] for line in rare] == [result.msg_ids[0]]


def test_ls_lists_named_tasks_as_they_are_named(command, few):
    good, bad, _ = few

    lines = command.well("ls", "-", stdin=f"{bad}\n{good}\n")

    assert [line[0] for line in lines] == [bad, good]


def test_ls_lists_all_that_are_named(command, view, monkeypatch):
    result = view.map_async(tasks.double, range(60))
    result.get()
    ids = result.msg_ids
    piped = "\n".join(ids)

    lines = command.well("ls", "-", stdin=piped)
    named = command.objects("ls", *ids)
    few = command.well("ls", "-", "--limit", 7, stdin=piped)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    shown = command("ls", *ids)

    assert [line[0] for line in lines] == ids
    assert [one["id"] for one in named] == ids
    assert [line[0] for line in few] == ids[:7]
    assert shown.stdout.count("completed") == 60
    assert shown.stderr == ""


def test_ids_may_come_from_a_pipe_wherever_there_may_be_several(command, few):
    good, bad, _ = few

    for words in (["show"], ["why"], ["logs"], ["graph", "--up"]):
        done = command(*words, "-", stdin=f"{good}\tcompleted\n{bad}\n")
        none = command(*words, "-", stdin="")

        assert done.exit_code == 0, words
        for name in (good, bad):
            assert name in done.stdout or short_id(name) in done.stdout, words
        assert (none.exit_code, none.stdout.strip()) == (0, ""), words
    followed = command("logs", "-f", "-", stdin=f"{good}\n{bad}\n")
    assert followed.stderr.endswith("ValueError: no 3\n")


def test_one_id_may_come_from_a_pipe_where_one_is_meant(command, few):
    good, bad, _ = few

    one = command("result", "-", stdin=f"{good}\n")
    two = command("result", "-", stdin=f"{good}\n{bad}\n")
    none = command("result", "-", stdin="")

    assert (one.exit_code, one.stdout) == (0, "8\n")
    for done, number in ((two, 2), (none, 0)):
        assert done.exit_code == 2
        assert f"one task, and on standard input are {number}" in done.stderr


def test_ls_has_an_object_a_line(command, few):
    found = command.objects("ls", "--failed")

    assert found[0]["id"] == few[1]
    assert found[0]["ename"] == "ValueError"
    assert command.objects("ls", "--failed", "--fields", "id,took")[0].keys() == {
        "id",
        "took",
    }


def test_ls_refuses_what_it_cannot_show_or_compare(command, few):
    for words, told in [
        (["--fields", "id,buffers"], "no such field: 'buffers'"),
        (["--fields", "result_buffers"], "no such field: 'result_buffers'"),
        (["--query", '{"buffers": null}'], "no query looks into 'buffers'"),
        (["--query", '{"header": {"$gt": {"a": 1}}}'], "$gt of header"),
    ]:
        done = command("ls", *words)

        assert (done.exit_code, done.stdout) == (2, ""), words
        assert told in done.stderr


def test_show_says_all_that_is_known(command, view, client):
    parent = view.apply_async(tasks.fail, 1)
    child = view.with_flags(after=parent).apply_async(tasks.double, 2)
    client.wait([child])
    again = client.resubmit(parent)
    client.wait([again])
    first, second = only(parent), only(again)

    text = command("show", first).stdout
    (found,) = command.objects("show", first)
    (below,) = command.objects("show", only(child))

    assert text.startswith("fail  failed\n")
    assert "ValueError: no 1" in text
    assert f"this one -> {second} (failed)" in text
    assert "Traceback (most recent call last)" in text
    assert found["runs"] == [first, second]
    assert found["attempts"][0]["what"] == "ValueError: no 1"
    assert below["after"] == [first]
    assert below["related"] == [{"id": first, "state": "failed", "function": "fail"}]
    assert below["after_what"] == "all success"


def test_show_names_engines_by_number_also_those_that_are_gone(command, few, place):
    name = few[1]
    line = "1:x\twentOffLongAgo\t1000\t2000\tits machine was lost"
    place.redis.lpush(place.keys.task(name, "attempts"), line)
    gone = {"at": 1, "event": "engine gone", "engine": "wentOffLongAgo", "id": 7}
    place.redis.xadd(place.keys.story(), gone, id="*")

    (found,) = command.objects("show", name)
    text = command("show", name).stdout

    assert found["attempts"][0]["engine_id"] == 7
    assert "1 on engine 7 at 1970-01-01" in text


def test_show_tells_where_a_function_comes_from(command, view):
    named = view.apply_async("math:factorial", 3)
    imported = view.apply_async(tasks.double, 2)
    sent = view.apply_async(lambda: 1)
    for one in (named, imported, sent):
        one.get()

    shown = [command.objects("show", only(one))[0] for one in (named, imported, sent)]
    told = [command("show", only(one)).stdout for one in (named, imported, sent)]

    assert [(one["function"], one["module"]) for one in shown] == [
        ("factorial", "math"),
        ("double", "tests.tasks"),
        ("<lambda>", None),
    ]
    assert "  function    math:factorial\n" in told[0]
    assert "  function    tests.tasks:double\n" in told[1]
    assert "  function    <lambda>, sent by value\n" in told[2]


def test_show_tells_who_waits_for_a_task(command, view, client, gate):
    parent = view.apply_async(tasks.pass_gate, str(gate), 1)
    child = view.with_flags(after=parent).apply_async(tasks.double, 2)

    (found,) = command.objects("show", only(parent))
    gate.touch()
    child.get()

    assert found["dependents"] == [only(child)]


def test_show_counts_who_waits_if_it_does_not_list_all(command, view, client, gate):
    parent = view.apply_async(tasks.pass_gate, str(gate), 1)
    view.with_flags(after=parent).map_async(tasks.double, range(12))

    text = command("show", only(parent)).stdout
    gate.touch()
    client.wait()

    assert "  dependents  " in text
    assert text.count("double (waiting)") == 10
    assert "and 2 more" in text


def test_show_cuts_lines_that_nobody_would_read(command, view, client):
    words = "E" * 100_000
    failed = view.apply_async(tasks.fail, words)
    client.wait([failed])

    text = command("show", only(failed)).stdout

    assert "  traceback" in text
    assert max(map(len, text.splitlines())) < 1100
    assert " characters)\n" in text
    assert words[:30_000] in command("logs", only(failed)).stderr


def test_why_says_what_a_task_waits_for(command, few):
    late = few[2]

    text = command("why", late).stdout
    (found,) = command.objects("why", late)

    assert text.startswith(f"{late} is waiting: it is not to start for another")
    assert found["id"] == late
    assert found["start"]


def test_why_says_what_went_wrong_before(command, client, view):
    again = view.with_flags(retries=2, retry_delay=3600.0).apply_async(tasks.fail, 3)
    name = only(again)
    until(lambda: command.objects("why", name)[0]["tries"] == 1)

    text = command("why", name).stdout
    client.abort(again)

    assert text.endswith("; 1 of 3 tries failed: ValueError: no 3.\n")


def test_why_claims_nothing_of_engines_that_it_did_not_look_at(
    command, client, place, gate
):
    (number, *_) = client.ids
    view = client.load_balanced_view(targets=number)
    view.apply_async(tasks.pass_gate, str(gate))
    until(lambda: command.well("ls", "--state", "running"))
    name = only(view.apply_async(tasks.noop))
    engines = place.keys.engines()
    ((_, first),) = place.redis.zrange(engines, 0, 0, withscores=True)
    others = [f"other{at}" for at in range(1000)]
    place.redis.zadd(engines, dict.fromkeys(others, first - 1))

    text = command("why", name).stdout
    (found,) = command.objects("why", name)
    result = str(client.get_result(name).why())
    place.redis.zrem(engines, *others)
    whole = command("why", name).stdout

    assert text == (
        f"{name} is ready: of the first 1,000 engines looked at, none serves the queue "
        f"default; its target is engine {number}.\n"
        "It runs when an engine that may take it has time.\n"
    )
    assert (found["engines"]["living"], found["engines"]["looked_at"]) == (0, 1000)
    assert f"{result}\n" == text
    assert "the only engine that may take it is busy" in whole


def test_show_has_whole_ids_in_a_pipe(command, client, view, few):
    child = view.with_flags(after=few[1]).apply_async(tasks.double, 1)
    client.wait([child])

    text = command("show", only(child)).stdout

    assert f"  reason      impossible: after {few[1]}: failed\n" in text


def test_of_what_runs_it_is_said_how_to_see_what_it_prints(command, client, gate):
    result = client.load_balanced_view().apply_async(tasks.pass_gate, str(gate))
    name = result.msg_ids[0]
    until(lambda: command.objects("why", name)[0]["state"] == "running")

    done = command("logs", name)

    gate.touch()
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"redtask: {name} is running: -f shows what it prints\n"


def test_logs_has_the_traceback_on_the_other_stream(command, few):
    done = command("logs", few[1])
    (found,) = command.objects("logs", few[1])

    assert done.stdout == ""
    assert done.stderr.endswith("ValueError: no 3\n")
    assert found["traceback"].endswith("ValueError: no 3\n")


def test_result_prints_what_the_engine_made_of_it(command, few):
    good, bad, late = few

    assert command.well("result", good) == [["8"]]
    failed = command("result", bad)
    assert failed.exit_code == 1
    assert failed.stderr == f"redtask: {bad} failed: ValueError: no 3\n"
    assert command("result", late).exit_code == 5
    assert command("result", late, "--timeout", "10ms").exit_code == 4
    assert command.objects("result", good) == [
        {"id": good, "state": "completed", "what": "8"}
    ]


def test_result_unpickles_only_if_told_and_says_so(command, client, view):
    long = view.apply_async(tasks.double, "x" * 100)
    long.get()

    short = command("result", only(long))
    whole = command("result", only(long), "--python")

    assert len(short.stdout) < 80
    assert whole.stdout == repr("x" * 200) + "\n"
    assert "unpickling the result" in whole.stderr


def test_result_can_be_waited_for(command, view, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate), 5)
    gate.touch()

    assert command.well("result", only(slow), "--wait") == [["5"]]


def test_events_are_of_a_kind_or_of_a_task(command, view, client):
    retried = view.with_flags(retries=1).apply_async(tasks.fail, 1)
    client.wait([retried])
    name = only(retried)

    joined = command.objects("events", "--event", "engine *")
    mine = command.objects("events", "--task", name)

    assert {one["event"] for one in joined} == {"engine joined"}
    assert [(one["event"], one["id"]) for one in mine] == [
        ("retry", name),
        ("failed", name),
    ]
    assert len(command.well("events", "--limit", 2)) == 2
    assert command.well("events", "--since", "2100-01-01") == []
    whole = command.well("events", "--limit", 1000)
    for long_ago in ("3000w", "1960-01-01"):
        assert command.well("events", "--since", long_ago) == whole


def test_events_name_engines_by_number_also_those_that_are_gone(
    command, view, client, place, monkeypatch
):
    retried = view.with_flags(retries=1).apply_async(tasks.fail, 1)
    client.wait([retried])
    story = place.keys.story()
    gone = {"at": 1, "event": "engine gone", "engine": "wentOffLongAgo", "id": 7}
    place.redis.xadd(story, gone)
    for _ in range(600):
        place.redis.xadd(story, {"at": 1, "event": "queue paused", "queue": "q"})
    for name in ("wentOffLongAgo", "nobodyKnowsIt"):
        lost = {"at": 2, "event": "lost", "task": "a-1", "engine": name, "why": "x"}
        place.redis.xadd(story, lost, id="*")

    (first,) = command.objects("events", "--event", "retry")
    second, third = command.objects("events", "--event", "lost")
    (plain, _) = command.well("events", "--event", "lost")
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    shown = command("events", "--limit", 700, COLUMNS="80").stdout

    living = command.objects("engine", "ls")
    assert (first["engine_id"], first["engine_uuid"]) in [
        (one["engine_id"], one["engine_uuid"]) for one in living
    ]
    assert (second["engine_id"], second["engine_uuid"]) == (7, "wentOffLongAgo")
    assert (third["engine_id"], third["engine_uuid"]) == (None, "nobodyKnowsIt")
    assert plain[2:] == [
        "id=a-1",
        "engine_id=7",
        "engine_uuid=wentOffLongAgo",
        "what=x",
    ]
    assert (
        f"task {short_id(only(retried))}, engine {first['engine_id']}, try 1" in shown
    )
    assert "task a-1, engine 7, x" in shown
    assert "task a-1, engine nobodyKn, x" in shown
    assert "engine joined   engine 0, worker " in shown


def test_events_that_others_have_written_are_shown_as_they_are(
    command, place, monkeypatch
):
    story, late = place.keys.story(), str((1 << 64) - 1)
    place.redis.xadd(story, {"a": "b"})
    place.redis.xadd(
        story, {"at": "soon", "event": "lost", "try": "few", "engine": "e"}
    )
    place.redis.hset(place.keys.engine("e"), "id", "none")
    place.redis.xadd(story, {b"\xff": b"\xfe", "at": "9" * 5000, "id": "1" * 5000})
    place.redis.xadd(story, {"at": late, "event": "lost"}, id=f"{late}-0")

    found = command.objects("events", "--limit", 4)
    plain = command.well("events", "--limit", 4)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    shown = command("events", "--limit", 4, COLUMNS="80")

    assert [one["event"] for one in found] == ["", "lost", "", "lost"]
    assert [one["at"][:3] for one in found] == ["202", "202", "202", "999"]
    assert (found[0]["a"], found[1]["tries"]) == ("b", "few")
    assert plain[0][1:] == ["", "a=b"]
    assert "try few" in shown.stdout
    assert shown.exit_code == 0
    place.redis.delete(place.keys.engine("e"), story)


def test_events_are_cut_at_the_edge_of_a_terminal(command, view, client, monkeypatch):
    retried = view.with_flags(retries=1).apply_async(int, "文字" * 50)
    client.wait([retried])

    whole = command("events", "--event", "retry").stdout
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    shown = command("events", COLUMNS="80").stdout.splitlines()
    plain = command("events", "--plain", "--event", "retry").stdout

    assert {cell_len(line) <= 80 for line in shown} == {True}
    (line,) = [line for line in shown if "retry" in line]
    assert ", try 1, ValueError: inv" in line
    assert line.endswith("…")
    assert plain == whole
    assert "文字文字" in whole


def test_that_nothing_ran_is_an_object_where_json_was_asked_for(command, few):
    told = command("timeline", "--since", "2100-01-01")
    (parsed,) = command.objects("timeline", "--since", "2100-01-01", code=1)

    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == "redtask: nothing ran in that time\n"
    assert parsed["error"] == "nothing ran in that time"


# -- what is told by tasks


def test_what_a_task_raises_cannot_command_the_terminal_nor_break_its_line(
    command, client, view
):
    bad = view.apply_async(tasks.fail_loudly)
    client.wait([bad])
    below = view.with_flags(after=bad).apply_async(tasks.double, 2)
    client.wait([below])
    name = only(bad)

    for words, lines in [
        (["why", name], 1),
        (["why", only(below)], 2),
        (["result", name], 1),
        (["submit", "tests.tasks:fail_loudly", "--wait"], 1),
        (["replay", name, "--wait"], 1),
        (["show", name], None),
        (["graph", name], None),
        (["ls"], None),
        (["replay", name, "--inline"], None),
        (["result", name, "--python"], None),
    ]:
        done = command(*words)
        said = (done.stdout + done.stderr).replace("\t", " ").splitlines()

        assert all(line.isprintable() for line in said), (words, said)
        assert lines is None or len(said) == lines, (words, said)
        assert any("second" in line for line in said), words


def test_what_a_task_printed_stays_as_it_is_in_a_pipe(command, client, view, place):
    bad = view.apply_async(tasks.fail_loudly)
    client.wait([bad])
    loud = "out\x1b]0;owned\x07"
    place.redis.hset(place.keys.task(only(bad)), "stdout", loud)

    piped = command("logs", only(bad))
    followed = command("logs", "-f", only(bad))

    assert piped.stdout == f"{loud}\n"
    for told in (piped.stderr, followed.stderr):
        assert "\x1b" not in told
        assert told.endswith("second\n")


# -- what can go wrong


def test_short_ids_are_understood(command, few):
    client, _, number = few[0].partition("-")

    assert command.well("result", f"{client[:8]}-{number}") == [["8"]]


def test_an_unknown_id_has_its_own_exit_code(command):
    for words in OF_ONE:
        told = command(*words, "nobody-1")
        (parsed,) = command.objects(*words, "nobody-1", code=3)

        assert (words, told.exit_code) == (words, 3)
        assert told.stderr == "redtask: no such task: 'nobody-1'\n"
        assert parsed["kind"] == "UnknownTask"


def test_where_there_is_no_hub_none_is_made(command, place):
    url = f"{place.server.url}?hub=nowhere"

    for words in OF_HUBS:
        done = command(*words.split(), "--json", REDTASK_URL=url)

        assert (words, done.exit_code) == (words, 3), done.output
        found = json.loads(done.stdout)
        if words.startswith("doctor"):
            assert "nohub" in {one["code"] for one in found["findings"]}
        else:
            assert found["kind"] == "NoHub"
    assert not list(place.redis.scan_iter("{redtask:nowhere}*"))


def test_where_there_is_no_redis_the_exit_code_says_so(command):
    for words in [*OF_HUBS, "submit math:sqrt 4"]:
        done = command(*words.split(), "--json", REDTASK_URL="redis://127.0.0.1:1")

        assert (words, done.exit_code) == (words, 69)
        assert json.loads(done.stdout)["kind"] == "ConnectionLost"


def test_what_is_not_there_has_its_own_exit_code(command, client):
    for words in (
        "ls a-1",
        "submit math:sqrt 4 --after a-1",
        "submit math:sqrt 4 --engine 99",
        "engine show 99",
        "engine drain 99",
        "engine stop 99",
        "engine restart 99",
        "engine stack 99",
        "engine drain --worker nobody",
        "engine restart --worker nobody",
        # Of one that is shorter, one test in hundreds would have a key.
        "key rotate --to 00000000",
        "key drop 00000000",
    ):
        done = command(*words.split(), "--json")

        assert (words, done.exit_code) == (words, 3)
        assert set(json.loads(done.stdout)) == {"error", "kind"}


def test_no_engine_on_standard_input_is_not_every_engine(command, client):
    verbs = ("show", "drain", "drain --wait", "stop --yes", "restart", "stack")
    for words in verbs:
        done = command("engine", *words.split(), "-", stdin="\n")

        assert (words, done.exit_code, done.stdout) == (words, 0, "")
    assert {one["state"] for one in command.objects("engine", "ls")} == {"idle"}


def test_an_empty_name_is_no_engine(command, client):
    for words in (["engine", "drain"], ["engine", "show"], ["ls", "--engine"]):
        done = command(*words, "")

        assert done.stdout == ""
        assert done.exit_code in {2, 3}


def test_what_the_state_does_not_permit_has_its_own_exit_code(command, few):
    for words in ("result LATE", "purge LATE", "replay LATE", "abort GOOD"):
        said = words.replace("LATE", few[2]).replace("GOOD", few[0]).split()

        assert (words, command(*said).exit_code) == (words, 5)
        assert (words, command(*said, "--json").exit_code) == (words, 5)


#: Commands that need no key; GOOD and BAD stand for ids.
READS = [
    "ls", "show GOOD", "why BAD", "logs GOOD", "result GOOD", "graph BAD", "timeline",
    "events", "status --once", "queue ls", "engine ls", "configure",
]  # fmt: skip


@pytest.mark.parametrize("words", READS)
def test_a_key_that_must_not_be_used_does_not_keep_others_from_reading(
    command, few, words
):
    said = words.replace("GOOD", few[0]).replace("BAD", few[1]).split()

    done = command(*said, REDTASK_KEY="no key")
    acted = command("abort", few[2], REDTASK_KEY="no key")

    assert done.exit_code == 0, done.output
    assert (acted.exit_code, "not a key" in acted.stderr) == (1, True)


def test_the_doctor_names_a_key_that_must_not_be_used(command, few):
    done = command("doctor", "--json", REDTASK_KEY="no key")
    mending = command("doctor", "--repair", REDTASK_KEY="no key")

    found = {one["code"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 1
    assert "not a key" in found["key"]["words"]
    assert (mending.exit_code, "not a key" in mending.stderr) == (1, True)


def test_who_only_reads_needs_no_key(command, few):
    done = command("ls", "--failed", "--fields", "id", REDTASK_KEY="")

    assert done.stdout == f"{few[1]}\n"


def test_who_acts_with_a_wrong_key_is_refused(command, few):
    wrong = "A" * 43

    for words in ACTS:
        done = command(*words, few[0], "--json", REDTASK_KEY=wrong)

        assert (words, done.exit_code) == (words, 1)
        assert "is not the key of hub" in json.loads(done.stdout)["error"]


def test_a_user_without_rights_is_told_which(command, place, few):
    place.redis.execute_command(
        "ACL", "SETUSER", "guest", "on", ">pw", "~*", "+@all", "-hgetall"
    )
    url = place.url.replace("://", "://guest:pw@")

    done = command("ls", "--json", REDTASK_URL=url)
    place.redis.execute_command("ACL", "DELUSER", "guest")

    assert done.exit_code == 1
    assert "lacks a right" in json.loads(done.stdout)["error"]
    assert json.loads(done.stdout)["kind"] == error.ConfigurationError.__name__


def test_how_far_a_task_is_can_be_seen(command, client, view, place, gate):
    slow = view.apply_async(tasks.pass_gate, str(gate))
    (name,) = slow.msg_ids
    until(lambda: command.objects("why", name)[0]["state"] == "running")
    place.redis.hset(place.keys.task(name), "progress", "0.4 reading")

    (line,) = command.well("ls", "--state", "running")
    text = command("show", name).stdout
    found = command.objects("ls", "--query", '{"progress": {"$gt": 0.3}}')
    gate.touch()
    client.wait([slow])

    assert line[-1] == "40% reading"
    assert "  progress    40% reading\n" in text
    assert [(one["id"], one["doing"]) for one in found] == [(name, "reading")]
