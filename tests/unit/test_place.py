"""Where a hub is, told to another process."""

from __future__ import annotations

import pytest

from redtask.keyfile import Key
from redtask.place import Place
from redtask.profile import Profile


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))
    for name in ("REDTASK_URL", "REDTASK_KEY", "REDTASK_HUB"):
        monkeypatch.delenv(name, raising=False)


def place_of(url=None, name=None):
    return Place.of(Profile.load(name, url=url))


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("redis://me:hush@host:7/3?hub=h", "redis://host:7/3?hub=h"),
        ("redis://:hush@host", "redis://host:6379/0?hub=default"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2&hub=default"),
        ("rediss://user@host/1", "rediss://host:6379/1?hub=default"),
        ("redis://host?password=hush", "redis://host:6379/0?hub=default"),
        (
            "unix:///run/redis.sock?username=hush&db=2&password=hush",
            "unix:///run/redis.sock?db=2&hub=default",
        ),
        (
            "rediss://host?ssl_keyfile=/k&ssl_password=hush",
            "rediss://host:6379/0?ssl_keyfile=%2Fk&hub=default",
        ),
    ],
)
def test_a_chosen_hub_is_found_again_without_its_login(url, there):
    place = place_of(url)

    assert "hush" not in repr(place)
    assert place.url_here() == there


def test_the_login_is_the_one_that_is_known_here(monkeypatch):
    place = place_of("redis://me:hush@host:7/3?hub=h")

    monkeypatch.setenv("REDTASK_URL", "redis://other:word@host:7/3?hub=h")
    assert place.url_here() is None
    monkeypatch.setenv("REDTASK_URL", "redis://other:word@elsewhere:7/3?hub=h")
    assert place.url_here() == "redis://host:7/3?hub=h"
    monkeypatch.setenv("REDTASK_URL", "redis://other:word@host:7/3?hub=another")
    assert place.url_here() == "redis://host:7/3?hub=h"


def test_a_login_among_the_options_makes_no_other_hub(monkeypatch):
    place = place_of("redis://host:7/3?password=hush&username=me&hub=h")

    assert place.is_same(place_of("redis://other:word@host:7/3?hub=h"))
    monkeypatch.setenv("REDTASK_URL", "redis://host:7/3?password=word&hub=h")
    assert place.url_here() is None
    monkeypatch.setenv("REDTASK_URL", "redis://host:8/3?password=word&hub=h")
    assert place.url_here() == "redis://host:7/3?hub=h"


def test_who_followed_his_profile_does_so_elsewhere(monkeypatch):
    monkeypatch.setenv("REDTASK_URL", "redis://host:7/3")
    place = place_of()

    monkeypatch.setenv("REDTASK_URL", "redis://moved:8/0")
    assert place.url_here() is None
    monkeypatch.delenv("REDTASK_URL")
    assert place.url_here() == "redis://host:7/3?hub=default"


def test_a_hub_of_which_nothing_is_known_is_the_profiles():
    place = place_of(name="mine")

    assert (place.profile, place.url, place.url_here()) == ("mine", None, None)


def test_keys_stay_here(monkeypatch):
    key = Key.new().text
    monkeypatch.setenv("REDTASK_KEY", key)

    assert key not in repr(place_of("redis://host"))
