"""What the hub proposes to the shell when somebody presses Tab."""

from __future__ import annotations

import socket

import pytest

from redtask.cli import proposals
from redtask.cli.output import short_id
from tests import tasks


@pytest.fixture
def few(client):
    """Submit one that completes, one that fails, and one that waits for an hour."""
    view = client.load_balanced_view()
    good = view.apply_async(tasks.double, 4)
    bad = view.apply_async(tasks.fail, 3)
    client.wait([good, bad])
    late = view.with_flags(delay=3600.0, queue="night").apply_async(tasks.double, 1)
    yield tuple(one.msg_ids[0] for one in (good, bad, late))
    client.abort(late)


@pytest.fixture
def proposed(command, monkeypatch):
    """Return what says which words a shell is told; the last one was begun."""
    # The machine may be busy.
    monkeypatch.setattr(proposals, "PATIENCE", 10.0)

    def ask(words, **environment):
        count = len(words.split(" ")) - 1
        world = {"COMP_WORDS": words, "COMP_CWORD": str(count), **environment}
        done = command(_REDTASK_COMPLETE="bash_complete", **world)
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        return {line.removeprefix("plain,") for line in done.stdout.split()}

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("redtask show ", {"GOOD", "BAD", "LATE"}),
        ("redtask show GOOD ", {"BAD", "LATE"}),
        ("redtask why LATE ", {"GOOD", "BAD"}),
        ("redtask logs -f ", {"GOOD", "BAD", "LATE"}),
        ("redtask graph ", {"GOOD", "BAD", "LATE"}),
        ("redtask result ", {"GOOD", "BAD", "LATE"}),
        ("redtask ls ", {"GOOD", "BAD", "LATE"}),
        ("redtask replay ", {"GOOD", "BAD"}),
        ("redtask purge ", {"GOOD", "BAD"}),
        ("redtask abort ", {"LATE"}),
        ("redtask events --task ", {"GOOD", "BAD", "LATE"}),
        ("redtask submit math:sqrt 4 --after ", {"GOOD", "BAD", "LATE"}),
        ("redtask submit math:sqrt 4 --follow ", {"GOOD", "BAD", "LATE"}),
        ("redtask engine show ", {"0", "1"}),
        ("redtask engine drain 0 ", {"1"}),
        ("redtask engine stop --worker WORKER", {"WORKER"}),
        ("redtask ls --engine ", {"0", "1"}),
        ("redtask submit math:sqrt 4 --engine ", {"0", "1"}),
        ("redtask queue pause ", {"default", "night"}),
        ("redtask ls --queue d", {"default"}),
        ("redtask submit math:sqrt 4 --queue x", set()),
    ],
)
def test_what_is_in_the_hub_is_proposed(command, proposed, few, words, expected):
    worker = command.objects("engine", "ls")[0]["worker"]
    names = dict(zip(("GOOD", "BAD", "LATE"), few, strict=True), WORKER=worker)
    for name, value in names.items():
        words = words.replace(name, value)

    found = proposed(words)

    assert found == {names.get(one, one) for one in expected}


def test_what_was_begun_is_completed_as_it_was_begun(command, proposed, few):
    good = few[0]
    uuid = command.objects("engine", "ls")[0]["engine_uuid"]

    assert good in proposed(f"redtask show {good[:8]}")
    assert short_id(good) in proposed(f"redtask show {short_id(good)}")
    assert uuid in proposed(f"redtask engine show {uuid[:5]}")
    assert proposed("redtask show x!") == set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_show_it_are_told_what_a_task_is(command, proposed, few, shell):
    last = "" if shell == "fish" else "2"
    world = {"COMP_WORDS": "redtask show ", "COMP_CWORD": last}

    done = command(_REDTASK_COMPLETE=f"{shell}_complete", **world)

    assert few[1] in done.stdout
    assert "failed fail" in done.stdout


def test_the_hub_may_be_named_by_an_option_or_in_a_file(
    proposed, few, place, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()

    assert few[0] in proposed(f"redtask show -u {place.url} ", REDTASK_URL="")
    assert proposed("redtask show ", REDTASK_URL="") == set()
    (tmp_path / "redtask.toml").write_text(f'url = "{place.url}"\n')
    assert few[0] in proposed("redtask show ", REDTASK_URL="")


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1", "nonsense", "{place}?hub=nowhere", "redis://x.invalid"],
)
def test_what_is_wrong_is_not_told_at_this_time(proposed, place, url):
    url = url.replace("{place}", place.server.url)

    for words in ("show ", "engine show ", "queue pause ", "engine stop --worker "):
        assert proposed(f"redtask {words}", REDTASK_URL=url) == set()


def test_a_redis_that_does_not_answer_is_not_waited_for(proposed, monkeypatch):
    monkeypatch.setattr(proposals, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"

        assert proposed("redtask show ", REDTASK_URL=url) == set()
