"""Single calls and turns with one task go a short way: it must lead to the same place.

The letter r in the hub's field ``rare`` sends everything the general way, and changes
nothing else as long as no engine has refused a function.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group
from redtask.hub.records import Work, read_bell, read_done
from tests.hubs import error_in, ok, unbegun

ENGINES = ("e", "g")
FLAGS: tuple[dict[str, Any], ...] = (
    {},
    {"until": "999"},
    {"until": "999"},
    {"retries": 2, "until": "999"},
    {"label": "some label", "until": "999"},
    {"label": "l"},
    {"priority": 0, "until": "999"},
    {"priority": -3, "label": "l", "until": "999"},
    {"ttl": 50, "until": "999"},
    {"opts": "l500", "until": "999"},
    {"opts": "l500 oValueError", "label": "l", "until": "999"},
    {"until": "999", "label": "l"},
    {"opts": "l500"},
)
#: Results that are stored inline, that count, and that do not fit on the sheet.
RESULTS = (b"r", b"r" * 65, b"r" * 1025)


@pytest.fixture(params=["leastload", "twobin", "pure"])
def hubs(request, make_hub):
    """Two hubs alike: in the second, everything goes the general way."""
    hub, other = (make_hub(scheme=request.param, dice=7) for _ in range(2))
    other.redis.hset(other.key("hub"), "rare", "r")
    # Comparing all tasks before and after each call would take most of the time.
    hub.recorder = other.recorder = None
    return hub, other


def on_short_way(hub, *ids):
    """Say which of these tasks went it: they stand on the sheet."""
    return [name for name in ids if hub.on_sheet(name)[0] or hub.on_sheet(name)[1]]


def one(hub, now, name, *, known=True, args=b"args", again=False, **flags):
    """Submit one task, as clients do: with its function only if that is new."""
    group = Group("fn", b"function", "fn", flags, [name, args])
    call = calls.submit([group], {"fn"} if known else (), now=now)
    return hub.do(call.again() if again else call)


def record_of(hub, name):
    """Return a record with what may stand beside it."""
    fields = hub.record(name)
    for part in ("args", "result"):
        if fields.get(part) == "":
            fields[part] = hub.redis.get(hub.keys.task(name, part)).decode()
    return fields


def everything(hub, names):
    """Return what there is to know of a hub, however records are kept."""
    found: dict[str, Any] = {name: record_of(hub, name) for name in names}
    for key in hub.redis.scan_iter(f"{hub.root}:*"):
        name = key.decode().removeprefix(f"{hub.root}:")
        kind = hub.redis.type(key)
        if name in {"rows", "runs"} or name.startswith("task:"):
            continue
        if kind == b"zset":
            found[name] = hub.redis.zrange(key, 0, -1, withscores=True)
        elif kind == b"list":
            found[name] = [
                len(read_bell(one) or ()) for one in hub.redis.lrange(key, 0, -1)
            ]
        elif kind == b"stream":
            # Outcomes in blocks are told before others.
            found[name] = sorted(
                (
                    task,
                    read_done(value) if name.startswith("done:") and value else value,
                )
                for _, entry in hub.redis.xrange(key)
                for task, value in entry.items()
                if value
            )
        else:
            found[name] = hub.redis.hgetall(key)
    found["hub"].pop(b"rare", None)
    found.update(found.pop("hub"))
    for engine in ENGINES:
        # What is held of a task says whether it stands on the sheet.
        held = found.pop(f"engine:{engine}:held", {})
        found[f"held by {engine}"] = {
            name: value.split(b" ")[0] for name, value in held.items()
        }
        found.setdefault(f"engine:{engine}", {}).pop(b"done", None)
    return found


def listen(hub, now):
    """Let the client have a stream."""
    hub.do(calls.watch("c", (), now=now))


class Pair:
    """The same calls on both hubs."""

    def __init__(self, hubs):
        self.hubs = hubs
        self.now = 1
        self.names: list[str] = []
        #: What each engine has, on each hub; None: it is idle, and has named a nonce.
        self.has: dict[str, list[list[Work]]] = {}
        self.turns: dict[str, int] = {}

    def begin(self):
        """Let clients and engines come."""
        for hub in self.hubs:
            listen(hub, self.now)
            one(hub, self.now, "c-0", known=False)
            for engine in ENGINES:
                hub.register(self.now, engine)
        self.names.append("c-0")
        for engine in ENGINES:
            self.turns[engine] = 0
            self.has[engine] = [[] for _ in self.hubs]
            self.turn(engine, 1)

    def submit(self, flags, args):
        """Submit one task."""
        if self.hubs[0].scheme == "pure":
            flags = {flag: value for flag, value in flags.items() if flag != "retries"}
        name = f"c-{len(self.names)}"
        self.names.append(name)
        for hub in self.hubs:
            one(hub, self.now, name, args=args, **flags)

    def turn(self, engine, want, report=None):
        """Report what an engine has, and take more."""
        self.turns[engine] += 1
        number = self.turns[engine]
        nonces = f"n{engine}{number}", f"n{engine}{number + 1}"
        for at, hub in enumerate(self.hubs):
            reports = [report(work) for work in self.has[engine][at]]
            call = calls.turn(
                engine,
                number,
                nonces[0],
                want,
                reports,
                upcoming=nonces[1],
                now=self.now,
            )
            self.has[engine][at] = hub.do(call).work
        first, second = self.has[engine]
        assert [work[:6] for work in first] == [work[:6] for work in second]

    def hear(self, engine):
        """Let an idle engine have what is in its bell, if anything."""
        rings = [hub.redis.lpop(hub.keys.bell(engine)) for hub in self.hubs]
        found = [read_bell(ring or b"") for ring in rings]
        works = [[one[1]] for one in found if one]
        if works:
            self.turns[engine] += 1
            self.has[engine] = works
            first, second = works
            assert first[0][:6] == second[0][:6]

    def agree(self):
        """Both hubs are the same."""
        first, second = (everything(hub, self.names) for hub in self.hubs)
        unlike = [
            name for name in first | second if first.get(name) != second.get(name)
        ]
        assert not unlike, [
            (name, first.get(name), second.get(name)) for name in unlike
        ]


@pytest.mark.parametrize("seed", range(4))
def test_the_short_way_leads_where_the_general_way_leads(hubs, seed):
    pair, dice = Pair(hubs), random.Random(seed)  # noqa: S311 - no secret

    pair.begin()
    for step in range(40):
        pair.now += dice.choice((0, 1, 7))
        for _ in range(dice.choice((0, 1, 1, 1, 2, 6))):
            pair.submit(dice.choice(FLAGS), b"a" * dice.choice((4, 4, 100, 1025)))
        engine = dice.choice(ENGINES)
        result, kind = (
            dice.choice(RESULTS),
            dice.choice((ok, ok, ok, ok, error_in, unbegun)),
        )
        if not pair.has[engine][0]:
            pair.hear(engine)
        pair.turn(
            engine,
            dice.choice((1, 1, 4)),
            lambda work, kind=kind, result=result: (
                ok(work, result, repr="r") if kind is ok else kind(work)
            ),
        )
        if step % 8 == 0:
            pair.agree()

    pair.agree()
    assert on_short_way(hubs[0], *pair.names)
    assert hubs[0].redis.hget(hubs[0].key("hub"), "rare") is None


def test_one_task_alone_stands_on_the_sheet_if_its_function_is_known(hub):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2", retries=2, until="9")
    one(hub, 1, "c-3", after="as c-1")
    one(hub, 1, "c-4", args=b"a" * 1025)
    one(hub, 1, "c-5", opts="l500 oValueError", until="9")

    assert on_short_way(hub, *(f"c-{at}" for at in range(1, 6))) == ["c-2", "c-5"]
    assert hub.record("c-5")["fn"] == "fn 9 l500 oValueError"
    assert hub.record("c-2") == {
        "state": "ready",
        "fn": "fn 9",
        "submitted": "1",
        "args": "args",
        "retries": "2",
    }


def test_a_task_that_is_sent_twice_is_known(hub):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")

    assert one(hub, 2, "c-2").new == 0
    assert one(hub, 2, "c-2", again=True).new == 0
    assert one(hub, 2, "c-1").new == 0
    with hub.refuses(error.SubmitConflict):
        one(hub, 2, "c-2", args=b"others")


def test_a_purged_task_that_is_sent_again_is_known(hub):
    one(hub, 1, "c-1", known=False)
    hub.abort(2, "c-1")
    hub.purge(3, "c-1")

    assert one(hub, 4, "c-1", again=True).new == 0
    assert hub.state("c-1") is None


def test_a_function_that_the_hub_does_not_know_must_be_sent(hub):
    with hub.refuses(error.UnknownFunction):
        one(hub, 1, "c-1")


@pytest.mark.parametrize(
    "flags",
    [
        {"retries": "x"},
        {"queue": "Not a queue"},
        {"until": "-1"},
        {"label": ""},
        {"nonsense": 1},
        {"opts": "\n", "until": "9"},
        {"priority": 1001},
    ],
)
def test_a_wrong_flag_is_refused(hub, flags):
    one(hub, 1, "c-1", known=False)

    with hub.refuses(error.BadArgument):
        one(hub, 1, "c-2", **flags)


@pytest.mark.parametrize("args", [b"", b"@parcel"])
def test_wrong_arguments_are_refused(hub, args):
    one(hub, 1, "c-1", known=False)

    with hub.refuses(error.BadArgument):
        one(hub, 1, "c-2", args=args)


def test_one_task_does_not_overtake_others(hub):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    hub.register(2, "e")
    one(hub, 3, "c-3")
    one(hub, 3, "c-4", priority=1, until="9")

    taken = [hub.take(4, "e")[0].task_id for _ in range(4)]

    assert taken == ["c-4", "c-1", "c-2", "c-3"]


def test_a_function_idle_for_less_than_an_hour_is_in_use_again(hub):
    one(hub, 1, "c-1", known=False)
    hub.abort(2, "c-1")
    hub.purge(2, "c-1")

    one(hub, 3, "c-2")

    assert hub.members("functions:idle") == []


def test_an_idle_engine_has_one_task_at_once(hub):
    one(hub, 1, "c-1", known=False)
    hub.register(1, "e")
    (first,) = hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1)).work
    done = [ok(first, repr="r")]
    hub.do(calls.turn("e", 2, "n2", 1, done, upcoming="n3", now=2))

    one(hub, 3, "c-2", label="l", until="9")

    found = read_bell(hub.redis.lpop(hub.keys.bell("e")))
    assert found is not None
    nonce, work = found
    assert (nonce, work.task_id, work.token, work.args) == (
        "n3",
        "c-2",
        "1:n3",
        b"args",
    )
    assert hub.state("c-2") == "running"
    assert on_short_way(hub, "c-2") == ["c-2"]


def test_nothing_of_a_paused_queue_begins(hub):
    one(hub, 1, "c-1", known=False)
    hub.abort(1, "c-1")
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1))
    hub.do(calls.pause(["default"], now=2))

    one(hub, 3, "c-2")

    assert hub.state("c-2") == "ready"


def test_with_a_bound_a_task_is_placed_on_an_engine_and_nothing_more(hub):
    hub.configure(1, hwm=1)
    one(hub, 1, "c-1", known=False)
    hub.abort(1, "c-1")
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1))

    one(hub, 2, "c-2")
    one(hub, 2, "c-3")

    assert [hub.state(f"c-{at}") for at in (2, 3)] == ["assigned", "ready"]


def test_a_task_does_not_overtake_those_that_an_engine_with_room_has_not_come_for(hub):
    hub.configure(1, hwm=1)
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    hub.register(1, "e")
    hub.do(calls.turn("e", 1, "n1", 1, upcoming="n2", now=1))
    hub.configure(2, hwm=2)
    hub.sweep(2)

    one(hub, 3, "c-3")

    assert [hub.state(f"c-{at}") for at in (1, 2, 3)] == [
        "running",
        "assigned",
        "ready",
    ]


@pytest.mark.parametrize("report", [0, 1])
def test_a_turn_that_is_sent_twice_is_told_the_same(hub, report):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    one(hub, 1, "c-3")
    hub.register(2, "e")
    hub.take(2, "e")
    (work,) = hub.take(3, "e")
    said = [ok(work, repr="r")] if report else []
    first = hub.turn(4, "e", 1, *said)

    again = hub.turn_again(5, "e", 1, *said)

    assert [one.task_id for one in first.work] == ["c-3"]
    assert [one.task_id for one in again.work if one.task_id == "c-3"] == ["c-3"]


def test_an_outcome_under_another_token_does_not_count(hub):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    hub.register(2, "e")
    hub.take(2, "e")
    (work,) = hub.take(3, "e")

    other = "1:other"
    turn = hub.turn(4, "e", 1, ok(work._replace(token=other), repr="r"))

    assert turn.stale == 1
    assert hub.state("c-2") == "running"


def test_an_engine_that_has_more_to_do_is_not_free(hub):
    one(hub, 1, "c-1", known=False)
    for number in range(2, 6):
        one(hub, 1, f"c-{number}")
    hub.register(2, "e")
    first = hub.take(2, "e", 4)
    while len(first) < 2:
        first = hub.take(2, "e", 4)

    hub.turn(3, "e", 1, ok(first[0], repr="r"))
    left = hub.members("free:default")

    assert left == []
