"""Timeouts and intervals as callers give them."""

import fractions
import math
from datetime import timedelta
from typing import Any

import pytest

from redtask import timeouts

HUGE = pytest.param(10**400, ValueError, id="huge")


def test_timeouts_below_zero_are_for_ever():
    assert timeouts.limit_of(-1) is None
    assert timeouts.limit_of(None) is None
    assert timeouts.limit_of(0) == 0
    assert timeouts.limit_of(2.5) == 2.5


def test_for_futures_timeouts_below_zero_are_none_at_all():
    assert timeouts.span_of(-1) == 0
    assert timeouts.span_of(None) is None
    assert timeouts.span_of(2.5) == 2.5


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [
        (math.nan, ValueError),
        HUGE,
        ("5", TypeError),
        (timedelta(1), TypeError),
    ],
)
def test_what_is_no_timeout_is_refused_by_name(timeout, kind):
    for refuse in (timeouts.limit_of, timeouts.span_of, timeouts.patience_of):
        with pytest.raises(kind, match="timeout must be"):
            refuse(timeout)


def test_numbers_of_seconds_become_plain_ones():
    five: Any = fractions.Fraction(5)

    for convert in (timeouts.limit_of, timeouts.span_of, timeouts.patience_of):
        assert type(convert(five)) is float
    assert type(timeouts.interval_of(five)) is float


@pytest.mark.parametrize(
    ("interval", "kind"),
    [(None, TypeError), ("1", TypeError), (math.nan, ValueError), HUGE],
)
def test_what_is_no_interval_is_refused_by_name(interval, kind):
    with pytest.raises(kind, match="interval must be a number of seconds, not"):
        timeouts.interval_of(interval)


def test_no_client_has_less_than_no_patience():
    assert timeouts.patience_of(None) is None
    assert timeouts.patience_of(0) == 0
    assert timeouts.patience_of(2.5) == 2.5
    with pytest.raises(ValueError, match="timeout must not be negative"):
        timeouts.patience_of(-1)
