"""Replies are lost, requests are torn, connections fall into holes: nothing else is."""

from collections import Counter

import pytest

import redtask
from redtask.hub import scripts
from tests.processes import until
from tests.proxies import LossyProxy
from tests.scenes import DEADLINE

pytestmark = pytest.mark.acceptance


@pytest.fixture
def way(scene, tmp_path):
    """A scene, and a proxy in front of its Redis."""
    here = scene()
    proxy = LossyProxy(tmp_path / "way", here.server.socket)
    here.way = proxy
    yield here
    proxy.heal()
    here.stop()
    proxy.close()


def lose(here, script):
    """Let the next call of a script be carried out and its reply be lost."""
    here.way.loses_reply_to = scripts.bundle(script, "leastload").sha.encode()


def is_lost(here):
    return not here.way.loses_reply_to


def test_a_client_need_not_hear_any_of_its_calls_the_first_time(way):
    way.worker()
    task = way.task()
    with way.client(way.way.url) as rc:
        view = rc.load_balanced_view()

        lose(way, "submit")
        first = view.map_async(task, range(100))
        assert is_lost(way)
        assert first.get(DEADLINE) == list(range(100))

        lose(way, "watch")
        assert rc.get_result(first.msg_ids).get(DEADLINE) == [[x] for x in range(100)]
        assert is_lost(way)

        lose(way, "resubmit")
        again = rc.resubmit(first.msg_ids[:3])
        assert is_lost(way)
        assert again.get(DEADLINE) == [[0], [1], [2]]

        with view.temp_flags(delay=600):
            later = view.apply_async(task, 1000)
        lose(way, "abort")
        assert rc.abort(later) == {later.msg_ids[0]: "aborted"} or later.wait(0)
        assert is_lost(way)
        with pytest.raises(redtask.TaskAborted):
            later.get(DEADLINE)

        lose(way, "why")
        assert "aborted" in str(rc.why(later))
        assert is_lost(way)

        lose(way, "purge")
        rc.purge_results(first)
        assert is_lost(way)
        with pytest.raises(KeyError):
            rc.get_result(first.msg_ids[0])

    assert way.runs() == Counter({x: 1 + (x < 3) for x in range(100)})


def test_a_graph_whose_calls_are_not_heard_enters_once(way):
    way.worker()
    task = way.task()
    chain = {n: [n - 1] if n else [] for n in range(600)}
    with way.client(way.way.url) as rc:
        view = rc.load_balanced_view()

        lose(way, "open")
        results = view.submit_graph(chain, {n: (task, (n,)) for n in chain})
        assert is_lost(way)

        assert results[599].get(DEADLINE) == 599
    assert way.runs() == Counter(range(600))


@pytest.mark.parametrize("script", ["turn", "beat", "sweep"])
def test_a_worker_need_not_hear_any_of_its_calls_the_first_time(way, script):
    way.configure(lease=1000)
    way.worker(way.way.url)
    task = way.task()
    with way.client() as rc:
        view = rc.load_balanced_view()

        lose(way, script)
        result = view.map_async(task, range(500))

        assert result.get(DEADLINE) == list(range(500))
        until(lambda: is_lost(way), script)
    assert way.runs() == Counter(range(500))


def test_a_worker_may_join_without_hearing_that_it_did(way):
    way.client().close()
    lose(way, "register")

    way.worker(way.way.url, n=1)

    assert is_lost(way)
    with way.client() as rc:
        assert rc.load_balanced_view().apply_sync(abs, -1) == 1


def test_torn_requests_and_replies_double_and_lose_nothing(way):
    way.worker(way.way.url)
    task = way.task()
    with way.client(way.way.url) as rc:
        view = rc.load_balanced_view()
        way.way.tear = 0.05

        one_by_one = [view.apply_async(task, x) for x in range(100)]
        many = view.map_async(task, range(100, 1500))

        assert [ar.get(DEADLINE) for ar in one_by_one] == list(range(100))
        assert many.get(DEADLINE) == list(range(100, 1500))
        way.way.heal()
    assert way.way.torn > 5
    assert way.runs() == Counter(range(1500))


def test_a_machine_behind_a_hole_loses_its_lease_and_what_it_says_later_is_stale(way):
    way.configure(lease=1000)
    way.worker(way.way.url, n=1)
    task = way.task()
    with way.client() as rc:
        view = rc.load_balanced_view(retries=1)
        result = view.apply_async(task, 7, 1.5)
        until(lambda: way.runs()[7] == 1, "the first run")

        way.way.hole = True
        way.worker(n=1)

        assert result.get(DEADLINE) == 7
        assert way.runs() == {7: 2}
        way.way.heal()
        until(lambda: len(rc) == 2, "the machine that was away", DEADLINE)
        assert view.map_async(task, range(100, 200)).get(DEADLINE) == list(
            range(100, 200)
        )
    assert [one[b"why"] for one in way.story("lost")] == [b"its lease is over"]
