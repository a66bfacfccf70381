"""AsyncResult and what can be asked of it, through both faces."""

from __future__ import annotations

import datetime as dt
import gc
import linecache
import re
import signal
import traceback

import pytest

from redtask import error
from redtask.metadata import METADATA
from redtask.outcomes import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from tests import tasks
from tests.alarms import LateError, Rings, alarm
from tests.processes import DEADLINE, until


def test_a_value_can_be_had_again_and_again(view):
    result = view.apply_async(tasks.double, 4)

    assert result.get() == 8
    assert result.get(0) == 8
    assert result.result(1) == 8
    assert result.exception() is None
    assert result.ready()
    assert result.successful()
    assert result.done()
    assert not result.cancelled()
    assert repr(result) == "<AsyncResult(double): finished>"
    assert len(result) == 1
    assert result.msg_ids == [view.history[-1]]


def test_whether_it_is_done_is_found_out_by_asking_again_and_again(client, gate):
    view = client.load_balanced_view()
    held = view.apply_async(tasks.pass_gate, str(gate), 5)
    many = view.map_async(tasks.double, range(3))

    until(many.done)

    assert not held.done()
    gate.touch()
    until(held.done)
    assert held.get(0) == 5


def test_a_result_of_another_client_is_asked_for_in_the_same_way(place, client):
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    other = place.client()

    again = other.get_result(result.msg_ids)

    until(again.done)
    assert again.get(0) == [8]


def test_who_reads_that_it_has_ended_knows_that_it_is_done(view):
    result = view.apply_async(tasks.fail_odd, 1)
    known = getattr(result, "_inner", result)._tasks

    until(lambda: result.metadata.status == "error")

    assert known.done
    assert isinstance(result.metadata.error, error.RemoteError)


def test_while_redis_is_away_nothing_more_is_known_to_be_done(client, monkeypatch):
    result = client.load_balanced_view().apply_async(tasks.double, 4)

    def lose(*_):
        raise error.ConnectionLost("gone")

    with monkeypatch.context() as patch:
        patch.setattr("redtask.flows.waiting.glance", lose)
        assert not result.done()
    until(result.done)


def test_the_garbage_collector_does_not_look_at_results_of_a_map(view):
    result = view.map_async(tasks.double, range(300))
    assert result.get() == list(range(0, 600, 2))

    # What is in a tuple may be let go of one time, the tuple the next.
    for _ in range(3):
        gc.collect()

    kept = getattr(result, "_inner", result)._decoded.values()
    assert len(kept) > 1
    assert not any(map(gc.is_tracked, kept))


def test_a_lost_connection_is_no_exception_of_the_task(view, monkeypatch):
    result = view.apply_async(tasks.double, bytes(500_000))
    result.wait()

    def lose(*_):
        raise error.ConnectionLost("gone")

    with monkeypatch.context() as patch:
        patch.setattr("redtask.flows.waiting._fetch", lose)
        with pytest.raises(error.ConnectionLost, match="gone"):
            result.exception()

    assert result.exception() is None


def test_like_a_future_it_does_not_wait_for_less_than_no_time(view, gate):
    result = view.apply_async(tasks.pass_gate, str(gate), 5)

    for limit in (-1, -0.5, float("-inf")):
        with pytest.raises(TimeoutError, match="Result not ready"):
            result.result(limit)
        with pytest.raises(TimeoutError, match="Result not ready"):
            result.exception(limit)

    gate.touch()
    assert result.wait(-1)
    assert result.get(-1) == 5
    assert result.result(-1) == 5
    assert result.exception(-1) is None


def test_what_is_no_interval_is_refused(view):
    result = view.apply_async(tasks.double, 1)

    with pytest.raises(TypeError, match="interval must be a number of seconds"):
        result.wait_interactive(interval=None)


def test_waiting_has_an_end(view, gate):
    result = view.apply_async(tasks.pass_gate, str(gate), 5)

    assert not result.wait(0)
    assert not result.wait(0.01)
    assert not result.ready()
    assert repr(result) == "<AsyncResult(pass_gate): not known to have ended>"
    name = result.msg_ids[0]
    with pytest.raises(TimeoutError, match=rf"^Result not ready: {name} is pending\.$"):
        result.get(0)
    with pytest.raises(TimeoutError, match=r" \S+ and 2 more are pending\.$"):
        view.map_async(tasks.pass_gate, [str(gate)] * 3, [5] * 3).get(0)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(TimeoutError):
        result.exception(0)
    with pytest.raises(TimeoutError):
        result.result(0.01)
    with pytest.raises(RuntimeError, match="not done"):
        result.successful()

    gate.touch()
    assert result.wait()
    assert result.wait(-1)
    assert result.wait(None)
    assert result.get(-1) == 5


def test_an_exception_comes_back(view):
    result = view.apply_async(tasks.fail, 7)

    with pytest.raises(error.RemoteError) as caught:
        result.get()

    problem = caught.value
    assert (problem.ename, problem.evalue) == ("ValueError", "no 7")
    assert problem.engine_info["engine_id"] in {0, 1}
    assert isinstance(problem.__cause__, ValueError)
    assert 'raise ValueError(f"no {x}")' in problem.traceback
    assert str(problem).endswith(":apply] ValueError: no 7")
    assert not result.successful()
    assert result.exception() is result.get(return_exceptions=True)
    assert repr(result) == "<AsyncResult(fail): failed>"
    assert result.wait()


def test_asking_again_does_not_lengthen_the_traceback(view):
    result = view.apply_async(tasks.fail, 7)
    lengths = []

    for _ in range(3):
        with pytest.raises(error.RemoteError) as caught:
            result.get()
        lengths.append(len(list(traceback.walk_tb(caught.value.__traceback__))))

    assert lengths[1] == lengths[2]
    assert result.exception().__traceback__ is None


def test_only_who_submitted_a_task_quotes_what_its_prompt_defined(view, place):
    source = "def inverse(x):\n    return 1 / x\n"
    name = "<cell>"
    defined = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), defined)  # noqa: S102
    result = view.apply_async(defined["inverse"], 0)
    result.wait()

    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    ours = result.exception()
    theirs = place.client().get_result(result.msg_ids[0]).exception()
    del linecache.cache[name]

    frame = f'  File "{name}", line 2, in inverse\n'
    assert f"{frame}    return 1 / x\n" in ours.traceback
    assert f"{frame}ZeroDivisionError" in theirs.traceback


def test_an_exception_that_cannot_be_rebuilt_comes_back_as_text(view):
    with pytest.raises(error.RemoteError, match="StubbornError: 1 and 2") as caught:
        view.apply_async(tasks.raise_stubborn).get()

    assert caught.value.__cause__ is None
    assert "raise StubbornError(1, 2)" in caught.value.traceback


def test_a_result_that_cannot_be_pickled_is_an_error_of_the_task(view):
    with pytest.raises(error.RemoteError, match="the result: cannot pickle frame") as e:
        view.apply_async(tasks.unpicklable).get()

    assert "During handling" not in e.value.traceback


@pytest.mark.parametrize("problem", [LateError(), SystemExit(3)])
def test_a_result_stays_readable_if_a_signal_handler_raises_as_it_is_read(
    client, problem
):
    result = client.load_balanced_view().apply_async(Rings)

    with alarm(problem), pytest.raises(type(problem)) as caught:
        result.get(DEADLINE)
    kept = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    value = result.get()
    signal.signal(signal.SIGUSR1, kept)

    assert caught.value is problem
    assert value is None
    assert result.successful()


def test_leaving_is_an_error_of_the_task(view):
    with pytest.raises(error.RemoteError, match="SystemExit: 3"):
        view.apply_async("sys:exit", 3).get()


def test_metadata_say_how_it_went(view):
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    labelled = view.with_flags(label="of mine")
    result = labelled.apply_async(tasks.double, 1)
    result.get()

    about = result.metadata

    assert set(about) == METADATA
    assert about.msg_id == result.msg_ids[0]
    assert about["status"] == "ok"
    assert about["label"] == "of mine"
    assert about["engine_id"] in {0, 1}
    assert about["engine_uuid"]
    assert about["error"] is None
    assert before < about["submitted"] <= about["started"] <= about["completed"]
    assert about["received"] > before
    assert about["after"] == about["follow"] == []
    with pytest.raises(AttributeError):
        _ = about.nothing


def test_metadata_are_there_while_it_waits(view, gate):
    result = view.apply_async(tasks.pass_gate, str(gate))

    about = result.metadata

    assert about["status"] is None
    assert about["submitted"] is not None
    assert about["completed"] is about["received"] is None


def test_metadata_of_a_failure_have_the_error(view):
    result = view.apply_async(tasks.fail)
    result.wait()

    assert result.metadata["status"] == "error"
    assert isinstance(result.metadata["error"], error.RemoteError)


def test_times_add_up(view, gate):
    result = view.map_async(tasks.pass_gate, [str(gate)] * 2, [1, 2])
    assert result.elapsed > 0
    for name in ("serial_time", "wall_time"):
        with pytest.raises(TimeoutError):
            getattr(result, name)
    gate.touch()
    result.wait()

    assert result.serial_time > 0
    assert result.wall_time == result.elapsed
    first = result.wall_time
    result.get()
    assert result.wall_time == first


def test_times_are_subtracted(view):
    noon = dt.datetime(2012, 3, 4, 12, tzinfo=dt.UTC)
    starts = [noon + dt.timedelta(seconds=number) for number in (2, 1, 3)]
    ends = [noon + dt.timedelta(seconds=number) for number in (7, 5, 6)]

    result = view.apply_async(tasks.double, 1)

    assert result.timedelta(noon, ends[0]) == 7
    assert result.timedelta(starts, ends) == 6
    assert result.timedelta(starts, noon) == -1
    assert result.timedelta(starts, ends, start_key=max, end_key=min) == 2


def test_times_that_never_came_do_not_count(view):
    now = dt.datetime.now(dt.UTC)

    result = view.apply_async(tasks.double, 1)

    assert result.timedelta([None, now], [now, None]) == 0
    for nothing in ([], [None], None):
        with pytest.raises(ValueError, match="none of the tasks has such a time"):
            result.timedelta(nothing, now)


def test_progress_counts_items(view, gate):
    result = view.map_async(
        tasks.pass_gate, [str(gate)] * 3 + [__file__] * 3, range(6), chunksize=3
    )

    part = result.split()[1]
    assert part.get() == [3, 4, 5]
    assert result.progress == 3
    gate.touch()
    result.wait()
    assert result.progress == len(result) == 6


def test_a_dict_of_engines(view):
    single = view.apply_async(tasks.double, 1)

    assert list(single.get_dict().values()) == [2]
    with pytest.raises(ValueError, match="multiple jobs"):
        view.map_async(tasks.double, range(4)).get_dict()


def test_a_waiting_task_is_aborted(rc, view, gate):
    blockers = view.map_async(tasks.pass_gate, [str(gate)] * 20)
    result = view.apply_async(tasks.double, 1)

    result.abort()

    with pytest.raises(error.TaskAborted, match="was aborted"):
        result.get(10)
    assert result.cancelled()
    assert not result.cancel()
    with pytest.raises(RuntimeError, match="already done"):
        result.abort()
    assert result.metadata["status"] == "aborted"
    gate.touch()
    assert blockers.get() == [None] * 20


def test_a_running_task_is_not_aborted(rc, view, gate):
    running = view.apply_async(tasks.pass_gate, str(gate), 1)
    while running.metadata["started"] is None:
        running.wait(0.01)

    assert rc.abort(running) == {running.msg_ids[0]: "running"}
    assert not running.cancel()

    gate.touch()
    assert running.get() == 1
    assert rc.abort(running) == {running.msg_ids[0]: "ended"}
    assert rc.abort("abc-0") == {"abc-0": "unknown"}


def test_abort_touches_nobody_elses(place, face, gate):
    mine, other = place.client(face), place.client(face)
    ours = mine.load_balanced_view().map_async(tasks.double, range(5))
    theirs = other.load_balanced_view().map_async(tasks.double, range(5))

    words = mine.abort()

    assert set(words) == set(ours.msg_ids)
    assert set(words.values()) == {"aborted"}
    place.engine()
    assert theirs.get() == [0, 2, 4, 6, 8]
    with pytest.raises(error.CompositeError):
        ours.get()


def test_abort_works_with_no_engine_alive(place, face):
    rc = place.client(face)
    view = rc.load_balanced_view()
    result = view.apply_async(tasks.double, 1)

    assert view.abort() == {result.msg_ids[0]: "aborted"}

    with pytest.raises(error.TaskAborted):
        result.get(10)


def test_cancel_says_whether_it_could(place, face):
    result = place.client(face).load_balanced_view().apply_async(tasks.double, 1)

    assert result.cancel()
    assert result.cancelled()


def test_parts_are_results_of_their_own(view):
    whole = view.map_async(tasks.fail_odd, range(5), chunksize=2)
    parts = whole.split()

    assert parts == whole.split()
    assert [part.msg_ids for part in parts] == [[name] for name in whole.msg_ids]
    assert parts[-1].get() == [4]
    with pytest.raises(error.RemoteError, match="odd 1"):
        parts[0].get()
    single = view.apply_async(tasks.double, 1)
    assert single.split() == (single,)


def test_parts_can_be_joined(view):
    whole = view.map_async(tasks.double, range(5), chunksize=2)
    join = whole.join

    again = join(*whole.split())

    assert again.get() == [0, 2, 4, 6, 8]
    assert len(again) == 5
    assert again.msg_ids == whole.msg_ids
    one, other = view.apply_async(tasks.double, 1), view.apply_async(tasks.double, 2)
    assert join(one, other).get() == [2, 4]
    assert list(join(one, other)) == [2, 4]
    assert join(whole, whole).get()[:5] == whole.get()
    with pytest.raises(ValueError, match="at least one"):
        join()


def test_waiting_may_end_with_the_first(view, gate):
    result = view.map_async(tasks.pass_gate, [__file__, str(gate)], [1, 2])

    done, pending = result.wait(return_when=FIRST_COMPLETED)

    assert [part.get() for part in done] == [[1]]
    assert [part.msg_ids for part in pending] == [result.msg_ids[1:]]
    gate.touch()
    done, pending = result.wait(return_when=ALL_COMPLETED)
    assert (len(done), len(pending)) == (2, 0)
    with pytest.raises(ValueError, match="return_when must be one of"):
        result.wait(return_when="NEVER")


def test_getting_may_end_with_the_first_failure(view, gate):
    result = view.map_async(
        lambda path, x: tasks.pass_gate(path, tasks.fail_odd(x)),
        [str(gate), __file__],
        [0, 1],
    )

    with pytest.raises(error.CompositeError, match="odd 1") as caught:
        result.get(return_when=FIRST_EXCEPTION)

    assert len(caught.value.elist) == 1
    assert not result.done()
    gate.touch()
    with pytest.raises(error.CompositeError):
        result.get()


def test_any_client_may_ask_for_a_result(place, face, rc, view, gate):
    other = place.client(face)
    result = view.apply_async(tasks.pass_gate, str(gate), 5)

    theirs = other.get_result(result.msg_ids[0])
    also = other.get_result(result.msg_ids)

    assert not theirs.ready()
    gate.touch()
    assert theirs.get(10) == 5
    assert also.get(10) == [5]
    assert result.get(10) == 5
    assert repr(theirs) == f"<AsyncHubResult({result.msg_ids[0]}): finished>"


def test_a_result_says_how_far_it_is(view, gate):
    paths = [str(gate), str(gate), __file__, __file__, __file__]
    result = view.map_async(tasks.pass_gate, paths, range(5), chunksize=2)
    begun = repr(result)

    result.wait(return_when=FIRST_COMPLETED)
    under_way = repr(result)
    gate.touch()
    result.wait()

    assert begun == "<AsyncMapResult(pass_gate): not known to have ended>"
    assert re.search(": [123] of 5 known to have ended>", under_way)
    assert repr(result) == "<AsyncMapResult(pass_gate): finished>"


def test_a_result_says_how_much_of_it_has_failed(rc, view):
    result = view.map_async(tasks.fail_odd, range(5), chunksize=2)
    later = view.with_flags(delay=60).apply_async(tasks.noop)

    result.wait()
    rc.abort(later)
    later.wait()

    assert repr(result) == "<AsyncMapResult(fail_odd): failed, 4 of 5>"
    assert repr(later) == "<AsyncResult(noop): aborted>"


def test_a_result_that_was_asked_for_is_named_by_its_ids(rc, view):
    first, last = view.map_async(tasks.fail_odd, range(2)).msg_ids

    both, nothing = rc.get_result([first, last]), rc.get_result([])
    both.wait()

    assert repr(both) == f"<AsyncHubResult({first} and 1 more): failed, 1 of 2>"
    assert repr(nothing) == "<AsyncHubResult(no tasks): finished>"
    with pytest.raises(error.CompositeError, match=f"raised in: {first} and 1 more"):
        both.get()


class Printer:
    """What shows values in IPython."""

    def __init__(self):
        self.shown = ""

    def text(self, words):
        self.shown += words


def shown(value):
    """Return how IPython shows a value."""
    printer = Printer()
    value._repr_pretty_(printer, cycle=False)
    return printer.shown


def test_ipython_shows_what_the_hub_knows(client, place, gate):
    view = client.load_balanced_view()
    result = view.apply_async(tasks.pass_gate, str(gate))
    before = shown(result), shown(view.apply_async(tasks.noop).why())
    gate.touch()
    (name,) = result.msg_ids
    until(lambda: place.record(name)["state"] == "completed", "its end")

    assert before[0] == "<AsyncResult(pass_gate): pending>"
    assert before[1].endswith(".")
    assert repr(result) == "<AsyncResult(pass_gate): not known to have ended>"
    assert shown(result) == "<AsyncResult(pass_gate): finished>"


def test_ipython_shows_why_of_several_tasks_as_sentences(client):
    result = client.load_balanced_view().map_async(tasks.fail_odd, (1, 1, 1))
    result.wait()

    found = result.why()

    assert shown(found) == str(found)
    assert "failed: it raised ValueError: odd 1.\nLikewise " in str(found)


def test_ipython_shows_a_result_whose_hub_cannot_be_asked(client):
    result = client.load_balanced_view().with_flags(delay=60).apply_async(tasks.noop)
    client.abort(result)
    client.close()

    assert shown(result) == "<AsyncResult(noop): not known to have ended>"


def test_a_result_is_found_in_many_ways(rc, view):
    first = view.apply_async(tasks.double, 1)
    last = view.map_async(tasks.double, range(3), chunksize=2)

    assert rc.get_result(0).get() == 2
    assert rc.get_result().get() == [4]
    assert rc.get_result(first).get() == 2
    assert rc.get_result(last).get() == [[0, 2], [4]]
    assert rc.get_result([0, first.msg_ids[0], -1]).get() == [2, 2, [4]]


def test_a_task_that_is_asked_for_twice_is_there_twice(rc, view, gate):
    both = view.map_async(tasks.fail_odd, range(2))
    slow = view.apply_async(tasks.pass_gate, str(gate), 5)
    both.wait()
    good, bad = both.msg_ids

    result = rc.get_result([good, slow, good, slow])
    begun = repr(result)
    gate.touch()

    assert result.get(10) == [[0], 5, [0], 5]
    assert list(result) == result.get()
    assert begun.endswith(": 2 of 4 known to have ended>")
    assert result.progress == 4
    assert result.msg_ids == [good, *slow.msg_ids] * 2
    failed = rc.get_result([bad, good, bad])
    assert repr(failed).endswith("failed, 2 of 3>")


def test_what_is_done_to_tasks_named_twice_is_done_once(rc, view):
    waiting = view.with_flags(delay=60).apply_async(tasks.noop)
    first = view.apply_async(tasks.double, 1)
    first.wait()
    (name,), twice = waiting.msg_ids, rc.get_result([first, first])

    assert rc.abort([name, name]) == {name: "aborted"}
    assert rc.resubmit([first, first]).get(10) == [2]
    assert rc.resubmit(twice).get(10) == [2]
    assert rc.replay(ids=twice).get(10) == [2]
    assert rc.wait([first, twice])
    assert rc.purge_hub_results([waiting, twice, first]).purged == 2


def test_an_unknown_result_is_refused_at_once(rc):
    with pytest.raises(KeyError, match="abc-0: the hub has no such task"):
        rc.get_result("abc-0")
    with pytest.raises(error.TaskLost):
        rc.get_result(["abc-0"])
    with pytest.raises(IndexError):
        rc.get_result()


def test_two_results_of_one_task_both_arrive(rc, view, gate):
    one = view.apply_async(tasks.pass_gate, str(gate), 5)
    other = rc.get_result(one.msg_ids[0])
    gate.touch()

    assert other.get(10) == 5
    assert one.get(10) == 5


def test_history_and_outstanding(rc, view, gate):
    other = rc.load_balanced_view()
    first = view.apply_async(tasks.pass_gate, str(gate))
    second = other.apply_async(tasks.double, 1)
    second.wait()

    assert rc.history == first.msg_ids + second.msg_ids
    assert rc.outstanding == set(first.msg_ids)
    assert view.outstanding == set(first.msg_ids)
    assert other.outstanding == set()
    assert list(view.history) == first.msg_ids
    assert not rc.wait(timeout=0.01)
    assert not view.wait(timeout=0)
    assert rc.wait(second)
    assert rc.wait([second, "abc-9"], 1)
    gate.touch()
    assert rc.wait()
    assert view.wait()
    assert rc.outstanding == set()


def test_what_was_never_submitted_is_in_no_history(rc, view):
    with pytest.raises(TypeError):
        view.apply_async(5)
    with pytest.raises(TypeError, match="cannot pickle"):
        view.apply_async(tasks.double, tasks.unpicklable())
    view.map_async(tasks.double, [])

    assert rc.history == []
    assert list(view.history) == []
    assert rc.outstanding == set()


def test_engines_can_be_waited_for(place, face):
    rc = place.client(face)
    assert rc.ids == []
    with pytest.raises(error.NoEnginesRegistered, match="0 of 1"):
        rc.wait_for_engines(1, block=False)
    with pytest.raises(TimeoutError, match="0 of 1 engines have joined"):
        rc.wait_for_engines(1, timeout=0.05)

    place.engine()
    rc.wait_for_engines(1, timeout=10)
    place.engine()
    rc.wait_for_engines(2, timeout=10)

    assert rc.ids == [0, 1]


@pytest.mark.parametrize("n", ["a", None, 1.5])
def test_what_is_no_number_of_engines_is_refused_by_name(place, face, n):
    rc = place.client(face)

    with pytest.raises(TypeError) as refused:
        rc.wait_for_engines(n, timeout=0)

    kind = type(n).__name__
    assert str(refused.value) == f"n must be a whole number of engines, not {kind}"


def test_an_engine_that_joins_ends_the_waiting(place, face):
    rc = place.client(face)
    result = rc.load_balanced_view().apply_async(tasks.double, 1)

    place.engine()

    rc.wait_for_engines(1, timeout=10)
    assert result.get(10) == 2
