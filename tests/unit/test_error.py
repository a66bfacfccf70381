"""Exceptions: their words, and that they travel."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import pickle
import traceback

import pytest

from redtask import error
from redtask.error import CompositeError, EngineError, RemoteError, TaskAborted

ABOUT = {"engine_id": 3, "engine_uuid": "u", "method": "apply"}


def remote(number=1):
    return RemoteError("ValueError", f"no {number}", "Traceback\nno", ABOUT)


def test_the_docstring_is_the_message():
    assert str(error.NoHub()) == "There is no hub of this name in this Redis."
    assert str(error.NoHub("none")) == "none"


def test_an_error_without_a_docstring_has_that_of_its_base(monkeypatch):
    class NoCamera(error.UnmetDependency):
        pass

    assert str(NoCamera()) == str(error.UnmetDependency()) != ""

    # As under `python -OO`.
    for kind in (error.UnmetDependency, error.EngineError, *NoCamera.__mro__):
        if issubclass(kind, error.RedtaskError):
            monkeypatch.setattr(kind, "__doc__", None)
    assert str(NoCamera()) == "NoCamera"


def test_a_remote_error_says_where_and_what():
    problem = remote()

    assert str(problem) == "[3:apply] ValueError: no 1"
    assert repr(problem) == "<RemoteError[3]:ValueError(no 1)>"
    assert str(RemoteError("E", "v")) == "E: v"
    assert repr(RemoteError("E", "v")) == "<RemoteError:E(v)>"
    assert problem.render_traceback() == ["Traceback", "no"]
    assert RemoteError("E", "v").render_traceback() == ["E: v"]


@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("problem", [remote(), EngineError("killed")])
def test_remote_errors_travel(problem, again):
    found = again(problem)

    assert type(found) is type(problem)
    assert vars(found) == vars(problem)
    assert str(found) == str(problem)


def test_a_composite_error_lists_the_first_few(capsys):
    problem = CompositeError("several", [remote(n) for n in range(6)])

    lines = str(problem).splitlines()
    assert lines[0] == "several"
    assert lines[1] == "[3:apply] ValueError: no 0"
    assert lines[-1] == ".... 2 more exceptions ..."
    assert repr(problem) == "<CompositeError(6)>"
    assert problem.elist[5] == ("ValueError", "no 5", "Traceback\nno", ABOUT)
    first = ["on engine 3:", "Traceback", "no"]
    assert problem.render_traceback()[:4] == ["several", *first]
    assert problem.render_traceback(5) == first
    problem.print_traceback()
    assert capsys.readouterr().out.startswith("several\non engine 3:\nTraceback\n")
    problem.print_traceback(1)
    assert capsys.readouterr().out == "on engine 3:\nTraceback\nno\n"
    with pytest.raises(RemoteError, match="no 5"):
        problem.raise_exception(5)
    with pytest.raises(IndexError, match="it holds 6 errors, and no 6"):
        problem.raise_exception(6)
    with pytest.raises(IndexError, match="it holds 6 errors, and no -7"):
        problem.print_traceback(-7)


def test_failures_at_the_same_place_are_shown_once():
    def failed(number, line):
        text = f'Traceback\n  File "f.py", line {line}\nE: {number}\n'
        return RemoteError("E", str(number), text, ABOUT)

    problem = CompositeError("several", [*map(failed, range(6), "115112")])

    shown = "\n".join(problem.__notes__)
    assert [shown.count(f"line {line}\n") for line in "152"] == [1, 1, 1]
    assert "E: 0" in shown
    assert str(problem).count("E: ") == 4


def test_a_composite_error_may_hold_others():
    problem = CompositeError("several", [error.TaskAborted("c-0 was aborted")])

    assert problem.elist == [("TaskAborted", "c-0 was aborted", "", {})]
    assert "c-0 was aborted" in str(problem)
    assert problem.render_traceback() == ["several", "c-0 was aborted"]
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)


@pytest.mark.parametrize(
    "clone", [lambda one: one, copy.copy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_python_shows_where_it_went_wrong(clone):
    one = RemoteError("E", "v", "Traceback\n  over there\nE: v\n", {"engine_id": 3})
    several = CompositeError("several", [one, TaskAborted("c-0 was aborted")])

    for problem in one, several:
        shown = "".join(traceback.format_exception(clone(problem)))
        assert shown.endswith("\non engine 3:\nTraceback\n  over there\nE: v\n")
        assert shown.count("over there") == 1


def test_ipython_shows_what_happened_over_there_without_our_frames():
    one = RemoteError("E", "v", "Traceback\n  over there\nE: v\n", {"engine_id": 3})
    several = CompositeError("several", [one, TaskAborted("c-0 was aborted")])

    over_there = ["on engine 3:", "Traceback", "  over there", "E: v"]
    assert one._render_traceback_() == ["RemoteError: [3:apply] E: v", *over_there]
    assert several._render_traceback_() == [
        *("CompositeError: several", "[3:apply] E: v", "c-0 was aborted"),
        *over_there,
    ]
    assert RemoteError("E", "v")._render_traceback_() == ["RemoteError: E: v"]
    assert EngineError("killed")._render_traceback_() == ["EngineError: killed"]


def test_a_remote_traceback_can_be_printed(capsys):
    remote().print_traceback()
    remote().print_traceback(excid=0)

    assert capsys.readouterr().out == "Traceback\nno\n" * 2


@pytest.mark.parametrize("kind", error.HubError.__subclasses__())
def test_each_refusal_of_the_hub_has_its_class(kind):
    found = error.from_reply(f"REDTASK_{kind.code} a sentence")

    assert type(found) is kind
    assert str(found) == "a sentence"


def test_a_limit_that_can_be_raised_is_told_with_how_to():
    found = error.from_reply("REDTASK_TOOLARGE c-1 has 9 bytes; the limit is 8")
    never = error.PayloadTooLarge("c-1 has 9 bytes; no hub accepts more than 8")

    assert str(found) == (
        "c-1 has 9 bytes; the limit is 8: "
        "redtask configure --max-payload SIZE raises it, up to 512M"
    )
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    assert str(never) == never.args[0]


@pytest.mark.parametrize("text", ["REDTASK_NOSUCH x", "NOFN x", "ERR REDTASK_NOFN", ""])
def test_what_is_no_refusal_of_the_hub_is_none(text):
    assert error.from_reply(text) is None


def test_old_names_are_caught_as_what_they_were():
    assert issubclass(error.TaskLost, KeyError)
    assert str(error.TaskLost("no quotes")) == "no quotes"
    assert issubclass(error.SerializationError, TypeError)
    assert issubclass(error.ConnectionLost, ConnectionError)
    assert error.TimeoutError is TimeoutError
    assert error.KernelError is error.RedtaskError


VERDICTS = [
    error.ImpossibleDependency,
    error.InvalidDependency,
    error.TaskTimeout,
    error.DependencyTimeout,
    error.TimeLimitExceeded,
]


@pytest.mark.parametrize("kind", VERDICTS)
def test_a_verdict_is_a_remote_error_of_its_own_name(kind):
    problem = kind("c-1 failed")

    assert isinstance(problem, RemoteError)
    assert (problem.ename, problem.evalue) == (kind.__name__, "c-1 failed")
    assert str(problem) == f"{kind.__name__}: c-1 failed"
    assert kind().evalue == kind.__doc__


@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("kind", VERDICTS)
def test_verdicts_travel(kind, again):
    problem = kind("too late", "Traceback", ABOUT)

    found = again(problem)

    assert type(found) is kind
    assert vars(found) == vars(problem)


def test_verdicts_are_caught_by_the_names_of_old():
    assert issubclass(error.InvalidDependency, error.ImpossibleDependency)
    assert issubclass(error.ImpossibleDependency, error.UnmetDependency)
    assert issubclass(error.DependencyTimeout, error.TaskTimeout)
    assert issubclass(error.DependencyTimeout, error.ImpossibleDependency)
    assert not issubclass(error.UnmetDependency, RemoteError)
    assert str(error.UnmetDependency()) == error.UnmetDependency.__doc__
    assert issubclass(error.UnknownTask, KeyError)
    assert str(error.UnknownTask("no quotes")) == "no quotes"
    assert issubclass(error.TaskPending, ValueError)


def test_what_was_aborted_is_cancelled_as_futures_are():
    problem = error.TaskAborted("c-1 was aborted")

    again = pickle.loads(pickle.dumps(problem))

    assert isinstance(again, concurrent.futures.CancelledError)
    assert not isinstance(again, asyncio.CancelledError)
    assert str(again) == "c-1 was aborted"
    assert str(error.TaskAborted()) == "The task was aborted."
