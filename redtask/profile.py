"""Where a hub is found and with which keys: profiles, URLs, key files.

A profile is a folder of the user with what clients and workers of one installation
share: ``redtask.toml`` with its settings, one key file per hub, and ``server/`` with
the embedded Redis. Everything in it can be said for one process by an argument or by
the environment; the argument wins over the environment, the environment over the
profile. Nothing here talks to Redis, and no secret is ever shown.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import difflib
import hashlib
import json
import os
import re
import secrets
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redtask import files
from redtask.error import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from urllib.parse import SplitResult

__all__ = [
    "Key",
    "Profile",
    "parse_keys",
    "redact_url",
    "write_keys",
    "write_profile",
]

#: What the hub is called when nobody says.
DEFAULT_HUB: Final = "default"

#: What the profile is called when nobody says.
DEFAULT_PROFILE: Final = "default"

#: What is written where keys stand to switch signing off.
OFF: Final = "off"

_FORMS: Final = (
    "redis://host:6379/0, rediss://host:6379/0 (TLS), unix:///path/to/redis.sock "
    "or tcp://host:6379, with user:password@ before the host where the server asks "
    "for it and ?hub=NAME at the end to choose a hub"
)
_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "tcp": "redis",
    "unix": "unix",
}
_DEFAULT_PORT: Final = 6379
_OPTIONS: Final = ("hub", "db", "username", "password")
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
)
_SETTINGS: Final[Mapping[str, type]] = {
    "hub": str,
    "key_file": str,
    "scheme": str,
    "signing": bool,
    "url": str,
}

_HUB_RULE: Final = (
    " (a name is of a-z, 0-9, _ and -, begins with a letter or digit, "
    "and has at most 64 characters)"
)
_HUB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}")
_SECRET_OPTION: Final = re.compile(r"([?&][^=&#]*pass[^=&#]*=)[^&#]*", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f]")
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key; its secret never shows."""

    #: Four bytes that say which key signed; not secret.
    kid: bytes
    #: The 32 random bytes.
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Key:
        """Make a key from the system's randomness."""
        return cls.of_secret(secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def of_secret(cls, secret: bytes) -> Key:
        """Name a bare secret after its hash, so that every machine names it alike."""
        return cls(hashlib.sha256(b"redtask key id\0" + secret).digest()[:4], secret)

    @property
    def text(self) -> str:
        """The key as it stands in a key file; secret."""
        return f"{self.kid.hex()}:{base64.b64encode(self.secret).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What one process knows about its hub before it speaks to it."""

    #: The name under which the user asked for it.
    name: str
    #: The profile's own folder; need not exist.
    folder: Path
    #: The hub's name, the part of every Redis key after `redtask:`.
    hub: str
    #: Where Redis is, normalised; None when nothing says so. May hold a password.
    url: str | None = field(repr=False)
    #: What said so, for messages: an argument, a variable or a file.
    url_source: str
    #: The keys, the signing one first; empty if there is none or signing is off.
    keys: tuple[Key, ...]
    #: Whether work and results are signed. True with no keys: a key is missing.
    signed: bool
    #: What said so, for messages; where there is no key: where it would be.
    key_source: str
    #: What named the hub, for messages.
    hub_source: str = "default"
    #: The scheme of clusters started from here: a name, or the path of a file, from
    #: the profile's folder on; None: nothing says so.
    scheme: str | None = None

    @classmethod
    def load(
        cls,
        name: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        told: tuple[str, str] | None = None,
    ) -> Profile:
        """Collect what arguments, environment and the profile's folder say.

        ``told`` is a URL that wins over the folder only, and what said so.
        """
        name = _profile_name(name)
        folder = _home() / "profiles" / name
        settings = _read_settings(folder / "redtask.toml")
        address, url_source = _find_address(folder, settings, url, told)
        hub, hub_source = _find_hub(folder, settings, address, url_source)
        keys, signed, key_source = _find_keys(folder, settings, hub, key)
        return cls(
            name=name,
            folder=folder,
            hub=hub,
            url=None if address is None else address.url,
            url_source=url_source,
            keys=keys,
            signed=signed,
            key_source=key_source,
            hub_source=hub_source,
            scheme=settings.get("scheme"),
        )

    @property
    def where(self) -> str:
        """Where Redis is looked for, and who said so; for messages."""
        return f"Redis at {self.shown_url} (from {self.url_source})"

    @property
    def shown_url(self) -> str | None:
        """The URL with its password masked, for people and logs."""
        return None if self.url is None else redact_url(self.url)

    @property
    def server_folder(self) -> Path:
        """The folder of the profile's embedded Redis."""
        return self.folder / "server"

    @property
    def key_file(self) -> Path:
        """The profile's own key file of this hub; need not exist."""
        return _key_file(self.folder, self.hub)

    def create_key(self) -> Profile:
        """Give the hub a key file if no key is known; return the profile with it.

        The file appears under its name complete or not at all, so of two processes
        that create it at once both get the key of the first.
        """
        if self.keys or not self.signed:
            return self
        path = self.key_file
        try:
            _make_folder(path.parent)
            with contextlib.suppress(FileExistsError):
                files.publish(
                    path, f"# redtask: key of hub {self.hub}\n{Key.new().text}\n"
                )
        except OSError as error:
            message = f"{path}: cannot create the key file: {error.strerror}"
            raise ConfigurationError(message) from error
        keys = parse_keys(_read_key_file(path), source=str(path))
        return dataclasses.replace(self, keys=keys, key_source=str(path))

    def with_new_key(self) -> Profile:
        """Return the profile with the keys of its file, if no key was known before."""
        path = self.key_file
        if self.keys or not self.signed or not path.exists():
            return self
        keys = _some_keys(_read_key_file(path), str(path))
        return dataclasses.replace(self, keys=keys, key_source=str(path))


def write_keys(profile: Profile, keys: Iterable[Key]) -> None:
    """Replace the key file that a profile's keys are from; the first key signs.

    Raises ``ConfigurationError`` when it cannot be written.
    """
    path = Path(profile.key_source)
    lines = [f"# redtask: keys of hub {profile.hub}; the first signs, all verify"]
    lines += [key.text for key in keys]
    try:
        _make_folder(path.parent)
        files.replace(path, "\n".join(lines) + "\n")
    except OSError as error:
        message = f"{path}: cannot write the key file: {error.strerror}"
        raise ConfigurationError(message) from error


def write_profile(profile: Profile, url: str, *, signed: bool) -> None:
    """Write a profile's own settings and, where it has keys, its key file.

    Raises ``ConfigurationError`` when it cannot.
    """
    toml = profile.folder / "redtask.toml"
    lines = [f"url = {json.dumps(url)}", f"hub = {json.dumps(profile.hub)}"]
    if not signed:
        lines.append("signing = false")
    try:
        _make_folder(toml.parent)
        files.replace(toml, "\n".join(lines) + "\n")
    except OSError as error:
        message = f"{toml}: cannot be written: {error.strerror}"
        raise ConfigurationError(message) from error
    if profile.keys:
        own = dataclasses.replace(profile, key_source=str(profile.key_file))
        write_keys(own, profile.keys)


def redact_url(url: str) -> str:
    """Mask the passwords in what was given as a URL, however broken it is."""
    head, at, tail = _SECRET_OPTION.sub(r"\1***", url).rpartition("@")
    if not at:
        return tail
    scheme, slashes, login = head.rpartition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}{slashes}{user}{colon}{'***' if colon else ''}@{tail}"


def parse_keys(text: str, *, source: str) -> tuple[Key, ...]:
    """Read keys divided by commas or newlines; the first signs, all verify.

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


@dataclass(frozen=True, slots=True)
class _Address:
    """A URL understood: normalised, and the hub it chose."""

    url: str
    hub: str | None

    @classmethod
    def read(cls, text: str, *, source: str) -> _Address:
        try:
            return cls._parse(text)
        except ValueError as error:
            message = (
                f"{source}: {redact_url(text)!r} is not a URL of a Redis: {error}; "
                f"understood are {_FORMS}"
            )
            raise ConfigurationError(message) from None

    @classmethod
    def _parse(cls, text: str) -> _Address:
        if _UNSEEN.search(text):
            raise ValueError("it holds spaces or control characters")
        if "://" not in text and not text.startswith("unix:/"):
            raise ValueError("it has no scheme")
        parts = _split(text)
        options = _options(parts)
        hub = options.pop("hub", None)
        if hub is not None and not _HUB_NAME.fullmatch(hub):
            raise ValueError(f"the hub cannot be called {hub!r}{_HUB_RULE}")
        base = _local(parts) if parts.scheme == "unix" else _remote(parts)
        return cls(base + (f"?{urlencode(options)}" if options else ""), hub)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:  # whose words may quote the password
        raise ValueError("its host cannot be read") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            f"the scheme {parts.scheme!r} is unknown"
            + _nearest(parts.scheme, _SCHEMES, mark="://")
        )
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError(
            "a password must be quoted: / as %2F, ? as %3F, # as %23, @ as %40"
        )
    return parts


def _options(parts: SplitResult) -> dict[str, str]:
    known = _OPTIONS + (_TLS_OPTIONS if parts.scheme == "rediss" else ())
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"the option {name!r} is unknown{_nearest(name, known)}")
        if name in options:
            raise ValueError(f"the option {name!r} stands twice")
        options[name] = value
    _check_db(options.get("db", "0"))
    return options


def _check_db(text: str) -> None:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the database must be a number, as in redis://host:6379/0")


def _local(parts: SplitResult) -> str:
    login, at, host = parts.netloc.rpartition("@")
    if host:
        raise ValueError("three slashes begin an absolute path, as in unix:///run/…")
    if not parts.path.strip("/"):
        raise ValueError("it names no socket")
    return f"unix://{login}{at}{quote(unquote(parts.path))}"


def _remote(parts: SplitResult) -> str:
    login, at, _ = parts.netloc.rpartition("@")
    host = parts.hostname
    if not host or host == "*":
        raise ValueError("it names no host")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port must be a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("the port must be a number from 1 to 65535")
    db = parts.path.strip("/")
    _check_db(db or "0")
    shown = f"[{host}]" if ":" in host else host
    scheme = _SCHEMES[parts.scheme]
    return f"{scheme}://{login}{at}{shown}:{port or _DEFAULT_PORT}/{db or '0'}"


def _nearest(word: str, known: Iterable[str], *, mark: str = "") -> str:
    """Suggest what was probably meant, as the end of a sentence."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]}{mark}?" if near else ""


def _environment(name: str) -> str | None:
    """Read a variable; an empty one is as good as none."""
    return os.environ.get(name, "").strip() or None


def _home() -> Path:
    try:
        if chosen := _environment("REDTASK_HOME"):
            return Path(chosen).expanduser().absolute()
        if data := _environment("XDG_DATA_HOME"):
            return Path(data).expanduser().absolute() / "redtask"
        return Path("~/.local/share/redtask").expanduser().absolute()
    except RuntimeError:
        message = (
            "this user has no home folder: set REDTASK_HOME to a folder of its own"
        )
        raise ConfigurationError(message) from None


def _profile_name(argument: str | None) -> str:
    name = argument or _environment("REDTASK_PROFILE") or DEFAULT_PROFILE
    if not _PROFILE_NAME.fullmatch(name):
        source = "profile" if argument else "REDTASK_PROFILE"
        message = (
            f"{source}: a profile cannot be called {name!r} (a name is of letters, "
            "digits, ., _ and -, begins with a letter or digit, and has at most 64 "
            "characters)"
        )
        raise ConfigurationError(message)
    return name


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    for name, value in settings.items():
        if name not in _SETTINGS:
            hint = _nearest(name, _SETTINGS) or f"; known are {', '.join(_SETTINGS)}"
            raise ConfigurationError(f"{path}: unknown key {name!r}{hint}")
        if type(value) is not _SETTINGS[name]:
            expected = "true or false" if _SETTINGS[name] is bool else "a string"
            raise ConfigurationError(f"{path}: {name} must be {expected}")
    return settings


def _find_address(
    folder: Path,
    settings: Mapping[str, Any],
    argument: str | None,
    told: tuple[str, str] | None,
) -> tuple[_Address | None, str]:
    """Take the URL from the first place that has one."""
    left = folder / "server" / "url"
    for text, source in (
        (argument, "url"),
        (_environment("REDTASK_URL"), "REDTASK_URL"),
        told or (None, ""),
        (settings.get("url"), f"{folder / 'redtask.toml'}, url"),
        (_read_left_url(left), str(left)),
    ):
        if text is not None:
            return _Address.read(text, source=source), source
    return None, "nowhere"


def _read_left_url(path: Path) -> str | None:
    """Read what a running embedded server of the profile left for its clients."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _find_hub(
    folder: Path,
    settings: Mapping[str, Any],
    address: _Address | None,
    url_source: str,
) -> tuple[str, str]:
    if address is not None and address.hub is not None:
        return address.hub, url_source
    for name, source in (
        (_environment("REDTASK_HUB"), "REDTASK_HUB"),
        (settings.get("hub"), f"{folder / 'redtask.toml'}, hub"),
    ):
        if name is None:
            continue
        if not _HUB_NAME.fullmatch(name):
            message = f"{source}: the hub cannot be called {name!r}{_HUB_RULE}"
            raise ConfigurationError(message)
        return str(name), source
    return DEFAULT_HUB, "default"


def _key_file(folder: Path, hub: str) -> Path:
    return folder / f"{hub}.keys"


def _find_keys(
    folder: Path, settings: Mapping[str, Any], hub: str, argument: str | None
) -> tuple[tuple[Key, ...], bool, str]:
    """Take the keys from the first place that has any; say if work is signed."""
    for text, source in (
        (argument, "key"),
        (_environment("REDTASK_KEY"), "REDTASK_KEY"),
    ):
        if text is None:
            continue
        if text.strip().lower() == OFF:
            return (), False, source
        return _some_keys(text, source), True, source
    toml = folder / "redtask.toml"
    chosen = _environment("REDTASK_KEY_FILE")
    if chosen is None and not settings.get("signing", True):
        return (), False, f"{toml}, signing"
    if chosen is None and (named := settings.get("key_file")):
        chosen = str(folder / Path(named).expanduser())
    if chosen is not None:
        path = Path(chosen).expanduser()
        try:
            return _some_keys(_read_key_file(path), str(path)), True, str(path)
        except FileNotFoundError:
            raise ConfigurationError(
                f"{path}: no such key file; copy it from where the hub was made"
            ) from None
    own = _key_file(folder, hub)
    try:
        return _some_keys(_read_key_file(own), str(own)), True, str(own)
    except FileNotFoundError:
        return (), True, str(own)


def _some_keys(text: str, source: str) -> tuple[Key, ...]:
    keys = parse_keys(text, source=source)
    if not keys:
        raise ConfigurationError(f"{source}: holds no key")
    return keys


def _read_key_file(path: Path) -> str:
    """Read a key file that nobody else can read or could have written.

    That there is none is a FileNotFoundError, and the caller's to judge.
    """
    try:
        with path.open(encoding="ascii") as file:
            _check_private(path, os.fstat(file.fileno()))
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except UnicodeDecodeError:
        message = f"{path}: not a key file (it holds other than plain text)"
        raise ConfigurationError(message) from None
    except OSError as error:
        message = f"{path}: cannot read the key file: {error.strerror}"
        raise ConfigurationError(message) from error


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        message = (
            f"{path}: the key file belongs to user {status.st_uid}, not to us (user "
            f"{os.geteuid()}), and is not used; make a copy of your own with mode 0600"
        )
        raise ConfigurationError(message)
    if mode := stat.S_IMODE(status.st_mode) & 0o077:
        who = "read or change" if mode & 0o044 else "change"
        message = f"{path}: others can {who} the key file; run: chmod 600 '{path}'"
        raise ConfigurationError(message)


def _make_folder(folder: Path) -> None:
    """Make a folder and the one above it for us alone (mkdir does so for one only)."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
