"""Exceptions that signal handlers raise in the midst of whatever they interrupt.

A program may limit its own time, say, by an alarm whose handler raises
``TimeoutError``. If that hits while a value is unpickled, it says nothing about the
value.
"""

from __future__ import annotations

import functools
import inspect
import signal
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def let_through(problem: BaseException) -> None:
    """Raise an exception again if it is that of a signal handler."""
    if is_of_handler(problem):
        raise problem


def is_of_handler(problem: BaseException) -> bool:
    """Was this exception raised by a signal handler, or by what that has called?"""
    frames = list(_frames(problem))
    if any(map(_was_told_of_its_caller, frames)):
        return True
    # It may have forgotten what it was told.
    codes = set(_codes_of_handlers())
    return any(frame.f_code in codes for frame in frames)


def _frames(problem: BaseException) -> Iterator[types.FrameType]:
    traceback = problem.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _was_told_of_its_caller(frame: types.FrameType) -> bool:
    """Is it a call whose arguments name the very frame that it interrupted?

    No other calls have such, and it does not matter how the handler was registered, or
    whether it still is.
    """
    code, caller = frame.f_code, frame.f_back
    if caller is None:
        return False
    # Of *args the name stands behind those of all others.
    several = bool(code.co_flags & inspect.CO_VARARGS)
    named = code.co_argcount + code.co_kwonlyargcount + several
    names = code.co_varnames[:named]
    return any(_names(frame.f_locals.get(name), caller) for name in names)


def _names(value: Any, frame: types.FrameType) -> bool:
    return value is frame or (
        type(value) is tuple and any(one is frame for one in value)
    )


def _codes_of_handlers() -> Iterator[types.CodeType]:
    for number in signal.valid_signals():
        code = _code_of(signal.getsignal(number))
        if code is not None:
            yield code


def _code_of(handler: Any) -> types.CodeType | None:
    """Return the code that runs when a handler is called; None: it is not in Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if isinstance(handler, types.MethodType):
        handler = handler.__func__
    if not callable(handler):
        # One of the signal module's own constants.
        return None
    if not isinstance(handler, types.FunctionType):
        # An object with a method for it.
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)


__all__ = ["is_of_handler", "let_through"]
