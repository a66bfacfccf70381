"""Connect a client or worker to its hub: check the server, make or find the hub.

Whatever is wrong is reported in one sentence that says what to do, before anything is
written.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from redtask import link
from redtask.error import ConfigurationError, ConnectionLost, NoHub, NoRedis
from redtask.flows import Flow, Pause, ask
from redtask.flows.entering import server_info
from redtask.hub import calls
from redtask.signing import Keyring
from redtask.store import open_store

if TYPE_CHECKING:
    from redtask.profile import Profile
    from redtask.store import Store

_log = logging.getLogger("redtask")

_OLDEST: Final = (6, 2)
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: What is said of a server that expects TLS, and of one that does not.
_HUNG_UP: Final = ("reset by peer", "losed by server", "closed the connection")
_NO_TLS: Final = ("Timeout connecting", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
#: How long a command waits for a server that loads its data, and how often it looks, in
#: seconds.
_LOADING: Final = 30.0
_LOOK: Final = 0.1


def connect(
    profile: Profile,
    *,
    patience: float | None = 30.0,
    reply: float = link.REPLY,
    make: bool = True,
) -> tuple[Store, Keyring]:
    """Return the store and the keys of a profile's hub.

    If there is no hub, it is made, or without ``make``, ``NoHub`` is raised.
    ``patience``: how many seconds calls are retried while Redis is away, and a server
    that loads its data is waited for. ``reply``: how long each reply may take, in
    seconds. The first contact is not retried: the user wants to know at once. Raises
    ``ConfigurationError`` and ``ConnectionLost``.
    """
    keyring = known_keys(profile)
    store = open_store(address(profile), profile.hub, patience=0.0, reply=reply)
    driver = store.driver()
    store.contact.server = driver.run(check_server(profile, patience))
    store.patience = patience
    store.keyring = keyring
    # Until we know the hub, nobody else can log that it waits for Redis.
    store.contact.told = 0.0
    store.keyring = driver.run(meet(profile, make=make))
    store.contact.told = None
    return store, store.keyring


def known_keys(profile: Profile) -> Keyring | None:
    """Return the keys known before the hub is asked; None: there are none.

    Raises ``ConfigurationError`` if they cannot be read, or must not be used.
    """
    if profile.signed and not profile.keys:
        return None
    return Keyring(profile.hub, profile.keys, profile.signed)


def keys_to_read(profile: Profile) -> Keyring | None:
    """Return the keys for who only reads; None: there are none that may be used.

    Only a scheme of one's own has to be verified for that.
    """
    try:
        return known_keys(profile)
    except ConfigurationError:
        return None


def address(profile: Profile) -> str:
    """Return the URL of Redis. Raises ``NoRedis``.

    And ``ConfigurationError`` if it names a file for TLS that cannot be read: the
    connection would only say that something was not found.
    """
    if profile.url is None:
        raise NoRedis(nowhere(profile))
    for name, path in parse_qsl(urlsplit(profile.url).query):
        if name in _TLS_FILES and not os.access(path, os.R_OK):
            raise ConfigurationError(
                f"{profile.url_source}, {name}: cannot read {path}"
            )
    return profile.url


def nowhere(profile: Profile) -> str:
    """Return the message for when no URL of a Redis is known."""
    return (
        f"no Redis is known for profile {profile.name!r}: start one with "
        "'redtask cluster start', or set REDTASK_URL"
    )


def no_hub(profile: Profile) -> NoHub:
    """Return an error that says where a hub was looked for."""
    return NoHub(f"there is no hub {profile.hub!r} in {profile.where}")


def unreachable(profile: Profile, problem: ConnectionLost) -> ConnectionLost:
    """Return an error that says where Redis was looked for, and why it failed."""
    reason = link.words_of(problem.__cause__ or problem)
    hint = _about_tls(profile.url or "", reason)
    if profile.lacks_cluster:
        hint = "; start one with 'redtask cluster start'"
    return ConnectionLost(f"{profile.where} cannot be reached: {reason}{hint}")


def _about_tls(url: str, reason: str) -> str:
    """Return a hint, if the server may expect TLS where we do not, or not where we do.

    A server that expects TLS hangs up; one that does not waits for a command's end.
    """
    if url.startswith("redis:") and any(word in reason for word in _HUNG_UP):
        return "; if it expects TLS, its URL begins with rediss://"
    if url.startswith("rediss:") and any(word in reason for word in _NO_TLS):
        return "; if it does not speak TLS, its URL begins with redis://"
    return ""


def check_server(
    profile: Profile, patience: float | None = _LOADING, *, writes: bool = True
) -> Flow[str]:
    """Check that a Redis responds; return the id of its process.

    One that is loading its data is waited for ``patience`` seconds (None: forever). A
    replica is only for those who do not write.
    """
    where = profile.where
    try:
        about = yield from loaded(profile, patience)
    except ConnectionLost as problem:
        raise unreachable(profile, problem) from None
    version = about.get("redis_version", "")
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and tuple(map(int, found.groups())) < _OLDEST:
        raise ConfigurationError(f"{where} is version {version}; redtask needs 6.2")
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ConfigurationError(
            f"{where} deletes keys when it is full (maxmemory-policy {policy}), so "
            "tasks would get lost: set it to noeviction"
        )
    if writes and about.get("role") == "slave" and about.get("slave_read_only") != "0":
        raise ConnectionLost(
            f"{where} is a replica, which refuses writes: name its master"
        )
    return about.get("run_id", "")


def loaded(profile: Profile, patience: float | None = _LOADING) -> Flow[dict[str, str]]:
    """Return what the server tells of itself, once it has loaded its data.

    Raises ``ConfigurationError`` if it is a Sentinel, which has none.
    """
    deadline = time.monotonic() + (math.inf if patience is None else patience)
    told = False
    while (about := (yield from server_info())).get("loading", "0") != "0":
        if time.monotonic() >= deadline:
            raise ConnectionLost("it is still loading its data")
        if not told:
            _log.warning("%s is loading its data; waiting for it", profile.where)
            told = True
        yield Pause(_LOOK)
    if about.get("redis_mode") == "sentinel":
        raise ConfigurationError(
            f"{profile.where} is a Sentinel, which stores nothing: name the Redis that "
            "it watches"
        )
    return about


def meet(profile: Profile, *, make: bool = True) -> Flow[Keyring]:
    """Find the hub and check that we have its key; if there is none, make both."""
    try:
        configured = yield from ask(calls.configure())
    except NoHub:
        if not make:
            raise no_hub(profile) from None
        profile = profile.create_key()
        keyring = Keyring(profile.hub, profile.keys, profile.signed)
        configured = yield from ask(
            calls.configure(create=True, fingerprint=keyring.fingerprint)
        )
    else:
        if configured.fingerprint:
            # Whoever made the hub meanwhile wrote the key first.
            profile = profile.with_new_key()
        keyring = _keyring(profile, configured.fingerprint)
    if not keyring.knows(configured.fingerprint):
        raise ConfigurationError(_wrong_key(profile, configured.fingerprint))
    return keyring


def _keyring(profile: Profile, fingerprint: str) -> Keyring:
    if profile.signed and not profile.keys:
        if not fingerprint:
            raise ConfigurationError(
                f"hub {profile.hub!r} is unsigned: set REDTASK_KEY=off to use it"
            )
        raise ConfigurationError(
            f"hub {profile.hub!r} is signed, and there is no key here: copy the key "
            f"file from where it was made to {profile.key_source}, or set REDTASK_KEY"
        )
    return Keyring(profile.hub, profile.keys, profile.signed)


def _wrong_key(profile: Profile, fingerprint: str) -> str:
    if not profile.signed:
        return (
            f"hub {profile.hub!r} is signed, but signing is switched off here "
            f"({profile.key_source})"
        )
    if not fingerprint:
        return (
            f"hub {profile.hub!r} is unsigned: set REDTASK_KEY=off to use it, or "
            "another hub"
        )
    return (
        f"the key from {profile.key_source} is not the key of hub {profile.hub!r} "
        f"(fingerprint {fingerprint}): copy the key file from where the hub was made, "
        "or set REDTASK_KEY"
    )
