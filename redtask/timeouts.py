"""Timeouts and intervals, as callers give them: checked, and in one form."""

from __future__ import annotations

import math
import numbers
import time


def limit_of(timeout: float | None) -> float | None:
    """Convert a timeout for flows: IPython.parallel's -1 is forever.

    Raises ``TypeError`` and ``ValueError`` if it is not a number of seconds.
    """
    limit = _timeout(timeout)
    return None if limit is None or limit < 0 else limit


def span_of(timeout: float | None) -> float | None:
    """Convert a timeout for what is like a future: negative is at once.

    Raises ``TypeError`` and ``ValueError`` if it is not a number of seconds.
    """
    limit = _timeout(timeout)
    return None if limit is None else max(0.0, limit)


def until_of(timeout: float | None) -> float | None:
    """Return the deadline of a timeout, as ``time.monotonic()``; None is forever."""
    limit = limit_of(timeout)
    return None if limit is None else time.monotonic() + limit


def patience_of(timeout: float | None) -> float | None:
    """Check a client's timeout and return it; None is forever.

    Raises ``TypeError`` and ``ValueError``.
    """
    limit = _timeout(timeout)
    if limit is not None and limit < 0:
        raise ValueError(f"timeout must not be negative: {timeout}")
    return limit


def interval_of(interval: float) -> float:
    """Check the interval of a progress bar. Raises ``TypeError`` and ``ValueError``."""
    return _seconds(interval, "interval must be a number of seconds")


def _timeout(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    return _seconds(timeout, "timeout must be a number of seconds or None")


def _seconds(value: object, wanted: str) -> float:
    """Return any kind of real number as a plain one."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{wanted}, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError(f"{wanted}, not one so large") from None
    if math.isnan(seconds):
        raise ValueError(f"{wanted}, not nan")
    return seconds
