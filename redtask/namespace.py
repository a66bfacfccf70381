"""The namespace of an engine: names and values that its process keeps between tasks.

What a ``DirectView`` does with it are tasks like any others, whose functions are those
of this module: ``push``, ``pull``, ``execute`` and so on. No I/O here, except for what
the code of users does.

It is memory of one process, and nothing that a hub would know of: it ends with its
engine.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import functools
import importlib
import inspect
import sys
import types
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from redtask.functional import (
    MEMOIZED,
    SCRIPTS,
    copied,
    dependent,
    importable_as,
    plain_function,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

#: Names and values: all of the user's, but for those that every module has.
Names = dict[str, Any]

#: What every module has of its own, and keeps when all names are cleared.
_OWN: Final = frozenset(
    {
        "__name__",
        "__doc__",
        "__package__",
        "__loader__",
        "__spec__",
        "__file__",
        "__cached__",
        "__builtins__",
    }
)

#: The namespace of the engine that runs this code; None: no engine does.
_here: ContextVar[Names | None] = ContextVar("namespace", default=None)
#: Stands for what is not there.
_GONE: Final = object()
#: By these a function may assign to global names that its code does not show.
_INDIRECT: Final = frozenset({"globals", "exec", "eval"})
#: Types of what may be a function or class of a script, or lead to one.
_ACTIVE: Final = (
    types.FunctionType,
    types.MethodType,
    MEMOIZED,
    functools.partial,
    dependent,
    type,
)
#: Types of what may contain such; those of which one looks at every item if there are
#: few; types of which no value leads to anything.
_CONTAINERS: Final = (list, tuple, dict, set, frozenset)
_FEW: Final = 100
_PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
#: Marks code that goes on after its function has been called.
_PAUSES: Final = (
    inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
)
#: Types of what a class has as methods.
_METHODS: Final = (types.FunctionType, staticmethod, classmethod)
#: What a function of a script means by these is of the script, not of the engine.
_OF_FILE: Final = _OWN - {"__name__", "__builtins__"}


def module() -> types.ModuleType:
    """Return a module for the names of an engine, which has none yet.

    It could be the script, so what code defines there is sent by value. It has its
    builtins, without which no import in C works for the functions of a module.
    """
    made = types.ModuleType(SCRIPTS[0])
    vars(made)["__builtins__"] = builtins
    return made


def reset(names: Names) -> None:
    """Forget all names, but for those that every module has."""
    for name in names.keys() - _OWN:
        names.pop(name, None)


def enter(names: Names) -> Token[Names | None]:
    """Let what runs in this context belong to the engine with this namespace."""
    return _here.set(names)


def leave(token: Token[Names | None]) -> None:
    """Take back what ``enter`` did."""
    _here.reset(token)


def _ours() -> Names:
    names = _here.get()
    if names is None:
        raise RuntimeError("only engines have a namespace")
    return names


# -- expressions


class Reference:
    """A placeholder for the value that an expression has in an engine's namespace.

    :param name: a name, or any expression: ``"a"``, ``"a[0] + 1"``.

    The engine replaces it by the value before it calls the function. It may stand among
    the arguments of a call, anywhere inside of them, or be what is called. As in
    IPython.parallel. Raises ``TypeError`` for what is no string, and ``ValueError`` for
    what is no expression.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        #: The expression.
        self.name = expression(name)

    @property
    def __name__(self) -> str:
        """The name of the function, if it is called."""
        return self.name

    def __repr__(self) -> str:
        return f"Reference({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.name == other.name

    def __hash__(self) -> int:
        return hash((Reference, self.name))

    def __copy__(self) -> Reference:
        return self

    def __deepcopy__(self, _: Any) -> Reference:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return refer, (self.name,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for; only engines can."""
        return _value(self.name, _ours())(*args, **kwargs)


def refer(name: str) -> Any:
    """Return what a Reference stands for; where no engine runs, the Reference.

    A pickled Reference is a call of this function.
    """
    names = _here.get()
    return Reference(name) if names is None else _value(name, names)


def expression(text: Any) -> str:
    """Return the text of an expression.

    Raises ``TypeError`` and ``ValueError`` if it is none.
    """
    if not isinstance(text, str):
        raise TypeError(f"a name must be a string, not {type(text).__name__}")
    try:
        compile(text.strip(), "<name>", "eval")
    except (SyntaxError, ValueError) as problem:
        raise ValueError(f"not a name, nor an expression: {text!r}") from problem
    return text.strip()


def _value(text: str, names: Names) -> Any:
    if text in names:
        return names[text]
    return eval(text, names)  # noqa: S307 - it is the user's, and was signed


# -- tasks


def push(**values: Any) -> None:
    """Set names of the namespace."""
    names = _ours()
    names.update(values)
    for name, value in values.items():
        plain = _of_script(value)
        if plain is not None and plain is value and plain.__globals__ is not names:
            names[name] = _at_home(plain, names) or value


def pull(wanted: str | Sequence[str]) -> Any:
    """Return the value of an expression, or those of several."""
    names = _ours()
    if isinstance(wanted, str):
        return _value(wanted, names)
    return [_value(one, names) for one in wanted]


def execute(code: str, file: str, silent: bool = True) -> Any:
    """Execute code, whose global names are those of the namespace.

    Unless ``silent``, returns the value of the expression that it ends with. It may
    await at its top, as a cell of a notebook; then this returns a coroutine, to be run
    as that of any coroutine function.
    """
    names, tree = _ours(), ast.parse(code, file)
    last = None if silent or not tree.body else tree.body[-1]
    steps: list[types.CodeType] = []
    if isinstance(last, ast.Expr):
        tree.body.pop()
        steps.append(_compiled(ast.Expression(last.value), file, "eval"))
    steps.insert(0, _compiled(tree, file, "exec"))
    if any(one.co_flags & inspect.CO_COROUTINE for one in steps):
        return _executed(steps, names)
    value = None
    for one in steps:
        value = eval(one, names)  # noqa: S307 - it was signed
    return value


async def _executed(steps: Sequence[types.CodeType], names: Names) -> Any:
    value = None
    for one in steps:
        value = eval(one, names)  # noqa: S307 - it was signed
        if type(value) is types.CoroutineType:
            value = await value
    return value


def _compiled(
    tree: ast.Module | ast.Expression, file: str, mode: str
) -> types.CodeType:
    # Not as this module is compiled: its annotations are text.
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: types.CodeType = compile(tree, file, mode, flags=flags, dont_inherit=True)
    return code


def clear() -> None:
    """Forget all names."""
    reset(_ours())


def bring(imports: Sequence[tuple[str, str, str]]) -> None:
    """Import modules into the namespace: each as what name, from where, and what.

    ``("np", "numpy", "")`` is ``import numpy as np``, ``("walk", "os", "walk")`` is
    ``from os import walk``, ``("*", "os", "*")`` is ``from os import *``; without a
    name, the module is imported and nothing else.
    """
    names = _ours()
    for name, module, what in imports:
        if what == "*":
            execute(f"from {module} import *", "<import>")
            continue
        found = importlib.import_module(module)
        if name:
            names[name] = _part(found, module, what) if what else found


def _part(found: types.ModuleType, module: str, what: str) -> Any:
    """Return what ``from module import what`` does: an attribute, or a module."""
    if not hasattr(found, what):
        try:
            return importlib.import_module(f"{module}.{what}")
        except ModuleNotFoundError as problem:
            raise ImportError(
                f"cannot import name {what!r} from {module!r}"
            ) from problem
    return getattr(found, what)


# -- functions that use the namespace


class Loan:
    """The names of a namespace, among the globals of functions while one is called.

    That is for functions with globals of their own. A function that is called without
    being of the namespace is lent what it does not bring along, and leaves nothing.
    Others are lent all, and what they assign is assigned in the namespace: a
    ``Native``, and what has been pushed. Afterwards the names are taken back, so that
    they never outlive their values, and what was there before is there again.
    """

    def __init__(self, names: Names, function: Any) -> None:
        self._names = names
        # An interrupt may have kept the last call from doing so.
        names["__builtins__"] = builtins
        #: Globals, what was lent to them, and what they had under these names.
        self._lent: list[tuple[Names, Names, Names]] = []
        #: Globals whose changes are kept, and what they held before the call.
        self._watched: list[tuple[Names, Names]] = []
        lent: Names | None = None
        for scope, keeps in _scopes(names, function):
            if lent is None:
                # A thread that a task has left may add some meanwhile.
                given = names.copy()
                lent = {one: given[one] for one in given if one[:2] != "__"}
            given = lent
            if not keeps:
                given = {name: lent[name] for name in lent.keys() - scope.keys()}
            before = {name: scope[name] for name in given.keys() & scope.keys()}
            # Noted first: whatever happens, it can be taken back.
            self._lent.append((scope, given, before))
            scope.update(given)
            if keeps:
                self._watched.append((scope, dict(scope)))

    def end(self) -> None:
        """Take the names back."""
        for scope, before in self._watched:
            _keep(self._names, scope, before)
        for scope, given, before in self._lent:
            for name in given:
                scope.pop(name, None)
            scope.update(before)
        self._watched.clear()
        self._lent.clear()


def _keep(names: Names, scope: Names, before: Names) -> None:
    """Assign in the namespace what has been assigned in globals since."""
    for name, value in list(scope.items()):
        if value is not before.get(name, _GONE) and name[:2] != "__":
            names[name] = value
    for name in before.keys() - scope.keys():
        names.pop(name, None)


def _scopes(names: Names, function: Any) -> Iterator[tuple[Names, bool]]:
    """Yield the globals to which names are lent, and whether changes are kept.

    They are those of the function that is called, and those of what was pushed.
    """
    seen, values = {id(names)}, list(names.values())
    inner, plain = _native_inside(function), plain_function(function)
    if inner is not None:
        # What it depends on may still add to its globals, if that is within a partial.
        is_ready = not isinstance(getattr(function, "func", None), dependent)
        if not is_ready or inner.settle(names) is None:
            seen.add(id(inner.scope))
            yield inner.scope, True
    elif plain is not None and _is_by_value(plain) and plain.__globals__ is not names:
        seen.add(id(plain.__globals__))
        subject = getattr(function, "__self__", function)
        is_there = any(one is subject or one is plain for one in values)
        yield plain.__globals__, is_there
    # Most values are of few types.
    for value in (one for one in values if type(one) not in _PLAIN):
        for one in _functions_of(value):
            if id(one.__globals__) not in seen and _is_by_value(one):
                seen.add(id(one.__globals__))
                yield one.__globals__, True


def _functions_of(value: Any) -> Iterator[types.FunctionType]:
    """Yield a function, or the methods of a class of a script, or of its object."""
    kind = value if isinstance(value, type) else type(value)
    if kind is types.FunctionType:
        yield value
    elif kind.__module__ in SCRIPTS:
        for one in kind.__mro__:
            for member in vars(one).values() if one.__module__ in SCRIPTS else ():
                if isinstance(member, _METHODS) and (plain := _of_script(member)):
                    yield plain


def _is_by_value(function: types.FunctionType) -> bool:
    """Was it sent with globals of its own, and not imported?"""
    scope = function.__globals__
    module = sys.modules.get(scope.get("__name__", ""))
    return module is None or vars(module) is not scope


class Native:
    """A function as a DirectView sends it: at home in the namespace of its engine.

    It sees the names there before what it brings along of the same names: after
    ``scatter("x", x)``, its ``x`` is the part. And what it assigns to global names is
    assigned in the namespace. What others send is not subject to what anybody has
    pushed.

    It is unpickled for each task.
    """

    def __init__(self, function: Any, assigned: Sequence[str]) -> None:
        is_plain = isinstance(function, types.FunctionType)
        updated = functools.WRAPPER_UPDATES if is_plain else ()
        functools.update_wrapper(self, function, updated=updated)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        #: What is called.
        self.function = function
        self._assigned = assigned
        #: The function with the names as its globals; known when it is to be called.
        self._home: types.FunctionType | None = None
        self._is_settled = False

    @property
    def scope(self) -> Names:
        """The globals of the function."""
        plain = _of_script(self.function)
        return {} if plain is None else plain.__globals__

    def settle(self, names: Names) -> types.FunctionType | None:
        """Return the function with the names as its globals; None if it cannot have."""
        if not self._is_settled:
            self._is_settled = True
            if isinstance(self.function, types.FunctionType):
                self._home = _at_home(self.function, names, is_called=True)
        return self._home

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        names = _ours()
        if (home := self.settle(names)) is not None:
            layer: Names = home.__builtins__  # type: ignore[attr-defined]
            if layer is vars(builtins):
                return home(*args, **kwargs)
            with _builtins(names, layer):
                return home(*args, **kwargs)
        before = dict(self.scope)
        try:
            value = self.function(*args, **kwargs)
        finally:
            self._keep(before)
        if type(value) is types.CoroutineType:
            return self._awaited(value, before)
        return value

    async def _awaited(
        self, coroutine: types.CoroutineType[Any, Any, Any], before: Names
    ) -> Any:
        try:
            return await coroutine
        finally:
            self._keep(before)

    def _keep(self, before: Names) -> None:
        """Assign to names of the namespace what the function has assigned to them."""
        names, scope = _ours(), self.scope
        _keep(names, scope, before)
        for name in self._assigned:
            # It may have assigned the very value that it brought along.
            if name in scope and name not in names:
                names[name] = scope[name]


def _at_home(
    function: types.FunctionType, names: Names, *, is_called: bool = False
) -> types.FunctionType | None:
    """Return a script's function with the names as its globals; None if that cannot be.

    What it brings along takes the place of its builtins, so the names come first, and
    it stays with what the function leaves behind. Other functions that come along are
    brought home with it. Classes cannot be, so what may lead to one is refused. Nor can
    what functions inside use, whose builtins are those of the namespace, unless they
    are made while the function ``is_called``.
    """
    scope = function.__globals__
    brought = {name: scope[name] for name in scope.keys() - names.keys() - _OWN}
    helpers = {
        name: value
        for name, value in brought.items()
        if type(value) is types.FunctionType and value.__globals__ is scope
    }
    if not (
        _can_move(function, brought.keys(), is_called=is_called)
        and all(_can_move(one, brought.keys()) for one in helpers.values())
        and all(_is_passive(brought[name]) for name in brought.keys() - helpers.keys())
    ):
        return None
    layer = {**vars(builtins), **brought} if brought else vars(builtins)
    with _builtins(names, layer):
        moved = {name: copied(one, names) for name, one in helpers.items()}
        layer.update(moved)
        return copied(function, names)


@contextlib.contextmanager
def _builtins(names: Names, layer: Names) -> Iterator[None]:
    """Let what is made in this block, with the names as its globals, have builtins."""
    own = names.get("__builtins__", builtins)
    names["__builtins__"] = layer
    try:
        yield
    finally:
        names["__builtins__"] = own


def _can_move(
    function: types.FunctionType, brought: Collection[str], *, is_called: bool = False
) -> bool:
    """May a function have the names as its globals, and what is brought as builtins?"""
    code = function.__code__
    inside = later = _names_inside(code)
    if is_called and not code.co_flags & _PAUSES:
        later = set().union(*map(_names_inside, _codes_inside(code)))
    return (
        later.isdisjoint(brought)
        and inside.union(code.co_names).isdisjoint(_OF_FILE)
        and all(map(_is_passive, _bound(function)))
    )


def _bound(function: types.FunctionType) -> Iterator[Any]:
    """Yield defaults and variables from outside of a function."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is empty
            yield cell.cell_contents


def _codes_inside(code: types.CodeType) -> list[types.CodeType]:
    """Return the code of functions inside of a function."""
    return [one for one in code.co_consts if isinstance(one, types.CodeType)]


def _names_inside(code: types.CodeType) -> set[str]:
    """Return the names that functions inside of a function use, and maybe more."""
    found: set[str] = set()
    for one in _codes_inside(code):
        found |= {*one.co_names, *_names_inside(one)}
    return found


def _is_passive(value: Any, depth: int = 3) -> bool:
    """Is it nothing by which a function or class of the script could be reached?"""
    if isinstance(value, _CONTAINERS):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        if _PLAIN.issuperset(map(type, inside)):
            return True
        few = len(inside) <= _FEW and depth > 0
        return few and all(_is_passive(one, depth - 1) for one in inside)
    if isinstance(value, _ACTIVE):
        return importable_as(value) is not None
    return isinstance(value, types.ModuleType) or type(value).__module__ not in SCRIPTS


def native(function: Any) -> Any:
    """Return a function as a DirectView sends it: that inside is a ``Native``."""
    if isinstance(function, functools.partial):
        return functools.partial(
            native(function.func), *function.args, **function.keywords
        )
    # What a function in a cache has kept is kept with it.
    if isinstance(function, MEMOIZED) or importable_as(function):
        return function
    if isinstance(function, dependent):
        return function.with_function(native)
    plain = _of_script(function)
    return function if plain is None else _native(function, plain)


def _of_script(function: Any) -> types.FunctionType | None:
    """Return the function of a script inside; what it means by a name is the script's.

    What a module's function means is of that module.
    """
    for one in (function, plain_function(function)):
        scope = one.__globals__ if isinstance(one, types.FunctionType) else {}
        if scope.get("__name__") in SCRIPTS:
            return one
    return None


def _native(function: Any, plain: types.FunctionType) -> Any:
    used, assigned = _globals(plain)
    passive = vars(builtins).keys() - plain.__globals__.keys() - _INDIRECT
    if function is plain and not assigned and used <= passive:
        # It is all the same, and engines unpickle it once.
        return function
    return Native(function, sorted(assigned))


def _native_inside(function: Any) -> Native | None:
    """Return a ``Native``, however it is wrapped; None if it is none."""
    while not isinstance(function, Native):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, dependent):
            function = function.f
        else:
            return None
    return function


def _globals(function: types.FunctionType) -> tuple[set[str], set[str]]:
    """Return the global names that a function uses, and those that are assigned to.

    By it, or by functions of the script that it uses.
    """
    scope, codes = function.__globals__, [function.__code__]
    used, assigned = _globals_of(function.__code__)
    todo = list(used)
    while todo:
        one = scope.get(todo.pop())
        if not isinstance(one, types.FunctionType) or one.__globals__ is not scope:
            continue
        if one.__code__ not in codes:
            codes.append(one.__code__)
            more = _globals_of(one.__code__)
            todo += more[0]
            assigned |= more[1]
    return used, assigned


def _globals_of(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Return the global names that code uses, and those it assigns to."""
    used, assigned = set(), set()
    for one in dis.get_instructions(code):
        if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            used.add(str(one.argval))
        elif one.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            assigned.add(str(one.argval))
    for inner in _codes_inside(code):
        more = _globals_of(inner)
        used |= more[0]
        assigned |= more[1]
    return used, assigned


__all__ = ["Loan", "Reference", "enter", "leave", "module", "refer", "reset"]
