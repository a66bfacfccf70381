"""pause: nothing of a queue begins, until it goes on."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import ok, unmet


def pause(hub, now, *queues, resume=False):
    return hub.do(calls.pause(queues, resume=resume, now=now))


def test_nothing_of_a_paused_queue_is_placed_or_taken(hub):
    hub.join(1, "e")
    assert pause(hub, 2, "default") == ["paused"]

    hub.submit(3, "c-1", "c-2")

    assert hub.ready() == ["c-1", "c-2"]
    assert hub.take(4, "e") == []
    assert hub.rings("e") == 0
    assert hub.live(5, "e").word == "live"
    assert hub.rings("e") == 0


def test_it_goes_on_when_it_is_resumed(hub):
    hub.join(1, "e", "f")
    pause(hub, 2, "default")
    hub.submit(3, "c-1", "c-2", "c-3")

    assert pause(hub, 4, "default", resume=True) == ["resumed"]

    assert (hub.rings("e"), hub.rings("f")) == (1, 1)
    assert [work.task_id for work in hub.take(5, "e")] == ["c-1"]
    assert hub.redis.hget(hub.key("hub"), "rare") == b""


def test_an_engine_takes_from_its_other_queues(hub):
    hub.join(1, "e", queues="slow,fast")
    pause(hub, 2, "slow")

    hub.submit(3, "c-1", queue="slow", priority=9)
    hub.submit(4, "c-2", "c-3", queue="fast")

    assert hub.engine_of("c-2") == "e"
    (work,) = hub.take(5, "e")
    assert [one.task_id for one in hub.turn(6, "e", 5, ok(work)).work] == ["c-3"]


def test_what_is_released_waits_too(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.submit(4, "c-2", after="as c-1")
    pause(hub, 5, "default")

    assert hub.turn(6, "e", 1, ok(work)).work == []

    assert hub.ready() == ["c-2"]


def test_tasks_of_few_and_of_many_engines_wait_too(hub):
    hub.join(1, "e", "f")
    for number in range(69):
        hub.register(1, f"other-{number}", queues="other")
    pause(hub, 2, "default")

    hub.submit(3, "c-1", targets="0")
    hub.submit(3, "c-2", targets="0-70")

    assert hub.take(4, "e") == []
    pause(hub, 5, "default", resume=True)
    assert [work.task_id for work in hub.take(6, "e")] == ["c-1"]
    assert [work.task_id for work in hub.take(6, "f")] == ["c-2"]


def test_what_was_placed_before_goes_back_when_it_would_be_taken(make_hub):
    hub = make_hub(hwm=4)
    hub.join(1, "e", queues="slow,fast")
    hub.submit(2, "c-1", "c-2", queue="slow")
    hub.submit(3, "c-3", queue="fast")
    pause(hub, 4, "slow")

    taken = hub.take(5, "e", 4)

    assert [work.task_id for work in taken] == ["c-3"]
    assert hub.ready("slow") == ["c-1", "c-2"]
    assert hub.state("c-1") == "ready"


def test_what_was_taken_may_be_finished_and_tried_again_later(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", retries=1)
    (work,) = hub.take(3, "e")
    pause(hub, 4, "default")

    hub.gone(5, "e", work.task_id)

    assert hub.ready() == ["c-1"]
    assert hub.take(6, "f") == []


def test_a_queue_may_be_paused_before_there_is_one(hub):
    pause(hub, 1, "late")

    (queue,) = hub.status(2).queues
    assert (queue.name, queue.engines, queue.ready, queue.paused) == (
        "late",
        0,
        0,
        True,
    )
    hub.join(3, "e", queues="late")
    hub.submit(4, "c-1", queue="late")
    assert hub.ready("late") == ["c-1"]


def test_status_and_why_tell_of_it(hub):
    hub.join(1, "e")
    pause(hub, 2, "default")
    hub.submit(3, "c-1")

    assert [queue.paused for queue in hub.status(4).queues] == [True]
    assert "its queue, default, is paused" in str(hub.why(5, "c-1"))


def test_both_may_be_said_twice(hub):
    hub.join(1, "e")
    pause(hub, 2, "default", "other")
    pause(hub, 3, "default")
    pause(hub, 4, "default", resume=True)

    assert pause(hub, 5, "default", resume=True) == ["resumed"]

    assert hub.redis.smembers(hub.key("paused")) == {b"other"}
    assert [event for event in hub.events() if event != "engine joined"] == [
        "queue paused",
        "queue paused",
        "queue resumed",
    ]


@pytest.mark.parametrize("queue", ["", "Upper", "a:b", "x" * 65])
def test_what_is_no_queue_is_refused(hub, queue):
    with hub.refuses(error.BadArgument, "not a queue"):
        pause(hub, 1, queue)


def test_what_is_neither_is_refused(hub):
    call = calls.pause([])

    with hub.refuses(error.BadArgument):
        hub.do(calls.Call("pause", (1, "stop", "default"), call.read))


def test_no_more_than_a_thousand_are_paused(hub):
    names = [f"q{number}" for number in range(1001)]
    with hub.refuses(error.BadArgument):
        pause(hub, 1, *names)
    pause(hub, 1, *names[:1000])

    with hub.refuses(error.BadArgument):
        pause(hub, 2, "one-more")


def test_when_a_queue_goes_on_it_is_found_out_what_nobody_may_take(hub):
    hub.register(1, "e", queues="a,b")
    hub.submit(2, "c-0", queue="a")
    (work,) = hub.take(3, "e")
    pause(hub, 4, "b")
    hub.submit(5, "c-1", targets="0", queue="b")
    hub.turn(6, "e", 0, unmet(work, by="require"))

    pause(hub, 7, "b", resume=True)

    assert hub.record("c-1")["verdict"] == "impossible"


def test_engines_hear_of_each_queue_that_goes_on(hub):
    hub.join(1, "e", queues="a,b")
    pause(hub, 2, "a", "b")
    hub.submit(3, "c-1", queue="b")

    pause(hub, 4, "a", "b", resume=True)

    assert hub.rings("e") == 1


def test_all_that_was_placed_goes_back_at_once(make_hub):
    hub = make_hub(hwm=5)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    pause(hub, 3, "default")

    assert hub.take(4, "e") == []
    assert hub.ready() == ["c-1", "c-2"]

    pause(hub, 5, "default", resume=True)
    hub.check(quiet=True)


def test_classes_of_a_paused_queue_do_not_hide_others(hub):
    hub.join(1, "e", queues="a,b")
    for number in range(1, 10):
        hub.join(1, f"f{number}", queues="a")
    pause(hub, 2, "a")
    for number in range(1, 10):
        targets = f"0,{number}" if number > 1 else "0-1"
        hub.submit(3, f"c-{number}", queue="a", targets=targets)
    hub.submit(4, "d-1", queue="b")
    hub.submit(5, "d-2", queue="b", targets="0")
    (work,) = hub.take(6, "e")

    taken = hub.turn(7, "e", 1, ok(work)).work

    assert [one.task_id for one in taken] == ["d-2"]


def test_nor_do_very_many_of_them(real_hub):
    hub = real_hub
    hub.join(1, "e", queues="a,b")
    for number in range(1, 200):
        hub.register(1, f"f{number}", queues="a")
    pause(hub, 2, "a")
    for number in range(2, 200):
        hub.submit(3, f"c-{number}", queue="a", targets=f"0,{number}")
    for number in range(1, 20):
        hub.submit(4, f"d-{number}", queue="b", targets="0")

    assert len(hub.take(5, "e", 5)) == 5
    assert len(hub.take(6, "e", 5)) == 5
