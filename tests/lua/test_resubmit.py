"""resubmit: ended tasks run once more, as new tasks."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import ok, unmet

FLAGS = {
    "queue": "night", "label": "of people", "retries": 2, "ttl": 5000,
}  # fmt: skip


def came(hub, now):
    """Return what a new engine takes."""
    hub.register(now, "e")
    return hub.take(now, "e")


def test_an_ended_task_runs_once_more_under_a_new_id(hub):
    hub.submit(1, "c-1", args=b"its arguments")
    hub.end(2, "ok")

    assert hub.resubmit(3, ("c-1", "d-1")) == ["d-1"]
    (work,) = came(hub, 4)

    assert (work.task_id, work.function, work.args) == ("d-1", "fn", b"its arguments")
    assert hub.state("c-1") == "completed"
    assert hub.record("d-1")["submitted"] == "3"


def test_both_know_of_each_other(hub):
    hub.submit(1, "c-1")
    hub.end(2, "error")

    hub.resubmit(3, ("c-1", "d-1"))

    assert hub.record("c-1")["resubmitted"] == "d-1"
    assert hub.record("d-1")["resubmit_of"] == "c-1"


def test_the_latest_of_several_is_remembered(hub):
    hub.submit(1, "c-1")
    hub.end(2, "error")

    hub.resubmit(3, ("c-1", "d-1"))
    hub.resubmit(4, ("c-1", "d-2"))

    assert hub.record("c-1")["resubmitted"] == "d-2"
    assert hub.ready() == ["d-1", "d-2"]


def test_what_the_signature_binds_is_the_first_ancestor(hub):
    hub.submit(1, "c-1", until=99)
    hub.end(2, "error")
    hub.resubmit(3, ("c-1", "d-1"))
    hub.end(4, "error")
    hub.resubmit(5, ("d-1", "d-2"))

    (work,) = came(hub, 6)

    assert (work.task_id, work.root, work.until) == ("d-2", "c-1", "99")


def test_all_flags_are_kept(hub):
    hub.submit(1, "c-1", **FLAGS)
    hub.abort(2, "c-1")

    hub.resubmit(3, ("c-1", "d-1"))

    kept = hub.record("d-1")
    assert {name: kept[name] for name in FLAGS} == {
        name: str(value) for name, value in FLAGS.items()
    }
    assert hub.ready("night") == ["d-1"]


def test_a_copy_stands_behind_what_was_submitted_and_before_what_is_less(hub):
    hub.submit(1, "c-1", "c-2", priority=5)
    hub.submit(1, "c-3")
    hub.abort(2, "c-1")
    hub.abort(2, "c-3")
    hub.submit(3, "c-4")

    hub.resubmit(4, ("c-3", "d-3"), ("c-1", "d-1"))

    assert hub.ready() == ["c-2", "d-1", "c-4", "d-3"]


def test_large_arguments_are_copied(hub):
    hub.submit(1, "c-1", args=b"x" * 5000)
    hub.end(2, "ok")

    hub.resubmit(3, ("c-1", "d-1"))
    hub.purge(4, "c-1")

    (work,) = came(hub, 5)
    assert work.args == b"x" * 5000


def test_a_function_is_kept_for_the_copy(hub):
    hub.submit(1, "c-1", "c-2")
    hub.abort(2, "c-1", "c-2")

    hub.resubmit(3, ("c-1", "d-1"), ("c-2", "d-2"))
    hub.purge(4, "c-1", "c-2")
    hub.sweep(4000000)

    assert hub.redis.exists(hub.key("fn", "fn"))


def test_arguments_and_their_time_can_be_said_anew(hub):
    hub.submit(1, "c-1", until=5)
    hub.end(2, "error")

    hub.resubmit(3, ("c-1", "d-1"), args=b"others" * 100, until=9)

    (work,) = came(hub, 4)
    assert (work.args, work.until, work.root) == (b"others" * 100, "9", "c-1")


@pytest.mark.parametrize(
    ("anew", "sentence"),
    [
        ({"label": "x"}, "this cannot be changed: label"),
        ({"state": "ready"}, "this cannot be changed: state"),
        ({"args": ""}, "no arguments, not even signed ones"),
        ({"until": "never"}, "flag until cannot be never"),
    ],
)
def test_what_cannot_be_said_anew_is_refused(hub, anew, sentence):
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    with hub.refuses(error.BadArgument, sentence):
        hub.resubmit(3, ("c-1", "d-1"), **anew)


def test_the_same_call_twice_changes_nothing(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "error")
    hub.resubmit(3, ("c-1", "d-1"), ("c-2", "d-2"))
    before = hub.dump()

    assert hub.resubmit(3, ("c-1", "d-1"), ("c-2", "d-2")) == ["d-1", "d-2"]
    assert hub.dump() == before


def test_a_copy_that_is_there_is_known_when_the_old_one_is_gone(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")
    hub.resubmit(3, ("c-1", "d-1"))
    hub.purge(4, "c-1")

    assert hub.resubmit(5, ("c-1", "d-1")) == ["d-1"]


def test_a_pending_task_is_refused_and_so_are_the_others(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok")

    with hub.refuses(error.TaskPending, "c-2 is ready: it has not ended"):
        hub.resubmit(3, ("c-1", "d-1"), ("c-2", "d-2"))


def test_a_task_that_is_none_is_refused_and_so_are_the_others(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    with hub.refuses(error.UnknownTask, "No such task: c-9"):
        hub.resubmit(3, ("c-1", "d-1"), ("c-9", "d-9"))


def test_a_new_id_that_is_another_task_is_refused(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "ok")

    with hub.refuses(error.SubmitConflict, "c-2 is known, and is no copy of c-1"):
        hub.resubmit(3, ("c-1", "c-2"))


@pytest.mark.parametrize("pairs", [
    [("c-1", "d-1"), ("c-1", "d-2")],
    [("c-1", "d-1"), ("c-2", "d-1")],
    [("c-1", "no id")],
    [("", "d-1")],
    [],
    [(f"c-{n}", f"d-{n}") for n in range(501)],
])  # fmt: skip
def test_a_call_that_is_none_is_refused(hub, pairs):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "ok")

    with hub.refuses(error.BadArgument):
        hub.resubmit(3, *pairs)


@pytest.mark.parametrize("arguments", [["c-1"], ["c-1", "d-1", "1"], ["c-1", "d", "x"]])
def test_arguments_without_their_number_are_refused(hub, arguments):
    with hub.refuses(error.BadArgument, "a task that is none at argument 2"):
        hub.do(calls.Call("resubmit", (3, *arguments), len))


def test_too_many_bytes_at_once_are_refused(hub):
    large = b"x" * 5_000_000
    hub.submit(1, "c-1", args=large)
    hub.submit(1, "c-2", args=large)
    hub.end(2, "ok", "ok")

    with hub.refuses(error.PayloadTooLarge, "arguments of 10000000 bytes"):
        hub.resubmit(3, ("c-1", "d-1"), ("c-2", "d-2"))


def test_one_task_may_have_any_size(hub):
    hub.submit(1, "c-1", args=b"x" * 9_000_000)
    hub.end(2, "ok")

    assert hub.resubmit(3, ("c-1", "d-1")) == ["d-1"]


def test_an_idle_engine_gets_the_copy_at_once(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")
    hub.join(3, "e")

    hub.resubmit(4, ("c-1", "d-1"))

    assert hub.assigned("e") == ["d-1"]


# -- what they depend on


def test_dependencies_are_judged_as_things_stand_now(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1")
    hub.submit(1, "c-4", after="as c-2")
    hub.end(2, "ok", "error", "ok")

    hub.resubmit(3, ("c-3", "d-3"), ("c-4", "d-4"))

    assert hub.state("d-3") == "ready"
    assert hub.record("d-3")["after"] == "as c-1"
    assert hub.state("d-4") == "failed"
    assert hub.record("d-4")["verdict"] == "impossible"
    assert hub.record("c-4")["resubmitted"] == "d-4"


def test_a_copy_waits_for_what_has_not_ended(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1")
    hub.end(2, "error")

    hub.resubmit(3, ("c-3", "d-3"), after="as c-2")
    assert hub.state("d-3") == "waiting"

    hub.end(4, "ok")
    assert hub.state("d-3") == "ready"


def test_a_copy_may_depend_on_a_copy_before_it(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.end(2, "error")

    said = {"c-2": {"after": "as d-1"}}
    hub.do(calls.resubmit([("c-1", "d-1"), ("c-2", "d-2")], said, now=3))

    assert (hub.state("d-1"), hub.state("d-2")) == ("ready", "waiting")
    hub.end(4, "ok", "ok")
    assert hub.state("d-2") == "completed"


def test_a_copy_may_depend_on_nothing_any_more(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1", refs="c-1")
    hub.end(2, "error")

    hub.resubmit(3, ("c-2", "d-2"), after="", refs="")

    assert hub.state("d-2") == "ready"
    assert not {"after", "refs"} & hub.record("d-2").keys()


def test_a_dependency_on_what_was_purged_resolves(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.end(2, "ok", "ok")
    hub.purge(3, "c-1")

    hub.resubmit(4, ("c-2", "d-2"))

    assert hub.state("d-2") == "ready"


def test_a_long_dependency_is_kept(hub):
    many = [f"c-{n}" for n in range(40)]
    hub.submit(1, *many)
    hub.submit(1, "d-1", after="as " + " ".join(many))
    hub.end(2, *["ok"] * 41)

    hub.resubmit(3, ("d-1", "d-2"))

    assert hub.record("d-2")["after"] == ""
    kept = hub.redis.get(hub.keys.task("d-2", "after")).decode()
    assert kept.split() == ["as", *many]


def test_its_place_is_kept(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", targets="1")
    (work,) = hub.take(3, "f")
    hub.turn(4, "f", 1, ok(work))

    hub.resubmit(5, ("c-1", "d-1"))

    assert hub.record("d-1")["targets"] == "1"
    assert (hub.assigned("e"), hub.assigned("f")) == ([], ["d-1"])


def test_its_waiting_budget_begins_anew(hub):
    hub.submit(1, "c-1", timeout=50)
    hub.sweep(100)
    assert hub.record("c-1")["verdict"] == "timeout"

    hub.resubmit(200, ("c-1", "d-1"))

    hub.sweep(249)
    assert hub.state("d-1") == "ready"
    hub.sweep(260)
    assert hub.record("d-1")["verdict"] == "timeout"


def test_parents_are_kept_for_the_copy(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1", refs="c-1")
    hub.end(2, "ok", "ok")

    hub.resubmit(3, ("c-2", "d-2"))
    hub.purge(4, "c-2")

    assert hub.record("c-1")["kept"] == "1"
    hub.abort(5, "d-2")
    hub.purge(6, "d-2")
    assert "kept" not in hub.record("c-1")


def test_engines_that_cannot_run_its_function_are_known(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 1, unmet(work, by="require"))
    hub.abort(5, "c-1")

    hub.resubmit(6, ("c-1", "d-1"))

    assert hub.ready("default", "!0") == ["d-1"]


def test_too_many_members_at_once_are_refused(hub):
    many = [f"c-{n}" for n in range(500)]
    hub.submit(1, *many)
    names = [f"d-{n}" for n in range(5)]
    for name in names:
        hub.submit(1, name, after="as " + " ".join(many))
    hub.abort(2, *names)

    with hub.refuses(error.BadArgument, "dependencies with 2500 members"):
        hub.resubmit(3, *[(name, f"e{name}") for name in names])


def test_members_that_were_told_later_are_kept(hub):
    members = ["c-1", "c-2", *[f"d-{n}" for n in range(20)]]
    hub.submit(1, *members)
    hub.submit(1, "c-3", after=f"as {' '.join(members)}", gate="c-9", later=1)
    hub.do(calls.link("c-3", "after", members[:2], now=2))
    hub.do(calls.link("c-3", "after", members[2:], now=2))
    hub.do(calls.open_gate("c-9", now=3))
    hub.abort(4, "c-3")
    hub.abort(4, "c-2")

    hub.resubmit(5, ("c-3", "e-3"))

    assert hub.record("e-3")["reason"] == "after c-2: aborted"
    kept = hub.redis.get(hub.keys.task("e-3", "after")).decode()
    assert kept.split() == ["as", *members]


def test_a_copy_may_stand_behind_a_gate(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1 c-2")
    hub.end(2, "ok", "ok", "ok")

    hub.resubmit(3, ("c-3", "d-3"), gate="d-9", later=1)
    assert hub.state("d-3") == "waiting"
    hub.do(calls.link("d-3", "after", ["c-1", "c-2"], now=4))
    hub.do(calls.open_gate("d-9", now=5))

    assert hub.state("d-3") == "ready"
    assert hub.record("d-3")["after"] == "as c-1 c-2"
    assert hub.resubmit(6, ("c-3", "d-3"), gate="d-9", later=1) == ["d-3"]


def test_a_copy_is_told_later_which_results_it_needs(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1 c-2", refs="c-1 c-2")
    hub.end(2, "ok", "ok", "ok")

    hub.resubmit(3, ("c-3", "d-3"), gate="d-9", later=1)
    assert [hub.record(name)["kept"] for name in ("c-1", "c-2")] == ["1", "1"]
    hub.do(calls.link("d-3", "refs:0", ["c-1", "c-2"], now=4))
    hub.do(calls.link("d-3", "after", ["c-1", "c-2"], now=4))
    hub.do(calls.open_gate("d-9", now=5))

    assert [hub.record(name)["kept"] for name in ("c-1", "c-2")] == ["2", "2"]
    assert hub.state("d-3") == "ready"


def test_a_copy_is_told_its_members_later_only_behind_a_gate(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    with hub.refuses(error.BadArgument, "only what stands behind a gate"):
        hub.resubmit(3, ("c-1", "d-1"), later=1)


def test_a_gate_is_no_task(hub):
    hub.submit(1, "c-1", gate="c-2")
    hub.abort(2, "c-2")

    with hub.refuses(error.UnknownTask, "No such task: c-2"):
        hub.resubmit(3, ("c-2", "d-2"))


def test_options_that_engines_obey_are_kept(hub):
    hub.submit(1, "c-1", until=5, opts="l100 oValueError")
    hub.submit(1, "c-2", opts="l100")
    hub.end(2, "error", "error")

    hub.resubmit(3, ("c-1", "d-1"), until=9)
    hub.resubmit(3, ("c-2", "d-2"), until=9)

    assert hub.record("d-1")["fn"] == "fn 9 l100 oValueError"
    assert hub.record("d-2")["fn"] == "fn 9 l100"


def test_copies_are_placed_in_their_order(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", targets="0")
    hub.submit(2, "c-2")
    for stamp in (3, 4):
        (work,) = hub.take(stamp, "e")
        hub.turn(stamp, "e", 0, ok(work))

    hub.do(calls.resubmit([("c-1", "c-3"), ("c-2", "c-4")], now=5))

    assert (hub.assigned("e"), hub.ready()) == (["c-3"], ["c-4"])
