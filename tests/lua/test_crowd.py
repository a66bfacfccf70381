"""What one turn costs does not depend on how many tasks it does not take."""

import pytest

from tests.hubs import ok, unmet


@pytest.fixture
def counted(server):
    if not server.real:
        pytest.skip("a fake does not count commands")


def commands(hub):
    """Return how many commands were performed so far, also by scripts."""
    stats = hub.redis.info("commandstats")
    return sum(
        about["calls"] for name, about in stats.items() if name != "cmdstat_info"
    )


def crowd(hub, kind, count):
    """Submit tasks that the engine "near" does not take."""
    ids = [f"c-{number}" for number in range(count)]
    if kind == "pinned":
        hub.submit(2, *ids, targets="1")
    elif kind == "refused":
        hub.submit(2, "r-1", fn="picky", targets="0")
        (work,) = hub.take(2, "near")
        hub.turn(2, "near", 1, unmet(work, by="require"))
        hub.submit(2, *ids, fn="picky", targets="0-1")
        hub.submit(2, *(f"{name}0" for name in ids), fn="picky")
    elif kind == "waiting":
        hub.submit(2, "w-1", targets="1")
        hub.submit(2, *ids, after="as w-1")


def cost(hub, kind, count):
    """Return how many commands a turn takes that ends one task and takes the next."""
    hub.join(1, "near", "far")
    crowd(hub, kind, count)
    hub.submit(3, *(f"t-{number}" for number in range(6)), targets="0")
    (work,) = hub.take(4, "near")
    for _ in range(2):
        (work,) = hub.turn(5, "near", 1, ok(work)).work
    hub.recorder = None
    before = commands(hub)
    turn = hub.turn(5, "near", 1, ok(work))
    assert turn.work
    return commands(hub) - before


@pytest.mark.parametrize("kind", ["pinned", "refused", "waiting"])
def test_a_turn_is_as_short_beside_many_tasks_as_beside_few(counted, make_hub, kind):
    few = cost(make_hub(), kind, 2)

    many = cost(make_hub(), kind, 200)

    assert many <= few


@pytest.mark.parametrize("by", ["require", "depend"])
def test_a_refusal_is_as_short_among_many_engines_as_among_few(counted, make_hub, by):
    def refusal(engines):
        hub = make_hub()
        hub.join(1, *(f"e{number}" for number in range(engines)))
        hub.submit(2, "c-1")
        engine = hub.record("c-1")["engine"].partition("/")[2]
        (work,) = hub.take(3, engine)
        hub.recorder = None
        before = commands(hub)
        hub.report(4, engine, unmet(work, by=by) if by == "require" else unmet(work))
        return commands(hub) - before

    few, many = refusal(2), refusal(100)

    # Where not every engine will do, some are looked at.
    assert many <= few + 8


def test_a_link_of_a_chain_is_taken_in_the_turn_that_ends_the_last(hub):
    hub.submit(1, "c-0")
    for number in range(1, 5):
        hub.submit(1, f"c-{number}", after=f"as c-{number - 1}")
    hub.register(2, "e")

    taken, work = [], hub.take(3, "e")
    while work:
        taken.append(work[0].task_id)
        work = hub.turn(4, "e", 1, ok(work[0])).work

    assert taken == [f"c-{number}" for number in range(5)]
    assert hub.redis.zcard(hub.key("ready:default")) == 0


def test_no_script_tells_more_than_a_hundred(hub):
    hub.submit(1, "p-1")
    for at in range(0, 300, 100):
        hub.submit(
            1, *(f"c-{number}" for number in range(at, at + 100)), after="as p-1"
        )
    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    hub.report(4, "e", ok(work))
    left = [hub.redis.zcard(hub.key("waiting"))]
    while hub.sweep(5, budget=100).more:
        left.append(hub.redis.zcard(hub.key("waiting")))

    assert left[0] == 200
    assert hub.redis.zcard(hub.key("waiting")) == 0


@pytest.mark.parametrize(
    "scheme", ["leastload", "lru", "plainrandom", "twobin", "weighted"]
)
def test_who_may_go_to_many_engines_gets_one_with_few_looks(make_hub, counted, scheme):
    hub, tasks = make_hub(scheme=scheme), [f"c-{number}" for number in range(50)]
    hub.join(1, *(f"e{number:03}" for number in range(300)))
    before = commands(hub)

    hub.submit(2, *tasks, targets="0-298")

    assert commands(hub) - before < 30 * len(tasks)
    assert {hub.state(task) for task in tasks} == {"assigned"}


def test_that_nobody_with_room_may_have_it_is_found_once_for_a_class(make_hub, counted):
    hub, tasks = make_hub(), [f"c-{number}" for number in range(50)]
    hub.register(1, "e")
    hub.join(1, *(f"f{number:03}" for number in range(300)))
    for number in range(100):
        hub.register(1, f"g{number}")
    before = commands(hub)

    hub.submit(2, *tasks, targets="0,301-400")

    assert commands(hub) - before < 30 * len(tasks)
    assert {hub.state(task) for task in tasks} == {"ready"}
