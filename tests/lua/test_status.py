"""status: a consistent picture of the hub."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.records import EngineStatus, QueueStatus
from tests.hubs import error_in, ok


def test_an_empty_hub(hub):
    status = hub.status(5)

    assert (status.engines, status.queues) == ((), ())
    assert set(status.states.values()) == {0}
    assert (status.hub["now"], status.hub["stamp"]) == ("5", "5")


def test_it_counts_what_is_true(hub):
    hub.submit(1, *[f"c-{n}" for n in range(9)])
    hub.join(2, "e")
    for report in (ok, error_in):
        hub.turn(3, "e", 1, report(_work(hub)))
    hub.join(4, "f", queues="b")
    hub.submit(5, "b-1", "b-2", queue="b")
    hub.abort(6, "c-8")

    assert hub.status(7).states == {
        "waiting": 0,
        "ready": 6,
        "assigned": 1,
        "running": 1,
        "completed": 1,
        "failed": 1,
        "aborted": 1,
    }
    assert set(hub.status(8).queues) == {
        QueueStatus("default", 1, 5),
        QueueStatus("b", 1, 1),
    }


def _work(hub):
    return hub.turn_again(3, "e").work[0]


def test_it_shows_the_engines(hub):
    hub.register(100, "x", worker="v", queues="a,b")
    hub.join(200, "y")
    hub.submit(300, "c-1", "c-2")
    hub.take(400, "y")

    assert hub.status(1000).engines == (
        EngineStatus("x", 0, "v", ("a", "b"), 0, 0, 14100, 100),
        EngineStatus("y", 1, "w", ("default",), 0, 1, 14200, 200),
    )


def test_it_shows_no_more_engines_than_wanted_and_counts_all(hub):
    hub.join(1, "x", "y", "z")
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.take(3, "y")

    status = hub.status(4, most=1)

    assert len(status.engines) == 1
    assert status.hub["registered"] == "3"
    assert (status.states["assigned"], status.states["running"]) == (2, 1)
    assert hub.status(5, most=0).engines == ()


def test_the_dead_are_not_listed(hub):
    hub.join(1, "x")
    hub.gone(2, "x")

    assert hub.status(3).engines == ()


def test_it_changes_nothing(hub):
    hub.join(1, "x")
    hub.submit(2, "c-1", "c-2")
    before = hub.dump()

    hub.status(3)

    assert hub.dump() == before


@pytest.mark.parametrize("most", [-1, 10001, "x", 0.5])
def test_a_number_of_engines_that_is_none_is_refused(hub, most):
    with hub.refuses(error.BadArgument):
        hub.do(calls.status(most, now=1))
