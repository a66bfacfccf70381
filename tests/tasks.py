"""What tests let engines do: functions that engines import by name."""

from __future__ import annotations

import builtins
import contextlib
import functools
import logging
import os
import signal
import sys
import time
from pathlib import Path

import redtask

DEADLINE = 20


def noop(*_, **__):
    """Do nothing."""


def double(x):
    """Return twice as much."""
    return 2 * x


def add(x, y=1):
    """Add."""
    return x + y


def first_of(x, *_):
    """Return the first argument."""
    return x


def tell_progress(gate, *words):
    """Say some words, and wait at a gate after each of them."""
    task = redtask.current_task()
    for number, word in enumerate(words):
        sys.stdout.write(f"{word}\n")
        sys.stderr.write(f"err {word}\n")
        task.progress(number, word, total=len(words))
        pass_gate(f"{gate}{number}")
    return task.id, task.attempt, task.engine_id, task.label, task.queue, task.retries


def log(words):
    """Log something, as an application does."""
    logging.getLogger("application").info(words)


def ignore_interrupts(path):
    """Say that it runs, and go on whatever happens."""
    Path(path).touch()
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(DEADLINE)


def keep_bytes(count):
    """Keep so much memory for good; return the process."""
    kept = bytearray(count)
    for at in range(0, count, 4096):
        kept[at] = 1
    vars(builtins)["kept"] = kept
    return os.getpid()


def print_and_die(word):
    """Print something, and take the engine along."""
    sys.stdout.write(word)
    redtask.current_task().progress(0.5, "dying")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(x=None):
    """Raise."""
    raise ValueError(f"no {x}")


def fail_loudly():
    """Raise what a terminal would obey."""
    raise ValueError("first\x1b]0;owned\x07\n\x9b2Jsecond")


def invert(x):
    """Fail for zero."""
    return 1 / x


def fail_odd(x):
    """Raise for what is odd."""
    if x % 2:
        raise ValueError(f"odd {x}")
    return x


def total(values):
    """Return a list with the sum of a piece."""
    return [sum(values)]


def talk(text):
    """Print on both streams."""
    print(text)  # noqa: T201
    print(text, file=sys.stderr)  # noqa: T201


def size_of(data):
    """Return a length."""
    return len(data)


def note(path):
    """Write a line into a file."""
    with Path(path).open("a") as file:
        file.write("ran\n")


@functools.cache
def memoized(value):
    """Return the value, which is kept."""
    return value


def pass_gate(path, value=None):
    """Wait until a file is there; return the value."""
    gate = Path(path)
    deadline = time.monotonic() + DEADLINE
    while not gate.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened {path}")
        time.sleep(0.002)
    return value


class StubbornError(Exception):
    """An exception that cannot be rebuilt from its arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_stubborn():
    """Raise what cannot be unpickled."""
    raise StubbornError(1, 2)


def raise_this(problem):
    """Raise an exception."""
    raise problem


def unpicklable():
    """Return what cannot be pickled."""
    return sys._getframe()


async def later(x):
    """Return a value from a coroutine."""
    return x
