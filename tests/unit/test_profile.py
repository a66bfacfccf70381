"""Profiles: what wins over what, which URLs are understood, whose keys are taken."""

import base64
import os
import threading

import pytest

from redtask.error import ConfigurationError
from redtask.profile import Key, Profile, parse_keys, redact_url

SECRET = bytes(range(32))
ENCODED = base64.b64encode(SECRET).decode()
OTHER = base64.b64encode(bytes(32)).decode()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An environment that says nothing but where the profiles are."""
    for name in [name for name in os.environ if name.startswith("REDTASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def folder(home):
    """The folder of the default profile."""
    path = home / "profiles" / "default"
    path.mkdir(parents=True)
    return path


def write_private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_where_nobody_says_anything_there_is_a_default_profile_without_url_or_key(home):
    profile = Profile.load()

    assert profile.name == "default"
    assert profile.folder == home / "profiles" / "default"
    assert profile.hub == "default"
    assert profile.url is None
    assert (profile.keys, profile.signed) == ((), True)
    assert profile.server_folder == profile.folder / "server"
    assert not profile.folder.exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"REDTASK_HOME": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"XDG_DATA_HOME": "/b"}, "/b/redtask"),
        ({}, "/c/.local/share/redtask"),
        ({"REDTASK_HOME": "", "XDG_DATA_HOME": ""}, "/c/.local/share/redtask"),
        ({"REDTASK_HOME": "~/d"}, "/c/d"),
    ],
)
def test_the_home_of_profiles_is_found(variables, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/c")
    monkeypatch.delenv("REDTASK_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert str(Profile.load().folder) == f"{expected}/profiles/default"


def test_the_argument_names_the_profile_before_the_environment_does(monkeypatch):
    monkeypatch.setenv("REDTASK_PROFILE", "there")

    assert Profile.load().name == "there"
    assert Profile.load("here").name == "here"


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a b", "x" * 65])
def test_a_profile_cannot_be_called_just_anything(name):
    with pytest.raises(ConfigurationError, match="profile cannot be called"):
        Profile.load(name)


def test_a_url_is_taken_from_the_first_place_that_has_one(folder, monkeypatch):
    (folder / "server").mkdir()
    (folder / "server" / "url").write_text("unix:///told.sock\n")
    assert Profile.load().url == "unix:///told.sock"

    (folder / "redtask.toml").write_text('url = "redis://profile"')
    assert Profile.load().url == "redis://profile:6379/0"
    assert Profile.load().url_source.endswith("redtask.toml, url")

    monkeypatch.setenv("REDTASK_URL", "redis://environment")
    assert Profile.load().url == "redis://environment:6379/0"
    assert Profile.load().url_source == "REDTASK_URL"

    assert Profile.load(url="redis://argument").url == "redis://argument:6379/0"


def test_a_hub_is_chosen_by_url_then_environment_then_profile(folder, monkeypatch):
    (folder / "redtask.toml").write_text('hub = "profile"')
    assert Profile.load(url="redis://host").hub == "profile"

    monkeypatch.setenv("REDTASK_HUB", "environment")
    assert Profile.load(url="redis://host").hub == "environment"

    assert Profile.load(url="redis://host?hub=url").hub == "url"


@pytest.mark.parametrize("name", ["Big", "", "-a", "a.b", "a{b}", "x" * 65])
def test_a_hub_cannot_be_called_just_anything(name):
    with pytest.raises(ConfigurationError, match="hub cannot be called"):
        Profile.load(url=f"redis://host?hub={name}")


def test_a_wrong_name_of_a_hub_says_where_it_stands(folder):
    (folder / "redtask.toml").write_text('hub = "Big"')

    with pytest.raises(ConfigurationError, match=r"redtask\.toml, hub: .*'Big'"):
        Profile.load()


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("redis://host:7000/3", "redis://host:7000/3"),
        ("redis://host/?hub=a", "redis://host:6379/0"),
        ("REDIS://Host", "redis://host:6379/0"),
        ("redis://me:s%40cret@host", "redis://me:s%40cret@host:6379/0"),
        ("redis://:secret@[::1]:7000", "redis://:secret@[::1]:7000/0"),
        ("rediss://host?ssl_ca_certs=/ca", "rediss://host:6379/0?ssl_ca_certs=%2Fca"),
        ("tcp://10.0.0.7:10101", "redis://10.0.0.7:10101/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:/run/redis.sock", "unix:///run/redis.sock"),
        ("unix://me:secret@/a b", None),
        ("unix://me:secret@/a%20b?db=2&hub=x", "unix://me:secret@/a%20b?db=2"),
    ],
)
def test_urls_are_understood_and_written_in_one_form(given, understood):
    if understood is None:
        with pytest.raises(ConfigurationError):
            Profile.load(url=given)
        return

    url = Profile.load(url=given).url

    assert url == understood
    assert Profile.load(url=url).url == url


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("host:6379", "no scheme"),
        ("http://host", "scheme 'http' is unknown"),
        ("reds://host", "did you mean redis://"),
        ("redis://", "names no host"),
        ("tcp://*:10101", "names no host"),
        ("redis://host:port", "port must be a number"),
        ("redis://host:0", "port must be a number"),
        ("redis://host:99999", "port must be a number"),
        ("redis://host/db", "database must be a number"),
        ("redis://host?db=x", "database must be a number"),
        ("redis://host?hubb=x", "'hubb' is unknown, did you mean hub?"),
        ("redis://host?hub=x&hub=y", "stands twice"),
        ("redis://host?ssl_ca_certs=x", "'ssl_ca_certs' is unknown"),
        ("redis://[::1", "host cannot be read"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "names no socket"),
        ("", "no scheme"),
    ],
)
def test_a_bad_url_is_named_with_what_would_be_understood(given, complaint):
    with pytest.raises(ConfigurationError) as caught:
        Profile.load(url=given)

    message = str(caught.value)
    assert message.startswith(f"url: {given!r} is not a URL of a Redis")
    assert complaint in message
    assert "redis://host:6379/0, rediss://" in message
    assert "tcp://host:6379" in message
    assert "unix:///path/to/redis.sock" in message


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hush@host:port",
        "redis://me:hu/sh@host",
        "redis://me:12/hush@host",
        "redis://me:12?hush@host",
        "redis://me:12#hush@host",
        "redis://:hush@[::1",
        "redis://me:hush@ho\u2100st",
        "me:hush@host",
        "rediss://host:x?ssl_password=hush",
        "redis://host:x?password=hush&db=1",
        "redis://me:hush @host",
    ],
)
def test_a_password_is_masked_however_broken_the_url(url):
    with pytest.raises(ConfigurationError) as caught:
        Profile.load(url=url)

    assert "hush" not in redact_url(url)
    assert "***" in redact_url(url)
    assert "hush" not in str(caught.value)


def test_the_rest_of_a_masked_url_stays_readable():
    assert redact_url("redis://me:hush@host:1/2") == "redis://me:***@host:1/2"
    assert redact_url("redis://me:hush@hush@host") == "redis://me:***@host"
    assert redact_url("redis://host:1/2") == "redis://host:1/2"
    assert redact_url("unix:///a?password=hush&db=1") == "unix:///a?password=***&db=1"
    assert redact_url("nonsense") == "nonsense"


def test_a_profile_shows_neither_password_nor_secret(monkeypatch):
    monkeypatch.setenv("REDTASK_KEY", f"0badcafe:{ENCODED}")

    profile = Profile.load(url="redis://me:hush@host")

    assert profile.shown_url == "redis://me:***@host:6379/0"
    assert "hush" not in repr(profile)
    assert repr(SECRET) not in repr(profile)
    assert ENCODED not in repr(profile)
    assert repr(profile.keys) == "(Key(kid=b'\\x0b\\xad\\xca\\xfe'),)"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("urll = 'redis://host'", "unknown key 'urll', did you mean url?"),
        ("zzz = 1", "unknown key 'zzz'; known are hub, key_file, scheme, signing, url"),
        ("url = 5", "url must be a string"),
        ("signing = 1", "signing must be true or false"),
        ("url = \n", r"not valid TOML: .*line 1"),
    ],
)
def test_bad_settings_name_the_file_and_the_key(text, complaint, folder):
    (folder / "redtask.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=rf"redtask\.toml: .*{complaint}"):
        Profile.load()


def test_keys_are_read_from_one_line_or_many_and_the_first_signs():
    one = parse_keys(f"0badcafe:{ENCODED},{OTHER}", source="here")
    many = parse_keys(
        f"# ours\n0badcafe:{ENCODED}  # new\n\n{OTHER}\n{OTHER}\n", source="here"
    )

    assert one == many
    assert one[0] == Key(bytes.fromhex("0badcafe"), SECRET)
    assert one[1].secret == bytes(32)
    assert one[1] == Key.of_secret(bytes(32))


def test_a_key_survives_being_written_and_read():
    key = Key.new()

    assert parse_keys(key.text, source="here") == (key,)
    assert len(key.kid) == 4
    assert len(key.secret) == 32
    assert key != Key.new()


@pytest.mark.parametrize("text", [ENCODED.rstrip("="), f"  {ENCODED} "])
def test_a_bare_key_forgives_what_copying_does_to_it(text):
    assert parse_keys(text, source="here") == (Key.of_secret(SECRET),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\n*hush*", "here, line 2: not a key"),
        ("hush:" + ENCODED, "here, line 1: the id of a key is 8 hex digits"),
        (ENCODED[:-8], "a key is 32 bytes in base64, this one has 27"),
        (f"0badcafe:{ENCODED},0badcafe:{OTHER}", "a second key is called 0badcafe"),
    ],
)
def test_a_bad_key_is_named_by_its_place_and_never_shown(text, complaint):
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(text, source="here")

    assert complaint in str(caught.value)
    assert "hush" not in str(caught.value)
    assert ENCODED[:-8] not in str(caught.value)


def test_keys_are_taken_from_the_first_place_that_has_any(folder, monkeypatch):
    own = write_private(folder / "default.keys", f"00000001:{ENCODED}\n")
    assert Profile.load().keys[0].kid.hex() == "00000001"
    assert Profile.load().key_source == str(own)

    write_private(folder / "named", f"00000002:{ENCODED}\n")
    (folder / "redtask.toml").write_text('key_file = "named"')
    assert Profile.load().keys[0].kid.hex() == "00000002"

    file = write_private(folder / "told", f"00000003:{ENCODED}\n")
    monkeypatch.setenv("REDTASK_KEY_FILE", str(file))
    assert Profile.load().keys[0].kid.hex() == "00000003"

    monkeypatch.setenv("REDTASK_KEY", f"00000004:{ENCODED}")
    assert Profile.load().keys[0].kid.hex() == "00000004"

    assert Profile.load(key=f"00000005:{ENCODED}").keys[0].kid.hex() == "00000005"


def test_each_hub_has_a_key_file_of_its_own(folder):
    write_private(folder / "other.keys", ENCODED)

    assert Profile.load(url="redis://host?hub=other").keys
    assert not Profile.load().keys


def test_signing_is_off_only_where_it_is_said(folder, monkeypatch):
    write_private(folder / "default.keys", ENCODED)
    (folder / "redtask.toml").write_text("signing = false")
    assert (Profile.load().keys, Profile.load().signed) == ((), False)

    monkeypatch.setenv("REDTASK_KEY", ENCODED)
    assert Profile.load().signed

    monkeypatch.setenv("REDTASK_KEY", "off")
    assert (Profile.load().keys, Profile.load().signed) == ((), False)

    assert Profile.load(key=ENCODED).signed
    assert not Profile.load(key="off").signed


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_file_that_others_can_reach_is_refused(mode, folder):
    path = write_private(folder / "default.keys", ENCODED)
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match=r"run: chmod 600 '.*default\.keys'"):
        Profile.load()


def test_a_key_file_of_somebody_else_is_refused(folder, monkeypatch):
    path = write_private(folder / "default.keys", ENCODED)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    with pytest.raises(ConfigurationError, match="belongs to user"):
        Profile.load()


def test_a_named_key_file_must_exist_and_hold_a_key(folder, monkeypatch):
    monkeypatch.setenv("REDTASK_KEY_FILE", str(folder / "named"))
    with pytest.raises(ConfigurationError, match="named: no such key file"):
        Profile.load()

    write_private(folder / "named", "# nothing\n")
    with pytest.raises(ConfigurationError, match="named: holds no key"):
        Profile.load()


def test_a_created_key_is_private_and_found_again():
    profile = Profile.load()

    created = profile.create_key()

    assert len(created.keys) == 1
    assert created.key_file.stat().st_mode & 0o777 == 0o600
    assert created.folder.stat().st_mode & 0o777 == 0o700
    assert Profile.load().keys == created.keys
    assert profile.create_key().keys == created.keys
    assert [path.name for path in created.folder.iterdir()] == ["default.keys"]


def test_no_key_is_created_where_there_is_one_or_signing_is_off(monkeypatch):
    monkeypatch.setenv("REDTASK_KEY", ENCODED)
    assert Profile.load().create_key().keys == (Key.of_secret(SECRET),)

    monkeypatch.setenv("REDTASK_KEY", "off")
    assert Profile.load().create_key().keys == ()

    assert not Profile.load().key_file.exists()


def test_a_key_that_appeared_since_is_found():
    before = Profile.load()
    unknown = before.with_new_key()
    created = Profile.load().create_key()

    found = before.with_new_key()

    assert unknown is before
    assert found == created
    assert found.with_new_key() is found


def test_all_who_create_a_key_at_once_get_the_same_one():
    profile = Profile.load()
    gate = threading.Barrier(8)
    created = []

    def create():
        gate.wait()
        created.append(profile.create_key().keys)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(created) == 8
    assert len(set(created)) == 1


def test_a_key_that_cannot_be_written_says_where(home):
    (home / "profiles").write_text("in the way")

    with pytest.raises(ConfigurationError, match=r"default\.keys: cannot create"):
        Profile.load().create_key()
