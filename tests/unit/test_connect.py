"""What is wrong when connecting is told in one sentence that says what to do."""

from __future__ import annotations

import pytest

from redtask import connect, error
from redtask.flows import Commands, Pause
from redtask.hub.calls import Call, Configured
from redtask.profile import Profile
from redtask.signing import Keyring

KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
OTHER = "MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))
    for name in ("REDTASK_URL", "REDTASK_KEY", "REDTASK_HUB"):
        monkeypatch.delenv(name, raising=False)


def profile(key=KEY, url="redis://user:hidden@nowhere:1/0"):
    return Profile.load(url=url, key=key)


def hold(flow, *replies):
    """Answer each step of a flow; return what it returns."""
    step = next(flow)
    for reply in replies:
        assert isinstance(step, (Call, Commands, Pause))
        try:
            if isinstance(reply, Exception):
                step = flow.throw(reply)
            else:
                step = flow.send(reply)
        except StopIteration as end:
            return end.value
    pytest.fail(f"still asks {step}")


def info(version="7.0.15", policy="noeviction", loading=0, **more):
    return [
        *(f"{name}:{value}".encode() for name, value in more.items()),
        f"redis_version:{version}\r\n".encode(),
        f"maxmemory_policy:{policy}".encode(),
        f"loading:{loading}".encode(),
    ]


def fingerprint(key=KEY):
    return Keyring("default", profile(key).keys).fingerprint


def test_without_an_address_there_is_a_way_to_get_one():
    with pytest.raises(error.ConfigurationError, match="redtask cluster start"):
        connect.address(Profile.load())


def test_a_file_for_tls_that_cannot_be_read_is_named(tmp_path):
    there = tmp_path / "ca.crt"
    there.write_text("")
    url = f"rediss://nowhere:1/0?ssl_ca_certs={there}"

    assert connect.address(profile(url=url))
    with pytest.raises(error.ConfigurationError) as caught:
        connect.address(profile(url=f"{url}&ssl_keyfile={tmp_path}/my.key"))

    assert f"ssl_keyfile: cannot read {tmp_path}/my.key" in str(caught.value)


@pytest.mark.parametrize("version", ["6.2.14", "7.0.15", "8.0.0", "255.255.255"])
def test_a_server_that_serves(version):
    hold(connect.check_server(profile()), info(version))


def test_a_server_that_does_not_say_what_it_is():
    refusal = error.ConfigurationError(
        "the Redis user lacks a right: this user has no permissions to run the "
        "'info' command"
    )

    hold(connect.check_server(profile()), refusal)
    hold(connect.check_server(profile()), error.HubError("unknown command 'INFO'"))


def test_a_server_that_loads_its_data_is_waited_for_in_words(caplog):
    loading = info(loading=1)

    hold(connect.check_server(profile()), loading, None, loading, None, info())

    (said,) = caplog.messages
    assert said.startswith("Redis at redis://user:***@nowhere:1/0")
    assert said.endswith("is loading its data; waiting for it")


def test_a_server_that_loads_its_data_is_waited_for_in_patience():
    with pytest.raises(error.ConnectionLost, match="reached: it is still loading its"):
        hold(connect.check_server(profile(), 0.0), info(loading=1))


@pytest.mark.parametrize(
    ("scheme", "reason", "hint"),
    [
        ("redis", "(104, 'Connection reset by peer')", "rediss://"),
        ("redis", "Connection closed by server.", "rediss://"),
        ("redis", "Error 111 connecting to nowhere:1", ""),
        ("redis", "Timeout connecting to server", ""),
        ("rediss", "Timeout connecting to server", "redis://"),
        ("rediss", "[SSL: WRONG_VERSION_NUMBER] wrong version number", "redis://"),
        ("rediss", "Connection closed by server.", ""),
    ],
)
def test_who_may_have_mistaken_tls_is_told(scheme, reason, hint):
    lost = error.ConnectionLost("Redis cannot be reached: x")
    lost.__cause__ = ConnectionError(reason)

    told = connect.unreachable(profile(url=f"{scheme}://nowhere:1/0"), lost)

    after = str(told).partition(f"cannot be reached: {reason}")[2]
    assert after.endswith(f"begins with {hint}") if hint else after == ""


def test_an_unreachable_server_is_named_without_its_password():
    lost = error.ConnectionLost("Redis cannot be reached: x")
    lost.__cause__ = ConnectionRefusedError("Error 111 connecting to nowhere:1")

    with pytest.raises(error.ConnectionLost) as caught:
        hold(connect.check_server(profile()), lost)

    assert str(caught.value) == (
        "Redis at redis://user:***@nowhere:1/0 (from url) cannot be reached: "
        "Error 111 connecting to nowhere:1"
    )


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (info("6.0.16"), r"is version 6\.0\.16; redtask needs 6\.2"),
        (info("5.0.1"), "redtask needs 6.2"),
        (info(policy="allkeys-lru"), "set it to noeviction"),
        (info(redis_mode="sentinel"), "is a Sentinel.*name the Redis that it watches"),
        (error.ConfigurationError("Redis refuses the password: no"), "password"),
    ],
)
def test_a_server_that_does_not_do(told, sentence):
    with pytest.raises(error.ConfigurationError, match=sentence) as caught:
        hold(connect.check_server(profile()), told)

    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_who_only_looks_at_a_server_hears_that_it_is_a_sentinel():
    with pytest.raises(error.ConfigurationError, match="is a Sentinel"):
        hold(connect.loaded(profile()), info(redis_mode="sentinel"))


def test_a_replica_is_for_who_only_reads():
    replica = info(role="slave", slave_read_only=1)

    hold(connect.check_server(profile(), writes=False), replica)
    hold(connect.check_server(profile()), info(role="slave", slave_read_only=0))
    with pytest.raises(error.ConnectionLost, match=r"a replica.*name its master"):
        hold(connect.check_server(profile()), replica)


def test_a_hub_that_is_there():
    keyring = hold(connect.meet(profile()), Configured(False, fingerprint()))

    assert keyring.fingerprint == fingerprint()


def test_a_hub_that_is_not_there_is_made_with_a_key():
    unknown = profile(key=None)

    flow = connect.meet(unknown)
    next(flow)
    step = flow.throw(error.NoHub())
    assert isinstance(step, Call)
    assert step.args[1] == 1
    made = str(step.args[2])
    with pytest.raises(StopIteration) as end:
        flow.send(Configured(True, made))

    keyring = end.value.value
    assert keyring.fingerprint == made
    assert Profile.load(url=unknown.url).keys[0].secret in {
        key.secret for key in keyring.keys
    }


def test_a_key_that_came_with_the_hub_since_we_looked_is_used():
    known = profile(key=None)
    made = Profile.load(url=known.url).create_key()
    mark = Keyring("default", made.keys).fingerprint

    keyring = hold(connect.meet(known), Configured(False, mark))

    assert keyring.keys == made.keys


def test_who_comes_second_makes_the_hub_with_the_key_of_the_first():
    known = profile(key=None)
    flow = connect.meet(known)
    next(flow)
    made = Profile.load(url=known.url).create_key()
    mark = Keyring("default", made.keys).fingerprint

    step = flow.throw(error.NoHub())
    with pytest.raises(StopIteration) as end:
        flow.send(Configured(False, mark))

    assert isinstance(step, Call)
    assert step.args[2] == mark
    assert end.value.value.keys == made.keys


def test_two_who_make_the_hub_at_once_have_one_key():
    flow = connect.meet(profile())
    next(flow)
    flow.throw(error.NoHub())

    with pytest.raises(error.ConfigurationError, match="not the key of hub"):
        flow.send(Configured(False, fingerprint(OTHER)))


@pytest.mark.parametrize(
    ("key", "found", "sentence"),
    [
        (
            KEY,
            fingerprint,
            "copy the key file from where the hub was made, or set REDTASK_KEY",
        ),
        (
            None,
            fingerprint,
            "there is no key here: copy the key file from where it was made to",
        ),
        (None, None, "is unsigned: set REDTASK_KEY=off to use it"),
        (KEY, None, "is unsigned: set REDTASK_KEY=off to use it, or another hub"),
        ("off", fingerprint, "signing is switched off here"),
    ],
)
def test_a_key_that_does_not_fit(key, found, sentence):
    print_of = found(OTHER) if found else ""

    with pytest.raises(error.ConfigurationError, match=sentence) as caught:
        hold(connect.meet(profile(key)), Configured(False, print_of))

    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_unsigned_hub_is_used_when_told_so():
    keyring = hold(connect.meet(profile("off")), Configured(False, ""))

    assert not keyring.signed
