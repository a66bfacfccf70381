"""Hubs with engines and clients, on every server and through both faces."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import uuid

import pytest

import redtask
from redtask import aio
from redtask.hub import sheet
from redtask.hub.keys import Keys
from redtask.hub.records import text
from redtask.keyfile import parse_keys
from redtask.signing import Keyring
from tests import invariants, servers
from tests.commands import Command
from tests.engines import Engine
from tests.faces import Blocking, Loop
from tests.fakes import SocketFakeServer

FACES = ("blocking", "aio")


class Place:
    """A hub on a server, with all that comes and goes there."""

    def __init__(self, server, stack):
        self.server = server
        self.name = uuid.uuid4().hex
        self.keys = Keys(self.name)
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.keyring = Keyring(self.name, parse_keys(self.key, source="test"))
        self.url = f"{server.url}?hub={self.name}"
        self.redis = stack.enter_context(contextlib.closing(server.redis()))
        self._stack = stack

    def client(self, face="blocking", **options):
        """Return a new client, made with one face or the other."""
        options = {"key": self.key, **options}
        if face == "blocking":
            return self._stack.enter_context(redtask.Client(self.url, **options))
        loop = Loop()
        self._stack.callback(loop.close)
        inner = aio.Client(self.url, **options)
        self._stack.callback(lambda: loop.call(inner.close))
        loop.call(inner._connect)
        return Blocking(loop, inner)

    def engine(self, **options):
        """Start an engine; make the hub if nobody has."""
        if not self.redis.exists(self.keys.root + ":hub"):
            redtask.Client(self.url, key=self.key).close()
        engine = Engine(self.server.url, self.name, self.keyring, **options)
        return self._stack.enter_context(engine)

    def record(self, task_id):
        """Return a record's fields as text."""
        words = sheet.words(self.keys, task_id)
        folded = sheet.unfold(*(self.redis.execute_command(*one) for one in words))
        found = folded or self.redis.hgetall(self.keys.task(task_id))
        return {text(name): text(value) for name, value in found.items()}

    def connections(self):
        """Return what the server knows of its connections."""
        return self.redis.client_list()


class Running:
    """Runs one coroutine of a test, with a client."""

    def __init__(self, place):
        self.place = place

    def __call__(self, test):
        async def main():
            async with (
                asyncio.timeout(60),
                aio.Client(self.place.url, key=self.place.key) as rc,
            ):
                return await test(rc)

        return asyncio.run(main())


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """Keep away from the profile of whoever runs the tests."""
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path / "home"))
    for name in ("REDTASK_URL", "REDTASK_KEY", "REDTASK_HUB"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def _place(server):
    with contextlib.ExitStack() as stack:
        place = Place(server, stack)
        yield place
    # Everything is closed now, and everything must hold.
    with contextlib.closing(server.redis()) as connection:
        if connection.exists(place.keys.root + ":hub"):
            invariants.check(connection, place.keys.root)


@pytest.fixture(params=servers.NAMES)
def any_place(request, start_server):
    """Return a new hub on each server in turn."""
    if request.param == "fake":
        server = SocketFakeServer()
    else:
        server = start_server(request.param)
    with _place(server) as place:
        yield place
    if request.param == "fake":
        server.close()


@pytest.fixture
def place(real_server):
    """Return a new hub on one real server."""
    with _place(real_server) as place:
        yield place


@pytest.fixture(params=FACES)
def face(request):
    """Each face in turn."""
    return request.param


@pytest.fixture
def run(place):
    """Run a coroutine function with a client of a hub."""
    return Running(place)


@pytest.fixture
def rc(place, face):
    """Return a client of a hub with two engines, through each face."""
    client = place.client(face)
    place.engine()
    place.engine()
    return client


@pytest.fixture
def view(rc):
    """Return a view that does not block."""
    return rc.load_balanced_view()


@pytest.fixture
def client(place):
    """Return a blocking client of a hub with two engines."""
    client = place.client()
    place.engine()
    place.engine()
    return client


@pytest.fixture
def gate(tmp_path):
    """Return a gate that tasks wait at until it is touched."""
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


@pytest.fixture
def command(place, monkeypatch, tmp_path):
    """Return what runs commands on a hub."""
    place.client()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Command(place.url, place.key)
