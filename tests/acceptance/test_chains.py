"""Long chains on real workers, who take many links at once: nothing shows of it."""

import itertools
import os
import time

import pytest

import redtask
from tests.processes import DEADLINE, until
from tests.sites import KEYS, ROOT, writer

pytestmark = pytest.mark.acceptance

LENGTH = 600
#: The link in which something happens: by then an engine takes many.
ODD = 400


def chain(site, task, **flags):
    """Submit tasks that begin one after the other; the first waits for all of them."""
    start = site.folder / "start"

    def first():
        while not start.exists():
            time.sleep(0.01)

    links = [site.view.apply_async(first)]
    with site.view.batch():
        for number in range(LENGTH):
            view = site.view.with_flags(after=links[-1], **flags)
            links.append(view.apply_async(task, number))
    start.touch()
    return links[1:]


def turns(site):
    """Return how many turns all living engines have taken."""
    engines = site.redis.zrange(f"{ROOT}:engines", 0, -1)
    keys = [KEYS.engine(engine.decode()) for engine in engines]
    return sum(int(site.redis.hget(key, "number")) for key in keys)


def test_a_chain_takes_fewer_turns_than_it_has_links(site):
    site.worker("-n", "2")
    note = writer(site.ledger)

    def task(number):
        note(number)
        return number

    links = chain(site, task)

    assert [link.get(DEADLINE) for link in links] == list(range(LENGTH))
    assert turns(site) < LENGTH // 3
    assert site.ledger.read_text().split() == [str(one) for one in range(LENGTH)]
    times = [(link.metadata.started, link.metadata.completed) for link in links]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


def test_nothing_begins_after_a_failure(site):
    site.worker("-n", "2")
    note = writer(site.ledger)

    def task(number):
        note(number)
        if number == ODD:
            raise ValueError(number)

    links = chain(site, task)

    with pytest.raises(redtask.ImpossibleDependency):
        links[-1].get(DEADLINE)
    assert site.ledger.read_text().split() == [str(one) for one in range(ODD + 1)]
    states = site.states_of([link.msg_ids[0] for link in links])
    assert states == ["completed"] * ODD + ["failed"] * (LENGTH - ODD)


def test_a_retry_is_waited_for(site):
    site.worker("-n", "2")
    note, failed = writer(site.ledger), site.folder / "failed"

    def task(number):
        note(number)
        if number == ODD and not failed.exists():
            failed.touch()
            raise ValueError(number)

    links = chain(site, task, retries=1, delay=0.05)

    links[-1].get(DEADLINE)
    expected = [*range(ODD + 1), *range(ODD, LENGTH)]
    assert site.ledger.read_text().split() == [str(one) for one in expected]


def test_what_waits_for_a_slow_one_can_be_aborted(site):
    site.worker("-n", "1")
    note, end = writer(site.ledger), site.folder / "end"

    def task(number):
        note(number)
        while number == ODD and not end.exists():
            time.sleep(0.01)

    links = chain(site, task)
    until(lambda: str(ODD) in site.executions(), "the slow one")
    until(lambda: site.states(links[ODD + 1]) == ["waiting"], "the next waits")

    site.client.abort(links[ODD + 2])
    end.touch()

    links[ODD + 1].get(DEADLINE)
    with pytest.raises(redtask.TaskAborted):
        links[ODD + 2].get(DEADLINE)
    with pytest.raises(redtask.ImpossibleDependency):
        links[-1].get(DEADLINE)
    assert site.ledger.read_text().split() == [str(one) for one in range(ODD + 2)]


def test_a_killed_engine_runs_nothing_twice_but_what_it_was_in(site):
    site.worker("-n", "2")
    note, killed = writer(site.ledger), site.folder / "killed"

    def task(number):
        note(number)
        if number == ODD and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), 9)

    links = chain(site, task, retries=1)

    links[-1].get(DEADLINE)
    expected = [*range(ODD + 1), *range(ODD, LENGTH)]
    assert site.ledger.read_text().split() == [str(one) for one in expected]


def test_a_killed_worker_loses_nothing(site):
    worker = site.worker("-n", "2", "--name", "one")
    note, killed = writer(site.ledger), site.folder / "killed"
    supervisor = worker.process.pid

    def task(number):
        note(number)
        if number == ODD and not killed.exists():
            killed.touch()
            os.kill(supervisor, 9)
            time.sleep(60)

    links = chain(site, task, retries=2)
    until(killed.exists, "the worker is killed")
    site.worker("-n", "1", "--name", "one")

    links[-1].get(DEADLINE)
    runs = site.executions()
    assert runs.keys() == {str(one) for one in range(LENGTH)}
    # What was not reported when all died runs again: one batch at most.
    assert sum(runs.values()) < LENGTH + 60


def test_each_may_need_the_result_of_the_one_before(site):
    site.worker("-n", "2")
    start = site.folder / "start"

    def first():
        while not start.exists():
            time.sleep(0.01)
        return 0

    def add(number, before):
        return number + before, "x" * (number % 100)

    def pick(pair):
        return pair[0]

    jobs = {0: first, 1: (add, (1, redtask.Ref(0)))}
    parents = {0: [], 1: [0]}
    for node in range(2, LENGTH, 2):
        jobs[node] = pick, (redtask.Ref(node - 1),)
        jobs[node + 1] = add, (node, redtask.Ref(node))
        parents |= {node: [node - 1], node + 1: [node]}
    results = site.view.submit_graph(parents, jobs)
    start.touch()

    assert results[LENGTH - 1].get(DEADLINE)[0] == 1 + sum(range(2, LENGTH, 2))
    assert turns(site) < LENGTH // 3


def test_a_task_that_asks_finds_that_what_it_waited_for_has_ended(site):
    site.worker("-n", "1")
    site.view.map_sync(abs, range(3000))
    start = site.folder / "start"

    def first():
        while not start.exists():
            time.sleep(0.01)

    def look(before):
        return before.ready() and before.successful()

    links = [site.view.apply_async(first)]
    with site.view.batch():
        for _ in range(200):
            view = site.view.with_flags(after=links[-1])
            links.append(view.apply_async(look, links[-1]))
    start.touch()

    assert all(link.get(DEADLINE) for link in links[1:])
