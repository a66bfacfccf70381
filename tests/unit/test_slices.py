"""Tasks cut into slices, links and gates."""

from __future__ import annotations

from typing import Any

import pytest

from redtask import slices
from redtask.hub.calls import Call
from redtask.payload import Function
from redtask.slices import FREE, MOST_MEMBERS, Gate, Task, Waits

ONE = Function("one", b"1", "one")
OTHER = Function("other", b"2", "other")
FLAGS = {"until": "5"}


def ids(count, client="p"):
    return tuple(f"{client}-{number}" for number in range(count))


def a_task(number, waits=FREE, function=ONE, size=10, flags=FLAGS):
    return Task(f"c-{number}", b"x" * size, function, flags, waits)


def gate():
    return Gate(lambda: "c-99")


def cut(tasks) -> list[Any]:
    return list(slices.cut(tasks, gate()))


def cut_whole(tasks) -> list[Any]:
    return list(slices.cut_whole(tasks, gate()))


def shapes(pieces):
    """Say of each piece what it is: groups by their sizes, or the call."""
    return [
        (piece.script, *piece.args[1:3], len(piece.args) - 3)
        if isinstance(piece, Call)
        else [len(group.tasks) // 2 for group in piece]
        for piece in pieces
    ]


def test_neighbours_that_are_alike_share_a_group():
    same = Waits(after=("p-0",))
    equal = Waits(after=("p-0",))
    tasks = [
        a_task(0, same), a_task(1, equal), a_task(2), a_task(3, function=OTHER),
        a_task(4, function=OTHER), a_task(5, function=OTHER, flags={"until": "6"}),
    ]  # fmt: skip

    (piece,) = cut(tasks)

    assert shapes([piece]) == [[2, 1, 2, 1]]
    assert [group.digest for group in piece] == ["one", "one", "other", "other"]
    assert piece[0].flags == {"until": "5", "after": "as p-0"}
    assert piece[1].flags == FLAGS
    assert piece[0].tasks == ["c-0", b"x" * 10, "c-1", b"x" * 10]


def test_a_slice_ends_at_so_many_tasks():
    assert shapes(cut(map(a_task, range(1001)))) == [[500], [500], [1]]
    assert shapes(cut([])) == []


def test_a_slice_ends_at_so_many_bytes():
    tasks = [a_task(number, size=3 << 20) for number in range(3)]

    assert shapes(cut(tasks)) == [[2], [1]]


def test_a_slice_ends_at_so_many_members():
    waits = Waits(after=ids(30), follow=ids(20, "q"))

    found = cut([a_task(number, waits) for number in range(5)])

    assert shapes(found) == [[2], [2], [1]]


def test_what_waits_for_more_than_a_call_can_say_is_told_behind_a_gate():
    waits = Waits("nsf", ids(2 * MOST_MEMBERS + 5))

    first, *rest = cut([a_task(0), a_task(1, waits), a_task(2)])

    assert shapes([first]) == [[1]]
    assert "gate" not in first[0].flags
    assert shapes(rest[:-1]) == [
        [1],
        ("link", "c-1", "after", MOST_MEMBERS),
        ("link", "c-1", "after", MOST_MEMBERS),
        ("link", "c-1", "after", 5),
        [1],
    ]
    (group,) = rest[0]
    assert (group.flags["gate"], group.flags["later"]) == ("c-99", 1)
    assert group.flags["after"] == " ".join(["nsf", *ids(2 * MOST_MEMBERS + 5)])
    assert "gate" not in rest[4][0].flags
    assert (rest[5].script, rest[5].args) == ("open", ("", "c-99"))
    said = [one for call in rest[1:4] for one in call.args[3:]]
    assert said == list(waits.after)


def test_both_sets_are_told_behind_a_gate():
    waits = Waits("as", ids(1500), "ns", ids(2700, "q"), ("p-3",))

    piece, *said, opening = cut([a_task(0, waits)])

    assert opening.script == "open"
    flags = piece[0].flags
    assert flags["refs"] == "p-3"
    assert said[0].args[1:] == ("c-0", "refs:0", "p-3")
    for name, whole in (("after", waits.after), ("follow", waits.follow)):
        assert flags[name].split()[1:] == list(whole)
        told = [one for call in said if call.args[2] == name for one in call.args[3:]]
        assert told == list(whole)
    assert all(len(call.args) - 3 <= MOST_MEMBERS for call in said)


def test_what_enters_whole_needs_no_gate_in_one_slice():
    assert shapes(cut_whole(map(a_task, range(500)))) == [[500]]
    assert shapes(cut_whole([])) == []


def test_what_enters_whole_stands_behind_a_gate_in_several():
    *pieces, opening = cut_whole(map(a_task, range(1001)))

    assert shapes(pieces) == [[500], [500], [1]]
    assert {piece[0].flags["gate"] for piece in pieces} == {"c-99"}
    assert (opening.script, opening.args[1]) == ("open", "c-99")


def test_one_gate_is_enough():
    tasks = [a_task(0), a_task(1, Waits(after=ids(MOST_MEMBERS + 1)))]

    pieces = cut_whole(tasks)

    assert [getattr(piece, "script", "submit") for piece in pieces] == [
        "submit", "submit", "link", "link", "open",
    ]  # fmt: skip
    assert {
        group.flags["gate"]
        for piece in pieces
        if not isinstance(piece, Call)
        for group in piece
    } == {"c-99"}


def test_results_among_the_arguments_are_waited_for():
    waits = Waits(after=("p-0", "p-1")).needing(("p-1", "p-5"))

    assert waits.fields() == {"after": "as p-0 p-1 p-5", "refs": "p-1 p-5"}
    assert Waits("ns").needing(("p-1",)).fields()["after"] == "as p-1"
    assert FREE.needing(()) is FREE
    assert FREE.fields() == {}


@pytest.mark.parametrize("letters", ["ns", "asf", "af"])
def test_other_conditions_exclude_results_among_the_arguments(letters):
    with pytest.raises(ValueError, match=r"flag after .* results of p-1"):
        Waits(letters, ("p-0",)).needing(("p-1",))


def test_a_slice_has_fewer_of_what_costs_more():
    plain = [a_task(number) for number in range(500)]
    pinned = [a_task(number, flags={"targets": "0"}) for number in range(500)]
    waiting = [a_task(number, Waits(after=ids(3, "q"))) for number in range(500)]

    sizes = [shapes(cut(tasks))[0][0] for tasks in (plain, pinned, waiting)]

    assert sizes == [500, 125, 33]
