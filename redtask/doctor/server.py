"""Check the server: settings that may lose tasks, memory, permissions, latency.

The effect of each setting is documented by Redis (``redis.conf``) and was measured, as
``docs/reliability.rst`` describes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from redtask import link
from redtask.doctor.finding import NOTE, WRONG, Finding
from redtask.error import ConfigurationError, HubError
from redtask.hub.records import info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.store import Store

About = Mapping[str, str]

#: Settings to read; none where CONFIG is not permitted.
SETTINGS: Final = (
    "appendfsync",
    "save",
    "timeout",
    "tcp-keepalive",
    "min-replicas-to-write",
    "busy-reply-threshold",
    "lua-time-limit",
    "hash-max-listpack-value",
    "hash-max-ziplist-value",
    "client-output-buffer-limit",
)
#: Commands that clients, workers and scripts use; K stands for a key of the hub.
_RIGHTS: Final = (
    "EVALSHA x 1 K",
    "SCRIPT LOAD x",
    "HGET K f",
    "HSET K f v",
    "ZADD K 1 m",
    "ZRANGE K 0 1",
    "ZPOPMIN K",
    "RPUSH K v",
    "BLPOP K 1",
    "SET K v",
    "RENAME K K",
    "PERSIST K",
    "STRLEN K",
    "GET K",
    "XADD K * f v",
    "XREAD STREAMS K 0",
    "EXPIRE K 1",
    "UNLINK K",
    "TIME",
    "INFO",
    "CLIENT SETNAME x",
)
#: The oldest supported server, and the oldest one that has ACL DRYRUN.
_OLDEST: Final = (6, 2)
_DRY_RUN: Final = (7, 0)
#: The rights to ask what rights one has.
_MAY_ASK: Final = "+acl|whoami +acl|dryrun"
_PINGS: Final = 20
#: A slow round trip, and clock skew worth a note, in s.
_SLOW: Final = 0.005
_APART: Final = 1.0
#: Shares of maxmemory.
_MUCH: Final = 0.8
_FULL: Final = 0.95
#: Scripts take milliseconds; a server must not report BUSY before this, in ms.
_LEAST_BUSY: Final = 1000
_COMPACT: Final = 64


def ask(store: Store) -> tuple[dict[str, str], dict[str, str]]:
    """Return the server's INFO, and the settings that it lets us read."""
    about = info(store.command("INFO"))
    settings: dict[str, str] = {}
    for name in SETTINGS:
        try:
            pair = store.command("CONFIG", "GET", name)
        except (ConfigurationError, HubError):
            break
        if pair:
            settings[name] = pair[1].decode("utf-8", "replace")
    return about, settings


def _wrong(code: str, subject: str, words: str, advice: str = "") -> Finding:
    return Finding(WRONG, "server", code, subject, words, advice)


def _note(code: str, subject: str, words: str, advice: str = "") -> Finding:
    return Finding(NOTE, "server", code, subject, words, advice)


def version_of(about: About) -> tuple[int, ...]:
    """Return the server's version."""
    parts = about.get("redis_version", "0").split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def look(about: About, settings: About) -> list[Finding]:
    """Check a server's INFO and settings."""
    return [
        *_kind(about),
        *_persistence(about, settings),
        *_room(about),
        *_replicas(about, settings),
        *_limits(settings),
    ]


def _kind(about: About) -> Iterator[Finding]:
    version = about.get("redis_version", "?")
    if version_of(about)[:2] < _OLDEST:
        yield _wrong("version", "redis_version", f"Redis {version}", "use 6.2 or newer")
    if about.get("role") == "slave":
        yield _wrong(
            "replica",
            "role",
            "this server is a replica: it refuses writes",
            "name the master in the URL",
        )
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield _wrong(
            "evicts",
            "maxmemory-policy",
            f"a full Redis deletes tasks ({policy})",
            "CONFIG SET maxmemory-policy noeviction",
        )
    if int(about.get("evicted_keys", 0)) > 0:
        yield _wrong(
            "evicted",
            "evicted_keys",
            f"{about['evicted_keys']} keys were deleted for want of memory since the "
            "server began",
            "look at the findings in data",
        )


def _persistence(about: About, settings: About) -> Iterator[Finding]:
    if about.get("aof_enabled") == "1":
        sync = settings.get("appendfsync", "everysec")
        if sync == "no":
            yield _wrong(
                "fsync",
                "appendfsync",
                "no: what was acknowledged is on disk when the system pleases",
                "CONFIG SET appendfsync everysec (or always)",
            )
        elif sync == "everysec":
            yield _note(
                "fsync",
                "appendfsync",
                "everysec: a server that crashes may forget the last second; clients "
                "say again what they submitted then",
                "appendfsync always, where results must not be computed twice",
            )
    elif settings.get("save", "?") == "":
        yield _wrong(
            "forgets",
            "appendonly",
            "nothing is kept on disk: a restart of Redis forgets every task",
            "CONFIG SET appendonly yes",
        )
    else:
        yield _wrong(
            "snapshots",
            "appendonly",
            "only snapshots are kept: a crash of Redis forgets the tasks of minutes",
            "CONFIG SET appendonly yes",
        )
    for name, what in (
        ("aof_last_write_status", "the log could not be written"),
        ("aof_last_bgrewrite_status", "the log could not be made smaller"),
        ("rdb_last_bgsave_status", "the last snapshot failed"),
    ):
        if about.get(name, "ok") != "ok":
            yield _wrong("disk", name, what, "is the disk full? see Redis's log")


def _room(about: About) -> Iterator[Finding]:
    most, used = int(about.get("maxmemory", 0)), int(about.get("used_memory", 0))
    if most == 0:
        yield _note(
            "unlimited",
            "maxmemory",
            "there is no limit: a long queue may have Redis killed by the system",
            "CONFIG SET maxmemory to what the machine can spare",
        )
    elif used > most * _FULL:
        yield _wrong(
            "full",
            "maxmemory",
            f"{used / most:.0%} of Redis's memory is used: submits are refused soon",
            "purge ended tasks, add engines, or raise maxmemory",
        )
    elif used > most * _MUCH:
        yield _note(
            "filling", "maxmemory", f"{used / most:.0%} of Redis's memory is used"
        )


def _replicas(about: About, settings: About) -> Iterator[Finding]:
    count = int(about.get("connected_slaves", 0))
    if count and settings.get("min-replicas-to-write", "1") == "0":
        yield _note(
            "failover",
            "min-replicas-to-write",
            f"{count} replicas; one that takes over may lack the latest writes",
            'durability="replica" on views whose tasks must not be lost',
        )


def _limits(settings: About) -> Iterator[Finding]:
    idle = int(settings.get("timeout", 0))
    if 0 < idle <= link.LONGEST_BLOCK:
        yield _wrong(
            "timeout",
            "timeout",
            f"Redis closes connections after {idle} s, while engines wait longer",
            "CONFIG SET timeout 0",
        )
    if settings.get("tcp-keepalive") == "0":
        yield _note(
            "keepalive",
            "tcp-keepalive",
            "dead connections are never noticed by Redis",
            "CONFIG SET tcp-keepalive 60",
        )
    busy = settings.get("busy-reply-threshold") or settings.get("lua-time-limit")
    if busy and 0 < int(busy) < _LEAST_BUSY:
        yield _note(
            "busy",
            "busy-reply-threshold",
            f"Redis answers BUSY after {busy} ms of a script",
            "leave it at 5000",
        )
    compact = settings.get("hash-max-listpack-value") or settings.get(
        "hash-max-ziplist-value"
    )
    if compact and int(compact) < _COMPACT:
        yield _note(
            "compact",
            "hash-max-listpack-value",
            f"{compact}: each task takes several times the memory",
            f"CONFIG SET hash-max-listpack-value {_COMPACT}",
        )


def measure(store: Store) -> tuple[list[Finding], dict[str, float]]:
    """Return findings on the connection, and figures: ``rtt`` (median of 20 round
    trips) and ``clock`` (how far the server's clock is ahead of ours)."""
    trips, offsets = [], []
    for _ in range(_PINGS):
        before = time.time()
        begun = time.monotonic()
        seconds, micros = store.command("TIME")
        trip = time.monotonic() - begun
        trips.append(trip)
        offsets.append(int(seconds) + int(micros) / 1e6 - before - trip / 2)
    trip = sorted(trips)[_PINGS // 2]
    offset = sorted(offsets)[_PINGS // 2]
    found = []
    if trip > _SLOW:
        found.append(
            Finding(
                NOTE,
                "connection",
                "slow",
                "round trip",
                f"a round trip takes {trip * 1000:.1f} ms",
                "submit in bulk, or with view.batch()",
            )
        )
    if abs(offset) > _APART:
        found.append(
            Finding(
                NOTE,
                "connection",
                "clock",
                "clock",
                f"Redis's clock differs from ours by {offset:+.1f} s: times in records "
                "are its own",
                "keep both by NTP",
            )
        )
    return found, {"rtt": trip, "clock": offset}


def rights(store: Store, about: Mapping[str, Any]) -> list[Finding]:
    """Return a finding on commands that our user may not call (needs Redis 7.0).

    A note, if it may not even ask that.
    """
    if version_of(about) < _DRY_RUN:
        return []
    key, lacking = store.keys.hub(), []
    try:
        user = store.command("ACL", "WHOAMI")
        for line in _RIGHTS:
            words = [key if word == "K" else word for word in line.split()]
            reply = store.command("ACL", "DRYRUN", user, *words)
            if b"no permissions" in bytes(reply):
                lacking.append(words[0])
    except (ConfigurationError, HubError) as problem:
        said = f"rights could not be examined: {problem}"
        return [_note("rights", "acl", said, f"ACL SETUSER ... {_MAY_ASK}")]
    if not lacking:
        return []
    return [
        _wrong(
            "rights",
            user.decode("utf-8", "replace"),
            f"the Redis user may not say {', '.join(lacking)}",
            "the page on running it has the ACL rule",
        )
    ]
