"""Classes of the script in what comes back: those known here stay as they are.

cloudpickle sends such a class with all that it has, under an id. Where a class of that
id is known, it sets all of that anew: a result would undo what was assigned to the
class since the call, and put copies in place of its methods.
"""

from __future__ import annotations

import functools
import io
import pickle
import re
from typing import TYPE_CHECKING, Any, Final

from cloudpickle import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.rope import Read

#: What makes a class, empty or the one that is known, and what fills it.
_MAKES: Final = frozenset({"_make_skeleton_class", "_make_skeleton_enum"})
_FILLS: Final = "_class_setstate"
_MENTION: Final = re.compile(_FILLS.encode())
#: Place of the id among the arguments of what makes a class.
_ID: Final = -2


class _Unpickler(pickle.Unpickler):
    """Fills only classes that it has made itself."""

    def __init__(self, data: Read) -> None:
        super().__init__(io.BytesIO(data))
        self._known: set[type] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        if module == cloudpickle.__name__:
            if name in _MAKES:
                return functools.partial(self._make, found)
            if name == _FILLS:
                return functools.partial(self._fill, found)
        return found

    def _make(self, make: Callable[..., type], *args: Any) -> type:
        # A cloudpickle that keeps them elsewhere fills all, as it does by itself.
        tracked = getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
        is_known = args[_ID] in tracked
        made = make(*args)
        if is_known:
            self._known.add(made)
        return made

    def _fill(self, fill: Callable[..., type], made: type, state: Any) -> type:
        return made if made in self._known else fill(made, state)


def loads(data: Read) -> Any:
    """Unpickle; classes of the script that are known here are not changed."""
    if _MENTION.search(data) is None:
        return pickle.loads(data)
    return _Unpickler(data).load()
