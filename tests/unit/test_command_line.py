"""What all commands share: words, options, files, errors. No server here."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from redtask import error
from redtask.cli import COMMANDS, events, exit_code, group, logs, ls, worker
from redtask.cli.options import Where, confirm, hub_options
from redtask.cli.output import STATES, Output, safe_lines, say_json, short_id
from redtask.cli.selection import read_ids, selection_options
from redtask.cli.settings import Settings
from redtask.cli.spans import Size, moment, seconds
from redtask.listing import moved_at
from tests.commands import NOT_RUN, OF_HUBS, OF_OTHERS, THAT_MAKE_HUBS

WORLD = {"REDTASK_URL": "", "REDTASK_PROFILE": "", "NO_COLOR": "1"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder of an empty repository of a user without files."""
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for name in ("REDTASK_URL", "REDTASK_PROFILE", "REDTASK_KEY", "REDTASK_HUB"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*words, **options):
    return CliRunner().invoke(group, words, **options)


def walk(command, path):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def every():
    """Return every command, with its path."""
    with click.Context(group) as ctx:
        found = [group.get_command(ctx, name) for name in COMMANDS]
    return [
        pair
        for name, command in zip(COMMANDS, found, strict=True)
        for pair in walk(command, (name,))
    ]


def origins(*words, **options):
    """Return value and origin of each setting."""
    done = run("config", "show", "--origin", "--json", *words, **options)
    assert done.exit_code == 0, done.output
    lines = map(json.loads, done.output.splitlines())
    return {line["name"]: (line["value"], line["origin"]) for line in lines}


# -- words


def test_a_command_that_is_none_is_told_with_what_was_meant(folder):
    done = run("stauts")

    assert done.exit_code == 2
    assert "no such command: 'stauts', did you mean 'status'?" in done.stderr
    assert done.stdout == ""


def test_also_below_a_command(folder):
    done = run("cluster", "strat")

    assert done.exit_code == 2
    assert "did you mean 'start'?" in done.stderr


def test_an_option_that_is_none_is_told_with_what_was_meant(folder):
    done = run("status", "--profiel", "x")

    assert done.exit_code == 2
    assert "--profile" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words", [[], ["cluster"], ["engine"], ["queue"], ["key"], ["config"]]
)
def test_who_says_nothing_is_shown_the_help_as_it_is(folder, words):
    done = run(*words)
    asked = run(*words, "--help")

    assert done.exit_code == 2
    assert done.stderr == asked.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("words", [[], ["cluster"], ["cluster", "start"]])
def test_help_may_be_asked_for_as_a_command(folder, words):
    asked = run(*words, "--help")

    assert asked.exit_code == 0
    assert run("help", *words).stdout == asked.stdout


@pytest.mark.parametrize("words", [["stauts", "--json"], ["status", "--json", "--x"]])
def test_wrong_usage_is_json_where_json_was_asked_for(folder, words):
    done = run(*words)

    assert done.exit_code == 2
    assert set(json.loads(done.stdout)) == {"error", "kind"}


def test_what_goes_wrong_is_one_line_or_one_object(folder):
    told = run("status")
    parsed = run("status", "--json")

    assert told.exit_code == parsed.exit_code == 3
    assert told.stderr.startswith("redtask: no Redis is known")
    assert len(told.stderr.splitlines()) == 1
    assert json.loads(parsed.stdout)["kind"] == "NoRedis"


def test_json_may_be_asked_for_by_the_environment(folder):
    done = run("status", env={"REDTASK_STATUS_JSON": "1"})

    assert json.loads(done.stdout)["kind"] == "NoRedis"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ls", "-u", "bogus"], "'bogus' is not a URL of a Redis"),
        (["ls", "-u", "redis://a:99999"], "the port must be"),
        (["ls", "-u", "redis://a?hbu=x"], "did you mean hub?"),
        (["ls", "--profile", "a b"], "a profile cannot be called 'a b'"),
        (["cluster", "status", "--profile", "a b"], "a profile cannot be called"),
        (["cluster", "start", "-u", "bogus"], "is not a URL of a Redis"),
        (["cluster", "start", "--scheme", "nosuch"], "there is no scheme 'nosuch'"),
        (["configure", "--scheme", "nosuch"], "there is no scheme 'nosuch'"),
        (["init", "bogus"], "is not a URL of a Redis"),
        (["init", "redis://a", "--key", "x"], "not a key"),
    ],
)
def test_wrong_words_are_wrong_usage(folder, words, told):
    done = run(*words)

    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_url_of_the_environment_or_of_a_file_is_no_wrong_usage(folder):
    environment = run("ls", env={"REDTASK_URL": "bogus"})
    (folder / "redtask.toml").write_text('url = "bogus"\n')
    file = run("ls")

    assert (environment.exit_code, file.exit_code) == (1, 1)


@pytest.mark.parametrize("option", ["--lease", "--result-ttl"])
@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-1"])
def test_what_is_no_number_of_seconds_is_wrong_usage(folder, option, value):
    done = run("configure", option, value)

    assert done.exit_code == 2
    assert f"'{option}'" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("configure", "--lease", "2h"),
        ("configure", "--result-ttl", "1000w"),
        ("cluster", "start", "--timeout", "0"),
    ],
)
def test_a_span_out_of_its_bounds_is_wrong_usage_and_they_are_told(folder, words):
    done = run(*words)

    assert done.exit_code == 2
    assert f"'{words[-2]}': '{words[-1]}' must be at least " in done.stderr


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (error.ConnectionLost(), 69),
        (error.NoHub(), 3),
        (error.UnknownTask(), 3),
        (error.TaskLost(), 3),
        (error.TaskTimeout(), 1),
        (TimeoutError(), 4),
        (error.TaskPending(), 5),
        (error.RemoteError("ValueError", "no"), 1),
        (error.ConfigurationError(), 1),
        (error.NoRedis(), 3),
        (error.UnknownKey(), 3),
    ],
)
def test_the_exit_code_says_what_kind_of_problem_it_is(problem, code):
    assert exit_code(problem) == code


def leaves():
    """Return the path of every command that is no group of others."""
    return [" ".join(path) for path, one in every() if not hasattr(one, "commands")]


def test_the_exit_codes_of_every_command_are_tested():
    tested = [*OF_HUBS, *THAT_MAKE_HUBS, *OF_OTHERS, *NOT_RUN]

    missing = [
        path
        for path in leaves()
        if not any(f"{words} ".startswith(f"{path} ") for words in tested)
    ]

    assert missing == []


@pytest.mark.parametrize("path", leaves())
def test_an_unknown_option_is_wrong_usage_of_every_command(folder, path):
    done = run(*path.split(), "--nonsense")

    assert done.exit_code == 2
    assert "No such option" in done.stderr
    assert f"See redtask {path} --help" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [*((words, 3) for words in [*OF_HUBS, *THAT_MAKE_HUBS]), *OF_OTHERS.items()],
)
def test_where_there_is_nothing_at_all_the_exit_code_says_so(
    folder, monkeypatch, words, code
):
    monkeypatch.setattr("redtask.cli.worker.configure", lambda *_: None)
    monkeypatch.setattr(sys, "path", list(sys.path))

    done = run(*words.split())

    assert done.exit_code == code, done.output
    if code == 3 and words in [*OF_HUBS, *THAT_MAKE_HUBS]:
        assert "no Redis is known for profile 'default'" in done.stderr


@pytest.mark.parametrize("words", ["configure", "cluster start"])
def test_a_scheme_that_is_no_file_is_wrong_usage(folder, words):
    done = run(*words.split(), "--scheme", "none.lua")

    assert done.exit_code == 2
    assert "no such file: none.lua" in done.stderr


@pytest.mark.parametrize(("path", "command"), every(), ids=str)
def test_every_command_has_help_with_an_example(path, command):
    text = command.help or ""

    assert text.splitlines()[0].endswith((".", ":"))
    if not isinstance(command, click.Group):
        assert f"redtask {' '.join(path)}" in text
    for one in command.params:
        if isinstance(one, click.Option):
            assert one.help, one.name
            # So it is called in files and in the environment.
            assert f"--{one.name.replace('_', '-')}" in one.opts, one.name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell):
    done = run("completion", shell)

    assert done.exit_code == 0
    assert "_REDTASK_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("redtask ls --state r", ["ready", "running"]),
        ("redtask abort --state waiting,a", ["waiting,assigned", "waiting,aborted"]),
        ("redtask configure --scheme l", ["leastload", "lru"]),
        ("redtask cluster start --scheme w", ["weighted"]),
    ],
)
def test_words_with_few_values_are_completed(words, expected):
    count = len(words.split()) - 1
    world = {"COMP_WORDS": words, "COMP_CWORD": str(count)}

    done = run(env={**world, "_REDTASK_COMPLETE": "bash_complete"}, prog_name="redtask")

    assert done.stdout.split() == [f"plain,{one}" for one in expected]


# -- spans and moments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1w", 604800),
        ("250ms", 0.25),
        ("1 h", 3600),
    ],
)
def test_a_span_is_read_as_people_write_it(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "h", "1x", "-1", "1h-3m", "nan", "inf", "1h3"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ValueError, match="a span of time is as in"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("500", 500),
        ("64k", 65536),
        ("1.5M", 3 << 19),
        ("2GiB", 2 << 30),
        ("1 tb", 1 << 40),
        ("9007199254740991", 9007199254740991),
    ],
)
def test_a_size_is_read_as_people_write_it(text, value):
    assert Size().convert(text, None, None) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("much", "a size is 500M, 2G, or a number of bytes"),
        ("-1", "a size is 500M"),
        ("99", "must be at least 100 and at most 2048 bytes"),
        ("1G", "must be at least 100 and at most 2048 bytes"),
    ],
)
def test_what_is_no_size_is_refused(text, words):
    with pytest.raises(click.BadParameter, match=words):
        Size(100, 2048).convert(text, None, None)


def test_a_moment_is_so_long_ago_or_a_date():
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    assert moment("1h", now) == datetime(2026, 3, 2, 11, tzinfo=UTC)
    assert moment("2026-03-01T00:00+00:00") == datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="a moment is"):
        moment("yesterday")
    with pytest.raises(ValueError, match="too long ago"):
        moment("9999999w")


# -- which tasks


def chosen(*words):
    found = []

    @click.command()
    @selection_options
    def command(*, chosen):
        found.append(chosen)

    done = CliRunner().invoke(command, words)
    return found[0] if found else done


def test_options_are_conditions_that_all_have_to_hold():
    found = chosen(
        "--failed", "--name", "fit*", "--error", "ValueError", "--limit", "3"
    )

    record = {"state": "failed", "names": ("fit_all",), "ename": "ValueError"}
    assert found.query.holds(record.get)
    assert not found.query.holds({**record, "state": "completed"}.get)
    assert not found.query.holds({**record, "names": ("load",)}.get)
    assert not found.query.holds({**record, "ename": "KeyError"}.get)
    assert found.limit == 3
    assert found.by_query


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("EngineError", "EngineError"),
        ("TaskTimeout", "DependencyTimeout"),
        # As screens and lists show it.
        ("engine_lost", "EngineError"),
        ("impossible", "ImpossibleDependency"),
    ],
)
def test_what_the_hub_ended_is_found_by_the_name_of_its_exception(said, name):
    found = chosen("--error", said)

    assert found.query.holds({"ename": name}.get)


def test_an_engine_is_a_number_or_the_beginning_of_a_uuid():
    assert chosen("--engine", "3").query.holds({"engine_id": 3}.get)
    assert chosen("--engine", "ab").query.holds({"engine_uuid": "abc"}.get)


def test_a_query_may_have_moments():
    found = chosen("--query", '{"submitted": {"$gte": "2026-01-01T00:00+00:00"}}')

    assert found.query.holds({"submitted": datetime(2026, 1, 2, tzinfo=UTC)}.get)
    assert not found.query.holds({"submitted": datetime(2025, 1, 2, tzinfo=UTC)}.get)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--query", "{"], "not JSON"),
        (["--query", '{"nmae": 1}'], "no key 'nmae'"),
        (["--query", "[]"], "a query is a dict"),
        (["--query", '{"submitted": "soon"}'], "a moment is"),
        (["--state", "runing"], "did you mean 'running'?"),
        (["--since", "soon"], "a moment is"),
        (["a-1", "--failed"], "not both"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_asked(words, told):
    done = chosen(*words)

    assert done.exit_code == 2
    assert told in done.stderr


def test_lately_is_the_last_thing_that_happened():
    ended = {"submitted": "1", "started": "8", "took": "2500 2000"}

    assert moved_at(ended) == 7.5
    assert moved_at({"submitted": "1", "ended": "3"}) == 3
    assert moved_at({"submitted": "1", "started": "2.5"}) == 2.5
    assert moved_at({"submitted": "1"}) == 1


def test_ids_are_the_first_words_of_lines_or_in_objects():
    lines = ["a-1\tfailed\n", "\n", '{"id": "a-2"}\n', '{"msg_id": "a-3"}\n']

    assert list(read_ids(lines)) == ["a-1", "a-2", "a-3"]
    with pytest.raises(click.UsageError, match="not an object with an id"):
        list(read_ids(["{}"]))


def test_people_see_short_ids():
    assert short_id("abcdefghijkl-17") == "abcdef-17"


# -- asking


def test_where_nobody_can_be_asked_yes_must_have_been_said():
    confirm("Purge 3 tasks?", yes=True)
    with pytest.raises(click.UsageError, match="pass --yes"):
        confirm("Purge 3 tasks?", yes=False)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_at_a_terminal_people_are_asked(monkeypatch, answer, code):
    @click.command()
    def command():
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        confirm("Purge 3 tasks?", yes=False)
        click.echo("purged")

    done = CliRunner().invoke(command, input=answer)

    assert done.exit_code == code
    assert "Purge 3 tasks? [y/N]" in done.stderr
    assert done.stdout == ("" if code else "purged\n")


# -- files


def test_a_flag_wins_over_the_environment_and_that_over_files(folder):
    (folder / "redtask.toml").write_text("[worker]\nengines = 1\n")
    (folder / "pyproject.toml").write_text(
        "[tool.redtask.worker]\nengines = 2\nmax-tasks = 2\n"
    )
    (folder / "user" / "redtask").mkdir(parents=True)
    user = folder / "user" / "redtask" / "config.toml"
    user.write_text("[worker]\nengines = 3\nmax_tasks = 3\nqueues = 'c'\n")

    found = origins()
    other = origins(env={"REDTASK_WORKER_ENGINES": "9"})

    assert found["worker.engines"] == (1, f"{folder}/redtask.toml, worker.engines")
    assert found["worker.max_tasks"] == (
        2,
        f"{folder}/pyproject.toml, tool.redtask.worker.max_tasks",
    )
    assert found["worker.queues"] == ("c", f"{user}, worker.queues")
    assert other["worker.engines"] == ("9", "REDTASK_WORKER_ENGINES")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("REDTASK_ULR", "REDTASK_URL"),
        ("REDTASK_WORKER_MAX_MEMROY", "REDTASK_WORKER_MAX_MEMORY"),
        ("REDTASK_WORKER_N", "REDTASK_WORKER_ENGINES"),
    ],
)
def test_a_misspelt_variable_is_told(folder, variable, meant):
    done = run("worker", "--preload", "no.such", env={variable: "5"})

    told = f"redtask: {variable}: no such variable, did you mean {meant}?"
    assert told in done.stderr.splitlines()


def test_variables_of_others_are_their_own(folder):
    others = ("PORT", "SERVICE_HOST", "PORT_6379_TCP", "SERVICE_PORT", "X")
    known = {"REDTASK_TRACEBACK": "0", "REDTASK_STATUS_JSON": "1"}
    env = {f"REDTASK{of}_{name}": "1" for name in others for of in ("", "_WORKER")}

    assert "no such variable" not in run("worker", "-h", env={**env, **known}).stderr


def close_to_us(monkeypatch, closed):
    """Make a folder one that this process may not enter."""
    stat, read = Path.stat, Path.read_text

    def guard(plain):
        def guarded(path, *args, **options):
            if path.is_relative_to(closed):
                raise PermissionError(13, "Permission denied", str(path))
            return plain(path, *args, **options)

        return guarded

    monkeypatch.setattr(Path, "stat", guard(stat))
    monkeypatch.setattr(Path, "read_text", guard(read))


def test_a_folder_that_is_closed_to_us_has_no_settings_for_us(folder, monkeypatch):
    close_to_us(monkeypatch, folder / "user")
    assert run("config", "show").exit_code == 0

    close_to_us(monkeypatch, folder)
    done = run("config", "show")

    assert done.exit_code == 1
    assert "redtask.toml: cannot be read: Permission denied" in done.output
    assert "REDTASK_HOME may name another folder" in done.output


def test_a_working_directory_that_is_gone_is_told_in_words(folder):
    (folder / "inner").rmdir()

    done = run("config", "show")

    assert done.exit_code == 1
    assert "the working directory is gone" in done.output


def test_the_hub_may_stand_in_a_file(folder):
    (folder / "redtask.toml").write_text('url = "redis://a:1?hub=x"\n')
    told = f"{folder}/redtask.toml, url"

    assert origins()["url"] == ("redis://a:1/0", told)
    assert origins()["hub"] == ("x", told)
    assert origins("-u", "redis://b:2")["url"] == ("redis://b:2/0", "url")
    assert origins(env={"REDTASK_URL": "redis://c:3"})["url"][1] == "REDTASK_URL"


def test_who_names_a_profile_does_not_get_the_url_of_a_file_below(folder):
    (folder / "redtask.toml").write_text('url = "redis://a:1"\n')

    assert origins("--profile", "other")["url"] == (None, "nowhere")
    assert origins(env={"REDTASK_PROFILE": "other"})["url"] == (None, "nowhere")


def test_a_cluster_is_of_the_profile_that_a_file_names(folder):
    (folder / "redtask.toml").write_text('profile = "night"\n')

    done = run("cluster", "status", "--json")
    other = run("cluster", "status", "--json", "--profile", "day")

    assert json.loads(done.stdout)["profile"] == "night"
    assert json.loads(other.stdout)["profile"] == "day"


def test_a_file_gives_options_their_defaults(folder):
    (folder / "redtask.toml").write_text("[status]\njson = true\n")

    done = run("status")

    assert json.loads(done.stdout)["kind"] == "NoRedis"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[wroker]\n", "redtask.toml, wroker: no such key, did you mean 'worker'?"),
        ("[status]\njsno = true\n", "status.jsno: no such key, did you mean 'json'?"),
        ("[cluster.start]\nnope = 1\n", "cluster.start.nope: no such key"),
        ("status = 1\n", "status: must be a table"),
        ("url = 1\n", "url: must be a string"),
        ("[status\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_name(folder, text, told):
    (folder / "redtask.toml").write_text(text)

    done = run("cluster" if "cluster" in text else "status", "list")

    assert done.exit_code == 1
    assert done.stderr.startswith(f"redtask: {folder}/redtask.toml")
    assert told in done.stderr


def test_a_wrong_value_is_told_with_the_file(folder):
    (folder / "redtask.toml").write_text('[worker]\nengines = "many"\n')

    done = run("worker")

    assert done.exit_code == 2
    assert f"(from {folder}/redtask.toml, worker.engines)" in done.stderr


@pytest.mark.parametrize(
    ("words", "variable", "value"),
    [
        ("ls", "REDTASK_LS_LIMIT", "many"),
        ("worker", "REDTASK_WORKER_MAX_MEMORY", "much"),
        ("cluster start", "REDTASK_CLUSTER_START_TIMEOUT", "long"),
    ],
)
def test_a_wrong_value_is_told_with_the_variable(folder, words, variable, value):
    done = run(*words.split(), env={variable: value})

    assert done.exit_code == 2
    assert f"(from {variable}) See redtask {words} --help" in done.stderr


@pytest.mark.parametrize("value", ["gpu, default", ["gpu", "default"]])
def test_queues_in_a_file_may_be_a_list(value):
    ctx = worker.command.make_context("worker", [], default_map={"queues": value})

    assert ctx.params["queues"] == ["gpu", "default"]


def test_files_above_the_repository_do_not_count(folder):
    (folder / "inner" / ".git").mkdir()
    (folder / "redtask.toml").write_text("[wroker]\n")

    assert Settings.load(COMMANDS).layers == ()


def test_what_was_said_reaches_the_command(folder):
    found = []

    @click.command()
    @hub_options
    def command(*, where):
        found.append(where)

    CliRunner().invoke(command, ["-u", "redis://x", "--profile", "p"])

    assert found == [Where("redis://x", "p")]


def test_json_cannot_command_a_terminal_nor_leave_its_line(capsys):
    value = {"name": "\x9b31m\x7f\u2028é \x1b[0m"}

    say_json(value)

    told = capsys.readouterr().out
    assert all(one.isprintable() for one in told.rstrip("\n"))
    assert json.loads(told) == value


def test_text_of_several_lines_keeps_them_and_tabs_and_nothing_that_is_obeyed():
    assert safe_lines("a\tb\r\n\x1b[1;31mred\x1b[0m\n") == "a\tb\nred\n"
    assert safe_lines("\x1b]0;x\x07\x9b2J\u202e") == " ]0;x  2J "


def test_on_a_terminal_what_tasks_printed_is_made_safe(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    logs._print("\x1b[31mred\x1b]0;x\x07\n", err=False)

    assert capsys.readouterr().out == "red ]0;x \n"


@pytest.mark.parametrize("name", ["f" * 70, "日本語" * 20])
def test_what_is_long_leaves_room_for_ids_and_states(name, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no styles
    row = ("k3f9abw0z1x5-17", "completed", name, "1.7 min", "ValueError: " + name)

    Output().table(("task", "state", "function", "took", "what"), [row])

    heading, _, line, _ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task", "state", "function", "took", "what"]
    assert line.startswith("k3f9ab-17  completed  " + name[:3])
    assert "…  1.7 min  ValueError:" in line
    assert cell_len(line) <= 80


def test_what_fits_beside_something_long_is_whole(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")

    Output().table(("function", "what"), [("f" * 30, "x" * 200)])

    assert "f" * 30 + "  " + "x" * 47 + "…" in capsys.readouterr().out


@pytest.mark.parametrize("width", range(40, 101, 10))
def test_ls_shows_whole_ids_and_states_and_leaves_columns_out_whole(
    width, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(ls, "short_ago", lambda _: "17 min")
    record = {
        "msg_id": "k3f9abw0z1x5-17", "state": "completed", "function": "f" * 40,
        "engine_id": 123, "took": 102.0, "submitted": None, "started": None,
        "completed": None, "repr": "r" * 40,
    }  # fmt: skip

    ls._show(Output(), [record])

    heading, _, line, _ = click.unstyle(capsys.readouterr().out).splitlines()
    names = heading.split()
    assert [*names[:3], names[-1]] == ["task", "state", "function", "what"]
    assert line.startswith("k3f9ab-17  completed  fff")
    assert line.split()[2].endswith("…")
    assert cell_len(line) <= width
    for name, value in [("eng", "123"), ("took", "1.7 min"), ("ago", "17 min")]:
        assert (name in names) == (f" {value} " in line)
    assert ("eng" in names) == (width >= 80)
    assert ("ago" in names) == (width >= 60)


def test_where_nothing_can_be_left_out_states_and_numbers_are_whole(
    monkeypatch, capsys
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    columns = ("task", "state", "name", "size", "what")
    row = ("k3f9abw0z1x5-17", "completed", "n" * 13, 1234567, "w" * 13)

    Output().table(columns, [row], {"state": STATES})

    line = click.unstyle(capsys.readouterr().out).splitlines()[2]
    assert line == "k3f9ab-17  completed  nn…  1234567  www…"


def test_a_table_without_headings_begins_with_its_first_row(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")

    Output().table(("", ""), [("engine", "3"), ("state", "idle")])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["engine", "3"], ["state", "idle"], []]


@pytest.mark.parametrize("event", ["lost", "engine resumed", "engine draining"])
def test_events_of_all_names_have_their_details_in_one_column(
    event, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    about = {"at": "1000", "event": event, "engine": "u", "id": "3"}
    events._show(Output(), "1-0", about, {"u": 3})

    assert capsys.readouterr().out.index("engine 3") == 32


@pytest.mark.parametrize("width", [40, 80])
def test_advice_is_wrapped_and_never_cut(width, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    found, advice = "word " * 19 + "end", "redtask configure --upgrade " * 4 + "end"

    Output().table(("", "found", "advice"), [("wrong", found, advice)], wrap=True)

    _, _, *lines = capsys.readouterr().out.splitlines()
    text = " ".join(lines)
    assert "…" not in text
    assert lines[0].startswith("wrong  word")
    assert (text.count("word"), text.count("configure")) == (19, 4)
    assert max(map(cell_len, lines)) <= width


def test_a_command_without_an_output_works(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    Output().table(("task",), [("k3f9abw0z1x5-17",)])


@pytest.mark.parametrize("value", ["0.2.0", "1"])
def test_the_version_in_a_variable_is_that_of_an_image(monkeypatch, folder, value):
    monkeypatch.setenv("REDTASK_VERSION", value)

    done = run("worker", "--name", "a/b")

    assert (done.exit_code, "letters, digits" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("value", "shows"), [("", 0), ("0", 0), ("no", 0), ("false", 0), ("1", 1), ("y", 1)]
)
def test_a_variable_switches_tracebacks_on_as_all_do(monkeypatch, folder, value, shows):
    monkeypatch.setenv("REDTASK_TRACEBACK", value)

    done = run("status", "--url", "redis://127.0.0.1:1")

    assert isinstance(done.exception, SystemExit) != shows


def test_what_goes_nowhere_as_json_is_told_all_the_same(monkeypatch, folder):
    def say(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("redtask.cli.output.say_json", say)

    done = run("status", "--json", "--url", "redis://127.0.0.1:1")

    assert done.exit_code > 0
    assert done.stderr.startswith("redtask: ")


def test_a_list_of_files_need_not_be_text(folder, tmp_path):
    names = tmp_path / "names"
    names.write_bytes(b"a.png\n\xff.png\n")

    done = run("submit", "--dry-run", "math:f", "--lines", "-i", str(names))

    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, r"math:f('\udcff.png')")


@pytest.mark.parametrize("option", ["--sqlitedb", "--mongodb"])
def test_databases_of_ipcluster_are_not_needed(folder, option):
    done = run("cluster", "start", option)

    assert done.exit_code == 2
    assert "Redis keeps the tasks" in done.stderr
    assert option not in run("cluster", "start", "--help").stdout
