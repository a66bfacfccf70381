"""Calls that scripts refuse: every error code of every script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redtask.hub import calls
from redtask.hub.calls import Call, Group, Life

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.hubs import Hub

NOW = 1_000_000
#: Hubs under whose roots nothing goes: the format of each, for ours.
FORMATS = {"SCHEMA": "0 leastload", "SCHEME": "{} lru", "NOW": "{} leastload"}


def _format(hub: Hub, text: str) -> str:
    """Return a hub's format with our schema."""
    ours: bytes = hub.redis.hget(f"{hub.root}:hub", "format")
    return text.format(ours.decode().split()[0])


def _group(*, digest: str = "fn", blob: bytes = b"b", args: bytes = b"a", **flags: Any):
    return Group(digest, blob, digest, flags, ["c-9999999", args])


def _right() -> dict[str, Call[Any]]:
    """Return a call of each script that only its hub can refuse."""
    found: list[Call[Any]] = [
        calls.submit([_group()], now=NOW),
        calls.turn("e", 1, "n", 1, now=NOW),
        calls.register("e", "w", now=NOW),
        calls.beat("w", [Life("e", 1, [])], now=NOW),
        calls.sweep(now=NOW),
        calls.watch("", [], now=NOW),
        calls.abort(["c-1"], now=NOW),
        calls.link("c-1", "after", ["c-2"], now=NOW),
        calls.open_gate("c-1", now=NOW),
        calls.configure({"hwm": 1}, now=NOW),
        calls.status(now=NOW),
        calls.overview(now=NOW),
        calls.engines(now=NOW),
        calls.tasks("ready", now=NOW),
        calls.events(now=NOW),
        calls.resubmit([("c-1", "c-2")], now=NOW),
        calls.purge(["c-1"], now=NOW),
        calls.why("c-1", now=NOW),
        calls.tell("w", b"message", now=NOW),
    ]
    return {call.script: call for call in found}


def _bad() -> list[Call[Any]]:
    """Return a call of each script whose arguments are none."""
    many = [f"c-{number}" for number in range(2001)]
    return [
        calls.submit([_group(after="as")], now=NOW),
        calls.turn("e", 1, "no!nonce", 1, now=NOW),
        calls.register("e", "w", ["no queue"], now=NOW),
        Call("beat", (NOW, "w", "odd", "e", 1, 0), id),
        calls.sweep(0, now=NOW),
        calls.watch("no client", [], now=NOW),
        calls.abort(many[:501], now=NOW),
        calls.link("c-1", "before", ["c-2"], now=NOW),
        calls.configure({"hwm": -1}, now=NOW),
        calls.status(-1, now=NOW),
        calls.overview(61, now=NOW),
        calls.engines(0, 0, now=NOW),
        calls.tasks("gone", now=NOW),
        calls.events("odd", now=NOW),
        calls.resubmit([("c-1", "c-1")], now=NOW),
        calls.purge(["no id"], now=NOW),
        calls.tell("no worker", b"message", now=NOW),
    ]


def _special(hub: Hub, dice: Random) -> tuple[Call[Any], str, str, str]:
    """Return a call that its hub refuses for a reason of its own."""
    root = hub.root.replace("}", "-else}")
    key = f"{root}:hub"
    fields: dict[str, Any] = {"testing": 1, "hwm": 0, "max_payload": 65536}
    fields |= {"last": 0, "skew": 0, "grace": 0, "lease": 15000}
    code = dice.choice(("TOOLARGE", "NOFN", "PURE", "NAMETAKEN", "MUCH", "CONFLICT"))
    scheme = "pure" if code == "PURE" else "leastload"
    fields["format"] = _format(hub, f"{{}} {scheme}")
    hub.redis.hset(key, mapping=fields)
    if code == "NAMETAKEN":
        card = {"boot": "b", "pid": 1, "begun": 1, "engines": 1, "lease": NOW * 9}
        hub.redis.hset(f"{root}:worker:w", mapping=card)
    if code in ("MUCH", "CONFLICT"):
        for name in ("c-1", "c-2"):
            record = {"state": "completed", "fn": "fn", "args": ""}
            hub.redis.hset(f"{root}:task:{name}", mapping=record)
            size = 5_000_000 if code == "MUCH" else 1
            hub.redis.setrange(f"{root}:task:{name}:args", size, b"x")
    found: dict[str, Callable[[], Call[Any]]] = {
        "TOOLARGE": lambda: calls.submit([_group(args=b"x" * 70000)], now=NOW),
        "NOFN": lambda: calls.submit([_group(digest="none", blob=b"")], now=NOW),
        "PURE": lambda: calls.submit([_group(after="as c-1")], now=NOW),
        "NAMETAKEN": lambda: calls.register("e", "w", now=NOW),
        "MUCH": lambda: calls.resubmit([("c-1", "c-3"), ("c-2", "c-4")], now=NOW),
        "CONFLICT": lambda: calls.resubmit([("c-1", "c-2")], now=NOW),
    }
    return found[code](), "TOOLARGE" if code == "MUCH" else code, root, scheme


def choose(dice: Random, hub: Hub) -> tuple[Call[Any], str, str, str]:
    """Return a call, the code that refuses it, and under which root and scheme."""
    kind = dice.choice(("NOHUB", "SCHEMA", "SCHEME", "NOW", "BADARG", "BADARG", "else"))
    if kind == "BADARG":
        return dice.choice(_bad()), kind, hub.root, "leastload"
    if kind == "else":
        return _special(hub, dice)
    root = hub.root.replace("}", f"-{kind.lower()}}}")
    if kind in FORMATS:
        hub.redis.hset(f"{root}:hub", "format", _format(hub, FORMATS[kind]))
    call = dice.choice(list(_right().values()))
    return call, kind, root, "leastload"
