"""How long engines and workers go on, told by hand."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from redtask import process
from redtask.cli import group
from redtask.cli.log import Lines, Objects, configure, formatter
from redtask.cli.worker import _lifetime, _pid_file
from redtask.engine import terms
from redtask.engine.block import Block
from redtask.engine.seat import Seat
from redtask.engine.terms import Limits, Terms, memory_of
from redtask.engine.worker import default_name
from redtask.error import ConnectionLost
from redtask.hub.records import QueueStatus, Status

WAITING = "tasks of the hub that wait for their time or for others"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Store:
    def __init__(self):
        self.queues = []
        self.states = {}

    def do(self, _):
        if self.queues is None:
            raise ConnectionLost("away")
        return Status({}, self.states, tuple(self.queues), ())


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(terms, "time", found)
    return found


@pytest.fixture
def seat():
    found = Seat(0, Block())
    found.pid, found.born = os.getpid(), 1000.0
    found.block.join("e")
    found.block.joined(0, 15_000, 1 << 60)
    found.block.idle()
    return found


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def make(clock, store, seat):
    def made(**limits):
        stops: list[str] = []
        found = Terms(Limits(**limits), store, ["default"], [seat], stops.append)
        return found, stops

    return made


def test_without_limits_nothing_is_looked_at(make):
    found, _ = make(drain=5.0)

    assert found.due == float("inf")


def test_an_engine_is_replaced_when_its_lifetime_is_over(make, clock, seat):
    found, stops = make(lifetime=60.0, jitter=10.0)
    found.look()
    clock.now += 49
    found.look()
    assert not seat.to_drain

    clock.now += 22
    found.look()

    assert seat.to_drain
    assert stops == []


def test_its_successor_has_a_lifetime_of_its_own(make, clock, seat):
    found, _ = make(lifetime=60.0)
    found.look()
    clock.now += 30
    seat.born = clock.now

    clock.now += 40
    found.look()
    assert not seat.to_drain
    clock.now += 21
    found.look()

    assert seat.to_drain


def test_an_engine_that_takes_too_much_is_replaced(make, seat, monkeypatch):
    found, _ = make(memory=100 << 20)
    monkeypatch.setattr(terms, "memory_of", lambda *_: 100 << 20)
    found.look()
    assert not seat.to_drain

    monkeypatch.setattr(terms, "memory_of", lambda *_: 101 << 20)
    found.look()

    assert seat.to_drain


def test_memory_is_what_a_process_has_for_itself():
    assert 1 << 20 < memory_of(os.getpid()) < 1 << 40
    assert memory_of(2**22 + 1) == 0


def test_pages_of_memory_are_as_large_as_the_system_has_them(monkeypatch):
    usual = memory_of(os.getpid(), 1 << 40)

    monkeypatch.setattr(os, "sysconf", lambda _: 65536)

    assert memory_of(os.getpid(), 1 << 40) > 10 * usual


def test_memory_counts_in_whole_where_nobody_says_what_is_shared(monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.name == "smaps_rollup":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)

    assert 1 << 20 < memory_of(os.getpid()) < 1 << 40


def test_a_worker_ends_when_nothing_ran_for_long_enough(make, clock, seat):
    found, stops = make(idle=10.0)
    found.look()
    clock.now += 9
    seat.block.open(1, ["c-1", "1:n"])
    seat.block.begin(0, 5)
    found.look()
    clock.now += 9
    seat.block.end(("ok", 0, 5, 6, ()))
    found.look()
    assert stops == []

    clock.now += 11
    found.look()

    assert stops == ["nothing to do for 10 s"]
    assert found.due == float("inf")


@pytest.mark.parametrize(
    ("queue", "ends"),
    [
        (QueueStatus("default", 1, 0), True),
        (QueueStatus("default", 1, 3), False),
        (QueueStatus("default", 1, 3, paused=True), True),
        (QueueStatus("other", 1, 3), True),
    ],
)
def test_a_burst_ends_when_its_queues_are_empty(make, store, queue, ends):
    found, stops = make(burst=True)
    store.queues = [queue]

    found.look()
    assert stops == []
    found.look()

    assert bool(stops) == ends


@pytest.mark.parametrize(
    ("waiting", "paused", "told"),
    [
        (1, 0, "1 task of the hub that waits for its time or for others"),
        (2000, 0, f"2,000 {WAITING}"),
        (0, 1, "1 task in paused queues"),
        (2, 3, f"2 {WAITING}, and 3 tasks in paused queues"),
    ],
)
def test_a_burst_tells_what_it_leaves(make, store, waiting, paused, told):
    found, stops = make(burst=True)
    store.states = {"waiting": waiting}
    store.queues = [
        QueueStatus("default", 1, paused, paused=True),
        QueueStatus("other", 1, 7),
    ]

    found.look()
    found.look()

    assert stops == [f"the queues are empty (left: {told})"]


def test_a_burst_says_if_nothing_is_left(make):
    found, stops = make(burst=True)

    found.look()
    found.look()

    assert stops == ["nothing is left to do"]


def test_a_burst_does_not_end_while_redis_is_away_or_something_runs(make, store, seat):
    found, stops = make(burst=True)
    store.queues = None
    found.look()
    found.look()
    store.queues = []
    seat.block.talk()
    found.look()
    found.look()

    assert stops == []


# -- what is said on the command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lifetime", "1h~2h"), "must be less"),
        (("--lifetime", "soon"), "span of time"),
        (("--max-memory", "much"), "a size is 500M"),
        (("--max-idle", "x"), "span of time"),
        (("--health-port", "70000"), "70000"),
        (("--label", "a b"), "a word"),
        (("--queues", "A"), "lower-case letters"),
        (("--name", "a/b"), "letters, digits"),
        (("--log-format", "xml"), "xml"),
    ],
)
def test_a_wrong_word_is_told_before_anything_starts(words, told):
    done = CliRunner().invoke(group, ["worker", *words])

    assert done.exit_code == 2
    assert told in done.stderr


# -- logs


def record(**more):
    return logging.makeLogRecord(
        {"name": "a", "levelname": "WARNING", "msg": "hello", "created": 1.5, **more}
    )


def test_a_line_says_of_which_task_it_is():
    plain, coloured = Lines(coloured=False), Lines(coloured=True)
    of_task = record(task_id="c-1", attempt=2, engine_id=3)

    assert plain.format(of_task).endswith(" WARNING [c-1/2 engine 3] hello")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING", plain.format(record()))
    assert plain.format(record()).endswith(" WARNING hello")
    assert "\x1b[33mWARNING\x1b[0m hello" in coloured.format(record())


def test_no_line_commands_a_terminal():
    said = record(msg="\x1b[2J\x9b2Jgone\nand more")

    assert Lines(coloured=True).format(said).endswith(" [2J 2Jgone\nand more")
    assert "\x1b" not in Lines(coloured=False).format(said)
    line = Objects("w").format(said)
    assert "\x9b" not in line
    assert json.loads(line)["message"] == "\x1b[2J\x9b2Jgone\nand more"


def test_an_object_has_everything():
    try:
        raise ValueError("no")  # noqa: TRY301 - for its traceback
    except ValueError as problem:
        about = (ValueError, problem, problem.__traceback__)

    found = json.loads(Objects("w").format(record(exc_info=about)))

    assert found["time"] == "1970-01-01T00:00:01.500000+00:00"
    assert (found["level"], found["worker"]) == ("warning", "w")
    assert found["exception"].endswith("ValueError: no")
    assert "id" not in found
    of_task = record(task_id="c-1", attempt=2, engine_id=3)
    found = json.loads(Objects("w").format(of_task))
    assert (found["id"], found["attempt"], found["engine_id"]) == ("c-1", 2, 3)


def test_the_format_suits_what_is_written_to(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)

    kinds = [(None, terminal), ("plain", terminal), (None, io.StringIO())]
    found = [
        formatter(name, "w", stream).format(record())
        for name, stream in [*kinds, ("rich", io.StringIO())]
    ]

    assert ["\x1b" in one for one in found] == [True, False, False, True]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in formatter(None, "w", terminal).format(record())


def configured(monkeypatch):
    """Let tasks' errors be logged; return the worker's standard error, and a task's."""
    worker, task = io.StringIO(), io.StringIO()
    # Not in a fixture: pytest adds handlers of its own to each call of a test.
    for log in logging.getLogger(), logging.getLogger("redtask"):
        monkeypatch.setattr(log, "handlers", [])
        monkeypatch.setattr(log, "propagate", log.propagate)
        monkeypatch.setattr(log, "level", logging.WARNING)
    monkeypatch.setattr(sys, "stderr", worker)
    configure("plain", "w", logging.INFO, logging.ERROR)
    monkeypatch.setattr(sys, "stderr", task)
    return worker, task


def test_what_tasks_log_goes_to_the_log_from_that_level_up(monkeypatch):
    worker, _ = configured(monkeypatch)
    application = logging.getLogger("application")
    monkeypatch.setattr(application, "level", logging.DEBUG)

    for say in application.debug, application.warning, application.error:
        say(say.__name__)

    assert [line.split()[-1] for line in worker.getvalue().splitlines()] == ["error"]


def test_what_tasks_log_also_goes_where_it_would_go_without(monkeypatch):
    worker, task = configured(monkeypatch)
    other = io.StringIO()

    logging.getLogger("application").warning("by nobody")
    logging.getLogger("application").error("by the worker")
    logging.getLogger().addHandler(logging.StreamHandler(other))
    logging.getLogger("application").error("by both")

    assert task.getvalue() == "by nobody\nby the worker\n"
    assert [line[-4:] for line in worker.getvalue().splitlines()] == ["rker", "both"]
    assert other.getvalue() == "by both\n"


def test_a_lifetime_of_nothing_is_for_ever():
    assert _lifetime(None, None, "0") == (0.0, 0.0)


def test_a_pid_file_that_cannot_be_removed_is_emptied(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "w.pid"
    with monkeypatch.context() as patched, _pid_file(str(path)):
        patched.setattr(Path, "unlink", refuse)
        assert int(path.read_text()) == os.getpid()

    assert path.read_text() == ""


def test_the_next_worker_of_a_container_has_another_name(monkeypatch):
    assert default_name() == default_name()
    monkeypatch.setattr(process, "is_contained", lambda: True)

    assert default_name() != default_name()
