"""A Redis in this process, whose clock the test sets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import fakeredis
from redis import exceptions

from redtask import durability
from redtask.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Where ``EVALSHA sha 1 root now`` has the script, the hub and the time.
_SHA: Final = 1
_ROOT: Final = 3
_NOW: Final = 4
_VERSION: Final = (7, 0)
#: What fakeredis does not know, and who wants durable submits asks. What is written is
#: as safe here as it will ever be, so nobody has to wait for that.
_DURABLE: Final[dict[tuple[bytes, ...], Any]] = {
    (b"INFO", b"server"): b"redis_version:7.0.0",
    (b"INFO", b"persistence"): b"aof_enabled:1",
    (b"INFO", b"replication"): b"connected_slaves:1",
    (b"CONFIG", b"GET", b"appendfsync"): [b"appendfsync", b"always"],
    (b"WAIT", b"1", b"%d" % durability.LONGEST): 1,
}
_FLEETING: Final = {
    **_DURABLE,
    (b"INFO", b"persistence"): b"aof_enabled:0",
    (b"INFO", b"replication"): b"connected_slaves:0",
}
#: The words of the longest of these.
_LONGEST: Final = max(map(len, _DURABLE))

#: Compiles a script, and runs it. ``redis`` is what all scripts share.
_COMPILE: Final = b"""
redis.compiled = redis.compiled or {}
redis.compiled["%s"] = assert(loadstring(ARGV[1], "@user_script"))
"""
_RUN: Final = b'return redis.compiled["%s"]()'


class Server:
    """A fakeredis; thread-safe.

    Scripts of the hub under ``root`` are told the time, so that hub has to be made for
    testing. ``durable``: does it seem to have a log and a replica?
    """

    def __init__(self, root: str, now: int, *, durable: bool) -> None:
        self._root = root.encode()
        self._lock = threading.Lock()
        #: What it is a connection to.
        self.inner = fakeredis.FakeServer(version=_VERSION)
        self._fake = fakeredis.FakeRedisConnection(server=self.inner, protocol=2)
        #: The time, in ms since 1970. It stands still unless it is set.
        self.now = now
        self._compiled: set[bytes] = set()
        self._known = _DURABLE if durable else _FLEETING

    def perform(self, words: Sequence[Any]) -> Any:
        """Perform a command; an error reply is returned."""
        given = [_encoded(word) for word in words]
        if (known := self._known.get(tuple(given[:_LONGEST]))) is not None:
            return known
        with self._lock:
            if given[0] == b"EVALSHA":
                self._prepare(given)
            reply = self._send(given)
            if given[:2] == [b"SCRIPT", b"LOAD"]:
                return self._compile(reply, given[2])
            return reply

    def _compile(self, sha: bytes, text: bytes) -> Any:
        """Compile a script that was loaded; return what loading it replies.

        fakeredis takes any text, and Redis only what compiles.
        """
        problem = self._send([b"EVAL", _COMPILE % sha, b"0", text])
        if isinstance(problem, Exception):
            return problem
        self._compiled.add(sha)
        return sha

    def _send(self, words: Sequence[bytes]) -> Any:
        fake: Any = self._fake
        try:
            fake.send_command(*words)
            return _decoded(fake.read_response())
        except exceptions.ResponseError as problem:
            return problem

    def _prepare(self, given: list[bytes]) -> None:
        """Let a script be told the time, and be compiled only once.

        fakeredis compiles it at each call, which takes most of the time.
        """
        # A scheme of one's own is tried out without one.
        if len(given) > _NOW and given[_ROOT] == self._root:
            given[_NOW] = given[_NOW] or b"%d" % self.now
        sha = given[_SHA]
        if sha in self._compiled:
            given[:2] = b"EVAL", _RUN % sha


def _encoded(word: Any) -> bytes:
    if isinstance(word, (bytes, bytearray, memoryview, Rope)):
        return bytes(word)
    return str(word).encode()


def _decoded(reply: Any) -> Any:
    """Return a reply as a connection reads it."""
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, (list, tuple)):
        return [_decoded(one) for one in reply]
    return reply
