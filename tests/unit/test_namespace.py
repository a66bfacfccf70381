"""What engines keep between tasks, and who sees it."""

import copy
import functools
import pickle
import statistics
import sys
from typing import TYPE_CHECKING, Any

import pytest

from redtask import namespace, payload
from redtask.engine.guard import Aborted
from redtask.namespace import Reference
from tests import tasks
from tests.workbench import Bench

if TYPE_CHECKING:
    # What engines know.
    a: Any = None
    counted: int = 0
    g: Any = None
    passing: Any = None
    theirs: Any = None


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    bench = Bench()
    token = namespace.enter(bench.runner.names)
    yield bench
    namespace.leave(token)


def given(bench):
    """Return the names that are not those of every module."""
    return {name for name in bench.runner.names if name[:2] != "__"}


def test_what_is_pushed_can_be_pulled_until_it_is_cleared(bench):
    bench.value(namespace.push, a=1, b=[2, 3])

    assert bench.value(namespace.pull, "a") == 1
    assert bench.value(namespace.pull, ["a", "b[0] + a"]) == [1, 3]
    bench.value(namespace.clear)
    problem, _ = bench.error(namespace.pull, "a")
    assert (problem.ename, problem.evalue) == ("NameError", "name 'a' is not defined")
    assert given(bench) == set()


def test_executed_code_has_the_names_as_its_globals(bench):
    bench.value(namespace.push, a=1)

    bench.value(namespace.execute, "def f(x): return x + a\nb = f(2)", "<execute>")

    assert bench.value(namespace.pull, "b, f(3)") == (3, 4)
    assert given(bench) == {"a", "f", "b"}
    problem, _ = bench.error(namespace.execute, "a\nnothing", "<execute>")
    assert 'File "<execute>", line 2' in problem.traceback
    assert "redtask" not in problem.traceback


def test_what_code_defines_may_call_what_imports(bench):
    code = "import time\ndef year(text): return time.strptime(text, '%Y').tm_year"
    bench.value(namespace.execute, code, "<execute>")

    assert bench.value(Reference("year"), "2020") == 2020


@pytest.mark.parametrize("clear", [True, False])
def test_nothing_is_lent_where_nobody_has_given_a_name(bench, monkeypatch, clear):
    if clear:
        bench.value(namespace.execute, "a: int = 1", "<execute>")
        bench.value(namespace.clear)
    monkeypatch.setattr(bench.runner, "_lending", None)

    assert bench.value(lambda: 5) == 5


def test_what_code_defines_travels_by_value(bench):
    bench.value(namespace.execute, "class A:\n    x = 5\na = A()", "<execute>")

    assert bench.value(namespace.pull, "a").x == 5
    assert bench.value(namespace.pull, "A")().x == 5


def test_a_reference_among_the_arguments_becomes_the_value(bench):
    bench.value(namespace.push, a=4)

    assert bench.value(tasks.double, Reference("a")) == 8
    assert bench.value(tasks.add, x=Reference("a"), y=Reference("a * 2")) == 12
    assert bench.value(lambda x: x, {"deep": [Reference("a")]}) == {"deep": [4]}
    assert bench.value(tasks.double, Reference("abs(-3)")) == 6


def test_a_reference_can_be_what_is_called(bench):
    bench.value(namespace.execute, "def f(x): return x * 3", "<execute>")

    assert bench.value(Reference("f"), 2) == 6
    assert bench.value(functools.partial(Reference("f"), 3)) == 9
    bench.value(namespace.execute, "def f(x): return x * 4", "<execute>")
    assert bench.value(Reference("f"), 2) == 8


def test_a_reference_that_a_function_brings_along_is_looked_up_at_each_call(bench):
    wanted = Reference("a")
    for value in (1, 2):
        bench.value(namespace.push, a=value)

        assert bench.value(lambda: wanted) == value


@pytest.mark.parametrize("names", [{}, {"b": 1}])
def test_a_reference_to_nothing_fails_the_task(bench, names):
    bench.value(namespace.push, **names)

    problem, _ = bench.error(tasks.double, Reference("a"))
    called, _ = bench.error(Reference("a"), 1)

    assert problem.evalue == called.evalue == "name 'a' is not defined"
    assert isinstance(problem.__cause__, NameError)


def test_a_reference_stays_one_where_no_engine_runs():
    one = Reference("a + 1")

    (args, _) = payload.unpack_call(bytes(payload.pack_call([one], {})))

    assert list(args) == [one]
    assert repr(one) == "Reference('a + 1')"
    assert len({one, Reference(" a + 1 "), pickle.loads(pickle.dumps(one))}) == 1
    with pytest.raises(RuntimeError, match="only engines have a namespace"):
        one()


def test_a_reference_is_copied_as_it_is(bench):
    one = Reference("a")

    assert copy.copy(one) is copy.deepcopy(one) is one


@pytest.mark.parametrize(
    ("wrong", "kind"), [(5, TypeError), ("a b", ValueError), ("", ValueError)]
)
def test_a_reference_is_to_an_expression(wrong, kind):
    with pytest.raises(kind, match=r"a name"):
        Reference(wrong)


def test_a_function_sees_the_names_that_it_does_not_bring_along(bench):
    mine = 1
    bench.value(namespace.push, theirs=10, abs=str, mine=2)

    assert bench.value(lambda: theirs) == 10
    assert bench.value(lambda: mine) == 1
    assert bench.value(lambda: abs(-1)) == "-1"
    assert bench.value(functools.partial(lambda x: x + theirs, 1)) == 11


def test_it_sees_them_as_they_are_at_each_call(bench):
    def look():
        return globals().get("seen")

    found = []
    for names in ({}, {"seen": 1}, {"seen": 2}):
        bench.value(namespace.push, **names)
        found.append(bench.value(look))
    bench.value(namespace.clear)
    found.append(bench.value(look))
    bench.value(namespace.push, another=3)
    found.append(bench.value(look))

    assert found == [None, 1, 2, None, None]


def test_what_a_direct_call_assigns_to_them_is_assigned_for_all(bench):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(  # noqa: S102
        "def count():\n    global counted, passing\n    counted += 1\n    del passing",
        scope,
    )
    bench.value(namespace.push, counted=1, passing=1)

    bench.value(scope["count"])

    # That of a load-balanced view leaves what others have pushed.
    assert bench.value(namespace.pull, "counted, passing") == (1, 1)
    bench.value(namespace.native(scope["count"]))
    assert bench.value(namespace.pull, "counted") == 2
    assert "passing" not in bench.runner.names


def test_a_function_that_engines_import_sees_only_its_module(bench, monkeypatch):
    bench.value(namespace.push, unheard_of=1)

    assert bench.value(tasks.double, 1) == 2
    assert not hasattr(tasks, "unheard_of")


def test_a_pushed_function_sees_them_as_well(bench):
    bench.value(namespace.push, theirs=10, g=lambda: theirs)

    assert bench.value(Reference("g")) == 10
    assert bench.value(namespace.pull, "g()") == 10
    assert bench.value(lambda: g() + 1) == 11


def test_names_are_taken_back_whatever_ends_the_call(bench):
    bench.value(namespace.push, a=1)

    bench.error(lambda: a / 0)

    (kept,) = [one for one in bench.runner._kept.values() if one.__name__ == "<lambda>"]
    assert "a" not in kept.__globals__


def test_an_interrupt_that_came_while_names_were_lent_is_not_lost(bench):
    bench.value(namespace.push, a=1)
    bench.guard.wanted = Aborted()
    work = bench.work(lambda: a)
    bench.runner.begin([work])
    lend = namespace.Loan.__init__

    def lend_slowly(loan, names, function):
        lend(loan, names, function)
        assert not bench.output.inside
        bench.guard.pending = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespace.Loan, "__init__", lend_slowly)
        kind, _ = bench.runner(work)

    assert kind == "aborted"


def test_an_engine_that_joins_anew_has_no_names(bench):
    bench.value(namespace.push, a=1)

    bench.runner.forget()

    assert given(bench) == set()


def test_modules_are_imported_into_the_namespace(bench):
    imports = [
        ("os", "os", ""),
        ("path", "os.path", ""),
        ("walk", "os", "walk"),
        ("parse", "urllib", "parse"),
        ("*", "stat", "*"),
    ]

    bench.value(namespace.bring, imports)

    told = bench.value(namespace.pull, "os.sep, path.sep, walk is os.walk, ST_MODE")
    assert told == ("/", "/", True, 0)
    assert bench.value(namespace.pull, "parse.quote(' ')") == "%20"
    problem, _ = bench.error(namespace.bring, [("x", "os", "nothing_like_it")])
    assert (problem.ename, "'nothing_like_it'" in problem.evalue) == (
        "ImportError",
        True,
    )


def test_outside_of_an_engine_there_is_no_namespace():
    with pytest.raises(RuntimeError, match="only engines"):
        namespace.push(a=1)


def test_a_class_in_a_result_brings_along_what_its_methods_use(bench):
    bench.value(namespace.push, weights=[4])
    scope: dict[str, Any] = {"weights": [1, 2], "__name__": "__main__"}
    exec(  # noqa: S102
        "class Model:\n    def run(self): return sum(weights)\n"
        "def make(): return Model()",
        scope,
    )

    model = bench.value(namespace.native(scope["make"]))

    assert model.run() in {3, 4}
    assert scope["Model"]().run() in {3, 4}


def test_what_a_script_brings_is_there_again_after_the_call(bench):
    bench.value(namespace.push, scale=3)
    scope: dict[str, Any] = {"scale": 2, "__name__": "__main__"}
    exec(  # noqa: S102
        "class Model:\n    def run(self): return scale\n"
        "def load():\n    global model\n    model = Model()",
        scope,
    )

    bench.value(namespace.native(scope["load"]))

    assert bench.value(namespace.pull, "model.run()") == 3
    bench.value(namespace.execute, "del scale", "<typed>")
    assert bench.value(namespace.pull, "model.run()") == 2


def test_a_function_that_wraps_that_of_a_library_is_lent_names(bench):
    scope: dict[str, Any] = {
        "factor": 3,
        "__name__": "__main__",
        "functools": functools,
    }
    exec(  # noqa: S102
        "def timed(f):\n    @functools.wraps(f)\n"
        "    def inner(*a): return f(*a) * factor\n    return inner",
        scope,
    )
    bench.value(namespace.push, factor=5)

    assert bench.value(namespace.native(scope["timed"](statistics.mean)), [2]) == 10


def test_what_another_assigns_during_a_call_is_not_lost(bench):
    code = "count = 0\ndef bump():\n    global count\n    count += 1"
    bench.value(namespace.execute, code, "<typed>")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(  # noqa: S102
        "def call():\n    global count\n    bump()\n    if count > 100: count = 0",
        scope,
    )

    bench.value(namespace.native(scope["call"]))

    assert bench.value(namespace.pull, "count") == 1


def test_executed_code_has_annotations_as_it_writes_them(bench):
    bench.value(namespace.execute, "def f(x: int): pass", "<typed>")

    assert bench.value(namespace.pull, "f.__annotations__") == {"x": int}


def made(code, **scope):
    """Return the names of a script that has executed this."""
    scope = {"__name__": "__main__", **scope}
    exec(code, scope)  # noqa: S102
    return scope


BUMP = "def bump():\n    global n\n    n += 1"


def direct(bench, function, *args, **kwargs):
    """Call a function as a direct view does."""
    return bench.value(namespace.native(function), *args, **kwargs)


def test_what_a_pushed_function_assigns_is_kept_however_it_is_called(bench):
    bench.value(namespace.push, n=0, bump=made(BUMP)["bump"])

    direct(bench, Reference("bump"))
    bench.value(Reference("bump"))
    bench.value(namespace.execute, "bump()", "<typed>")
    direct(bench, made("def call(): bump()")["call"])

    assert bench.value(namespace.pull, "n") == 4


def test_what_a_pushed_function_brings_along_comes_after_the_names(bench):
    script = made(
        f"import math\nn = 0\nlimits = [9]\n{BUMP} + math.ceil(len(limits) / 9)"
    )
    bench.value(namespace.push, bump=script["bump"])

    for _ in range(2):
        bench.value(namespace.execute, "bump()", "<typed>")

    assert bench.value(namespace.pull, "n") == 4


def test_what_a_helper_assigns_is_kept(bench):
    script = made(
        "flag = False\n"
        "def load():\n    global data, flag\n    data = [1, 2]\n    flag = False\n"
        "def main(): load()"
    )

    direct(bench, script["main"])

    assert bench.value(namespace.pull, "data, flag") == ([1, 2], False)


def test_what_a_method_assigns_is_kept(bench):
    script = made(
        "class Model:\n"
        "    def fit(self, x):\n        global fitted\n        fitted = known + x\n"
        "    def __call__(self):\n        global called\n        called = 1\n"
        "class Other:\n"
        "    @staticmethod\n    def set():\n        global other\n        other = 1"
    )
    bench.value(namespace.push, known=1)

    direct(bench, script["Model"]().fit, 2)
    direct(bench, script["Model"]())
    bench.value(namespace.push, model=script["Model"]())
    bench.value(namespace.push, Other=script["Other"])
    bench.value(namespace.execute, "Other.set()\nmodel.fit(called + fitted)", "<typed>")

    assert bench.value(namespace.pull, "fitted, called, other") == (5, 1, 1)


def test_what_a_function_assigns_by_its_globals_is_kept(bench):
    script = made(
        "helper = lambda: 1\n"
        "def give(name, value): globals()[name] = value\n"
        "def update(): globals().update(b=helper())\n"
        "def run(): exec('c = 3', globals())"
    )

    for names in ({}, {"known": 1}):
        bench.value(namespace.clear)
        bench.value(namespace.push, **names)
        direct(bench, script["give"], "a", 4)
        direct(bench, script["update"])
        direct(bench, script["run"])

        assert bench.value(namespace.pull, "a, b, c") == (4, 1, 3)


def test_functions_that_assign_the_same_name_see_each_others_values(bench):
    code = "n = 0\ndef add():\n    global n\n    n += 10"
    bench.value(namespace.execute, code, "<typed>")
    script = made(
        "import math\nn = 5\nSTEPS = {'one': [1]}\n"
        "def more():\n    global n\n    n += sum(STEPS['one'])\n"
        "def mixed(again=True):\n    add()\n    more()\n    add()\n"
        "    return math.floor(n) if again is False else mixed(again=False)"
    )
    bench.value(namespace.push, bump=made(BUMP)["bump"])

    assert direct(bench, script["mixed"]) == 42
    bench.value(namespace.execute, "n = 5\nbump()\nn += 1", "<typed>")
    assert bench.value(namespace.pull, "n") == 7


def test_helpers_that_come_along_assign_the_same_name_as_their_caller(bench):
    bench.value(namespace.push, n=0)
    script = made(
        f"{BUMP}\ndef main():\n    global n\n    bump()\n    n += 10\n    bump()"
    )

    direct(bench, script["main"])

    assert bench.value(namespace.pull, "n") == 12


def test_what_a_function_leaves_behind_keeps_what_it_brought_along(bench):
    script = made(
        "import math\n"
        "def setup():\n    global root, table\n    table = [9]\n"
        "    def root(at): return (lambda: math.sqrt(table[at]))()"
    )

    direct(bench, script["setup"])

    assert bench.value(namespace.pull, "root(0)") == 3
    bench.value(namespace.execute, "table[0] = 16", "<typed>")
    assert bench.value(namespace.pull, "root(0)") == 4


def test_a_coroutine_function_at_home_assigns_when_it_runs(bench):
    script = made("async def soon():\n    global n\n    n = n + 1\n    return n")
    bench.value(namespace.push, n=1)

    assert direct(bench, script["soon"]) == 2
    assert bench.value(namespace.pull, "n") == 2


def test_a_pushed_function_comes_back_with_what_it_brought_along(bench):
    script = made("import math\nSTEP = 4\ndef root(): return math.sqrt(STEP)")
    bench.value(namespace.push, root=script["root"])

    root = bench.value(namespace.pull, "root")

    assert (root(), bench.value(root)) == (2, 2)
    assert "abs" not in root.__globals__


def test_code_may_await_at_its_top(bench):
    code = (
        "import asyncio\nasync def two(): return 2\nasync with asyncio.Lock():\n"
        "    x = await two()\n[await two() for _ in range(x)]"
    )

    found = bench.value(namespace.execute, code, "<typed>", silent=False)

    assert found == [2, 2]
    assert bench.value(namespace.pull, "x") == 2
    assert bench.value(namespace.execute, "y = await two()", "<typed>") is None
    assert bench.value(namespace.execute, "y", "<typed>", silent=False) == 2
    problem, _ = bench.error(namespace.execute, "x = 0\nawait nothing()", "<typed>")
    assert 'File "<typed>", line 2' in problem.traceback
    assert "redtask" not in problem.traceback


def test_a_function_of_a_script_is_still_of_its_file(bench):
    script = made("def where(): return __file__, __name__", __file__="here.py")
    bench.runner.names["__file__"] = "there.py"

    assert direct(bench, script["where"]) == ("here.py", "__main__")


@pytest.mark.parametrize(
    "bound",
    [
        "x = []\nx.append(x)",
        "x = list(map(list, [()] * 200))",
        "x = {'f': lambda: 1}",
        "class A: pass\nx = A()",
        "x = lambda: [y for _ in range(1)]\ny = [0]",
    ],
)
def test_what_a_function_leaves_is_kept_whatever_it_brings_along(bench, bound):
    script = made(f"{bound}\ndef load():\n    global n\n    n, x\n    n += 1")
    bench.value(namespace.push, n=0)

    direct(bench, script["load"])
    direct(bench, script["load"])

    assert bench.value(namespace.pull, "n") == 2


def test_what_is_made_within_a_call_sees_what_the_function_brought_along(bench):
    code = "n = 0\ndef add():\n    global n\n    n += sum(len('a') for _ in range(10))"
    bench.value(namespace.execute, code, "<typed>")
    script = made(
        "import math\nK = [1, 2]\n"
        "def mixed():\n    global n, left\n    add()\n"
        "    n += sum(math.floor(k) for k in K)\n"
        "    left = lambda x: math.floor(x)\n    add()\n"
        "    return eval('math.ceil(n)')\n"
        "async def soon():\n    global n\n    n += sum(math.floor(k) for k in K)"
    )

    assert direct(bench, script["mixed"]) == 23
    assert bench.value(namespace.pull, "left(2.5), n") == (2, 23)
    problem, _ = bench.error(namespace.execute, "math", "<typed>")
    assert problem.ename == "NameError"
    direct(bench, script["soon"])
    assert bench.value(namespace.pull, "n") == 26


def test_what_a_function_with_a_copy_of_the_names_does_to_them_is_kept(bench):
    script = made(
        "class A: pass\nflag = False\n"
        "def load():\n    global flag, passing\n    A()\n    flag = False\n"
        "    del passing"
    )
    bench.value(namespace.push, passing=1, other=2)

    direct(bench, script["load"])

    assert given(bench) == {"other", "flag"}


def test_code_that_awaits_may_end_with_a_plain_expression(bench):
    code = "import asyncio\nawait asyncio.sleep(0)\n1 + 1"

    assert bench.value(namespace.execute, code, "<typed>", silent=False) == 2
