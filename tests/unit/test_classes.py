"""Classes of the script in results."""

from __future__ import annotations

import enum
import pickle
import subprocess
import sys

import pytest

from redtask import classes, payload
from redtask.functional import by_value


def packed(value):
    return b"p" + by_value(value)


def defined():
    """Return a class as a script defines it."""

    class Counter:
        seen = 0

        def next(self):
            return type(self).seen + 1

    return Counter


def test_a_result_does_not_change_its_class_here():
    counter = defined()
    body, method = packed(counter()), counter.next

    counter.seen = 5
    found = payload.unpack_result(body)

    assert type(found) is counter
    assert (counter.seen, found.next(), counter.next) == (5, 6, method)


def test_a_class_that_comes_back_is_the_one_that_is_here():
    counter = defined()
    body = packed(counter)
    counter.added = 1

    assert payload.unpack_result(body) is counter
    assert counter.added == 1


def test_an_enumeration_is_left_as_it_is():
    class Colour(enum.Enum):
        RED = 1

        def name_of(self):
            return self.name

    body, method = packed(Colour.RED), Colour.name_of

    assert payload.unpack_result(body) is Colour.RED
    assert Colour.name_of is method


def test_an_exception_does_not_change_its_class_here():
    class OwnError(Exception):
        hint = "a"

    body = payload.pack_error(OwnError("x"), "traceback", {})
    OwnError.hint = "b"
    found = payload.unpack_error(body)

    assert type(found.__cause__) is OwnError
    assert OwnError.hint == "b"


def test_a_class_that_only_the_engine_has_is_whole():
    program = (
        "import sys\n"
        "from redtask.functional import by_value\n"
        "class Far:\n"
        "    number = 7\n"
        "    def twice(self): return 2 * self.number\n"
        "sys.stdout.buffer.write(by_value([Far(), Far]))\n"
    )
    body = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True
    ).stdout

    one, kind = classes.loads(body)
    again, _ = classes.loads(body)

    assert (one.twice(), kind.number) == (14, 7)
    assert type(one) is type(again) is kind


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_mentions_no_class_is_unpickled_from_any_buffer(kind):
    assert classes.loads(kind(pickle.dumps([1, "a"]))) == [1, "a"]
