"""An idle engine that named its next nonce gets a task without asking."""

import pytest

from redtask.hub import calls
from redtask.hub.calls import Life
from redtask.hub.records import read_bell
from tests.hubs import ok


@pytest.fixture
def idle(hub):
    """An engine that found nothing in turn 1 and named the nonce of turn 2."""
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "one", 5, upcoming="two", now=2))
    return hub


def ring(hub):
    """Return the ring that the engine hears."""
    return hub.redis.lpop(hub.keys.bell("e"))


def brought(hub):
    """Return nonce and task of the ring that the engine hears."""
    found = read_bell(ring(hub))
    assert found is not None
    return found


def ask(hub, now, number=2, nonce="two", *reports, upcoming=""):
    """Take a turn as the engine does."""
    call = calls.turn("e", number, nonce, 5, reports, upcoming=upcoming, now=now)
    return hub.do(call)


def test_it_runs_at_once_and_the_task_is_in_the_bell(idle):
    idle.submit(3, "c-1", until=99)

    nonce, work = brought(idle)

    assert (nonce, work.task_id, work.token) == ("two", "c-1", "1:two")
    assert (work.function, work.args, work.until) == ("fn", b"args", "99")
    assert (idle.state("c-1"), idle.held("e"), idle.free()) == ("running", ["c-1"], [])


def test_only_one_comes_so(idle):
    idle.submit(3, "c-1", "c-2")

    assert (idle.state("c-1"), idle.state("c-2")) == ("running", "ready")
    assert idle.rings("e") == 1


def test_an_engine_that_heard_nothing_asks_and_gets_it(idle):
    idle.submit(3, "c-1")
    heard = brought(idle)[1]

    assert ask(idle, 4).work == [heard]
    assert ask(idle, 5).work == [heard]


def test_it_is_reported_and_the_next_one_comes_the_same_way(idle):
    idle.submit(3, "c-1")
    work = brought(idle)[1]

    ask(idle, 4, 3, "three", ok(work), upcoming="four")
    idle.submit(5, "c-2")

    assert idle.state("c-1") == "completed"
    assert brought(idle)[0] == "four"


def test_the_turn_before_sent_again_takes_nothing(idle):
    idle.submit(3, "c-1", "c-2")

    again = idle.do(calls.turn("e", 1, "one", 5, upcoming="two", now=4))

    assert again.work == []
    assert idle.held("e") == ["c-1"]


def test_a_beat_rings_for_a_lost_ring(idle):
    idle.submit(3, "c-1")
    ring(idle)

    idle.do(calls.beat("w", [Life("e", 1, ())], now=4))

    assert ring(idle) == b"1"
    assert idle.held("e") == ["c-1"]


def lose(hub, how):
    """Let the engine be gone, and all that it had count as begun."""
    if how == "supervisor":
        hub.gone(4, "e", "c-1")
    else:
        hub.sweep(40_000)
        hub.sweep(80_000)


@pytest.mark.parametrize("how", ["supervisor", "lease"])
@pytest.mark.parametrize("mark", [{}, {"retries": 3}, {"label": "x"}])
def test_what_nobody_has_taken_from_the_bell_has_not_begun(idle, how, mark):
    idle.submit(3, "c-1", **mark)

    lose(idle, how)

    assert idle.state("c-1") == "ready"
    assert "tries" not in idle.record("c-1")
    assert not idle.redis.exists(idle.keys.bell("e"))


@pytest.mark.parametrize("how", ["supervisor", "lease"])
def test_what_was_taken_from_the_bell_counts_as_begun(idle, how):
    idle.submit(3, "c-1")
    ring(idle)

    lose(idle, how)

    assert idle.state("c-1") == "failed"


@pytest.mark.parametrize("how", ["supervisor", "lease"])
def test_what_was_asked_for_counts_as_begun_whatever_is_in_the_bell(idle, how):
    idle.submit(3, "c-1")
    ask(idle, 3)
    assert idle.rings("e") == 1

    lose(idle, how)

    assert idle.state("c-1") == "failed"


def test_a_ring_of_an_earlier_turn_says_nothing(idle):
    idle.submit(3, "c-1")
    old = ring(idle)
    (work,) = ask(idle, 3).work
    ask(idle, 3, 3, "three", ok(work), upcoming="four")
    idle.submit(3, "c-2")
    ring(idle)
    idle.redis.rpush(idle.keys.bell("e"), old.replace(b"c-1", b"c-2"))

    idle.gone(4, "e", "c-2")

    assert idle.state("c-2") == "failed"


def test_if_the_engine_dies_without_having_begun_it_the_task_is_unharmed(idle):
    idle.submit(3, "c-1")

    idle.do(calls.beat("w", [Life("e", 1, (), gone="killed")], now=4))

    assert idle.state("c-1") == "ready"
    assert "tries" not in idle.record("c-1")


def test_long_arguments_are_left_to_be_fetched(idle):
    idle.submit(3, "c-1", args=b"x" * 5000)

    assert brought(idle)[1].args == b""


def test_arguments_may_hold_anything(idle):
    idle.submit(3, "c-1", args=b"a\nb\n\0c")

    assert brought(idle)[1].args == b"a\nb\n\0c"


def test_with_a_bound_on_load_tasks_are_placed(make_hub):
    hub = make_hub()
    hub.configure(1, hwm=2)
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "one", 5, upcoming="two", now=2))

    hub.submit(3, "c-1")

    assert hub.state("c-1") == "assigned"
    assert read_bell(ring(hub)) is None


def test_a_nonce_serves_once(idle):
    idle.submit(3, "c-1")
    work = brought(idle)[1]
    idle.do(calls.turn("e", None, "", 0, [ok(work)], now=4))

    idle.submit(5, "c-2")

    assert idle.state("c-2") == "assigned"
