"""Functional dependencies: what is asked where, and what a function finds there."""

import functools
import inspect
import math
import os.path
import pickle
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from redtask import payload
from redtask.error import UnmetDependency
from redtask.functional import MissingModule, depend, dependent, require
from tests import tasks
from tests.prompt import typed


def answer(value=None, **more):
    return value if not more else more["value"]


def refuse():
    raise UnmetDependency("not on a Sunday")


@depend(answer, True)
def doubled(x):
    """Return twice as much."""
    return 2 * x


@require("math")
def rooted(x):
    return math.sqrt(x)


def travel(function):
    """Return what an engine makes of a function."""
    found: Any
    found, _ = payload.unpack_function(payload.pack_function(function).blob)
    return found


def test_a_dependent_shows_what_it_is_made_of():
    made = dependent(tasks.double, answer, 1, value=2)

    assert (made.f, made.df) == (tasks.double, answer)
    assert (made.dargs, made.dkwargs) == ((1,), {"value": 2})
    assert made.__name__ == "double"
    assert made.__doc__ == "Return twice as much."
    assert list(inspect.signature(made).parameters) == ["x"]
    assert repr(made) == "<dependent double>"


def test_what_has_no_name_is_called_f():
    assert dependent(functools.partial(tasks.double, 1), answer).__name__ == "f"


@pytest.mark.parametrize("value", [None, 0, "", [], True, 1])
def test_only_false_itself_is_a_no(value):
    assert dependent(tasks.double, answer, value)(2) == 4


def test_false_is_a_no_that_names_who_said_it():
    unmet = dependent(tasks.double, answer, value=False)

    with pytest.raises(UnmetDependency, match="answer returned False"):
        unmet(2)
    with pytest.raises(UnmetDependency):
        unmet.check_dependency()


@pytest.mark.parametrize("name", ["bool", "bool_"])
@pytest.mark.parametrize("value", [True, False])
def test_the_false_of_numpy_is_a_no(name, value):
    about = {"__module__": "numpy", "__bool__": lambda _: value}
    answer = type(name, (), about)()

    if value:
        assert depend(lambda: answer)(tasks.double)(2) == 4
    else:
        with pytest.raises(UnmetDependency, match="returned False"):
            depend(lambda: answer)(tasks.double)(2)


def test_a_predicate_may_say_why_not():
    with pytest.raises(UnmetDependency, match="Sunday"):
        depend(refuse)(tasks.double)(2)


async def never():
    return False


def test_outside_of_an_engine_a_predicate_that_is_a_coroutine_function_is_refused():
    with pytest.raises(TypeError, match="never returned a coroutine, which only an en"):
        depend(never)(len)("abc")


def test_any_other_error_of_a_predicate_is_its_own():
    with pytest.raises(ValueError, match="no 1"):
        depend(tasks.fail, 1)(tasks.double)(2)


@pytest.mark.parametrize(
    "make",
    [
        depend,
        lambda wrong: dependent(wrong, answer),
        lambda wrong: dependent(answer, wrong),
        depend(answer),
        require("math"),
    ],
)
@pytest.mark.parametrize("wrong", [5, None, "answer"])
def test_what_cannot_be_called_is_refused(make, wrong):
    with pytest.raises(TypeError, match="must be callable, not"):
        make(wrong)


@pytest.mark.parametrize("thing", [5, None, [math], functools.partial(tasks.double)])
def test_require_refuses_what_it_could_not_name(thing):
    with pytest.raises(TypeError, match="other objects by keyword"):
        require(thing)


@pytest.mark.parametrize("name", ["", "os path", ".os", lambda: 1])
def test_require_refuses_names_that_no_function_could_use(name):
    with pytest.raises(TypeError, match="not a name that a function could use"):
        require(name)


def test_what_is_required_is_global_to_the_function():
    source = """
    def f(x):
        return os.path.basename(x), math.floor(2.5), double(3), Path, factor
    """
    f = typed(source)
    needed = require("os.path", math, tasks.double, Path, factor=7)(f)

    assert needed("a/b") == ("b", 2, 6, Path, 7)


def test_it_is_so_on_an_engine_too_and_only_for_that_function():
    f = typed("def f(x): return double(x) + factor + math.floor(0.5)")
    needed = require(math, tasks.double, factor=7)(f)

    arrived = travel(needed)

    assert arrived.ready()(2) == 11
    assert "factor" not in f.__globals__
    assert arrived.f.__globals__ is not f.__globals__


@pytest.mark.parametrize(
    "wrap",
    [
        functools.partial,
        lambda f: functools.wraps(f)(lambda: f(1)),
        lambda f: types.MethodType(f, 1),
        lambda f: type("Called", (), {"__call__": f})(),
    ],
)
def test_what_is_required_reaches_a_function_that_is_wrapped(wrap):
    f = typed("def f(*_): return factor")

    assert require(factor=7)(wrap(f))() == 7


@pytest.fixture
def library(monkeypatch):
    """A module that is imported on engines as well."""
    module: Any = types.ModuleType("library")
    source = """
    factor = 100
    count = 0
    def with_five(x):
        return factor * x
    def outer(x):
        return inner(x) + factor
    def plain(x):
        return factor * x
    def counted():
        global count
        count += added
        return count
    """
    exec(textwrap.dedent(source), module.__dict__)  # noqa: S102 - as an import does
    monkeypatch.setitem(sys.modules, "library", module)
    return module


def test_what_is_required_is_nothing_to_others_of_the_module(library):
    library.inner = require(factor=5)(library.with_five)
    needed = require(factor=3)(library.outer)

    assert (needed(1), needed.ready()(1)) == (8, 8)
    assert (library.plain(1), library.factor) == (100, 100)


def test_what_the_module_does_not_have_is_added_to_it(library):
    needed = require(added=2)(library.counted)

    assert [needed(), needed()] == [2, 4]
    assert library.count == 4


def test_what_has_no_globals_can_be_dependent():
    assert require("math")(len)([1]) == 1


def test_a_module_that_is_missing_is_named():
    needed = require("math", "no_such_module.at_all")(tasks.double)

    with pytest.raises(UnmetDependency, match=r"^no_such_module\.at_all: No module"):
        needed(1)
    with pytest.raises(MissingModule, match=r"^os\.path\.join: "):
        require("os.path.join")(tasks.double)(1)


def test_a_module_that_fails_when_it_is_imported_fails_the_task(tmp_path, monkeypatch):
    (tmp_path / "module_that_fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ZeroDivisionError):
        require("module_that_fails")(tasks.double)(1)


@pytest.fixture
def here_only(tmp_path, monkeypatch):
    """A module that this process has, until it is forgotten."""
    (tmp_path / "here_only.py").write_text("def three(): return 3")
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("here_only")

    def forget():
        monkeypatch.undo()
        sys.modules.pop("here_only", None)

    yield types.SimpleNamespace(module=module, forget=forget)
    sys.modules.pop("here_only", None)


def test_a_function_is_not_opened_where_its_module_is_missing(here_only):
    f = typed("def f(): return here_only.three()")
    f.__globals__["here_only"] = here_only.module
    needed = require(here_only.module)(depend(f)(f))
    blob = payload.pack_function(needed).blob
    here_only.forget()

    arrived: Any
    arrived, keep = payload.unpack_function(blob)

    assert not keep
    with pytest.raises(UnmetDependency, match="here_only"):
        arrived.ready()


def test_what_comes_along_is_not_opened_either(here_only):
    needed = require(here_only.module, here_only.module.three)(tasks.double)
    blob = payload.pack_function(needed).blob
    here_only.forget()

    arrived: Any
    arrived, _ = payload.unpack_function(blob)

    with pytest.raises(UnmetDependency, match="here_only"):
        arrived.ready()


def test_dependencies_nest_and_the_outer_one_is_asked_first():
    asked = []
    inner = depend(lambda: asked.append("inner"))(tasks.double)
    outer = require("math")(depend(lambda: asked.append("outer"))(inner))

    assert outer(2) == 4
    assert asked == ["outer", "inner"]


def test_a_predicate_finds_what_is_required_outside_of_it():
    predicate = typed("def f(): return factor == 7 and math.floor(1.5) == 1")
    function = typed("def f(): return factor, more")
    needed = require("math", factor=7)(depend(predicate)(require(more=8)(function)))

    assert needed() == (7, 8)
    assert travel(needed).ready()() == (7, 8)


def test_what_is_required_inside_counts_more():
    function = typed("def f(): return n")

    assert require(n=1)(require(n=2)(function))() == 2


def test_a_decorated_function_of_a_module_travels_by_its_name():
    packed = payload.pack_function(doubled)

    assert packed.blob[:1] == b"n"
    assert packed.name == "doubled"
    found = pickle.loads(pickle.dumps(doubled))
    assert found is doubled


@pytest.mark.parametrize(
    "make",
    [
        lambda: depend(answer, True)(tasks.double),
        lambda: depend(lambda value: value, value=True)(lambda x: 2 * x),
        lambda: depend(answer)(typed("n = 2\ndef f(x): return n * x")),
        lambda: depend(answer)(functools.partial(tasks.add, y=2)),
        lambda: require("math")(doubled),
        lambda: require(os.path)(depend(answer)(doubled)),
    ],
)
def test_whatever_is_decorated_arrives(make):
    made = make()
    packed = payload.pack_function(made)
    arrived: Any
    arrived, keep = payload.unpack_function(packed.blob)

    assert packed.blob[:1] == b"v"
    assert not keep
    assert arrived.ready()(2) == 4
    assert arrived(2) == 4
    assert (arrived.__name__, arrived.dargs) == (made.__name__, made.dargs)


def test_what_arrived_can_travel_on_unopened(here_only):
    needed = require(here_only.module)(here_only.module.three)
    data = cloudpickle.dumps(needed)
    here_only.forget()

    again = cloudpickle.dumps(pickle.loads(data))

    with pytest.raises(UnmetDependency):
        pickle.loads(again)()


def test_a_recursive_function_travels():
    f = typed("def f(n): return 1 if n == 0 else n * f(n - 1)")
    made = depend(answer)(f)
    f.__globals__["f"] = made

    assert made(5) == 120
    assert travel(made)(5) == 120


def test_functions_that_call_each_other_travel():
    scope = typed(
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n > 0 and even(n - 1)
        """,
        "even",
    ).__globals__
    for name in ("even", "odd"):
        scope[name] = depend(answer)(scope[name])

    assert travel(scope["even"])(6)
    assert not travel(scope["odd"])(6)


def test_a_function_of_a_prompt_is_asked_by_its_own_globals():
    predicate = typed("limit = 3\ndef f(): return limit > 5")

    with pytest.raises(UnmetDependency):
        travel(depend(predicate)(tasks.double)).ready()


@pytest.mark.parametrize(
    ("decorator", "name"), [(depend, "depend"), (require, "require")]
)
def test_who_forgets_the_parentheses_is_told_when_the_function_is_called(
    decorator, name
):
    bare = decorator(tasks.double)

    for call in (lambda: bare(3), lambda: bare(3, 4), lambda: bare(x=3), bare):
        with pytest.raises(TypeError, match=rf"write @{name}\(\.\.\.\) with what"):
            call()
