"""Multi-step interactions with the hub, as generators. No I/O here.

A flow yields the next step - a ``Call``, possibly with work to do ``Meanwhile``, plain
``Commands``, large values to ``Fetch``, a blocking read to ``Hear``, a ``Pause`` or a
``Wait`` - and is sent its result. There are two drivers, a blocking one and one for
asyncio, so both APIs share every flow, and a test can drive one by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from redtask.hub.calls import Call

if TYPE_CHECKING:
    from redtask.inbox import Inbox, TaskSet

T = TypeVar("T")

#: After this many seconds without an arrival the records are read.
QUIET: Final = 5.0
#: Ids in one round trip of plain reads.
SLICE: Final = 500
#: Tasks in one call of a script that looks at the record of each: it takes some 4 ms,
#: during which Redis serves nobody else.
CALL: Final = 100


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """A call, and work to do while waiting for its reply."""

    #: The call.
    call: Call[Any]
    #: Must neither block nor raise; may not be called if the call fails.
    act: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Commands:
    """Plain reads in one round trip."""

    #: The commands, each a list of words.
    commands: Sequence[Sequence[Any]]
    #: How long the server may wait before it replies, in seconds.
    held: float = 0.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Plain reads of possibly large values, in one round trip."""

    #: The commands, each a list of words.
    commands: Sequence[Sequence[Any]]


def anybody() -> bool:
    """Somebody waits."""
    return True


def nobody() -> bool:
    """Whoever it is only listens."""
    return False


@dataclass(frozen=True, slots=True)
class Hear:
    """One blocking read of at most ``link.LONGEST_BLOCK`` seconds, never retried.

    Whoever waits until some tasks have ended says what a hub in the process of a test
    should know.
    """

    #: The command.
    words: Sequence[Any]
    #: The tasks; (): it is about others than tasks.
    ids: Sequence[str] = ()
    #: Timeout, as in the command.
    seconds: float = QUIET
    #: As in ``Wait``.
    wanted: Callable[[], bool] = anybody


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    #: How long.
    seconds: float


@dataclass(frozen=True, slots=True)
class Awaited:
    """For what somebody surely waits, rather than perhaps."""

    #: For how long, in seconds; 0: nobody does.
    seconds: float
    #: Some of the tasks for which somebody waits for ever.
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for an arrival; the result says whether there was one."""

    #: The inbox to listen on.
    inbox: Inbox
    #: Where to expect it: in one set, or anywhere in the inbox.
    tasks: TaskSet | Inbox
    #: Number of arrivals when the flow last looked.
    seen: int
    #: Timeout.
    seconds: float
    #: How long the caller is going to wait in all, in seconds: as a rule, in several
    #: steps.
    patience: float = math.inf
    #: Does anybody wait, rather than listen? Only then a hub in the process of a test
    #: runs tasks meanwhile.
    wanted: Callable[[], bool] = anybody
    #: Tells such a hub who surely waits, where that may change; instead of patience.
    awaited: Callable[[], Awaited] | None = None


Step: TypeAlias = Call[Any] | Meanwhile | Commands | Fetch | Hear | Pause | Wait
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """Perform one call."""
    value: T = yield call
    return value
