"""How engines are chosen: what each scheme draws, and what becomes of a change."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from redtask import error
from redtask.hub import calls, scripts
from redtask.hub.scripts import Scheme
from tests.hubs import ok

SCHEMES = scripts.schemes()
LOAD = 2**40
DRAWS = 1500
#: How far a share may be from what it should be, in standard deviations: draws are
#: the same in every run.
SURE = 4

# Draws often, from a set with these scores, among all or among some.
DRAW = """\
local scheme = require("scheme")
local drawn, some = {}, cjson.decode(ARGV[2])
local admits = next(some) and function(uuid) return some[uuid] end or nil
for at = 1, ARGV[1] do
  drawn[at] = scheme.choose(KEYS[1] .. ":free:drawn", admits) or ""
end
return drawn
"""
# As most calls do: one choice for each script.
OWN = Scheme(
    "last@0123456789abcdef",
    """\
local function choose(free, admits)
  for _, uuid in ipairs(redis.call("ZREVRANGE", free, 0, 99)) do
    if not admits or admits(uuid) then
      return uuid
    end
  end
end
return { score = function(_, used) return used end, choose = choose }
""",
    "last.lua",
)


@pytest.fixture(params=SCHEMES)
def scheme(request):
    """Each scheme of redtask's."""
    return request.param


def draw(hub, scheme, scores, some=(), draws=DRAWS):
    """Return how often each of the engines was chosen."""
    hub.redis.hset(hub.key("hub"), "dice", 20)
    free = hub.key("free", "drawn")
    hub.redis.zadd(free, {str(at): score for at, score in enumerate(scores)})
    allowed = "{" + ",".join(f'"{at}":true' for at in some) + "}"
    drawn = hub.run(scripts.link("draw", DRAW, scheme), draws, allowed)
    hub.redis.delete(free)
    assert len(drawn) == draws
    return Counter(int(name) for name in drawn)


def assert_shares(drawn, shares):
    """Assert that engines were chosen in these shares, as far as chance allows."""
    total = sum(drawn.values())
    assert math.isclose(sum(shares), 1, abs_tol=1e-3)
    for at, share in enumerate(shares):
        deviation = math.sqrt(total * share * (1 - share))
        assert abs(drawn[at] - total * share) <= SURE * deviation + 1e-9, (at, drawn)


def lru_order(count):
    """Return scores of idle engines in the order in which they were used."""
    return range(10, 10 + count)


def loaded(*loads):
    """Return scores by load, then use, of engines that have these loads."""
    return [load * LOAD + at for at, load in enumerate(loads)]


# What is drawn: section 2.12 of the study of IPython.parallel


@pytest.mark.parametrize("name", ["lru", "pure"])
def test_lru_takes_the_one_used_longest_ago(hub, name):
    assert draw(hub, name, lru_order(4), draws=50) == {0: 50}


def test_lru_ranks_by_use_and_not_by_load(make_hub):
    hub = make_hub(hwm=2, scheme="lru")
    hub.join(1, "x", "y")
    hub.submit(2, "c-1", "c-2")
    hub.report(3, "y", *[ok(work) for work in hub.take(3, "y")])
    hub.submit(4, "c-3")

    assert hub.engine_of("c-3") == "x"


def test_leastload_takes_the_least_load_then_the_one_used_longest_ago(hub):
    assert draw(hub, "leastload", [LOAD + 1, 7, 8], draws=50) == {1: 50}


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_plainrandom_draws_each_alike(hub, count):
    assert_shares(draw(hub, "plainrandom", [0] * count), [1 / count] * count)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_twobin_prefers_who_was_used_longer_ago(hub, count):
    drawn = draw(hub, "twobin", lru_order(count))

    assert_shares(drawn, [(2 * (count - at) - 1) / count**2 for at in range(count)])


def test_twobin_draws_of_four_as_was_measured(hub):
    assert_shares(draw(hub, "twobin", lru_order(4)), [0.4375, 0.3125, 0.1875, 0.0625])


def test_weighted_prefers_less_load_as_was_measured(hub):
    weights = [1 / (1e-6 + load) for load in (1, 2, 4)]
    shares = [weight / sum(weights) for weight in weights]
    tails = [sum(shares[at:]) for at in range(4)]
    expected = [tails[at] ** 2 - tails[at + 1] ** 2 for at in range(3)]

    drawn = draw(hub, "weighted", loaded(1, 2, 4))

    assert [round(share, 2) for share in expected] == [0.82, 0.16, 0.02]
    assert_shares(drawn, expected)


def test_weighted_draws_equals_alike(hub):
    assert_shares(draw(hub, "weighted", loaded(3, 3, 3, 3)), [1 / 4] * 4)
    assert_shares(draw(hub, "weighted", loaded(0, 0, 0)), [1 / 3] * 3)


def test_weighted_counts_engines_and_not_loads(hub):
    drawn = draw(hub, "weighted", loaded(1, 1, 1, 2))

    first = 3 / 3.5
    assert_shares(drawn, [(1 - (1 - first) ** 2) / 3] * 3 + [(1 - first) ** 2])


def test_weighted_lets_an_idle_engine_beat_any_other(hub):
    assert draw(hub, "weighted", loaded(0, 1, 1), draws=500) == {0: 500}


def test_weighted_has_a_bound_of_loads_that_it_tells_apart(hub):
    drawn = draw(hub, "weighted", loaded(*range(1, 65), *[65] * 300), draws=40)

    assert max(drawn) < 64


def test_draws_of_one_script_each_fit_too(hub):
    drawn: Counter[int] = Counter()
    hub.redis.hset(hub.key("hub"), "dice", 20)
    free = hub.key("free", "drawn")
    hub.redis.zadd(free, {str(at): at for at in range(4)})
    script = scripts.link("draw", DRAW, "twobin")
    for _ in range(300):
        (name,) = hub.run(script, 1, "{}")
        drawn[int(name)] += 1
    hub.redis.delete(free)

    assert_shares(drawn, [0.4375, 0.3125, 0.1875, 0.0625])


# Where not every engine will do


def test_of_an_empty_set_nobody_is_chosen(hub, scheme):
    script = scripts.link("draw", DRAW, scheme)

    assert hub.run(script, 1, "{}") == [b""]
    assert hub.run(script, 1, '{"1":true}') == [b""]


def test_the_only_one_that_will_do_is_chosen(hub, scheme):
    scores = loaded(*range(100))

    assert draw(hub, scheme, scores, some=[77], draws=20) == {77: 20}


def test_where_nobody_will_do_nobody_is_chosen(hub, scheme):
    hub.redis.zadd(hub.key("free", "drawn"), {"x": 1})

    drawn = hub.run(scripts.link("draw", DRAW, scheme), 1, '{"y":true}')

    hub.redis.delete(hub.key("free", "drawn"))
    assert drawn == [b""]


def test_not_more_than_so_many_are_looked_at(hub, scheme):
    hub.redis.zadd(hub.key("free", "drawn"), {f"{at:04}": at for at in range(1001)})
    script = scripts.link("draw", DRAW, scheme)

    drawn = [hub.run(script, 1, f'{{"{name}":true}}')[0] for name in ("0999", "1000")]

    hub.redis.delete(hub.key("free", "drawn"))
    assert drawn[0] == b"0999"
    # A random one may be found by chance.
    assert drawn[1] == b"" or (drawn[1], scheme) == (b"1000", "plainrandom")


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("lru", [1, 0, 0, 0]),
        ("leastload", [1, 0, 0, 0]),
        ("plainrandom", [1 / 4] * 4),
        ("twobin", [0.4375, 0.3125, 0.1875, 0.0625]),
        ("weighted", [1 / 4] * 4),
    ],
)
def test_among_those_that_will_do_it_is_as_among_all(hub, name, shares):
    some = [3, 33, 35, 70]

    drawn = draw(hub, name, range(100), some=some)

    assert_shares({at: drawn[engine] for at, engine in enumerate(some)}, shares)


def test_weighted_counts_only_those_that_will_do(hub):
    drawn = draw(hub, "weighted", loaded(0, 1, 2, 4), some=[1, 2, 3])

    assert [round(drawn[at] / DRAWS, 1) for at in range(4)] == [0, 0.8, 0.2, 0]


# The dice


def test_dice_are_the_minimal_standard_generator(hub):
    rolled = """\
local dice = require("lib.dice")
for _ = 1, 9999 do dice.fraction() end
return string.format("%.0f", dice.fraction() * 2147483646 + 1)
"""
    hub.redis.hset(hub.key("hub"), "dice", 1)

    last = hub.run(scripts.link("roll", rolled, "lru"))

    # Park and Miller give this number for checking.
    assert last == b"1043618065"


def test_dice_go_on_where_the_last_script_left_them(hub):
    hub.redis.hset(hub.key("hub"), "dice", 1)
    hub.redis.zadd(hub.key("free", "drawn"), {str(at): at for at in range(1000)})
    script = scripts.link("draw", DRAW, "plainrandom")

    apart = [hub.run(script, 1, "{}")[0] for _ in range(20)]

    hub.redis.delete(hub.key("free", "drawn"))
    assert len(set(apart)) > 15


def test_a_scheme_that_draws_no_lots_writes_nothing(hub):
    before = hub.redis.hget(hub.key("hub"), "dice")

    draw(hub, "leastload", [1, 2, 3], draws=3)

    assert before is not None
    assert hub.redis.hget(hub.key("hub"), "dice") == b"20"


def test_hubs_do_not_begin_with_the_same_dice(make_hub):
    seeds = {make_hub().status(1).hub["dice"] for _ in range(3)}

    assert len(seeds) > 1


# Each at work


@pytest.mark.parametrize("hwm", [0, 4])
def test_under_each_scheme_all_tasks_run_once(make_hub, scheme, hwm):
    hub = make_hub(hwm=hwm, scheme=scheme, dice=5)
    hub.join(1, "x", "y", "z")
    names = [f"c-{at}" for at in range(20)]
    for name in names:
        hub.submit(2, name)
    hub.check(quiet=True)
    ran: list[str] = []
    while len(ran) < len(names):
        before = len(ran)
        for engine in ("x", "y", "z"):
            work = hub.take(3, engine, 2)
            ran += [one.task_id for one in work]
            hub.report(3, engine, *[ok(one) for one in work])
        hub.check()
        assert len(ran) > before

    assert sorted(ran) == sorted(names)


def test_under_a_bound_each_scheme_uses_all_engines(make_hub, scheme):
    hub = make_hub(hwm=4, scheme=scheme, dice=5)
    hub.join(1, "x", "y", "z")

    hub.submit(2, *[f"c-{at}" for at in range(20)])

    assert [len(hub.assigned(engine)) for engine in ("x", "y", "z")] == [4, 4, 4]
    assert len(hub.ready()) == 8


def test_pure_serves_each_engine_in_its_turn(make_hub):
    hub = make_hub(scheme="pure")
    hub.join(1, "x", "y", "z")
    served = []
    for at in range(6):
        hub.submit(2, f"c-{at}")
        served.append(hub.engine_of(f"c-{at}"))
        hub.report(3, served[-1], *[ok(one) for one in hub.take(3, served[-1])])

    assert served == ["x", "y", "z"] * 2


def test_pure_goes_on_when_an_engine_leaves(make_hub):
    hub = make_hub(scheme="pure")
    hub.join(1, "x", "y")
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.take(3, "x")

    hub.gone(4, "x")
    hub.submit(5, "c-4")

    ran = []
    while work := hub.take(6, "y"):
        ran += [one.task_id for one in work]
        hub.report(6, "y", *[ok(one) for one in work])
    assert sorted(ran) == ["c-1", "c-2", "c-3", "c-4"]


def test_pure_refuses_what_it_has_not(make_hub):
    hub = make_hub(scheme="pure")

    with hub.refuses(error.PureScheme, "retries"):
        hub.submit(1, "c-1", retries=1)
    with pytest.raises(ValueError, match="retries"):
        hub.submit(1, "c-1", retries=1)

    hub.submit(1, "c-1", retries=0, priority=3, label="fine")


# Changes while it runs


def change(hub, scheme, now=9):
    """Let a hub have another scheme, and rank all its engines."""
    settings = {"scheme": scheme}
    if isinstance(scheme, Scheme):
        settings = {
            "scheme": scheme.name,
            "scheme_text": scheme.text,
            "scheme_signature": b"signature",
        }
    left = hub.do(calls.configure(settings, now=now)).left
    hub.scheme = scheme
    while left:
        left = hub.do(calls.configure(now=now)).left


def test_the_scripts_of_the_scheme_before_are_told_of_the_new_one(hub):
    hub.do(calls.configure({"scheme": "lru"}, now=1))

    with hub.refuses(error.SchemeChanged, "^lru$"):
        hub.submit(1, "c-1")


def test_engines_are_ranked_by_the_new_scheme(make_hub):
    hub = make_hub(hwm=3)
    hub.join(1, "x", "y")
    hub.submit(2, "c-1", "c-2")
    hub.report(3, "y", *[ok(work) for work in hub.take(3, "y")])
    assert hub.free() == ["y", "x"]

    change(hub, "lru")

    assert hub.free() == ["x", "y"]
    assert hub.status(9).scheme == "lru"


def test_a_scheme_of_ones_own_is_kept_with_its_signature(hub):
    hub.join(1, "x", "y")

    change(hub, OWN)

    kept = hub.redis.hgetall(hub.key("scheme"))
    assert kept[b"name"] == OWN.name.encode()
    assert kept[b"text"] == OWN.text.encode()
    assert kept[b"signature"] == b"signature"


def test_a_scheme_of_ones_own_chooses(hub):
    hub.join(1, "x", "y", "z")
    for engine in ("x", "y", "z"):
        hub.submit(2, f"{engine}-1")
        hub.report(3, engine, *[ok(work) for work in hub.take(3, engine)])

    change(hub, OWN)
    hub.submit(4, "c-1")

    assert hub.engine_of("c-1") == "z"


def test_a_change_may_be_sent_twice(hub):
    hub.join(1, "x")
    change(hub, "lru")
    before = hub.dump()

    change(hub, "lru")

    assert hub.dump() == before


def test_until_all_are_ranked_tasks_are_placed_by_old_scores(make_hub):
    hub = make_hub(hwm=2)
    engines = [f"e{at:03}" for at in range(110)]
    hub.join(1, *engines)
    hub.submit(2, "c-1")

    hub.do(calls.configure({"scheme": "weighted"}, now=3))
    hub.scheme = "weighted"
    assert len(hub.members("unranked")) == 110
    hub.check()
    hub.submit(4, "c-2")
    assert hub.do(calls.configure(now=5)).left == 10
    hub.submit(5, "c-3")

    assert hub.do(calls.configure(now=6)).left == 0
    assert {hub.state(f"c-{at}") for at in (1, 2, 3)} == {"assigned"}


def test_if_who_changed_it_dies_the_sweep_goes_on(hub):
    hub.join(1, "x", "y")
    hub.do(calls.configure({"scheme": "plainrandom"}, now=2))
    hub.scheme = "plainrandom"

    hub.sweep(3)

    assert hub.members("unranked") == []
    assert hub.redis.zscore(hub.key("free", "default"), "x") == 0


def test_one_that_left_in_between_is_not_ranked(hub):
    hub.join(1, "x", "y")
    hub.do(calls.configure({"scheme": "lru"}, now=2))
    hub.scheme = "lru"
    hub.gone(3, "x")

    hub.do(calls.configure(now=4))

    assert hub.free() == ["y"]


def test_under_a_lowered_bound_nobody_gets_more_while_engines_are_ranked(make_hub):
    hub = make_hub(hwm=3)
    engines = [f"e{at:03}" for at in range(110)]
    hub.join(1, *engines)
    hub.submit(2, *[f"c-{at}" for at in range(110)])

    hub.draining = True
    left = hub.do(calls.configure({"hwm": 1}, now=3)).left
    hub.submit(4, "c-999")

    assert left == 10
    assert max(len(hub.assigned(engine)) for engine in engines) == 1
    assert hub.ready() == ["c-999"]


def test_who_was_hidden_while_tasks_came_is_rung(make_hub):
    hub = make_hub(hwm=3)
    engines = [f"e{at:03}" for at in range(110)]
    hub.join(1, *engines)
    left = hub.do(calls.configure({"hwm": 1}, now=3)).left
    free = len(hub.free())
    hub.submit(4, *[f"c-{at}" for at in range(110)])
    assert (left, free) == (10, 100)
    assert len(hub.ready()) == 10

    hub.do(calls.configure(now=5))

    assert sum(hub.rings(engine) for engine in engines) == 110
    hub.check(quiet=True)


def test_who_was_hidden_while_a_task_of_its_own_came_is_rung(make_hub):
    hub = make_hub(hwm=3)
    engines = [f"e{at:03}" for at in range(110)]
    hub.join(1, *engines)
    hub.do(calls.configure({"hwm": 1}, now=3))
    hidden = min(set(engines) - set(hub.free()))
    hub.submit(4, "c-1", targets=str(engines.index(hidden)))

    hub.do(calls.configure(now=5))

    assert hub.rings(hidden) == 1
    assert [work.task_id for work in hub.take(6, hidden)] == ["c-1"]


AFTER = {"after": "as c-3"}


def test_pure_refuses_to_run_again_what_has_flags_that_are_not_its_own(make_hub):
    hub = make_hub()
    hub.register(1, "e")
    hub.submit(1, "c-1", targets="0", retries=1)
    hub.submit(1, "c-2", "c-3")
    hub.abort(2, "c-1", "c-2")
    hub.configure(3, scheme="pure")
    hub.scheme = "pure"

    for old, anew, name in ("c-1", {}, "targets"), ("c-2", AFTER, "after"):
        with hub.refuses(error.PureScheme, f"pure, which has no {name}"):
            hub.resubmit(4, (old, "c-9"), **anew)
    hub.resubmit(5, ("c-2", "c-9"))

    assert hub.state("c-9") == "ready"


@pytest.mark.parametrize("flag", ["after", "targets", "timeout", "start_in"])
def test_pure_refuses_each_flag_that_is_not_its_own(make_hub, flag):
    hub = make_hub(scheme="pure")
    hub.register(1, "e", queues="other")
    hub.submit(1, "c-1")
    value = {"after": "as c-1", "targets": "0"}.get(flag, 5000)
    name = {"start_in": "delay"}.get(flag, flag)

    with hub.refuses(error.PureScheme, f"pure, which has no {name}"):
        hub.submit(2, "c-2", **{flag: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": ""},
        {"scheme": "Lru"},
        {"scheme": "two words"},
        {"scheme": "x" * 65},
        {"scheme": "mine@0123"},
        {"scheme": "mine@0123", "scheme_text": "return {}"},
        {"scheme": "lru", "scheme_text": "return {}", "scheme_signature": "s"},
        {"scheme_text": "return {}"},
        {
            "scheme": "mine@0123",
            "scheme_text": "-" * 65537,
            "scheme_signature": "s",
        },
    ],
)
def test_a_scheme_that_is_none_is_refused(hub, settings):
    with hub.refuses(error.BadArgument, "scheme"):
        hub.do(calls.configure(settings, now=1))
