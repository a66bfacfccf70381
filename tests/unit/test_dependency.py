"""Dependencies and references, by themselves."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading

import pytest

from redtask import dependency
from redtask.dependency import Dependency, Ref

#: all, success, failure: what SS SF SP FF FP PP are: met, unreachable, neither.
TRUTH = {
    (True, True, False): "MU-UU-",
    (True, False, True): "UUUM--",
    (True, True, True): "MM-M--",
    (False, True, False): "MMMU--",
    (False, False, True): "UM-MM-",
    (False, True, True): "MMMMM-",
}
PAIRS = ("SS", "SF", "SP", "FF", "FP", "PP")


class Result:
    """Something that has ids, like a result."""

    def __init__(self, *ids, single=True):
        self.msg_ids = list(ids)
        self._single = single


def cells():
    for conditions, row in TRUTH.items():
        for pair, cell in zip(PAIRS, row, strict=True):
            yield pytest.param(conditions, pair, cell, id=f"{conditions}-{pair}")


@pytest.mark.parametrize(("conditions", "pair", "cell"), list(cells()))
@pytest.mark.parametrize("turned", [False, True])
def test_a_cell_of_the_truth_table(conditions, pair, cell, turned):
    found = Dependency(["a", "b"], *conditions)
    ends = dict(zip("ab", reversed(pair) if turned else pair, strict=True))
    completed = {name for name, end in ends.items() if end == "S"}
    failed = {name for name, end in ends.items() if end == "F"}

    assert found.check(completed, failed) == (cell == "M")
    assert found.unreachable(completed, failed) == (cell == "U")


@pytest.mark.parametrize("conditions", TRUTH)
def test_without_members_it_is_met(conditions):
    found = Dependency([], *conditions)

    assert found.check(set(), set())
    assert not found.unreachable({"a"}, {"b"})


def test_failures_that_nobody_tells_are_pending():
    assert not Dependency(["a"], failure=True).check(set())
    assert not Dependency(["a"]).unreachable(set())
    assert Dependency(["a"]).check(["a", "z"])


def test_members_are_ids_and_results_in_the_order_given():
    found = Dependency(["c-2", Result("c-9", "c-1"), "c-7"])

    assert found == {"c-2", "c-9", "c-1", "c-7"}
    assert found.text() == "as c-2 c-9 c-1 c-7"
    assert Dependency("c-1").ordered() == ["c-1"]
    assert Dependency(Result("c-1", "c-2")).ordered() == ["c-1", "c-2"]
    assert Dependency().text() == "as"


def test_what_is_added_later_comes_last():
    found = Dependency(["c-2", "c-3"])
    found.add("c-1")
    found.discard("c-3")

    assert found.ordered() == ["c-2", "c-1"]


@pytest.mark.parametrize(
    ("conditions", "letters"),
    [((True, True, False), "as"), ((False, True, True), "nsf"),
     ((True, False, True), "af")],
)  # fmt: skip
def test_the_conditions_have_letters(conditions, letters):
    assert Dependency(["c-1"], *conditions).text() == f"{letters} c-1"
    assert Dependency([], *conditions).is_plain == (letters == "as")


def test_neither_outcome_is_refused():
    with pytest.raises(ValueError, match="success, failure, or both"):
        Dependency(["a"], success=False)


@pytest.mark.parametrize("wrong", [5, None, [5], [["a"]], [b"a"], {"a": 1}])
def test_a_member_that_is_none_is_refused(wrong):
    with pytest.raises(TypeError, match="depend"):
        Dependency(wrong)


@pytest.mark.parametrize("conditions", TRUTH)
@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        lambda one: pickle.loads(pickle.dumps(one)),
        lambda one: Dependency(one.as_dict()),
        lambda one: one.copy(),
        lambda one: eval(repr(one)),  # noqa: S307 - our own repr
    ],
)
def test_it_travels_with_its_conditions(conditions, again):
    before = Dependency(["c-2", "c-1"], *conditions)

    after = again(before)

    assert type(after) is Dependency
    assert after.as_dict() == before.as_dict()
    assert after.text() == before.text()


def test_the_conditions_do_not_count_for_equality():
    assert Dependency(["a"]) == Dependency(["a"], failure=True) == {"a"}


# -- references


def test_a_ref_names_one_task():
    assert Ref("c-1").task == "c-1"
    assert Ref(Result("c-1")) == Ref("c-1")
    assert len({Ref("c-1"), Ref("c-1"), Ref(("node", 3))}) == 2
    assert repr(Ref("c-1")) == "Ref('c-1')"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Result("c-1", "c-2"), "one task"),
        (Result("c-1", single=False), "one task"),
        (["c-1"], "not list"),
    ],
)
def test_a_ref_to_anything_else_is_refused(wrong, words):
    with pytest.raises(TypeError, match=words):
        Ref(wrong)


def test_a_ref_is_still_one_where_nobody_knows_the_result():
    assert pickle.loads(pickle.dumps([Ref("c-1")])) == [Ref("c-1")]
    assert copy.deepcopy(Ref("c-1")) == Ref("c-1")


def test_a_ref_becomes_the_result_where_it_is_known():
    data = pickle.dumps({"x": [Ref("c-1"), Ref("c-2")]})

    with dependency.resolving({"c-1": 10, "c-2": 20}.__getitem__):
        assert pickle.loads(data) == {"x": [10, 20]}
    assert pickle.loads(data) == {"x": [Ref("c-1"), Ref("c-2")]}


def test_refs_are_collected_once_each_in_order():
    value = [Ref("c-2"), {"k": Ref("c-1")}, Ref("c-2")]

    data, refs = dependency.collecting(pickle.dumps, value)

    assert refs == ("c-2", "c-1")
    assert pickle.loads(data) == value


def test_nodes_become_the_ids_of_their_tasks():
    value = [Ref("a"), Ref(("b", 1)), Ref("c-9")]
    nodes = {"a": "c-1", ("b", 1): "c-2"}

    data, refs = dependency.collecting(pickle.dumps, value, nodes)

    assert refs == ("c-1", "c-2", "c-9")
    assert pickle.loads(data) == [Ref("c-1"), Ref("c-2"), Ref("c-9")]


@pytest.mark.parametrize("nobody", ["not an id", 7, "c-"])
def test_a_ref_to_nobody_is_refused_by_name(nobody):
    with pytest.raises(ValueError, match=f"Ref\\({nobody!r}\\) refers to no task"):
        dependency.collecting(pickle.dumps, [Ref(nobody)])
    assert pickle.loads(pickle.dumps(Ref(nobody))) == Ref(nobody)


def test_threads_collect_apart():
    barrier = threading.Barrier(2, timeout=30)
    found = {}

    class Slow:
        def __reduce__(self):
            barrier.wait()
            return int, ()

    def collect(name):
        value = [Ref(name), Slow(), Ref(f"{name}0")]
        found[name] = dependency.collecting(pickle.dumps, value)[1]

    threads = [threading.Thread(target=collect, args=(f"c-{n}",)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {"c-1": ("c-1", "c-10"), "c-2": ("c-2", "c-20")}


def test_every_cell_is_met_or_unreachable_or_neither():
    for conditions, ends in itertools.product(
        TRUTH, itertools.product("SFP", repeat=3)
    ):
        found = Dependency(["a", "b", "c"], *conditions)
        completed = {name for name, end in zip("abc", ends, strict=True) if end == "S"}
        failed = {name for name, end in zip("abc", ends, strict=True) if end == "F"}

        both = found.check(completed, failed), found.unreachable(completed, failed)

        assert both != (True, True)
        if "P" not in ends:
            assert both != (False, False)
