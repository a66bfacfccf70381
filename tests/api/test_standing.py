"""How things stand: queries of engines and tasks, through both faces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from redtask import error
from tests import tasks


def test_the_queue_status_counts_what_is_true(rc, view, gate):
    done = view.apply_async(tasks.double, 1)
    done.get()
    held = [view.apply_async(tasks.pass_gate, str(gate), 0) for _ in range(2)]
    waits = view.apply_async(tasks.double, 2)

    status = rc.queue_status()

    assert status.pop("unassigned") == 1
    assert sorted(status) == [0, 1]
    assert [about["tasks"] for about in status.values()] == [1, 1]
    assert [about["queue"] for about in status.values()] == [0, 0]
    assert sum(about["completed"] for about in status.values()) == 1
    gate.touch()
    rc.wait([*held, waits])


def test_a_verbose_queue_status_names_the_tasks(rc, view, gate):
    done = view.apply_async(tasks.double, 1)
    done.get()
    held = [view.apply_async(tasks.pass_gate, str(gate), 0) for _ in range(2)]
    waits = view.apply_async(tasks.double, 2)

    status = rc.queue_status(verbose=True)

    assert status["unassigned"] == waits.msg_ids
    assert sorted(status[0]["tasks"] + status[1]["tasks"]) == sorted(
        name for one in held for name in one.msg_ids
    )
    assert status[done.metadata.engine_id]["completed"] == done.msg_ids
    gate.touch()
    rc.wait([*held, waits])


def test_the_status_of_one_engine_is_its_own(rc, view):
    assert rc.queue_status(0) == {"queue": 0, "completed": 0, "tasks": 0}
    assert set(rc.queue_status([1])) == {1, "unassigned"}
    assert view.queue_status() == rc.queue_status("all")
    assert view.queue_status(1) == rc.queue_status(1)
    with pytest.raises(IndexError, match="there is no engine 7"):
        rc.queue_status(7)
    with pytest.raises(KeyError, match="there is no engine 7"):
        rc.queue_status([0, 7])


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (True, "bool"),
        ([0, False], "bool"),
        (1.5, "float"),
        (b"abc", "bytes"),
        ([[1]], "list"),
    ],
)
def test_what_is_no_engine_is_refused_by_name(rc, targets, kind):
    words = f"targets must be 'all' or ids of engines, not {kind}"
    with pytest.raises(TypeError, match=words):
        rc.queue_status(targets)
    with pytest.raises(TypeError, match="targets must be"):
        rc.purge_results(targets=targets)
    for act in (rc.drain, rc.resume, rc.shutdown, rc.stacks):
        words = f"targets must be 'all', or ids or uuids of engines, not {kind}"
        with pytest.raises(TypeError, match=words):
            act(targets)
    with pytest.raises(TypeError, match="targets must be"):
        rc.send_signal("INT", targets)

    assert len(rc.ids) == 2


def test_a_name_is_no_engine_either(rc):
    with pytest.raises(TypeError, match=r"targets must be .* not 'abc'"):
        rc.queue_status("abc")
    with pytest.raises(TypeError, match=r"targets must be .* not 'abc'"):
        rc.queue_status([0, "abc"])
    with pytest.raises(IndexError, match="there never was an engine abc"):
        rc.purge_results(targets="abc")
    with pytest.raises(KeyError, match="there is no engine abc"):
        rc.drain("abc")


def test_true_and_false_are_no_positions(rc, view):
    first = view.apply_async(tasks.double, 1)
    view.apply_async(tasks.double, 2).wait()
    first.wait()

    for wanted in (True, False, [True], (0, False)):
        with pytest.raises(TypeError, match="jobs are ids, positions or results"):
            view.get_result(wanted)
        with pytest.raises(TypeError, match="jobs are ids, positions or results"):
            rc.get_result(wanted)


@pytest.mark.parametrize("name", ["\ud800-1", "no id", "", "c" * 99 + "-1"])
def test_what_is_no_id_is_unknown(rc, view, name):
    known = view.apply_async(tasks.double, 1)
    known.wait()

    asks = (rc.get_result, rc.why, rc.result_status, rc.resubmit, view.get_result)
    for ask in asks:
        with pytest.raises(KeyError, match=r"(?i)no such task"):
            ask(name)
    with pytest.raises(KeyError):
        rc.get_result([*known.msg_ids, name])
    for downstream in (False, True):
        with pytest.raises(KeyError, match="No such task"):
            rc.replay(ids=[name], downstream=downstream)
    assert rc.abort([*known.msg_ids, name]) == {
        known.msg_ids[0]: "ended",
        name: "unknown",
    }
    assert rc.abort(name, dependents=True) == {name: "unknown"}
    assert rc.wait([*known.msg_ids, name], 10)
    assert rc.purge_results([*known.msg_ids, name]).purged == 1
    assert rc.db_query({"msg_id": name}) == []


def test_an_engine_that_left_is_not_listed(place):
    rc = place.client()
    engine = place.engine()
    place.engine()
    engine.stop()

    assert sorted(rc.queue_status(), key=str) == [1, "unassigned"]


def test_the_result_status_parts_what_has_ended(rc, view, gate):
    done = view.apply_async(tasks.double, 3)
    done.get()
    pending = view.apply_async(tasks.pass_gate, str(gate), 0)

    assert rc.result_status([done, pending]) == {
        "status": "ok",
        "pending": pending.msg_ids,
        "completed": done.msg_ids,
    }
    assert rc.result_status(pending.msg_ids[0], False)["completed"] == []
    assert rc.result_status(0, status_only=False)[done.msg_ids[0]] == 6
    with pytest.raises(KeyError, match="nobody-1: the hub has no such task"):
        rc.result_status([done, "nobody-1"])


def test_the_result_status_raises_what_failed(rc, view):
    bad = [view.apply_async(tasks.fail, x) for x in (1, 2)]
    rc.wait()

    assert len(rc.result_status(bad)["completed"]) == 2
    with pytest.raises(error.RemoteError, match="no 1"):
        rc.result_status(bad[0], status_only=False)
    with pytest.raises(error.CompositeError, match="no 2"):
        rc.result_status(bad, status_only=False)


def test_the_history_of_the_hub_is_of_all_clients(rc, view, place, face):
    other = place.client(face)
    ids = []
    for some in (view, other.load_balanced_view(), view):
        ids += some.map(tasks.double, range(3), block=False).msg_ids
        some.wait()

    assert rc.hub_history() == ids
    assert other.hub_history() == ids


def test_a_query_finds_what_it_means(rc, view, gate):
    before = datetime.now(UTC) - timedelta(seconds=60)
    good = view.with_flags(label="day 1").apply_async(tasks.double, 1)
    bad = view.with_flags(label="day 2", priority=5).apply_async(tasks.fail, 7)
    rc.wait()
    held = [view.apply_async(tasks.pass_gate, str(gate), 0) for _ in range(2)]
    ready = view.with_flags(queue="nobody").apply_async(tasks.double, 1)

    def found(**query):
        return [name for one in rc.db_query(query) for name in [one["msg_id"]]]

    assert found(label="day 1") == good.msg_ids
    assert found(label={"$glob": "day *"}) == good.msg_ids + bad.msg_ids
    assert found(state="failed") == bad.msg_ids
    assert found(status="ok") == good.msg_ids
    assert found(state="ready") == ready.msg_ids
    assert found(state={"$in": ["running", "assigned"]}) == [
        name for one in held for name in one.msg_ids
    ]
    assert found(completed=None, queue={"$ne": "default"}) == ready.msg_ids
    assert found(submitted={"$lt": before}) == []
    assert len(found(submitted={"$gte": before})) == 5
    assert found(completed={"$gte": before}, function="double") == good.msg_ids
    assert found(msg_id=bad.msg_ids[0]) == bad.msg_ids
    assert found(msg_id={"$in": [*bad.msg_ids, "nobody-1"]}) == bad.msg_ids
    assert found(msg_id=None) == []
    assert found(msg_id=f"{ready.msg_ids[0]}:dependents") == []
    assert found(engine_id=good.metadata.engine_id, state="completed") == good.msg_ids
    assert found(ename="ValueError", error={"$glob": "Value*"}) == bad.msg_ids
    assert found(client_uuid="nobody") == []
    assert len(found()) == 5
    gate.touch()
    rc.wait(held)
    rc.abort(ready)


def test_a_record_has_the_keys_of_the_reference_and_ours(rc, view):
    result = view.with_flags(label="x").apply_async(tasks.double, 4)
    result.get()

    (record,) = rc.db_query({})

    assert record["msg_id"] == result.msg_ids[0]
    assert record["header"]["date"] == record["submitted"] == result.metadata.submitted
    assert record["completed"] == result.metadata.completed
    assert record["metadata"]["label"] == record["label"] == "x"
    assert record["result_content"] == {"status": "ok"}
    assert (record["function"], record["module"]) == ("double", "tests.tasks")
    assert record["engine_id"] == result.metadata.engine_id
    assert record["after"] == record["follow"] == []
    assert record["targets"] is None
    assert "buffers" not in record


def test_a_failed_record_says_why(rc, view):
    view.apply_async(tasks.fail, 7).wait()

    (record,) = rc.db_query({"status": "error"})

    assert record["result_content"]["ename"] == "ValueError"
    assert (record["tries"], record["ename"]) == (1, "ValueError")


def test_the_keys_of_a_record_can_be_chosen(rc, view):
    result = view.apply_async(tasks.double, b"x" * 500)
    result.get()

    assert rc.db_query({}, "label") == [{"msg_id": result.msg_ids[0], "label": None}]
    (record,) = rc.db_query({}, keys=["buffers", "result_buffers"])
    assert sorted(record) == ["buffers", "msg_id", "result_buffers"]
    assert [len(one) > 500 for one in record["buffers"] + record["result_buffers"]] == [
        True, True,
    ]  # fmt: skip


def test_a_query_that_is_none_is_an_error(rc):
    with pytest.raises(KeyError, match="no key 'colour'"):
        rc.db_query({"colour": "red"})
    with pytest.raises(KeyError, match="no key 'colour'"):
        rc.db_query({}, keys="colour")
    with pytest.raises(KeyError, match="no operator"):
        rc.db_query({"label": {"$like": "x"}})


def test_a_listing_pages(rc, view):
    many = view.map(tasks.double, range(1700), block=False)
    many.get()

    assert rc.hub_history() == many.msg_ids
    assert len(rc.db_query({"status": "ok"}, keys="label")) == 1700


def test_one_waits_for_everything_under_a_bar(client, gate):
    view = client.load_balanced_view()
    client.wait_interactive()
    result = view.apply_async(tasks.pass_gate, str(gate), 5)

    client.wait_interactive(timeout=0.01)
    assert not result.done()
    gate.touch()
    client.wait_interactive(interval=0.01)
    client.wait_interactive(result)

    assert client.outstanding == set()
