"""Tasks that not every engine may take: their lines, and who finds them."""

import pytest

from redtask import error
from redtask.hub import calls
from tests.hubs import error_in, ok, unmet


def test_what_a_function_requires_is_known_in_the_turn_that_says_so(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    (work,) = hub.take(3, "e")

    refused = unmet(work, by="require")
    taken = hub.turn(4, "e", 1, refused).work

    assert taken == []
    assert hub.record("c-1")["class"] == "!0"


def test_a_queue_whose_tasks_all_have_constraints_stays_one(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.report(4, "e", unmet(work))

    hub.gone(5, "e")

    assert hub.redis.hget(hub.key("queues"), "default") == b"0"


def test_nobody_looks_for_classes_when_there_are_none_any_more(hub):
    def letters():
        return hub.redis.hget(hub.key("hub"), "rare") or b""

    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2")
    (first,), (second,) = hub.take(3, "e"), hub.take(3, "f")
    hub.turn(4, "e", 0, unmet(first))
    assert b"c" in letters()
    (again,) = hub.turn(5, "f", 1, ok(second)).work
    assert (again.task_id, b"c" in letters()) == ("c-1", True)
    hub.submit(6, "c-3", "c-4")

    (third,) = hub.turn(6, "f", 1, ok(again)).work

    assert (third.task_id, b"c" in letters()) == ("c-4", False)


def test_an_engine_leaves_whose_class_has_been_emptied_by_another(hub):
    hub.register(1, "e")
    hub.register(1, "f")
    hub.submit(2, "c-1", targets="0-1")
    (work,) = hub.take(3, "e")
    hub.report(4, "e", ok(work))
    hub.gone(5, "e")

    answer = hub.gone(6, "f")

    assert answer.word == "gone"


def test_a_task_bound_to_an_engine_that_cannot_run_its_function_fails(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", targets="0")
    (work,) = hub.take(3, "e")

    hub.turn(4, "e", 1, unmet(work, by="require"))

    assert {hub.record(name)["verdict"] for name in ("c-1", "c-2")} == {"impossible"}


def test_it_fails_in_the_beat_too(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", targets="0")
    hub.submit(2, "c-2", targets="1")
    for engine in ("e", "f"):
        (work,) = hub.take(3, engine)
        hub.turn(3, engine, 0)
        hub.submit(4, "c-3" if engine == "e" else "c-4", targets="0-1")
        hub.turn(5, engine, 0, unmet(work, by="require"))

    hub.live(6, "e")

    assert hub.record("c-3")["verdict"] == "impossible"


def test_a_waiting_task_keeps_its_queue_when_the_last_engine_leaves(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.submit(2, "c-2", after="af c-1", queue="q")
    hub.join(3, "f", queues="q")
    hub.gone(4, "f")

    hub.abort(5, "c-1")

    assert hub.redis.hget(hub.key("queues"), "q") == b"0"


# Engines half taken apart


@pytest.fixture
def half(make_hub):
    """A hub with an engine that is being taken apart, and has one task left."""
    hub = make_hub(hwm=4)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.works = hub.take(3, "e", 3)
    for stamp in (4, 7000, 14000):
        hub.sweep(stamp)
    hub.sweep(20000, 1)
    hub.sweep(20000, 1)
    assert len(hub.held("e")) == 1
    return hub


def test_an_engine_half_taken_apart_gets_nothing_more(half):
    (work,) = half.held("e")
    report = [ok(one) for one in half.works if one.task_id == work]

    taken = half.turn(20001, "e", 1, *report).work

    assert (taken, half.free()) == ([], [])


def test_an_engine_half_taken_apart_that_lives_has_room(half):
    half.live(20001, "e", *half.held("e"))
    half.submit(20002, "c-4")

    assert half.assigned("e") == ["c-4"]


def test_the_engines_of_a_lost_machine_get_nothing_of_each_other(hub):
    hub.join(1, "e", "f", "g")
    hub.submit(2, "c-1", retries=5)
    (work,) = hub.take(3, hub.record("c-1")["engine"].partition("/")[2])
    for number, engine in enumerate("efg"):
        hub.do(calls.turn(engine, 9, f"m{number}", 1, upcoming=f"u{number}", now=4))

    for stamp in (5, 7000, 14000, 20000):
        hub.sweep(stamp)

    assert hub.record("c-1")["deaths"] == "1"
    assert work.task_id in hub.ready()


# Where a task ran


def test_a_task_did_not_run_where_it_was_to_run_next(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", retries=1)
    hub.submit(2, "c-2", follow="af c-1")
    engine = hub.record("c-1")["engine"].partition("/")[2]
    (work,) = hub.take(3, engine)
    hub.turn(4, engine, 0, error_in(work))
    assert not hub.record("c-1")["engine"].endswith(engine)

    hub.abort(5, "c-1")

    assert hub.record("c-1")["engine"].endswith(engine)
    assert hub.record("c-2")["place"] == hub.record("c-1")["engine"].partition("/")[0]


def test_a_task_did_not_run_where_it_was_refused(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    hub.submit(2, "c-2", follow="af c-1")
    (work,) = hub.take(3, "e")
    hub.report(4, "e", unmet(work))

    hub.abort(5, "c-1")

    assert hub.record("c-1").keys().isdisjoint({"engine", "token", "started"})
    assert hub.record("c-2")["verdict"] == "impossible"


def test_a_task_that_no_engine_may_try_again_ran_on_the_last_one(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", targets="0", retries=1, elsewhere=1)
    hub.submit(2, "c-2", follow="af c-1")
    (work,) = hub.take(3, "e")

    hub.report(4, "e", error_in(work))

    assert hub.record("c-1")["verdict"] == "impossible"
    assert hub.record("c-2")["place"] == "0"


def test_two_members_that_end_at_once_allow_both_their_engines(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2", retries=1, pause="1000 1 0")
    for engine in "ef":
        (work,) = hub.take(3, engine)
        hub.turn(4, engine, 0, error_in(work))
    hub.submit(5, "c-3", "c-4", priority=1)
    hub.submit(5, "c-5", follow="nf c-1 c-2")

    hub.abort(6, "c-1", "c-2")

    assert hub.ready(name="=0-1") == ["c-5"]


# Order


def test_tasks_of_several_classes_are_placed_by_their_order(make_hub):
    hub = make_hub(hwm=1)
    hub.join(1, "e", "f")
    hub.submit(2, "c-1", "c-2", priority=9)
    works = {name: hub.take(3, name)[0] for name in "ef"}
    hub.submit(4, "c-3", after="as c-1", targets="0-1", priority=5)
    hub.submit(5, "c-4", after="as c-1", targets="1", priority=1)
    hub.submit(6, "c-5", after="as c-1", targets="0-1")
    hub.submit(7, "c-6", after="as c-1")
    hub.turn(8, "f", 0, ok(works["f"]))

    hub.turn(9, "e", 0, ok(works["e"]))

    # Engine 0 was used before engine 1.
    assert (hub.assigned("e"), hub.assigned("f")) == (["c-3"], ["c-4"])


def test_groups_of_one_call_are_placed_in_their_order(hub):
    hub.join(1, "e")
    groups = [
        calls.Group("fn", b"blob", "fn", flags, [name, b"args"])
        for name, flags in (("c-1", {"targets": "0"}), ("c-2", {}))
    ]

    hub.do(calls.submit(groups, now=2))

    assert (hub.assigned("e"), hub.ready()) == (["c-1"], ["c-2"])


# What stood in line when an engine refused its function


@pytest.fixture
def refused(hub):
    """A hub whose engine cannot run "fn", of which two tasks stand in line."""
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", "c-3")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 0, unmet(work, by="require"))
    return hub


def test_it_keeps_nobody_behind_it_from_that_engine(refused):
    refused.submit(5, "c-4", fn="other")

    assert refused.assigned("e") == ["c-4"]
    assert refused.ready(name="!0") == ["c-1", "c-2", "c-3"]


def test_an_engine_that_passes_over_many_tasks_comes_again_by_itself(hub):
    hub.join(1, "e")
    hub.submit(2, *(f"c-{n}" for n in range(250)), fn="picky")
    hub.submit(2, "d-1")
    (work,) = hub.take(3, "e")

    found = [hub.turn(4, "e", 1, unmet(work, by="require")).work]
    while not found[-1]:
        assert hub.redis.llen(hub.keys.bell("e")) >= 1
        found.append(hub.take(5, "e"))

    assert [work.task_id for work in found[-1]] == ["d-1"]
    assert len(found) > 1


def test_what_a_dead_engine_had_finds_others_in_its_order(make_hub):
    hub = make_hub(hwm=2)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", retries=1)
    hub.take(3, "e", 2)
    hub.join(4, "f")
    hub.submit(5, "c-3")
    assert hub.assigned("f") == ["c-3"]

    hub.gone(6, "e", "c-1")

    assert (hub.assigned("f"), hub.ready()) == (["c-1", "c-3"], ["c-2"])


def test_an_engine_does_not_get_from_the_line_what_it_just_failed(make_hub):
    hub = make_hub(hwm=2)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2", retries=1)
    hub.submit(2, "c-3", after="as c-2")
    first, second = hub.take(3, "e", 2)

    hub.report(4, "e", error_in(first), ok(second))

    assert (hub.assigned("e"), hub.ready()) == (["c-3"], ["c-1"])


def test_follow_any_does_not_wait_for_a_target_that_lacks_its_function(hub):
    hub.join(1, "e", "f")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.turn(4, "e", 0, unmet(work, by="require"))

    hub.submit(5, "c-2", follow="ns c-1", targets="0")

    assert hub.record("c-2")["verdict"] == "impossible"


# More classes than engines look at


def refuse_each(hub, numbers, queue="default"):
    """Submit tasks of a queue, each to be refused by another of its engines."""
    works = []
    for number in numbers:
        engine = f"e{number}"
        hub.register(1, engine, queues=queue)
        # It has another task besides, so nobody is ever idle.
        hub.submit(2, f"d-{number}", f"c-{number}", fn="other", queue=queue)
        hub.take(3, engine)
        works += hub.take(3, engine)
    for number, work in zip(numbers, works, strict=True):
        hub.turn(4, f"e{number}", 0, unmet(work))


@pytest.fixture
def crowd(real_hub):
    """A hub in which 66 tasks were each refused by another of 66 engines."""
    refuse_each(real_hub, range(66))
    return real_hub


def test_past_64_classes_tasks_stand_in_one_line(crowd):
    assert len(crowd.members("classes", "default")) == 64
    assert crowd.ready(name="?") == ["c-64", "c-65"]


def test_in_that_line_the_record_says_who_may_take_a_task(crowd):
    taken = [work.task_id for _ in range(66) for work in crowd.take(9, "e64")]

    # All but the one that this engine refused.
    assert sorted(taken) == sorted(f"c-{n}" for n in range(66) if n != 64)
    assert crowd.ready(name="?") == ["c-64"]


def test_an_engine_that_joins_takes_from_that_line(crowd):
    crowd.register(10, "new")

    taken = {work.task_id for _ in range(66) for work in crowd.take(11, "new")}

    assert taken == {f"c-{n}" for n in range(66)}


def test_an_engine_looks_through_such_lines_of_two_queues(real_hub):
    hub = real_hub
    hub.register(1, "both", queues="a,b")
    hub.submit(1, "x-1", queue="a")
    hub.take(1, "both")
    refuse_each(hub, range(140), "a")
    while (works := hub.take(5, "both", 9)) or hub.rings("both"):
        hub.turn(5, "both", 0, *map(unmet, works))
    refuse_each(hub, range(200, 270), "b")
    assert len(hub.ready("a", "?")) > 64

    taken = [work.task_id for _ in range(80) for work in hub.take(6, "both")]

    assert sorted(taken) == [f"c-{number}" for number in range(200, 270)]


def test_a_task_in_that_line_can_be_aborted(crowd):
    crowd.abort(10, "c-65")

    assert crowd.ready(name="?") == ["c-64"]


def test_classes_that_nobody_is_in_any_more_are_forgotten(crowd):
    crowd.abort(10, *(f"c-{number}" for number in range(66)))

    assert crowd.members("classes", "default") == []
    assert not crowd.redis.exists(crowd.key("apart"))


@pytest.fixture
def idle(crowd):
    """That hub with one more engine, "idle", which has refused all these tasks, too."""
    crowd.register(5, "idle")
    for _ in range(66):
        (work,) = crowd.take(6, "idle")
        crowd.turn(7, "idle", 0, unmet(work))
    assert crowd.take(8, "idle") == []
    assert crowd.free() == ["idle"]
    assert len(crowd.members("classes", "default")) == 64
    return crowd


def test_an_idle_engine_is_offered_what_enters_that_line(idle):
    idle.submit(9, "p-1", fn="picky", targets="0")
    (work,) = idle.take(10, "e0")
    idle.turn(11, "e0", 0, unmet(work, by="require"))

    idle.submit(12, "p-2", fn="picky")

    assert (idle.state("p-2"), idle.assigned("idle")) == ("assigned", ["p-2"])
    assert idle.rings("idle") == 1


def test_an_idle_engine_is_offered_what_comes_back_to_that_line(idle):
    idle.do(calls.drain(["idle"], now=9))
    flags = {"retries": 1, "elsewhere": 1, "pause": "1000 1 0", "priority": 9}
    idle.submit(9, "p-1", **flags)
    (work,) = idle.take(10, "e1")
    idle.turn(11, "e1", 0, error_in(work))
    idle.do(calls.drain(["idle"], resume=True, now=12))
    assert idle.state("p-1") == "waiting"

    idle.sweep(1020)

    assert (idle.state("p-1"), idle.assigned("idle")) == ("assigned", ["p-1"])


def test_what_few_may_take_is_offered_to_them_among_very_many(real_hub):
    hub = real_hub
    hub.join(1, *(f"e{number:04}" for number in range(1100)))

    hub.submit(2, "c-1", targets="1090-1091")

    assert hub.engine_of("c-1") == "e1090"
    assert hub.rings("e1090") == 1


def test_what_was_placed_on_a_dead_engine_goes_first_if_it_is_better(make_hub):
    hub = make_hub(hwm=3)
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    hub.take(3, "e", 2)
    hub.submit(4, "c-3", priority=1)
    hub.join(5, "f")
    hub.submit(6, "c-4", "c-5")

    hub.gone(7, "e")

    assert (hub.assigned("f"), hub.ready()) == (["c-3", "c-4", "c-5"], ["c-1", "c-2"])


def test_an_engine_half_taken_apart_does_not_count_as_living(half):
    half.submit(20001, "c-4", after=f"as {half.held('e')[0]}")

    assert half.do(calls.why("c-4", now=20002)).engines.living == 0


@pytest.mark.parametrize("targets", ["0-1", "7", "0-4503599627370496"])
def test_an_engine_that_never_was_is_no_target(hub, targets):
    hub.join(1, "e")

    with hub.refuses(error.BadArgument, "flag targets cannot be"):
        hub.submit(1, "c-1", targets=targets)


# Whoever asks whether there is work finds what stands where it does not belong


def resize(hub):
    hub.configure(6, hwm=2)


def visit(hub):
    hub.do(calls.examine([("engine", "e")], now=6))


def beat(hub):
    hub.live(6, "e")


@pytest.mark.parametrize("ask", [resize, visit, beat])
def test_what_nobody_may_take_any_more_ends(hub, ask):
    hub.register(1, "e")
    hub.submit(2, "c-0")
    (work,) = hub.take(3, "e")
    hub.submit(4, "c-1", targets="0")
    hub.turn(5, "e", 0, unmet(work, by="require"))

    ask(hub)

    assert hub.record("c-1")["verdict"] == "impossible"


@pytest.mark.parametrize("ask", [resize, visit, beat])
def test_what_others_may_take_goes_to_them(hub, ask):
    hub.join(1, "f", "e")
    hub.submit(2, "c-0", "c-9")
    (other,) = hub.take(3, "f")
    (work,) = hub.take(3, "e")
    hub.submit(4, "c-1", targets="0-1")
    hub.turn(4, "e", 0, unmet(work, by="require"))
    (refused,) = hub.turn(5, "f", 1, ok(other)).work
    hub.turn(5, "f", 0, ok(refused))

    ask(hub)

    assert hub.engine_of("c-1") == "f"


def test_a_class_behind_very_many_is_found(real_hub):
    hub = real_hub
    for number in range(200):
        hub.register(1, f"e{number}")
    for number in range(66, 196):
        hub.submit(2, f"c-{number}", targets=f"0-64,{number}")
    hub.submit(3, "d-1", targets="1-66")

    assert [one.task_id for one in hub.take(4, "e65")] == ["d-1"]


# Lines that are empty


@pytest.mark.parametrize("targets", ["0-{}", "0,{}"], ids=["of many", "of few"])
@pytest.mark.parametrize("empty", [100, 150, 170])
def test_empty_lines_do_not_hide_others(real_hub, targets, empty):
    hub, ids = real_hub, [f"c-{number}" for number in range(180)]
    hub.join(1, "e")
    hub.redis.hset(hub.key("hub"), "next_engine", 300)
    hub.submit(2, "d-1")
    (work,) = hub.take(3, "e")
    for number, name in enumerate(ids):
        hub.submit(4, name, targets=targets.format(number + 65))
    hub.abort(5, *ids[:empty])

    taken = hub.turn(6, "e", 200, ok(work)).work

    assert [one.task_id for one in taken] == ids[empty:][: len(taken)]
    assert taken


def test_who_finds_more_empty_lines_than_it_may_look_at_comes_again(real_hub):
    hub = real_hub
    hub.join(1, "e")
    hub.redis.hset(hub.key("hub"), "next_engine", 3000)
    hub.submit(2, "d-1")
    (work,) = hub.take(3, "e")
    hub.submit(4, "c-1", targets="0-2999")
    hub.redis.zadd(hub.key("classes:default"), {f"=0-{n}": 0 for n in range(65, 2665)})

    assert hub.turn(5, "e", 1, ok(work)).work == []

    assert hub.rings("e") == 1
    assert [one.task_id for one in hub.take(6, "e")] == ["c-1"]
