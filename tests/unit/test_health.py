"""Who asks a worker how it is, and whom it tells."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import socket
from pathlib import Path

import pytest

from redtask.engine.health import Health, notify, watchdog
from redtask.error import ConfigurationError


class Loop:
    """A loop that answers, a step at a time."""

    def __init__(self, about):
        self.selector = selectors.DefaultSelector()
        self.about = about
        self.health = Health(0, lambda: self.about)
        self.health.serve(self.selector)
        self.clients = []

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.health.port), timeout=5)
        self.clients.append(client)
        return client

    @property
    def listener(self):
        return self.health._socket

    def step(self):
        for key, _ in self.selector.select(0.2):
            key.data()

    def close(self):
        for client in self.clients:
            client.close()
        self.health.close()
        self.selector.close()


@pytest.fixture
def loop():
    found = Loop({"consuming": True, "why": ""})
    yield found
    found.close()


def ask(loop):
    client = loop.connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    loop.step()
    loop.step()
    return client.recv(4096)


@pytest.mark.parametrize(
    ("consuming", "status"), [(True, b"200 OK"), (False, b"503 Service Unavailable")]
)
def test_the_status_says_whether_it_takes_tasks(loop, consuming, status):
    loop.about = {"consuming": consuming, "why": "because"}

    head, _, body = ask(loop).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 " + status)
    assert json.loads(body) == loop.about


def test_who_says_nothing_takes_nobodys_place(loop):
    for _ in range(40):
        loop.connect()
        loop.step()

    assert len(loop.health._asking) <= 16
    assert ask(loop).startswith(b"HTTP/1.1 200")


def test_who_is_turned_away_may_have_asked_just_then(loop):
    for _ in range(16):
        loop.connect()
        loop.step()
    waiting = loop.connect()
    loop.clients[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    events = loop.selector.select(5)
    newest_first = sorted(events, key=lambda one: one[0].fileobj is not loop.listener)

    for key, _ in newest_first:
        key.data()

    assert len(newest_first) == 2
    waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
    loop.step()
    assert waiting.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.fixture
def no_descriptor():
    """Return a context in which this process can have no further descriptor."""

    @contextlib.contextmanager
    def context():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        last = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
        with contextlib.ExitStack() as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            yield

    return context


def test_who_asks_a_worker_without_descriptors_is_turned_away(loop, no_descriptor):
    for _ in range(3):
        client = loop.connect()
        with no_descriptor():
            loop.step()

            # Nor does the loop spin, because somebody still waits.
            assert loop.selector.select(0) == []
        assert client.recv(100) == b""

    assert ask(loop).startswith(b"HTTP/1.1 200")


def test_who_hangs_up_is_forgotten(loop):
    loop.connect().close()

    loop.step()
    loop.step()

    assert loop.health._asking == {}


def test_a_port_that_is_taken_is_told_of(loop):
    with pytest.raises(ConfigurationError, match=f"port {loop.health.port}"):
        Health(loop.health.port, dict)


@pytest.mark.parametrize("mark", ["", "@"])
def test_systemd_is_told_where_it_listens(tmp_path, monkeypatch, mark):
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(f"\0{name}" if mark else name)
        there.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", mark + name)

        notify("READY=1")

        assert there.recv(100) == b"READY=1"


def test_nobody_is_told_when_nobody_listens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))

    notify("READY=1")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("micros", "pid", "seconds"),
    [
        ("", "", float("inf")),
        ("often", "", float("inf")),
        ("4000000", "", 2.0),
        ("4000000", "1", float("inf")),
        pytest.param("4000000", str(os.getpid()), 2.0, id="4000000-own-2.0"),
    ],
)
def test_the_watchdog_is_patted_twice_in_its_time(monkeypatch, micros, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    monkeypatch.setenv("WATCHDOG_PID", pid)

    assert watchdog() == seconds


def test_it_can_be_asked_by_either_version_of_ip(loop):
    port = loop.health.port

    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    socket.create_connection(("::1", port), timeout=5).close()
