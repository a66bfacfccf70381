"""Conversations of several steps, as generators. No I/O here.

A flow yields what is to be done - a ``Call``, perhaps with something to be done
``Meanwhile``, plain ``Commands``, what is large to
``Fetch``, a blocking read to ``Hear``, or a ``Wait`` - and gets back what came of it.
A driver performs the steps, one blocking, one awaiting; so both faces share every flow,
and a test can hold the conversation by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from redtask.hub.calls import Call

if TYPE_CHECKING:
    from redtask.inbox import Inbox, TaskSet

T = TypeVar("T")

#: When nothing has arrived for so many seconds, the records are asked.
QUIET: Final = 5.0
#: Ids in one call.
SLICE: Final = 500


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """A call, and what is to be done while its reply is on its way."""

    #: What is performed.
    call: Call[Any]
    #: Waits for nothing and raises nothing; perhaps not called if the call fails.
    act: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Commands:
    """Plain reads, in one round trip."""

    #: The words of each.
    commands: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Plain reads of what may be large, in one round trip."""

    #: The words of each.
    commands: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Hear:
    """One blocking read, of ``link.LONGEST_BLOCK`` seconds at most, not repeated."""

    #: Its words.
    words: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until something arrives; True if it did."""

    #: Whose stream tells.
    inbox: Inbox
    #: Where it is to arrive: one set, or anywhere in the inbox.
    tasks: TaskSet | Inbox
    #: How many had arrived when the flow last looked.
    seen: int
    #: At most so many seconds.
    seconds: float


Step: TypeAlias = Call[Any] | Meanwhile | Commands | Fetch | Hear | Wait
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """Perform one call."""
    value: T = yield call
    return value
