"""Functional dependencies: conditions that an engine checks before it runs a function.

``@depend`` calls a predicate of yours, ``@require`` checks that modules are there. An
engine that says no is never asked again for that task, which goes to another one. Any
other error during the check fails the task.

A function with a dependency is sent sealed: as bytes that the engine unpickles only
once it may run it. So a function that cannot even be unpickled without a module is no
failure where that module is required and missing. No I/O here.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import pickle
import sys
import types
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic

import cloudpickle

from redtask.error import UnmetDependency
from redtask.value import P, V_co

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PROTOCOL: Final = 5
#: Names of the module of a process's script; the second is that in children of
#: multiprocessing. No other process can import it.
SCRIPTS: Final = ("__main__", "__mp_main__")
#: What cloudpickle puts in place of the name of a file.
_HIDDEN: Final = "<dynamic-code>"
#: The type of what ``functools.lru_cache`` and ``functools.cache`` return.
MEMOIZED: Final = type(functools.cache(int))
#: Stands for what is not there.
_NOTHING: Final = object()
#: Ids of objects being sealed just now: a recursive function contains itself.
_SEALING: ContextVar[frozenset[int]] = ContextVar("sealing", default=frozenset())


def is_sent(module: str) -> bool:
    """Is what this module defines sent by value, because engines may not have it?

    True for the script, and for modules registered with cloudpickle.
    """
    return module in SCRIPTS or any(
        f"{module}.".startswith(f"{registered}.")
        for registered in cloudpickle.list_registry_pickle_by_value()
    )


def importable_as(one: object) -> str | None:
    """Return ``module:name`` if importing that gives this very object."""
    module = getattr(one, "__module__", None)
    name = getattr(one, "__qualname__", None)
    if not module or not name or is_sent(module) or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is one else None


def _filed(code: types.CodeType) -> tuple[Any, ...]:
    """Reduce code as cloudpickle does, but with the name of its file.

    From version 3.1 on cloudpickle hides it; tracebacks had neither file nor source.
    """
    make, parts = cloudpickle.CloudPickler.dispatch_table[types.CodeType](code)
    return make, tuple(
        code.co_filename if isinstance(part, str) and part == _HIDDEN else part
        for part in parts
    )


def _memoized(function: Any) -> str | tuple[Any, ...]:
    """Reduce a function of ``lru_cache``: without its cache, if not to its name.

    cloudpickle knows only the name, by which engines do not find what is sent.
    """
    if importable_as(function):
        return str(function.__qualname__)
    return _memoize, (function.__wrapped__, function.cache_parameters())


def _memoize(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc] # it is untyped
    dispatch_table = cloudpickle.CloudPickler.dispatch_table.new_child(
        {types.CodeType: _filed, MEMOIZED: _memoized}
    )

    def _function_reduce(self, one: Any) -> Any:
        """Reduce a function; with what it has in place of builtins, if that is more."""
        reduced = super()._function_reduce(one)
        if one.__builtins__ is not vars(builtins) and isinstance(reduced, tuple):
            has, usual = one.__builtins__, vars(builtins)
            more = {name for name in has if has[name] is not usual.get(name, _NOTHING)}
            given = reduced[2][1]["__globals__"]
            for name in more.intersection(one.__code__.co_names) - given.keys():
                given[name] = has[name]
        return reduced


def by_value(value: object) -> bytes:
    """Pickle with cloudpickle; what only this process could import, by value."""
    script = sys.modules.get(SCRIPTS[1])
    if script is not None:
        # cloudpickle itself knows only the first name.
        cloudpickle.register_pickle_by_value(script)
    file = io.BytesIO()
    _Pickler(file, _PROTOCOL).dump(value)
    return file.getvalue()


class MissingModule(UnmetDependency):
    """A module that ``@require`` names cannot be imported here."""


class _Wrapped:
    """The function inside, for ``inspect.signature`` and the like; a class has none."""

    def __get__(
        self, one: dependent[..., Any] | None, kind: type[object]
    ) -> Callable[..., Any]:
        if one is None:
            raise AttributeError(f"type {kind.__name__!r} wraps no function")
        return one.f


class dependent(Generic[P, V_co]):  # noqa: N801 - the name is IPython.parallel's
    """A function that runs only where ``df(*dargs, **dkwargs)`` is not ``False``.

    Attributes: ``f``, the function; ``df``, ``dargs``, ``dkwargs``; ``__name__``, that
    of the function. Calling it checks here and now, and raises ``UnmetDependency`` or
    calls the function. Raises ``TypeError`` if ``f`` or ``df`` is not callable.
    """

    def __init__(
        self,
        f: Callable[P, V_co],
        df: Callable[..., Any],
        /,
        *dargs: Any,
        **dkwargs: Any,
    ) -> None:
        for name, value in (("f", f), ("df", df)):
            if not callable(value):
                kind = type(value).__name__
                raise TypeError(f"{name} must be callable, not {kind}")
        self.df = df
        self.dargs = dargs
        self.dkwargs = dkwargs
        #: The function, and extra globals for it; None: still sealed.
        self._inside: tuple[Callable[..., Any], Mapping[str, Any]] | None = f, {}
        self._sealed = b""
        self.__name__ = getattr(f, "__name__", "f")
        self.__doc__ = getattr(f, "__doc__", None)
        # Importing the function's name may give this object.
        self.__module__ = getattr(f, "__module__", None) or "__main__"
        self.__qualname__ = getattr(f, "__qualname__", "<unnamed>")

    def _open(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        if self._inside is None:
            self._inside = pickle.loads(self._sealed)
        return self._inside

    @property
    def f(self) -> Callable[..., Any]:
        """The function."""
        return self._open()[0]

    def with_function(self, change: Callable[[Any], Any]) -> dependent[P, V_co]:
        """Return it with another function, made of the present one."""
        function, given = self._open()
        other = type(self).__new__(type(self))
        vars(other).update(vars(self), _inside=(change(function), given), _sealed=b"")
        return other

    __wrapped__ = _Wrapped()

    def __repr__(self) -> str:
        return f"<dependent {self.__name__}>"

    def check_dependency(
        self, awaited: Callable[[types.CoroutineType[Any, Any, Any]], Any] | None = None
    ) -> None:
        """Check here and now; raise ``UnmetDependency`` if the answer is ``False``.

        ``awaited`` returns the value of a coroutine, as a predicate that is a coroutine
        function returns one. Without it, such a predicate raises ``TypeError``.
        """
        self._check(self.df, awaited)

    def _check(
        self,
        df: Callable[..., Any],
        awaited: Callable[[types.CoroutineType[Any, Any, Any]], Any] | None,
    ) -> None:
        answer = df(*self.dargs, **self.dkwargs)
        name = getattr(df, "__name__", type(df).__name__)
        if type(answer) is types.CoroutineType:
            if awaited is None:
                answer.close()
                raise TypeError(
                    f"{name} returned a coroutine, which only an engine awaits"
                )
            answer = awaited(answer)
        if _is_no(answer):
            raise UnmetDependency(f"{name} returned False")

    def ready(
        self,
        given: Mapping[str, Any] | None = None,
        awaited: Callable[[types.CoroutineType[Any, Any, Any]], Any] | None = None,
    ) -> Callable[..., Any]:
        """Return the function to call, if all its dependencies are met here.

        A function may have several dependencies, nested. ``given`` is what the outer
        ones add to its globals; ``awaited`` is as in ``check_dependency``. Raises
        ``UnmetDependency``, and whatever a predicate raises.
        """
        given = given or {}
        self._check(_with(self.df, given), awaited)
        f, more = self._open()
        given = {**given, **self._modules(), **more}
        if isinstance(f, dependent):
            return f.ready(given, awaited)
        return _with(f, given)  # type: ignore[no-any-return]

    def _modules(self) -> Mapping[str, Any]:
        """Return the modules that are added to the function's globals."""
        return {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V_co:
        """Check here and now, and call the function."""
        return self.ready()(*args, **kwargs)  # type: ignore[no-any-return]

    def __reduce__(self) -> str | tuple[Any, ...]:
        if importable_as(self):
            return self.__qualname__
        sealing = _SEALING.get()
        if id(self) in sealing:
            # A recursive call: the running function has already passed the check.
            return _itself, (self.f,)
        sealed = self._sealed
        if not sealed:
            token = _SEALING.set(sealing | {id(self)})
            try:
                sealed = by_value(self._inside)
            finally:
                _SEALING.reset(token)
        about = self.__name__, self.__doc__, self.__module__, self.__qualname__
        return _unpickle, (type(self), sealed, self.df, self.dargs, self.dkwargs, about)


class _Requiring(dependent[P, V_co]):
    """A function that runs only where modules can be imported: ``dargs``, names."""

    def __init__(
        self, f: Callable[..., Any], names: list[str], objects: Mapping[str, Any]
    ) -> None:
        super().__init__(f, _import, *names)
        self._inside = f, objects

    def _modules(self) -> Mapping[str, Any]:
        # As `import os.path` does, which binds `os`.
        firsts = {name.partition(".")[0] for name in self.dargs}
        return {name: sys.modules[name] for name in firsts}


def _is_no(answer: object) -> bool:
    """Is it False, or that of NumPy, which comparisons of its values return?"""
    kind = type(answer)
    of_numpy = kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"}
    return answer is False or (of_numpy and not answer)


def _import(*names: str) -> bool:
    """Import modules; raise ``MissingModule`` for the first that is missing."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as problem:
            raise MissingModule(f"{name}: {problem}") from problem
    return True


def _itself(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _unpickle(
    kind: type[dependent],
    sealed: bytes,
    df: Callable[..., Any],
    dargs: tuple[Any, ...],
    dkwargs: dict[str, Any],
    about: tuple[str, str | None, str, str],
) -> dependent:
    one = kind.__new__(kind)
    one.df, one.dargs, one.dkwargs = df, dargs, dkwargs
    one._inside, one._sealed = None, sealed  # noqa: SLF001 - it is made here
    one.__name__, one.__doc__, one.__module__, one.__qualname__ = about
    return one


def bound(function: Any) -> Iterator[Any]:
    """Yield what is bound to a function: by partial, for a predicate, or required."""
    if isinstance(function, functools.partial):
        yield function.args, function.keywords
        yield from bound(function.func)
    elif isinstance(function, dependent):
        yield function.dargs, function.dkwargs
        yield from bound(function.df)
        if function._inside is not None:  # noqa: SLF001 - it is of this module
            inner, given = function._inside  # noqa: SLF001
            yield given
            yield from bound(inner)


def _with(function: Any, given: Mapping[str, Any]) -> Any:
    """Return a function with values added to its globals, however it is wrapped.

    A module that lives here keeps what it has under such a name: other functions use
    that. Then a function of it is copied, unless it is wrapped.
    """
    plain = plain_function(function) if given else None
    if plain is None:
        return function
    scope = plain.__globals__
    added = {
        name: value
        for name, value in given.items()
        if scope.get(name, _NOTHING) is not value
    }
    module = sys.modules.get(scope.get("__name__", ""))
    is_lent = module is not None and vars(module) is scope and plain is function
    if is_lent and not scope.keys().isdisjoint(added):
        return copied(plain, {**scope, **added})
    scope.update(added)
    return function


def copied(function: types.FunctionType, scope: dict[str, Any]) -> types.FunctionType:
    """Return a copy of a function with other globals."""
    made = types.FunctionType(
        function.__code__,
        scope,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    functools.update_wrapper(made, function)
    # That is for what calls the other.
    del made.__wrapped__  # type: ignore[attr-defined]
    return made


def plain_function(function: Any) -> types.FunctionType | None:
    """Return the function of Python inside, however it is wrapped, if there is one."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            break
    if not isinstance(function, types.FunctionType):
        # A callable object: the function is in its class.
        function = getattr(type(function), "__call__", None)  # noqa: B004
    return function if isinstance(function, types.FunctionType) else None


def depend(
    f: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Callable[[Callable[P, V_co]], dependent[P, V_co]]:
    """Let a function run only on engines where ``f(*args, **kwargs)`` is not False.

    ::

        @redtask.depend(has_memory, gigabytes=8)
        def work(x): ...

    Only ``False`` itself, or NumPy's, means no; ``None``, ``0`` and the like do not.
    ``f`` may also raise ``UnmetDependency``, whose message ``why`` then shows; and it
    may be a coroutine function, which engines await. Raises ``TypeError`` if ``f`` is
    not callable.
    """
    if not callable(f):
        raise TypeError(f"f must be callable, not {type(f).__name__}")

    def decorate(*given: Any, **named: Any) -> dependent[P, V_co]:
        return dependent(_only("depend", given, named), f, *args, **kwargs)

    return decorate


def require(
    *objects: Any, **mapping: Any
) -> Callable[[Callable[P, V_co]], dependent[P, V_co]]:
    """Let a function run only on engines that have what it needs, and bring the rest.

    ::

        @redtask.require("numpy", "os.path", helper, factor=3)
        def work(x):
            return factor * helper(numpy.asarray(x))

    Modules, or their names, are imported on the engine; where that fails, the task goes
    to another engine. Functions and classes, and any values by keyword, are sent along
    with the function. All become globals of the function, under the name that a module
    is imported as, of a function or class, or of the keyword. Raises ``TypeError`` for
    any other object.
    """
    names: list[str] = []
    things: dict[str, Any] = {}
    for one in objects:
        name = one if isinstance(one, str) else getattr(one, "__name__", None)
        if isinstance(one, (str, types.ModuleType)):
            names.append(str(name))
        elif callable(one) and name:
            things[name] = one
        else:
            raise TypeError(
                "require takes modules, names of modules, functions and classes, and "
                f"other objects by keyword, not {one!r}"
            )
    for name in (*names, *things):
        if not all(part.isidentifier() for part in name.split(".")):
            raise TypeError(f"not a name that a function could use: {name!r}")
    things |= mapping

    def decorate(*given: Any, **named: Any) -> dependent[P, V_co]:
        return _Requiring(_only("require", given, named), names, things)

    return decorate


def _only(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return the function to decorate, which must be all that is given.

    Without parentheses, what is to be decorated became the first condition, and the
    decorator is called in its place.
    """
    alone = len(given) == 1 and not named
    if not alone or not callable(given[0]):
        other = type(given[0]).__name__ if alone else "a list of arguments"
        raise TypeError(
            f"{name}() gives a decorator, and what it decorates must be callable, not "
            f"{other}: for '@{name}' above a function write @{name}(...) with what the "
            "function needs"
        )
    return given[0]


def interactive(function: Callable[P, V_co]) -> Callable[P, V_co]:
    """Make a function as if the script, or a cell of a notebook, defined it.

    It is sent by value, wherever it is defined, and its global names are the script's.
    As in IPython.parallel. Raises ``TypeError`` for what is no function of Python.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"interactive is for functions of Python, not {function!r}")
    made = copied(function, vars(sys.modules["__main__"]))
    made.__module__ = "__main__"
    return made


__all__ = [
    "MissingModule",
    "bound",
    "copied",
    "depend",
    "dependent",
    "interactive",
    "plain_function",
    "require",
]
