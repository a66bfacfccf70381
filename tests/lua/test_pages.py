"""engines, tasks, events: pages for screens."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.views import EngineRow, Event
from tests.hubs import error_in, interrupted, ok, unmet


def engines(hub, now, *words):
    return hub.do(calls.engines(*words, now=now))


def tasks(hub, now, *words):
    return hub.do(calls.tasks(*words, now=now))


def names(page):
    return [row.task_id for row in page.rows]


# -- engines


def test_a_page_of_no_engines(hub):
    page = engines(hub, 1)

    assert (page.rows, page.more) == ((), None)


def test_engines_say_what_they_do(hub):
    hub.register(100, "x", worker="v", queues="a,b")
    hub.join(200, "y")
    hub.submit(300, "c-1", "c-2", fn="story")
    (work,) = hub.take(400, "y")
    hub.turn(500, "y", 1, ok(work))

    assert engines(hub, 1000).rows == (
        EngineRow("x", 0, "v", ("a", "b"), 0, 0, 14100, 100, 0, "", "", "", 0.0),
        EngineRow(
            "y", 1, "w", ("default",), 0, 1, 14200, 200, 1, "", "c-2", "story", 500.0
        ),
    )


def test_an_engine_has_the_load_of_what_it_took_and_will_take(make_hub):
    hub = make_hub(hwm=3)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.take(3, "e", 1)

    (row,) = engines(hub, 4).rows

    assert (row.assigned, row.held, row.load) == (2, 1, 3)


def test_engines_are_paged_by_their_labels(hub):
    hub.join(1, *"abcde")
    hub.gone(2, "b")

    first = engines(hub, 3, 0, 2)
    second = engines(hub, 3, first.more, 2)

    assert [row.uuid for row in first.rows] == ["a", "c"]
    assert [row.uuid for row in second.rows] == ["d", "e"]
    assert (first.more, second.more) == (3, None)


def test_engines_are_found_by_a_text(hub):
    hub.register(1, "e1", worker="alpha")
    hub.register(2, "e2", worker="beta", queues="gpu")
    hub.register(3, "e3", worker="ALPHA-2")

    def found(text):
        return [row.uuid for row in engines(hub, 4, 0, 50, text).rows]

    assert found("alpha") == ["e1", "e3"]
    assert found("GPU") == ["e2"]
    assert found("e3") == ["e3"]
    assert found("%w") == []


def test_of_very_many_engines_some_are_looked_at_for_a_text(real_hub):
    for number in range(201):
        real_hub.register(1, f"e{number}", worker="last" if number == 200 else "w")

    first = engines(real_hub, 2, 0, 50, "last")

    assert (first.rows, first.more) == ((), 200)
    assert len(engines(real_hub, 2, first.more, 50, "last").rows) == 1


def test_an_engine_that_is_drained_says_so(hub):
    hub.join(1, "e", "f")
    hub.do(calls.drain(["e"], now=2))

    assert [row.state for row in engines(hub, 3).rows] == ["drained", ""]


def test_of_many_tasks_that_an_engine_took_none_is_named(hub):
    hub.submit(1, *[f"c-{n}" for n in range(60)])
    hub.register(2, "e")
    hub.take(3, "e", 30)

    (row,) = engines(hub, 4).rows

    assert row.held > 20
    assert (row.task_id, row.function, row.started) == ("", "", 0)


@pytest.mark.parametrize("words", [(-1, 1), ("x", 1), (0, 0), (0, 201), (0, "x")])
def test_a_page_of_engines_that_cannot_be_is_refused(hub, words):
    with hub.refuses(error.BadArgument):
        engines(hub, 1, *words)


# -- tasks


@pytest.fixture
def busy(make_hub):
    """A hub with tasks in every state."""
    hub = make_hub(hwm=3)
    hub.submit(10, *[f"c-{n}" for n in range(9)], fn="pkgwork", label="batch")
    hub.register(15, "x")
    for stamp, report in ((20, ok), (30, error_in), (40, interrupted)):
        (work,) = hub.take(stamp, "x", 1)
        hub.report(stamp + 5, "x", report(work, **_more(report)))
        hub.gone(stamp + 6, "x")
        hub.register(stamp + 7, "x")
    hub.gone(50, "x")
    hub.join(60, "e")
    hub.take(70, "e", 1)
    hub.submit(80, "d-1", after="as c-8", fn="later")
    return hub


def _more(report):
    return {"repr": "42", "took": 3000} if report is ok else {}


def test_the_tasks_of_a_state_are_those_that_status_counts(busy):
    counted = busy.status(100).states

    assert {state: len(tasks(busy, 100, state).rows) for state in counted} == counted
    assert all(counted[state] for state in ("waiting", "ready", "running", "failed"))


def test_a_completed_task_says_what_came_of_it(busy):
    (row,) = tasks(busy, 100, "completed").rows

    fields = dict(row.fields)
    assert row.task_id == "c-0"
    assert fields.pop("engine").startswith("0/")
    assert fields == {
        "function": "pkgwork",
        "label": "batch",
        "submitted": "10",
        "started": "25.000",
        "took": "0 3000",
        "repr": "42",
    }


def test_a_failed_task_says_why(busy):
    (row,) = tasks(busy, 100, "failed").rows

    assert row.fields["ename"] == "ValueError"
    assert row.fields["evalue"] == "no"


def test_a_waiting_task_is_shown(busy):
    assert names(tasks(busy, 100, "waiting")) == ["d-1"]


def test_a_gate_is_not_shown(hub):
    hub.submit(1, "c-1", gate="c-2")

    (row,) = tasks(hub, 2, "waiting").rows

    assert (row.task_id, row.fields["gate"]) == ("c-1", "c-2")


def test_ended_tasks_come_the_latest_first_and_in_pages(hub):
    hub.submit(1, *[f"c-{n}" for n in range(5)])
    for stamp in range(10, 60, 10):
        hub.end(stamp, "ok", engine=f"e{stamp}")

    first = tasks(hub, 100, "completed", "", 2)
    second = tasks(hub, 100, "completed", first.more, 2)
    third = tasks(hub, 100, "completed", second.more, 2)

    assert names(first) + names(second) + names(third) == [
        "c-4", "c-3", "c-2", "c-1", "c-0",
    ]  # fmt: skip
    assert third.more is None


def paged(hub, now, state, count=2):
    """Return all tasks in a state, read in pages."""
    found, more = [], ""
    while more is not None:
        page = tasks(hub, now, state, more, count)
        found += names(page)
        more = page.more
    return found


@pytest.mark.parametrize("count", [1, 2, 7, 200])
@pytest.mark.parametrize("common", [0, 1000, 86_400_000])
def test_the_latest_come_first_however_long_they_are_kept(make_hub, common, count):
    hub = make_hub(result_ttl=common, failure_ttl=common)
    for now, ttl in enumerate((None, 0, 50, 9 * 86_400_000, None, 7, None, 0), 10):
        hub.submit(now, f"c-{now}", **({} if ttl is None else {"ttl": ttl}))
        hub.end(now, "error", engine=f"e{now}")

    found = paged(hub, 20, "failed", count)

    assert found == [f"c-{now}" for now in range(17, 9, -1)]


@pytest.mark.parametrize("later", [0, 3_600_000])
@pytest.mark.parametrize("before", [0, 86_400_000])
def test_who_ended_under_another_common_retention_comes_behind(make_hub, before, later):
    hub = make_hub(result_ttl=before)
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.end(2, "ok", "ok", engine="e2")
    hub.configure(3, result_ttl=later)
    hub.end(4, "ok", engine="e4")

    assert paged(hub, 5, "completed") == ["c-3", "c-2", "c-1"]


def test_a_place_that_no_page_named_is_refused(hub):
    for place in ("1 1", "0 0 0", "0 0 0 0 0", "0 0 x 0"):
        with pytest.raises(error.HubError, match="a page before named"):
            tasks(hub, 1, "failed", place)


def test_ready_tasks_are_paged_through_all_lines(hub):
    hub.join(1, "e", "f")
    hub.submit(2, *[f"c-{n}" for n in range(7)])
    hub.submit(3, "t-1", "t-2", targets="0")
    hub.submit(4, "n-1", queue="other")
    (work,) = hub.take(5, "e")
    hub.report(6, "e", unmet(work))

    found, more = [], ""
    while more is not None:
        page = tasks(hub, 9, "ready", more, 2)
        found += names(page)
        more = page.more

    assert found[:5] == [f"c-{n}" for n in range(2, 7)]
    assert sorted(found[5:]) == ["c-0", "n-1", "t-1", "t-2"]
    assert hub.ready(name="!0") == ["c-0"]
    assert len(found) == hub.status(9).states["ready"]


def test_running_tasks_are_paged_by_engine(hub):
    hub.submit(1, *[f"c-{n}" for n in range(9)])
    hub.join(2, "e", "f", "g")
    hub.take(3, "g", 3)
    hub.take(4, "e", 3)

    found, more = [], ""
    while more is not None:
        page = tasks(hub, 9, "running", more, 2)
        found += names(page)
        more = page.more

    assert found == [*hub.held("e"), *hub.held("f"), *hub.held("g")]
    assert len(found) == hub.status(9).states["running"] > 3


def test_tasks_are_found_by_a_text(busy):
    assert len(tasks(busy, 100, "ready", "", 50, "BATCH").rows) > 1
    assert names(tasks(busy, 100, "ready", "", 50, "c-8")) == ["c-8"]
    assert names(tasks(busy, 100, "failed", "", 50, "valueerror")) == ["c-1"]
    assert names(tasks(busy, 100, "failed", "", 50, "nothing")) == []


def test_of_very_many_tasks_some_are_looked_at_for_a_text(real_hub):
    real_hub.submit(1, *[f"c-{n}" for n in range(90)])

    first = tasks(real_hub, 2, "ready", "", 50, "c-89")
    second = tasks(real_hub, 2, "ready", first.more, 50, "c-89")

    assert (names(first), names(second)) == ([], ["c-89"])


def test_of_very_many_engines_some_are_looked_at_for_tasks(real_hub):
    for number in range(202):
        real_hub.register(1, f"e{number}")
    real_hub.submit(2, "c-1", targets="201")
    real_hub.take(3, "e201")

    first = tasks(real_hub, 4, "running")

    assert names(first) == []
    assert names(tasks(real_hub, 4, "running", first.more)) == ["c-1"]


@pytest.mark.parametrize(
    "words",
    [("gone",), ("ready", "x"), ("ready", "1 x"), ("ready", "", 0), ("ready", "", 201)],
)
def test_a_page_of_tasks_that_cannot_be_is_refused(hub, words):
    with hub.refuses(error.BadArgument):
        tasks(hub, 1, *words)


# -- events


def test_events_come_the_latest_first(hub):
    hub.register(10, "e")
    hub.gone(20, "e", why="killed by a test")

    latest, before = hub.do(calls.events(now=30))

    assert (latest.at, latest.event) == (20, "engine gone")
    assert latest.about["why"] == "killed by a test"
    assert before == Event(
        before.entry, 10, "engine joined", {"engine": "e", "id": "0", "worker": "w"}
    )


def test_events_are_paged(hub):
    hub.join(1, *"abcde")

    first = hub.do(calls.events("", 3, now=2))
    second = hub.do(calls.events(first[-1].entry, 3, now=2))

    assert [one.about["engine"] for one in first + second] == list("edcba")


@pytest.mark.parametrize("words", [("x", 1), ("1-", 1), ("", 0), ("", 201), ("", "x")])
def test_events_that_cannot_be_are_refused(hub, words):
    with hub.refuses(error.BadArgument):
        hub.do(calls.events(*words, now=1))


def test_pages_change_nothing(busy):
    before = busy.dump()

    engines(busy, 200, 0, 50, "e")
    for state in busy.status(200).states:
        tasks(busy, 200, state)
    busy.do(calls.events(now=200))

    assert busy.dump() == before


def test_a_place_that_no_page_has_is_refused(hub):
    hub.submit(1, "c-1")

    with hub.refuses(error.BadArgument):
        hub.do(calls.Call("tasks", (2, "ready", "9" * 23 + " 0", 10, ""), str))
