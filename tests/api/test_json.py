"""``--json``: the same thing has the same name, form and unit in every command."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import click
import pytest

from redtask.cli import cluster, engine, group, key
from redtask.cli.log import Objects
from redtask.cli.output import Output, json_object
from redtask.hub.records import EngineStatus
from redtask.keeper.card import Card
from redtask.keyfile import Key
from redtask.orders import Answer
from redtask.profile import Profile
from tests import tasks
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

#: Commands that read; the words in capitals stand for ids.
READS = [
    "status --once", "ls", "ls --fields id,what,submitted", "show GOOD", "show BAD",
    "show TRIED", "show AFTER", "why GOOD", "why BAD", "why RUNS", "why AFTER",
    "events", "timeline", "queue ls", "engine ls", "engine show 0", "doctor",
    "result GOOD", "result BAD", "logs GOOD", "logs BAD", "config show --origin",
    "configure", "key ls", "graph AFTER", "replay BAD --dry-run",
]  # fmt: skip
#: And commands that act.
ACTS = [
    "queue pause other", "queue resume other", "replay GOOD", "abort AFTER",
    "submit math:factorial 3 --wait", "submit math:factorial 3 --dry-run", "key new",
    "logs -f BAD", "purge GOOD", "init redis://127.0.0.1:1?hub=h --no-check",
]  # fmt: skip

TIMES = {"at", "submitted", "started", "completed", "joined", "since", "start"}
SECONDS = {
    "took", "timeout", "left", "age", "oldest_age", "lease", "span", "running_for",
    "rtt", "clock", "longest", "result_ttl", "run_p50", "wait_p95",
}  # fmt: skip
#: Where the same words are the names of numbers.
COUNTS = {"counters", "states", "lately"}
#: Other names for things that have one.
OTHERS = {
    "task_id", "msg_id", "engine", "uuid", "begin", "end", "ended", "failure",
    "paused", "error", "try", "why",
}  # fmt: skip
#: Of values that are known by their form: the names under which they may stand.
FORMS = (
    (re.compile(r"\d{4}-\d\d-\d\d.*", re.DOTALL), TIMES),
    (re.compile(r"[a-z0-9]{12}-\d+"), {
        "id", "after", "follow", "refs", "dependents", "runs", "resubmit_of",
        "resubmitted", "root", "latest", "chosen", "from", "to",
    }),
    (re.compile(r"[0-9a-f]{16}"), {"engine_uuid", "fingerprint"}),
)  # fmt: skip
#: Commands that need a cluster or a worker: a test calls what makes their objects.
ELSEWHERE = {
    "cluster status", "cluster list", "engine stack", "engine drain", "engine resume",
    "engine stop", "engine restart", "key rotate", "key drop",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
ID = re.compile(r"[a-z0-9]{12}-\d+")


@pytest.fixture
def few(client, gate):
    """Submit tasks that end in different ways, one that runs, one that waits."""
    view = client.load_balanced_view()
    good = view.apply_async(tasks.double, 4)
    bad = view.apply_async(tasks.fail, 3)
    tried = view.with_flags(retries=1).apply_async(tasks.fail, 3)
    client.wait([good, bad, tried])
    runs = view.apply_async(tasks.pass_gate, str(gate))
    until(lambda: client.why(runs.msg_ids[0]).state == "running")
    after = view.with_flags(after=runs).apply_async(tasks.double, 1)
    named = {"GOOD": good, "BAD": bad, "TRIED": tried, "RUNS": runs, "AFTER": after}
    yield {name: result.msg_ids[0] for name, result in named.items()}
    client.abort([runs, after], running=True)


def pairs(value):
    """Yield all names and values, at any depth."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            yield from one.items()
            for name, below in one.items():
                if name not in COUNTS:
                    yield from pairs(below)


RULES: dict[str, Callable[[Any], object]] = {
    "id": ID.fullmatch,
    "engine_id": lambda value: isinstance(value, int),
    "after": lambda value: all(map(ID.fullmatch, value)),
    **dict.fromkeys(TIMES, TIME.fullmatch),
    **dict.fromkeys(SECONDS, lambda value: abs(value) < 1e6),
}


def is_right(name, value):
    """Is a value what its name promises, and the name that of all others?"""
    if name in OTHERS or name.endswith(("_ms", "_s")):
        return False
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            for form, names in FORMS:
                if form.fullmatch(one) and name not in names:
                    return False
    return value is None or name not in RULES or bool(RULES[name](value))


@pytest.mark.parametrize("words", [*READS, *ACTS])
def test_the_same_thing_has_the_same_name_and_unit_in_every_command(
    command, few, words
):
    said = [few.get(word, word) for word in words.split()]

    done = command(*said, "--json")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.output
    assert all(isinstance(line, dict) for line in lines)
    # Not only an error, which is ``{"error": ..., "kind": ...}`` everywhere.
    told = [line for line in lines if line.keys() != {"error", "kind"}]
    assert told or said[0] == "result", done.output
    assert [pair for line in told for pair in pairs(line) if not is_right(*pair)] == []


def test_every_command_with_json_is_looked_at():
    looked_at = {*READS, *ACTS, *ELSEWHERE}
    assert [
        name
        for name in of_group(group, click.Context(group))
        if not any(f"{one} ".startswith(f"{name} ") for one in looked_at)
    ] == []


def of_group(group, ctx):
    """Yield the commands that have ``--json``, by their names."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            for below in of_group(command, ctx):
                yield f"{name} {below}"
        elif any("--json" in one.opts for one in command.params):
            yield name


def test_clusters_engines_and_logs_have_the_same_names(capsys):
    card = Card(
        pid=1, birth="", boot="", mode="daemon", hub="h", url="redis://h",
        since=1796008875.0, log="", embedded=True, engines=2, workers=["w"],
    )  # fmt: skip
    answer = Answer("0a26fe1db1f4c97f", 0, 1, "j9ev8jtr6ju4-3", 1.5, "stack")
    record = logging.makeLogRecord({"msg": "failed", "created": 1796008875.0})
    record.__dict__.update(task_id="j9ev8jtr6ju4-3", attempt=1, engine_id=3)

    logged = json.loads(Objects("w").format(record))
    # Collectors of logs look for this name.
    logged["at"] = logged.pop("time")
    told = [cluster._as_json("p", card), engine._answer_json(answer), logged]
    one = EngineStatus("0a26fe1db1f4c97f", 0, "w", ("q",), 0, 0, 0, 0)
    engine._tell([one], {one.uuid: "drained"}, Output(as_json=True))
    key._tell(Profile.load(), Key.new(), "signs", Output(as_json=True))

    lines = [json.loads(json_object(one)) for one in told]
    lines += map(json.loads, capsys.readouterr().out.splitlines())
    assert [pair for line in lines for pair in pairs(line) if not is_right(*pair)] == []
    assert (logged["id"], logged["attempt"], logged["engine_id"]) == (
        "j9ev8jtr6ju4-3", 1, 3,
    )  # fmt: skip


def test_a_task_has_the_same_fields_wherever_it_is_listed(command, few):
    name = few["RUNS"]

    listed = {one["id"]: one for one in command.objects("ls")}
    (shown,) = command.objects("show", name)
    engine = listed[name]["engine_id"]
    (about,) = command.objects("engine", "show", engine)
    ran = {one["id"]: one for one in command.objects("timeline")}

    assert about["tasks"] == [listed[name]]
    assert {name: shown[name] for name in listed[name]} == listed[name]
    assert listed[few["BAD"]]["what"] == "ValueError: no 3"
    assert listed[few["AFTER"]]["what"] is None
    for task, one in ran.items():
        assert {key: one[key] for key in ("engine_id", "engine_uuid", "function")} == {
            key: listed[task][key] for key in ("engine_id", "engine_uuid", "function")
        }
    assert ran[name]["completed"] is None


def test_engines_and_queues_are_the_same_in_status_and_in_lists(command, few):
    (status,) = command.objects("status")
    engines = command.objects("engine", "ls")
    queues = command.objects("queue", "ls")
    (settings,) = command.objects("configure")

    assert status["hub"] == settings.pop("hub")
    assert status["settings"] == settings
    for one, other in zip(status["engines"], engines, strict=True):
        same = one.keys() - {"age", "lease"}
        assert {name: other[name] for name in same} == {
            name: one[name] for name in same
        }
    for one, other in zip(status["queues"], queues, strict=True):
        assert {**one, "oldest_age": None} == {**other, "oldest_age": None}


def test_what_one_command_prints_another_reads(command, few):
    engines = command("engine", "ls", "--json").stdout
    events = command("events", "--event", "retry", "--json").stdout

    shown = command("engine", "show", "-", "--plain", stdin=engines)
    asked = command("why", "-", stdin=events)

    assert shown.exit_code == 0, shown.output
    assert [
        line for line in shown.stdout.splitlines() if line.startswith("engine")
    ] == [
        "engine\t0",
        "engine\t1",
    ]
    assert asked.stdout.startswith(f"{few['TRIED']} is failed")
