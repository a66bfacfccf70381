"""URLs: which are understood, and that no password of one is shown."""

import pytest

from redtask.address import Address, redact_url
from redtask.error import ConfigurationError


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
            Address.read(given, source="url")
        return

    url = Address.read(given, source="url").url

    assert url == understood
    assert Address.read(url, source="url").url == url


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("host:6379", "no scheme"),
        ("http://host", "scheme 'http' is unknown"),
        ("reds://host", "did you mean redis://"),
        ("redis://", "names no host"),
        ("tcp://*:10101", "names no host"),
        ("redis://a..b", "'a..b' is not the name of a host"),
        ("redis://" + "a" * 64 + ".org", "is not the name of a host"),
        ("redis://a\udcffb", "is not the name of a host"),
        ("redis://host:port", "port must be a number"),
        ("redis://host:0", "port must be a number"),
        ("redis://host:99999", "port must be a number"),
        ("redis://host/db", "database must be a number"),
        ("redis://host?db=x", "database must be a number"),
        ("redis://host?hubb=x", "'hubb' is unknown, did you mean hub?"),
        ("redis://host?hub=x&hub=y", "is given twice"),
        ("redis://host?ssl_ca_certs=x", "'ssl_ca_certs' is unknown"),
        ("redis://[::1", "host cannot be read"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "names no socket"),
        ("", "no scheme"),
    ],
)
def test_a_bad_url_is_named_with_what_would_be_understood(given, complaint):
    with pytest.raises(ConfigurationError) as caught:
        Address.read(given, source="url")

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
        "redis://host?pas_word=hush",
        "redis://host?db=1&p%61ssword=hush&nonsense=",
    ],
)
def test_a_password_is_masked_however_broken_the_url(url):
    with pytest.raises(ConfigurationError) as caught:
        Address.read(url, source="url")

    assert "hush" not in redact_url(url)
    assert "***" in redact_url(url)
    assert "hush" not in str(caught.value)


def test_the_rest_of_a_masked_url_stays_readable():
    assert redact_url("redis://me:hush@host:1/2") == "redis://me:***@host:1/2"
    assert redact_url("redis://me:hush@hush@host") == "redis://me:***@host"
    assert redact_url("redis://host:1/2") == "redis://host:1/2"
    assert redact_url("unix:///a?password=hush&db=1") == "unix:///a?password=***&db=1"
    plain = "rediss://host:1/2?hub=a&db=1&username=me&ssl_keyfile=/k"
    assert redact_url(plain) == plain
    assert redact_url("nonsense") == "nonsense"
