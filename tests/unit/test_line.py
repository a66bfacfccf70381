"""The line: what a supervisor is told, without waiting, until Redis is gone."""

import contextlib
import selectors
import time

import pytest

from redtask.engine.line import Line
from redtask.error import ConfigurationError, ConnectionLost
from redtask.store import Store
from tests.fakes import SocketFakeServer

DEADLINE = 20


@pytest.fixture
def server():
    made = SocketFakeServer()
    yield made
    made.close()


@pytest.fixture
def store(server):
    with contextlib.closing(Store(server.url, "h")) as made:
        yield made


@pytest.fixture
def line(store):
    made = Line(store, ["first", "second"])
    yield made
    made.close()


def wait(line):
    """Wait until there is something to read, and read it."""
    with selectors.DefaultSelector() as selector:
        selector.register(line.socket, selectors.EVENT_READ)
        assert selector.select(DEADLINE)
    return line.read()


def test_nothing_is_waited_for(line):
    begun = time.monotonic()

    assert line.read() == []
    assert time.monotonic() - begun < 1


def test_what_is_pushed_arrives_with_the_name_of_its_list(line, server):
    with server.redis() as redis:
        redis.rpush("second", "one")

    assert wait(line) == [(b"second", b"one")]


def test_all_that_is_pushed_arrives_in_its_order(line, server):
    with server.redis() as redis:
        redis.rpush("first", *range(5))

    came: list[tuple[bytes, bytes]] = []
    while len(came) < 5:
        came += wait(line)

    assert [value for _, value in came] == [b"0", b"1", b"2", b"3", b"4"]


def test_it_knows_the_clock_of_the_server(line):
    assert abs(line.ahead) < 5000


def test_a_silent_other_side_is_taken_for_dead_some_time(line):
    assert 20 < line.dead_at - time.monotonic() <= 25


def test_a_line_that_is_cut_says_so(line, server):
    line.socket.shutdown(2)

    with pytest.raises(ConnectionLost, match="closed"):
        wait(line)


def test_a_server_that_refuses_is_no_line(store, server):
    with server.redis() as redis:
        redis.set("first", "no list")
    line = Line(store, ["first"])

    with pytest.raises(ConfigurationError, match="does not let us listen"):
        wait(line)
    line.close()


def test_without_a_server_there_is_no_line(tmp_path):
    store = Store(f"unix://{tmp_path}/none", "h")

    with pytest.raises(ConnectionLost):
        Line(store, ["first"])
