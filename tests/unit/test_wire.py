"""The wire: what a supervisor is told, without waiting, until Redis is gone."""

import contextlib
import selectors
import time

import pytest

from redtask.engine.wire import Wire
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
def wire(store):
    made = Wire(store, ["first", "second"])
    yield made
    made.close()


def wait(wire):
    """Wait until there is something to read, and read it."""
    with selectors.DefaultSelector() as selector:
        selector.register(wire.socket, selectors.EVENT_READ)
        assert selector.select(DEADLINE)
    return wire.read()


def test_nothing_is_waited_for(wire):
    begun = time.monotonic()

    assert wire.read() == []
    assert time.monotonic() - begun < 1


def test_what_is_pushed_arrives_with_the_name_of_its_list(wire, server):
    with server.redis() as redis:
        redis.rpush("second", "one")

    assert wait(wire) == [(b"second", b"one")]


def test_all_that_is_pushed_arrives_in_its_order(wire, server):
    with server.redis() as redis:
        redis.rpush("first", *range(5))

    came: list[tuple[bytes, bytes]] = []
    while len(came) < 5:
        came += wait(wire)

    assert [value for _, value in came] == [b"0", b"1", b"2", b"3", b"4"]


def test_it_knows_the_clock_of_the_server(wire):
    assert abs(wire.ahead) < 5000


def test_a_silent_redis_is_taken_for_dead_after_a_while(wire):
    assert 20 < wire.dead_at - time.monotonic() <= 25


def test_a_wire_that_is_cut_says_so(wire, server):
    wire.socket.shutdown(2)

    with pytest.raises(ConnectionLost, match="closed the wire"):
        wait(wire)


def test_a_server_that_refuses_is_no_wire(store, server):
    with server.redis() as redis:
        redis.set("first", "no list")
    wire = Wire(store, ["first"])

    with pytest.raises(ConfigurationError, match="does not let us listen"):
        wait(wire)
    wire.close()


def test_without_a_server_there_is_no_wire(tmp_path):
    store = Store(f"unix://{tmp_path}/none", "h")

    with pytest.raises(ConnectionLost):
        Wire(store, ["first"])


@pytest.mark.parametrize("word", ["LOADING", "UNBLOCKED", "READONLY", "MASTERDOWN"])
def test_a_server_that_cannot_just_now_is_listened_to_again_soon(wire, word):
    wire._reader.feed(f"-{word} for now\r\n".encode())

    with pytest.raises(ConnectionLost, match=f"{word} for now"):
        wire.read()
