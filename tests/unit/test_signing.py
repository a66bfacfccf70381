"""Signatures of work and results."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from redtask.error import SignatureError
from redtask.profile import Key
from redtask.rope import Rope
from redtask.signing import Keyring

ONE, OTHER = Key.of_secret(b"1" * 32), Key.of_secret(b"2" * 32)
TASK = ("digest", "1700000000000", "client-0")
RESULT = ("client-0", "1:nonce", "r")


@pytest.fixture
def keyring():
    return Keyring("hub", (ONE,))


def test_an_envelope_is_kid_mac_and_body(keyring):
    envelope = keyring.sign_task(*TASK, b"body")

    said = b"redtask 1 task\0hub\0digest\x001700000000000\0client-0\0body"
    mac = hmac.digest(ONE.secret, said, hashlib.sha256)[:16]
    assert envelope == ONE.kid + mac + b"body"


def test_what_was_signed_is_opened(keyring):
    assert keyring.open_task(*TASK, keyring.sign_task(*TASK, b"body")) == b"body"
    assert keyring.open_result(*RESULT, keyring.sign_result(*RESULT, b"")) == b""


def test_a_signer_of_many_signs_alike(keyring):
    sign = keyring.task_signer("digest", "1700000000000")

    assert sign("client-0", b"body") == keyring.sign_task(*TASK, b"body")


@pytest.mark.parametrize("at", range(3))
def test_a_task_is_bound_to_what_it_says(keyring, at):
    envelope = keyring.sign_task(*TASK, b"body")
    said = list(TASK)
    said[at] += "1"

    with pytest.raises(SignatureError, match="does not fit"):
        keyring.open_task(*said, envelope)


def test_no_part_of_a_body_can_be_passed_off_as_a_field(keyring):
    kid_and_mac = slice(20)
    task = keyring.sign_task(*TASK, b"R\0evil")[kid_and_mac]
    result = keyring.sign_result(*RESULT, b"p\0r\0evil")[kid_and_mac]
    scheme = keyring.sign_scheme("name", b"return\0evil")

    with pytest.raises(SignatureError, match="zero byte"):
        keyring.open_task("digest", "1700000000000", "client-0\0R", task + b"evil")
    with pytest.raises(SignatureError, match="zero byte"):
        keyring.open_result("client-0", "1:nonce\0r\0p", "r", result + b"evil")
    with pytest.raises(SignatureError, match="zero byte"):
        keyring.check_scheme("name\0return", b"evil", scheme)


@pytest.mark.parametrize("at", range(3))
def test_a_result_is_bound_to_what_it_says(keyring, at):
    envelope = keyring.sign_result(*RESULT, b"body")
    said = list(RESULT)
    said[at] += "1"

    with pytest.raises(SignatureError, match="does not fit"):
        keyring.open_result(*said, envelope)


def test_every_byte_counts(keyring):
    envelope = keyring.sign_result(*RESULT, b"body")

    for at in range(len(envelope)):
        altered = bytearray(envelope)
        altered[at] ^= 1
        with pytest.raises(SignatureError):
            keyring.open_result(*RESULT, bytes(altered))


def test_parts_cannot_be_shifted(keyring):
    envelope = keyring.sign_task("ab", "", "c-0", b"body")

    with pytest.raises(SignatureError):
        keyring.open_task("a", "b", "c-0", envelope)


def test_roles_and_hubs_are_kept_apart(keyring):
    envelope = keyring.sign_task("a", "b", "c", b"body")

    with pytest.raises(SignatureError):
        keyring.open_result("a", "b", "c", envelope)
    with pytest.raises(SignatureError):
        Keyring("other", (ONE,)).open_task("a", "b", "c", envelope)


def test_the_first_key_signs_and_all_verify(keyring):
    both = Keyring("hub", (OTHER, ONE))

    assert both.open_task(*TASK, keyring.sign_task(*TASK, b"x")) == b"x"
    assert both.sign_task(*TASK, b"x")[:4] == OTHER.kid


@pytest.mark.parametrize("envelope", [b"", b"123", bytes(20), b"x" * 40])
def test_what_no_key_of_ours_signed_is_refused(keyring, envelope):
    with pytest.raises(SignatureError, match="not ours"):
        keyring.open_task(*TASK, envelope)


def test_unsigned_is_an_explicit_choice(keyring):
    unsigned = Keyring("hub", (), signed=False)

    assert unsigned.open_task(*TASK, unsigned.sign_task(*TASK, b"x")) == b"x"
    assert unsigned.task_signer("d", "u")("r", b"x") == unsigned.sign_task(*TASK, b"x")
    assert unsigned.open_result(*RESULT, unsigned.sign_result(*RESULT, b"x")) == b"x"
    with pytest.raises(SignatureError, match="signing is off"):
        unsigned.open_task(*TASK, keyring.sign_task(*TASK, b"x"))
    with pytest.raises(SignatureError):
        keyring.open_task(*TASK, unsigned.sign_task(*TASK, b"x"))
    with pytest.raises(SignatureError, match="no key"):
        Keyring("hub", ())


def test_a_fingerprint_names_a_key():
    keyring = Keyring("hub", (OTHER, ONE))

    assert keyring.fingerprint == Keyring.fingerprint_of(OTHER)
    assert len(keyring.fingerprint) == 16
    assert keyring.knows(Keyring.fingerprint_of(ONE))
    assert not keyring.knows(Keyring.fingerprint_of(Key.of_secret(b"3" * 32)))
    assert not keyring.knows("")
    assert Keyring("hub", (), signed=False).knows("")
    assert not Keyring("hub", (), signed=False).knows(keyring.fingerprint)


def test_long_and_short_secrets_are_keys_as_in_the_standard():
    for secret in (b"s", b"x" * 64, b"x" * 100):
        key = Key(b"kid4", secret)
        said = b"redtask 1 task\0hub\0d\0\0r\0body"
        mac = hmac.digest(secret, said, hashlib.sha256)[:16]

        assert Keyring("hub", (key,)).sign_task("d", "", "r", b"body")[4:20] == mac


def test_secrets_do_not_show():
    assert "1111" not in repr(Keyring("hub", (ONE,)))


def test_a_message_is_for_one_worker_until_its_time(keyring):
    envelope = keyring.sign_control("w", 1000, "abort c-1 1:n")

    assert keyring.open_control("w", 1000, envelope) == "abort c-1 1:n"
    with pytest.raises(SignatureError, match="too late"):
        keyring.open_control("w", 1001, envelope)
    with pytest.raises(SignatureError, match="does not fit"):
        keyring.open_control("v", 1000, envelope)


def test_a_message_of_somebody_without_a_key_is_refused(keyring):
    stranger = Keyring("hub", (OTHER,)).sign_control("w", 1000, "abort c-1 1:n")

    with pytest.raises(SignatureError, match="not ours"):
        keyring.open_control("w", 0, stranger)


def test_no_task_or_result_passes_for_a_message(keyring):
    with pytest.raises(SignatureError, match="does not fit"):
        keyring.open_control("w", 0, keyring.sign_task("w", "", "", b"9 stop"))


@pytest.mark.parametrize("body", [b"", b"stop", b"-1 stop", b"\xff stop"])
def test_a_message_without_its_time_is_refused(body):
    unsigned = Keyring("hub", (), signed=False)

    with pytest.raises(SignatureError, match="too late"):
        unsigned.open_control("w", 0, bytes(20) + body)
    assert unsigned.open_control("w", 0, unsigned.sign_control("w", 1, "x")) == "x"


def test_a_scheme_is_signed_under_its_name(keyring):
    signature = keyring.sign_scheme("mine@1", b"text")

    keyring.check_scheme("mine@1", b"text", signature)
    for name, text in (("mine@2", b"text"), ("mine@1", b"text "), ("mine@1t", b"ext")):
        with pytest.raises(SignatureError, match="does not fit"):
            keyring.check_scheme(name, text, signature)


def test_a_scheme_of_another_hub_or_key_is_refused(keyring):
    for other in (Keyring("bub", (ONE,)), Keyring("hub", (OTHER,))):
        with pytest.raises(SignatureError):
            keyring.check_scheme(
                "mine@1", b"text", other.sign_scheme("mine@1", b"text")
            )


def test_nothing_else_passes_for_a_scheme(keyring):
    envelope = keyring.sign_task("mine@1", "", "", b"text")

    with pytest.raises(SignatureError, match="does not fit"):
        keyring.check_scheme("mine@1", envelope[20:], envelope[:20])
    with pytest.raises(SignatureError, match="not at all"):
        keyring.check_scheme("mine@1", b"text", bytes(20))


@pytest.mark.parametrize("signed", [True, False])
def test_what_is_in_pieces_is_signed_as_if_it_were_one(signed):
    keyring = Keyring("hub", (ONE,), signed=signed)
    rope = Rope([b"bo", b"", b"dy"])

    task, result = keyring.sign_task(*TASK, rope), keyring.sign_result(*RESULT, rope)

    assert task.pieces[1:] == rope.pieces
    assert task == keyring.sign_task(*TASK, b"body")
    assert result == keyring.sign_result(*RESULT, b"body")


def test_a_large_body_is_not_copied(keyring):
    body = bytes(100_000)
    envelope = bytearray(keyring.sign_task(*TASK, body))

    found = keyring.open_task(*TASK, envelope)

    assert type(found) is memoryview
    assert found == body
    envelope[-1] ^= 1
    with pytest.raises(SignatureError):
        keyring.open_task(*TASK, envelope)
