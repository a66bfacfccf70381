"""Functions, arguments, results and errors as bytes, and back."""

from __future__ import annotations

import functools
import math
import pickle
import signal
import sys
import threading
import types
from typing import Any
from unittest.mock import Mock

import cloudpickle
import pytest

from redtask import error, payload
from redtask.dependency import Ref, resolving
from redtask.error import RemoteError, SerializationError
from redtask.functional import by_value, depend, dependent, require
from redtask.rope import Rope
from tests import tasks
from tests.alarms import LateError, alarm


def round_trip(function, *args, **kwargs):
    found, _ = payload.unpack_function(payload.pack_function(function).blob)
    return payload.call(found, payload.pack_call(args, kwargs))


def in_main(source, name="f"):
    """Return a function as if it had been typed at a prompt."""
    module = types.ModuleType("__main__")
    exec(source, module.__dict__)  # noqa: S102 - as a prompt does
    return module.__dict__[name]


class Adder:
    def __init__(self, number):
        self.number = number

    def __call__(self, x):
        return x + self.number

    def method(self, x):
        return x * self.number


def test_an_importable_function_travels_by_its_name():
    packed = payload.pack_function(tasks.double)

    assert packed.blob == b"ntests.tasks:double"
    assert packed.name == "double"
    assert payload.unpack_function(packed.blob) == (tasks.double, True)


def test_a_name_alone_needs_no_function_here():
    packed = payload.pack_function("package.nowhere:some.function")

    assert packed.blob == b"npackage.nowhere:some.function"
    assert packed.name == "some.function"


@pytest.mark.parametrize("name", ["double", "a.b", "a:b:c", "a b:c", ":f", "a:", ""])
def test_a_string_that_names_no_function_is_refused(name):
    with pytest.raises(TypeError, match="not the name of a function"):
        payload.pack_function(name)


def test_a_lambda_travels_by_value():
    packed = payload.pack_function(lambda x: x + 1)

    assert packed.blob[:1] == b"v"
    assert packed.name == "<lambda>"
    assert round_trip(lambda x: x + 1, 2) == 3


def test_a_function_by_value_knows_its_file():
    function = round_trip(lambda: lambda: 0)

    assert function.__code__.co_filename == __file__
    assert function.__code__.co_name == "<lambda>"


def test_a_closure_brings_its_cells():
    number = 5

    assert round_trip(lambda x: x + number, 2) == 7


def test_a_function_of_the_prompt_brings_its_globals():
    assert round_trip(in_main("n = 3\ndef f(x): return x * n"), 2) == 6


@pytest.fixture
def script(monkeypatch):
    """The script of the program, as children of multiprocessing know it."""
    module = types.ModuleType("__mp_main__")
    source = "class Point: x = 2\ndef f(x): return n * x.x\nn = 3"
    exec(source, module.__dict__)  # noqa: S102 - as multiprocessing does
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    return module


@pytest.mark.parametrize("more", [(), (bytes(100_000),)])
def test_what_the_script_of_a_child_defines_travels_by_value(script, more, monkeypatch):
    packed = payload.pack_function(script.f)
    body = bytes(payload.pack_call((script.Point(), *more), {}))
    monkeypatch.delitem(sys.modules, "__mp_main__")

    function, _ = payload.unpack_function(packed.blob)

    assert packed.blob[:1] == b"v"
    assert payload.call(lambda point, *_: function(point), body) == 6


@pytest.fixture
def helpers(monkeypatch):
    """A module that only this program has, registered to go by value."""
    module = types.ModuleType("helpers")
    source = "class Point: x = 2\n\ndef f(x): return n * x.x\nn = 3"
    exec(source, module.__dict__)  # noqa: S102 - as importing it does
    monkeypatch.setitem(sys.modules, "helpers", module)
    cloudpickle.register_pickle_by_value(module)
    yield module
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize("more", [(), (bytes(100_000),)])
def test_a_module_can_be_registered_to_travel_by_value(helpers, more, monkeypatch):
    packed = payload.pack_function(helpers.f)
    sealed = payload.pack_function(require("math")(helpers.f))
    body = bytes(payload.pack_call((helpers.Point(), *more), {}))
    monkeypatch.delitem(sys.modules, "helpers")

    function, _ = payload.unpack_function(packed.blob)
    dependent, _ = payload.unpack_function(sealed.blob)

    assert payload.call(lambda point, *_: function(point), body) == 6
    assert payload.call(lambda point, *_: dependent(point), body) == 6


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (len, ([1, 2],), 2),
        (int, ("7",), 7),
        (math.sqrt, (9,), 3),
        (functools.partial(tasks.add, 1), (2,), 3),
        (functools.partial(lambda x, y: x * y, 4), (2,), 8),
        ("abc".upper, (), "ABC"),
        (Adder(2), (1,), 3),
        (Adder(2).method, (4,), 8),
    ],
)
def test_whatever_can_be_called_travels(function, args, expected):
    assert round_trip(function, *args) == expected


MEMOIZED = """
import functools

@functools.lru_cache(maxsize=7, typed=True)
def f(n):
    return n if n < 2 else f(n - 1) + f(n - 2)

def g(n):
    return f(n)

class C:
    @functools.cache
    def method(self, n):
        return self, n

    def again(self):
        return self.method(1) is self.method(1)

def h():
    return C().again()
"""


def test_a_memoized_function_of_the_prompt_travels_by_value():
    f = in_main(MEMOIZED)

    found: Any
    found, keep = payload.unpack_function(payload.pack_function(f).blob)

    assert found(30) == 832040
    assert keep
    assert found.cache_parameters() == {"maxsize": 7, "typed": True}
    assert found.cache_info().misses == 31
    assert found.__wrapped__.__globals__["f"] is found


@pytest.mark.parametrize(
    ("name", "args", "expected"), [("g", [9], 34), ("h", [], True)]
)
def test_a_function_of_the_prompt_may_use_a_memoized_one(name, args, expected):
    assert round_trip(in_main(MEMOIZED, name), *args) == expected


def test_an_importable_memoized_function_travels_by_its_name():
    body = payload.pack_call([tasks.memoized], {})

    assert payload.pack_function(tasks.memoized).blob == b"ntests.tasks:memoized"
    assert payload.call(lambda found: found, body) is tasks.memoized


def test_memoized_functions_without_a_name_travel():
    memoized = functools.lru_cache(functools.partial(pow, 2))

    assert round_trip(memoized, 3) == 8


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="f must be callable, not int"):
        payload.pack_function(5)  # type: ignore[arg-type]


def test_what_cannot_be_pickled_is_refused_by_name():
    lock = threading.Lock()

    with pytest.raises(SerializationError, match="cannot pickle the function"):
        payload.pack_function(lambda: lock)
    with pytest.raises(TypeError, match="argument 1: cannot pickle lock: "):
        payload.pack_call((0, lock), {})
    with pytest.raises(TypeError, match="argument name: cannot pickle dict: "):
        payload.pack_call((0,), {"name": {"a": lock}})
    with pytest.raises(TypeError, match="argument 0: cannot pickle list: "):
        payload.pack_chunk(([lock],))


def test_a_function_from_another_python_is_refused():
    blob = payload.pack_function(lambda: 1).blob
    other = b"v" + bytes([3, 99]) + blob[3:]

    with pytest.raises(SerializationError, match=r"by value from Python 3\.99"):
        payload.unpack_function(other)


def test_a_name_that_cannot_be_imported_says_so():
    with pytest.raises(ModuleNotFoundError):
        payload.unpack_function(b"nno_such_module:f")
    with pytest.raises(AttributeError, match=r"'nothing'; .*tests/tasks.py was imp"):
        payload.unpack_function(b"ntests.tasks:nothing")
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        payload.unpack_function(b"nsys:nothing")
    with pytest.raises(TypeError, match="not callable"):
        payload.unpack_function(b"ntests.tasks:DEADLINE")


def test_equal_functions_have_one_digest():
    one, other = payload.pack_function(tasks.double), payload.pack_function(tasks.add)

    assert one.digest == payload.pack_function(tasks.double).digest
    assert one.digest != other.digest
    assert len(one.digest) == 22


@pytest.mark.parametrize(
    ("args", "kwargs", "kind"),
    [((), {}, b"0"), ((1, 2), {}, b"a"), ((1,), {"y": 5}, b"k"), ((), {"y": 1}, b"k")],
)
def test_arguments_travel(args, kwargs, kind):
    body = payload.pack_call(args, kwargs)

    assert body[:1] == kind
    assert payload.call(lambda *a, **k: (a, k), body) == (args, kwargs)


def test_a_chunk_is_mapped():
    body = payload.pack_chunk(([1, 2, 3], (4, 5, 6)))

    assert payload.call(tasks.add, body) == [5, 7, 9]


@pytest.mark.parametrize("sequences", [([[1], [], [2]],), ([[1], [], [2]], [7, 8, 9])])
def test_a_chunk_does_not_end_where_its_function_finds_nothing(sequences):
    body = payload.pack_chunk(sequences)

    with pytest.raises(StopIteration):
        payload.call(lambda items, *_: next(iter(items)), body)


def test_arguments_of_the_prompt_travel_by_value():
    function = in_main("class C:\n    x = 4\ndef f(): return C")

    assert pickle.loads(payload.dumps(function()())).x == 4


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": (1, 2)}, b"x" * 100_000])
def test_results_travel(value):
    assert payload.unpack_result(bytes(payload.pack_result(value))) == value


def test_none_is_one_byte():
    assert payload.pack_result(None) == b"N"


def error_of(problem):
    return payload.unpack_error(payload.pack_error(problem, "Traceback", {"id": 1}))


def test_errors_travel():
    error = error_of(ValueError("no 5"))

    assert isinstance(error, RemoteError)
    assert (error.ename, error.evalue) == ("ValueError", "no 5")
    assert error.traceback == "Traceback"
    assert error.engine_info == {"id": 1}
    assert isinstance(error.__cause__, ValueError)
    assert str(error.__cause__) == "no 5"


def test_an_error_that_cannot_be_rebuilt_is_told_all_the_same():
    error = error_of(tasks.StubbornError(1, 2))

    assert error.ename == "StubbornError"
    assert error.evalue == "1 and 2"
    assert error.__cause__ is None


def test_an_error_of_an_unknown_class_is_told_all_the_same(monkeypatch):
    class LocalError(Exception):
        pass

    monkeypatch.setitem(sys.modules, "gone", types.ModuleType("gone"))
    LocalError.__module__, LocalError.__qualname__ = "gone", "LocalError"
    sys.modules["gone"].LocalError = LocalError  # type: ignore[attr-defined]
    packed = payload.pack_error(LocalError("x"), "", {})
    monkeypatch.delitem(sys.modules, "gone")

    error = payload.unpack_error(packed)

    assert error.ename == "LocalError"
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff", b"[]", b'"x"', b"1", b"null", b"[" * 200_000, b'{"a":' * 9999],
)
def test_what_describes_no_error_is_refused_and_not_shown(text):
    body = len(text).to_bytes(4, "big") + text

    with pytest.raises(ValueError, match=r"."):
        payload.about_error(body)

    assert payload.shown_error(body) == ("", "")


@pytest.mark.parametrize("about", [b"{}", b'{"traceback": "x"}'])
def test_half_a_description_is_not_shown(about):
    assert payload.shown_error(len(about).to_bytes(4, "big") + about) == ("", "")


@pytest.mark.parametrize("words", ["x" * 1_000_000, "a line\n" * 100_000])
def test_a_long_error_does_not_hide_where_it_was_raised(words):
    text = f"Traceback\n  File 'here.py', line 3\nValueError: {words} the end"

    packed = payload.pack_error(ValueError(words), text, {})
    found = payload.about_error(packed)["traceback"]

    assert found.startswith("Traceback\n  File 'here.py', line 3\nValueError: ")
    assert " characters ...\n" in found
    assert found.endswith(" the end")
    assert len(found) < 66_000


def test_an_error_without_words_is_told_all_the_same():
    class Mute(Exception):  # noqa: N818 - its name is all it has
        def __str__(self):
            raise RuntimeError

    assert error_of(Mute()).evalue == "<unprintable Mute: RuntimeError>"


def test_an_error_that_is_too_large_goes_without_its_cause():
    error = error_of(ValueError("x" * 200_000))

    assert len(error.evalue) == 65536
    assert error.__cause__ is None


def test_odd_letters_in_an_error_survive():
    assert error_of(ValueError("ä \ud800")).ename == "ValueError"


# -- what a packer remembers


def test_a_packer_pickles_a_plain_lambda_once():
    pack, function = payload.Packer(), lambda x: x + 1

    assert pack(function) is pack(function)


def test_a_packer_does_not_remember_a_closure():
    pack, cell = payload.Packer(), [1]

    def function():
        return cell

    first = pack(function)
    cell.append(2)

    assert pack(function).digest != first.digest


def test_a_packer_sees_a_global_that_changes():
    pack = payload.Packer()
    function = in_main("n = 3\ndef f(): return n")
    first = pack(function)

    function.__globals__["n"] = 4

    assert pack(function).digest != first.digest


def test_a_packer_sees_a_global_that_was_missing():
    pack = payload.Packer()
    function = in_main("def f(x): return g(x)")
    pack(function)

    function.__globals__["g"] = math.sqrt

    found, _ = payload.unpack_function(pack(function).blob)
    assert found(9) == 3


def test_a_packer_sees_a_module_that_is_replaced():
    pack = payload.Packer()
    function = in_main("import math\ndef f(): return math.pi")
    first = pack(function)
    assert pack(function) is first

    function.__globals__["math"] = 5

    assert pack(function).digest != first.digest


def test_a_packer_sees_what_a_bound_method_of_a_builtin_is_bound_to():
    pack, function = (
        payload.Packer(),
        in_main("d = {}\ng = d.get\ndef f(k): return g(k)"),
    )
    pack(function)

    function.__globals__["d"]["a"] = 1

    found, _ = payload.unpack_function(pack(function).blob)
    assert found("a") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__code__", (lambda x=1: 2).__code__),
        ("__defaults__", (7,)),
        ("__kwdefaults__", {"y": 7}),
    ],
)
def test_a_packer_sees_the_inside_of_a_function_replaced(name, value):
    pack, function = payload.Packer(), in_main("def f(x=1, *, y=2): return x")
    first = pack(function)
    assert pack(function) is first

    setattr(function, name, value)

    assert pack(function).digest != first.digest


def test_a_packer_sees_what_a_module_made_by_hand_has():
    pack, function = payload.Packer(), in_main("def f(): return made.n")
    made: Any = types.ModuleType("made")
    function.__globals__["made"], made.n = made, 1
    pack(function)

    made.n = 2

    found, _ = payload.unpack_function(pack(function).blob)
    assert found() == 2


def test_a_packer_sees_that_a_module_is_sent_from_now_on():
    pack = payload.Packer()
    first = pack(tasks.double)
    assert payload.import_name(first.blob)

    cloudpickle.register_pickle_by_value(tasks)
    try:
        second = pack(tasks.double)
        used = pack(in_main("def f(): return tasks.double(1)"))
    finally:
        cloudpickle.unregister_pickle_by_value(tasks)

    assert payload.import_name(second.blob) is None
    assert used is not None
    assert pack(tasks.double).digest == first.digest


def test_a_packer_packs_what_uses_a_module_that_is_sent_each_time():
    pack, function = payload.Packer(), in_main("def f(): return tasks.double(1)")
    function.__globals__["tasks"] = tasks
    first = pack(function)
    assert pack(function) is first

    cloudpickle.register_pickle_by_value(tasks)
    try:
        assert pack(function) is not pack(function)
    finally:
        cloudpickle.unregister_pickle_by_value(tasks)


def test_a_packer_forgets_when_it_is_full(monkeypatch):
    monkeypatch.setattr(payload.Packer, "MOST", 2)
    pack = payload.Packer()
    functions = [lambda: 1, lambda: 2, lambda: 3]

    for function in functions:
        pack(function)

    assert len(pack._known) <= 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x): return x", True),
        ("def f(x=1, *, y='a'): return x", True),
        ("def f(x=[]): return x", False),
        ("def f(*, x={}): return x", False),
        ("def g():\n    c = 1\n    return lambda: c\nf = g()", False),
    ],
)
def test_a_function_without_state_is_known(source, expected):
    assert payload.is_stateless(in_main(source)) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5"),
        (None, "None"),
        ("ab", "'ab'"),
        ([1, 2], "[1, 2]"),
        (list(range(9)), "<list of 9>"),
        ({1: 2}, "{1: 2}"),
        ({1: "x"}, "<dict of 1>"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        (object, "<class 'object'>"),
    ],
)
def test_a_value_is_shown_shortly(value, expected):
    assert payload.short_repr(value) == expected


def test_a_number_too_long_to_be_shown_is_no_error():
    assert payload.short_repr(10**5000) == "<int, no repr: ValueError>"
    assert payload.short_repr([10**5000]) == "<list, no repr: ValueError>"


def test_a_value_that_cannot_be_shown_is_named():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    assert payload.short_repr(Shy()) == "<Shy, no repr: RuntimeError>"


def test_arguments_that_need_results_say_so_in_front():
    body = payload.pack_call((Ref("c-2"), [Ref("c-1")]), {"x": Ref("c-2")})

    refs, rest = payload.unpack_refs(body)

    assert body[:1] == b"R"
    assert refs == ["c-2", "c-1"]
    with resolving({"c-1": 10, "c-2": 20}.__getitem__):
        assert payload.call(lambda a, b, x: (a, b, x), rest) == (20, [10], 20)


@pytest.mark.parametrize(
    "body", [payload.pack_call((), {}), payload.pack_call((1,), {})]
)
def test_arguments_that_need_no_results_are_as_they_were(body):
    assert payload.unpack_refs(body) == ([], body)


def test_a_chunk_may_need_results():
    refs, rest = payload.unpack_refs(payload.pack_chunk(([Ref("c-1"), 2],)))

    assert refs == ["c-1"]
    with resolving({"c-1": 10}.__getitem__):
        assert payload.call(lambda x: x + 1, rest) == [11, 3]


def test_results_are_found_in_what_only_cloudpickle_can_pickle():
    class Local:
        def __init__(self, ref):
            self.ref = ref

    refs, _ = payload.unpack_refs(
        payload.pack_call((Local(Ref("c-1")), Ref("c-2")), {})
    )

    assert refs == ["c-1", "c-2"]


def test_a_ref_to_nobody_is_named():
    with pytest.raises(error.SerializationError, match=r"Ref\('nobody'\)"):
        payload.pack_call((Ref("nobody"),), {})
    body = payload.pack_call((Ref("nobody"),), {}, {"nobody": "c-7"})
    assert payload.unpack_refs(body)[0] == ["c-7"]


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(tasks.double, Ref("c-1")),
        functools.partial(lambda x: x, x=[Ref("c-1")]),
        dependent(tasks.double, tasks.add, Ref("c-1"), 1),
        dependent(tasks.double, tasks.add, 1, y=Ref("c-1")),
        dependent(tasks.double, functools.partial(tasks.double, Ref("c-1"))),
        depend(tasks.noop)(functools.partial(tasks.double, Ref("c-1"))),
        require(given=Ref("c-1"))(tasks.noop),
        functools.partial(dependent(tasks.double, tasks.double, Ref("c-1")), 1),
    ],
)
def test_a_ref_that_is_bound_to_a_function_is_refused(function):
    with pytest.raises(
        error.SerializationError,
        match=r"Ref\('c-1'\) belongs among the arguments of the call",
    ):
        payload.pack_function(function)


JOBS = [Ref("c-1")]


def users_of_a_ref():
    jobs = [Ref("c-1")]

    def inner():
        return jobs

    class Job:
        task = Ref("c-1")

        def run(self):
            return self.task

    return [
        (lambda: jobs, "jobs"),
        (lambda: [inner()], "inner -> jobs"),
        (lambda x=JOBS: x, ""),
        (lambda *, x=JOBS: x, ""),
        (lambda: JOBS, "JOBS"),
        (depend(tasks.noop)(lambda: jobs), "jobs"),
        (dependent(tasks.double, lambda: jobs), ""),
        (functools.partial(lambda x: jobs, 1), "jobs"),
        (functools.cache(lambda: jobs), "jobs"),
        (Job().run, ""),
    ]


@pytest.mark.parametrize(("function", "name"), users_of_a_ref())
def test_a_ref_that_a_function_uses_from_outside_is_refused(function, name):
    where = f" ({name})" if name else ""

    with pytest.raises(error.SerializationError) as refusal:
        payload.pack_function(function)

    assert str(refusal.value) == (
        "Ref('c-1') belongs among the arguments of the call; the function "
        f"{payload.name_of(function)}{where} has it: pass it as an argument"
    )


def make_a_ref():
    return Ref("c-1")


def test_a_function_may_use_the_class_of_refs_and_make_one():
    payload.pack_function(functools.partial(tasks.double, Ref))
    packed = payload.pack_function(lambda: make_a_ref())  # noqa: PLW0108 - by value
    function, _ = payload.unpack_function(packed.blob)

    assert function() == Ref("c-1")


def test_a_function_that_may_make_a_ref_is_pickled_once(monkeypatch):
    def make():
        return Ref("c-1")

    counted = Mock(wraps=by_value)
    monkeypatch.setattr(payload, "by_value", counted)
    payload.pack_function(make)

    counted.assert_called_once_with(make)


# -- what is large

LARGE = bytes(range(256)) * 8192


def test_large_bytes_are_not_copied():
    packed = payload.pack_call((LARGE, 1), {"text": "short"})

    assert type(packed) is Rope
    assert any(piece is LARGE for piece in packed.pieces)
    assert len(packed) == len(bytes(packed))
    kept = payload.call(lambda *args, **kwargs: (args, kwargs), bytes(packed))
    assert kept == ((LARGE, 1), {"text": "short"})


@pytest.mark.parametrize("wrap", [bytes, bytearray, list, dict, str])
def test_large_values_of_any_kind_come_back(wrap):
    value = {
        bytes: LARGE,
        bytearray: bytearray(LARGE),
        list: [[LARGE, 1], LARGE],
        dict: {"a": {"b": LARGE}},
        str: "ä" * (1 << 20),
    }[wrap]

    packed = payload.pack_result(value)

    assert type(packed) is Rope
    assert payload.unpack_result(memoryview(bytes(packed))) == value


def test_what_may_change_is_copied_when_it_is_packed():
    value = bytearray(LARGE)
    packed = payload.pack_result(value)

    value[:] = bytes(len(value))

    assert payload.unpack_result(bytes(packed)) == LARGE


@pytest.mark.parametrize(("size", "kind"), [(60_000, bytes), (100_000, Rope)])
def test_what_is_rather_small_is_one_piece(size, kind):
    assert type(payload.pack_result(bytes(size))) is kind
    assert type(payload.pack_call((bytes(size),), {})) is kind


class Sizeable:
    """As an array has it, its data in a buffer of its own."""

    def __init__(self, data):
        self.data = data

    @property
    def nbytes(self):
        return len(self.data)

    def __reduce_ex__(self, protocol):
        return Sizeable, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_come_back_as_writable_as_they_were(kind):
    packed = payload.pack_result(Sizeable(kind(LARGE)))

    found = payload.unpack_result(bytes(packed))

    assert type(packed) is Rope
    assert (type(found.data), found.data) == (kind, LARGE)


def test_large_arguments_may_be_of_a_class_that_nobody_can_import():
    kind = in_main(
        "class Mine:\n    def __init__(self, data): self.data = data", "Mine"
    )
    packed = payload.pack_result([kind(LARGE), LARGE])

    found, _ = payload.unpack_result(bytes(packed))

    assert found.data == LARGE


def test_large_arguments_may_stand_beside_results_of_others():
    packed = payload.pack_call((LARGE, Ref("p-1")), {})

    assert payload.refers(packed)
    assert payload.unpack_refs(packed)[0] == ["p-1"]


@pytest.mark.parametrize("beside", ["class", "frame"])
def test_results_of_others_are_found_wherever_they_stand(beside):
    # By value, as one large piece; and in a frame that is larger than the limit.
    if beside == "class":
        kind = in_main("class Mine: pass", "Mine")
        args: tuple[Any, ...] = (LARGE, Ref("p-1"), kind())
    else:
        args = (LARGE, [Ref("p-1"), *range(40_000)])

    packed = payload.pack_call(args, {})

    assert payload.refers(packed)
    assert payload.unpack_refs(packed)[0] == ["p-1"]


def test_a_class_that_nobody_can_import_is_found_in_a_large_frame():
    kind = in_main("class Mine: pass", "Mine")

    packed = payload.pack_result([LARGE, [kind(), *range(40_000)]])

    assert b"_make_skeleton_class" in bytes(packed)


def test_a_buffer_is_copied_once_and_not_pickled_by_value(monkeypatch):
    monkeypatch.setattr(payload, "_by_cloudpickle", None)

    packed = payload.pack_result(Sizeable(bytearray(LARGE)))

    assert payload.unpack_result(bytes(packed)).data == LARGE


class Named(str):
    """What a repr may be."""

    __slots__ = ()


class Told:
    """Its repr is of a class of its own."""

    def __repr__(self):
        return Named("told")


def test_a_short_text_is_a_plain_string():
    found = payload.short_repr(Told())

    assert (type(found), found) == (str, "told")


def test_a_name_in_large_bytes_is_no_reason_to_pickle_by_value():
    value = b"__main__" + LARGE

    assert any(piece is value for piece in payload.pack_result(value).pieces)


def test_a_rope_is_known_by_its_bytes():
    rope = Rope([b"ab", b"c"])

    assert rope == b"abc" == bytes(rope)
    assert rope == Rope([b"a", b"bc"])
    assert rope != "abc"
    assert hash(rope) == hash(b"abc")
    assert repr(rope) == "<Rope of 3 bytes in 2 pieces>"


def test_an_overlay_lies_over_a_view_of_arguments_as_well():
    packed = payload.lay_over(payload.pack_call((1, 2), {}), {}, {"0": 5})

    assert payload.call(lambda x, y: (x, y), memoryview(packed)) == (5, 2)


def test_what_cannot_be_pickled_is_named_with_where_it_is_used():
    lock, fine = threading.Lock(), list(range(3))

    def inner(deeper):
        return fine, (lock if deeper else outer(True))

    def outer(deeper):
        return fine, [inner(deeper) for _ in fine]

    with pytest.raises(SerializationError) as direct:
        payload.pack_function(inner)
    with pytest.raises(SerializationError) as indirect:
        payload.pack_function(outer)

    told = "cannot pickle '_thread.lock' object"
    assert str(direct.value) == f"cannot pickle the function inner (lock): {told}"
    assert str(indirect.value) == (
        f"cannot pickle the function outer (inner -> lock): {told}"
    )


class Holder:
    """Has what cannot be pickled, or does not."""

    def __init__(self, **more):
        self.fine = 1
        self.__dict__.update(more)

    def method(self):
        return self.fine


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial])
def test_what_a_method_has_that_cannot_be_pickled_is_named(wrap):
    held = Holder(lock=threading.Lock())
    chained = Holder(call=held.method)

    with pytest.raises(SerializationError, match=r"function method \(self\.lock\): "):
        payload.pack_function(wrap(held.method))
    with pytest.raises(SerializationError, match=r"\(self\.call -> self\.lock\): "):
        payload.pack_function(wrap(chained.method))


def test_the_attributes_of_a_class_are_not_to_blame():
    class Kind:
        lock = threading.Lock()

        @classmethod
        def method(cls):
            return cls.lock

    with pytest.raises(SerializationError, match="the function method: cannot pickle"):
        payload.pack_function(Kind.method)


def test_globals_that_cannot_be_pickled_are_named_too():
    known: dict[str, Any] = {
        "__name__": "__main__",
        "lock": threading.Lock(),
        "fine": 1,
    }
    exec("def f():\n    return [[lock, fine, unknown] for _ in fine]", known)  # noqa: S102

    with pytest.raises(SerializationError, match=r"function f \(lock\): cannot"):
        payload.pack_function(known["f"])


def test_what_is_no_fault_of_a_variable_is_told_without_one():
    def f(lock=threading.Lock()):  # noqa: B008
        return lock

    with pytest.raises(SerializationError, match=r"function f: cannot pickle"):
        payload.pack_function(f)


class Rings:
    """A value in whose pickling, or repr, a signal arrives, but only once."""

    def __init__(self, at=1):
        self.before = at

    def ring(self):
        self.before -= 1
        if self.before == 0:
            signal.raise_signal(signal.SIGUSR1)

    def __reduce__(self):
        self.ring()
        return Rings, ()

    def __repr__(self):
        self.ring()
        return "rings"

    def method(self):
        return self.before


class RingingError(Rings, Exception):
    """Likewise when it is asked why."""

    __str__ = Rings.__repr__


def closing_over(a, b=None):
    return lambda: (a, b)


@pytest.mark.parametrize(
    "act",
    [
        lambda: payload.pack_call((Rings(),), {}),
        lambda: payload.pack_call((Rings(), b"x" * 100_000), {}),
        lambda: payload.pack_chunk(([Rings()],)),
        lambda: payload.pack_result(Rings()),
        lambda: payload.pack_function(Rings().method),
        lambda: payload.pack_function(closing_over(Rings())),
        lambda: payload.pack_function(closing_over(Rings(2), threading.Lock())),
        lambda: payload.pack_error(RingingError(), "", {}),
        lambda: payload.short_repr(Rings()),
        lambda: payload.safe_text(RingingError()),
    ],
)
def test_what_a_signal_handler_raises_is_not_taken_for_the_values_own(act):
    with alarm(LateError()), pytest.raises(LateError):
        act()
