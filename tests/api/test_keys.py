"""Profiles and keys, as an operator makes and changes them."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

import redtask
from redtask.cli import group
from redtask.error import ConfigurationError
from redtask.keeper.card import lock
from redtask.keyfile import read_keys
from redtask.profile import LOCK

SCHEME = Path(__file__).parents[2] / "docs" / "examples" / "warm.lua"


def run(*words, stdin=None):
    """Run a command; return exit code, what it printed, and what it complained of."""
    done = CliRunner().invoke(group, [str(word) for word in words], input=stdin)
    return done.exit_code, done.stdout, done.stderr


def well(*words, stdin=None):
    """Run a command that must go well; return its JSON objects."""
    code, out, err = run(*words, "--json", stdin=stdin)
    assert code == 0, (out, err)
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def hub(place):
    """A hub with a profile of its own, whose key is in a file."""
    redtask.Client(place.url, key=place.key).close()
    well("init", place.url, "--key", "-", stdin=place.key)
    return place


def test_a_profile_leads_to_its_hub(hub):
    with redtask.Client() as client:
        assert client.load_balanced_view().apply_async(abs, -1).msg_ids

    (about,) = well("key", "ls")
    assert about["use"] == "signs"
    file = Path(os.environ["REDTASK_HOME"], "profiles/default", f"{hub.name}.keys")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, err = run("init", hub.url, "--key", hub.key)
    assert (code, "pass --yes" in err) == (2, True)


def test_a_profile_is_checked_before_it_is_written(place):
    redtask.Client(place.url, key=place.key).close()
    (other,) = well("key", "new")

    code, out, _ = run("init", place.url, "--key", other["key"], "--json")
    assert code == 1
    assert "is not the key of hub" in json.loads(out)["error"]
    code, _, err = run("init", "redis://127.0.0.1:1", "--unsigned")
    assert (code, "cannot be reached" in err) == (69, True)
    assert run("init", place.url, "--key", "x", "--unsigned")[0] == 2

    assert not Path(os.environ["REDTASK_HOME"], "profiles").exists()


def key_file(hub):
    return Path(os.environ["REDTASK_HOME"], "profiles/default", f"{hub.name}.keys")


def test_the_key_that_made_a_hub_is_not_lost_to_another_one(place):
    redtask.Client(place.url).close()
    (only,) = read_keys(key_file(place))
    (other,) = well("key", "new")

    done = run("init", place.url, "--key", other["key"], "--no-check")

    assert done[0] == 0
    assert "1 other key in it still verifies" in done[1]
    first, second = read_keys(key_file(place))
    assert (first.text, second) == (other["key"], only)


def test_keys_in_the_middle_of_a_change_stay(hub):
    well("key", "new", "--add")
    both = read_keys(key_file(hub))

    well("init", hub.url, "--key", both[0].text, "--yes")

    assert read_keys(key_file(hub)) == both


def test_two_keys_of_one_id_cannot_be_in_a_file(hub):
    before = key_file(hub).read_text()
    (old,) = read_keys(key_file(hub))
    like_it = f"{old.kid.hex()}:{'A' * 43}"

    code, _, err = run("init", hub.url, "--key", like_it, "--no-check", "--yes")

    assert (code, f"has another key of the id {old.kid.hex()}" in err) == (1, True)
    assert key_file(hub).read_text() == before


def test_a_profile_without_a_key_may_come_before_its_hub(place):
    (key,) = well("key", "new")
    code, _, err = run("init", place.url, "--key", key["key"])
    assert (code, "there is no hub" in err) == (3, True)

    code, _, err = run("init", place.url)

    assert (code, "the first to connect makes it" in err) == (0, True)
    with redtask.Client():
        assert len(read_keys(key_file(place))) == 1


def test_an_unsigned_hub_has_a_profile_too(place):
    redtask.Client(place.url, key="off").close()

    well("init", place.url, "--unsigned")

    with redtask.Client() as client:
        assert client.ids == []
    assert run("key", "new", "--add")[0] == 5


def test_a_key_takes_over_without_a_gap(hub):
    code, _, err = run("key", "rotate")
    assert (code, "there is no other key" in err) == (5, True)
    old = redtask.Client()

    (new,) = well("key", "new", "--add")
    assert new["use"] == "verifies"
    well("key", "rotate")
    (first, second) = well("key", "ls")
    assert (first["key_id"], second["use"]) == (new["key_id"], "verifies")
    # What the old one signs still counts, also for who has both.
    with redtask.Client() as both:
        name = old.load_balanced_view().apply_async(abs, -2).msg_ids[0]
        assert both.get_result(name).msg_ids == [name]
    code, _, err = run("key", "drop", new["key_id"], "--yes")
    assert (code, "signs" in err) == (5, True)

    well("key", "drop", second["key_id"], "--yes")

    assert [key["key_id"] for key in well("key", "ls")] == [new["key_id"]]
    with redtask.Client() as client:
        assert client.ids == []
    with pytest.raises(ConfigurationError, match="is not the key of hub"):
        redtask.Client(hub.url, key=hub.key)
    old.close()


def test_a_scheme_of_ones_own_is_signed_anew(hub):
    assert run("configure", "--scheme", SCHEME)[0] == 0
    well("key", "new", "--add")
    well("key", "rotate")
    doomed = well("key", "ls")[1]["key_id"]

    well("key", "drop", doomed, "--yes")

    with redtask.Client() as client:
        assert client.queue_status()["unassigned"] == 0


def test_a_scheme_of_ones_own_keeps_nobody_with_its_key_from_reading(hub):
    assert run("configure", "--scheme", SCHEME)[0] == 0

    assert run("ls")[0] == 0
    assert run("queue", "ls")[0] == 0
    assert run("status", "--once")[0] == 0


def test_keys_of_the_environment_are_changed_there(hub, monkeypatch):
    monkeypatch.setenv("REDTASK_KEY", hub.key)

    code, _, err = run("key", "new", "--add")

    assert (code, "change them there" in err) == (5, True)
    assert run("key", "drop", "ffffffff", "--yes")[0] == 3


def test_no_key_is_made_for_a_hub_that_has_another(place, monkeypatch):
    monkeypatch.setenv("REDTASK_URL", place.url)
    redtask.Client(key=place.key).close()

    code, _, err = run("key", "new", "--add")

    assert (code, "there is no key here: copy the key file" in err) == (1, True)
    assert not key_file(place).exists()


def test_a_key_may_be_made_before_its_hub(place, monkeypatch):
    monkeypatch.setenv("REDTASK_URL", place.url)

    (new,) = well("key", "new", "--add")

    with redtask.Client():
        assert [key.kid.hex() for key in read_keys(key_file(place))] == [new["key_id"]]


@pytest.fixture
def folder():
    """A profile's folder after its machine was off."""
    found = Path(os.environ["REDTASK_HOME"], "profiles", "default")
    (found / "server").mkdir(parents=True)
    (found / "server" / "url").write_text(f"unix://{found}/server/redis.sock")
    return found


def test_who_misses_the_redis_of_a_cluster_is_told_to_start_that(folder):
    for words in ("ls", "status --once", "submit math:sqrt 4", "doctor"):
        code, _, err = run(*words.split())

        assert (words, code) == (words, 69)
        assert "start one with 'redtask cluster start'" in err

    held = lock(folder / LOCK, fcntl.LOCK_EX)
    assert "redtask cluster start" not in run("ls")[2]
    os.close(held)


def test_a_file_of_a_cluster_that_is_refused_is_named(folder):
    (folder / LOCK).symlink_to(LOCK)

    for words in ("stop", "status", "list", "start -n 0"):
        code, _, err = run("cluster", *words.split())

        assert (words, code) == (words, 1)
        assert "cluster.lock: Too many levels of symbolic links; REDTASK_HOME" in err

    (folder / LOCK).unlink()
    record = folder / "server" / "process.json"
    record.symlink_to(record.name)
    assert f"{record}: Too many levels" in run("cluster", "stop")[2]


def test_where_no_folder_can_be_no_cluster_runs(monkeypatch):
    monkeypatch.setenv("REDTASK_HOME", os.devnull)

    assert run("cluster", "stop")[0] == 3
    assert run("cluster", "status")[0] == 3
    code, _, err = run("cluster", "start", "-n", "0")
    assert (code, "REDTASK_HOME may name another folder" in err) == (1, True)


def test_what_a_dead_cluster_left_is_removed(tmp_path):
    folder = Path(os.environ["REDTASK_HOME"], "profiles", "default")
    (folder / "server").mkdir(parents=True)
    (folder / "cluster.log").write_text("words")
    (key,) = well("key", "new")
    keys = folder / "default.keys"
    keys.write_text(key["key"])
    keys.chmod(0o600)

    assert run("cluster", "clean") == (
        0,
        f"removed {folder / 'cluster.log'}\n",
        "",
    )
    assert run("cluster", "clean")[1] == "nothing was left\n"
    code, _, err = run("cluster", "clean", "--data")
    assert (code, "pass --yes" in err) == (2, True)
    assert run("cluster", "clean", "--data", "--yes")[0] == 0

    assert [path.name for path in folder.iterdir()] == ["default.keys"]
    assert run("cluster", "engines")[0] == 3
