"""What engines keep for direct views, as processes that begin, end and are replaced."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from redtask import Reference, error, interactive
from tests.processes import DEADLINE, until
from tests.sites import gate

if TYPE_CHECKING:
    # What engines know.
    kept: Any = None
    seconds: Any = None

pytestmark = pytest.mark.acceptance


def test_what_an_engine_keeps_ends_with_it_and_calls_do_not_wait_for_ever(site):
    site.worker("-n", "2")
    rc = site.client
    dv = rc[:]
    first, second = rc
    dv.push({"kept": 1}, block=True)
    pid = first.apply_sync(os.getpid)
    running = first.apply_async(gate(site.folder / "never"))
    waiting = first.push({"kept": 2})
    # Not only taken: begun.
    until(lambda: any(one.task for one in rc.stacks()))

    os.kill(pid, signal.SIGKILL)

    with pytest.raises(error.EngineError, match="SIGKILL"):
        running.get(DEADLINE)
    with pytest.raises(error.ImpossibleDependency, match=r"targets \d+ are gone"):
        waiting.get(DEADLINE)
    until(lambda: len(rc.ids) == 2)
    assert second["kept"] == 1
    assert first.targets not in rc.ids
    with pytest.raises(error.RemoteError, match="name 'kept' is not defined"):
        rc[-1].get("kept")
    assert len(set(rc.direct_view().apply_sync(os.getpid))) == 2


def test_an_engine_that_is_recycled_takes_its_names_along(site):
    site.worker("-n", "1", "--max-tasks", "3")
    rc = site.client
    view = rc[-1]
    opened = site.folder / "opened"
    # Else it might have done three before the fourth is there.
    calls = [view.apply_async(gate(opened))]
    calls += [view.push({"kept": number}) for number in range(4)]
    opened.touch()

    for one in calls:
        one.get(DEADLINE)

    until(lambda: rc.ids not in ([], [view.targets]))
    with pytest.raises(error.ImpossibleDependency):
        view.get("kept")
    with pytest.raises(error.RemoteError, match="name 'kept' is not defined"):
        rc[-1].get("kept")


def test_interrupts_leave_the_names_alone(site):
    site.worker("-n", "1")
    (view,) = site.client
    view.push({"seconds": 60, "kept": 1}, block=True)

    @interactive
    def slow():
        global kept  # noqa: PLW0603
        import time  # noqa: PLC0415

        kept += 1
        time.sleep(seconds)

    late = view.with_flags(time_limit=0.2).apply_async(slow)
    with pytest.raises(error.TimeLimitExceeded):
        late.get(DEADLINE)
    stopped = view.apply_async(slow)
    until(lambda: site.state(stopped.msg_ids[0]) == "running")
    stopped.abort(running=True)
    with pytest.raises(error.TaskAborted):
        stopped.get(DEADLINE)

    assert view["seconds, kept"] in {(60, 2), (60, 3)}
    assert view.apply_sync(lambda: seconds) == 60
    view.clear(block=True)
    with pytest.raises(error.RemoteError, match="name 'seconds' is not defined"):
        view.apply_sync(lambda: seconds)
    assert site.view.apply_sync(lambda: sorted(globals())[:1]) == ["__builtins__"]


def test_what_code_prints_is_in_the_result(site):
    site.worker("-n", "2")

    result = site.client[:].execute("print('hello')", block=True)

    assert result.stdout == ["hello\n", "hello\n"]


SCRIPT = """
import __main__, collections, multiprocessing, pickle, typing

class Point(collections.namedtuple("Point", "x y")):
    next: "Point"

def square(x):
    return x * x

copied = pickle.loads(pickle.dumps(Point(1, 2)))
same = __main__.square is square
hints = typing.get_type_hints(Point)
with multiprocessing.get_context("fork").Pool(1) as pool:
    squares = pool.map(square, [1, 2])
"""


def test_what_engines_keep_is_their_main_module(site):
    site.worker("-n", "1")
    (one,) = site.client

    one.execute(SCRIPT, block=True)

    assert one["squares, same, hints['next'] is Point"] == ([1, 4], True, True)
    copied = one["copied"]
    assert (copied.x, type(copied).__name__) == (1, "Point")
    assert one.apply_sync(lambda point: point.y, copied) == 2
    one.clear(block=True)
    assert one.apply_sync(lambda: "Point" in vars(sys.modules["__main__"])) is False


def test_a_class_of_a_script_is_not_taken_for_one_of_the_engine(site):
    site.worker("-n", "1")
    (one,) = site.client
    one.execute("class Point:\n    whose = 'theirs'", block=True)
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("class Point:\n    whose = 'ours'\n", scope)  # noqa: S102

    both = one.apply_sync(
        lambda point, theirs: (point, theirs()), scope["Point"](), Reference("Point")
    )

    assert [point.whose for point in both] == ["ours", "theirs"]
    assert isinstance(both[0], scope["Point"])
    assert one["Point.whose"] == "theirs"


def test_processes_that_a_task_spawns_begin_as_before(site):
    site.worker("-n", "1")
    (one,) = site.client

    def spawned():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.map(math.sqrt, [4])

    one.push({"kept": 1}, block=True)

    assert one.apply_sync(spawned) == [2.0]
