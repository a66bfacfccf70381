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
import dis
import functools
import importlib
import sys
import types
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from redtask.functional import SCRIPTS, dependent, importable_as, plain_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
#: What a function has assigned to a name that it deleted.
_GONE: Final = object()


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
        del names[name]


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
    _ours().update(values)


def pull(wanted: str | Sequence[str]) -> Any:
    """Return the value of an expression, or those of several."""
    names = _ours()
    if isinstance(wanted, str):
        return _value(wanted, names)
    return [_value(one, names) for one in wanted]


def execute(code: str, file: str, silent: bool = True) -> Any:
    """Execute code, whose global names are those of the namespace.

    Unless ``silent``, returns the value of the expression that it ends with.
    """
    names, tree = _ours(), ast.parse(code, file)
    last = None if silent or not tree.body else tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body.pop()
    # Not as this module is compiled: its annotations are text.
    exec(compile(tree, file, "exec", dont_inherit=True), names)  # noqa: S102 - it was signed
    if isinstance(last, ast.Expr):
        end = compile(ast.Expression(last.value), file, "eval", dont_inherit=True)
        return eval(end, names)  # noqa: S307 - likewise
    return None


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

    Functions that were sent by value see the names that they do not bring along, and a
    ``Native`` all of them. Afterwards these are taken back, so that they never outlive
    their values, and what was there before is there again. What has been assigned to
    them is assigned in the namespace, unless by a function that is no ``Native``.
    """

    def __init__(self, names: Names, function: Any) -> None:
        self._names = names
        #: Globals, what was lent to them, and what they had under these names.
        self._lent: list[tuple[Names, Names, Names]] = []
        first, plain = scope_of(function), plain_function(function)
        #: The globals of a function that leaves nothing in the namespace.
        self._foreign = plain.__globals__ if plain and first is None else None
        lent: Names | None = None
        for scope in _scopes(names, first, plain):
            if lent is None:
                lent = {
                    name: value for name, value in names.items() if name[:2] != "__"
                }
            given = lent
            if scope is not first:
                given = {name: lent[name] for name in lent.keys() - scope.keys()}
            before = {name: scope[name] for name in given.keys() & scope.keys()}
            # Noted first: whatever happens, it can be taken back.
            self._lent.append((scope, given, before))
            scope.update(given)

    def end(self) -> None:
        """Take the names back."""
        names = self._names
        for scope, given, before in self._lent:
            keeps = scope is not self._foreign
            for name, value in given.items():
                now = scope.pop(name, _GONE)
                if name in before:
                    scope[name] = before[name]
                if keeps and now is _GONE:
                    names.pop(name, None)
                elif keeps and now is not value:
                    names[name] = now
        self._lent.clear()


def _scopes(
    names: Names, first: Names | None, plain: types.FunctionType | None
) -> Iterator[Names]:
    """Yield the globals of a function and of pushed ones, if sent by value.

    ``first`` are those of a ``Native``; ``plain`` is the function inside.
    """
    seen = {id(names)}
    if first is not None:
        seen.add(id(first))
        yield first
    for one in (plain, *names.values()):
        if (
            type(one) is types.FunctionType
            and id(one.__globals__) not in seen
            and _is_by_value(one)
        ):
            seen.add(id(one.__globals__))
            yield one.__globals__


def _is_by_value(function: types.FunctionType) -> bool:
    """Was it sent with globals of its own, and not imported?"""
    scope = function.__globals__
    module = sys.modules.get(scope.get("__name__", ""))
    return module is None or vars(module) is not scope


class Native:
    """A function as a DirectView sends it: at home in the namespace of its engine.

    It sees the names there before what it brings along of the same names: after
    ``scatter("x", x)``, its ``x`` is the part. And its ``global`` names become those of
    the namespace. What others send is not subject to what anybody has pushed.

    It is unpickled for each task.
    """

    def __init__(self, function: types.FunctionType, assigned: Sequence[str]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._assigned = assigned

    @property
    def scope(self) -> Names:
        """The globals of the function."""
        return self._function.__globals__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        names = _ours()
        lent = {name: names[name] for name in self._assigned if name in names}
        try:
            value = self._function(*args, **kwargs)
        finally:
            self._keep(lent)
        if self._assigned and type(value) is types.CoroutineType:
            return self._awaited(value, lent)
        return value

    async def _awaited(
        self, coroutine: types.CoroutineType[Any, Any, Any], lent: Names
    ) -> Any:
        try:
            return await coroutine
        finally:
            self._keep(lent)

    def _keep(self, lent: Names) -> None:
        """Assign to names of the namespace what the function has assigned to them.

        ``lent`` is what it was lent: others may have assigned to those meanwhile.
        """
        names, scope = _ours(), self.scope
        for name in self._assigned:
            if name in scope and scope[name] is not lent.get(name, _GONE):
                names[name] = scope[name]


def native(function: Any) -> Any:
    """Return a function as a DirectView sends it: that inside is a ``Native``."""
    if isinstance(function, functools.partial):
        return functools.partial(
            native(function.func), *function.args, **function.keywords
        )
    if importable_as(function):
        return function
    if isinstance(function, dependent):
        return function.with_function(native)
    if isinstance(function, types.FunctionType):
        return _native(function)
    return function


def _native(function: types.FunctionType) -> types.FunctionType | Native:
    scope = function.__globals__
    if scope.get("__name__") not in SCRIPTS:
        # What a module's function means by a name is of that module.
        return function
    used, assigned = _globals(function.__code__)
    if not assigned and used <= vars(builtins).keys() - scope.keys():
        # It is all the same, and engines unpickle it once.
        return function
    return Native(function, sorted(assigned))


def scope_of(function: Any) -> Names | None:
    """Return the globals of a ``Native``, however it is wrapped; None if it is none."""
    while not isinstance(function, Native):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, dependent):
            function = function.f
        else:
            return None
    return function.scope


def _globals(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Return the global names that code uses, and those it assigns to."""
    used, assigned = set(), set()
    for one in dis.get_instructions(code):
        if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            used.add(str(one.argval))
        elif one.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            assigned.add(str(one.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            more = _globals(constant)
            used |= more[0]
            assigned |= more[1]
    return used, assigned


__all__ = ["Loan", "Reference", "enter", "leave", "module", "refer", "reset"]
