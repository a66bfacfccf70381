"""Stored tasks with real workers: asked about, run once more, forgotten."""

import json

import pytest

import redtask
from redtask.dependency import Ref
from redtask.hub import calls
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance


@redtask.require("a_module_that_is_nowhere")
def needs_much():
    """Never run."""


def test_resubmitted_tasks_run_with_all_their_flags(site):
    site.worker("-n", "2")

    def where(x):
        print("at", x)  # noqa: T201
        return x

    old = site.view.with_flags(label="first", retries=2, time_limit=30)
    result = old.apply_async(where, 7)
    assert result.get(DEADLINE) == 7

    again = site.client.resubmit(result)

    assert again.get(DEADLINE) == [7]
    assert (again.label, again.stdout) == (["first"], ["at 7\n"])
    (record,) = site.client.db_query({"msg_id": again.msg_ids[0]})
    assert (record["resubmit_of"], record["retries"]) == (result.msg_ids[0], 2)


def test_a_replay_mends_what_failed_and_all_that_hung_on_it(site, tmp_path):
    site.worker("-n", "2")
    data = tmp_path / "data"

    def read(path):
        with open(path) as file:  # noqa: PTH123
            return int(file.read())

    view = site.view
    first = view.apply_async(read, str(data))
    steady = view.apply_async(abs, -5)
    second = view.apply_async(pow, Ref(first), Ref(steady))
    third = view.apply_async(divmod, Ref(second), 7)
    with pytest.raises(redtask.ImpossibleDependency):
        third.get(DEADLINE)
    data.write_text("2")
    seen = []

    again = site.client.replay(
        {"ename": "FileNotFoundError"},
        downstream=True,
        progress=lambda *counts: seen.append(counts),
    )

    assert again.get(DEADLINE) == [2, 32, (4, 4)]
    assert seen == [(3, 3)]
    assert len(site.client.hub_history()) == 7


def test_why_says_what_real_engines_said(site):
    site.worker("-n", "2")
    refused = site.view.apply_async(needs_much)

    until(lambda: len(refused.why().refusals) == 2 or None)
    why = refused.why()

    assert sorted(one.engine_id for one in why.refusals) == [0, 1]
    assert "a_module_that_is_nowhere" in why.refusals[0].words
    assert "none of the 2 engines of its queue may take it" in str(why)
    assert json.loads(json.dumps(why.as_dict()))["state"] == "ready"
    site.client.abort(refused)
    assert site.client.why(refused).state == "aborted"


def test_a_full_shelf_loses_its_oldest_results(site):
    site.worker("-n", "1")
    site.configure(keep_bytes=300_000)

    results = [site.view.apply_async(bytes, 50_000) for _ in range(20)]
    for result in results:
        result.get(DEADLINE)

    def kept():
        known = site.client.hub_history()
        return known if len(known) < 7 else None

    left = until(kept)
    assert left == [name for one in results for name in one.msg_ids][-len(left) :]
    hub = site.client._run(_status()).hub
    assert int(hub["kept_bytes"]) <= 300_000


def _status():
    return (yield calls.status(0))


def test_purged_tasks_are_gone_for_all_clients(site):
    site.worker("-n", "1")
    result = site.view.map_async(abs, range(1000))
    result.get(DEADLINE)

    assert site.client.purge_everything().purged == 1000

    with redtask.Client() as other, pytest.raises(KeyError):
        other.get_result(result.msg_ids[0])
    assert site.client.queue_status(0)["completed"] == 1000
    assert result.get() == list(range(1000))
