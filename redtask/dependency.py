"""Dependencies of tasks, and references to results. No I/O here.

Whether a dependency is met by the outcomes of its members is arithmetic; the hub does
the same in Lua, by counting.
"""

from __future__ import annotations

import contextlib
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping

_ID: Final = re.compile(r"[a-z0-9]+-[0-9]+")
_LONGEST: Final = 64


def is_id(name: object) -> bool:
    """Is this a valid id of a task?"""
    return (
        isinstance(name, str)
        and len(name) <= _LONGEST
        and _ID.fullmatch(name) is not None
    )


def _ids_of(one: object) -> list[str] | None:
    """Return the ids of an id or a result; None: it is neither."""
    if isinstance(one, str):
        return [str.__str__(one)]
    ids = getattr(one, "msg_ids", None)
    return None if ids is None else list(ids)


def ids_in(dependencies: Any) -> list[str]:
    """Return the ids of an id, a result, or an iterable of them.

    In the order given, each once. Raises ``TypeError`` for anything else.
    """
    found = _ids_of(dependencies)
    if found is None:
        found = []
        try:
            members = iter(dependencies)
        except TypeError:
            raise TypeError(_not_a("dependency", dependencies)) from None
        for one in members:
            ids = _ids_of(one)
            if ids is None:
                raise TypeError(_not_a("member of a dependency", one))
            found += ids
    return list(dict.fromkeys(found))


def _not_a(what: str, value: object) -> str:
    return f"a {what} is an id or a result, not {type(value).__name__}: {value!r}"


class Dependency(set[str]):
    """Ids of tasks, and the outcomes that satisfy the dependency.

    :param dependencies: an id, a result, or an iterable of them; also what
        ``as_dict`` returned.
    :param all: must all members have such an outcome, or is one enough?
    :param success: does the success of a member count?
    :param failure: does a member count that failed, was aborted, or could never run?

    Without members it is met. Raises ``ValueError`` if neither outcome counts, and
    ``TypeError`` for a member that is neither id nor result. Comparison ignores the
    conditions: two sets with the same members are equal.
    """

    def __init__(
        self,
        dependencies: Any = (),
        all: bool = True,  # noqa: A002 - IPython.parallel's
        success: bool = True,
        failure: bool = False,
    ) -> None:
        if isinstance(dependencies, dict):
            about = dependencies
            if "dependencies" not in about:
                raise TypeError(
                    "a dict is not a dependency, unless as_dict returned it"
                )
            dependencies = about["dependencies"]
            all = about.get("all", all)  # noqa: A001
            success = about.get("success", success)
            failure = about.get("failure", failure)
        if not success and not failure:
            raise ValueError("a dependency must count success, failure, or both")
        self.all = bool(all)
        self.success = bool(success)
        self.failure = bool(failure)
        self._given = tuple(ids_in(dependencies))
        super().__init__(self._given)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ordered(), self.all, self.success, self.failure)

    def __repr__(self) -> str:
        flags = f"all={self.all}, success={self.success}, failure={self.failure}"
        return f"{type(self).__name__}({self.ordered()!r}, {flags})"

    def copy(self) -> Dependency:
        """Return a copy with the same members and conditions."""
        return Dependency(self.ordered(), self.all, self.success, self.failure)

    def ordered(self) -> list[str]:
        """Return the members in the order given; those added later come last."""
        given = [name for name in self._given if name in self]
        return given if len(given) == len(self) else [*given, *sorted(self - {*given})]

    @property
    def is_plain(self) -> bool:
        """Does it require the success of all members, and nothing else?"""
        return self.all and self.success and not self.failure

    def check(
        self, completed: Collection[str], failed: Collection[str] | None = None
    ) -> bool:
        """Is it met, given the tasks that succeeded and those that failed?"""
        if not self:
            return True
        counted: set[str] = set()
        if self.success:
            counted |= self.intersection(completed)
        if self.failure and failed is not None:
            counted |= self.intersection(failed)
        return len(counted) == len(self) if self.all else bool(counted)

    def unreachable(
        self, completed: Collection[str], failed: Collection[str] | None = None
    ) -> bool:
        """Can it no longer be met, given the tasks that succeeded and failed?"""
        if not self:
            return False
        fatal: set[str] = set()
        if not self.success:
            fatal |= self.intersection(completed)
        if not self.failure and failed is not None:
            fatal |= self.intersection(failed)
        return bool(fatal) if self.all else len(fatal) == len(self)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a dict of plain values, from which it can be rebuilt."""
        return {
            "all": self.all,
            "success": self.success,
            "failure": self.failure,
            "dependencies": self.ordered(),
        }

    @property
    def letters(self) -> str:
        """The conditions in the hub's notation: a(ll) or n(any), s, f."""
        return (
            ("a" if self.all else "n")
            + ("s" if self.success else "")
            + ("f" if self.failure else "")
        )

    def text(self) -> str:
        """Return it in the hub's notation: ``as c-1 c-2``."""
        return " ".join([self.letters, *self.ordered()])


class Ref:
    """A placeholder among the arguments of a call for the result of another task.

    :param task: the id of a task, the result of one call, or, in the jobs of
        ``submit_graph``, a node of the graph.

    The engine replaces it by the result before it calls the function. So the call waits
    until the task has succeeded, and is impossible if it fails.

    Raises ``TypeError`` for the result of several tasks: ``split`` it.
    """

    __slots__ = ("task",)

    def __init__(self, task: Any) -> None:
        ids = None if isinstance(task, str) else _ids_of(task)
        if ids is not None:
            if len(ids) != 1 or not getattr(task, "_single", True):
                raise TypeError(
                    "a Ref is to one task: split() the result, one Ref for each part"
                )
            (task,) = ids
        try:
            hash(task)
        except TypeError:
            raise TypeError(
                f"a Ref is to an id, a result or a node, not {type(task).__name__}"
            ) from None
        self.task: Hashable = task

    def __repr__(self) -> str:
        return f"Ref({self.task!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.task == other.task

    def __hash__(self) -> int:
        return hash((Ref, self.task))

    def __reduce__(self) -> tuple[Any, ...]:
        met = _met.get()
        task = self.task if met is None else met(self)
        return resolve, (task,)


#: Called with each Ref that is pickled; returns its replacement on the engine.
_met: ContextVar[Callable[[Ref], Hashable] | None] = ContextVar("met", default=None)
#: Returns the result for an id.
_resolver: ContextVar[Callable[[str], Any] | None] = ContextVar(
    "resolver", default=None
)


def resolve(task: Any) -> Any:
    """Return the result that a Ref stands for; without a resolver, the Ref.

    A pickled Ref is a call of this function.
    """
    resolver = _resolver.get()
    return Ref(task) if resolver is None else resolver(task)


@contextlib.contextmanager
def resolving(resolver: Callable[[str], Any]) -> Iterator[None]:
    """Replace each Ref that is unpickled in the block: id -> result."""
    token = _resolver.set(resolver)
    try:
        yield
    finally:
        _resolver.reset(token)


def collecting(
    dumps: Callable[[object], bytes],
    value: object,
    nodes: Mapping[Any, str] | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    """Return the pickled value, and the ids of the tasks that it refers to.

    ``nodes`` maps the nodes of a graph to ids. A Ref to what is neither a node nor an
    id raises ``ValueError``, however ``dumps`` reports errors. Threads may pickle at
    the same time.
    """
    refs: dict[str, None] = {}
    strangers: list[Ref] = []

    def meet(ref: Ref) -> str:
        found = None if nodes is None else nodes.get(ref.task)
        if found is None:
            task = ref.task
            if not isinstance(task, str) or not is_id(task):
                strangers.append(ref)
                raise no_task(ref)
            found = task
        refs[found] = None
        return found

    try:
        return _meeting(meet, dumps, value), tuple(refs)
    except Exception:
        if not strangers:
            raise
        (ref, *_) = strangers
        raise (no_task(ref) if nodes is None else no_predecessor(ref.task)) from None


def no_task(ref: Ref) -> ValueError:
    """Return the error for a Ref, in a call, to what is no task."""
    return ValueError(
        f"{ref!r} refers to no task: outside of submit_graph, a Ref is to an id or a "
        "result"
    )


def no_predecessor(task: Hashable) -> ValueError:
    """Return the error for a Ref, in the job of a node, to what does not precede it."""
    return ValueError(f"Ref({task!r}) is not to one of the node's predecessors")


def refs_in(dumps: Callable[[object], bytes], value: object) -> list[Ref]:
    """Return the Refs in a value, which is pickled to find them."""
    found: list[Ref] = []

    def meet(ref: Ref) -> Hashable:
        found.append(ref)
        return ref.task

    _meeting(meet, dumps, value)
    return found


def _meeting(
    meet: Callable[[Ref], Hashable], dumps: Callable[[object], bytes], value: object
) -> bytes:
    token = _met.set(meet)
    try:
        return dumps(value)
    finally:
        _met.reset(token)
