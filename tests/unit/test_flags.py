"""The flags of a view."""

from __future__ import annotations

import contextlib
import enum
import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

import redtask
from redtask import aio
from redtask.absent import FLAGS
from redtask.dependency import Dependency
from redtask.error import NoEnginesRegistered
from redtask.flags import NAMES, Flagged, Flags
from redtask.targets import Targets


class Result:
    """Something that has ids, like a result."""

    def __init__(self, *ids):
        self.msg_ids = list(ids)


class Word(str, enum.Enum):  # noqa: UP042 - that is the point
    """Text whose ``str()`` says something else."""

    GPU = "gpu"
    FSYNC = "fsync"
    ERROR = "ValueError"
    TASK = "c-1"


def test_text_is_what_it_contains_whatever_its_kind():
    flags = Flags().replaced(
        queue=Word.GPU,
        label=Word.GPU,
        durability=Word.FSYNC,
        retry_on=[Word.ERROR],
        after=Word.TASK,
        follow=[Word.TASK],
    )

    sent = flags.fields()
    assert [str(sent[name]) for name in ("queue", "label", "opts")] == [
        "gpu",
        "gpu",
        "oValueError",
    ]
    assert [str(sent[name]) for name in ("after", "follow")] == ["as c-1", "as c-1"]
    assert [str(one) for one in flags.after or ()] == ["c-1"]
    assert str(flags.durability) == "fsync"


@pytest.mark.parametrize(
    ("flag", "value", "kind"),
    [
        ("retries", -1, ValueError),
        ("retries", 1001, ValueError),
        ("retries", 1.5, TypeError),
        ("retries", "3", TypeError),
        ("retries", True, TypeError),
        ("retries", None, TypeError),
        ("priority", -1001, ValueError),
        ("priority", 1001, ValueError),
        ("queue", "", ValueError),
        ("queue", "Big", ValueError),
        ("queue", "a" * 65, ValueError),
        ("queue", None, TypeError),
        ("label", "", ValueError),
        ("label", "x" * 65, ValueError),
        ("label", "ä" * 33, ValueError),
        ("label", "a\nb", ValueError),
        ("label", "\ud800", ValueError),
        ("label", 5, TypeError),
        ("result_ttl", -1, ValueError),
        ("result_ttl", float("nan"), ValueError),
        ("result_ttl", 1e12, ValueError),
        ("result_ttl", "1", TypeError),
        ("after", 5, TypeError),
        ("after", {"dependencies": ["c-1"]}, TypeError),
        ("after", (name for name in ["c-1"]), TypeError),
        ("after", ["c-1", 5], TypeError),
        ("after", [Dependency("c-1")], TypeError),
        ("after", "not an id", ValueError),
        ("after", ["c-1", "c-1 c-2"], ValueError),
        ("follow", 5, TypeError),
        ("follow", ["c-"], ValueError),
        ("timeout", -0.1, ValueError),
        ("timeout", "5", TypeError),
        ("timeout", True, TypeError),
        ("timeout", float("inf"), ValueError),
        ("delay", -1, ValueError),
        ("delay", "1", TypeError),
        pytest.param("delay", 10**400, ValueError, id="delay-large"),
        pytest.param("retry_jitter", -(10**400), ValueError, id="retry_jitter-large"),
        pytest.param("eta", 10**400, ValueError, id="eta-large"),
        ("eta", datetime(2030, 1, 1), ValueError),  # noqa: DTZ001 - that is the point
        ("eta", "tomorrow", TypeError),
        ("eta", -1, ValueError),
        ("eta", False, TypeError),
        ("time_limit", 0, ValueError),
        ("time_limit", "1", TypeError),
        ("retry_delay", -1, ValueError),
        ("retry_backoff", 0.5, ValueError),
        ("retry_backoff", None, TypeError),
        ("retry_jitter", 1.5, ValueError),
        ("retry_jitter", "a", TypeError),
        ("retry_on", 5, TypeError),
        ("retry_on", int, TypeError),
        ("retry_on", [ValueError, 5], TypeError),
        ("retry_on", [], ValueError),
        ("retry_on", "no name", ValueError),
        ("retry_on", ["E"] * 17, ValueError),
        ("retry_on", ["E" * 150, "F" * 150], ValueError),
        ("retry_on", type("Ä", (Exception,), {}), ValueError),
        ("block", "no", TypeError),
        ("track", [True], TypeError),
        ("retry_elsewhere", "False", TypeError),
        ("targets", 1.5, TypeError),
        ("targets", "some", TypeError),
        ("targets", [0, "1"], TypeError),
        ("targets", True, TypeError),
        ("targets", [], ValueError),
    ],
)
def test_a_wrong_value_is_refused_by_name(flag, value, kind):
    with pytest.raises(kind, match=f"flag {flag} must be"):
        Flags().replaced(**{flag: value})


@pytest.mark.parametrize(
    "eta",
    [
        -1,
        datetime.fromtimestamp(-1, UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
    ],
)
def test_nothing_starts_before_1970_or_after_9999(eta):
    with pytest.raises(ValueError, match="flag eta must be") as refused:
        Flags().replaced(eta=eta)

    assert str(refused.value) == (
        f"flag eta must be from 0 (in 1970) to 253402300799 (in 9999), not {eta}"
    )


def test_a_time_of_a_wrong_type_is_refused_in_one_sentence():
    with pytest.raises(TypeError) as refused:
        Flags().replaced(eta=date(2030, 1, 1))

    assert str(refused.value) == (
        "flag eta must be a datetime or seconds since the epoch, not date"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"block": True, "track": 1}, {}),
        ({"block": None, "track": 0, "retry_elsewhere": False}, {}),
        ({"retries": 3, "priority": -5}, {"retries": 3, "priority": -5}),
        ({"queue": "big_1-2", "label": "a b"}, {"queue": "big_1-2", "label": "a b"}),
        ({"result_ttl": 1.5}, {"ttl": 1500}),
        ({"result_ttl": 0}, {"ttl": 0}),
        ({"result_ttl": None, "label": None, "retries": 0}, {}),
        ({"after": "c-1"}, {"after": "as c-1"}),
        ({"after": [Result("c-2", "c-3"), "c-1"]}, {"after": "as c-2 c-3 c-1"}),
        ({"follow": Dependency(["c-1"], all=False)}, {"follow": "ns c-1"}),
        ({"after": None, "follow": []}, {}),
        ({"after": Dependency(), "follow": Result()}, {}),
        ({"timeout": 2.5, "delay": 1}, {"timeout": 2500, "start_in": 1000}),
        ({"timeout": None, "delay": None}, {}),
        ({"timeout": 0.0001}, {"timeout": 1}),
        ({"eta": 1e9}, {"start_at": 10**12}),
        ({"eta": datetime.fromtimestamp(5, UTC)}, {"start_at": 5000}),
        (
            {"eta": datetime.max.replace(microsecond=0, tzinfo=UTC)},
            {"start_at": 253402300799000},
        ),
        ({"time_limit": 5}, {"opts": "l5000"}),
        ({"retry_on": [ValueError, "OSError"]}, {"opts": "oValueError,OSError"}),
        ({"retry_on": KeyError, "time_limit": 0.5}, {"opts": "l500 oKeyError"}),
        ({"retry_on": ["IOError", "EnvironmentError"]}, {"opts": "oOSError"}),
        ({"retry_on": ["print", "Odd"]}, {"opts": "oprint,Odd"}),
        ({"retry_delay": 2}, {"pause": "2000 1 0"}),
        (
            {"retry_delay": 0.1, "retry_backoff": 1.5, "retry_jitter": 0.25},
            {"pause": "100 1.5 0.25"},
        ),
        ({"retry_backoff": 2, "retry_jitter": 0.1}, {}),
        ({"retry_delay": 1, "retry_jitter": 1e-5}, {"pause": "1000 1 0.00001"}),
        ({"retry_delay": 1, "retry_backoff": 1000}, {"pause": "1000 1000 0"}),
        ({"retry_elsewhere": True}, {"elsewhere": 1}),
        ({"targets": None}, {}),
        ({"targets": "all"}, {}),
    ],
)
def test_fields_are_what_differs(given, expected):
    assert Flags().replaced(**given).fields() == expected


def test_an_unknown_flag_is_refused_with_a_hint():
    with pytest.raises(KeyError, match="no such flag: retires, did you mean retries"):
        Flags().replaced(retires=3)
    with pytest.raises(KeyError, match="there are block, track"):
        Flags().replaced(zzz=3)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("countdown", "use delay"),
        ("expires", "use timeout, for how long it may wait"),
        ("ttl", "use timeout, .*, or result_ttl"),
        ("max_retries", "use retries"),
        ("max_tries", "use retries, which does not count the first attempt"),
        ("job_timeout", "use time_limit"),
        ("soft_time_limit", "use time_limit"),
        ("queue_name", "use queue"),
        ("depends_on", "use after"),
        ("autoretry_for", "use retry_on"),
        ("on_failure", "use after=redtask.Dependency"),
        ("task_id", "not there"),
        ("unique", "not there"),
        ("key", "not there"),
        ("rate_limit", "not there.*queue of its own"),
    ],
)
def test_a_flag_of_other_queues_is_answered_with_what_there_is_here(name, told):
    view = Flagged(Flags())

    with pytest.raises(KeyError, match=f"no such flag: {name}; .*{told}"):
        Flags().replaced(**{name: 3})
    with pytest.raises(AttributeError, match=f"no such flag: {name}; .*{told}"):
        setattr(view, name, 3)


def test_no_flag_of_other_queues_is_one_here():
    assert not set(NAMES) & set(FLAGS)


def test_a_misspelt_attribute_of_a_view_is_refused_with_a_hint():
    view = Flagged(Flags())

    with pytest.raises(AttributeError, match="flag: retires, did you mean retries"):
        view.retires = 3  # type: ignore[attr-defined]
    view.note = "mine"  # type: ignore[attr-defined]
    view.set_flags = view.set_flags  # type: ignore[method-assign]


def test_nothing_changes_when_one_is_wrong():
    view = Flagged(Flags())

    with pytest.raises(ValueError, match="priority"):
        view.set_flags(retries=3, priority=5000)

    assert view.flags == Flags()


def test_flags_are_attributes_that_are_checked():
    view = Flagged(Flags())

    view.retries = 3

    assert view.retries == 3
    assert view.flags.retries == 3
    with pytest.raises(TypeError, match="flag retries"):
        view.retries = "many"
    assert view.retries == 3


def test_set_flags_can_be_chained():
    view = Flagged(Flags())

    assert view.set_flags(retries=1).set_flags(label="x") is view
    assert (view.retries, view.label) == (1, "x")


def test_temporary_flags_nest_and_end_with_an_exception():
    view = Flagged(Flags().replaced(retries=1))

    with contextlib.suppress(RuntimeError), view.temp_flags(retries=2, label="a"):
        with view.temp_flags(label="b"):
            assert (view.retries, view.label) == (2, "b")
        assert (view.retries, view.label) == (2, "a")
        raise RuntimeError

    assert (view.retries, view.label) == (1, None)


def test_wrong_temporary_flags_change_nothing():
    view = Flagged(Flags())

    with pytest.raises(KeyError), view.temp_flags(retries=2, nothing=1):
        pytest.fail("never entered")

    assert view.flags == Flags()


def test_a_dependency_is_kept_as_it_was_when_it_was_set():
    given = Dependency(["c-1"])
    view = Flagged(Flags())

    view.set_flags(after=given, follow=["c-2"])
    given.add("c-9")

    assert view.after == {"c-1"}
    assert isinstance(view.follow, Dependency)


def test_a_delay_and_a_time_exclude_each_other():
    view = Flagged(Flags().replaced(delay=1))

    with pytest.raises(ValueError, match="flag eta"):
        view.set_flags(eta=1e9)

    assert view.set_flags(eta=1e9, delay=0).flags.fields() == {"start_at": 10**12}


@pytest.mark.parametrize(
    ("flags", "timers"),
    [
        ({}, False),
        ({"retries": 3, "after": "c-1", "time_limit": 1}, False),
        ({"timeout": 1}, True),
        ({"delay": 1}, True),
        ({"eta": 0}, True),
        ({"retry_delay": 1}, True),
    ],
)
def test_flags_say_whether_time_alone_brings_anything_about(flags, timers):
    assert Flags().replaced(**flags).has_timers == timers


# -- targets

LIVING = (0, 1, 2, 5, 7)


@pytest.mark.parametrize(
    ("given", "ids", "text"),
    [
        (1, (1,), "1"),
        (-1, (7,), "7"),
        (-5, (0,), "0"),
        ([5, 0, 1, 1, 2], (0, 1, 2, 5), "0-2,5"),
        (range(2), (0, 1), "0-1"),
        ({7, -2}, (5, 7), "5,7"),
        (slice(1, None, 2), (1, 5), "1,5"),
        (slice(None), LIVING, "0-2,5,7"),
    ],
)
def test_targets_are_looked_up_among_the_living(given, ids, text):
    flags = Flags().replaced(targets=given)
    assert flags.targets is not None

    found = flags.targets.resolved(LIVING)

    assert found.ids == ids
    assert found.text() == text
    assert found.shown == list(ids)
    assert Flags().replaced(targets=found).fields() == {"targets": text}


@pytest.mark.parametrize("given", [3, -6, [0, 9], slice(9, None)])
def test_an_engine_that_is_not_there_is_named(given):
    found = Targets.of(given)
    assert found is not None

    with pytest.raises(IndexError, match=r"flag targets.*(3|-6|9)"):
        found.resolved(LIVING)
    with pytest.raises(NoEnginesRegistered, match="no engine"):
        found.resolved(())


def test_some_of_those_that_are_there_are_named_as_well():
    found = Targets.of(99)
    assert found is not None

    with pytest.raises(IndexError, match=r"engine: 99; there are 0, 1, 2, 5, 7$"):
        found.resolved(LIVING)
    with pytest.raises(IndexError, match=r"there are 0, .*, 9, \.\.\.$"):
        found.resolved(range(20))


@pytest.mark.parametrize("given", [2, [0, 2], slice(1, 2), -1])
def test_targets_are_shown_as_they_were_given_until_they_are_looked_up(given):
    view = Flagged(Flags())

    assert view.targets is None
    view.targets = given

    assert view.targets == given


@pytest.mark.parametrize("view", [redtask.LoadBalancedView, aio.LoadBalancedView])
def test_help_names_every_flag(view):
    assert set(NAMES) <= set(re.findall(r"\w+", view.__doc__ or ""))
