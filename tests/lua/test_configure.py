"""configure: make a hub, or change its settings."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Call, Configured


@pytest.fixture
def none(hub):
    """No hub at all."""
    hub.redis.flushall()
    return hub


def raw(*args):
    return Call("configure", args, Configured.read)


def test_a_hub_is_made_when_that_is_wanted(none):
    made = none.do(calls.configure({"testing": 1, "hwm": 4}, create=True))

    assert (made.created, made.fingerprint) == (True, "")
    hub = none.status(1).hub
    assert (hub["hwm"], hub["lease"], hub["max_deaths"]) == ("4", "15000", "3")
    assert hub["result_ttl"] == "86400000"


def test_a_hub_is_not_made_by_the_way(none):
    with none.refuses(error.NoHub):
        none.do(calls.configure({"hwm": 4}))


def test_a_hub_is_made_once_and_keeps_its_key(none):
    none.do(calls.configure({"testing": 1}, create=True, fingerprint="first"))
    none.submit(1, "c-1")

    again = none.do(calls.configure(create=True, fingerprint="second"))

    assert (again.created, again.fingerprint) == (False, "first")
    assert none.ready() == ["c-1"]


def test_a_setting_can_be_changed_and_the_others_stay(hub):
    hub.configure(1, lease=5000)
    hub.configure(2, max_deaths=7, result_ttl=0)

    about = hub.status(3).hub
    assert (about["lease"], about["max_deaths"], about["result_ttl"]) == (
        "5000",
        "7",
        "0",
    )


def test_to_change_nothing_is_allowed(hub):
    before = hub.dump()

    assert not hub.configure(1).created
    assert hub.dump() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", 1),
        ("schema", 2),
        ("format", 2),
        ("scheme", 1),
        ("fingerprint", 1),
        ("last", 1),
        ("hwm", -1),
        ("hwm", 100001),
        ("hwm", "many"),
        ("hwm", 1.5),
        ("hwm", "nan"),
        ("lease", 99),
        ("lease", 3600001),
        ("result_ttl", -1),
        ("max_deaths", 0),
        ("testing", 2),
    ],
)
def test_a_setting_that_is_none_is_refused(hub, name, value):
    with hub.refuses(error.BadArgument, name):
        hub.configure(1, **{name: value})


def test_one_wrong_setting_keeps_all_out(hub):
    with hub.refuses(error.BadArgument):
        hub.configure(1, hwm=3, lease=0)


def test_a_hub_is_not_made_with_wrong_settings(none):
    with none.refuses(error.BadArgument):
        none.do(calls.configure({"hwm": -1}, create=True))


def test_a_setting_without_a_value_is_refused(hub):
    with hub.refuses(error.BadArgument):
        hub.do(raw(1, 0, "", "hwm"))


def test_a_raised_bound_gives_engines_room_at_once(hub):
    hub.join(1, "x", "y")
    hub.submit(2, "c-1")
    hub.take(3, "x")

    hub.configure(4, hwm=2)

    assert hub.free() == ["y", "x"]


def test_a_lowered_bound_takes_the_room_at_once(hub):
    hub.configure(1, hwm=3)
    hub.join(2, "x")
    hub.submit(3, "c-1", "c-2")

    hub.configure(4, hwm=1)
    hub.draining = True
    hub.submit(5, "c-3")

    assert (hub.free(), hub.assigned("x")) == ([], ["c-1", "c-2"])
    assert hub.ready() == ["c-3"]


def test_no_engine_that_has_not_come_gets_room(hub):
    hub.register(1, "x")

    hub.configure(2, hwm=5)

    assert hub.free() == []


def test_another_key_may_become_the_hubs(hub):
    hub.do(calls.configure({"fingerprint": "0123456789abcdef", "hwm": 2}, now=1))

    told = hub.do(calls.configure(now=2))

    assert (told.fingerprint, told.created) == ("0123456789abcdef", False)
    assert hub.redis.hget(hub.key("hub"), "hwm") == b"2"


@pytest.mark.parametrize("text", ["", "0123456789ABCDEF", "0123456789abcde", "x" * 16])
def test_what_is_no_fingerprint_is_refused(hub, text):
    with hub.refuses(error.BadArgument):
        hub.do(calls.configure({"fingerprint": text}, now=1))


# Hubs of earlier releases


@pytest.fixture
def earlier(hub):
    """A hub that an earlier release made."""
    hub.redis.hset(hub.key("hub"), "format", "3 leastload")
    return hub


def test_a_hub_of_an_earlier_release_goes_on_as_that_knows_it(earlier):
    earlier.submit(1, "c-1", "c-2")
    earlier.configure(1, hwm=3)

    assert not earlier.redis.exists(earlier.keys.rows())
    assert earlier.redis.hget(earlier.key("hub"), "format") == b"3 leastload"
    assert earlier.do(calls.status(now=2)).is_earlier


def test_it_stays_one_under_another_scheme(earlier):
    earlier.configure(1, scheme="lru")

    assert earlier.redis.hget(earlier.key("hub"), "format") == b"3 lru"


def test_of_another_scheme_it_says_so(earlier):
    earlier.redis.hset(earlier.key("hub"), "format", "3 lru")

    with earlier.refuses(error.SchemeChanged, "^lru$"):
        earlier.submit(1, "c-1")


def test_it_is_upgraded_on_wish(earlier):
    earlier.do(calls.configure({"hwm": 2}, upgrade=True, now=1))
    earlier.do(calls.configure(upgrade=True, now=2))
    earlier.submit(3, "c-1", "c-2")

    assert earlier.redis.hget(earlier.key("hub"), "format") == b"4 leastload"
    assert earlier.redis.hget(earlier.key("hub"), "hwm") == b"2"
    assert earlier.redis.hlen(earlier.keys.rows()) == 2
    assert not earlier.do(calls.status(now=4)).is_earlier


def test_an_upgrade_may_bring_another_scheme(earlier):
    earlier.do(calls.configure({"scheme": "lru"}, upgrade=True, now=1))

    assert earlier.redis.hget(earlier.key("hub"), "format") == b"4 lru"
