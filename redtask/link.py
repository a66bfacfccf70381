"""The link to Redis: how connections are made, and what their errors mean.

Shared by the blocking and the asyncio store. redtask uses redis-py's connections but
not its retries: after a lost reply those repeat any command, while redtask repeats only
what is idempotent (every script is). Nothing in this module blocks.
"""

from __future__ import annotations

import logging
import math
import random
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis
from redis import exceptions
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

import redtask
from redtask import error
from redtask.hub import scripts
from redtask.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redtask.hub.calls import Call
    from redtask.hub.keys import Keys
    from redtask.hub.scripts import AnyScheme
    from redtask.inbox import Inbox
    from redtask.recent import Contact
    from redtask.signing import Keyring

_log = logging.getLogger("redtask")

#: A caller past its deadline still gets a second try if the first failed sooner than
#: this, in seconds.
_QUICKLY: Final = 1.0
#: The longest a blocking command waits on the server, in seconds; longer waits repeat
#: it. A connection that died silently is noticed after that.
LONGEST_BLOCK: Final = 20.0
#: How long a reply may take, in seconds; not for blocking commands.
REPLY: Final = 15.0
#: The least time for that, in seconds: a server may pause, to fork or to sync, say.
LEAST_REPLY: Final = 2.0
#: A call that has not waited longer than this has all of its patience left, in seconds;
#: and what is added to that of others, so that there is no time for another try.
_AT_ONCE: Final = 0.5
_MORE: Final = 0.05
#: So many bytes a second are sent at least: large payloads may take longer.
_PACE: Final = 4 << 20
_CONNECT: Final = 5.0
#: So many idle connections for blocking reads are kept in any case.
_IDLE: Final = 4
#: How long an interrupted flow may take to put things in order while Redis is away, in
#: seconds.
PARTING: Final = 2.0
_MARGIN: Final = 5.0
#: How many entries of a stream are read at once.
ENTRIES: Final = 256
#: Smaller pieces of a rope, in bytes, are joined before they are sent.
_PIECE: Final = 16384
#: Stands for a parcel in a call's arguments; parcels expire after this, in seconds.
_PARCEL: Final = b"@parcel"
_PARCEL_KEPT: Final = 3600
#: How many changes of scheme one batch tolerates.
_MOST_CHANGES: Final = 100

#: What to say of a server that does not reply.
_SILENT: Final = "it does not answer"
#: Replies that are transient: another try may find a server that can. For some of them
#: redis-py, depending on its version, raises exceptions of their own, without the word.
#: The cause may also be a full disk, or missing replicas.
_PASSING_WORDS: Final = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
)
#: The same inside a script's error: older servers prefix it with words of their own.
_INSIDE: Final = ("-BUSY", "-MISCONF", "-NOREPLICAS", "-READONLY")
_PASSING: Final = (
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
#: What a connection raises when the connection failed, not the call. A proxy, or who
#: has the port, may reply in another protocol.
LOST: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    OSError,
    EOFError,
)
#: Anything that can come of an exchange with Redis.
TROUBLE: Final = (*LOST, exceptions.ResponseError)


def reply_of(patience: float | None) -> float:
    """Return how long a reply may take for a client with this patience, in seconds."""
    return REPLY if patience is None else min(REPLY, max(LEAST_REPLY, patience))


def reply_left(
    reply: float, patience: float | None, since: float, until: float | None
) -> float:
    """Return how long a reply may take for a call whose patience began before.

    It may have waited while others had no reply, or no reply itself. ``until`` is its
    caller's deadline, if any.
    """
    now = time.monotonic()
    if patience is not None and now - since >= _AT_ONCE:
        reply = min(reply, max(LEAST_REPLY, patience - (now - since) + _MORE))
    if until is not None:
        reply = min(reply, max(LEAST_REPLY, until - now))
    return reply


def limit(blocking: float, reply: float = REPLY) -> float:
    """Return how long a reply may take, in seconds.

    ``blocking`` is how long the command waits on the server; 0: it does not.
    """
    return blocking + min(_MARGIN, reply) if blocking else reply


def time_to_send(pieces: Iterable[bytes]) -> float:
    """Return how long sending may take, in seconds: hardly any unless it is much."""
    return sum(map(len, pieces)) / _PACE


def options(url: str, *, reply: float = REPLY) -> tuple[str, dict[str, Any]]:
    """Return the kind of connection (tcp, tls, unix) for a URL, and its arguments.

    The caller adds redis-py's ``retry`` object of its own package, with no retries.
    """
    parsed = parse_url(url)
    connection = parsed.pop("connection_class", None)
    arguments: dict[str, Any] = {
        # Who reads for longer, as for a blocking command, sees to that himself.
        "socket_timeout": reply,
        "socket_connect_timeout": min(reply, _CONNECT),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        # CLIENT LIST shows who is connected; the doctor looks at the version.
        "client_name": f"redtask-{redtask.__version__}",
        "protocol": 2,
        **parsed,
    }
    if connection is UnixDomainSocketConnection:
        return "unix", arguments
    arguments["socket_keepalive"] = True
    arguments["socket_keepalive_options"] = _keepalive()
    return "tls" if connection is SSLConnection else "tcp", arguments


def _keepalive() -> dict[int, int]:
    """Return options that detect within 15 s that the peer is cut off.

    Otherwise an idle connection would be waited on until its timeout.
    """
    wanted = {
        "TCP_KEEPIDLE": 5,
        "TCP_KEEPINTVL": 3,
        "TCP_KEEPCNT": 3,
        # For data that was sent and not acknowledged; in ms.
        "TCP_USER_TIMEOUT": 14000,
    }
    # Not every system has all of them.
    return {
        getattr(socket, name): value
        for name, value in wanted.items()
        if hasattr(socket, name)
    }


def pauses() -> Iterator[float]:
    """Yield the pauses between tries, in seconds: decorrelated jitter, at most 1 s.

    After Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015). The
    first is short, because most losses concern a single connection.
    """
    pause = 0.0
    yield 0.0
    while True:
        pause = min(1.0, random.uniform(0.01, max(0.03, pause * 3)))  # noqa: S311
        yield pause


def _bare(problem: Exception) -> Exception:
    """Return the original error: redis-py wraps what a new connection is told."""
    inside = problem.__cause__
    refused = (exceptions.AuthenticationError, exceptions.ResponseError)
    return inside if isinstance(inside, refused) else problem


def is_passing(problem: Exception) -> bool:
    """Is the error transient, so that a retry may succeed?"""
    problem = _bare(problem)
    if isinstance(problem, exceptions.AuthenticationError):
        return False
    if isinstance(problem, (*LOST, *_PASSING)):
        return True
    text = str(problem)
    return isinstance(problem, exceptions.ResponseError) and (
        text.startswith(_PASSING_WORDS) or any(word in text for word in _INSIDE)
    )


def refusal(text: str) -> Exception:
    """Return redtask's exception for an error reply that redis-py did not parse."""
    if text.startswith(_PASSING_WORDS):
        return error.ConnectionLost(f"Redis cannot be reached: {text}")
    return error.ConfigurationError(f"Redis does not let us listen: {text}")


def checked(replies: list[Any]) -> list[Any]:
    """Return replies. Raises the first of them that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def closed() -> error.ConfigurationError:
    """Return the error for users of a closed client."""
    return error.ConfigurationError("this client is closed")


def unanswered() -> Exception:
    """Return the error for a call that others kept waiting, and Redis them."""
    return exceptions.TimeoutError(_SILENT)


def tell_of_silence(problem: BaseException, falls_silent: Callable[[], bool]) -> None:
    """Log that Redis did not answer in time, and that a new connection is made.

    Once only, until it answers.
    """
    silent = isinstance(problem, (exceptions.TimeoutError, TimeoutError))
    if silent and falls_silent():
        # Those of asyncio say nothing.
        _log.warning("Redis does not answer: connecting anew (%s)", words_of(problem))


def is_unknown_script(problem: Exception) -> bool:
    """Has the server forgotten the script?"""
    return isinstance(problem, exceptions.NoScriptError) or (
        isinstance(problem, exceptions.ResponseError) and "NOSCRIPT" in str(problem)
    )


def words_of(problem: BaseException) -> str:
    """Return what is wrong, in words."""
    text = str(problem) or _SILENT
    if isinstance(problem, exceptions.InvalidResponse):
        return f"what answers is no Redis, or expects TLS (rediss://): {text}"
    return text


#: Redis's reply to who did not say a password.
_UNNAMED: Final = "Authentication required"
#: Redis's reply to a script that does what its ACL user may not.
_NO_RIGHT: Final = "The user executing the script can't"


def translate(problem: Exception, script: scripts.Script | None = None) -> Exception:
    """Return redtask's exception for an error from Redis."""
    if isinstance(problem, error.RedtaskError):
        return problem
    problem = _bare(problem)
    text = words_of(problem)
    if words := _to_configure(problem, text):
        return error.ConfigurationError(words)
    if isinstance(problem, exceptions.OutOfMemoryError):
        return error.HubFull()
    if isinstance(problem, exceptions.ResponseError) and not is_passing(problem):
        explained = script.explain(text) if script else text
        if "WRONGTYPE" in text:
            explained = f"{explained} (redtask doctor says which)"
        return error.from_reply(text) or error.HubError(f"Redis refuses: {explained}")
    return error.ConnectionLost(f"Redis cannot be reached: {_inner(text)}")


def _to_configure(problem: Exception, text: str) -> str:
    """Return what the administrator has to fix; "" if nothing."""
    if isinstance(problem, exceptions.AuthenticationError):
        if text.startswith(_UNNAMED):
            return (
                "Redis asks for a password, and the URL has none: "
                "redis://user:password@host:6379"
            )
        return f"Redis refuses the password: {text}"
    if isinstance(problem, exceptions.NoPermissionError) or _NO_RIGHT in text:
        return f"the Redis user lacks a right: {text}"
    if isinstance(problem, (exceptions.MovedError, exceptions.AskError)):
        where = f"{problem.host}:{problem.port}"
        return f"this Redis is one of a cluster; the hub is at {where}: name that one"
    return ""


def _inner(text: str) -> str:
    """Return the error inside a script's error, without the words about where."""
    found = [text.find(word) for word in _INSIDE if word in text]
    return text[min(found) + 1 :] if found else text


def most_idle(listening: int) -> int:
    """Return how many idle connections for blocking reads to keep.

    While so many others wait for a reply, about as many may soon be needed again.
    """
    return max(_IDLE, listening)


def clock_ahead(reply: Sequence[Any]) -> float:
    """Return how far the server's clock is ahead of ours, in ms, by a reply to TIME."""
    seconds, micros = map(int, reply)
    return seconds * 1000 + micros / 1000 - time.time() * 1000


def packed(commands: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return encoded commands, in pieces.

    hiredis packs them directly: redis-py looks at each word first, which takes twice as
    long. Ropes are sent piece by piece, without a copy.
    """
    sent: list[bytes] = []
    small: list[bytes] = []
    for words in commands:
        kinds = set(map(type, words))
        if Rope in kinds:
            _pack_ropes(words, small, sent)
        elif int in kinds:
            # A signal handler that raises while hiredis makes text of a number, as for
            # a Ctrl-C, would crash the process.
            texts: list[Any] = [str(one) if type(one) is int else one for one in words]
            small.append(hiredis.pack_command(tuple(texts)))
        else:
            small.append(hiredis.pack_command(tuple(words)))
    _flush(small, sent)
    return sent if all(len(one) <= _PACE for one in sent) else _in_parts(sent)


def _in_parts(pieces: Sequence[bytes]) -> list[bytes]:
    """Cut large pieces, without a copy: a socket's time is for each one anew."""
    parts: list[Any] = []
    for piece in pieces:
        view = memoryview(piece)
        parts += (view[at : at + _PACE] for at in range(0, len(view), _PACE))
    return parts


def _pack_ropes(words: Sequence[Any], small: list[bytes], sent: list[bytes]) -> None:
    """Pack a command with ropes, each of which becomes a piece of its own."""
    small.append(b"*%d\r\n" % len(words))
    for word in words:
        if type(word) is not Rope:
            data = word if isinstance(word, bytes) else str(word).encode()
            small.append(b"$%d\r\n%b\r\n" % (len(data), data))
            continue
        small.append(b"$%d\r\n" % len(word))
        for piece in word.pieces:
            if len(piece) < _PIECE:
                small.append(piece)
            else:
                _flush(small, sent)
                sent.append(piece)
        small.append(b"\r\n")


def _flush(small: list[bytes], sent: list[bytes]) -> None:
    """Join small pieces: each one that is sent costs a system call."""
    if small:
        sent.append(small[0] if len(small) == 1 else b"".join(small))
        small.clear()


class Tries:
    """Decides how long something is retried while Redis is away.

    ``begun`` is when it was first tried, ``time.monotonic()``; ``until`` is the
    caller's deadline, and ``away_since`` is when Redis was lost.
    """

    def __init__(
        self,
        patience: float | None,
        begun: float | None = None,
        until: float | None = None,
        away_since: float = math.inf,
    ) -> None:
        self._patience = math.inf if patience is None else patience
        self._begun = time.monotonic() if begun is None else begun
        self._until = until
        self._away_since = away_since
        self._pauses = pauses()

    def after(self, problem: Exception) -> float:
        """Return the pause before the next try.

        Raises redtask's exception if there is none: patience is over, or the error is
        permanent; ``StillAway`` if only the caller's deadline has passed.
        """
        pause, now = next(self._pauses), time.monotonic()
        over = now - self._begun + pause >= self._patience
        if over or not is_passing(problem):
            raise translate(problem) from problem
        if self._until is None or (not pause and now - self._begun < _QUICKLY):
            # The second try is immediate: most likely only the connection was lost.
            return pause
        if now < self._until:
            return min(pause, self._until - now)
        if now - self._away_since >= self._patience:
            raise translate(problem) from problem
        raise error.StillAway(str(translate(problem))) from problem


def pause_after(problem: Exception, tries: Tries, contact: Contact) -> float:
    """Return the pause before the next try, as ``Tries`` does.

    ``contact`` is told that a call waits, unless it is tried again at once.
    """
    pause = tries.after(problem)
    if pause:
        contact.waits(tries, translate(problem))
    return pause


def evalsha(script: scripts.Script, root: str, call: Call[Any]) -> Sequence[Any]:
    """Return the command that performs a call."""
    return ("EVALSHA", script.sha, "1", root, *call.args)


def ahead(
    script: scripts.Script, keys: Keys, call: Call[Any]
) -> Iterator[Sequence[Any]]:
    """Yield the commands that perform a call, after those that set its parcels."""
    args = list(call.args)
    for parcel in call.parcels:
        key = keys.parcel(parcel.task_id, parcel.token)
        yield "SET", key, args[parcel.at], "EX", _PARCEL_KEPT
        args[parcel.at] = _PARCEL
    yield "EVALSHA", script.sha, "1", keys.root, *args


class Batch:
    """Calls sent in one round trip: what to send, and what the replies mean.

    If the server does not know a script, it is loaded and only the calls that failed
    are sent again; likewise those bundled with another scheme. A scheme that is not
    redtask's own is read from the hub, and must be signed with a key of the keyring.
    """

    def __init__(
        self,
        calls: Iterable[Call[Any]],
        keys: Keys,
        scheme: AnyScheme,
        keyring: Keyring | None = None,
    ) -> None:
        self._calls = list(calls)
        self._keys = keys
        self._keyring = keyring
        self._changes = 0
        #: The scheme whose scripts are used; the hub replies if it has another.
        self.scheme = scheme
        self._replies: list[Any] = [None] * len(self._calls)
        self._todo = list(range(len(self._calls)))
        #: Calls whose parcels a full Redis refused: their scripts may still pass.
        self._whole: set[int] = set()
        #: The number of commands of each call in flight.
        self._widths: list[int] = []
        self._scripts: list[scripts.Script] = []
        #: Are replies outstanding? Were any lost, of calls possibly performed?
        self._sent = self._lost = False

    @property
    def done(self) -> bool:
        """Has every call its reply?"""
        return not self._todo

    def names(self) -> set[tuple[str, AnyScheme]]:
        """Return which scripts ``commands`` bundles, and with which scheme."""
        return {(self._calls[at].script, self.scheme) for at in self._todo}

    def commands(self) -> list[Sequence[Any]]:
        """Return the commands to send."""
        commands: list[Sequence[Any]] = []
        tried, self._scripts, self._widths = bool(self._scripts), [], []
        self._sent, self._lost = True, self._lost or self._sent
        for at in self._todo:
            call = self._calls[at].anew() if tried else self._calls[at]
            call = call.again() if self._lost else call
            script = scripts.bundle(call.script, self.scheme)
            self._scripts.append(script)
            before = len(commands)
            if call.parcels and at not in self._whole:
                commands += ahead(script, self._keys, call)
            else:
                commands.append(evalsha(script, self._keys.root, call))
            self._widths.append(len(commands) - before)
        return commands

    def _of_calls(self, replies: Sequence[Any]) -> Iterator[Any]:
        """Yield the reply to use for each call in flight.

        The error of a refused parcel is more precise than its call's error.
        """
        first = 0
        for at, width in zip(self._todo, self._widths, strict=True):
            *parcels, reply = replies[first : first + width]
            first += width
            if isinstance(reply, Exception) and not is_unknown_script(reply):
                refused = [one for one in parcels if isinstance(one, Exception)]
                if any(isinstance(one, exceptions.OutOfMemoryError) for one in refused):
                    self._whole.add(at)
                    yield None
                    continue
                reply = next(iter(refused), reply)
            yield reply

    def take(self, replies: Sequence[Any]) -> list[Sequence[Any]]:
        """Take the replies; return the commands that load what is missing.

        Their replies go to ``load``. Raises the exception of a call's error reply, and
        transient errors as they are.
        """
        self._sent = False
        again: list[int] = []
        missing: dict[str, scripts.Script] = {}
        refusal: tuple[Exception, Exception] | None = None
        scheme: str | None = None
        taken = self._of_calls(replies)
        for at, script, reply in zip(self._todo, self._scripts, taken, strict=True):
            if reply is not None and not isinstance(reply, Exception):
                self._replies[at] = reply
                continue
            again.append(at)
            if reply is None:
                continue
            if is_unknown_script(reply):
                missing[script.sha] = script
                continue
            ours = reply if is_passing(reply) else translate(reply, script)
            if isinstance(ours, error.SchemeChanged) and self._changes < _MOST_CHANGES:
                scheme = str(ours)
            elif refusal is None:
                refusal = ours, reply
        self._todo = again
        if refusal is not None:
            ours, reply = refusal
            raise ours from (None if ours is reply else reply)
        if scheme is not None:
            return self._turn_to(scheme)
        return [("SCRIPT", "LOAD", script.text) for script in missing.values()]

    def _turn_to(self, scheme: str) -> list[Sequence[Any]]:
        """Use another scheme; return the command, if any, to read it from the hub."""
        self._changes += 1
        if "@" in scheme:
            return [("HMGET", self._keys.scheme(), "name", "text", "signature")]
        if scheme not in scripts.schemes():
            raise error.SchemaMismatch(
                f"the hub has the scheme {scheme!r}, which this redtask does not know"
            )
        self.scheme = scheme
        return []

    def load(self, reply: Any) -> None:
        """Take the reply to a command that loads."""
        if isinstance(reply, list):
            self.scheme = read_scheme(reply, self._keyring)

    def litter(self) -> list[Sequence[Any]]:
        """Return the command, if any, that deletes parcels no call takes.

        To be sent once ``take`` has raised a permanent error.
        """
        left = [
            self._keys.parcel(parcel.task_id, parcel.token)
            for at in self._todo
            for parcel in self._calls[at].parcels
        ]
        return [("UNLINK", *left)] if left else []

    def values(self) -> list[Any]:
        """Return the values of the calls."""
        pairs = zip(self._calls, self._replies, strict=True)
        return [call.read(reply) for call, reply in pairs]


def read_scheme(fields: Sequence[Any], keyring: Keyring | None) -> scripts.Scheme:
    """Return the scheme that a hub stores: name, text, signature.

    Raises ``SignatureError`` unless one of our keys signed it.
    """
    if None in fields:
        raise error.HubError("the hub has lost the text of its scheme")
    name, text, signature = fields
    told = name.decode("utf-8", "replace")
    if keyring is None:
        raise error.SignatureError(
            f"the hub has the scheme {told}, which no key here can verify"
        )
    try:
        keyring.check_scheme(told, text, signature)
    except error.SignatureError as problem:
        raise error.SignatureError(f"the hub's scheme {told}: {problem}") from None
    return scripts.Scheme(told, text.decode(), f"scheme {told}")


def read_stream(
    keys: Keys, inbox: Inbox, milliseconds: int, position: str | None
) -> Sequence[Any]:
    """Return the command that waits for more entries in a client's stream.

    For a single millisecond it does not: that takes an idle Redis up to a hundred.
    """
    block = ("BLOCK", milliseconds) if milliseconds > 1 else ()
    return (
        "XREAD",
        "COUNT",
        ENTRIES,
        *block,
        "STREAMS",
        keys.done(inbox.client),
        position or "0-0",
    )


def find_stream(keys: Keys, inbox: Inbox) -> Sequence[Any]:
    """Return the command that checks whether a client's stream exists."""
    return "EXISTS", keys.done(inbox.client)


def oldest_entry(keys: Keys, inbox: Inbox) -> Sequence[Any]:
    """Return the command that reads the oldest entry of a client's stream."""
    return "XRANGE", keys.done(inbox.client), "-", "+", "COUNT", 1


def entries(reply: Any) -> Sequence[Any]:
    """Return the entries of a reply to ``read_stream``."""
    return reply[0][1]  # type: ignore[no-any-return]


__all__ = [
    "ENTRIES",
    "LEAST_REPLY",
    "LONGEST_BLOCK",
    "LOST",
    "PARTING",
    "REPLY",
    "TROUBLE",
    "Batch",
    "Tries",
    "ahead",
    "checked",
    "clock_ahead",
    "closed",
    "entries",
    "find_stream",
    "is_passing",
    "is_unknown_script",
    "limit",
    "most_idle",
    "oldest_entry",
    "options",
    "packed",
    "pause_after",
    "pauses",
    "read_scheme",
    "read_stream",
    "redis",
    "refusal",
    "reply_left",
    "tell_of_silence",
    "translate",
]
