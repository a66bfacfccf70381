"""The task that runs, as its own code sees it."""

from __future__ import annotations

import logging
import os
import threading
from fractions import Fraction

import pytest

from redtask.current import CurrentTask, TaskFilter, current_task, desk
from redtask.hub.records import Work

WORK = Work("c-1", "2:n", "fn", b"", "c-1", "")


class Engine:
    """What an engine puts on the desk."""

    def __init__(self):
        self.inside = WORK
        self.told = []
        self.asked = []

    def work(self):
        return self.inside

    def progress(self, text, work):
        self.told.append((text, work))

    def fields(self, task_id, names):
        self.asked.append((task_id, names))
        return [{"label": "blue", "retries": "3"}.get(name) for name in names]


@pytest.fixture
def engine(monkeypatch):
    """An engine, this process, which is inside of c-1."""
    found, place = Engine(), desk(os.getpid())
    for name in ("work", "progress", "fields"):
        monkeypatch.setattr(place, name, getattr(found, name))
    about = {"engine_id": 4, "engine_uuid": "u", "worker": "w", "hub": "h", "pid": 1}
    monkeypatch.setattr(place, "about", about)
    return found


def test_a_task_knows_who_it_is(engine):
    task = current_task()

    assert task == CurrentTask("c-1", 2, 4, "u", "w", "h")
    assert (task.label, task.queue, task.retries) == ("blue", "default", 3)
    assert engine.asked[0] == ("c-1", ("label",))


def test_outside_of_a_task_there_is_none_and_nobody_is_told():
    task = current_task()

    task.progress(0.5, "half")

    assert (task.id, task.attempt, task.engine_id) == (None, 0, None)
    assert (task.label, task.queue, task.retries) == (None, None, 0)


def test_its_threads_see_it_too(engine):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current_task().id))
    thread.start()
    thread.join()

    assert seen == ["c-1"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((0.4, "reading"), "0.4 reading"),
        ((0,), "0"),
        ((7, "of"), "1 of"),
        ((-1, " many\n words "), "0 many words"),
        ((1 / 3, "x" * 60), "0.3333 " + "x" * 52),
        # Numbers of NumPy are Real, too, and neither int nor float.
        ((Fraction(1, 4),), "0.25"),
    ],
)
def test_progress_is_a_share_and_a_few_words(engine, said, told):
    current_task().progress(*said)

    assert engine.told == [(told, WORK)]


def test_progress_may_be_said_of_a_total(engine):
    current_task().progress(30, "rows", total=120)

    assert engine.told == [("0.25 rows", WORK)]


def test_a_task_that_has_ended_says_nothing_more(engine):
    task = current_task()
    engine.inside = WORK._replace(task_id="c-2")

    task.progress(0.5)

    assert engine.told == []


@pytest.mark.parametrize(
    ("done", "total", "kind"),
    [
        ("half", 1, TypeError),
        (None, 1, TypeError),
        (0.5, "1", TypeError),
        (float("nan"), 1, ValueError),
        (1, 0, ValueError),
        (1, float("inf"), ValueError),
    ],
)
def test_progress_that_is_none_is_refused(done, total, kind):
    with pytest.raises(kind, match="progress"):
        current_task().progress(done, total=total)


def test_a_handler_can_say_in_which_task_a_line_was_logged(engine):
    record = logging.makeLogRecord({"msg": "hello"})

    assert TaskFilter().filter(record)
    engine.inside = None
    outside = logging.makeLogRecord({"msg": "hello"})
    TaskFilter().filter(outside)
    known = logging.makeLogRecord({"msg": "hello", "task_id": "c-7"})
    assert TaskFilter().filter(known)
    assert known.__dict__["task_id"] == "c-7"

    said = "%(task_id)s %(attempt)d %(engine_id)s %(message)s"
    lines = [logging.Formatter(said).format(one) for one in (record, outside)]
    assert lines == ["c-1 2 4 hello", "- 0 - hello"]
