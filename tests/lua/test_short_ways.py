"""Single calls and turns with one task go a short way: it must lead to the same place.

The same calls are sent to two hubs, one of which has scripts without short ways.
"""

from __future__ import annotations

import functools
import random
from typing import Any, Final

import pytest

from redtask import error
from redtask.hub import calls, linker, scripts
from redtask.hub.calls import Group, Life
from redtask.hub.records import Work, read_bell, read_done
from tests.hubs import error_in, ok, unbegun

ENGINES: Final = ("e", "g", "h")
FLAGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"until": "999"},
    {"until": "999"},
    {"retries": 2, "until": "999"},
    {"label": "some\nlabel", "until": "999"},
    {"label": "l"},
    {"priority": 0, "until": "999"},
    {"priority": -3, "label": "l", "until": "999"},
    {"queue": "q", "until": "999"},
    {"ttl": 50, "until": "999"},
    {"timeout": 30, "until": "999"},
    {"opts": "l500", "until": "999"},
    {"opts": "l500 oValueError", "label": "l", "until": "999"},
    {"until": "999", "label": "l"},
    {"opts": "l500"},
)
#: Flags that ``pure`` does not have.
NOT_PURE: Final = {"retries", "timeout"}
#: Results that are stored inline, that count, and that do not fit on the sheet.
RESULTS: Final = (b"r", b"r" * 65, b"r" * 1024, b"r" * 1025)
#: Where the short ways begin.
SHORT: Final = {
    "submit": "single.submit(opened)",
    "turn": "takes and brief.turn(",
}


@functools.cache
def general(name, scheme):
    """Return a script without its short way."""
    text = scripts._read(f"{name}.lua")
    assert text.count(SHORT[name]) == 1
    return scripts.link(
        name, text.replace(SHORT[name], f"false and {SHORT[name]}"), scheme
    )


def one(hub, now, name, *, known=True, args=b"args", again=False, **flags):
    """Submit one task, as clients do: with its function only if that is new."""
    group = Group("fn", b"function", "fn", flags, [name, args])
    call = calls.submit([group], {"fn"} if known else (), now=now)
    return hub.do(call.again() if again else call)


def taken(hub):
    """Return a task on the sheet, the second, which an engine has taken."""
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    hub.register(2, "e")
    hub.take(2, "e")
    (work,) = hub.take(3, "e")
    return work


def on_short_way(hub, *ids):
    """Say which of these tasks went it: they stand on the sheet."""
    return [name for name in ids if any(hub.on_sheet(name))]


def record_of(hub, name):
    """Return a record with what may stand beside it."""
    fields = hub.record(name)
    for part in ("args", "result"):
        if fields.get(part) == "":
            fields[part] = hub.redis.get(hub.keys.task(name, part)).decode()
    return fields


def entries_of(hub, key, name):
    """Return what a stream tells; outcomes in blocks are told before others."""
    return sorted(
        (task, read_done(value) if name.startswith("done:") else value)
        for _, entry in hub.redis.xrange(key)
        for task, value in entry.items()
        if value
    )


def everything(hub, names):
    """Return what there is to know of a hub, however records are kept."""
    found: dict[str, Any] = {name: record_of(hub, name) for name in names}
    for key in hub.redis.scan_iter(f"{hub.root}:*", count=1000):
        name = key.decode().removeprefix(f"{hub.root}:")
        kind = hub.redis.type(key)
        if name in {"rows", "runs"} or name.startswith("task:"):
            continue
        if name.endswith((":held", ":lots")):
            # What is held of a task also says whether it stands on the sheet.
            all_held = found.setdefault(f"{name.rpartition(':')[0]}:held", {})
            for task, value in hub.redis.hgetall(key).items():
                head, _, ids = value.partition(b"\n")
                token = head.split(b" ")[1 if ids else 0]
                all_held |= dict.fromkeys(ids.split() or [task], token)
        elif kind == b"zset":
            found[name] = hub.redis.zrange(key, 0, -1, withscores=True)
        elif kind == b"set":
            found[name] = hub.redis.smembers(key)
        elif kind == b"list":
            found[name] = [
                len(read_bell(one) or ()) for one in hub.redis.lrange(key, 0, -1)
            ]
        elif kind == b"stream":
            found[name] = entries_of(hub, key, name)
        else:
            found[name] = hub.redis.hgetall(key)
    for engine in ENGINES:
        found.setdefault(f"engine:{engine}", {}).setdefault(b"done", b"0")
    return found


class Pair:
    """The same calls on two hubs."""

    def __init__(self, make_hub, scheme, seed):
        self.hubs = [make_hub(scheme=scheme, dice=7) for _ in range(2)]
        self.dice = random.Random(seed)  # noqa: S311 - no secret
        self.now = 1
        self.names: list[str] = []
        #: What each engine has, on each hub.
        self.has: dict[str, list[list[Work]]] = {}
        self.turns: dict[str, int] = {}
        for hub in self.hubs:
            # To compare all tasks before and after each call would take too long.
            hub.recorder = None
            hub.draining = True
        self.hubs[1].send = self.send_general
        self.do(lambda _: calls.watch("c", (), now=1))
        self.submit({}, b"args", known=False)
        for engine, queues in zip(
            ENGINES, (["default"], ["default"], ["q", "default"]), strict=True
        ):
            self.register(engine, queues)

    def send_general(self, call):
        """Call a script of the second hub."""
        hub = self.hubs[1]
        script = (
            general(call.script, hub.scheme)
            if call.script in SHORT
            else scripts.bundle(call.script, hub.scheme)
        )
        return hub.run(script, *call.args)

    def do(self, make):
        """Make the same call, which may differ in what engines have."""
        found = []
        for at, hub in enumerate(self.hubs):
            try:
                found.append(hub.do(make(at)))
            except error.HubError as refused:
                found.append(refused)
        first, second = found
        assert type(first) is type(second)
        return found

    def submit(self, flags, args, *, known=True):
        """Submit one task, perhaps twice."""
        if self.hubs[0].scheme == "pure":
            flags = {
                flag: value for flag, value in flags.items() if flag not in NOT_PURE
            }
        self.names.append(name := f"c-{len(self.names)}")
        group = Group("fn", b"function", "fn", flags, [name, args])
        call = calls.submit([group], {"fn"} if known else (), now=self.now)
        self.do(lambda _: call)
        if self.dice.random() < 0.05:
            again = self.dice.choice((call, call.again()))
            self.do(lambda _: again)

    def register(self, engine, queues):
        """Let an engine join."""
        self.do(lambda _: calls.register(engine, "w", queues, now=self.now))
        self.turns[engine], self.has[engine] = 0, [[], []]
        self.turn(engine, 1)

    def hear(self, engine):
        """Let an idle engine have what is in its bell, if anything."""
        rings = [hub.redis.lpop(hub.keys.bell(engine)) for hub in self.hubs]
        works = [[found[1]] for ring in rings if (found := read_bell(ring or b""))]
        if works:
            self.turns[engine] += 1
            self.takes(engine, *works)

    def takes(self, engine, first, second):
        """Note what an engine has."""
        assert [work[:6] for work in first] == [work[:6] for work in second]
        self.has[engine] = [first, second]

    def turn(self, engine, want, report=ok):
        """Report what an engine has, and take more; perhaps twice."""
        self.turns[engine] += 1
        number = self.turns[engine]
        nonces = f"n{engine}{number}", f"n{engine}{number + 1}"
        works = self.has[engine]

        def make(at):
            reports = map(report, works[at])
            return calls.turn(
                engine,
                number,
                nonces[0],
                want,
                reports,
                upcoming=nonces[1],
                now=self.now,
            )

        if self.dice.random() < 0.1:
            self.do(make)
        first, second = self.do(make)
        assert (first.registered, first.stale) == (second.registered, second.stale)
        self.takes(engine, first.work, second.work)
        if not first.registered:
            self.register(engine, ["default"])

    def supervise(self, engine, report):
        """Let a supervisor report for an engine, which goes on."""
        works = self.has[engine]
        self.do(
            lambda at: calls.turn(
                engine, None, "", 0, map(report, works[at]), now=self.now
            )
        )
        self.has[engine] = [[], []]

    def meddle(self):
        """Do what happens now and then."""
        dice, now = self.dice, self.now
        engine, name = dice.choice(ENGINES), dice.choice(self.names)
        held = [work.task_id for work in self.has[engine][0]]
        dead = Life(engine, 0, held, "killed")
        call = dice.choice(
            (
                calls.drain([engine], now=now),
                calls.drain([engine], resume=True, now=now),
                calls.pause(["default"], now=now),
                calls.pause(["default"], resume=True, now=now),
                calls.pause(["default"], resume=True, now=now),
                calls.configure({"hwm": dice.choice((0, 0, 1, 3))}, now=now),
                calls.configure({"hwm": 0}, now=now),
                calls.sweep(200, now=now),
                calls.beat("w", [Life(engine, self.turns[engine], held)], now=now),
                calls.beat("w", [dead], now=now),
                calls.abort([name], running=dice.random() < 0.4, now=now),
                calls.watch("d", [name], now=now),
                calls.purge([name], now=now),
                calls.resubmit([(name, f"c-{len(self.names)}")], now=now),
            )
        )
        found = self.do(lambda _: call)
        if call.script == "resubmit" and not isinstance(found[0], Exception):
            self.names.append(f"c-{len(self.names)}")
        elif call.script == "beat" and call.args[2] == "gone":
            self.register(engine, ["default"])

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
@pytest.mark.parametrize("scheme", ["leastload", "twobin", "pure"])
def test_the_short_way_leads_where_the_general_way_leads(
    make_hub, server, scheme, seed
):
    if seed and not server.real:
        pytest.skip("real servers are enough, and quicker")
    pair = Pair(make_hub, scheme, seed)
    dice = pair.dice

    for step in range(60):
        pair.now += dice.choice((0, 1, 7, 7, 3000 if step % 20 == 19 else 0))
        for _ in range(dice.choice((0, 1, 1, 1, 2, 6))):
            args = b"a" * dice.choice((4, 4, 100, 1024, 1025))
            pair.submit(dice.choice(FLAGS), args, known=dice.random() < 0.95)
        engine = dice.choice(ENGINES)
        result, kind = (
            dice.choice(RESULTS),
            dice.choice((ok, ok, ok, error_in, unbegun)),
        )

        def report(work, kind=kind, result=result):
            return ok(work, result, repr="r") if kind is ok else kind(work)

        if not pair.has[engine][0]:
            pair.hear(engine)
        if dice.random() < 0.1:
            pair.supervise(engine, report)
        pair.turn(engine, dice.choice((0, 1, 1, 1, 4, 30)), report)
        if step % 3 == 2:
            pair.meddle()
        if step % 10 == 0:
            pair.agree()

    pair.agree()
    assert on_short_way(pair.hubs[0], *pair.names)


def test_what_is_made_together_is_made_once(monkeypatch):
    made: list[linker.Piece] = []
    link = linker.Linker.link

    def look(self):
        found = link(self)
        made.extend(piece for group in self._groups for piece in group)
        return found

    monkeypatch.setattr(linker.Linker, "link", look)
    for scheme in scripts.schemes():
        for name in SHORT:
            scripts.link(name, scripts._read(f"{name}.lua"), scheme)

    assert made
    assert all(piece.gives for piece in made)


@pytest.mark.parametrize("weight", ["00", "065", "1x"])
def test_a_weight_that_is_no_usual_number_is_read_the_general_way(hub, weight):
    work = taken(hub)
    value = b"0 0\0r\0" + b"r" * (65 if weight == "065" else 1)
    block = ["folded:1", work.token, weight, "c-2", value]
    script = scripts.bundle("turn")

    if weight == "1x":
        with hub.refuses(error.BadArgument):
            hub.run(script, 4, "e", 3, "nx", 1, *block)
        return
    hub.run(script, 4, "e", 3, "nx", 1, *block)

    assert hub.state("c-2") == "completed"


@pytest.mark.parametrize(
    "flags",
    [
        ("until", "9999999999999999"),
        ("priority", "0", "priority", "5", "until", "9"),
        ("until", "9", "until", "9"),
        ("label", "l", "label", "l", "until", "9"),
    ],
)
def test_flags_that_are_too_large_or_there_twice_are_refused(hub, flags):
    one(hub, 1, "c-1", known=False)
    args = ["fn", "", "fn", len(flags) // 2, *flags, 1, "c-2", "args"]

    with hub.refuses(error.BadArgument):
        hub.run(scripts.bundle("submit"), 1, *args)


def test_a_short_text_of_a_result_is_short_in_bytes(hub):
    work = taken(hub)

    hub.turn(4, "e", 1, ok(work, repr="r" * 80))

    assert len(hub.record("c-2")["repr"].encode()) <= 64


@pytest.mark.parametrize("scheme", ["twobin", "weighted", "plainrandom"])
def test_the_scheme_chooses_once(make_hub, scheme):
    pair = Pair(make_hub, scheme, 0)
    pair.do(lambda _: calls.configure({"hwm": 3}, now=1))

    for _ in range(9):
        pair.submit({}, b"args")

    pair.agree()


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
    work = taken(hub)

    other = "1:other"
    turn = hub.turn(4, "e", 1, ok(work._replace(token=other), repr="r"))

    assert turn.stale == 1
    assert hub.state("c-2") == "running"


def test_an_engine_that_has_nothing_more_to_do_is_free(hub):
    one(hub, 1, "c-1", known=False)
    one(hub, 1, "c-2")
    hub.register(2, "e")
    (first,) = hub.take(2, "e")
    (work,) = hub.turn(3, "e", 1, ok(first, repr="r")).work

    hub.turn(4, "e", 1, ok(work, repr="r"))

    assert hub.members("free:default") == ["e"]


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
