"""Programs that limit their own time, by a signal whose handler raises."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class LateError(Exception):
    """The program has taken too long."""


@contextlib.contextmanager
def alarm(problem: BaseException) -> Iterator[None]:
    """Have a signal raise an error."""

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise problem

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def be_late(*_: object) -> NoReturn:
    """Be interrupted by such a signal, in any thread."""

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise LateError

    ring(signal.SIGUSR1, sys._getframe())


class Rings:
    """A value in whose unpickling the signal arrives; the value is None."""

    def __reduce__(self) -> tuple[object, ...]:
        return signal.raise_signal, (signal.SIGUSR1,)
