"""What happened while somebody looked."""

from redtask.hub.views import Ended, Overview, Times
from redtask.tui.history import History, Point


def seen(stamp, completed, failed=0, buckets=(), times=()):
    hub = {
        "format": "2 leastload",
        "stamp": str(stamp),
        "registered": "0",
        "span": "60000",
        "completed": str(completed),
        "failed": str(failed),
    }
    return Overview(hub, {}, (), Ended(0, 0, 0), buckets, {}, times, ())


def test_the_first_look_brings_what_was_before():
    buckets = (Ended(4, 2, 0), Ended(1, 0, 1))

    history = History(2.0).add(seen(1000, 100, buckets=buckets))

    assert history.points == (Point(1.0, 0.0), Point(3.0, 1.0))
    assert history.latest == Point(3.0, 1.0)


def test_later_looks_add_what_the_counters_say():
    history = History(2.0).add(seen(1000, 100)).add(seen(3000, 106, 2))

    assert history.points == (Point(4.0, 1.0),)


def test_a_look_between_two_points_adds_none():
    history = History(2.0).add(seen(1000, 100))

    assert history.add(seen(1100, 150)) == history


def test_what_was_not_seen_is_spread_over_the_gap():
    history = History(2.0).add(seen(0, 0)).add(seen(10000, 50))

    assert history.points == (Point(5.0, 0.0),) * 5


def test_no_more_is_kept_than_can_be_shown():
    history = History(1.0)
    for second in range(300):
        history = history.add(seen(second * 1000, second))

    assert len(history.points) == 240


def test_counters_that_begin_again_are_nothing():
    history = History(2.0).add(seen(1000, 100)).add(seen(3000, 0))

    assert history.latest.ended == 0


def test_a_clock_that_is_put_back_is_followed():
    history = History(2.0).add(seen(9000, 100)).add(seen(1000, 102))

    assert history.add(seen(3000, 104)).latest.ended == 1


def test_times_of_samples_are_told_by_half_and_most_of_them():
    times = tuple(Times(n / 100, n / 10) for n in range(100))

    history = History(2.0).add(seen(0, 0)).add(seen(2000, 9, times=times))

    assert history.latest.ran == (0.5, 0.95)
    assert history.latest.waited == (5.0, 9.5)


def test_nothing_is_known_before_the_first_look():
    assert History(2.0).latest == Point(0.0, 0.0)
