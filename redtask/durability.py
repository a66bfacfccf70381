"""When a submit returns: when the tasks are in memory, on disk, or on a replica.

Scripts cannot wait for the latter two, so a submit asks afterwards: WAITAOF (Redis 7.2)
and WAIT return once all that this connection wrote before has got there. Earlier writes
of other connections precede it in the log. So one write of ours is enough, whoever sent
the tasks: we renew the expiry of the client's stream.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from redtask.error import ConfigurationError, ConnectionLost, HubError, NotDurable
from redtask.flags import DURABILITIES
from redtask.flows import Commands
from redtask.flows.entering import listen
from redtask.hub.records import info

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.flows import Flow
    from redtask.inbox import Inbox

#: Guarantees: in memory; on the server's disk; on at least one replica.
MEMORY, FSYNC, REPLICA = DURABILITIES

#: The longest wait, in ms.
LONGEST: Final = 10000
#: Expiry of a stream that nobody reads, in s: as its reader sets it.
_KEPT: Final = 3600
_WAITAOF: Final = (7, 2)

#: The command that waits, without the time; () if Redis's reply alone guarantees it.
Words = tuple[Any, ...]


def way(kind: str) -> Flow[Words]:
    """Find out how this server can confirm that tasks are durable.

    Raises ``ConfigurationError`` if it cannot.
    """
    try:
        replies = yield Commands(
            [("INFO", "server"), ("INFO", "persistence"), ("INFO", "replication")]
        )
    except HubError as problem:
        raise ConfigurationError(
            f"durability {kind!r} is not available: this Redis does not report "
            "on itself"
        ) from problem
    about = info(b"\n".join(replies))
    if kind == REPLICA:
        if int(about.get("connected_slaves", 0)) < 1:
            raise ConfigurationError(
                "durability 'replica' is not available: this Redis has no replica"
            )
        return ("WAIT", 1)
    return (yield from _way_to_disk(about))


def _way_to_disk(about: dict[str, str]) -> Flow[Words]:
    if about.get("aof_enabled") != "1":
        raise ConfigurationError(
            "durability 'fsync' is not available: this Redis keeps no log "
            "(CONFIG SET appendonly yes)"
        )
    try:
        ((_, sync),) = yield Commands([("CONFIG", "GET", "appendfsync")])
    except (ConfigurationError, HubError, ValueError):
        sync = b""
    if sync == b"always":
        return ()
    version = tuple(map(int, re.findall(r"\d+", about.get("redis_version", "0"))[:2]))
    if version < _WAITAOF:
        raise ConfigurationError(
            f"durability 'fsync' is not available: Redis {about.get('redis_version')} "
            "has no WAITAOF (7.2 has); or CONFIG SET appendfsync always"
        )
    return ("WAITAOF", 1, 0)


def confirm(inbox: Inbox, words: Words, kind: str, ids: Sequence[str]) -> Flow[None]:
    """Wait until earlier submits are durable.

    Raises ``NotDurable`` if that is not confirmed within 10 s: the tasks are in Redis.
    """
    if not words:
        return
    stream = inbox.keys.done(inbox.client)
    for _ in range(2):
        try:
            written, told = yield Commands(
                [("EXPIRE", stream, _KEPT), (*words, LONGEST)], held=LONGEST / 1000
            )
        except ConnectionLost as problem:
            raise NotDurable(ids, kind, str(problem)) from problem
        if written:
            break
        # The stream has expired: make it anew, as without a write WAIT proves nothing.
        inbox.position = None
        yield from listen(inbox)
    else:
        raise NotDurable(ids, kind, "the hub is full")
    count = told[0] if isinstance(told, list) else told
    if int(count) < 1:
        raise NotDurable(ids, kind, f"it was not confirmed within {LONGEST // 1000} s")
