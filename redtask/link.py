"""The link to Redis: how connections are made, and what their errors mean.

Shared by the blocking and the asyncio store. redtask uses redis-py's connections but
not its retries: those repeat commands after a lost reply whatever they are, while
here only calls are repeated that are safe to repeat (every script is). Nothing in
this module waits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import parse_url

from redtask import error
from redtask.hub import scripts

if TYPE_CHECKING:
    from redtask.hub.calls import Call
    from redtask.hub.keys import Keys
    from redtask.inbox import Inbox

#: The longest that a blocking command waits on the server, in seconds; who has to
#: wait longer asks again. A connection that died silently is noticed after that.
LONGEST_BLOCK: Final = 20.0
#: How long a reply may take, in seconds; blocking commands have their own.
REPLY: Final = 15.0
_CONNECT: Final = 5.0
_MARGIN: Final = 5.0
_ENTRIES: Final = 256

#: Replies that mean: this server cannot just now, another try may find one that can.
_PASSING: Final = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
)
#: What a connection raises when the trouble is on the way, not in the call.
LOST: Final = (exceptions.ConnectionError, exceptions.TimeoutError, OSError, EOFError)


def options(url: str, *, blocking: bool, retry: Any) -> dict[str, Any]:
    """Return the keyword arguments of a connection to this URL.

    ``retry`` is redis-py's Retry class, of the blocking or the asyncio package.
    """
    timeout = LONGEST_BLOCK + _MARGIN if blocking else REPLY
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": _CONNECT,
        "socket_keepalive": True,
        "retry": retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "client_name": "redtask",
        "protocol": 2,
        **parse_url(url),
    }


def without_keepalive(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Drop the options that a unix socket does not have."""
    if "path" in kwargs:
        kwargs.pop("socket_keepalive", None)
        kwargs.pop("connection_class", None)
    return kwargs


def pauses() -> Iterator[float]:
    """Yield the pauses between tries, in seconds: decorrelated jitter, at most 1 s.

    After Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015).
    The first is short, because most losses are one connection's.
    """
    pause = 0.0
    yield 0.0
    while True:
        pause = min(1.0, random.uniform(0.01, max(0.03, pause * 3)))  # noqa: S311
        yield pause


def is_passing(problem: Exception) -> bool:
    """Is it worth to try the same again?"""
    if isinstance(problem, exceptions.AuthenticationError):
        return False
    if isinstance(problem, LOST):
        return True
    text = str(problem)
    return isinstance(problem, exceptions.ResponseError) and (
        text.startswith(_PASSING) or "-BUSY" in text or "-READONLY" in text
    )


def is_unknown_script(problem: Exception) -> bool:
    """Has the server forgotten the script?"""
    return isinstance(problem, exceptions.NoScriptError) or (
        isinstance(problem, exceptions.ResponseError) and "NOSCRIPT" in str(problem)
    )


def translate(problem: Exception, script: scripts.Script | None = None) -> Exception:
    """Return redtask's exception for what Redis said."""
    if isinstance(problem, error.RedtaskError):
        return problem
    text = str(problem)
    if isinstance(problem, exceptions.AuthenticationError):
        return error.ConfigurationError(f"Redis refuses the password: {text}")
    if isinstance(problem, exceptions.NoPermissionError):
        return error.ConfigurationError(f"the Redis user lacks a right: {text}")
    if isinstance(problem, exceptions.ResponseError):
        ours = error.from_reply(text)
        if ours is None:
            explained = script.explain(text) if script else text
            ours = error.HubError(f"Redis refuses: {explained}")
        return ours
    return error.ConnectionLost(f"Redis cannot be reached: {text}")


def words(
    call: Call[Any], keys: Keys, scheme: str
) -> tuple[scripts.Script, Sequence[Any]]:
    """Return the script of a call and the command that runs it."""
    script = scripts.bundle(call.script, scheme)
    return script, ("EVALSHA", script.sha, 1, keys.root, *call.args)


def read_stream(keys: Keys, inbox: Inbox, milliseconds: int) -> Sequence[Any]:
    """Return the command that waits for more in a client's stream."""
    return (
        "XREAD",
        "COUNT",
        _ENTRIES,
        "BLOCK",
        milliseconds,
        "STREAMS",
        keys.done(inbox.client),
        inbox.position or "0-0",
    )


def entries(reply: Any) -> Sequence[Any]:
    """Return the entries of a reply to ``read_stream``."""
    return reply[0][1]  # type: ignore[no-any-return]


__all__ = [
    "LONGEST_BLOCK",
    "LOST",
    "REPLY",
    "is_passing",
    "is_unknown_script",
    "options",
    "entries",
    "pauses",
    "read_stream",
    "redis",
    "translate",
    "without_keepalive",
    "words",
]
