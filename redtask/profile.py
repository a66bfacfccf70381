"""Profiles: where a hub is, and its keys.

A profile is a folder of the user with what clients and workers of one installation
share: ``redtask.toml`` with its settings, one key file per hub, and ``server/`` with
the embedded Redis. An argument or the environment can override any of it for one
process; an argument takes precedence over the environment, the environment over the
profile. Nothing here talks to Redis, and no secret is ever shown.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redtask import files
from redtask.address import Address, check_hub, redact_url
from redtask.error import ConfigurationError
from redtask.keyfile import (
    OFF,
    Key,
    create_keys,
    read_keys,
    some_keys,
    write_keys,
)
from redtask.spelling import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["DEFAULT_HUB", "DEFAULT_PROFILE", "Key", "Profile"]

#: The default name of a hub.
DEFAULT_HUB: Final = "default"

#: The default name of a profile.
DEFAULT_PROFILE: Final = "default"

#: In a profile's folder: held by the keeper of its cluster; the kernel releases it when
#: that dies.
LOCK: Final = "cluster.lock"

_SETTINGS: Final[Mapping[str, type]] = {
    "hub": str,
    "key_file": str,
    "scheme": str,
    "signing": bool,
    "url": str,
}

_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Profile:
    """What a process knows of its hub before it connects."""

    #: Its name, as given by the user.
    name: str
    #: The profile's own folder; need not exist.
    folder: Path
    #: The hub's name, which follows `redtask:` in every Redis key.
    hub: str
    #: Where Redis is, normalised; None if unknown. May hold a password.
    url: str | None = field(repr=False)
    #: The source of the URL, for messages: an argument, a variable or a file.
    url_source: str
    #: Reads the keys.
    _read_keys: Callable[[], tuple[Key, ...]] = field(repr=False, compare=False)
    #: Whether work and results are signed. True with no keys: a key is missing.
    signed: bool
    #: The source of the keys, for messages; if there is none, where it would be.
    key_source: str
    #: The source of the hub's name, for messages.
    hub_source: str = "default"
    #: The default scheme of clusters started here: a name, or the path of a file,
    #: relative to the profile's folder; None: not set.
    scheme: str | None = None

    @classmethod
    def load(
        cls,
        name: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        told: tuple[str, str] | None = None,
        lazy: bool = False,
    ) -> Profile:
        """Collect settings from arguments, environment and the profile's folder.

        ``told`` is a URL that takes precedence over the folder only, and its source.
        ``lazy``: read the keys of the environment or folder only once they are needed.
        Raises ``TypeError`` for what is no text, and ``ConfigurationError``.
        """
        for what, value in (("url", url), ("profile", name), ("key", key)):
            if not isinstance(value, str | None):
                kind = type(value).__name__
                raise TypeError(f"{what} must be a string, not {kind}")
        name = _profile_name(name)
        folder = _home() / "profiles" / name
        settings = _read_settings(folder / "redtask.toml")
        address, url_source = _find_address(folder, settings, url, told)
        hub, hub_source = _find_hub(folder, settings, address, url_source)
        read, signed, key_source = _find_keys(folder, settings, hub, key)
        if key is not None or not lazy:
            read = _known(read())
        return cls(
            name=name,
            folder=folder,
            hub=hub,
            url=None if address is None else address.url,
            url_source=url_source,
            _read_keys=read,
            signed=signed,
            key_source=key_source,
            hub_source=hub_source,
            scheme=settings.get("scheme"),
        )

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """The keys, the signing one first; empty if there is none or signing is off.

        Raises ``ConfigurationError`` if they cannot be read, or must not be used.
        """
        return self._read_keys()

    @property
    def where(self) -> str:
        """Where Redis is, and the source of that; for messages."""
        return f"Redis at {self.shown_url} (from {self.url_source})"

    @property
    def shown_url(self) -> str | None:
        """The URL with its password masked, for display and logs."""
        return None if self.url is None else redact_url(self.url)

    @property
    def server_folder(self) -> Path:
        """The folder of the profile's embedded Redis."""
        return self.folder / "server"

    @property
    def lacks_cluster(self) -> bool:
        """Is its Redis that of a cluster here, which does not run?

        Raises ``ConfigurationError`` if we may not ask.
        """
        is_own = self.url_source == str(self.server_folder / "url")
        return is_own and not files.is_locked(self.folder / LOCK)

    @property
    def key_file(self) -> Path:
        """The profile's own key file of this hub; need not exist."""
        return _key_file(self.folder, self.hub)

    def create_key(self) -> Profile:
        """Give the hub a key file if no key is known; return the profile with it."""
        if self.keys or not self.signed:
            return self
        path = self.key_file
        keys = create_keys(path, self.hub)
        return self._with_keys(keys, path)

    def with_new_key(self) -> Profile:
        """Return the profile with the keys of its file, if no key was known before."""
        path = self.key_file
        if self.keys or not self.signed or not path.exists():
            return self
        return self._with_keys(read_keys(path), path)

    def _with_keys(self, keys: tuple[Key, ...], path: Path) -> Profile:
        return dataclasses.replace(self, _read_keys=_known(keys), key_source=str(path))

    def write_keys(self, keys: Iterable[Key]) -> None:
        """Replace the key file that the keys came from; the first key signs.

        Raises ``ConfigurationError`` if it cannot be written.
        """
        write_keys(Path(self.key_source), self.hub, keys)

    def write(self, url: str, *, signed: bool) -> int:
        """Write the profile's own settings and, if it has keys, its key file.

        Keys that the file has already still verify, after the others: it may be the
        only copy. Return their number. Raises ``ConfigurationError`` if that fails.
        """
        kept = self._other_keys() if self.keys else ()
        toml = self.folder / "redtask.toml"
        lines = [f"url = {json.dumps(url)}", f"hub = {json.dumps(self.hub)}"]
        if not signed:
            lines.append("signing = false")
        try:
            files.make_private_parent(toml)
            files.replace(toml, "\n".join(lines) + "\n")
        except OSError as error:
            message = f"{toml}: cannot be written: {error.strerror}"
            raise ConfigurationError(message) from error
        if self.keys:
            write_keys(self.key_file, self.hub, (*self.keys, *kept))
        return len(kept)

    def _other_keys(self) -> tuple[Key, ...]:
        """Return the keys that only the profile's own key file has.

        Raises ``ConfigurationError`` if one is called like one of ours.
        """
        path, ours = self.key_file, {key.kid: key for key in self.keys}
        try:
            there = read_keys(path)
        except FileNotFoundError:
            return ()
        for key in there:
            if ours.get(key.kid, key) != key:
                raise ConfigurationError(
                    f"{path}: has another key of the id {key.kid.hex()}: give one of "
                    "them another id of 8 hex digits"
                )
        return tuple(key for key in there if key.kid not in ours)


def _environment(name: str) -> str | None:
    """Read a variable; an empty one counts as unset."""
    return os.environ.get(name, "").strip() or None


def _home() -> Path:
    if chosen := _environment("REDTASK_HOME"):
        return _expanded(chosen, "REDTASK_HOME").absolute()
    if data := _environment("XDG_DATA_HOME"):
        return _expanded(data, "XDG_DATA_HOME").absolute() / "redtask"
    try:
        home = Path.home()
    except RuntimeError:
        # An id that no user has, as in a container. Those who set HOME there say so.
        home = Path("/")
    return home.absolute() / ".local/share/redtask"


def _expanded(path: str, source: str) -> Path:
    """Return a path with the home folder in place of ``~``."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{source}: {path}: the home folder is not known"
        ) from None


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
    except PermissionError as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {error.strerror}; REDTASK_HOME may name another "
            "folder for profiles"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    for name, value in settings.items():
        if name not in _SETTINGS:
            hint = suggestion(name, _SETTINGS) or f"; known are {', '.join(_SETTINGS)}"
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
) -> tuple[Address | None, str]:
    """Take the URL from the first source that has one."""
    left = folder / "server" / "url"
    for text, source in (
        (argument, "url"),
        (_environment("REDTASK_URL"), "REDTASK_URL"),
        told or (None, ""),
        (settings.get("url"), f"{folder / 'redtask.toml'}, url"),
        (_read_left_url(left), str(left)),
    ):
        if text is not None:
            return Address.read(text, source=source), source
    return None, "nowhere"


def _read_left_url(path: Path) -> str | None:
    """Read the URL that a running embedded server of the profile published."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _find_hub(
    folder: Path,
    settings: Mapping[str, Any],
    address: Address | None,
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
        try:
            check_hub(name)
        except ValueError as error:
            raise ConfigurationError(f"{source}: {error}") from None
        return str(name), source
    return DEFAULT_HUB, "default"


def _key_file(folder: Path, hub: str) -> Path:
    return folder / f"{hub}.keys"


def _find_keys(
    folder: Path, settings: Mapping[str, Any], hub: str, argument: str | None
) -> tuple[Callable[[], tuple[Key, ...]], bool, str]:
    """Find the first source of keys: how to read them, if work is signed, and which."""
    for text, source in (
        (argument, "key"),
        (_environment("REDTASK_KEY"), "REDTASK_KEY"),
    ):
        if text is None:
            continue
        if text.strip().lower() == OFF:
            return _known(()), False, source
        return partial(some_keys, text, source=source), True, source
    toml = folder / "redtask.toml"
    chosen = _environment("REDTASK_KEY_FILE")
    if chosen is None and not settings.get("signing", True):
        return _known(()), False, f"{toml}, signing"
    path = None if chosen is None else _expanded(chosen, "REDTASK_KEY_FILE")
    if path is None and (named := settings.get("key_file")):
        path = folder / _expanded(named, f"{toml}, key_file")
    if path is not None:
        return partial(_read_named, path), True, str(path)
    own = _key_file(folder, hub)
    return partial(_read_own, own), True, str(own)


def _known(keys: tuple[Key, ...]) -> Callable[[], tuple[Key, ...]]:
    return lambda: keys


def _read_named(path: Path) -> tuple[Key, ...]:
    """Read the key file that somebody named, which must exist."""
    try:
        return read_keys(path)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: no such key file; copy it from where the hub was made"
        ) from None


def _read_own(path: Path) -> tuple[Key, ...]:
    """Read the profile's own key file, if it has one."""
    try:
        return read_keys(path)
    except FileNotFoundError:
        return ()
