"""purge: ended tasks are forgotten before their time."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group
from redtask.hub.records import Purged, Submitted


def test_an_ended_task_is_forgotten_with_all_that_stands_beside_it(hub):
    hub.submit(1, "c-1", args=b"x" * 100, retries=1)
    hub.end(2, "error", "ok")

    assert hub.purge(3, "c-1") == Purged(1)
    assert hub.tasks() == {}
    assert not list(hub.redis.scan_iter(hub.key("task", "*")))
    assert not hub.redis.exists(hub.key("ended", "completed"))


def test_how_it_ended_is_remembered(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.abort(1, "c-3")
    hub.end(2, "ok", "error")

    hub.purge(3, "c-1", "c-2", "c-3")

    assert sorted(hub.gone_tasks()) == ["ac-3", "cc-1", "fc-2"]


def test_no_more_tombstones_are_kept_than_100_000(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "ok")
    for start in range(0, 100_000, 10_000):
        old = {f"cx-{n}": 1 + n / 1e6 for n in range(start, start + 10_000)}
        hub.redis.zadd(hub.key("gone"), old)

    hub.purge(3, "c-1", "c-2")

    assert hub.redis.zcard(hub.key("gone")) == 100_000
    assert hub.gone_tasks()[0] == "cx-2"
    assert hub.gone_tasks()[-2:] == ["cc-1", "cc-2"]


def test_its_function_is_needed_no_longer(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "ok")

    hub.purge(3, "c-1", "c-2")
    hub.sweep(4_000_000)

    assert not hub.redis.exists(hub.key("fn", "fn"))


@pytest.mark.parametrize("state", ["ready", "running"])
def test_a_pending_one_refuses_all(hub, state):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok")
    if state == "running":
        hub.register(3, "e")
        hub.take(3, "e")

    with hub.refuses(error.TaskPending, f"c-2 is {state}: it has not ended"):
        hub.purge(4, "c-1", "c-2")


def test_what_is_unknown_or_said_twice_is_nothing(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")

    assert hub.purge(3, "c-9", "c-1", "c-1") == Purged(1)
    assert hub.purge(4, "c-1") == Purged(0)
    assert hub.purge(4) == Purged(0)


def test_what_others_need_is_kept_as_long_as_they_are(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1", refs="c-1")
    hub.end(2, "ok", "ok")

    assert hub.purge(3, "c-1") == Purged(0, 1)
    assert hub.purge(4, "c-2") == Purged(1)
    assert hub.purge(5, "c-1") == Purged(1)


def test_a_later_dependency_on_a_purged_task_resolves(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "error")
    hub.purge(3, "c-1", "c-2")

    hub.submit(4, "c-3", after="as c-1")
    hub.submit(4, "c-4", after="as c-2")
    hub.submit(4, "c-5", after="af c-2")

    assert [hub.state(name) for name in ("c-3", "c-4", "c-5")] == [
        "ready", "failed", "ready",
    ]  # fmt: skip
    assert hub.record("c-4")["verdict"] == "impossible"


def test_who_is_still_to_tell_others_is_kept(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")
    hub.redis.zadd(hub.key("unsettled"), {"c-1": 2})

    assert hub.purge(3, "c-1") == Purged(0, 1)
    hub.redis.delete(hub.key("unsettled"))


def test_what_is_no_id_is_refused(hub):
    with hub.refuses(error.BadArgument, "not a task id: c-1:args"):
        hub.purge(1, "c-1:args")


def test_no_more_than_500_at_once(hub):
    with hub.refuses(error.BadArgument, "purge takes at most 500 ids"):
        hub.purge(1, *[f"c-{n}" for n in range(501)])


def entering(now, *ids, **flags):
    """Return the call that submits tasks."""
    pairs = [part for name in ids for part in (name, b"args")]
    return calls.submit([Group("fn", b"function", "fn", flags, pairs)], now=now)


def test_a_task_that_was_purged_meanwhile_is_not_entered_by_its_submit(hub):
    submit = entering(1, "c-1", "c-2", "c-3")
    hub.do(submit)
    hub.end(2, "ok", "ok")
    hub.purge(3, "c-1")
    before = hub.dump()

    assert hub.do(submit.again()) == Submitted(0, 3)
    assert hub.dump() == before


@pytest.mark.parametrize("flags", [{}, {"after": "as c-1"}])
def test_a_submit_that_did_not_arrive_enters_when_it_is_sent_again(hub, flags):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok", "ok")
    hub.purge(3, "c-2")
    submit = entering(4, "c-2", "c-3", "c-4", **flags)

    assert hub.do(submit.again()) == Submitted(2, 1)
    assert hub.ready() == ["c-3", "c-4"]


def test_a_copy_that_was_purged_meanwhile_is_not_made_once_more(hub):
    hub.submit(1, "c-1")
    hub.end(2, "error")
    copy = calls.resubmit([("c-1", "c-2")], now=3)
    hub.do(copy)
    hub.end(4, "ok")
    hub.purge(5, "c-2")
    before = hub.dump()

    hub.do(copy.again())

    assert hub.dump() == before


def test_a_copy_that_did_not_arrive_is_made_when_its_call_is_sent_again(hub):
    hub.submit(1, "c-1")
    hub.end(2, "error")

    hub.do(calls.resubmit([("c-1", "c-2")], now=3).again())

    assert hub.ready() == ["c-2"]


def test_of_a_task_that_was_purged_twice_the_last_end_counts(hub):
    hub.submit(1, "c-1")
    hub.end(2, "ok")
    hub.purge(3, "c-1")
    hub.submit(4, "c-1")
    hub.end(5, "error", engine="other")
    hub.purge(6, "c-1")

    hub.submit(7, "c-2", after="as c-1")

    assert hub.state("c-2") == "failed"
