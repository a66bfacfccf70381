"""``redtask replay``."""

from __future__ import annotations

import json

import pytest

from redtask import Client
from redtask.cli.replay import _rate
from redtask.dependency import Ref
from tests import tasks


@pytest.fixture
def view(client):
    """Return a view that does not block."""
    return client.load_balanced_view()


@pytest.fixture
def broken(client, view):
    """Submit one that is good, one that fails, and two that fail because of it."""
    good = view.apply_async(tasks.double, 1)
    bad = view.with_flags(label="night").apply_async(tasks.fail_odd, 3)
    child = view.apply_async(tasks.add, Ref(bad), Ref(good))
    last = view.apply_async(tasks.double, Ref(child))
    client.wait()
    return [result.msg_ids[0] for result in (good, bad, child, last)]


@pytest.fixture
def paced(command, monkeypatch):
    """Return a function that replays, and acts whenever the rate makes it wait."""

    def run(act, *words):
        with monkeypatch.context() as patch:
            patch.setattr("redtask.cli.replay.sleep", lambda _seconds: act())
            return command("replay", *words, "--rate", "1/s", "--yes")

    return run


@pytest.fixture
def interrupted(command, monkeypatch):
    """Return a function that interrupts a replay after its first task."""

    def interrupt(_seconds):
        raise KeyboardInterrupt

    def run(*words, **options):
        with monkeypatch.context() as patch:
            patch.setattr("redtask.cli.replay.sleep", interrupt)
            done = command("replay", *words, "--rate", "1/s", "--yes", **options)
        assert done.exit_code == 130
        return done.stderr

    return run


def test_what_failed_because_of_a_task_runs_once_more_with_it(command, broken):
    words = ["replay", broken[1], "--downstream", "--edit", "x=4", "--wait", "--yes"]

    lines = command.well(*words)

    assert [line[1:] for line in lines] == [
        ["completed", "4"],
        ["completed", "6"],
        ["completed", "12"],
    ]
    # What had succeeded did not run again.
    assert command.well("ls", "--name", "double", "--state", "completed") != []
    (shown,) = command.objects("show", broken[1])
    (new,) = command.objects("show", lines[0][0])
    ids = [broken[1], lines[0][0]]
    assert shown["runs"] == ids
    assert new["runs"] == ids


def test_show_lists_all_runs_of_a_task_that_was_replayed_more_than_once(
    command, client, broken
):
    first, known = broken[1], [broken[1]]
    for of in (0, 0, 1):
        known += client.resubmit(known[of]).msg_ids
        client.wait()

    shown = [command.objects("show", name)[0] for name in known]
    text = command("show", first).stdout

    assert [one["runs"] for one in shown] == [known] * 4
    assert {one["runs_complete"] for one in shown} == {True}
    arrows = " -> ".join(["this one", *(f"{one} (failed)" for one in known[1:])])
    assert arrows in " ".join(text.split())
    assert command.objects("show", broken[0])[0]["runs"] == []


def test_in_a_large_hub_only_the_latest_tasks_are_looked_through_for_runs(
    command, client, broken, monkeypatch
):
    monkeypatch.setattr("redtask.runs._MOST", 1)
    first = broken[1]
    client.resubmit(first).get(return_exceptions=True)
    new = client.resubmit(first).msg_ids
    client.wait()

    (shown,) = command.objects("show", first)
    text = " ".join(command("show", first).stdout.split())

    assert shown["runs"] == [first, *new]
    assert not shown["runs_complete"]
    told = f'maybe more: redtask ls --query \'{{"root": "{first}"}}\''
    assert told in text


def test_a_dry_run_shows_what_and_how_many(command, client, broken):
    done = command(
        "replay", "--failed", "--label", "night", "--downstream", "--dry-run"
    )
    found = command.objects("replay", "--failed", "--dry-run")

    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == broken[1:]
    assert done.stderr == ("redtask: 3 tasks (3 failed) would run, nothing was done\n")
    assert [one["id"] for one in found] == broken[1:]
    assert len(client.hub_history()) == 4


def test_a_dry_run_of_very_many_reads_them_page_by_page(
    command, client, view, monkeypatch
):
    for number in (1, 3, 5, 7, 9):
        view.apply_async(tasks.fail_odd, number)
    client.wait()
    sizes = []

    def db_query(self, query, keys=None):
        sizes.append(len(query["msg_id"]["$in"]))
        return found(self, query, keys)

    found = Client.db_query
    monkeypatch.setattr(Client, "db_query", db_query)
    monkeypatch.setattr("redtask.cli.replay._PAGE", 2)

    lines = command.well("replay", "--failed", "--dry-run")

    assert [line[0] for line in lines] == client.hub_history()
    assert sizes == [2, 2, 1]


def test_many_are_replayed_only_if_that_is_wished(command, client, broken):
    done = command("replay", "--failed")

    assert done.exit_code == 2
    assert "Replay 3 tasks (3 failed)? Nobody can be asked here" in done.stderr
    assert len(client.hub_history()) == 4


def test_a_limit_counts_what_is_replayed(command, client, view):
    for number in (1, 3, 5):
        view.apply_async(tasks.fail_odd, number)
    client.wait()
    words = ("replay", "--failed", "--name", "fail_odd", "--edit", "x=2", "--yes")

    old = [command.well(*words, "--limit", "1", "--wait") for _ in range(3)]

    assert [len(one) for one in old] == [1, 1, 1]
    assert len(client.db_query({"state": "completed"})) == 3


def test_a_run_that_another_has_replaced_is_left_out(command, client, broken):
    command("replay", broken[1], "--wait")
    command.well("replay", broken[1], "--edit", "x=4", "--wait")

    again = command("replay", "--label", "night", "--error", "ValueError", "--yes")

    assert again.stdout == ""
    assert "2 were replayed before: --again takes them too" in again.stderr


def test_what_was_replayed_before_is_left_out(command, client, broken):
    (first,) = command.well("replay", "--error", "ValueError", "--yes")
    client.get_result(first[1]).wait()

    again = command("replay", "--label", "night", "--error", "ValueError", "--yes")
    # Its new run failed, and was not replayed yet.
    assert again.stdout.startswith(f"{first[1]}\t")
    assert "1 was replayed before: --again takes them too" in again.stderr
    both = command.well("replay", "--error", "ValueError", "--yes", "--again")
    assert {old for old, _ in both} >= {broken[1], first[1]}


def test_a_named_task_is_replayed_at_once(command, broken):
    ((old, new),) = command.well("replay", broken[0])
    (found,) = command.objects("replay", broken[0])

    assert old == broken[0]
    assert command.well("result", new, "--wait") == [["2"]]
    assert found["resubmit_of"] == broken[0]


def test_ids_may_come_from_a_pipe(command, broken):
    listed = command("ls", "--error", "ValueError").stdout

    done = command.well("replay", "-", "--yes", stdin=listed)

    assert [old for old, _ in done] == [broken[1]]


def test_a_task_that_fails_again_has_its_exit_code(command, broken):
    done = command("replay", broken[1], "--wait")

    assert done.exit_code == 1
    assert done.stderr.endswith("failed: ValueError: odd 3\n")


def test_one_task_runs_here_and_nobody_is_told(command, client, broken):
    failed = command("replay", broken[1], "--inline")
    mended = command("replay", broken[1], "--inline", "--edit", "x=4")
    whole = command("replay", broken[0], "--inline")

    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[0] == (
        f"redtask: unpickling {broken[1]} and running it here"
    )
    assert failed.stderr.endswith("ValueError: odd 3\n")
    assert "redtask/" not in failed.stderr.replace("redtask/tests", "")
    assert (mended.exit_code, mended.stdout) == (0, "4\n")
    assert whole.stdout == "2\n"
    assert len(client.hub_history()) == 4


def test_a_task_does_not_run_here_if_it_is_only_to_be_shown(command, broken):
    words = ["replay", broken[0], "--inline", "--edit", "x=1"]

    dry = command(*words, "--dry-run")
    more = command(*words, "--downstream", "--again", "--rate", "1/s", "--yes")
    by_variable = command(*words, REDTASK_REPLAY_DRY_RUN="1")
    harmless = command(*words, REDTASK_REPLAY_RATE="1/s", REDTASK_REPLAY_WAIT="1")

    assert [one.exit_code for one in (dry, more, by_variable)] == [2, 2, 2]
    assert [one.stdout for one in (dry, more, by_variable)] == ["", "", ""]
    assert "--inline runs it here: without --dry-run" in dry.stderr
    assert "--inline runs it here: without --dry-run" in by_variable.stderr
    assert "without --downstream, --again, --rate" in more.stderr
    assert harmless.stdout == "2\n"


def test_what_ran_here_is_told_as_an_object(command, broken):
    failed = command("replay", broken[1], "--inline", "--json")
    whole = command("replay", broken[0], "--inline", "--json")

    assert json.loads(failed.stdout) == {
        "id": broken[1], "state": "failed", "ename": "ValueError", "evalue": "odd 3",
    }  # fmt: skip
    assert json.loads(whole.stdout) == {
        "id": broken[0], "state": "completed", "repr": "2",
    }  # fmt: skip


def test_results_among_its_arguments_are_fetched(command, client, view):
    one = view.apply_async(tasks.double, 5)
    two = view.apply_async(tasks.add, Ref(one), 1)
    client.wait()

    assert command.well("replay", two.msg_ids[0], "--inline") == [["11"]]


def test_what_has_not_ended_is_not_replayed(command, client, view):
    late = view.with_flags(delay=3600.0).apply_async(tasks.double, 1)
    (name,) = late.msg_ids

    done = command("replay", name, "--json")
    client.abort(late)

    assert done.exit_code == 5
    assert json.loads(done.stdout)["kind"] == "TaskPending"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say which tasks"),
        (["a-1", "--edit", "x"], "say name=JSON"),
        (["a-1", "--edit", "x=slow"], "a string is x='\"slow\"'"),
        (["a-1", "--pdb"], "--pdb goes with --inline"),
        (["a-1", "--rate", "fast"], "is not a rate"),
        (["a-1", "--rate", "0/s"], "is not a rate"),
        (["--failed", "--inline"], "--inline runs one task, and 0 are chosen"),
        (["a-1", "--inline", "--wait"], "--inline runs it here: without --wait"),
    ],
)
def test_a_wrong_wish_is_refused(command, words, told):
    done = command("replay", *words)

    assert done.exit_code == 2
    assert told in done.stderr


def test_what_cannot_be_edited_is_told(command, client, view):
    mapped = view.map_async(tasks.double, [1, 2], chunksize=2)
    mapped.get()

    done = command("replay", mapped.msg_ids[0], "--edit", "x=1")

    assert done.exit_code == 2
    assert "a chunk of a map, whose arguments have no names" in done.stderr
    assert len(client.hub_history()) == 1


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_what_cannot_be_edited_is_told_before_anything_runs(
    command, client, view, option
):
    for number in range(3):
        view.apply_async(tasks.double, number)
    view.map_async(tasks.double, [1, 2], chunksize=2).get()
    client.wait()
    words = ("replay", "--state", "completed", "--edit", "x=1", "--rate", "4/s")

    done = command(*words, option)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "a chunk of a map, whose arguments have no names" in done.stderr
    assert len(client.hub_history()) == 4


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_nothing_to_replay_is_no_failure(command, option):
    done = command("replay", "--failed", option)

    assert (done.exit_code, done.stderr) == (0, "redtask: no task to replay\n")


def test_a_rate_is_so_many_in_a_time():
    assert _rate(None, None, "50/s") == 50
    assert _rate(None, None, "600/min") == 10
    assert _rate(None, None, "20/10s") == 2
    assert _rate(None, None, "5") == 5


def test_what_was_interrupted_goes_on_with_the_same_command(
    command, broken, interrupted
):
    told = interrupted("--failed")
    rest = command("replay", "--failed", "--since", "1h", "--yes")

    assert "interrupted: 1 of 3 are replayed; the same command goes on" in told
    replayed = [line.split("\t")[0] for line in rest.stdout.splitlines()]
    assert set(broken[2:]) <= set(replayed)
    assert broken[1] not in replayed


def test_what_failed_because_of_those_replayed_before_is_not_forgotten(
    command, broken, interrupted
):
    words = ("--label", "night", "--error", "ValueError", "--downstream")
    interrupted(*words)

    rest = command.well("replay", *words, "--limit", "1", "--yes")
    both = command("replay", "--failed", "--name", "nobody", "--downstream", "--yes")

    assert [old for old, _ in rest][-2:] == broken[2:]
    assert broken[1] not in [old for old, _ in rest]
    assert both.stdout == ""


def test_what_failed_because_of_them_is_not_replayed_twice(command, broken):
    words = ("replay", "--label", "night", "--error", "ValueError", "--downstream")
    command.well(*words, "--edit", "x=4", "--wait", "--yes")

    again = command(*words, "--yes")

    assert again.stdout == ""
    assert again.stderr.endswith("redtask: no task to replay\n")


def test_who_interrupts_a_limited_replay_is_told_the_limit_that_is_left(
    command, client, view, interrupted
):
    ids = [view.apply_async(tasks.fail_odd, 3).msg_ids[0] for _ in range(6)]
    client.wait()
    words = ("--name", "fail_odd", "--state", "failed", "--edit", "x=2")

    told = interrupted(*words, "--limit", "4")
    rest = command.well("replay", *words, "--limit", "3", "--yes", "--wait")

    assert told.endswith(
        "1 of 4 are replayed; the same command with --limit 3 goes on with the rest\n"
    )
    assert len(rest) == 3
    assert [one for (one, *_) in command.well("replay", *words, "--dry-run")] == ids[4:]


def test_a_limit_does_not_count_what_failed_because_of_them(
    command, broken, interrupted
):
    words = ("--label", "night", "--error", "ValueError", "--downstream")

    told = interrupted(*words, "--limit", "1")
    again = interrupted(*words, "--limit", "1", "--again")

    assert told.endswith(f"1 of 3 are replayed; the rest begins with {broken[2]}\n")
    assert "the rest begins with" in again


def test_ids_from_a_pipe_that_were_replayed_before_are_left_out(
    command, broken, interrupted
):
    listed = "\n".join(broken[1:])

    told = interrupted("-", stdin=listed)
    rest = command("replay", "-", "--yes", stdin=listed)
    all_again = command.well("replay", "-", "--yes", "--again", stdin=listed)

    assert "the same command goes on with the rest" in told
    assert [line.split("\t")[0] for line in rest.stdout.splitlines()] == broken[2:]
    assert "1 was replayed before: --again takes them too" in rest.stderr
    assert [old for old, _ in all_again] == broken[1:]


def test_who_names_tasks_is_told_which_are_left(command, broken, interrupted):
    told = interrupted(*broken[1:])

    assert told.endswith(f"1 of 3 are replayed; the rest begins with {broken[2]}\n")


def test_a_replay_at_a_rate_says_all_in_the_end(command, broken):
    lines = command.well("replay", *broken, "--rate", "40/s", "--yes")

    assert [old for old, _ in lines] == broken


@pytest.mark.parametrize("edit", [[], ["--edit", "x=4"]])
def test_what_is_gone_by_then_is_left_out_and_counted(
    command, client, view, paced, edit
):
    ids = [view.apply_async(tasks.fail_odd, 3).msg_ids[0] for _ in range(4)]
    client.wait()

    done = paced(lambda: client.purge_results(ids[2]), "--failed", *edit)

    replayed = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert replayed == [ids[0], ids[1], ids[3]]
    assert done.stderr == "redtask: 1 was gone by then\n"


def test_of_several_only_one_may_be_left_by_then(client, view, paced):
    ids = [view.apply_async(tasks.fail_odd, 3).msg_ids[0] for _ in range(3)]
    client.wait()

    done = paced(lambda: client.purge_results(ids[1:]), "--failed", "--wait")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "redtask: 2 were gone by then\n" in done.stderr
    assert "failed: ValueError: odd 3" in done.stderr


def test_what_entered_before_an_error_goes_on(command, client, place, view, paced):
    ids = [view.apply_async(tasks.fail_odd, 3).msg_ids[0] for _ in range(3)]
    client.wait()

    def spoil():
        place.redis.hset(place.keys.task(ids[1]), "args", b"x" * 40)

    done = paced(spoil, "--failed", "--edit", "x=4")
    client.get_result(command.objects("show", ids[0])[0]["resubmitted"]).get()

    assert (done.exit_code, done.stdout) == (1, "")
    told = "stopped: 1 of 3 are replayed; the same command goes on with the rest\n"
    assert told in done.stderr
    left = command("replay", "--failed", "--dry-run")
    assert [line.split("\t")[0] for line in left.stdout.splitlines()] == ids[1:]


def test_of_named_tasks_nothing_goes_on_after_an_error(client, view, paced):
    ids = [view.apply_async(tasks.fail_odd, 3).msg_ids[0] for _ in range(3)]
    client.wait()

    done = paced(lambda: client.purge_results(ids[1]), *ids)

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == f"redtask: No such task: {ids[1]}\n"
