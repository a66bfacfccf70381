"""Profiles: what wins over what, and whose keys are taken."""

import base64
import os
import pwd
import threading
from pathlib import Path

import pytest

from redtask.error import ConfigurationError
from redtask.keyfile import Key
from redtask.profile import Profile

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


@pytest.fixture
def nobody(monkeypatch):
    """A process whose user has no entry, and whose environment names no home."""

    def unknown(_uid):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("REDTASK_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)


def test_who_has_no_home_folder_can_use_a_hub_all_the_same(nobody, monkeypatch):
    monkeypatch.setenv("REDTASK_URL", "redis://a")
    monkeypatch.setenv("REDTASK_KEY", ENCODED)

    profile = Profile.load()

    assert profile.folder == Path("/.local/share/redtask/profiles/default")
    assert profile.url == "redis://a:6379/0"
    assert [key.secret for key in profile.keys] == [SECRET]


@pytest.mark.parametrize("name", ["REDTASK_HOME", "XDG_DATA_HOME", "REDTASK_KEY_FILE"])
def test_a_home_folder_that_is_not_known_is_no_place(name, nobody, monkeypatch):
    monkeypatch.setenv(name, "~/a")

    with pytest.raises(ConfigurationError, match=f"^{name}: ~/a: the home folder is"):
        Profile.load()


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


@pytest.mark.parametrize("what", ["url", "profile", "key"])
@pytest.mark.parametrize("value", [b"redis://host", 7, Path("/a"), object()])
def test_what_is_no_text_is_refused_by_name(what, value):
    kind = type(value).__name__
    with pytest.raises(TypeError, match=rf"^{what} must be a string, not {kind}$"):
        Profile.load(**{"name" if what == "profile" else what: value})


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


def test_keys_may_be_read_only_once_they_are_needed(folder, monkeypatch):
    path = write_private(folder / "default.keys", ENCODED)
    lazy = Profile.load(lazy=True)
    path.chmod(0o644)

    with pytest.raises(ConfigurationError, match="run: chmod 600"):
        _ = lazy.keys
    path.chmod(0o600)
    keys = lazy.keys
    path.unlink()

    assert lazy.keys == keys == (Key.of_secret(SECRET),)
    with pytest.raises(ConfigurationError, match="key, line 1: not a key"):
        Profile.load(key="no key", lazy=True)


def found(monkeypatch, owner, mode):
    """Have open files belong to this user, and ourselves to user 1000."""
    stat = os.fstat

    def fstat(descriptor):
        real = stat(descriptor)
        kind = real.st_mode & ~0o777
        return os.stat_result((kind | mode, *real[1:4], owner, *real[5:]))

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_a_key_file_of_somebody_else_is_refused(folder, monkeypatch):
    write_private(folder / "default.keys", ENCODED)
    found(monkeypatch, 1001, 0o600)

    with pytest.raises(ConfigurationError, match="belongs to user 1001, not to you"):
        Profile.load()


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_key_file_that_root_lets_our_group_read_is_used(mode, folder, monkeypatch):
    write_private(folder / "default.keys", ENCODED)
    found(monkeypatch, 0, mode)

    assert Profile.load().keys


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o660])
def test_a_key_file_that_root_lets_others_reach_is_refused(mode, folder, monkeypatch):
    write_private(folder / "default.keys", ENCODED)
    found(monkeypatch, 0, mode)

    with pytest.raises(ConfigurationError, match=r"run: chmod 440 '.*default\.keys'"):
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
