"""examine: each invariant broken by hand is found, and mended where it can be."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import ok

#: What is added to the expiry of a task with a retention of its own.
OWN = 2**51


def look(hub, *things, now=10, mend=False):
    """Examine things."""
    return hub.do(calls.examine(things, mend=mend, now=now))


def flaws(hub, *things, **options):
    """Return the code and fate of what is wrong with things."""
    return [(flaw.code, flaw.fate) for flaw in look(hub, *things, **options).flaws]


def mends(hub, code, *things, now=10):
    """Find one flaw, mend it, and find nothing more."""
    assert flaws(hub, *things, now=now) == [(code, "found")]
    assert flaws(hub, *things, now=now, mend=True) == [(code, "mended")]
    assert flaws(hub, *things, now=now) == []
    assert hub.events()[-1] in ("mended", "lost")


def test_a_hub_in_order_has_no_flaw(hub):
    hub.join(1, "e")
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1")

    things = [("task", f"c-{n}") for n in (1, 2, 3)]
    entries = [
        ("entry", "waiting c-3"),
        ("entry", "ready:default c-2"),
        ("entry", "engine:e:held c-1"),
        ("entry", "engines e"),
        ("entry", "labels e"),
    ]
    found = look(
        hub, *things, *entries, ("engine", "e"), ("function", "fn"), ("hub", "-"),
        ("line", "default"),
    )  # fmt: skip

    assert found.flaws == ()
    assert found.done == 12
    assert found.tallies == {"function fn": 3, "engines default": 1, "worker w": 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("1", "2"), "mend is 0 or 1"),
        (("1", "0", "task"), "each a kind and a name"),
        (("1", "0", "soul", "c-1"), "no such kind of thing: soul"),
        (("1", "0", *["task", "c-1"] * 501), "at most 500 things"),
    ],
)
def test_what_it_cannot_read_is_refused(hub, arguments, sentence):
    with hub.refuses(error.BadArgument, sentence):
        hub.do(calls.Call("examine", arguments, lambda reply: reply))


def test_what_is_gone_meanwhile_is_no_flaw(hub):
    things = [
        ("task", "c-1"), ("engine", "e"), ("function", "fn"), ("line", "default"),
        ("entry", "waiting c-1"), ("hub", ""), ("expiring", "done:c"),
    ]  # fmt: skip

    assert flaws(hub, *things) == []


def test_a_waiting_task_gets_its_place_back(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.redis.zrem(hub.key("waiting"), "c-2")

    mends(hub, "place", ("task", "c-2"))
    assert hub.waiting() == ["c-2"]


def test_a_ready_task_gets_its_place_back(hub):
    hub.submit(1, "c-1", "c-2")
    hub.redis.zrem(hub.key("ready", "default"), "c-1")

    mends(hub, "place", ("task", "c-1"))
    assert sorted(hub.ready()) == ["c-1", "c-2"]


def test_a_ready_task_that_stood_nowhere_gets_an_idle_engine(hub):
    hub.submit(1, "c-1")
    hub.redis.delete(hub.key("ready", "default"))
    hub.join(1, "e")

    assert flaws(hub, ("task", "c-1"), mend=True) == [("place", "mended")]
    assert hub.rings("e") == 1
    assert hub.state("c-1") in ("assigned", "running")


def test_a_running_task_gets_its_place_back(hub):
    hub.submit(1, "c-1")
    hub.register(1, "e")
    (work,) = hub.take(1, "e")
    hub.redis.hdel(hub.key("engine", "e", "held"), "c-1")

    mends(hub, "place", ("task", "c-1"))
    assert hub.held("e") == ["c-1"]
    hub.report(2, "e", ok(work))
    assert hub.state("c-1") == "completed"


@pytest.mark.parametrize("fence", ["1:other 7", "1:other 7 +"])
def test_what_fences_a_running_task_is_what_its_record_says(hub, fence):
    hub.submit(1, "c-1", "c-2", ttl=9)
    hub.register(1, "e")
    (work,) = hub.take(1, "e")
    hub.redis.hset(hub.key("engine", "e", "held"), "c-1", fence)

    mends(hub, "fence", ("task", "c-1"))
    entry = hub.redis.hget(hub.key("engine", "e", "held"), "c-1")
    assert entry.decode() == f"{work.token} 7 +"


def test_a_fence_that_hides_marks_is_told(hub):
    hub.submit(1, "c-1", ttl=9)
    hub.register(1, "e")
    (work,) = hub.take(1, "e")
    hub.redis.hset(hub.key("engine", "e", "held"), "c-1", f"{work.token} 1")

    mends(hub, "fence", ("task", "c-1"))
    hub.report(2, "e", ok(work))
    assert hub.ended("completed")["c-1"] == OWN + 11


def test_a_task_with_a_retention_of_its_own_is_listed_by_its_end_again(hub):
    hub.submit(1, "c-1", ttl=9)
    hub.end(2, "error")
    hub.redis.delete(hub.key("latest", "failed"))

    mends(hub, "latest", ("task", "c-1"))
    assert hub.members("latest", "failed") == ["c-1"]


def test_one_that_an_earlier_release_listed_is_in_order(hub):
    hub.submit(1, "c-1", ttl=9)
    hub.end(2, "ok")
    hub.redis.delete(hub.key("latest", "completed"))
    hub.redis.zadd(hub.key("ended", "completed"), {"c-1": 11})

    assert flaws(hub, ("task", "c-1")) == []
    hub.sweep(12)
    assert hub.tasks() == {}


def test_who_is_listed_by_its_end_and_has_no_retention_of_its_own_leaves(hub):
    hub.submit(1, "c-1", "c-2")
    hub.end(2, "ok")
    hub.redis.zadd(hub.key("latest", "completed"), {"c-1": 2})
    hub.redis.zadd(hub.key("latest", "failed"), {"c-2": 2, "c-9": 2})

    mends(hub, "stray", ("entry", "latest:completed c-1"))
    mends(hub, "stray", ("entry", "latest:failed c-2"))
    mends(hub, "stray", ("entry", "latest:failed c-9"))


def test_an_assigned_task_gets_its_place_back_and_its_engine_is_told(make_hub):
    hub = make_hub(hwm=2)
    hub.join(1, "e")
    hub.submit(1, "c-1")
    hub.redis.delete(hub.key("engine", "e", "assigned"), hub.keys.bell("e"))

    mends(hub, "place", ("task", "c-1"))
    assert (hub.assigned("e"), hub.rings("e")) == (["c-1"], 1)


def test_a_task_that_runs_on_no_engine_has_lost_a_try(hub):
    hub.submit(1, "c-1", retries=1)
    hub.register(1, "e")
    hub.take(1, "e")
    hub.gone(2, "e")
    hub.redis.zrem(hub.key("ready", "default"), "c-1")
    running = {"state": "running", "engine": "0/e", "token": "1:n", "started": "1"}
    hub.redis.hset(hub.keys.task("c-1"), mapping=running)

    assert flaws(hub, ("task", "c-1"), mend=True) == [("place", "mended")]
    assert (hub.state("c-1"), hub.record("c-1")["tries"]) == ("ready", "1")


@pytest.mark.parametrize(("retries", "state"), [(0, "failed"), (1, "ready")])
def test_so_has_one_on_the_sheet(hub, retries, state):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4", retries=retries)
    hub.register(1, "e")
    hub.take(1, "e", 2)
    hub.gone(2, "e")
    hub.redis.hset(hub.keys.runs(), "c-1", "1:n = 0/e 1 =")
    hub.redis.zrem(hub.key("ready", "default"), "c-1")

    assert flaws(hub, ("task", "c-1"), mend=True) == [("place", "mended")]
    assert (hub.state("c-1"), hub.record("c-1")["tries"]) == (state, "1")


def test_a_task_assigned_to_no_engine_is_ready_again(hub):
    hub.submit(1, "c-1")
    hub.redis.delete(hub.key("ready", "default"))
    hub.redis.hset(hub.keys.task("c-1"), mapping={"state": "assigned", "engine": "7/x"})

    assert flaws(hub, ("task", "c-1"), mend=True) == [("place", "mended")]
    assert hub.ready() == ["c-1"]


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_an_ended_task_gets_its_place_back(hub, state):
    hub.submit(1, "c-1")
    hub.end(2, "ok" if state == "completed" else "error")
    hub.redis.delete(hub.key("ended", state))

    mends(hub, "place", ("task", "c-1"))
    assert list(hub.ended(state)) == ["c-1"]


def test_an_entry_of_no_task_is_dropped(hub):
    for index in ("waiting", "ready:default", "ended:failed"):
        hub.redis.zadd(hub.key(index), {"c-9": 1})
        mends(hub, "stray", ("entry", f"{index} c-9"))


def test_an_entry_in_the_wrong_index_is_dropped(hub):
    hub.submit(1, "c-1")
    hub.redis.zadd(hub.key("waiting"), {"c-1": 1})

    mends(hub, "stray", ("entry", "waiting c-1"))
    assert hub.ready() == ["c-1"]


def test_an_entry_of_no_task_in_a_line_of_a_class_is_dropped(hub):
    hub.register(1, "e")
    hub.turn(1, "e")
    hub.submit(1, "c-1", "c-2", "c-3", targets="0")
    hub.redis.zadd(hub.key("ready", "default", "=0"), {"c-9": 99})
    hub.redis.hincrby(hub.key("apart"), "default", 1)

    mends(hub, "stray", ("entry", "ready:default:=0 c-9"))


def test_entries_of_what_is_no_more_are_dropped(hub):
    hub.register(1, "e")
    for index, member in [
        ("timers", "t:c-9"), ("timers", "?"), ("unsettled", "c-9"),
        ("functions:idle", "g"), ("unranked", "x"), ("free:default", "x"),
        ("free:other", "e"), ("engines", "x"), ("labels", "x"),
    ]:  # fmt: skip
        hub.redis.zadd(hub.key(index), {member: 1})
        mends(hub, "stray", ("entry", f"{index} {member}"))


def test_what_stands_beside_no_record_is_dropped(hub):
    hub.redis.set(hub.keys.task("c-9", "args"), b"x" * 100)
    mends(hub, "orphan", ("beside", "c-9 args"))

    hub.redis.rpush(hub.keys.bell("x"), 1)
    mends(hub, "orphan", ("owned", "x bell"))


def test_what_is_lost_beside_a_record_is_told_and_left(hub):
    hub.submit(1, "c-1", args=b"x" * 100)
    hub.redis.rename(hub.keys.task("c-1", "args"), hub.key("aside"))

    assert flaws(hub, ("task", "c-1"), mend=True) == [("part", "left")]
    hub.redis.rename(hub.key("aside"), hub.keys.task("c-1", "args"))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"state": "asleep"}, "state"),
        ({"state": "ready", "result": "r"}, "result"),
        ({"state": "ready", "error": "e"}, "error"),
        ({"token": "new"}, "token"),
        ({"tries": "5"}, "tries"),
    ],
)
def test_a_record_that_contradicts_itself_is_told_and_left(hub, fields, code):
    hub.submit(1, "c-1")
    before = hub.record("c-1")
    hub.redis.hset(hub.keys.task("c-1"), mapping=fields)

    assert (code, "left") in flaws(hub, ("task", "c-1"), mend=True)
    hub.redis.hset(hub.keys.task("c-1"), mapping=before)
    for field in fields.keys() - before.keys():
        hub.redis.hdel(hub.keys.task("c-1"), field)


def test_a_running_task_without_a_token_is_told(hub):
    hub.submit(1, "c-1")
    hub.register(1, "e")
    hub.take(1, "e")
    token = hub.record("c-1")["token"]
    hub.redis.hdel(hub.keys.task("c-1"), "token")

    assert flaws(hub, ("task", "c-1")) == [("token", "left")]
    hub.redis.hset(hub.keys.task("c-1"), "token", token)


def test_a_task_whose_function_is_lost_is_told(hub):
    hub.submit(1, "c-1")
    hub.redis.rename(hub.keys.function("fn"), hub.key("aside"))

    assert flaws(hub, ("task", "c-1")) == [("function", "left")]
    hub.redis.rename(hub.key("aside"), hub.keys.function("fn"))


def test_an_ended_task_waits_for_nothing(hub):
    hub.submit(1, "c-1")
    hub.end(1, "ok")
    hub.redis.hset(hub.keys.task("c-1"), "na", "as:1")

    mends(hub, "over", ("task", "c-1"))


def test_dependents_that_nobody_would_tell_are_told(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.end(1, "ok", "ok")
    hub.submit(2, "c-3")
    hub.submit(2, "c-4", after="as c-3")
    hub.redis.hset(hub.keys.task("c-3"), mapping={"state": "ready", "marks": "?"})
    hub.redis.hdel(hub.keys.task("c-3"), "marks")

    mends(hub, "dependents", ("task", "c-3"))
    assert hub.record("c-3")["marks"] == "d"


def test_the_dependents_of_an_ended_task_are_told_by_the_next_sweep(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    edges = hub.redis.zrange(hub.keys.task("c-1", "dependents"), 0, -1, withscores=True)
    hub.end(1, "ok")
    hub.redis.zadd(hub.keys.task("c-1", "dependents"), dict(edges))
    hub.redis.zrem(hub.key("ready", "default"), "c-2")
    hub.redis.zadd(hub.keys.waiting(), {"c-2": edges[0][1]})
    hub.redis.hset(hub.keys.task("c-2"), mapping={"state": "waiting", "na": "as:1"})

    mends(hub, "untold", ("task", "c-1"))
    hub.sweep(11)
    assert hub.ready() == ["c-2"]


def test_a_counter_that_nobody_would_bring_to_zero_is_set_right(hub):
    hub.submit(1, "c-1", "c-2")
    hub.submit(1, "c-3", after="as c-1 c-2")
    hub.redis.hset(hub.keys.task("c-3"), "na", "as:3")

    mends(hub, "counter", ("task", "c-3"))
    assert hub.record("c-3")["na"] == "as:2"


def test_a_task_that_missed_the_end_of_what_it_waits_for_is_ready(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.redis.delete(hub.keys.task("c-1", "dependents"))
    hub.end(2, "ok")

    assert flaws(hub, ("task", "c-2"), mend=True) == [("counter", "mended")]
    assert hub.ready() == ["c-2"]


def test_a_task_that_missed_a_failure_is_impossible(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", after="as c-1")
    hub.redis.delete(hub.keys.task("c-1", "dependents"))
    hub.end(2, "error")

    assert flaws(hub, ("task", "c-2"), mend=True) == [("counter", "mended")]
    assert hub.record("c-2")["verdict"] == "impossible"


def test_a_task_that_waits_for_nothing_is_ready(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", start_in=500)
    hub.redis.hdel(hub.keys.task("c-2"), "start")
    hub.redis.zrem(hub.key("timers"), "w:c-2")

    assert flaws(hub, ("task", "c-2"), mend=True) == [("nothing", "mended")]
    assert hub.ready() == ["c-1", "c-2"]


@pytest.mark.parametrize(
    ("flags", "timer"), [({"start_in": 500}, "w:c-1"), ({"timeout": 500}, "t:c-1")]
)
def test_a_timer_that_is_lost_is_set_again(hub, flags, timer):
    hub.submit(1, "c-1", **flags)
    hub.redis.zrem(hub.key("timers"), timer)

    mends(hub, "timer", ("task", "c-1"))
    assert hub.members("timers") == [timer]


def test_a_gate_whose_timer_is_lost_falls(hub):
    hub.submit(1, "c-1", gate="c-9")
    hub.redis.delete(hub.key("timers"))

    mends(hub, "timer", ("task", "c-9"))
    hub.sweep(11)
    assert (hub.state("c-9"), hub.state("c-1")) == ("aborted", "aborted")


def test_a_gate_that_was_opened_is_forgotten_though_its_timer_is_lost(hub):
    hub.submit(1, "c-1", gate="c-9")
    hub.open_gate(2, "c-9")
    hub.redis.delete(hub.key("timers"))

    mends(hub, "timer", ("task", "c-9"))
    assert hub.members("timers") == ["g:c-9"]
    assert flaws(hub, ("entry", "timers g:c-9")) == []


def test_a_gate_has_no_place_among_tasks(hub):
    hub.submit(1, "c-1", gate="c-9")
    hub.redis.zadd(hub.key("waiting"), {"c-9": 1})

    mends(hub, "stray", ("entry", "waiting c-9"))
    assert hub.waiting() == ["c-1"]


@pytest.mark.parametrize("opened", [True, False])
def test_a_task_that_its_gate_does_not_know_asks_it(hub, opened):
    hub.submit(1, "c-1", gate="c-9")
    hub.redis.delete(hub.keys.task("c-9", "dependents"))
    if opened:
        hub.open_gate(2, "c-9")

    assert flaws(hub, ("task", "c-1"), mend=True) == [("gate", "mended")]
    if not opened:
        hub.open_gate(3, "c-9")
    assert hub.ready() == ["c-1"]


def test_an_engine_without_a_lease_is_given_up(hub):
    hub.join(1, "e")
    hub.redis.zrem(hub.key("engines"), "e")

    assert flaws(hub, ("engine", "e"), mend=True) == [("lease", "mended")]
    assert hub.status(10).engines[0].uuid == "e"


def test_an_engine_gets_its_label_back(hub):
    hub.join(1, "e")
    hub.redis.zrem(hub.key("labels"), "e")

    mends(hub, "label", ("engine", "e"))


@pytest.mark.parametrize("is_busy", [True, False])
def test_an_engine_is_free_when_it_has_room(hub, is_busy):
    hub.join(1, "e")
    if is_busy:
        hub.submit(1, "c-1")
        hub.turn(2, "e")
        hub.redis.zadd(hub.key("free", "default"), {"e": 1})
    else:
        hub.redis.delete(hub.key("free", "default"))

    mends(hub, "room", ("engine", "e"))


def test_an_idle_engine_beside_a_line_is_rung(hub):
    hub.join(1, "e")
    hub.redis.delete(hub.key("free", "default"))
    hub.submit(1, "c-1")
    look(hub, ("engine", "e"), mend=True)

    assert hub.rings("e") == 1
    assert hub.free() == ["e"]


def test_an_engine_that_does_not_know_of_its_tasks_is_rung(make_hub):
    hub = make_hub(hwm=2)
    hub.join(1, "e")
    hub.submit(1, "c-1")
    hub.redis.delete(hub.keys.bell("e"))

    mends(hub, "silent", ("engine", "e"))
    assert hub.rings("e") == 1


def test_a_function_that_nobody_needs_is_to_leave(hub):
    hub.submit(1, "c-1")
    hub.end(1, "ok")
    hub.purge(2, "c-1")
    hub.redis.delete(hub.key("functions:idle"))

    mends(hub, "idle", ("function", "fn"))


def test_a_function_that_is_needed_stays(hub):
    hub.submit(1, "c-1")
    hub.redis.zadd(hub.key("functions:idle"), {"fn": 1})

    mends(hub, "idle", ("function", "fn"))


def test_a_function_without_its_pickle_is_told(hub):
    hub.submit(1, "c-1")
    hub.redis.hdel(hub.keys.function("fn"), "blob")

    assert flaws(hub, ("function", "fn")) == [("blob", "left")]
    hub.redis.hset(hub.keys.function("fn"), "blob", "function")


def test_a_queue_with_tasks_is_known(hub):
    hub.submit(1, "c-1")
    hub.redis.delete(hub.key("queues"))

    mends(hub, "queue", ("line", "default"))


def test_an_engine_finds_the_line_of_its_class(hub):
    hub.join(1, "e")
    hub.submit(1, "c-1", "c-2", "c-3", targets="0")
    hub.redis.delete(hub.keys.tied("e"))

    mends(hub, "unknown", ("line", "default =0"))


def test_what_is_to_expire_expires(hub):
    hub.redis.xadd(hub.keys.done("c"), {"c-1": "x"})
    mends(hub, "forever", ("expiring", "done:c"))


@pytest.mark.parametrize("key", ["hub", "rows", "runs"])
def test_nothing_vanishes(hub, key):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.register(2, "e")
    hub.take(3, "e", 9)
    hub.redis.expire(hub.key(key), 1000)

    mends(hub, "vanishes", ("hub", "-"))


def test_a_record_on_the_sheet_as_well_leaves_it(hub):
    hub.submit(1, "c-1")
    hub.redis.hset(hub.keys.rows(), "c-1", "0 1 8:2:fn2:fnargs")

    mends(hub, "twice", ("task", "c-1"))


def test_a_run_without_a_row_goes(hub):
    hub.redis.hset(hub.keys.runs(), "c-1", "1:n = 0/e 1 =")

    mends(hub, "orphan", ("beside", "c-1 run"))


def test_what_an_engine_holds_says_where_the_record_stands(hub):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4")
    hub.register(2, "e")
    hub.take(3, "e")
    held = hub.key("engine", "e", "held")
    hub.redis.hset(held, "c-1", hub.redis.hget(held, "c-1")[:-2])

    mends(hub, "fence", ("task", "c-1"))


def test_what_is_in_a_lot_is_held(hub):
    hub.submit(1, "c-1", "c-2", "c-3", "c-4", "c-5", "c-6", "c-7", "c-8", "c-9")
    hub.register(2, "e")
    assert len(hub.take(3, "e", 9)) == 4

    assert flaws(hub, ("task", "c-1"), ("entry", "engine:e:held c-1")) == []

    lots = hub.key("engine", "e", "lots")
    hub.redis.hset(lots, "1:n1", hub.redis.hget(lots, "1:n1") + b" c-9")
    mends(hub, "stray", ("entry", "engine:e:held c-9"))

    hub.redis.delete(hub.key("engine", "e", "held"))
    mends(hub, "place", ("task", "c-1"))
    look(hub, *(("task", f"c-{number}") for number in (2, 3, 4)), mend=True)


def test_a_lot_that_is_none_is_no_task(hub):
    hub.register(2, "e")
    hub.redis.hset(hub.key("engine", "e", "lots"), "1:n1", "nonsense")

    mends(hub, "lots", ("engine", "e"))
    assert not hub.redis.exists(hub.key("engine", "e", "lots"))


def test_a_record_that_is_none_of_a_lot_leaves_it(hub):
    hub.submit(1, *[f"c-{number}" for number in range(1, 9)])
    hub.register(2, "e")
    works = hub.take(3, "e", 9)
    lots = hub.key("engine", "e", "lots")
    lot = hub.redis.hget(lots, "1:n1")
    hub.watch(4, "d", "c-1")
    hub.redis.delete(hub.key("engine", "e", "held"))
    hub.redis.hset(lots, "1:n1", lot)

    mends(hub, "fence", ("task", "c-1"))

    assert hub.held("e") == ["c-1", "c-2", "c-3", "c-4"]
    hub.report(9, "e", *(ok(work) for work in works))
    assert hub.held("e") == []


def test_somebody_comes_for_the_next_timer(hub):
    hub.submit(1, "c-1", timeout=500)
    hub.redis.hdel(hub.key("hub"), "due")

    mends(hub, "due", ("hub", "-"))


def test_somebody_looks_who_is_still_to_be_told(hub):
    hub.redis.zadd(hub.key("unsettled"), {"c-9": 1})

    mends(hub, "untold", ("hub", "-"))
    look(hub, ("entry", "unsettled c-9"), mend=True)


def test_timers_that_nobody_fires_are_told(hub):
    hub.submit(1, "c-1", timeout=500)

    assert flaws(hub, ("hub", "-"), now=6000) == [("overdue", "left")]


def test_a_gate_that_has_ended_may_be_forgotten_late(hub):
    hub.submit(1, "c-1", gate="c-9")
    hub.submit(1, "c-2", gate="d-9")
    hub.open_gate(2, "c-9")
    hub.open_gate(2, "d-9")
    hub.submit(3, "c-3", gate="e-9", start_in=4_000_000)

    assert flaws(hub, ("hub", "-"), now=610_000) == [("overdue", "left")]
    hub.open_gate(610_001, "e-9")
    assert flaws(hub, ("hub", "-"), now=3_800_000) == []
    assert flaws(hub, ("hub", "-"), now=4_100_000) == [("overdue", "left")]


@pytest.mark.parametrize(
    ("thing", "place", "right"),
    [
        ("engines default", ("queues", "default"), 1),
        ("worker w", ("worker:w", "engines"), 1),
        ("function fn", ("fn:fn", "count"), 2),
        ("apart other", ("apart", "other"), 0),
        ("bytes -", ("hub", "kept_bytes"), 0),
        ("kept c-2", ("task:c-2", "kept"), 0),
    ],
)
def test_a_number_that_does_not_sum_up_is_set_right(hub, thing, place, right):
    hub.register(1, "e", host="h")
    hub.submit(1, "c-1")
    hub.submit(1, "c-2")
    hub.redis.hset(hub.key(place[0]), place[1], 7)
    if place[1] == "kept":
        hub.redis.hset(hub.keys.task("c-2"), "marks", "k")

    mends(hub, "count", ("tally", f"{thing} {right} -"))


def test_a_number_that_changed_since_is_not_touched(hub):
    hub.submit(1, "c-1")

    assert flaws(hub, ("tally", "function fn 5 3"), mend=True) == []
    assert flaws(hub, ("tally", "nobody - 5 -"), ("tally", "worker x 5 -")) == []


def test_sets_with_many_members_are_left_to_the_next_call(hub):
    members = [f"c-{n}" for n in range(400)]
    hub.submit(1, *members)
    waiters = [f"d-{n}" for n in range(10)]
    for half in (waiters[:5], waiters[5:]):
        hub.submit(1, *half, after="as " + " ".join(members))

    found = look(hub, *[("task", name) for name in waiters])

    assert 5 <= found.done < 10


def test_refs_are_counted_where_they_point(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", "c-3", refs="c-1", after="as c-1")

    assert look(hub, ("task", "c-2"), ("task", "c-3")).tallies["kept c-1"] == 2


def test_what_ended_tasks_take_is_counted(hub):
    hub.submit(1, "c-1")
    hub.register(1, "e")
    (work,) = hub.take(1, "e")
    hub.report(2, "e", ok(work, b"x" * 500))

    assert look(hub, ("task", "c-1")).tallies["bytes"] == 500
