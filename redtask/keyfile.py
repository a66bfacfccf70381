"""Signing keys, and the files that store them; no secret is ever shown."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redtask import files
from redtask.error import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "OFF",
    "Key",
    "create_keys",
    "parse_keys",
    "read_keys",
    "some_keys",
    "write_keys",
]

#: Written instead of keys to switch signing off.
OFF: Final = "off"

_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}")
_SECRET_BYTES: Final = 32
#: The user who can read and change all files anyway.
_ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key; its secret never appears in a repr."""

    #: Four bytes that identify the key; not secret.
    kid: bytes
    #: The 32 random bytes.
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Key:
        """Make a key from the system's randomness."""
        return cls.of_secret(secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def of_secret(cls, secret: bytes) -> Key:
        """Return the key of a bare secret; its id is derived from it by a hash."""
        return cls(hashlib.sha256(b"redtask key id\0" + secret).digest()[:4], secret)

    @property
    def text(self) -> str:
        """The key as written in a key file; secret."""
        return f"{self.kid.hex()}:{base64.b64encode(self.secret).decode('ascii')}"


def parse_keys(text: str, *, source: str) -> tuple[Key, ...]:
    """Parse keys separated by commas or newlines; the first signs, all verify.

    An entry is `kid:base64` or the bare base64 of the 32 bytes; `#` begins a comment.
    """
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for entry in line.partition("#")[0].split(","):
            if not entry.strip():
                continue
            key = _parse_key(entry.strip(), where=f"{source}, line {number}")
            if keys.setdefault(key.kid, key).secret != key.secret:
                message = (
                    f"{source}, line {number}: a second key is called "
                    f"{key.kid.hex()}; give it another id of 8 hex digits"
                )
                raise ConfigurationError(message)
    return tuple(keys.values())


def _parse_key(entry: str, *, where: str) -> Key:
    kid, colon, encoded = entry.rpartition(":")
    if colon and not _KEY_ID.fullmatch(kid.strip()):
        message = f"{where}: the id of a key is 8 hex digits, as in 1f00c0de:BASE64"
        raise ConfigurationError(message)
    standard = encoded.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        secret = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        message = (
            f"{where}: not a key; expected the base64 of {_SECRET_BYTES} random bytes, "
            f"or 8 hex digits, a colon and that (`{OFF}` alone switches signing off)"
        )
        raise ConfigurationError(message) from None
    if len(secret) != _SECRET_BYTES:
        message = (
            f"{where}: a key is {_SECRET_BYTES} bytes in base64, this one has "
            f"{len(secret)}; was it cut when it was copied?"
        )
        raise ConfigurationError(message)
    return Key(bytes.fromhex(kid), secret) if colon else Key.of_secret(secret)


def some_keys(text: str, *, source: str) -> tuple[Key, ...]:
    """Parse keys as ``parse_keys``, but require at least one."""
    keys = parse_keys(text, source=source)
    if not keys:
        raise ConfigurationError(f"{source}: holds no key")
    return keys


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read the keys of a file that nobody else can read or could have written.

    Raises FileNotFoundError if there is no such file.
    """
    return some_keys(_read(path), source=str(path))


def create_keys(path: Path, hub: str) -> tuple[Key, ...]:
    """Make a key file with a new key; return the keys that the file then has.

    The file is created atomically: if two processes create it at once, both get the key
    of the first.
    """
    try:
        files.make_private_parent(path)
        with contextlib.suppress(FileExistsError):
            files.publish(path, f"# redtask: key of hub {hub}\n{Key.new().text}\n")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot create the key file: {error.strerror}; REDTASK_HOME may "
            "name another folder, or REDTASK_KEY a key ('redtask key new' prints one)"
        ) from error
    return parse_keys(_read(path), source=str(path))


def write_keys(path: Path, hub: str, keys: Iterable[Key]) -> None:
    """Replace a key file; the first key signs.

    Raises ``ConfigurationError`` if it cannot be written.
    """
    lines = [f"# redtask: keys of hub {hub}; the first signs, all verify"]
    lines += [key.text for key in keys]
    try:
        files.make_private_parent(path)
        files.replace(path, "\n".join(lines) + "\n")
    except OSError as error:
        message = f"{path}: cannot write the key file: {error.strerror}"
        raise ConfigurationError(message) from error


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            _check_private(path, os.fstat(file.fileno()))
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except UnicodeDecodeError:
        message = f"{path}: not a key file (it is not plain text)"
        raise ConfigurationError(message) from None
    except OSError as error:
        message = f"{path}: cannot read the key file: {error.strerror}"
        raise ConfigurationError(message) from error


def _check_private(path: Path, status: os.stat_result) -> None:
    """Raise ``ConfigurationError`` unless a key file is ours alone, or root's.

    Root may let our group read it: so come the secrets of Kubernetes and systemd.
    """
    owner, us = status.st_uid, os.geteuid()
    if owner not in (us, _ROOT):
        message = (
            f"{path}: the key file belongs to user {owner}, not to you (user {us}), "
            "and is not used; make a copy of your own with mode 0600"
        )
        raise ConfigurationError(message)
    too_much, best = (0o077, "600") if owner == us else (0o037, "440")
    if mode := stat.S_IMODE(status.st_mode) & too_much:
        who = "read or change" if mode & 0o044 else "change"
        message = f"{path}: others can {who} the key file; run: chmod {best} '{path}'"
        raise ConfigurationError(message)
