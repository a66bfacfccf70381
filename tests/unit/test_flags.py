"""The flags of a view."""

from __future__ import annotations

import contextlib

import pytest

from redtask.flags import Flagged, Flags


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
        ("label", 5, TypeError),
        ("result_ttl", -1, ValueError),
        ("result_ttl", float("nan"), ValueError),
        ("result_ttl", 1e12, ValueError),
        ("result_ttl", "1", TypeError),
    ],
)
def test_a_wrong_value_is_refused_by_name(flag, value, kind):
    with pytest.raises(kind, match=f"flag {flag} must be"):
        Flags().replaced(**{flag: value})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"block": True, "track": 1}, {}),
        ({"retries": 3, "priority": -5}, {"retries": 3, "priority": -5}),
        ({"queue": "big_1-2", "label": "a b"}, {"queue": "big_1-2", "label": "a b"}),
        ({"result_ttl": 1.5}, {"ttl": 1500}),
        ({"result_ttl": 0}, {"ttl": 0}),
        ({"result_ttl": None, "label": None, "retries": 0}, {}),
    ],
)
def test_fields_are_what_differs(given, expected):
    assert Flags().replaced(**given).fields() == expected


def test_an_unknown_flag_is_refused_with_a_hint():
    with pytest.raises(KeyError, match="no such flag: retires; did you mean retries"):
        Flags().replaced(retires=3)
    with pytest.raises(KeyError, match="there are block, track"):
        Flags().replaced(zzz=3)


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
        view.retries = "many"  # type: ignore[assignment]
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
