"""submit: a slice of tasks enters, all or none."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Argument, Call, Group
from redtask.hub.records import Submitted


def groups(*groups, now=5):
    return calls.submit([Group(*group) for group in groups], now=now)


def raw(*args):
    return Call("submit", (5, *args), Submitted.read)


def test_a_task_waits_ready_until_an_engine_takes_it(hub):
    assert hub.submit(1, "c-1", "c-2").new == 2
    assert hub.ready() == ["c-1", "c-2"]

    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    assert (work.task_id, work.function, work.args) == ("c-1", "fn", b"args")
    assert (hub.state("c-1"), hub.held("e")) == ("running", ["c-1"])


def test_a_record_says_when_it_came_and_what_it_needs(hub):
    hub.submit(5, "c-1", label="spring", root="b-7", until=99, retries=2, ttl=3)

    assert hub.record("c-1") == {
        "state": "ready",
        "fn": "fn 99",
        "args": "args",
        "submitted": "5",
        "label": "spring",
        "root": "b-7",
        "retries": "2",
        "ttl": "3",
        "marks": "ta",
    }


def test_an_engine_gets_what_the_signature_binds(hub):
    hub.submit(1, "c-1", root="b-7", until=99)
    hub.submit(2, "c-2")
    hub.register(3, "e")

    first, second = hub.take(4, "e")[0], hub.take(5, "e")[0]

    assert (first.root, first.until) == ("b-7", "99")
    assert (second.root, second.until) == ("c-2", "")


def test_an_idle_engine_gets_the_task_and_hears_its_bell(hub):
    hub.join(1, "e")

    hub.submit(2, "c-1")

    assert (hub.state("c-1"), hub.assigned("e")) == ("assigned", ["c-1"])
    assert (hub.rings("e"), hub.free()) == (1, [])
    hub.check(quiet=True)


def test_an_engine_that_has_not_come_yet_gets_nothing(hub):
    hub.register(1, "e")

    hub.submit(2, "c-1")

    assert hub.state("c-1") == "ready"


def test_idle_engines_share_a_slice_and_the_rest_waits(hub):
    hub.join(1, "x", "y", "z")

    hub.submit(2, *[f"c-{n}" for n in range(5)])

    assert [hub.assigned(e) for e in "xyz"] == [["c-0"], ["c-1"], ["c-2"]]
    assert hub.ready() == ["c-3", "c-4"]


def test_the_engine_used_least_recently_is_first(hub):
    hub.join(1, "x", "y")
    hub.submit(2, "c-1")
    hub.submit(3, "c-2")
    hub.abort(4, "c-1", "c-2")

    hub.submit(5, "c-3")

    assert hub.assigned("x") == ["c-3"]


def test_with_a_bound_the_least_loaded_engine_is_first(hub):
    hub.configure(1, hwm=2)
    hub.join(2, "x", "y")
    hub.submit(3, "c-1", "c-2", "c-3", "c-4")
    hub.abort(4, "c-2", "c-4")

    hub.submit(5, "c-6")

    assert hub.assigned("y") == ["c-6"]


def test_the_same_submit_again_changes_nothing(hub):
    hub.submit(1, "c-1", "c-2")
    before = hub.dump()

    again = hub.submit(2, "c-1", "c-2")

    assert (again.new, again.known) == (0, 2)
    assert hub.dump() == before


def test_a_submit_again_is_known_in_whatever_state_the_task_is(hub):
    hub.submit(1, "c-1", "c-2", "c-3")
    hub.join(2, "e")
    hub.abort(3, "c-3")

    assert hub.submit(4, "c-1", "c-2", "c-3").known == 3
    assert [hub.state(f"c-{n}") for n in (1, 2, 3)] == ["running", "ready", "aborted"]


def test_of_a_slice_known_in_part_the_rest_enters(hub):
    hub.submit(1, "c-1", "c-3")

    submitted = hub.submit(2, "c-1", "c-2", "c-3", "c-4")

    assert (submitted.new, submitted.known) == (2, 2)
    assert hub.ready() == ["c-1", "c-3", "c-2", "c-4"]


@pytest.mark.parametrize("size", [3, 64, 65, 5000])
def test_other_arguments_under_a_known_id_are_a_conflict(hub, size):
    hub.submit(1, "c-1", args=b"a" * size)

    with hub.refuses(error.SubmitConflict, "c-1 is known"):
        hub.submit(2, "c-0", "c-1", args=b"b" * size)

    assert hub.submit(3, "c-1", args=b"a" * size).known == 1


def test_another_function_under_a_known_id_is_a_conflict(hub):
    hub.submit(1, "c-1")

    with hub.refuses(error.SubmitConflict):
        hub.submit(2, "c-1", fn="other")


def test_an_unknown_function_must_be_sent_along(hub):
    with hub.refuses(error.UnknownFunction, "fn"):
        hub.submit(1, "c-1", blob=b"")

    hub.submit(2, "c-1", blob=b"function")
    hub.submit(3, "c-2", blob=b"")

    assert hub.redis.hgetall(hub.keys.function("fn")) == {
        b"blob": b"function",
        b"name": b"fn",
        b"count": b"2",
    }


def test_one_group_without_its_function_keeps_all_out(hub):
    with hub.refuses(error.UnknownFunction, "^g$"):
        hub.do(
            groups(
                ("f", b"f", "f", {}, ["c-1", b"a"]), ("g", b"", "g", {}, ["c-2", b"a"])
            )
        )


def test_arguments_over_the_limit_are_refused(hub):
    hub.configure(1, max_payload=70000)

    with hub.refuses(error.PayloadTooLarge, "c-1 has 70001 bytes; the limit is 70000"):
        hub.submit(2, "c-1", args=b"x" * 70001)

    assert hub.submit(3, "c-1", args=b"x" * 70000).new == 1


def test_arguments_are_never_empty(hub):
    with hub.refuses(error.BadArgument, "c-1 has no arguments"):
        hub.submit(1, "c-1", args=b"")


def test_a_function_over_the_limit_is_refused(hub):
    hub.configure(1, max_payload=70000)

    with hub.refuses(error.PayloadTooLarge, "function fn has 70001 bytes"):
        hub.submit(2, "c-1", blob=b"x" * 70001)


@pytest.mark.parametrize(
    "name", ["", "c", "c-", "-1", "C-1", "c-1:args", "c-1 ", "c-1\n", "c" * 63 + "-1"]
)
def test_an_id_that_is_none_is_refused(hub, name):
    with hub.refuses(error.BadArgument, "not a task id"):
        hub.submit(1, "c-1", name)


def test_an_id_comes_once_in_a_slice(hub):
    with hub.refuses(error.BadArgument, "or one twice: c-1"):
        hub.submit(1, "c-1", "c-2", "c-1")


def test_an_id_comes_once_in_all_groups_of_a_slice(hub):
    hub.join(1, "x", "y")
    flags: dict[str, int] = {}
    group = ("f", b"f", "f", flags, ["c-1", b"a"])

    with hub.refuses(error.BadArgument, "or one twice: c-1"):
        hub.do(groups(group, group))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("colour", "red"),
        ("queue", "Default"),
        ("queue", "-x"),
        ("queue", "a,b"),
        ("queue", "q" * 65),
        ("label", ""),
        ("label", "x" * 65),
        ("root", "c-1:args"),
        ("root", "c" * 63 + "-1"),
        ("until", "soon"),
        ("until", 2**53),
        ("ttl", -1),
        ("ttl", 31536000001),
        ("retries", -1),
        ("retries", 1001),
        ("retries", "1.5"),
        ("priority", -1001),
        ("priority", 1001),
        ("priority", "high"),
    ],
)
def test_a_flag_that_is_none_is_refused(hub, flag, value):
    with hub.refuses(error.BadArgument, f"flag:? {flag}"):
        hub.submit(1, "c-1", **{flag: value})


@pytest.mark.parametrize("digest", ["", "a:b", "a b", "d" * 65])
def test_a_digest_that_is_none_is_refused(hub, digest):
    with hub.refuses(error.BadArgument, "not a digest"):
        hub.submit(1, "c-1", fn=digest)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("f",),
        ("f", "f", "f", "x"),
        ("f", "f", "f", 1, "queue"),
        ("f", "f", "f", 0),
        ("f", "f", "f", 0, 0),
        ("f", "f", "f", 0, "x"),
        ("f", "f", "f", 0, 2, "c-1", "a", "c-2"),
        ("f", "f", "f", 0, 1, "c-1", "a", "f"),
        ("f", "f", "f", -2, 1, "c-1", "a"),
        ("f", "f", "f", -3, 1, "c-1", "a"),
        ("f", "f", "f", 0, 1.5, "c-1", "a", "c-2"),
        ("f", "f", "f", 0.5, 1, "c-1", "a"),
    ],
)
def test_a_slice_that_is_none_is_refused(hub, args):
    with hub.refuses(error.BadArgument):
        hub.do(raw(*args))


def test_a_slice_has_at_most_500_tasks(hub):
    ids = [f"c-{n}" for n in range(501)]

    with hub.refuses(error.BadArgument, "1 to 500 tasks, not 501"):
        hub.submit(1, *ids)

    assert hub.submit(2, *ids[:500]).new == 500
    assert hub.ready() == ids[:500]


def test_large_slices_reach_the_idle_engines_too(hub):
    hub.join(1, "x", "y")
    ids = [f"c-{n}" for n in range(500)]

    hub.submit(2, *ids)

    assert hub.assigned("x") + hub.assigned("y") + hub.ready() == ids


@pytest.mark.parametrize("size", [64, 65, 16384])
def test_long_arguments_stand_beside_the_record(hub, size):
    hub.submit(1, "c-1", args=b"x" * size)
    hub.register(2, "e")

    (work,) = hub.take(3, "e")

    assert work.args == b"x" * size
    assert (hub.record("c-1")["args"] == "") == (size > 64)


def test_large_arguments_are_left_for_the_engine_to_read(hub):
    hub.submit(1, "c-1", args=b"x" * 16385)
    hub.register(2, "e")

    (work,) = hub.take(3, "e")

    assert work.args == b""
    assert hub.redis.strlen(hub.keys.task("c-1", "args")) == 16385


def test_priority_comes_first_then_order_of_submission(hub):
    hub.submit(1, "c-1", priority=-1000)
    hub.submit(2, "c-2")
    hub.submit(3, "c-3", "c-4", priority=1000)
    hub.submit(4, "c-5", priority=1)
    hub.submit(5, "c-6")

    assert hub.ready() == ["c-3", "c-4", "c-5", "c-2", "c-6", "c-1"]


def test_groups_of_a_slice_keep_their_order(hub):
    hub.do(
        groups(
            ("f", b"f", "f", {}, ["c-9", b"a", "c-8", b"a"]),
            ("g", b"g", "g", {}, ["c-7", b"a"]),
            ("f", b"f", "f", {}, ["c-6", b"a"]),
        )
    )

    assert hub.ready() == ["c-9", "c-8", "c-7", "c-6"]


def test_a_queue_is_served_by_its_engines_only(hub):
    hub.join(1, "e")
    hub.join(1, "big", queues="large,default")

    hub.submit(2, "c-1", "c-2", queue="large")
    hub.submit(3, "c-3", queue="nobody")

    assert hub.assigned("big") == ["c-1"]
    assert hub.ready("large") == ["c-2"]
    assert hub.ready("nobody") == ["c-3"]
    assert hub.free() == ["e"]


def test_who_comes_later_does_not_overtake_who_waits(hub):
    hub.configure(1, hwm=2)
    hub.submit(2, "c-1", "c-2", "c-3", "c-4")
    hub.join(3, "e")
    assert (hub.held("e"), hub.free()) == (["c-1"], ["e"])

    hub.submit(4, "c-5")

    assert hub.assigned("e") == ["c-2"]
    assert hub.ready() == ["c-3", "c-4", "c-5"]


def test_who_is_more_urgent_overtakes(hub):
    hub.configure(1, hwm=2)
    hub.submit(2, "c-1", "c-2", "c-3")
    hub.join(3, "e")

    hub.submit(4, "c-4", priority=1)

    assert hub.assigned("e") == ["c-4"]


@pytest.mark.parametrize("flags", [{"after": "as a-2"}, {"refs": "a-2"}])
def test_what_was_unknown_may_enter_in_the_same_call(hub, flags):
    groups = [
        Group("fn", b"f", "fn", flags, ["a-1", b"x"]),
        Group("fn", b"f", "fn", {}, ["a-2", b"x"]),
        Group("fn", b"f", "fn", {"after": "as a-2"}, ["a-3", b"x"]),
    ]

    hub.do(calls.submit(groups, now=1))

    assert hub.state("a-3") == "waiting"


def test_a_flag_is_said_once(hub):
    flags = ["label", "x", "label", "y"]
    call = Call("submit", (1, "fn", b"f", "fn", 2, *flags, 1, "c-1", b"a"), str)

    with hub.refuses(error.BadArgument, "flag label is there twice"):
        hub.do(call)


# Tasks like the group before them


def like_one_another(count=3, **flags):
    """Return groups that differ in what their tasks come after."""
    return [
        Group(
            "fn",
            b"function" if number == 1 else b"",
            "fn",
            {"after": f"as c-{number - 1}", **flags},
            [f"c-{number}", b"args %d" % number],
        )
        for number in range(1, count + 1)
    ]


def test_a_task_like_the_one_before_is_sent_without_its_head(hub):
    hub.submit(1, "c-0")
    call = calls.submit(like_one_another(retries=2, queue="q"), now=2)
    assert call.args.count("^") == 2
    assert call.args.count("fn") == 2

    assert hub.do(call).new == 3

    for number in (1, 2, 3):
        record = hub.record(f"c-{number}")
        assert record["after"] == f"as c-{number - 1}"
        assert (record["na"], record["args"]) == ("as:1!", f"args {number}")
        assert (record["retries"], record["queue"]) == ("2", "q")
    assert hub.redis.hget(hub.keys.function("fn"), "count") == b"4"


@pytest.mark.parametrize(
    ("name", "value"),
    [("digest", "other"), ("flags", {"after": "as c-0", "retries": 1})],
)
def test_what_differs_in_more_has_a_head(name, value):
    first, second, third = like_one_another()
    second = second._replace(**{name: value})

    args = calls.submit([first, second, third]).args

    assert args.count("^") == 0


def test_nor_are_several_tasks_or_free_ones_like_others():
    first, second, _ = like_one_another()
    several = second._replace(tasks=[*second.tasks, "c-9", b"args"])
    free = first._replace(flags={}), second._replace(flags={})

    assert "^" not in calls.submit([first, several]).args
    assert "^" not in calls.submit(free).args


def test_they_may_be_bound_to_more(hub):
    hub.submit(1, "c-0", "c-9")

    hub.do(calls.submit(like_one_another(follow="as c-9", timeout=99), now=2))

    assert hub.record("c-3")["follow"] == "as c-9"
    assert hub.record("c-3")["nf"] == "as:1"
    assert hub.record("c-3")["timeout"] == "99"


def test_they_may_need_the_results_of_all(hub):
    hub.submit(1, "c-0", "c-9")
    groups = [
        one._replace(
            flags={**one.flags, "after": f"as c-9 {name}", "refs": f"c-9 {name}"}
        )
        for one, name in zip(like_one_another(), ("c-0", "c-1", "c-2"), strict=True)
    ]
    call = calls.submit(groups, now=2)
    assert call.args.count("^") == 2

    hub.do(call)

    for number in (1, 2, 3):
        record = hub.record(f"c-{number}")
        assert record["refs"] == f"c-9 c-{number - 1}"
        assert record["na"] == "as:2!"
        assert set(record["marks"]) == set("r" if number == 3 else "rkd")
    assert hub.record("c-9")["kept"] == "3"
    assert hub.record("c-1")["kept"] == "1"


def test_not_so_if_they_need_but_some(hub):
    hub.submit(1, "c-0", "c-9")
    first, second, _ = (
        one._replace(flags={"after": f"as c-9 {name}", "refs": name})
        for one, name in zip(like_one_another(), ("c-0", "c-1", "c-2"), strict=True)
    )
    call = calls.submit([first, second], now=2)
    assert "^" not in call.args

    hub.do(call)

    assert hub.record("c-2")["refs"] == "c-1"
    assert "kept" not in hub.record("c-9")
    args = [*calls.submit([first], now=2).args, "^", "as c-1", "c-5", b"args"]
    with hub.refuses(error.BadArgument):
        hub.do(Call("submit", args, Submitted.read))


def test_one_may_need_the_result_of_another_than_it_comes_after(hub):
    hub.submit(1, "c-1", "c-2")

    hub.submit(2, "c-3", after="as c-1", refs="c-2")

    assert hub.record("c-3")["na"] == "as:1"
    assert hub.record("c-2")["kept"] == "1"


def test_they_may_be_known_in_part(hub):
    hub.submit(1, "c-0")
    first, *others = like_one_another()
    hub.do(calls.submit([first], now=2))

    reply = hub.do(calls.submit([first, *others], now=3))
    again = hub.do(calls.submit([first, *others], now=4).again())

    assert (reply.new, reply.known) == (2, 1)
    assert (again.new, again.known) == (0, 3)
    assert hub.record("c-3")["after"] == "as c-2"


def test_one_of_them_may_be_in_conflict(hub):
    hub.submit(1, "c-0")
    first, second, third = like_one_another()
    hub.do(calls.submit([second._replace(blob=b"function")], now=2))
    other = second._replace(tasks=["c-2", b"other"])

    with hub.refuses(error.SubmitConflict):
        hub.do(calls.submit([first, other, third], now=3))


def test_one_may_be_impossible(hub):
    hub.submit(1, "c-0")
    hub.end(2, "error")

    hub.do(calls.submit(like_one_another(), now=3))

    assert [hub.state(f"c-{number}") for number in (1, 2, 3)] == ["failed"] * 3


@pytest.mark.parametrize(
    "more",
    [
        ["^"],
        ["^", "as c-1", "c-2"],
        ["^", "", "c-2", b"args"],
        ["^", "as", "c-2", b"args"],
        ["^", "xx c-1", "c-2", b"args"],
        ["^", "as c-1", "no id", b"args"],
        ["^", "as c-1", "c-1", b"args"],
        ["^", "as c-1", "c-2", b""],
    ],
)
def test_one_that_is_none_is_refused(hub, more):
    hub.submit(1, "c-0")
    args: list[Argument] = [2, "fn", b"function", "fn", 1, "after", "as c-0", 1]
    args += ("c-1", b"args", *more)

    with hub.refuses(error.BadArgument):
        hub.do(Call("submit", args, Submitted.read))


def test_the_first_is_like_nothing_and_nothing_is_like_a_free_one(hub):
    free: list[Argument] = [2, "fn", b"function", "fn", 0, 1, "c-1", b"args"]
    like: list[Argument] = ["^", "as c-1", "c-2", b"args"]

    for args in ([2, *like], [*free, *like]):
        with hub.refuses(error.BadArgument):
            hub.do(Call("submit", args, Submitted.read))
