"""URLs of a Redis: parsed, or an error that says what is wrong with them.

No I/O here, and no password is ever shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redtask.error import ConfigurationError
from redtask.spelling import suggestion

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["Address", "bare_url", "check_hub", "redact_url"]

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
#: Options that say who one is, as a login does.
_LOGIN_OPTIONS: Final = ("username", "password", "ssl_password")

_HUB_RULE: Final = (
    " (a name is of a-z, 0-9, _ and -, begins with a letter or digit, "
    "and has at most 64 characters)"
)
_HUB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: Its name may be misspelt, or quoted.
_SECRET_OPTION: Final = re.compile(
    r"([?&][^=&#]*(?:pas|pwd|%)[^=&#]*=)[^&#]*", re.IGNORECASE
)
_LOGIN: Final = re.compile(r"://[^/?#]*@")
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f]")


def redact_url(url: str) -> str:
    """Mask passwords in a URL, however broken it is."""
    head, at, tail = _SECRET_OPTION.sub(r"\1***", url).rpartition("@")
    if not at:
        return tail
    scheme, slashes, login = head.rpartition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}{slashes}{user}{colon}{'***' if colon else ''}@{tail}"


def bare_url(url: str) -> str:
    """Return a URL that was parsed, without a login, also among its options."""
    base, _, query = _LOGIN.sub("://", url).partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    left = [(name, value) for name, value in options if name not in _LOGIN_OPTIONS]
    return base + (f"?{urlencode(left)}" if left else "")


def check_hub(name: str) -> None:
    """Raise ``ValueError`` unless this is a valid name of a hub."""
    if not _HUB_NAME.fullmatch(name):
        raise ValueError(f"the hub cannot be called {name!r}{_HUB_RULE}")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: normalised, and the hub it names."""

    #: Where Redis is; may hold a password.
    url: str
    hub: str | None

    @classmethod
    def read(cls, text: str, *, source: str) -> Address:
        """Parse a URL. Raises ``ConfigurationError``, naming its ``source``."""
        try:
            return cls._parse(text)
        except ValueError as error:
            message = (
                f"{source}: {redact_url(text)!r} is not a URL of a Redis: {error}; "
                f"a URL is {_FORMS}"
            )
            if text.endswith(".json"):
                message += ". There are no connection files as in IPython.parallel"
            raise ConfigurationError(message) from None

    @classmethod
    def _parse(cls, text: str) -> Address:
        if _UNSEEN.search(text):
            raise ValueError("it holds spaces or control characters")
        if "://" not in text and not text.startswith("unix:/"):
            raise ValueError("it has no scheme")
        parts = _split(text)
        options = _options(parts)
        hub = options.pop("hub", None)
        if hub is not None:
            check_hub(hub)
        base = _local(parts) if parts.scheme == "unix" else _remote(parts)
        return cls(base + (f"?{urlencode(options)}" if options else ""), hub)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:  # its message may quote the password
        raise ValueError("its host cannot be read") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            f"the scheme {parts.scheme!r} is unknown"
            + suggestion(parts.scheme, _SCHEMES, "{}://")
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
            hint = suggestion(name, known)
            raise ValueError(f"the option {name!r} is unknown{hint}")
        if name in options:
            raise ValueError(f"the option {name!r} is given twice")
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
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host!r} is not the name of a host") from None
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
