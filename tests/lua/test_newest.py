"""Numbers that clients give tasks: which of them are new without being looked for."""

from __future__ import annotations

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group


def many(client, *numbers):
    return [f"{client}-0{number}" for number in numbers]


def newest(hub, client="c"):
    found = hub.redis.get(hub.keys.newest(client))
    return found and found.decode()


def looked_for(hub, *ids):
    """Submit these; return how many commands looked for single ones."""
    hub.redis.config_resetstat()
    hub.submit(9, *ids)
    stats = hub.redis.info("commandstats")
    return sum(
        stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("hmget", "exists")
    )


def test_the_greatest_is_noted_for_a_day(hub):
    hub.submit(1, *many("c", 3, 4, 9))

    assert newest(hub) == "9"
    assert 86000 < hub.redis.ttl(hub.keys.newest("c")) <= 86400

    hub.submit(2, *many("c", 5, 7))
    assert newest(hub) == "9"

    hub.submit(3, *many("c", 10, 12))
    assert newest(hub) == "12"


def test_tasks_that_come_alone_are_not_counted(hub):
    hub.submit(1, "c-1")
    hub.submit(1, "c-2", "c-3")

    assert newest(hub) is None


def test_one_of_many_that_comes_alone_is(hub):
    hub.submit(1, *many("c", 1, 2))
    hub.submit(2, *many("c", 3), blob=b"")

    assert hub.on_sheet("c-03")[1]
    assert newest(hub) == "3"
    assert hub.submit(3, *many("c", 3)).new == 0
    assert len(hub.ready()) == 3


def test_new_ones_are_not_looked_for(real_hub):
    hub = real_hub
    hub.submit(1, *many("c", *range(50)))

    new = looked_for(hub, *many("c", *range(50, 100)))

    assert len(hub.ready()) == 100
    assert looked_for(hub, *many("c", *range(100, 150))) == new
    # Nobody knows of this client yet.
    assert looked_for(hub, *many("d", *range(50))) > new


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("again", [(1, 2, 3), (2,), (3, 4), (1, 4), (4, 2)])
def test_the_same_again_changes_nothing(hub, again, forgotten):
    hub.submit(1, *many("c", 1, 2, 3))
    if forgotten:
        hub.redis.delete(hub.keys.newest("c"))

    told = hub.submit(2, *many("c", *again))

    assert told.new == (4 in again)
    assert hub.state("c-02") == "ready"
    assert hub.record("c-02")["submitted"] == "1"
    assert len(hub.ready()) == (4 if 4 in again else 3)


def test_other_arguments_under_a_known_number_are_refused(hub):
    hub.submit(1, *many("c", 1, 2))

    with hub.refuses(error.SubmitConflict, "c-02 is known"):
        hub.submit(2, *many("c", 2, 3), args=b"other")

    assert hub.ready() == many("c", 1, 2)
    assert newest(hub) == "2"


def test_numbers_may_come_in_any_order(hub):
    hub.submit(1, *many("c", 5, 4))
    hub.submit(2, *many("c", 2, 1))
    hub.submit(3, *many("c", 3, 6))

    assert hub.ready() == many("c", 5, 4, 2, 1, 3, 6)
    assert newest(hub) == "6"


def test_one_that_is_there_twice_is_refused(hub):
    hub.submit(1, *many("c", 1, 2))

    for ids in (many("c", 3, 3), many("c", 3, 4, 3), ["c-03", "c-5", "c-03"]):
        with hub.refuses(error.BadArgument, "one twice: c-03"):
            hub.submit(2, *ids)

    assert len(hub.ready()) == 2


@pytest.mark.parametrize(
    "name", ["c-0x10", "c-0 4", "c-01e3", "C-04", "c-0" + "1" * 64]
)
def test_what_is_no_id_is_refused(hub, name):
    hub.submit(1, *many("c", 1, 2))

    with hub.refuses(error.BadArgument, "not a task id"):
        hub.submit(2, "c-03", name)

    assert len(hub.ready()) == 2
    assert newest(hub) == "2"


def test_each_client_has_its_own(hub):
    hub.submit(1, *many("d", 7, 8))
    hub.submit(2, *many("c", 2), *many("d", 9), "c-4", *many("c", 1))

    assert (newest(hub, "c"), newest(hub, "d")) == ("2", "9")
    assert hub.submit(3, *many("c", 2, 3)).new == 1


def test_numbers_with_many_digits_are_compared_as_far_as_they_can_be(hub):
    huge = 10**40

    hub.submit(1, *many("c", huge, huge + 1))
    hub.submit(2, *many("c", huge + 2, huge + 3))

    # Too close to be told apart, so the greater one may not be noted: it is looked for.
    assert len(hub.ready()) == 4
    assert hub.submit(3, *many("c", huge, huge + 1, huge + 2, huge + 3)).new == 0


def test_copies_are_noted(hub):
    hub.submit(1, *many("c", 1, 2))
    hub.abort(2, "c-01")

    hub.resubmit(3, ("c-01", "c-09"))

    assert newest(hub) == "9"
    assert hub.submit(4, *many("c", 9, 10)).new == 1
    assert hub.record("c-09")["resubmit_of"] == "c-01"


def test_gates_are_noted(hub):
    hub.submit(1, *many("c", 1, 2))
    hub.submit(2, *many("c", 3, 4), gate="c-06")

    assert newest(hub) == "6"
    with hub.refuses(error.SubmitConflict, "c-06 is known"):
        hub.submit(3, *many("c", 5, 6))


@pytest.mark.parametrize("gate", ["c-03", "c-04", "c-05"])
def test_a_gate_is_none_of_the_tasks_that_wait_for_it(hub, gate):
    hub.submit(1, *many("c", 1, 2))

    with hub.refuses(error.BadArgument, f"{gate} is a gate and a task"):
        hub.submit(2, *many("c", 3, 4, 5), gate=gate)


def test_a_slice_may_have_the_clients_first_gate_before_it(hub):
    hub.submit(1, *many("c", 1, 2))
    hub.submit(2, *many("c", 4, 5), gate="c-03")

    assert hub.state("c-04") == "waiting"
    assert newest(hub) == "5"


def test_what_was_purged_is_known_when_it_is_sent_again(hub):
    hub.submit(1, *many("c", 1, 2))
    hub.abort(2, *many("c", 1, 2))
    hub.purge(3, *many("c", 1, 2))
    tasks = [part for name in many("c", 1, 2) for part in (name, b"args")]

    told = hub.do(calls.submit([Group("fn", b"", "work", {}, tasks)], now=4).again())

    assert (told.new, told.known) == (0, 2)
