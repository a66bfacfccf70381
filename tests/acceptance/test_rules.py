"""When, where and whether tasks run, with real workers."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest

import redtask
from redtask import Dependency
from tests import shapes, tasks
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance

#: Of what is due by time alone: it begins at most so late, in ms.
LATE = 100


def fields(site, result, *names):
    """Return fields of the record of one task as numbers; None: it has none such."""
    found = site.redis.hmget(site.record(result.msg_ids[0]), names)
    return [None if value is None else float(value) for value in found]


@pytest.mark.parametrize(
    ("conditions", "states"),
    [
        ({}, ["completed", "failed", "failed"]),
        ({"success": False, "failure": True}, ["failed", "completed", "failed"]),
        ({"failure": True}, ["completed", "completed", "completed"]),
        ({"all": False}, ["completed", "failed", "completed"]),
        (
            {"all": False, "success": False, "failure": True},
            ["failed", "completed", "completed"],
        ),
        ({"all": False, "failure": True}, ["completed", "completed", "completed"]),
    ],
)
@pytest.mark.parametrize("flag", ["after", "follow"])
def test_what_it_depends_on_decides_whether_it_runs(site, flag, conditions, states):
    site.worker("-n", "1")
    view, gate = site.view, site.folder / "gate"
    held = view.apply_async(tasks.pass_gate, str(gate))
    good = view.apply_async(abs, -1)
    bad = view.apply_async(tasks.fail)

    waiting = [
        view.with_flags(**{flag: Dependency(members, **conditions)}).apply_async(abs, 1)
        for members in ([good], [bad], [good, bad])
    ]
    gate.touch()

    site.client.wait([held, *waiting], DEADLINE)
    assert [site.state(one.msg_ids[0]) for one in waiting] == states


def test_failure_spreads_and_names_whose_it_was(site):
    site.worker("-n", "1")
    bad = site.view.apply_async(tasks.fail)
    chain = [bad]
    for _ in range(5):
        view = site.view.with_flags(after=chain[-1])
        chain.append(view.apply_async(tasks.noop))

    for before, result in itertools.pairwise(chain):
        with pytest.raises(redtask.ImpossibleDependency, match=before.msg_ids[0]):
            result.get(DEADLINE)


def test_who_follows_runs_where_the_other_ran(site):
    site.worker("-n", "4")
    first = [site.view.apply_async(time.sleep, 0.01) for _ in range(20)]

    second = [site.view.with_flags(follow=one).apply_async(tasks.noop) for one in first]

    assert site.client.wait(second, DEADLINE)
    assert [one.engine_id for one in second] == [one.engine_id for one in first]
    assert len({one.engine_id for one in first}) > 1


@pytest.mark.alone
def test_what_is_due_happens_in_time(site):
    site.worker("-n", "2")
    view, never = site.view, site.folder / "never"
    blocked = view.with_flags(targets=[0]).apply_async(tasks.pass_gate, str(never))
    view = view.with_flags(targets=[1])
    late = []

    for _ in range(10):
        delayed = view.with_flags(delay=0.05).apply_async(tasks.noop)
        bounded = view.with_flags(after=blocked, timeout=0.3).apply_async(tasks.noop)
        retried = view.with_flags(
            retries=1, retry_delay=0.05, retry_jitter=0
        ).apply_async(tasks.fail)
        with pytest.raises(redtask.DependencyTimeout):
            bounded.get(DEADLINE)
        assert site.client.wait([delayed, retried], DEADLINE)
        submitted, started = fields(site, delayed, "submitted", "started")
        late.append(started - submitted - 50)
        submitted, gave_up = fields(site, bounded, "submitted", "ended")
        late.append(gave_up - submitted - 300)
        first = attempts(site, retried)[0]
        (again,) = fields(site, retried, "started")
        late.append(again - first - 50)
    never.touch()

    assert min(late) >= -2
    assert statistics.median(late) < LATE
    assert sorted(late)[-3] < 3 * LATE


def attempts(site, result):
    """Return when the failed tries of a task ended, in ms."""
    notes = site.redis.lrange(site.record(result.msg_ids[0]) + ":attempts", 0, -1)
    return [float(note.split(b"\t")[3]) for note in notes]


def test_queues_filter_and_order_is_priority_then_submission(site):
    site.worker("-n", "1", "-q", "slow", "--name", "slow")
    site.worker("-n", "1", "--name", "plain")
    ledger, gate = site.ledger, site.folder / "gate"

    def note(word):
        with ledger.open("a") as notes:
            notes.write(f"{word}\n")

    held = site.view.apply_async(tasks.pass_gate, str(gate))
    until(lambda: site.state(held.msg_ids[0]) == "running", "the first")
    elsewhere = site.view.with_flags(queue="slow").apply_async(note, "elsewhere")
    assert elsewhere.get(DEADLINE) is None

    results = [
        site.view.with_flags(priority=number % 3).apply_async(note, number)
        for number in range(30)
    ]
    gate.touch()

    assert site.client.wait(results, DEADLINE)
    assert elsewhere.engine_id != held.engine_id
    order = [int(word) for word in ledger.read_text().split()[1:]]
    assert order == sorted(range(30), key=lambda number: (-(number % 3), number))


def test_targets_are_the_only_engines_and_none_is_impossible(site):
    worker = site.worker("-n", "3")
    view = site.view.with_flags(targets=[0, 2])

    results = [view.apply_async(time.sleep, 0.005) for _ in range(30)]

    assert site.client.wait(results, DEADLINE)
    assert {one.engine_id for one in results} == {0, 2}
    worker.signal(15)
    worker.wait()
    with pytest.raises(redtask.ImpossibleDependency, match="targets 0,2"):
        view.apply_async(tasks.noop).get(DEADLINE)


def test_no_engine_has_more_than_the_high_water_mark(site):
    site.configure(hwm=2)
    site.worker("-n", "2")
    gate = site.folder / "gate"

    results = [site.view.apply_async(tasks.pass_gate, str(gate)) for _ in range(20)]

    loads = until(lambda: _full(site.client.queue_status(), 4), "two on each engine")
    assert loads == [16, 2, 2]
    gate.touch()
    assert site.client.wait(results, DEADLINE)


def _full(status, most):
    """Return how many no engine has, and how many each has, if these are so many."""
    left = status.pop("unassigned")
    given = [one["queue"] + one["tasks"] for one in status.values()]
    return [left, *given] if sum(given) == most else None


def test_retries_elsewhere_use_each_engine_once(site):
    site.worker("-n", "3")
    view = site.view.with_flags(retries=2, retry_elsewhere=True)

    result = view.apply_async(tasks.fail)

    with pytest.raises(redtask.RemoteError, match="ValueError"):
        result.get(DEADLINE)
    notes = site.redis.lrange(site.record(result.msg_ids[0]) + ":attempts", 0, -1)
    assert len(notes) == 3
    assert len({note.split()[1] for note in notes}) == 3


@pytest.mark.parametrize(("hwm", "most"), [(0, 80), (1, 240)])
def test_a_chain_costs_at_most_one_turn_for_each_link(site, hwm, most):
    """Far less if an engine may have several of the short tasks."""
    site.configure(hwm=hwm)
    site.worker("-n", "2")
    site.view.apply_sync(abs, -1)
    shape = shapes.chain(200)
    graph = dict(enumerate(shape))
    site.view.submit_graph(graph, tasks.noop)[199].get(DEADLINE)

    before = site.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    site.view.submit_graph(graph, tasks.noop)[199].get(DEADLINE)
    calls = site.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before

    # Beats and sweeps, too; the submits.
    assert calls < most


def test_results_are_told_as_they_come(site):
    site.worker("-n", "2")
    told = []
    results = [site.view.apply_async(tasks.double, number) for number in range(10)]
    for result in results:
        result.add_done_callback(lambda one: told.append(one.get()))

    values = [one.get() for one in redtask.as_completed(results, timeout=DEADLINE)]

    assert sorted(values) == [2 * number for number in range(10)]
    until(lambda: len(told) == 10, "the callbacks")
