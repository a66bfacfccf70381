"""Schemes as users set them: from the command line, the profile and programs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

import redtask
from redtask.error import SchemeError
from redtask.hub import scripts
from redtask.profile import Profile
from redtask.scheme import configure, find
from redtask.store import Store
from tests import invariants

pytestmark = pytest.mark.acceptance

HOUSE = Path(__file__).parents[2]
EXAMPLE = HOUSE / "docs" / "examples" / "warm.lua"
CHANGES = 20


def note(ledger, number):
    """Write down that this task ran: one write, which the kernel does not part."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b"%d\n" % number)
    os.close(file)
    return number


@contextlib.contextmanager
def clients(url, profile, ledger, count):
    """Let so many clients submit tasks until the end; yield what they submitted."""
    over = threading.Event()
    numbers = itertools.count()
    submitted = []
    problems = []

    def work():
        try:
            with redtask.Client(url, key=profile.keys[0].text) as rc:
                view = rc.load_balanced_view()
                while not over.is_set():
                    mine = list(itertools.islice(numbers, 40))
                    single = [view.apply_async(note, ledger, at) for at in mine[:10]]
                    rest = view.map_async(note, [ledger] * 30, mine[10:])
                    submitted.extend(mine)
                    assert [one.get(timeout=30) for one in single] == mine[:10]
                    assert rest.get(timeout=30) == mine[10:]
        except BaseException as problem:  # noqa: BLE001 - told to the test
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield submitted
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]


@pytest.mark.parametrize("hwm", [0, 3])
def test_under_load_a_hub_changes_its_scheme_and_loses_and_doubles_nothing(land, hwm):
    ledger = str(land.folder / "ledger")
    own = find(str(EXAMPLE))
    chosen = itertools.cycle([*scripts.schemes(), own])
    with redtask.Cluster(n=3, hwm=hwm) as rc:
        profile = Profile.load()
        assert profile.url is not None
        store = Store(profile.url, profile.hub)
        store.keyring = rc._store.keyring
        with clients(profile.url, profile, ledger, 2) as submitted:
            for scheme, number in zip(chosen, range(1, CHANGES + 1), strict=False):
                seen = len(submitted)
                # With work in between, and another bound every now and then.
                configure(store, {"hwm": hwm + number % 3 // 2}, scheme)
                while len(submitted) < seen + 40:
                    threading.Event().wait(0.002)
        status = rc._session.status()
        counts = rc._run(status)
        with contextlib.closing(profile_redis(profile)) as redis:
            invariants.check(redis, "{redtask:default}", quiet=True, draining=True)
        store.close()

    ran = Counter(map(int, Path(ledger).read_text().split()))
    assert len(submitted) >= 40 * CHANGES
    assert ran == Counter(submitted)
    assert counts.states["completed"] == len(submitted)
    assert counts.states["failed"] == counts.states["running"] == 0


def profile_redis(profile):
    """Return a bare connection to the server of a profile."""
    import redis  # noqa: PLC0415 - only here

    return redis.Redis.from_url(profile.url, protocol=2)


# -- in a program


def test_a_cluster_may_name_its_scheme(land):
    with redtask.Cluster(n=1, private=True, scheme="twobin") as rc:
        scheme = rc._run(rc._session.status()).scheme
        values = rc.load_balanced_view().map_sync(abs, range(8))

    assert (scheme, values) == ("twobin", list(range(8)))


def test_a_cluster_may_have_a_scheme_of_ones_own(land):
    with redtask.Cluster(n=2, private=True, scheme=str(EXAMPLE)) as rc:
        scheme = rc._run(rc._session.status()).scheme
        values = rc.load_balanced_view().map_sync(abs, range(8))

    assert scheme.startswith("warm@")
    assert values == list(range(8))


def test_a_cluster_whose_scheme_is_none_is_not_started(land):
    with pytest.raises(SchemeError, match="no scheme 'best'"):
        redtask.Cluster(n=1, scheme="best").start_cluster()

    assert land.is_empty()


# -- on the command line


@pytest.fixture
def cluster(land):
    """Run a daemon without engines, which has another scheme than usual."""
    done = land.run("cluster", "start", "-n0", "--daemonize", "--scheme", "lru")
    assert done.code == 0, done
    yield land
    land.run("cluster", "stop")


def settings(land, *words):
    """Return the settings of the hub after changing some."""
    done = land.run("configure", "--json", *words)
    assert done.code == 0, done
    return json.loads(done.out)


def test_settings_are_shown_and_changed(cluster):
    before = settings(cluster)
    after = settings(cluster, "--hwm", "5", "--result-ttl", "90.5", "--lease", "20")
    weighted = settings(cluster, "--scheme", "weighted")

    assert before == {
        "hub": "default",
        "scheme": "lru",
        "hwm": 0,
        "result_ttl": 86400.0,
        "failure_ttl": 604800.0,
        "lease": 15.0,
        "max_deaths": 3,
        "max_payload": 67108864,
        "keep_bytes": 0,
    }
    assert after == {**before, "hwm": 5, "result_ttl": 90.5, "lease": 20.0}
    assert weighted == {**after, "scheme": "weighted"}
    shown = cluster.run("configure").out.splitlines()
    assert "setting\tscheme\tweighted" in shown
    assert "setting\thwm\t5" in shown


def test_the_status_shows_the_scheme(cluster):
    shown = cluster.run("status").out
    told = json.loads(cluster.run("status", "--json").out)

    assert "scheme\tlru" in shown.splitlines()
    assert told["settings"]["scheme"] == "lru"


def test_a_scheme_of_ones_own_is_set_and_an_invalid_one_refused(cluster):
    path = cluster.folder / "mine.lua"
    path.write_text(EXAMPLE.read_text())
    scheme = settings(cluster, "--scheme", "./mine.lua")["scheme"]

    path.write_text("local x = 1\nlocal y = = 2\n")
    broken = cluster.run("configure", "--scheme", "./mine.lua", "--hwm", "9")
    path.write_text("local x = 1\n\nlocal y = math.random(2)\n")
    forbidden = cluster.run("configure", "--scheme", "mine.lua", "--json")

    assert scheme.startswith("mine@")
    assert (broken.code, forbidden.code) == (1, 1)
    assert "redtask: ./mine.lua:2: unexpected symbol near '='" in broken.err
    assert json.loads(forbidden.out)["error"].startswith("mine.lua:3: math.random")
    kept = settings(cluster)
    assert (kept["scheme"], kept["hwm"]) == (scheme, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hwm", "-1"], "--hwm"),
        (["--lease", "0"], "--lease"),
        (["--result-ttl", "long"], "--result-ttl"),
    ],
)
def test_a_value_that_cannot_be_is_refused(land, words, told):
    done = land.run("configure", *words)

    assert done.code == 2
    assert told in done.err


def test_what_is_not_there_is_not_configured(land):
    done = land.run("configure", "--hwm", "3")

    assert done.code == 3
    assert land.is_empty()


def test_a_cluster_with_a_scheme_that_is_none_is_not_started(land):
    done = land.run("cluster", "start", "-n1", "--daemonize", "--scheme", "best")

    assert done.code == 2
    assert "there is no scheme 'best'" in done.err
    assert land.is_empty()


def test_the_profile_may_name_a_scheme_of_its_folder(land):
    folder = Profile.load().folder
    folder.mkdir(parents=True)
    (folder / "mine.lua").write_text(EXAMPLE.read_text())
    (folder / "redtask.toml").write_text('scheme = "mine.lua"\n')
    land.run("cluster", "start", "-n0", "--daemonize")

    of_profile = settings(land)["scheme"]
    land.run("cluster", "stop")
    land.run("cluster", "start", "-n0", "--daemonize", "--scheme", "twobin")
    of_option = settings(land)["scheme"]

    land.run("cluster", "stop")
    assert of_profile.startswith("mine@")
    assert of_option == "twobin"
