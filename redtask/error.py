"""All exceptions of redtask; the public ones are also exported by the package.

The docstring of a class is its default message. The names are IPython.parallel's where
it has one.

::

    RedtaskError
    ├── ConfigurationError      profile, URL, key or option are wrong
    ├── ServerError             the embedded Redis cannot be used
    ├── ClusterError            a cluster cannot be started, reached or stopped
    │   └── ClusterRunning          one of this profile runs already
    ├── SchemeError             a scheme is invalid or unknown
    ├── ConnectionLost          Redis cannot be reached
    ├── NotDurable              tasks are submitted, and not known to be durable
    ├── HubError                the hub refused: one class per REDTASK_CODE
    ├── SerializationError      something cannot be pickled, or not unpickled
    ├── SignatureError          a payload is not signed by a key we have
    ├── NoEnginesRegistered
    ├── UnmetDependency         raised by a task: not on this engine
    └── TaskError               a task ended without a result
        ├── RemoteError         it raised: ename, evalue, traceback, engine_info
        │   ├── CompositeError      several did
        │   ├── EngineError         its engine died
        │   ├── ImpossibleDependency    no engine can ever run it (also UnmetDependency)
        │   │   └── InvalidDependency       it depends on no task, or on itself
        │   ├── TaskTimeout         it waited for too long
        │   │   └── DependencyTimeout       (also ImpossibleDependency)
        │   └── TimeLimitExceeded   it ran for too long
        ├── TaskAborted         (also concurrent.futures.CancelledError)
        └── TaskLost            its record vanished
"""

from __future__ import annotations

import concurrent.futures
import re
from typing import TYPE_CHECKING, Any, Final

from redtask import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TimeoutError = TimeoutError  # noqa: A001, PLW0127 - ipyparallel.error has it too


def _default_message(kind: type) -> str:
    """Return the docstring of an error, or of its nearest base that has one.

    Classes of users may have none, and under ``python -OO`` there are none.
    """
    ours = (base for base in kind.__mro__ if issubclass(base, RedtaskError))
    return next((base.__doc__ for base in ours if base.__doc__), kind.__name__)


class RedtaskError(Exception):
    """Something went wrong in redtask."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(args or (_default_message(type(self)),)))

    def _render_traceback_(self) -> list[str]:
        # What IPython shows; else the frames of redtask would bury the rest.
        here = cells.way_to(self.__traceback__).rstrip()
        name, text = type(self).__name__, str(self)
        parts = [
            text if text.startswith(f"{name}: ") else f"{name}: {text}",
            here,
            *getattr(self, "__notes__", ()),
        ]
        return "\n".join(filter(None, parts)).splitlines()


#: IPython.parallel's name for the base of errors from engines and hub.
KernelError = RedtaskError


class ConfigurationError(RedtaskError):
    """The configuration is wrong."""


class NoRedis(ConfigurationError):
    """No Redis is known here: none was named, and no cluster runs."""


class ServerError(RedtaskError):
    """The embedded Redis server cannot be used."""


class ClusterError(RedtaskError):
    """The cluster cannot be started."""


class ClusterRunning(ClusterError):
    """A cluster of this profile is already running."""


class SchemeError(RedtaskError, ValueError):
    """The scheme cannot be used."""


class ConnectionLost(RedtaskError, ConnectionError):
    """Redis cannot be reached."""


class StillAway(ConnectionLost):
    """Redis cannot be reached just now, and who waits has no more time."""


class NotDurable(RedtaskError):
    """The tasks were submitted, but are not known to be durable.

    ``msg_ids`` are theirs; ``client.get_result(msg_ids)`` has their results.
    """

    def __init__(self, msg_ids: Sequence[str], durability: str, why: str) -> None:
        self.msg_ids = list(msg_ids)
        self.durability = durability
        tasks = (
            f"{len(self.msg_ids)} tasks are"
            if len(self.msg_ids) != 1
            else (f"task {self.msg_ids[0]} is")
        )
        super().__init__(
            f"{tasks} submitted, and not known to be durable ({durability}): {why}"
        )


class SerializationError(RedtaskError, TypeError):
    """This cannot be pickled."""


class SignatureError(RedtaskError):
    """The signature is missing, or made with a key that is not ours."""


class NoEnginesRegistered(RedtaskError):
    """No engine is registered with the hub."""


class UnmetDependency(RedtaskError):
    """The task cannot run on this engine; another one is to try."""


#: What can be done about a limit of the hub.
_RAISABLE: Final = "redtask configure --max-payload SIZE raises it, up to 512M"


class HubError(RedtaskError):
    """The hub refused the call."""

    #: The word after ``REDTASK_`` in the script's error reply.
    code = ""


class NoHub(HubError):
    """There is no hub of this name in this Redis."""

    code = "NOHUB"


class SchemaMismatch(HubError):
    """The hub's data is of another release."""

    code = "SCHEMA"


class SchemeChanged(HubError):
    """The hub's scheme has changed: load its scripts and call again."""

    code = "SCHEME"


class NotTesting(HubError):
    """Only a hub made for testing may be told the time."""

    code = "NOW"


class BadArgument(HubError, ValueError):
    """An argument of the call is wrong."""

    code = "BADARG"


class PayloadTooLarge(HubError, ValueError):
    """A payload is larger than the hub accepts.

    ``redtask configure --max-payload SIZE`` raises the limit, up to 512M.
    """

    code = "TOOLARGE"

    def __str__(self) -> str:
        said = super().__str__()
        # That of Redis cannot be raised, and is told in other words.
        return f"{said}: {_RAISABLE}" if "the limit is" in said else said


class UnknownFunction(HubError):
    """The hub does not know the function: send it along."""

    code = "NOFN"


class SubmitConflict(HubError):
    """The task's id is known with another function or other arguments."""

    code = "CONFLICT"


class PureScheme(HubError, ValueError):
    """The hub's scheme is pure, which has no such flag."""

    code = "PURE"


class NameTaken(HubError):
    """A worker of this name is running."""

    code = "NAMETAKEN"


class KeyRefused(ConfigurationError):
    """This cannot be done with the keys as they are."""


class UnknownKey(KeyRefused, LookupError):
    """There is no such key here."""


class NoWorker(HubError, KeyError):
    """The hub knows no worker of this name."""

    code = "NOWORKER"
    __str__ = Exception.__str__


class UnknownEngine(RedtaskError, LookupError):
    """There is no such engine."""


class UnknownTask(HubError, KeyError):
    """The hub does not know the task."""

    code = "NOTASK"
    __str__ = Exception.__str__


class AmbiguousTask(UnknownTask):
    """The id is abbreviated, and matches several tasks."""


class TaskPending(HubError, ValueError):
    """The task has not ended."""

    code = "PENDING"


class HubFull(HubError):
    """Redis is at its maxmemory: nothing was written; tasks go on draining."""

    code = "OOM"


class TaskError(RedtaskError):
    """The task ended without a result."""


class TaskAborted(TaskError, concurrent.futures.CancelledError):
    """The task was aborted."""


#: Why a task may be unknown.
GONE: Final = (
    "the hub has no such task: it has expired, was purged, or was never submitted"
)


class TaskLost(TaskError, KeyError):
    """The task's record is gone: expired, purged, or lost by Redis."""

    __str__ = Exception.__str__


class RemoteError(TaskError):
    """The task raised an exception on its engine.

    Attributes: ``ename`` and ``evalue``, name and text of the exception;
    ``traceback``, its text; ``engine_info``, a dict with ``engine_id``,
    ``engine_uuid``, ``host``, ``pid`` and ``method``. ``__cause__`` is the original
    exception when it could be rebuilt. Where nobody catches it, and where it is logged,
    Python shows the remote traceback as a note below the local one.
    """

    def __init__(
        self,
        ename: str,
        evalue: str,
        traceback: str = "",
        engine_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(ename, evalue)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.engine_info = engine_info or {}
        if traceback:
            self.add_note(f"{self._place}\n{traceback.rstrip()}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (self.ename, self.evalue, self.traceback, self.engine_info),
        )

    @property
    def _place(self) -> str:
        where = self.engine_info.get("engine_id")
        return "on an engine:" if where is None else f"on engine {where}:"

    def __str__(self) -> str:
        where = self.engine_info.get("engine_id")
        prefix = "" if where is None else f"[{where}:apply] "
        return f"{prefix}{self.ename}: {self.evalue}"

    def __repr__(self) -> str:
        where = self.engine_info.get("engine_id")
        label = "" if where is None else f"[{where}]"
        return f"<{type(self).__name__}{label}:{self.ename}({self.evalue})>"

    def render_traceback(self) -> list[str]:
        """Return the remote traceback as lines of text."""
        return (self.traceback or str(self)).splitlines()

    def print_traceback(self, excid: int | None = None) -> None:  # noqa: ARG002
        """Print the remote traceback; ``excid`` is that of a ``CompositeError``."""
        print("\n".join(self.render_traceback()))  # noqa: T201 - it says so


class Verdict(RemoteError):
    """The hub ended the task: its reason is ``evalue``."""

    def __init__(
        self,
        reason: str = "",
        traceback: str = "",
        engine_info: dict[str, Any] | None = None,
    ) -> None:
        kind = type(self)
        super().__init__(
            kind.__name__, reason or _default_message(kind), traceback, engine_info
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.evalue, self.traceback, self.engine_info)


class EngineError(Verdict):
    """The engine died, or was stopped, while it ran the task."""


class ImpossibleDependency(UnmetDependency, Verdict):
    """What the task depends on can never happen."""


class InvalidDependency(ImpossibleDependency):
    """The task depends on one that does not exist, or on itself."""


class TaskTimeout(Verdict):
    """The task waited longer than its timeout."""


class DependencyTimeout(TaskTimeout, ImpossibleDependency):
    """The task waited longer than its timeout."""


class TimeLimitExceeded(Verdict):
    """The task ran longer than its time limit."""


#: The exception for each verdict of the hub.
VERDICTS: Final[Mapping[str, type[Verdict]]] = {
    "engine_lost": EngineError,
    "impossible": ImpossibleDependency,
    "invalid": InvalidDependency,
    "timeout": DependencyTimeout,
    "time_limit": TimeLimitExceeded,
}


class CompositeError(RemoteError):
    """Several tasks failed.

    ``elist`` has one ``(ename, evalue, traceback, engine_info)`` per failure;
    ``errors`` the exceptions themselves. At most ``tb_limit`` are shown, and of those
    that failed at the same place only one traceback.
    """

    tb_limit = 4

    def __init__(self, message: str, errors: list[Exception] | None = None) -> None:
        super().__init__("CompositeError", message)
        self.message = message
        self.errors = list(errors or ())
        self.args = (message, self.errors)
        for error in self._different():
            for note in getattr(error, "__notes__", ()):
                self.add_note(note)

    def _different(self) -> list[Exception]:
        """Return the first failures that are not at the same place as another."""
        found: dict[object, Exception] = {}
        for error in self.errors:
            place: object = error
            if isinstance(error, RemoteError):
                frames = re.findall("^  .*", error.traceback, re.MULTILINE)
                place = error.ename, *frames
            found.setdefault(place, error)
            if len(found) == self.tb_limit:
                break
        return list(found.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.errors)

    @property
    def elist(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        """Name, text, traceback and engine of each failure."""
        return [
            (error.ename, error.evalue, error.traceback, error.engine_info)
            if isinstance(error, RemoteError)
            else (type(error).__name__, str(error), "", {})
            for error in self.errors
        ]

    def _lines(self, shown: Callable[[Exception], list[str]]) -> list[str]:
        lines = [self.message]
        for error in self.errors[: self.tb_limit]:
            lines += shown(error)
        if (more := len(self.errors) - self.tb_limit) > 0:
            lines.append(f".... {more} more exceptions ...")
        return lines

    def __str__(self) -> str:
        return "\n".join(self._lines(lambda error: [str(error)]))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({len(self.errors)})>"

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """Return one traceback, or the first ``tb_limit``, as lines of text.

        Raises ``IndexError`` if there is no such number.
        """
        return self._lines(_traced) if excid is None else _traced(self._one(excid))

    def print_traceback(self, excid: int | None = None) -> None:
        """Print one traceback, or the first ``tb_limit``."""
        print("\n".join(self.render_traceback(excid)))  # noqa: T201 - it says so

    def _one(self, excid: int) -> Exception:
        try:
            return self.errors[excid]
        except IndexError:
            count = len(self.errors)
            raise IndexError(f"it holds {count} errors, and no {excid}") from None

    def raise_exception(self, excid: int = 0) -> None:
        """Raise one of the failures by its number.

        Raises ``IndexError`` if there is no such number.
        """
        raise self._one(excid)


def _traced(error: Exception) -> list[str]:
    """Return the remote traceback of an error, under the engine it is from."""
    if not isinstance(error, RemoteError) or not error.traceback:
        return [str(error)]
    return [error._place, *error.render_traceback()]  # noqa: SLF001


def _by_code() -> dict[str, type[HubError]]:
    return {kind.code: kind for kind in HubError.__subclasses__()}


def from_reply(text: str) -> RedtaskError | None:
    """Return the exception for an error reply of a script; None if it is not ours.

    ``text`` is what Redis sent, for example ``REDTASK_NOFN x7Gk``. At maxmemory Redis
    rejects a script before its first write, with an error of its own.
    """
    # Redis 6.2 wraps the message; with Redis 7, redis-py drops the code OOM.
    if "command not allowed when used memory" in text:
        return HubFull()
    word, _, sentence = text.partition(" ")
    kind = _by_code().get(word.removeprefix("REDTASK_"))
    if kind is None or not word.startswith("REDTASK_"):
        return None
    return kind(sentence)
