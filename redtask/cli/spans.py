"""Durations, times and sizes as typed by users: ``90s``, ``1h30m``, ``500M``."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    _Seconds = click.ParamType[float]
    _Datetime = click.ParamType[datetime]
    _Bytes = click.ParamType[int]
else:
    # Older releases of click's ParamType are not generic.
    _Seconds = _Datetime = _Bytes = click.ParamType

_UNITS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhdw])")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_FORM: Final = "a span of time is as in 30s, 10m, 1h30m, 2d, or a number of seconds"


def seconds(text: str) -> float:
    """Return a duration in seconds. Raises ``ValueError``."""
    words = text.strip().lower().replace(" ", "")
    try:
        number = float(words)
    except ValueError:
        pass
    else:
        if 0 <= number < float("inf"):
            return number
    parts = _PART.findall(words)
    if not parts or "".join(number + unit for number, unit in parts) != words:
        raise ValueError(f"{text!r}: {_FORM}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str, now: datetime | None = None) -> datetime:
    """Return a time: a duration ago, or an ISO 8601 date with or without a time.

    Without a time zone it is local. Raises ``ValueError``.
    """
    try:
        ago = seconds(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text.strip()).astimezone(UTC)
        except ValueError:
            raise ValueError(
                f"{text!r}: a moment is a time span ago, such as 1h30m, or a date, "
                "such as 2026-11-28 or 2026-11-28T03:00"
            ) from None
    try:
        return (now or datetime.now(UTC)) - timedelta(seconds=ago)
    except OverflowError:
        raise ValueError(f"{text!r} is too long ago") from None


class Span(_Seconds):
    """A duration, as seconds: at least ``least``, at most ``most``."""

    name = "span"

    def __init__(self, least: float = 0.0, most: float = math.inf) -> None:
        self.least = least
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        try:
            found = seconds(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        if not self.least <= found <= self.most:
            most = "" if self.most == math.inf else f" and at most {self.most:g}"
            self.fail(
                f"{value!r} must be at least {self.least:g}{most} seconds", param, ctx
            )
        return found


class Size(_Bytes):
    """A size, as bytes: at least ``least``, at most ``most``."""

    name = "size"

    def __init__(self, least: int = 0, most: float = math.inf) -> None:
        self.least = least
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(
                f"{value!r}: a size is 500M, 2G, or a number of bytes", param, ctx
            )
        number: float = float(found[1]) if "." in found[1] else int(found[1])
        size = int(number * 1024 ** " kmgt".index(found[2].lower() or " "))
        if not self.least <= size <= self.most:
            most = "" if self.most == math.inf else f" and at most {self.most}"
            self.fail(
                f"{value!r} must be at least {self.least}{most} bytes", param, ctx
            )
        return size


class _Moment(_Datetime):
    """A time, as a datetime."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return moment(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


#: Option types.
SPAN: Final = Span()
MOMENT: Final = _Moment()
