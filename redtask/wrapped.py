"""What remote and parallel functions of both faces share. No I/O here."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from redtask import inputs, payload
from redtask.flags import NAMES, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.inbox import TaskSet
    from redtask.outcomes import Pieces

P = TypeVar("P", bound="Pieces")


def must_be_called(name: str, view: object, first: object) -> None:
    """Refuse a decorator that was written without its parentheses.

    ``name`` is its name; ``view`` and ``first`` are its first arguments. Raises
    ``TypeError`` if one of them is the function to decorate.
    """
    if callable(view):
        raise TypeError(f"{name} is given a view: write @{name}(view)")
    if callable(first):
        raise TypeError(f"{name} is called first: write @view.{name}()")


class Wrapped:
    """A function that runs on the engines of a view."""

    def __init__(
        self,
        view: Any,
        f: Callable[..., Any],
        block: bool | None = None,
        **flags: Any,
    ) -> None:
        self.view = view
        self.func = f
        self.block = block
        self.flags = flags
        for name in flags:
            if name not in NAMES and name != "balanced":
                raise KeyError(unknown(name))
        functools.update_wrapper(self, f, updated=())
        self.__doc__ = f"{type(self).__name__} wrapping:\n{f.__doc__}"
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(f)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {payload.name_of(self.func)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it on an engine."""
        raise NotImplementedError

    def _bound(self) -> Any:
        """Return a view with the flags of this function."""
        flags = dict(self.flags)
        if self.block is not None:
            flags["block"] = self.block
        return self.view.with_flags(**flags)

    def _record(self, view: Any) -> None:
        # Both are views, of either face.
        self.view._history.extend(view.history)  # noqa: SLF001


class WrappedParallel(Wrapped):
    """A function that runs on parts of sequences."""

    def __init__(  # noqa: PLR0913, PLR0917 - IPython.parallel's
        self,
        view: Any,
        f: Callable[..., Any],
        dist: str = "b",
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **flags: Any,
    ) -> None:
        super().__init__(view, f, block, **flags)
        inputs.check_dist(dist)
        self.dist = dist
        self.chunksize = chunksize
        self.ordered = ordered
        self.return_exceptions = return_exceptions

    def _options(self) -> dict[str, Any]:
        """Return the options of the view's map."""
        options: dict[str, Any] = {
            "ordered": self.ordered,
            "return_exceptions": self.return_exceptions,
        }
        if self.chunksize is not None:
            # What gives each engine one part has none.
            options["chunksize"] = self.chunksize
        return options

    def _chunks(
        self, sequences: Sequence[Any], count: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Cut sequences into the arguments of one call per chunk.

        ``count``: into so many chunks, if there are as many items.
        """
        items, length = inputs.as_sequences(sequences, whole=True)
        if any(len(one) != length for one in items):
            raise ValueError("all sequences must have equal length!")
        if count is None:
            sizes = inputs.chunk_sizes(length, inputs.chunk_of(self.chunksize))
        elif self.chunksize is not None:
            raise TypeError("each engine gets one part: there is no chunksize")
        else:
            sizes = inputs.shares(length, min(length, count))
        if self.dist == "r":
            count = len(sizes)
            return [tuple(one[at::count] for one in items) for at in range(count)]
        return list(inputs.slices(items, sizes))

    def _joined(self, kind: type[P], view: Any, tasks: TaskSet) -> P:
        """Return the joint result of the chunks' calls."""
        name = payload.name_of(self.func)
        result = kind(
            view.client, tasks, name, return_exceptions=self.return_exceptions
        )
        result.stripes = self.dist == "r"
        return result
