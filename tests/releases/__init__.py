"""Hubs as earlier releases left them, for this one to read and work on.

A dump is written once, by the release it is named after, and never changed::

    python -m tests.releases tests/releases/hub-0.1.0.json

It holds plain values of keys, not the format of one Redis version, so every server can
load it. Functions are named, not pickled: their bytes would fit one Python only.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from redtask.hub.keys import Keys

FOLDER = Path(__file__).parent
#: The hub's name, and its key.
HUB = "old"
KEY = base64.b64encode(b"a key of tests, for all to know!").decode()


def names():
    """Return the names of all releases that have left a hub."""
    return sorted(path.stem.removeprefix("hub-") for path in FOLDER.glob("hub-*.json"))


def read(name: str) -> dict[str, Any]:
    """Return a dump: its keys, and what each task is to end like."""
    found: dict[str, Any] = json.loads((FOLDER / f"hub-{name}.json").read_text())
    return found


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.b64decode(value)


def dump(redis: Any) -> list[dict[str, Any]]:
    """Return all keys of the hub, by name."""
    found = []
    for key in sorted(redis.scan_iter(f"{Keys(HUB).root}:*", count=1000)):
        kind = redis.type(key).decode()
        value: Any
        if kind == "hash":
            value = [
                [_text(a), _text(b)] for a, b in sorted(redis.hgetall(key).items())
            ]
        elif kind == "zset":
            value = [
                [_text(a), b] for a, b in redis.zrange(key, 0, -1, withscores=True)
            ]
        elif kind == "list":
            value = [_text(one) for one in redis.lrange(key, 0, -1)]
        elif kind == "set":
            value = sorted(_text(one) for one in redis.smembers(key))
        elif kind == "stream":
            value = [
                [entry.decode(), [[_text(a), _text(b)] for a, b in fields.items()]]
                for entry, fields in redis.xrange(key)
            ]
        else:
            value = _text(redis.get(key))
        ttl = redis.pttl(key)
        found.append({"key": key.decode(), "type": kind, "value": value, "ttl": ttl})
    return found


def restore(redis: Any, keys: list[dict[str, Any]]) -> None:
    """Write the keys of a dump."""
    for one in keys:
        key, value = one["key"], one["value"]
        if one["type"] == "hash":
            redis.hset(key, mapping={_bytes(a): _bytes(b) for a, b in value})
        elif one["type"] == "zset":
            redis.zadd(key, {_bytes(a): b for a, b in value})
        elif one["type"] == "list":
            redis.rpush(key, *map(_bytes, value))
        elif one["type"] == "set":
            redis.sadd(key, *map(_bytes, value))
        elif one["type"] == "stream":
            for entry, fields in value:
                redis.xadd(key, {_bytes(a): _bytes(b) for a, b in fields}, id=entry)
        else:
            redis.set(key, _bytes(value))
        if one["ttl"] > 0:
            redis.pexpire(key, one["ttl"])
