"""Stored work runs once more, with what failed because of it, through both faces."""

from __future__ import annotations

import pytest

from redtask import error
from redtask.dependency import Ref
from redtask.replay import Replay, Wish
from tests import tasks


def id_of(result):
    (name,) = result.msg_ids
    return name


def fails(view, **flags):
    """Submit a task that fails, with arguments that it would not fail with."""
    return view.with_flags(**flags).apply_async(tasks.fail_odd, 3)


def test_what_a_query_means_runs_once_more(rc, view):
    good = view.with_flags(label="day 1").apply_async(tasks.double, 1)
    other = view.with_flags(label="day 2").apply_async(tasks.double, 2)
    bad = fails(view, label="day 1")
    rc.wait()

    plan = rc.replay_plan({"label": "day 1"})
    again = rc.replay({"label": "day 1"})

    assert plan == [id_of(good), id_of(bad)]
    assert again.get(return_exceptions=True)[0] == 2
    assert len(again) == 2
    assert rc.db_query({"resubmit_of": id_of(other)}) == []


def test_only_ended_ones_are_meant_by_a_query(rc, view, gate):
    done = view.apply_async(tasks.double, 1)
    done.get()
    pending = view.apply_async(tasks.pass_gate, str(gate), 0)

    assert rc.replay_plan({}) == [id_of(done)]
    assert rc.replay_plan({"state": "running"}) == []
    with pytest.raises(ValueError, match="has not ended"):
        rc.replay(ids=[done, pending])
    with pytest.raises(KeyError, match="No such task"):
        rc.replay(ids="nobody-1")
    gate.touch()
    pending.get()


def test_nothing_is_replayed_as_nothing(rc):
    assert rc.replay({"state": "failed"}).get() == []


def test_who_replays_says_what(rc):
    with pytest.raises(ValueError, match="choose what to replay"):
        rc.replay()
    with pytest.raises(ValueError, match="choose what to replay"):
        rc.replay({}, ids=[])
    with pytest.raises(KeyError, match="no key"):
        rc.replay({"colour": "red"})


def test_a_task_may_get_other_arguments(rc, view):
    bad = fails(view, label="x", retries=0)
    other = fails(view)
    rc.wait()

    again = rc.replay(ids=bad, args=(4,))

    assert again.get() == [4]
    assert rc.replay(ids=bad, args=[], kwargs={"x": 6}).get() == [6]
    assert rc.db_query({"resubmit_of": id_of(bad)}, "label")[0]["label"] == "x"
    with pytest.raises(ValueError, match="for one task, and 2 are chosen"):
        rc.replay(ids=[bad, other], args=(4,))


def test_what_failed_because_of_a_task_runs_with_it(rc, view):
    first = fails(view)
    second = view.with_flags(after=first).apply_async(tasks.double, 1)
    third = view.with_flags(after=[second]).apply_async(tasks.double, 2)
    unrelated = fails(view)
    rc.wait()
    assert rc.why(third).state == "failed"

    plan = rc.replay_plan(ids=first, downstream=True)
    told = []
    again = rc.replay(
        ids=first, downstream=True, args=(4,), progress=lambda *n: told.append(n)
    )

    assert plan == [id_of(first), id_of(second), id_of(third)]
    assert again.get() == [4, 2, 4]
    assert told == [(3, 3)]
    assert rc.db_query({"resubmit_of": id_of(unrelated)}) == []
    new = rc.db_query({"resubmit_of": id_of(third)}, "after")
    assert new[0]["after"] == [again.msg_ids[1]]


def test_without_downstream_it_runs_alone(rc, view):
    first = fails(view)
    second = view.with_flags(after=first).apply_async(tasks.double, 1)
    rc.wait()

    assert rc.replay_plan(ids=first) == [id_of(first)]
    rc.replay(ids=first, args=(4,)).get()

    assert rc.db_query({"resubmit_of": id_of(second)}) == []


def test_references_are_to_the_new_tasks(rc, view):
    fine = view.apply_async(tasks.double, 50)
    first = fails(view)
    second = view.apply_async(tasks.add, Ref(first), y=Ref(fine))
    third = view.apply_async(tasks.total, [Ref(second), 1])
    rc.wait()

    again = rc.replay(ids=first, downstream=True, args=(4,))

    assert again.get() == [4, 104, [105]]
    assert rc.db_query({"resubmit_of": id_of(fine)}) == []
    assert rc.why(third).resubmitted == again.msg_ids[2]


def test_references_of_a_map_are_to_the_new_tasks(rc, view):
    first = fails(view)
    items = [Ref(first), 5, 6]
    mapped = view.map(tasks.double, items, chunksize=3, block=False)
    rc.wait()

    again = rc.replay(ids=first, downstream=True, args=(4,))

    assert again.get() == [4, [8, 10, 12]]
    assert rc.replay_plan(ids=mapped) == mapped.msg_ids


def test_a_dependent_finds_what_was_resubmitted_before(rc, view):
    first = fails(view)
    second = view.apply_async(tasks.double, Ref(first))
    rc.wait()
    rc.replay(ids=first, args=(5,)).wait()
    newer = rc.replay(ids=rc.why(first).resubmitted, args=(6,))
    newer.get()

    assert rc.replay(ids=second).get() == [12]


def test_a_dependent_waits_for_the_new_run_of_what_was_replayed_in_vain(rc, view):
    first = fails(view)
    second = view.apply_async(tasks.double, Ref(first))
    rc.wait()
    newer = rc.replay(ids=first)
    newer.wait()

    again = rc.replay(ids=[second, newer])

    assert rc.replay_plan(ids=[second, newer]) == [*newer.msg_ids, id_of(second)]
    (record,) = rc.db_query({"resubmit_of": id_of(second)}, "after")
    assert record["after"] == [again.msg_ids[0]]


def test_of_several_runs_of_a_dependent_only_the_latest_runs_again(rc, view):
    first = fails(view)
    second = view.apply_async(tasks.double, Ref(first))
    last = view.apply_async(tasks.double, Ref(second))
    rc.wait()
    in_vain = rc.replay(ids=second)
    in_vain.wait()

    again = rc.replay(ids=first, downstream=True, args=(4,))

    assert again.get() == [4, 8, 16]
    (record,) = rc.db_query({"resubmit_of": in_vain.msg_ids[0]})
    assert record["msg_id"] == again.msg_ids[1]
    assert len(rc.db_query({"resubmit_of": id_of(last)})) == 1


def test_what_failed_because_of_an_earlier_run_is_downstream_of_a_later_one(rc, view):
    first = fails(view)
    second = view.apply_async(tasks.double, Ref(first))
    third = view.apply_async(tasks.double, Ref(first))
    rc.wait()
    once = rc.replay(ids=first)
    once.wait()
    twice, other = rc.replay(ids=once), rc.replay(ids=third)
    twice.wait()
    other.wait()

    again = rc.replay(ids=twice, downstream=True, args=(4,))

    assert again.get() == [4, 8, 8]
    latest = (id_of(second), *other.msg_ids)
    copies = [rc.db_query({"resubmit_of": name})[0]["msg_id"] for name in latest]
    assert sorted(copies) == sorted(again.msg_ids[1:])


def test_so_it_is_of_very_many(rc, view):
    firsts = [fails(view) for _ in range(45)]
    children = [view.apply_async(tasks.double, Ref(one)) for one in firsts]
    rc.wait()
    once = rc.replay(ids=firsts)
    once.wait()

    plan = rc.replay_plan(ids=once, downstream=True)

    assert set(plan) == {*once.msg_ids, *map(id_of, children)}


def test_other_arguments_may_refer_to_tasks(rc, view):
    one, other = (view.apply_async(tasks.double, x) for x in (1, 2))
    plain = fails(view)
    needs = view.with_flags(after=one).apply_async(tasks.double, Ref(one))
    rc.wait()

    assert rc.replay(ids=plain, args=(Ref(one),)).get() == [2]
    assert rc.replay(ids=needs, args=(Ref(other),)).get() == [8]
    assert rc.replay(ids=needs, args=(7,)).get() == [14]


def test_a_reference_cannot_be_added_to_just_any_dependency(rc, view):
    from redtask.dependency import Dependency  # noqa: PLC0415

    one = view.apply_async(tasks.double, 1)
    flags = {"after": Dependency([id_of(one)], all=False)}
    old = view.with_flags(**flags).apply_async(tasks.double, 2)
    other = view.apply_async(tasks.double, 3)
    rc.wait()

    with pytest.raises(ValueError, match="a Ref cannot be added"):
        rc.replay(ids=old, args=(Ref(other),))


def test_what_nobody_signed_is_not_rewired(rc, view, place):
    first = fails(view)
    second = view.apply_async(tasks.double, Ref(first))
    rc.wait()
    place.redis.set(place.keys.task(id_of(second), "args"), b"x" * 100)

    with pytest.raises(error.SignatureError):
        rc.replay(ids=first, downstream=True, args=(4,))


def test_a_long_chain_is_replayed_in_slices(rc, view):
    results = [fails(view)]
    for _ in range(600):
        last = results[-1]
        results.append(view.with_flags(after=last).apply_async(tasks.noop))
    rc.wait()

    again = rc.replay(ids=results[0], downstream=True, args=(4,))

    assert again.get() == [4] + [None] * 600


def test_a_task_behind_thousands_of_others_is_replayed(rc, view):
    bad = fails(view)
    many = view.map(tasks.noop, range(2500), block=False)
    last = view.with_flags(after=[many, bad]).apply_async(tasks.double, 1)
    rc.wait()

    again = rc.replay(ids=bad, downstream=True, args=(4,))

    assert again.get() == [4, 2]
    (record,) = rc.db_query({"msg_id": again.msg_ids[1]}, "after")
    assert record["after"] == [*many.msg_ids, again.msg_ids[0]]
    assert rc.replay(ids=last).get(return_exceptions=True)[0] == 2


def test_why_is_told_of_results(rc, view, gate):
    pending = view.apply_async(tasks.pass_gate, str(gate), 1)
    waits = view.with_flags(after=pending).apply_async(tasks.noop)

    assert [one.task_id for one in waits.why().members] == pending.msg_ids
    assert rc.why(waits).state == rc.why(id_of(waits)).state == "waiting"
    assert rc.why(-1).task_id == waits.why().task_id
    with pytest.raises(ValueError, match="one task at a time, not 2"):
        rc.why([pending, waits])
    with pytest.raises(KeyError, match="No such task: nobody-1"):
        rc.why("nobody-1")
    gate.touch()
    waits.get()
    mapped = view.map(tasks.double, range(2), block=False)
    mapped.get()
    assert [one.state for one in mapped.why()] == ["completed"] * 2


def test_some_arguments_can_be_edited(rc, view):
    first = fails(view)
    view.apply_async(tasks.add, Ref(first), 100)
    rc.wait()

    again = rc.replay(ids=first, downstream=True, edit={"x": 4})

    assert again.get() == [4, 104]
    # What was edited is kept, and edited again.
    (newer,) = rc.replay(ids=again.msg_ids[1], edit={"y": 1}).get()
    assert newer == 5
    assert rc.replay(
        {"function": "fail_odd", "state": "failed"}, edit={"0": 6}
    ).get() == [6]


def test_positions_of_edits_are_numbers_or_texts(rc, view):
    done = view.apply_async(tasks.add, 1, 2)
    rc.wait()

    assert rc.replay(ids=done, edit={0: -77, "1": 7}).get() == [-70]
    for wrong in ({-1: 0}, {True: 0}, {1.5: 0}):
        with pytest.raises((ValueError, TypeError), match="neither the name of an arg"):
            rc.replay(ids=done, edit=wrong)


def test_what_cannot_be_edited_is_refused_before_anything_runs(rc, view):
    mapped = view.map(tasks.double, [1, 2], chunksize=2, block=False)
    mapped.get()
    count = len(rc.hub_history())

    with pytest.raises(ValueError, match="a chunk of a map"):
        rc.replay(ids=mapped, edit={"x": 1})
    with pytest.raises(TypeError, match="the value of x is not JSON"):
        rc.replay(ids=mapped, edit={"x": object()})
    with pytest.raises(ValueError, match="neither the name of an arg"):
        rc.replay(ids=mapped, edit={"x y": 1})
    with pytest.raises(ValueError, match="not both"):
        rc.replay(ids=mapped, edit={"x": 1}, args=(1,))
    assert len(rc.hub_history()) == count


def test_a_plan_with_a_chunk_of_a_map_is_none_if_arguments_are_edited(client):
    view = client.load_balanced_view()
    single = [view.apply_async(tasks.double, x) for x in range(3)]
    mapped = view.map_async(tasks.double, [1, 2], chunksize=2)
    client.wait()

    replay = Replay(client._session, Wish({}, edit={"x": 1}))

    with pytest.raises(ValueError, match=f"{id_of(mapped)}: it is a chunk of a map"):
        client._run(replay.plan())
    one_by_one = Replay(client._session, Wish(ids=single, edit={"x": 1}))
    assert len(client._run(one_by_one.plan())) == 3


def test_a_replay_may_go_in_small_steps(client):
    view = client.load_balanced_view()
    done = view.map_async(tasks.double, range(5))
    done.get()
    seen = []

    replay = Replay(client._session, Wish(ids=done))
    client._run(replay.run(lambda *steps: seen.append(steps), at_once=2))

    assert seen == [(2, 5), (4, 5), (5, 5)]


def replay_and_purge(client, other, wish, gone):
    """Run a replay two by two; another client purges a task after the first step."""
    steps: list[tuple[int, int]] = []

    def progress(*numbers):
        if not steps:
            other.purge_results(gone)
        steps.append(numbers)

    replay = Replay(client._session, wish)
    return replay, client._run(replay.run(progress, at_once=2)), steps


@pytest.mark.parametrize("edit", [None, {"x": 7}])
def test_of_a_query_what_is_gone_by_then_is_left_out(client, place, edit):
    view = client.load_balanced_view()
    ids = [id_of(view.apply_async(tasks.double, x)) for x in range(5)]
    client.wait()

    replay, new, steps = replay_and_purge(
        client, place.client(), Wish({}, edit=edit), ids[3]
    )

    assert replay.gone == [ids[3]]
    values = [0, 2, 4, 8] if edit is None else [14] * 4
    assert client.get_result(list(new.ids)).get() == values
    assert len(new.ids) == 4
    assert steps == [(2, 5), (3, 4), (4, 4)]


def test_what_is_gone_before_it_is_looked_at_is_left_out_of_a_plan(client):
    done = client.load_balanced_view().apply_async(tasks.double, 1)
    client.wait()
    wish = Wish(ids=[id_of(done), "nobody-1"], matched=True)

    replay = Replay(client._session, wish)
    plan = client._run(replay.plan())
    nobody = Replay(client._session, Wish(ids=["nobody-1"], matched=True))

    assert ([copy.old for copy in plan], replay.gone) == ([id_of(done)], ["nobody-1"])
    assert client._run(nobody.run()).ids == ()


def test_of_named_tasks_all_run_or_none(client, place):
    view = client.load_balanced_view().with_flags(queue="idle")
    ids = [id_of(view.apply_async(tasks.double, x)) for x in range(5)]
    client.abort(ids)

    with pytest.raises(error.UnknownTask, match=f"No such task: {ids[3]}"):
        replay_and_purge(client, place.client(), Wish(ids=ids), ids[3])

    copies = client.db_query({"resubmit_of": {"$in": ids}}, "state")
    assert [one["state"] for one in copies] == ["aborted"] * 2


@pytest.mark.parametrize(("keep", "state"), [(True, "ready"), (False, "aborted")])
def test_what_has_entered_before_an_error_may_be_kept(client, keep, state):
    view = client.load_balanced_view().with_flags(queue="idle")
    ids = [id_of(view.apply_async(tasks.double, x)) for x in range(5)]
    client.abort(ids)

    def fail(*_numbers):
        raise error.SignatureError

    replay = Replay(client._session, Wish({}))
    with pytest.raises(error.SignatureError):
        client._run(replay.run(fail, at_once=2, keep=keep))

    copies = client.db_query({"resubmit_of": {"$in": ids}}, "state")
    assert [one["state"] for one in copies] == [state] * 2
    client.abort()


def test_what_depends_on_a_task_that_is_gone_by_then_depends_on_its_last_run(
    client, place
):
    view = client.load_balanced_view()
    ids = [id_of(view.apply_async(tasks.double, x)) for x in range(2)]
    bad = fails(view)
    child = view.with_flags(after=bad).apply_async(tasks.noop)
    client.wait()
    wish = Wish(ids=[*ids, id_of(bad), id_of(child)], matched=True)

    replay, new, _ = replay_and_purge(client, place.client(), wish, id_of(bad))

    *values, problem = client.get_result(list(new.ids)).get(return_exceptions=True)
    assert (replay.gone, values) == ([id_of(bad)], [0, 2])
    assert isinstance(problem, error.ImpossibleDependency)
    assert id_of(bad) in str(problem)
