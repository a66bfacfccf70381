"""Signatures of work and results: verified before anything is parsed or unpickled.

An envelope is ``kid(4) || HMAC-SHA256 truncated to 16 || body`` (RFC 2104). Besides the
body, the MAC covers everything that an engine or a client relies on: the role and the
hub; for a task its root id, the function's digest and the time after which it must not
run; for a result the task, its token, and whether it is a result or an error; for a
message to a worker its name. So an envelope altered, or moved to another function,
attempt, worker or hub, is rejected, and a result is never taken for a task. None of
that is stored twice: the verifier reads it from the record. No I/O here.

A task's root is not its own id where it is a resubmit, whose arguments were copied in
Redis. So whoever can write there may move function, arguments and root of one task to
the record of another: an engine then does the work of the one, until its latest start,
and signs the result as that of the other.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from redtask.error import SignatureError
from redtask.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.rope import Read, Written

_BLOCK: Final = 64
_MAC: Final = 16
_HEAD: Final = 4 + _MAC
_UNSIGNED: Final = bytes(_HEAD)
#: From this many bytes on, a copy costs more than a view.
_LARGE: Final = 65536
_INNER: Final = bytes(value ^ 0x36 for value in range(256))
_OUTER: Final = bytes(value ^ 0x5C for value in range(256))


class _Key(Protocol):
    """A secret, and the four bytes that name it."""

    @property
    def kid(self) -> bytes: ...

    @property
    def secret(self) -> bytes: ...


class _Mac:
    """HMAC-SHA256 with one key, prepared once.

    The two hash states of RFC 2104 are kept and copied per message: less than half the
    time of ``hmac.digest``, which hashes the key each time.
    """

    __slots__ = ("_inner", "_outer", "kid")

    def __init__(self, key: _Key, role: bytes) -> None:
        padded = key.secret.ljust(_BLOCK, b"\0")
        if len(padded) > _BLOCK:
            padded = hashlib.sha256(key.secret).digest().ljust(_BLOCK, b"\0")
        self.kid = key.kid
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))
        self._inner.update(role)

    def of(self, message: bytes) -> bytes:
        """Return the truncated MAC of the role and a message."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_MAC]

    def of_parts(self, *parts: Read) -> bytes:
        """Return the same for a message in parts, which saves copies of large ones."""
        inner = self._inner.copy()
        for part in parts:
            inner.update(part)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_MAC]


def _pieces(body: Written | Read) -> Sequence[Read]:
    return body.pieces if isinstance(body, Rope) else (body,)


def _behind(head: bytes, body: Written | Read) -> Written:
    """Return an envelope: a head, and the body behind it."""
    return body.behind(head) if isinstance(body, Rope) else head + body


def _task_header(function: str, until: str, root: str) -> bytes:
    return _clear(f"{function}\0{until}\0{root}\0".encode(), 3)


def _result_header(task_id: str, token: str, kind: str) -> bytes:
    return _clear(f"{task_id}\0{token}\0{kind}\0".encode(), 3)


def _control_header(worker: str) -> bytes:
    return _clear(f"{worker}\0".encode(), 1)


def _scheme_header(name: str) -> bytes:
    return _clear(f"{name}\0".encode(), 1)


def _clear(header: bytes, fields: int) -> bytes:
    """Return a header of so many fields, if it is clear where they and it end.

    Otherwise a record could pass the beginning of a signed body off as its field.
    """
    if header.count(b"\0") != fields:
        raise SignatureError("it has a zero byte where none can be")
    return header


def unverified(envelope: bytes) -> bytes:
    """Return the body of an envelope unverified: for display only."""
    return envelope[_HEAD:]


@dataclass(frozen=True, slots=True)
class Keyring:
    """Signs with the first key, verifies with all of them; for one hub.

    With ``signed=False`` nothing is signed and everything unsigned is trusted: an
    explicit choice of whoever made the hub.
    """

    #: The hub that every signature is bound to.
    hub: str
    #: The keys; secrets never appear in a repr.
    keys: Sequence[_Key] = field(repr=False)
    #: Is work signed at all?
    signed: bool = True
    _tasks: dict[bytes, _Mac] = field(init=False, repr=False)
    _results: dict[bytes, _Mac] = field(init=False, repr=False)
    _controls: dict[bytes, _Mac] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.signed and not self.keys:
            raise SignatureError("there is no key to sign with")
        for name in ("task", "result", "control"):
            role = f"redtask 1 {name}\0{self.hub}\0".encode()
            macs = {key.kid: _Mac(key, role) for key in self.keys}
            object.__setattr__(self, f"_{name}s", macs)

    @property
    def fingerprint(self) -> str:
        """Identifies the first key at the hub; "" when unsigned."""
        return self.fingerprint_of(self.keys[0]) if self.signed else ""

    @staticmethod
    def fingerprint_of(key: _Key) -> str:
        """Identify a key without revealing it: 16 hex digits of its SHA-256."""
        return hashlib.sha256(b"redtask fingerprint\0" + key.secret).hexdigest()[:16]

    def knows(self, fingerprint: str) -> bool:
        """Is one of our keys the one with this fingerprint?"""
        if not self.signed:
            return fingerprint == ""
        return any(self.fingerprint_of(key) == fingerprint for key in self.keys)

    def sign_task(
        self, function: str, until: str, root: str, body: Written | Read
    ) -> Written:
        """Return the envelope of a task's arguments.

        ``function`` is a digest; ``until`` the latest start in minutes since the epoch,
        with options behind it, or ""; ``root`` the id of the first ancestor.
        """
        return self.task_signer(function, until)(root, body)

    def task_signer(
        self, function: str, until: str
    ) -> Callable[[str, Written | Read], Written]:
        """Return ``sign_task`` for many tasks of a function: root, body -> envelope."""
        if not self.signed:
            return lambda _root, body: _behind(_UNSIGNED, body)
        mac = self._tasks[self.keys[0].kid]
        kid, mac_of, begin = mac.kid, mac.of, f"{function}\0{until}\0".encode()

        def sign(root: str, body: Written | Read) -> Written:
            if type(body) is bytes and len(body) < _LARGE:
                return kid + mac_of(begin + root.encode() + b"\0" + body) + body
            parts = begin, root.encode(), b"\0", *_pieces(body)
            return _behind(kid + mac.of_parts(*parts), body)

        return sign

    def open_task(self, function: str, until: str, root: str, envelope: Read) -> Read:
        """Return the arguments that a key holder signed for this very task.

        Raises ``SignatureError`` if none did.
        """
        return self._open(self._tasks, _task_header(function, until, root), envelope)

    def sign_result(
        self, task_id: str, token: str, kind: str, body: Written
    ) -> Written:
        """Return the envelope of a result (kind ``r``) or error (``e``)."""
        if not self.signed:
            return _behind(_UNSIGNED, body)
        mac = self._results[self.keys[0].kid]
        header = _result_header(task_id, token, kind)
        if type(body) is bytes and len(body) < _LARGE:
            return mac.kid + mac.of(header + body) + body
        return _behind(mac.kid + mac.of_parts(header, *_pieces(body)), body)

    def open_result(self, task_id: str, token: str, kind: str, envelope: Read) -> Read:
        """Return the result or error that an engine with a key signed for this attempt.

        Raises ``SignatureError`` if none did.
        """
        return self._open(self._results, _result_header(task_id, token, kind), envelope)

    def sign_control(self, worker: str, expiry: int, text: str) -> bytes:
        """Return the envelope of a message to a worker.

        ``expiry`` is until when it may be obeyed, ms since the epoch by the hub's
        clock.
        """
        body = f"{expiry} {text}".encode()
        if not self.signed:
            return _UNSIGNED + body
        mac = self._controls[self.keys[0].kid]
        return mac.kid + mac.of(_control_header(worker) + body) + body

    def open_control(self, worker: str, now: float, envelope: bytes) -> str:
        """Return the message that a key holder signed for this worker.

        ``now`` is ms since the epoch by the hub's clock. Raises ``SignatureError``
        unless it is signed with a known key, for this worker, and has not expired.
        """
        body = self._open(self._controls, _control_header(worker), envelope)
        expiry, _, text = bytes(body).decode("utf-8", "replace").partition(" ")
        if not expiry.isdecimal() or now > int(expiry):
            raise SignatureError("it came too late")
        return text

    def sign_scheme(self, name: str, text: bytes) -> bytes:
        """Return the signature under which a hub keeps a user's own scheme."""
        if not self.signed:
            return _UNSIGNED
        mac = self._scheme_macs()[self.keys[0].kid]
        return mac.kid + mac.of_parts(_scheme_header(name), text)

    def check_scheme(self, name: str, text: bytes, signature: bytes) -> None:
        """Raise ``SignatureError`` unless a key holder signed this very scheme."""
        header = _scheme_header(name)
        self._open(self._scheme_macs(), header, signature[:_HEAD] + text)

    def _scheme_macs(self) -> dict[bytes, _Mac]:
        role = f"redtask 1 scheme\0{self.hub}\0".encode()
        return {key.kid: _Mac(key, role) for key in self.keys}

    def _open(self, macs: dict[bytes, _Mac], header: bytes, envelope: Read) -> Read:
        """Return the body of an envelope: a view of it when it is large."""
        is_large = len(envelope) >= _LARGE
        if is_large:
            envelope = memoryview(envelope)
        body = envelope[_HEAD:]
        mac = macs.get(bytes(envelope[:4]))
        if mac is None or not self.signed:
            return self._unsigned(envelope, body)
        made = mac.of_parts(header, body) if is_large else mac.of(header + body)
        if not hmac.compare_digest(made, envelope[4:_HEAD]):
            raise SignatureError("the signature does not fit: altered or moved")
        return body

    def _unsigned(self, envelope: Read, body: Read) -> Read:
        """Return the body of an envelope without a known key, if signing is off."""
        if self.signed:
            raise SignatureError("signed with a key that is not ours, or not at all")
        if envelope[:_HEAD] != _UNSIGNED:
            raise SignatureError("signed, but signing is off here")
        return body
