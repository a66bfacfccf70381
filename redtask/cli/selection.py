"""The selection of tasks, with the same options for every command.

::

    @click.command("purge")
    @selection_options
    def command(*, chosen: Selection) -> None: ...
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from redtask.cli import proposals
from redtask.cli.spans import MOMENT, moment
from redtask.error import VERDICTS
from redtask.spelling import suggestion

if TYPE_CHECKING:
    from datetime import datetime

    from redtask.flows import Flow
    from redtask.query import Query
    from redtask.session import Session

F = TypeVar("F", bound=Callable[..., Any])

#: States, in the order in which a task passes them.
_STATES: Final = (
    "waiting", "ready", "assigned", "running", "completed", "failed", "aborted",
)  # fmt: skip
_TIMES: Final = ("submitted", "started", "completed", "received")


@dataclass(frozen=True, slots=True)
class Selection:
    """Tasks selected by their ids or by a query."""

    #: Ids, or their beginnings; ``-`` reads ids from standard input.
    names: tuple[str, ...] = ()
    #: Conditions that must all hold.
    query: Query | None = None
    #: Only tasks to which something happened since then.
    since: datetime | None = None
    #: At most this many.
    limit: int | None = None
    #: States that the options name, if any.
    states: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Is nothing selected?"""
        return not self.names and not self.by_query

    @property
    def by_query(self) -> bool:
        """Are tasks selected by a query?"""
        return self.query is not None or self.since is not None

    @property
    def is_bulk(self) -> bool:
        """Are tasks selected by a query, or listed on standard input?"""
        return self.by_query or "-" in self.names

    @property
    def is_one(self) -> bool:
        """Is it a single task, named on the command line?"""
        return len(self.names) == 1 and "-" not in self.names

    def require(self, states: Collection[str]) -> None:
        """Check that tasks are selected, and only in ``states`` if they are named.

        Raises ``UsageError``.
        """
        if self.is_empty:
            raise click.UsageError(
                "say which tasks: ids, - for ids on standard input, or options as "
                "--failed, --name or --query"
            )
        for state in self.states:
            if state not in states:
                others = ", ".join(one for one in _STATES if one in states)
                raise click.BadParameter(
                    f"tasks that are {state} cannot be meant (only {others})",
                    param_hint="'--state'",
                )

    def newest(self, session: Session, most: int) -> Flow[list[dict[str, Any]]]:
        """Return the selected records, the latest first; named ones as given.

        Raises ``UnknownTask``.
        """
        from redtask.abbreviation import expand  # noqa: PLC0415
        from redtask.listing import Finder  # noqa: PLC0415
        from redtask.query import Query  # noqa: PLC0415

        if not self.names:
            query = self.query or Query()
            finder = Finder(session.keys, query, None, self.since)
            return (yield from finder.newest(most))
        ids = yield from expand(session.keys, named(self.names))
        query = Query.parse({"msg_id": {"$in": ids}})
        found = yield from Finder(session.keys, query, None).find()
        places = {name: at for at, name in enumerate(ids)}
        return sorted(found, key=lambda one: places[one["msg_id"]])[:most]

    def ids(
        self, session: Session, states: Iterable[str] | None = None
    ) -> Flow[list[str]]:
        """Return the ids of the selected tasks, in order of submission.

        Or as named. ``states``: of those that match a query, only those in these
        states. Raises ``UnknownTask``.
        """
        from redtask.abbreviation import expand  # noqa: PLC0415
        from redtask.listing import Finder  # noqa: PLC0415
        from redtask.query import Query  # noqa: PLC0415

        if not self.by_query:
            found = yield from expand(session.keys, named(self.names))
            return found[: self.limit]
        query = self.query or Query()
        if states is not None:
            only = Query.parse({"state": {"$in": list(states)}})
            query = Query((*query.conditions, *only.conditions))
        finder = Finder(session.keys, query, ["msg_id"], self.since)
        records = yield from finder.find()
        return [one["msg_id"] for one in records[: self.limit]]


def named(names: Iterable[str]) -> list[str]:
    """Return the ids given; ``-`` stands for those on standard input."""
    found: list[str] = []
    for name in names:
        found += read_ids(sys.stdin) if name == "-" else [name]
    return found


def only(name: str) -> str:
    """Return the only id given; ``-`` stands for that on standard input.

    Raises ``UsageError`` if there is none, or several.
    """
    found = named([name])
    if len(found) != 1:
        raise click.UsageError(f"one task, and on standard input are {len(found)}")
    return found[0]


def read_ids(lines: Iterable[str], key: str = "id") -> Iterator[str]:
    """Yield the id of each line: its first word, or the ``id`` of a JSON object.

    Or its ``key``, if others than tasks are meant.
    """
    for line in lines:
        if line.lstrip().startswith("{"):
            try:
                found = json.loads(line)
                name = found[key] if key in found else found["msg_id"]
            except (ValueError, KeyError):
                name = None
            if name is None:
                raise click.UsageError(
                    f"standard input: not an object with an {key}: {line.strip()[:80]}"
                )
            yield str(name)
        elif words := line.split():
            yield words[0]


def _complete_states(_ctx: object, _parameter: object, text: str) -> list[str]:
    """Complete the last of several states, for the shell."""
    before, comma, begun = text.rpartition(",")
    return [before + comma + one for one in _STATES if one.startswith(begun)]


def selection_options(function: F) -> F:
    """Add ids and query options; the function gets ``chosen``."""

    @click.argument("ids", nargs=-1, shell_complete=proposals.tasks)
    @click.option("--failed", is_flag=True, help="Those that failed.")
    @click.option(
        "--state",
        multiple=True,
        shell_complete=_complete_states,
        help="Those in this state, such as ready; several by commas.",
    )
    @click.option(
        "--name", metavar="GLOB", help="Of functions with this name, or module:name."
    )
    @click.option(
        "--since",
        type=MOMENT,
        metavar="1h|DATE",
        help="To which something happened since.",
    )
    @click.option("--label", metavar="GLOB", help="With this label.")
    @click.option("--queue", shell_complete=proposals.queues, help="Of this queue.")
    @click.option(
        "--engine",
        shell_complete=proposals.engines,
        help="That this engine has or had: a number, or a uuid.",
    )
    @click.option("--error", metavar="NAME", help="That failed with this exception.")
    @click.option("--query", metavar="JSON", help="That db_query finds with this.")
    @click.option("--limit", type=click.IntRange(1), help="At most this many.")
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        named = {name: options.pop(name) for name in _NAMES}
        return function(*args, chosen=_selection(**named), **options)

    return cast("F", call)


_NAMES: Final = (
    "ids", "failed", "state", "name", "since", "label", "queue", "engine", "error",
    "query", "limit",
)  # fmt: skip


def _selection(
    *,
    ids: tuple[str, ...],
    query: str | None,
    since: datetime | None,
    limit: int | None,
    name: str | None,
    **said: Any,
) -> Selection:
    wanted = _wanted(**said)
    is_query = wanted or query is not None or name is not None
    found = _parsed(wanted, query, name) if is_query else None
    if ids and (found is not None or since is not None):
        raise click.UsageError("ids or conditions, not both")
    states = tuple(wanted.get("state", {}).get("$in", ()))
    return Selection(ids, found, since, limit, states)


def _wanted(
    *, failed: bool, state: tuple[str, ...], engine: str | None, **said: Any
) -> dict[str, Any]:
    """Return the options as a query."""
    wanted: dict[str, Any] = {}
    named = [one for words in state for one in words.split(",")]
    for one in named:
        if one not in _STATES:
            hint = (
                suggestion(one, _STATES, "{!r}") or f" (there are {', '.join(_STATES)})"
            )
            raise click.BadParameter(
                f"no such state: {one!r}{hint}", param_hint="'--state'"
            )
    if failed:
        named.append("failed")
    if named:
        wanted["state"] = {"$in": named}
    if said["label"] is not None:
        wanted["label"] = {"$glob": said["label"]}
    if said["queue"] is not None:
        wanted["queue"] = said["queue"]
    if engine is not None:
        wanted.update(_engine(engine))
    if said["error"] is not None:
        wanted.update(_error(said["error"]))
    return wanted


def _engine(word: str) -> dict[str, Any]:
    if word.isascii() and word.isdigit():
        return {"engine_id": int(word)}
    if not word:
        raise click.BadParameter(
            "an engine is a number or a uuid", param_hint="'--engine'"
        )
    return {"engine_uuid": {"$glob": f"{word}*"}}


def _error(word: str) -> dict[str, Any]:
    # What the hub ended is shown with its verdict. Who waits too long raises
    # ``DependencyTimeout``, which is a ``TaskTimeout``.
    kind = VERDICTS.get("timeout" if word == "TaskTimeout" else word)
    return {"ename": {"$glob": word if kind is None else kind.__name__}}


def _parsed(wanted: dict[str, Any], query: str | None, name: str | None) -> Query:
    """Return all conditions as one query. Raises ``BadParameter``."""
    from redtask.query import Query  # noqa: PLC0415

    found = Query.parse(wanted)
    if name is not None:
        found = found.called(name)
    if query is None:
        return found
    hint = "'--query'"
    try:
        said = json.loads(query)
    except ValueError as problem:
        raise click.BadParameter(f"not JSON: {problem}", param_hint=hint) from None
    try:
        more = Query.parse(_with_times(said))
    except (KeyError, TypeError, ValueError) as problem:
        raise click.BadParameter(str(problem.args[0]), param_hint=hint) from None
    return Query((*found.conditions, *more.conditions))


def _with_times(query: Any) -> Any:
    """Return a JSON query with datetimes for keys that are times."""
    if not isinstance(query, dict):
        return query
    return {
        key: _as_times(value) if key in _TIMES else value
        for key, value in query.items()
    }


def _as_times(value: Any) -> Any:
    if isinstance(value, str):
        return moment(value)
    if isinstance(value, list):
        return [_as_times(one) for one in value]
    if isinstance(value, dict):
        return {key: _as_times(one) for key, one in value.items()}
    return value
