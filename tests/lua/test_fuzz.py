"""Whoever reaches Redis may call scripts with anything: they answer or refuse, whole.

Right calls are spoilt at random. No script may stop with a Lua error, what is refused
must have changed nothing, and the invariants hold after every call.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from redtask import error
from redtask.hub import calls, scripts
from redtask.hub.calls import Call, Group, Life, Report
from tests import invariants
from tests.hubs import Hub

#: How many calls; more by hand: REDTASK_FUZZ=20000 pytest tests/lua/test_fuzz.py
CALLS = int(os.environ.get("REDTASK_FUZZ", "1600"))
SEED = int(os.environ.get("REDTASK_FUZZ_SEED", "1"))

ODD = (
    b"", b"0", b"-1", b"1", b"1.5", b"1e5", b"1e400", b"nan", b"inf", b"-inf", b"0x10",
    b"9007199254740993", b"99999999999999999999", b" ", b" 1", b"\0", b"\xff",
    b"x" * 65, b"x" * 5000, b"c-1", b"c-1 c-2", b"c-0", b"C-1", b"c-", b"as c-1", b"as",
    b"sa c-1", b"e", b"w", b"default", b"a:b", b"{x}", b"0-3", b"3-0", b"0,0", b"!1",
    b"1:n", b"ok", b"gone", b"after", b"5 5 0", b"0 0 9", b"-5 0 0", b"gate",
    b"targets", b"leastload", b"mine@1", b"task", b"line", b"@parcel",
)  # fmt: skip


def right(dice):
    """Return a call as clients and workers make them."""
    now = dice.choice((1000, 2000, 50_000))

    def name():
        return f"c-{dice.randrange(12)}"

    flags = dice.choice(
        (
            {},
            {"priority": 3, "retries": 1},
            {"after": f"as {name()}"},
            {"follow": f"ns {name()} {name()}", "timeout": 50},
            {"targets": "0", "ttl": 50},
            {"start_in": 50, "pause": "10 2 0", "elsewhere": 1},
            {"gate": "c-90", "later": 1, "after": f"nsf {name()}"},
            {"refs": name(), "queue": "other", "label": "l"},
        )
    )
    report = Report(
        dice.choice(("ok", "error", "unmet", "unbegun", "late", "final", "aborted")),
        name(),
        f"1:n{dice.randrange(6)}",
        5,
        5,
        ("result", b"r", "repr", "r", "stdout", b"o"),
    )
    made = (
        lambda: calls.submit([Group("fn", b"b", "f", flags, [name(), b"a"])], now=now),
        lambda: calls.submit(
            [Group("fn", b"b", "f", flags, [f"c-{number}", b"a"])
             for number in dice.sample(range(12), 3)], now=now,
        ),
        lambda: calls.turn(
            dice.choice("ef"), dice.randrange(1, 5), f"n{dice.randrange(6)}", 2,
            [report],
            upcoming=dice.choice(("", "n9")), now=now,
        ),
        lambda: calls.register(dice.choice("efg"), "w", ["default"], {"pid": 1},
                               now=now),
        lambda: calls.beat("w", [Life("e", 1, ["c-1"]), Life("f", 0, [], "why")],
                           now=now),
        lambda: calls.sweep(50, now=now),
        lambda: calls.watch("d", [name(), name()], now=now),
        lambda: calls.abort([name(), name()], running=dice.random() < 0.5, now=now),
        lambda: calls.link(name(), "after", [name()], now=now),
        lambda: calls.open_gate("c-90", now=now),
        lambda: calls.configure({"hwm": 2, "lease": 15000}, now=now),
        lambda: calls.status(5, now=now),
        lambda: calls.resubmit([(name(), f"d-{dice.randrange(999)}")], now=now),
        lambda: calls.purge([name()], now=now),
        lambda: calls.why(name(), now=now),
        lambda: calls.tell("w", b"message", now=now),
        lambda: calls.examine(
            [("task", name()), ("engine", "e"), ("entry", f"waiting {name()}"),
             ("line", "default"), ("function", "fn"), ("owned", "e bell")],
            mend=dice.random() < 0.5, now=now,
        ),
        lambda: calls.answer("nonce", b"yes", now=now),
        lambda: calls.attend([name(), name()], now=now),
        lambda: calls.drain(["e"], resume=dice.random() < 0.5, now=now),
        lambda: calls.pause(["default"], resume=dice.random() < 0.7, now=now),
        lambda: calls.say(
            [(name(), f"1:n{dice.randrange(6)}", ("progress", "0.5", "stdout", "5 x"))],
            now=now,
        ),
        lambda: calls.overview(dice.randrange(30), now=now),
        lambda: calls.engines(0, 5, dice.choice(("", "e")), now=now),
        lambda: calls.tasks(dice.choice(("ready", "running")), "", 5, "f", now=now),
        lambda: calls.events("", 5, now=now),
        lambda: calls.examine([("tally", "worker nobody 1 -"), ("hub", "")], now=now),
    )  # fmt: skip
    return dice.choice(made)()


def spoil(dice, args):
    """Return arguments of which some are odd, missing, doubled or elsewhere.

    The time stays: on a hub that is not made for tests any is refused.
    """
    now, *args = args
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        at = dice.randrange(len(args) or 1)
        how = dice.choice(("odd", "odd", "odd", "cut", "drop", "double", "swap", "add"))
        if not args:
            break
        if how == "odd":
            args[at] = dice.choice(ODD)
        elif how == "cut":
            args = args[: at + 1]
        elif how == "drop" and len(args) > 1:
            del args[at]
        elif how == "double":
            args.insert(at, args[at])
        elif how == "swap":
            other = dice.randrange(len(args))
            args[at], args[other] = args[other], args[at]
        else:
            args.insert(at, dice.choice(ODD))
    return [now, *args]


def ask(hub, call, args):
    """Call a script; return whether it was done. What is refused changes nothing."""
    before = hub.dump()
    try:
        hub.send(Call(call.script, args, lambda reply: reply))
    except error.HubError:
        assert hub.dump() == before, "it was refused, and has changed something"
        return False
    return True


def test_whatever_is_said_to_a_script_it_answers_or_refuses_whole(real_server):
    dice = Random(SEED)  # noqa: S311 - no secret
    hub = Hub(real_server)
    outcomes = set()
    # Every script has been loaded, so that only its own doing changes anything.
    for command in scripts.commands():
        hub.redis.script_load(scripts.bundle(command).text)

    for number in range(CALLS):
        call = right(dice)
        args = spoil(dice, call.args)
        try:
            outcomes.add((call.script, ask(hub, call, args)))
            invariants.check(hub.redis, hub.root, draining=True)
        except AssertionError as wrong:
            # A Lua error is one, too.
            pytest.fail(f"call {number}, {call.script} {args}: {wrong}")
        if number % 500 == 499:
            hub.close()
            with real_server.redis() as redis:
                redis.flushall()
            hub = Hub(real_server)
    hub.close()

    # Both were seen of each, so that it is not all nonsense. To abort what is no id
    # is to abort something unknown.
    wanted = {(name, done) for name in scripts.commands() for done in (True, False)}
    assert wanted - outcomes <= {("abort", False), ("attend", False)}
