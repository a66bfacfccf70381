"""Replies read by hand, however they arrive."""

from __future__ import annotations

import pytest
from redis import exceptions

from redtask.haul import Haul


class Wire:
    """A socket on which bytes arrive in pieces of some size."""

    def __init__(self, data, size):
        self.data = memoryview(data)
        self.size = size
        self.given = []

    def recv_into(self, buffer, nbytes=0):
        piece = self.data[: min(self.size, len(buffer))]
        buffer[: len(piece)] = piece
        self.data = self.data[len(piece) :]
        self.given.append(len(piece))
        return len(piece)


def haul(data, size=1 << 20):
    return Haul(Wire(data, size), exceptions.ResponseError)


def bulk(data):
    return b"$%d\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [1, 7, 65536, 1 << 20])
@pytest.mark.parametrize("length", [0, 1, 100, 32_767, 32_768, 65_537])
def test_strings_of_any_length_arrive_in_any_pieces(size, length):
    data = bytes(range(256)) * (length // 256 + 1)
    wanted = data[:length]

    found = haul(bulk(wanted) + bulk(b"after\r\n") + bulk(wanted), size)

    assert [found.reply(), found.reply(), found.reply()] == [
        wanted,
        b"after\r\n",
        wanted,
    ]


def test_every_kind_of_reply_is_read():
    found = haul(b"*5\r\n:-3\r\n+OK\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n:1\r\n", 3)

    assert found.reply() == [-3, b"OK", None, None, []]
    problem = found.reply()
    assert isinstance(problem, exceptions.ResponseError)
    assert str(problem) == "ERR no"
    assert found.reply() == 1


def test_a_large_string_is_read_to_where_it_stays():
    wire = Wire(bulk(bytes(1 << 20)), 1 << 20)

    value = Haul(wire, exceptions.ResponseError).reply()

    assert type(value) is bytearray
    assert len(wire.given) == 3


def test_no_more_than_the_replies_is_read():
    wire = Wire(bulk(bytes(100_000)), 1 << 20)

    Haul(wire, exceptions.ResponseError).reply()

    assert len(wire.data) == 0


@pytest.mark.parametrize("data", [b"", b"$100\r\nabc", bulk(bytes(100_000))[:-2]])
def test_an_end_in_the_middle_is_a_lost_connection(data):
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        haul(data).reply()


def test_what_is_no_reply_is_refused():
    with pytest.raises(exceptions.ConnectionError, match="begins with"):
        haul(b"!oops\r\n").reply()
