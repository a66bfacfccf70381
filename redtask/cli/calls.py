"""Calls as written on a command line: ``20 "two words" mode=fast limit=[1,2]``.

A word is parsed as JSON if possible, and otherwise is a string; ``name=value`` is a
keyword argument. ``'"20"'`` is the string 20.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redtask.bulk import Job
from redtask.payload import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEYWORD: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_QUOTES: Final = re.compile(r"[\"'\\]")
_KEYS: Final = frozenset({"function", "args", "kwargs"})


def value_of(word: str) -> Any:
    """Return the value of a word."""
    # Most words are not JSON: this is quicker than trying.
    if word[:1] not in _BEGINNINGS and word not in _NAMES:
        return word
    try:
        return json.loads(word)
    except ValueError:
        return word


_BEGINNINGS: Final = frozenset('0123456789-"[{')
_NAMES: Final = frozenset({"true", "false", "null"})


def check_function(name: str) -> str:
    """Check the name of a function and return it. Raises ``ValueError``."""
    if BY_NAME.fullmatch(name):
        return name
    module, dot, last = name.rpartition(".")
    hint = f", did you mean {module}:{last}?" if dot else ""
    raise ValueError(f"{name!r} is not the name of a function, module:name{hint}")


@dataclass(frozen=True, slots=True)
class Reading:
    """How words and lines are parsed."""

    #: The function; None: the first word of each line.
    function: str | None = None
    #: Arguments in front of those of each line.
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    #: Are words taken as strings, without parsing?
    strings: bool = False
    #: Is each whole line one argument?
    lines: bool = False

    def words(self, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for these words. Raises ``ValueError``."""
        if self.strings:
            return list(words), {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for word in words:
            if found := _KEYWORD.fullmatch(word):
                if found[1] in kwargs:
                    raise ValueError(f"{found[1]} is given twice")
                kwargs[found[1]] = value_of(found[2])
            else:
                args.append(value_of(word))
        return args, kwargs

    def line(self, line: str) -> Job | None:
        """Return the call for a line; None: it is empty.

        A line may also be a JSON array of arguments, or an object with ``args``,
        ``kwargs`` and ``function``. Raises ``ValueError``.
        """
        text = line.rstrip("\r\n")
        if self.lines:
            return self._job(self.function, [text], {})
        if not text.strip():
            return None
        if not self.strings and text.lstrip()[:1] in {"[", "{"}:
            return self._of_json(text)
        words = shlex.split(text) if _QUOTES.search(text) else text.split()
        function = self.function
        if function is None:
            function, words = words[0], words[1:]
        return self._job(function, *self.words(words))

    def _of_json(self, text: str) -> Job:
        found = json.loads(text)
        if isinstance(found, list):
            return self._job(self.function, found, {})
        if unknown := found.keys() - _KEYS:
            raise ValueError(
                f"an object has function, args and kwargs, not {min(unknown)!r}"
            )
        args, kwargs = found.get("args", []), found.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError("args are an array, kwargs an object")  # noqa: TRY004
        return self._job(found.get("function", self.function), args, kwargs)

    def _job(
        self, function: str | None, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Job:
        if function is None:
            raise ValueError("it names no function")
        if function is not self.function:
            check_function(function)
        return Job(function, [*self.args, *args], {**self.kwargs, **kwargs})
