"""Ended tasks run once more, or are forgotten, through both faces."""

from __future__ import annotations

import time

import pytest

import redtask
from redtask import error
from redtask.dependency import Ref
from redtask.hub.records import Purged
from tests import tasks


def test_a_task_runs_once_more_under_a_new_id(rc, view, place):
    old = view.with_flags(label="mine", retries=3).apply_async(tasks.double, 4)
    old.get()

    again = rc.resubmit(old.msg_ids[0])

    assert again.get() == [8]
    assert again.msg_ids != old.msg_ids
    assert rc.history[-1] == again.msg_ids[0]
    record = place.record(again.msg_ids[0])
    assert (record["label"], record["retries"]) == ("mine", "3")
    assert record["resubmit_of"] == old.msg_ids[0]


def test_a_copy_of_a_copy_runs_too(rc, view):
    first = view.apply_async(tasks.double, 4)
    first.get()

    second = rc.resubmit(first)
    second.get()
    third = rc.resubmit(second)

    assert third.get() == [8]


def test_the_latest_is_meant_when_nothing_is_said(rc, view):
    view.apply_async(tasks.double, 1).get()
    view.apply_async(tasks.double, 2).get()

    assert rc.resubmit().get() == [4]
    assert rc.resubmit(0).get() == [2]


def test_many_run_once_more_in_slices(rc, view):
    old = view.map(tasks.double, range(1100), block=False, chunksize=1)
    old.get()

    again = rc.resubmit([*old.msg_ids, old.msg_ids[0]])

    assert again.get() == [[2 * x] for x in range(1100)]


def test_large_arguments_are_there_once_more(rc, view):
    old = [view.apply_async(len, bytes(3_000_000)) for _ in range(4)]
    rc.wait()

    assert rc.resubmit(old).get() == [3_000_000] * 4


def test_a_failed_task_fails_again(rc, view):
    old = view.apply_async(tasks.fail, 7)
    old.wait()

    again = rc.resubmit(old, block=True)

    with pytest.raises(error.CompositeError, match="no 7"):
        again.get(0)


def test_an_aborted_task_runs(rc, view, gate):
    held = [view.apply_async(tasks.pass_gate, str(gate), 0) for _ in range(2)]
    last = view.apply_async(tasks.double, 3)
    rc.abort(last)

    again = rc.resubmit(last)
    gate.touch()

    assert again.get() == [6]
    rc.wait(held)


def test_all_or_none_run_once_more(rc, view, gate):
    done = view.apply_async(tasks.double, 1)
    done.get()
    pending = view.apply_async(tasks.pass_gate, str(gate), 0)
    before = rc.hub_history()

    with pytest.raises(ValueError, match=f"{pending.msg_ids[0]} is .*: it has not"):
        rc.resubmit([done, pending])
    with pytest.raises(KeyError, match="No such task: nobody-7"):
        rc.resubmit([done, "nobody-7"])
    with pytest.raises(KeyError, match="No such task: 'any thing'"):
        rc.resubmit(["any thing"])
    with pytest.raises(IndexError):
        rc.resubmit(99)

    assert rc.hub_history() == before


def test_work_whose_time_is_over_is_signed_anew(rc, view, place, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("redtask.mint._DAY", -100 * 86400.0)
        old = view.apply_async(tasks.double, 4)
    with pytest.raises(error.RemoteError, match=r"it was to begin by .*: resubmit it"):
        old.get()

    again = rc.resubmit(old)

    assert again.get() == [8]
    then = int(place.record(old.msg_ids[0])["fn"].split()[1])
    now = int(place.record(again.msg_ids[0])["fn"].split()[1])
    assert now >= then + 101 * 24 * 60


def test_what_runs_again_may_begin_as_late_as_it_might_at_first(
    rc, view, place, monkeypatch
):
    own = view.with_flags(retries=2, retry_delay=86400, result_ttl=3 * 86400)
    with monkeypatch.context() as earlier:
        earlier.setattr("redtask.mint.LONGEST_WAIT", 20 * 86400.0)
        old = own.apply_async(tasks.double, 4)
    old.wait()

    again = rc.resubmit(old)

    now = int(place.record(again.msg_ids[0])["fn"].split()[1]) * 60
    assert now == pytest.approx(time.time() + 95 * 86400, abs=120)


def test_what_nobody_signed_is_not_signed_anew(rc, view, place, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("redtask.mint._DAY", -100 * 86400.0)
        old = view.apply_async(tasks.double, 4)
    old.wait()
    place.redis.hset(place.keys.task(old.msg_ids[0]), "args", b"x" * 40)

    with pytest.raises(error.SignatureError):
        rc.resubmit(old)


def test_purged_results_are_gone(rc, view):
    kept, gone = view.apply_async(tasks.double, 1), view.apply_async(tasks.double, 2)
    assert (kept.get(), gone.get()) == (2, 4)

    assert rc.purge_results(gone) == Purged(1)

    assert rc.hub_history() == kept.msg_ids
    with pytest.raises(KeyError, match="the hub has no such task"):
        rc.get_result(gone.msg_ids[0])
    with pytest.raises(KeyError, match="No such task"):
        rc.resubmit(gone)
    assert gone.get() == 4


def test_many_are_purged_in_slices_and_by_engine(rc, view):
    many = view.map(tasks.double, range(1200), block=False)
    many.get()
    single = view.apply_async(tasks.double, 1)
    single.get()
    others = {0, 1} - {single.metadata.engine_id}

    first = rc.purge_hub_results(targets=list(others))
    second = rc.purge_hub_results(targets=single.metadata.engine_id)

    assert first.purged + second.purged == 1201
    assert rc.hub_history() == []


def test_all_can_be_purged(rc, view):
    many = view.map(tasks.double, range(600), block=False)
    many.get()

    assert rc.purge_everything() == Purged(600)
    assert rc.hub_history() == []
    assert rc.history == []
    assert rc.purge_hub_results("all") == Purged(0)


def chain(*views):
    """Submit calls of which each needs the result of the one before."""
    results: list[redtask.AsyncResult] = []
    for each in views:
        needed = Ref(results[-1]) if results else 1
        results.append(each.apply_async(tasks.double, needed))
    assert results[-1].get(10) == 2 ** len(views)
    return [name for result in results for name in result.msg_ids]


@pytest.mark.parametrize("count", [4, 501])
def test_what_only_purged_ones_need_is_purged(rc, view, count):
    ids = chain(*[view] * count)

    assert rc.purge_results(ids[:-1]) == Purged(0, count - 1)
    assert rc.purge_results(ids) == Purged(count)
    assert rc.hub_history() == []


def test_all_are_purged_whoever_needs_them(rc, view, place, face):
    other = place.client(face).load_balanced_view()
    ids = chain(view, other, view, view, other, view)

    assert rc.purge_everything() == Purged(len(ids))
    assert rc.hub_history() == []


def test_who_needs_very_many_results_runs_again_and_is_purged(rc, view):
    first = view.map_async(tasks.noop, range(700), chunksize=1)
    second = view.apply_async(len, [Ref(name) for name in first.msg_ids])
    assert second.get(100) == 700

    again = rc.resubmit(second)

    assert again.get(100) == [700]
    assert rc.purge_hub_results([*second.msg_ids, *again.msg_ids]) == Purged(2)
    assert rc.purge_hub_results(first.msg_ids) == Purged(700)


def test_what_is_kept_is_counted_once(rc, view, gate):
    _, needed = chain(view, view)
    view.apply_async(tasks.pass_gate, str(gate), Ref(needed))

    assert rc.purge_hub_results("all") == Purged(0, 2)


def test_pending_ones_are_not_purged(rc, view, gate, place, face):
    pending = view.apply_async(tasks.pass_gate, str(gate), 0)
    other = place.client(face)

    with pytest.raises(RuntimeError, match="Can't purge outstanding tasks"):
        rc.purge_results(pending)
    with pytest.raises(RuntimeError, match="Can't purge outstanding tasks"):
        rc.purge_local_results("all")
    with pytest.raises(ValueError, match="has not ended"):
        other.purge_results(pending.msg_ids)
    with pytest.raises(ValueError, match="has not ended"):
        rc.purge_hub_results([*[f"nobody-{n}" for n in range(600)], *pending.msg_ids])

    assert other.purge_results("all") == Purged(0)


def test_who_purges_says_what(rc, view):
    nothings: list[tuple[object, ...]] = [(), ([],), (None, None)]
    for nothing in nothings:
        with pytest.raises(ValueError, match="Must specify at least one"):
            rc.purge_results(*nothing)
    with pytest.raises(TypeError, match="jobs must be a list, not tuple_iterator"):
        rc.purge_results(iter(("nobody-1",)))
    with pytest.raises(TypeError, match="jobs are ids, positions or results"):
        rc.purge_results(1.5)
    with pytest.raises(IndexError, match="there never was an engine 7"):
        rc.purge_results(targets=7)
    with pytest.raises(IndexError, match="there never was an engine x"):
        rc.purge_results(targets=["x"])
    assert rc.purge_results("nobody-1") == Purged(0)
    assert rc.purge_results(targets=0) == Purged(0)


def test_a_view_purges_what_its_engines_did(rc, view):
    view.apply_async(tasks.double, 1).get()

    assert view.purge_results(targets="all") == Purged(1)
    assert view.purge_results(targets=None) == Purged(0)
