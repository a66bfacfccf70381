"""Whose exception it is: that of the code that ran, or of a signal handler."""

from __future__ import annotations

import enum
import functools
import pickle
import signal

import pytest

from redtask.interrupt import is_of_handler, let_through
from tests.alarms import LateError, Rings


def late():
    raise LateError


def plain(_number, _frame):
    late()


def of_anything(*_):
    raise LateError


def forgetful(number, frame):
    del number, frame
    raise LateError


def once(number, _frame):
    signal.signal(number, signal.SIG_IGN)
    raise LateError


class Alarm:
    """What handlers may be but functions."""

    def __call__(self, *told):
        del told
        raise LateError

    def ring(self, *told):
        del told
        raise LateError


def unpickle(value):
    with pytest.raises(LateError) as caught:
        pickle.loads(pickle.dumps(value))
    return caught.value


@pytest.fixture
def handle():
    """Set the handler of a signal."""
    before = signal.getsignal(signal.SIGUSR1)
    yield functools.partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "handler",
    [
        *(plain, of_anything, forgetful, once, Alarm(), Alarm().ring),
        functools.partial(functools.partial(forgetful)),
        lambda *_: late(),
    ],
)
def test_what_a_handler_raises_is_told_by_its_traceback(handle, handler):
    handle(handler)

    problem = unpickle(Rings())

    assert is_of_handler(problem)
    with pytest.raises(LateError):
        let_through(problem)


class Broken:
    """A value that cannot be unpickled."""

    def __reduce__(self):
        return late, ()


def test_what_was_run_raised_it_itself_whatever_handlers_there_are(handle):
    handle(plain)

    problem = unpickle(Broken())

    assert not is_of_handler(problem)
    let_through(problem)


class Colour(enum.Enum):
    """A value that an older release does not have cannot be unpickled."""

    RED = 1


def test_the_signal_modules_constants_are_no_handlers():
    with pytest.raises(ValueError, match="7 is not a valid Colour") as caught:
        Colour(7)

    assert not is_of_handler(caught.value)


def test_an_exception_that_was_not_raised_is_nobodys():
    assert not is_of_handler(LateError())
