"""Direct views: calls on each of some engines, and the names that these keep."""

from __future__ import annotations

import asyncio
import functools
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

import redtask
from redtask import Ref, Reference, aio, error, namespace
from redtask.flags import Flags
from redtask.targets import Row
from tests import tasks
from tests.faces import Blocking

if TYPE_CHECKING:
    # What engines know.
    kept: Any = None
    theirs: Any = None

DEADLINE = 20
#: Known by that name to a script.
FACTOR = [7, 8, 9]


class Script:
    """Makes functions that a script could have defined, which has some names."""

    def __init__(self):
        self.scope: dict[str, Any] = {"__name__": "__main__", "FACTOR": FACTOR}

    def __call__(self, function):
        made = types.FunctionType(
            function.__code__,
            self.scope,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        made.__module__ = "__main__"
        self.scope[function.__name__] = made
        return made


@pytest.fixture
def script():
    """Return what makes functions of a script."""
    return Script()


def added():
    """Is another name on the engines."""


def halved(x):
    """Return as many times what there is of the factor."""
    return x * len(FACTOR)


def look():
    """Return what the names mean."""
    return FACTOR, added, halved(2)


def engine():
    """Return the engine that this runs on, as the test names it."""
    return number  # type: ignore[name-defined] # noqa: F821 - it is pushed


@pytest.fixture
def dv(rc):
    """Return a view of both engines."""
    return rc[:]


def values(result):
    """Wait for a result of either face, or for what has come already."""
    return result.get(DEADLINE) if hasattr(result, "msg_ids") else result


def in_both(dv, verb, *args, **options):
    """Call a method that waits by default in one face only."""
    return getattr(dv, verb)(*args, block=True, **options)


# -- which engines


def test_a_view_of_one_engine_gives_values_and_one_of_several_gives_lists(rc):
    ids = rc.ids

    assert values(rc[ids[0]].apply_async(tasks.double, 2)) == 4
    assert values(rc[-1].apply_async(tasks.double, 2)) == 4
    assert values(rc[:].apply_async(tasks.double, 2)) == [4, 4]
    assert values(rc[[ids[1]]].apply_async(tasks.double, 2)) == [4]
    assert values(rc[range(2)].apply_async(tasks.double, 2)) == [4, 4]
    assert values(rc.direct_view().apply_async(tasks.double, 2)) == [4, 4]


def test_each_call_runs_on_its_engine_in_the_order_given(rc):
    first, second = rc.ids

    result = rc[[second, first]].apply_async(tasks.double, 2)
    alone = rc[-1].apply_async(tasks.double, 2)
    result.wait()
    alone.wait()

    assert [about.engine_id for about in result.metadata] == [second, first]
    assert alone.metadata.engine_id == second


def test_an_engine_may_be_named_twice(rc):
    assert values(rc[[0, 0]].apply_async(tasks.double, 2)) == [4, 4]


def test_the_engines_are_those_of_the_moment_or_of_each_call(place, rc):
    now, always = rc[:], rc.direct_view()
    values(now.apply_async(abs, 1))

    place.engine()

    assert len(values(now.apply_async(abs, 1))) == 2
    assert len(values(always.apply_async(abs, 1))) == 3
    assert always.targets == "all"
    assert now.targets == [0, 1]


def test_a_client_yields_a_view_of_each_engine(rc):
    views = list(rc)

    assert [view.targets for view in views] == rc.ids
    assert [values(view.apply_async(abs, -1)) for view in views] == [1, 1]


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        (None, TypeError, "not by None"),
        ("all", TypeError, "not by 'all'"),
        (1.5, TypeError, "not float"),
        (True, TypeError, "not bool"),
        ([], ValueError, "at least one engine"),
        (9, IndexError, "no such engine: 9; there are 0, 1"),
        ([0, 9], IndexError, "no such engine: 9"),
        (-3, IndexError, "no such engine: -3"),
        (slice(5, 6), IndexError, r"names none of 2 engines"),
    ],
)
def test_engines_that_cannot_be_chosen_are_named(rc, key, kind, words):
    with pytest.raises(kind, match=words):
        rc[key].apply_async(abs, 1)


def test_without_engines_there_is_nothing_to_choose_from(place, face):
    rc = place.client(face)

    for view in (lambda: rc[0], lambda: rc[:], rc.direct_view):
        with pytest.raises(error.NoEnginesRegistered):
            view().apply_async(abs, 1)


def test_what_a_view_shows(client):
    assert repr(client[0]) == "<DirectView 0>"
    assert repr(client[:]) == "<DirectView [0, 1]>"
    assert repr(client.direct_view(label="x")) == "<DirectView all, label='x'>"
    assert [len(client[0]), len(client[:]), len(client.direct_view())] == [1, 2, 2]
    assert client[:]
    assert repr(redtask.DirectView(client, Flags())) == "<DirectView all>"


def test_what_a_view_of_the_other_face_shows_before_engines_are_looked_up():
    rc = aio.Client("redis://127.0.0.1:1")

    assert repr(rc[0]) == "<DirectView 0>"
    assert repr(rc[1:]) == "<DirectView slice(1, None, None)>"
    assert repr(rc[[0, 1]]) == "<DirectView [0, 1]>"
    assert repr(rc.direct_view(None)) == "<DirectView slice(None, None, None)>"
    with pytest.raises(TypeError, match=r"await view\.push\(\{'a': \.\.\.\}\)"):
        rc[0]["a"] = 1
    assert Row.of(Row.of(3)) == Row.of(3)


# -- flags


def test_flags_are_those_of_other_views(place, dv):
    result = dv.with_flags(label="x", priority=3).apply_async(tasks.double, 1)
    with dv.temp_flags(label="y"):
        other = dv.apply_async(tasks.double, 1)
    mapped = dv.map_async(tasks.double, [1, 2], label="z")
    for one in (result, other, mapped):
        one.wait()

    labels = [
        place.record(one)["label"]
        for one in (*result.msg_ids, *other.msg_ids, *mapped.msg_ids)
    ]
    assert labels == ["x", "x", "y", "y", "z", "z"]
    assert dv.label is None


def test_a_retry_is_on_the_same_engine(place, rc):
    result = rc[0].with_flags(retries=2).apply_async(tasks.fail)

    with pytest.raises(error.RemoteError):
        result.get(DEADLINE)

    (task_id,) = result.msg_ids
    assert place.record(task_id)["engine"].partition("/")[0] == "0"
    assert place.record(task_id)["token"].partition(":")[0] == "3"


@pytest.mark.parametrize("flags", [{"follow": "c-1"}, {"retry_elsewhere": True}])
def test_flags_that_choose_engines_are_refused(dv, flags):
    with pytest.raises(ValueError, match=r"its targets say where"):
        dv.with_flags(**flags)
    with pytest.raises(KeyError, match="no such flag"):
        dv.set_flags(nothing=1)
    dv.with_flags(follow=None, retry_elsewhere=False)


def test_its_engines_are_a_flag_as_well(rc, dv):
    one = dv.with_flags(targets=0)
    assert values(one.apply_async(abs, -1)) == 1

    dv.targets = [1]

    assert values(dv.apply_async(abs, -1)) == [1]
    with dv.temp_flags(targets=0):
        assert values(dv.apply_async(abs, -1)) == 1


def test_calls_wait_for_others(view, gate, dv):
    first = view.apply_async(tasks.pass_gate, gate)

    after = dv.with_flags(after=first).apply_async(tasks.double, 1)
    by_ref = dv.apply_async(lambda x: x is not None, Ref(first))

    assert not after.wait(0)
    gate.touch()
    assert values(after) == [2, 2]
    assert len(values(by_ref)) == 2


def test_calls_of_a_batch_are_sent_with_it(client):
    dv = client[:]

    with dv.batch():
        result = dv.apply_async(tasks.double, 2)
        before = dv.push({"kept": 5}, block=False)

    assert [result.get(DEADLINE), before.get(DEADLINE)] == [[4, 4], [None, None]]
    assert set(dv.history) == {*result.msg_ids, *before.msg_ids}


def test_calls_on_very_many_engines_enter_together(place, client):
    dv = client[[0, 1] * 100]

    result = dv.apply_async(tasks.double, 1)

    assert result.get(DEADLINE) == [2] * 200
    assert len(dv.history) == 200


def test_an_engine_gets_its_calls_by_a_queue_that_it_serves(place, face):
    rc = place.client(face)
    place.engine(queues=("other", "another"))
    place.engine(queues=("another", "default"))

    result = rc[:].apply_async(tasks.double, 1)

    assert values(result) == [2, 2]


def test_calls_come_in_the_order_of_submission(place, client, tmp_path):
    log, gate = tmp_path / "log", tmp_path / "gate"
    one = client[0]

    def note(path, what):
        with path.open("a") as file:
            file.write(what)

    one.apply_async(tasks.pass_gate, gate)
    results = [one.apply_async(note, log, str(number)) for number in range(9)]
    gate.touch()
    client.wait(results)

    assert log.read_text() == "012345678"


# -- engines that are gone


def test_an_engine_that_is_gone_makes_its_call_impossible(place, face):
    rc = place.client(face)
    place.engine()
    leaving = place.engine()
    dv = rc[:]
    values(dv.apply_async(abs, -1))

    leaving.stop()

    result = dv.apply_async(tasks.double, 1)
    found = result.get(DEADLINE, return_exceptions=True)
    assert found[0] == 2
    assert isinstance(found[1], error.ImpossibleDependency)
    with pytest.raises(error.CompositeError, match="targets 1 are gone"):
        dv.apply_async(tasks.double, 1).get(DEADLINE)
    with pytest.raises(IndexError, match="no such engine: 1"):
        rc[1].apply_async(abs, 1)


def test_what_waits_for_an_engine_that_leaves_is_impossible(place, client):
    leaving = place.engine(want=0)
    waiting = client[leaving.id].apply_async(tasks.double, 1)
    assert not waiting.wait(0)

    leaving.stop()

    with pytest.raises(error.ImpossibleDependency, match="targets 2 are gone"):
        waiting.get(DEADLINE)


# -- map


def test_a_map_gives_each_engine_a_part(rc, dv):
    result = dv.map_async(lambda x: x * x, range(7))

    assert values(result) == [0, 1, 4, 9, 16, 25, 36]
    assert len(result.msg_ids) == 2
    assert [about.engine_id for about in result.metadata] == [0, 1]
    assert list(dv.map_async(tasks.double, range(5))) == [0, 2, 4, 6, 8]
    assert values(rc[0].map_async(tasks.double, range(3))) == [0, 2, 4]


def test_a_map_of_little_needs_not_all_engines(dv):
    assert len(dv.map_async(tasks.double, [1]).msg_ids) == 1
    assert values(dv.map_async(tasks.double, [])) == []
    assert values(dv.map_async(tasks.add, [1, 2, 3], (n for n in (1, 2)))) == [2, 4]


def test_an_error_in_a_map_is_one_of_its_part(dv):
    with pytest.raises(error.CompositeError, match="ZeroDivisionError"):
        dv.map_async(lambda x: 1 / x, [1, 2, 0, 4]).get(DEADLINE)

    result = dv.map_async(lambda x: 1 / x, [1, 2, 0, 4], return_exceptions=True)
    assert values(result)[:2] == [1, 0.5]


def test_a_map_cannot_be_asked_for_chunks(dv):
    with pytest.raises(TypeError, match="chunksize"):
        dv.map_async(tasks.double, [1], chunksize=2)
    with pytest.raises(TypeError, match="block"):
        dv.map_async(tasks.double, [1], block=True)
    with pytest.raises(TypeError, match="at least one sequence"):
        dv.map_async(tasks.double)
    with pytest.raises(TypeError, match="must be callable"):
        dv.map_async(5, [1])
    assert not dv.history


def test_views_that_block_return_values(client):
    dv = client.direct_view(block=True)

    assert dv.apply(tasks.double, 2) == [4, 4]
    assert dv.map(tasks.double, [1, 2]) == [2, 4]
    assert dv.push({"kept": 1}) == [None, None]
    assert dv.pull("kept") == [1, 1]
    assert dv.clear() is None
    assert isinstance(dv.pull("1", block=False), redtask.AsyncResult)
    client.block = True
    assert client[0].apply(tasks.double, 1) == 2
    assert client[0].apply_sync(tasks.double, 2) == 4
    assert [view.block for view in client] == [True, True]
    assert list(dv.imap(tasks.double, range(3))) == [0, 2, 4]
    assert dv.map_sync(tasks.double, range(3)) == [0, 2, 4]


def test_a_decorated_function_runs_on_each_engine(client):
    dv = client[:]

    @dv.remote(block=True)
    def twice(x):
        return 2 * x

    @dv.parallel(block=True)
    def doubled(part):
        return [2 * x for x in part]

    @dv.parallel(dist="r", block=True)
    def striped(part):
        return [2 * x for x in part]

    @redtask.parallel(dv, block=True)
    def one(x):
        return 2 * x

    assert twice(2) == [4, 4]
    assert doubled(range(5)) == striped(range(5)) == [0, 2, 4, 6, 8]
    assert one.map(range(3)) == [0, 2, 4]
    assert len(dv.history) == 8
    chunked = dv.parallel(chunksize=2)(tasks.double)
    with pytest.raises(TypeError, match="there is no chunksize"):
        chunked([1])


# -- names


def test_what_is_pushed_stays_with_its_engine(rc, dv):
    in_both(dv, "push", {"kept": 1, "other": "x"})
    in_both(rc[0], "push", {"kept": 2})

    assert in_both(dv, "pull", "kept") == [2, 1]
    assert in_both(rc[1], "pull", ["kept", "other"]) == [1, "x"]
    assert dv["kept"] == [2, 1]
    assert rc[0].get("kept + 1") == 3
    assert in_both(dv, "pull", "kept", targets=1) == 1
    in_both(dv, "push", {"kept": 7}, targets=[0])
    assert dv["kept"] == [7, 1]


def test_names_can_be_assigned(client):
    dv = client[:]

    dv["kept"] = 1
    dv.update({"other": [2]})

    assert dv[["kept", "other"]] == [[1, [2]], [1, [2]]]


def test_names_are_cleared(rc, dv):
    in_both(dv, "push", {"kept": 1})

    assert in_both(rc[0], "clear") is None

    with pytest.raises(error.RemoteError, match="name 'kept' is not defined"):
        rc[0].get("kept")
    assert rc[1].get("kept") == 1
    assert in_both(rc, "clear") is None
    with pytest.raises(error.CompositeError, match="name 'kept' is not defined"):
        dv.get("kept")
    in_both(rc, "clear", 0)


@pytest.mark.parametrize(
    ("verb", "args", "kind", "words"),
    [
        ("push", ([1],), TypeError, "a dict of names and values, not list"),
        ("push", ({1: 2},), TypeError, "must be a string, not int"),
        ("push", ({"a b": 2},), ValueError, "not a name: 'a b'"),
        ("push", ({"a": 1, "b": sys._getframe()},), TypeError, "argument b: cannot"),
        ("pull", (1,), TypeError, "must be a string, not int"),
        ("pull", (["a", 1],), TypeError, "must be a string, not int"),
        ("pull", ("a b",), ValueError, "not a name, nor an expression: 'a b'"),
        ("scatter", ("a.b", []), ValueError, "not a name"),
        ("scatter", ("a", 5), TypeError, "not iterable"),
        ("scatter", ("a", [], "x"), ValueError, "dist must be"),
        ("gather", ("a", "x"), ValueError, "dist must be"),
        ("execute", ("1 +",), SyntaxError, "invalid syntax"),
        ("execute", (5,), TypeError, "must be a string, not int"),
        ("run", ("/nothing/there",), FileNotFoundError, "nothing"),
        ("push", ({"a": 1}, [5]), IndexError, "no such"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(dv, verb, args, kind, words):
    with pytest.raises(kind, match=words):
        getattr(dv, verb)(*args)

    assert not dv.history


def test_a_sequence_is_scattered_and_gathered(rc, dv):
    for given, dist, parts in (
        (range(5), "b", [range(3), range(3, 5)]),
        ([1, 2, 3], "b", [[1, 2], [3]]),
        ([1, 2, 3], "r", [[1, 3], [2]]),
        ([1], "b", [[1], []]),
        ((n for n in (1, 2)), "b", [[1], [2]]),
    ):
        listed = list(given) if isinstance(given, (list, range)) else [1, 2]
        in_both(dv, "scatter", "kept", given, dist)

        assert dv["kept"] == parts
        assert in_both(dv, "gather", "kept", dist) == listed
        assert list(dv.gather("kept", dist, block=False)) == listed


def test_single_items_can_be_scattered_as_they_are(rc, dv):
    in_both(dv, "scatter", "kept", [5, "six"], flatten=True)

    assert dv["kept"] == [5, "six"]
    assert in_both(dv, "gather", "kept") == [5, "six"]
    assert list(dv.gather("kept", block=False)) == [5, "six"]
    assert in_both(rc[0], "scatter", "kept", [1, 2]) == [None]
    assert rc[0]["kept"] == [1, 2]
    assert in_both(rc[0], "gather", "kept") == [1, 2]


def test_arrays_are_scattered_by_their_rows(dv):
    numpy = pytest.importorskip("numpy")
    whole = numpy.arange(10).reshape(5, 2)

    for dist in "br":
        in_both(dv, "scatter", "kept", whole, dist)
        assert numpy.array_equal(in_both(dv, "gather", "kept", dist), whole)


def test_code_is_executed_with_the_names(dv):
    in_both(dv, "push", {"kept": 2})

    done = in_both(dv, "execute", "def f(x):\n    return x + kept")

    assert "finished" in repr(done)
    assert dv["f(2)"] == [4, 4]
    assert values(in_both(dv, "execute", "y = 1\nf(y)", silent=False)) == [3, 3]
    assert values(in_both(dv, "execute", "y = 1", silent=False)) == [None, None]
    in_both(dv, "execute", "\n    y = 5\n    z = y\n    ")
    assert dv["z"] == [5, 5]
    with pytest.raises(error.RemoteError, match="ZeroDivisionError") as caught:
        in_both(dv, "execute", "y = 0\n1 / y", targets=0)
    assert ", line 2, in <module>\n    1 / y\n" in caught.value.traceback


def test_code_may_await_at_its_top(dv):
    code = (
        "import asyncio\nawait asyncio.sleep(0)\nkept = 1\nasyncio.sleep(0, kept + 1)"
    )

    assert values(in_both(dv, "execute", code, silent=False)) == [2, 2]
    assert dv["kept"] == [1, 1]


def test_a_file_is_run(rc, tmp_path):
    file = tmp_path / "here.py"
    file.write_text("kept = 3\nassert kept == 4, 'no four'\n")

    with pytest.raises(error.RemoteError) as caught:
        in_both(rc[0], "run", file)

    assert f'File "{file}", line 2' in caught.value.traceback
    assert rc[0]["kept"] == 3


def test_values_may_be_references_and_results(view, dv):
    first = view.apply_async(tasks.double, 4)

    in_both(dv, "push", {"kept": Ref(first)})
    in_both(dv, "push", {"other": Reference("kept")})

    assert dv["other"] == [8, 8]
    assert values(dv.apply_async(tasks.double, Reference("other"))) == [16, 16]


def test_a_name_can_be_called(view, dv):
    in_both(dv, "execute", "def f(x): return x * 3")

    assert values(dv.apply_async(Reference("f"), 2)) == [6, 6]
    assert values(dv.map_async(Reference("f"), range(3))) == [0, 3, 6]
    assert values(view.apply_async(Reference("f"), 2)) == 6
    assert values(view.map_async(Reference("f"), range(3))) == [0, 3, 6]
    with pytest.raises(error.CompositeError, match="name 'nothing' is not defined"):
        dv.apply_async(Reference("nothing"), 2).get(DEADLINE)


def test_load_balanced_tasks_see_the_names(view, dv):
    in_both(dv, "push", {"theirs": 5})

    assert values(view.apply_async(lambda: theirs)) == 5
    assert values(view.apply_async(tasks.double, Reference("theirs"))) == 10
    assert values(view.map_async(lambda x: x + theirs, range(3))) == [5, 6, 7]


def test_a_function_leaves_its_global_names_to_the_next(view, dv, script):
    @script
    def load():
        global kept  # noqa: PLW0603 - as scripts do
        kept = [1, 2]

        def more():
            global theirs  # noqa: PLW0603
            theirs = 3

        more()

    assert values(dv.apply_async(load)) == [None, None]

    assert dv["kept, theirs"] == [([1, 2], 3)] * 2
    assert values(view.apply_async(lambda: len(kept))) == 2
    dv.apply_async(load).get(DEADLINE)


def test_a_load_balanced_function_keeps_its_global_names(rc, view, dv):
    def load():
        global kept  # noqa: PLW0603 - as scripts do
        kept = [1, 2]

    values(view.with_flags(targets=0).apply_async(load))

    with pytest.raises(error.RemoteError, match="name 'kept' is not defined"):
        rc[0].get("kept")


def test_a_coroutine_function_sees_the_names(dv, script):
    in_both(dv, "push", {"theirs": 5})
    sleep = asyncio.sleep

    @script
    async def soon():
        global kept  # noqa: PLW0603
        await sleep(0)
        kept = theirs + 1
        return theirs

    assert values(dv.apply_async(soon)) == [5, 5]
    assert dv["kept"] == [6, 6]
    in_both(dv, "clear")
    with pytest.raises(error.CompositeError, match="name 'theirs' is not defined"):
        dv.apply_async(soon).get(DEADLINE)


def test_names_of_the_engine_come_before_what_a_script_brings_along(view, dv, script):
    for one in (added, halved):
        script(one)
    namesake, looked = [3], script(look)
    in_both(dv, "scatter", "FACTOR", [1, 2])
    in_both(dv, "push", {"added": 6, "namesake": 5})

    assert values(dv.apply_async(looked)) == [([1], 6, 2), ([2], 6, 2)]
    assert values(dv.map_async(script(lambda x: x * FACTOR[0]), [1, 1])) == [1, 2]
    assert values(dv.apply_async(script(lambda: namesake))) == [[3], [3]]
    found = values(view.apply_async(looked))
    assert (found[0], callable(found[1]), found[2]) == ([7, 8, 9], True, 6)


def test_functions_of_a_script_assign_the_names_of_the_engine(view, dv, script):
    @script
    def bump(step):
        global kept  # noqa: PLW0603 - as scripts do
        kept += step

    @script
    def both():
        bump(1)
        return kept

    in_both(dv, "push", {"kept": 0, "bump": bump})
    values(dv.apply_async(bump, 1))
    values(dv.apply_async(Reference("bump"), 1))
    in_both(dv, "execute", "kept += 1\nbump(1)")

    assert values(dv.apply_async(both)) == [5, 5]
    assert dv["kept"] == [5, 5]
    values(view.with_flags(targets=0).apply_async(bump, 1))
    assert dv["kept"] == [5, 5]


def test_what_a_modules_function_means_is_of_that_module(dv):
    in_both(dv, "push", {"FACTOR": 5})

    assert values(dv.apply_async(lambda: FACTOR)) == [[7, 8, 9]] * 2


def test_names_come_first_however_the_function_is_wrapped(dv, script):
    in_both(dv, "scatter", "FACTOR", [1, 2])

    @redtask.require("json")
    @redtask.depend(lambda: True)
    @script
    def look(more=0):
        return json.dumps(FACTOR), more  # type: ignore[name-defined] # noqa: F821

    assert values(dv.apply_async(look)) == [("[1]", 0), ("[2]", 0)]
    bound = functools.partial(look, more=3)
    assert values(dv.apply_async(bound)) == [("[1]", 3), ("[2]", 3)]


def test_a_function_that_cannot_be_sent_names_the_variable_to_blame(dv, script):
    frame = sys._getframe()

    @script
    def look():
        return frame, theirs

    with pytest.raises(TypeError, match=r"the function look \(frame\): cannot pickle"):
        dv.apply_async(look)


def test_what_engines_have_is_sent_along_all_the_same(place, rc, dv, script):
    """The push may fail, and somebody else may clear the names."""
    factor, looked = script(lambda: FACTOR), script(look)
    script(halved)
    script.scope["added"] = None
    dv.with_flags(delay=1000).apply_async(namespace.push, FACTOR=1)

    assert values(dv.apply_async(factor)) == [[7, 8, 9]] * 2
    in_both(dv, "scatter", "FACTOR", FACTOR)
    assert values(dv.apply_async(looked)) == [([7, 8], None, 4), ([9], None, 2)]
    in_both(rc[0], "clear")
    assert values(rc[0].apply_async(looked)) == ([7, 8, 9], None, 6)
    assert values(rc[1].apply_async(factor)) == [9]


def test_a_task_may_run_again_after_a_name_has_changed(rc):
    one = rc[0]
    in_both(one, "push", {"kept": 1})
    result = one.apply_async(tasks.double, Reference("kept"))
    assert values(result) == 2
    in_both(one, "push", {"kept": 5})

    again = rc.resubmit(result)

    assert values(again) == [10]


# -- modules


def test_engines_import_what_a_block_imports(client, capsys):
    dv = client[:]

    with dv.sync_imports():
        import json as js  # noqa: PLC0415
        import os.path  # noqa: PLC0415
        from urllib import parse  # noqa: PLC0415

    told = dv["js.dumps(1), os.path.sep, parse.quote(' ')"]
    assert told == [("1", "/", "%20")] * 2
    assert (js, os.sep, parse.quote("a")) == (sys.modules["json"], "/", "a")
    assert capsys.readouterr().out.splitlines() == [
        "importing json on engine(s)",
        "importing os.path on engine(s)",
        "importing parse from urllib on engine(s)",
    ]


def test_engines_alone_import(client, capsys):
    one = client[0]

    with one.sync_imports(local=False, quiet=True):
        import colorsys as colours  # noqa: F401, PLC0415
        import wave  # noqa: F401, PLC0415
        from urllib import parse as parsing  # noqa: F401, PLC0415

    assert one["wave.__name__, parsing.__name__"] == ("wave", "urllib.parse")
    assert one["colours.__name__"] == "colorsys"
    assert not capsys.readouterr().out


def test_an_import_that_fails_there_is_told(client):
    with (
        pytest.raises(error.CompositeError, match="No module named 'not_there'"),
        client[:].sync_imports(local=False, quiet=True),
    ):
        import not_there  # type: ignore[import-not-found] # noqa: PLC0415

    before = __import__
    with pytest.raises(ImportError), client[:].importer:
        import not_there  # noqa: F401, PLC0415
    assert __import__ is before


def test_calls_of_an_event_loop_give_values(place):
    place.client()
    place.engine()

    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            dv = rc[:]
            await dv.update({"kept": 2})
            made = [await dv.apply(tasks.double, Reference("kept")), await dv["kept"]]
            with pytest.raises(TypeError, match="block"):
                await dv.map_async(tasks.double, [1], block=True)
            mapped = await dv.map(tasks.double, range(3))
            parts = await dv.parallel()(list)([1, 2])
            return [*made, mapped, parts, await dv.remote()(abs)(-1), dv.targets]

    assert asyncio.run(main()) == [[4], [2], [0, 2, 4], [1, 2], [1], [0]]


def test_engines_import_in_an_event_loop(place):
    place.client()
    place.engine()

    async def main():
        async with aio.Client(place.url, key=place.key) as rc:
            async with rc[:].sync_imports(quiet=True):
                import json  # noqa: F401, PLC0415
            async with rc[:].importer:
                pass
            values = [value async for value in rc[:].imap(tasks.double, range(3))]
            engines = [view.targets async for view in rc]
            return await rc[0]["json.dumps(1)"], values, engines

    assert asyncio.run(main()) == ("1", [0, 2, 4], [0])


# -- what is absent


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("executor", r"rc\.executor"),
        ("register_joblib_backend", r"redtask\.register_joblib_backend\(\)"),
        ("nothing", "'nothing'$"),
    ],
)
def test_what_a_direct_view_does_not_have(client, name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(client[:], name)


def test_a_view_of_the_other_face_says_what_to_await(place):
    dv = place.client("aio").direct_view()

    assert isinstance(dv, Blocking)
    with pytest.raises(AttributeError, match="await view"):
        _ = dv.apply_sync
