"""Keys as they are written, read and named."""

import base64

import pytest

from redtask.error import ConfigurationError
from redtask.keyfile import Key, create_keys, parse_keys

SECRET = bytes(range(32))
ENCODED = base64.b64encode(SECRET).decode()
OTHER = base64.b64encode(bytes(32)).decode()


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


def test_a_key_file_that_cannot_be_made_says_what_else_there_is(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"; REDTASK_HOME .* REDTASK_KEY"):
        create_keys(tmp_path / "file/hub.keys", "hub")
