"""Notes what a block of code imports, so that others can import it as well. No I/O."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import pkgutil
import sys
import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: An import: the name that is given, the module, and what of it, if not itself. An
#: empty name: the module is imported, and none is given.
Import = tuple[str, str, str]

#: Of these, one is known by any name that it has; of others, by that in the module.
_NAMED: Final = (
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    type,
)


class _StandIn(types.ModuleType):
    """A module that is not imported here."""

    __all__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # A function that is sent uses what its engine imports.
        return pkgutil.resolve_name, (self.__name__,)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        part = _StandIn(f"{self.__name__}.{name}")
        setattr(self, name, part)
        return part


class Imports:
    """The imports of a block: those that stand in it, not those of what it calls.

    Without ``local`` they do not happen here. Unless ``quiet``, each is told.
    """

    def __init__(self, *, local: bool, quiet: bool) -> None:
        self._local = local
        self._quiet = quiet
        self._frame: types.FrameType | None = None
        self._noted: list[tuple[str, Sequence[str], Any]] = []

    def begin(self, frame: types.FrameType) -> None:
        """Note what code of this frame imports from now on."""
        self._frame = frame
        self._before = builtins.__import__
        builtins.__import__ = self._import

    def end(self) -> list[Import]:
        """Note no more; return what was imported."""
        if builtins.__import__ == self._import:
            # Else a block of another thread began meanwhile, and goes by this one.
            builtins.__import__ = self._before
        assert self._frame is not None  # noqa: S101 - it has begun
        scope = self._frame.f_locals
        # It would keep all that the block refers to.
        self._frame = None
        found = [
            one
            for module, wanted, value in self._noted
            for one in _imports(module, wanted, value, scope)
        ]
        return list(dict.fromkeys(found))

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - as Python calls it
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if self._frame is None or sys._getframe(1) is not self._frame:  # noqa: SLF001 - nothing else tells
            return self._before(name, globals, locals, fromlist or (), level)
        module = name
        if level:
            package = str((globals or {}).get("__package__") or "")
            module = importlib.util.resolve_name("." * level + name, package)
        self._tell(module, fromlist or ())
        if self._local:
            value = self._before(name, globals, locals, fromlist or (), level)
        else:
            value = _StandIn(module if fromlist else module.partition(".")[0])
        self._noted.append((module, tuple(fromlist or ()), value))
        return value

    def _tell(self, module: str, wanted: Sequence[str]) -> None:
        if not self._quiet:
            what = f"{', '.join(wanted)} from {module}" if wanted else module
            print(f"importing {what} on engine(s)")  # noqa: T201 - as the original


def _imports(
    module: str, wanted: Sequence[str], value: Any, scope: Mapping[str, Any]
) -> Iterator[Import]:
    """Yield the imports of one statement, by the names that the block gave them."""
    for what in wanted:
        if what == "*":
            yield "*", module, "*"
            continue
        for name in _names_of(getattr(value, what, None), scope) or [what]:
            yield name, module, what
    if wanted:
        return
    first, *rest = module.split(".")
    part = functools.reduce(getattr, rest, value)
    others = [name for name in _names_of(part, scope) if name != first]
    if rest and (scope.get(first) is value or not others):
        yield "", module, ""
    if scope.get(first) is value or not others:
        yield first, first, ""
    for name in others:
        yield name, module, ""


def _names_of(value: Any, scope: Mapping[str, Any]) -> list[str]:
    """Return the names by which the block knows a module, function or class."""
    if not isinstance(value, _NAMED):
        return []
    return [name for name, one in scope.items() if one is value]


__all__ = ["Import", "Imports"]
