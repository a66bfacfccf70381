"""What the hub proposes to the shell: recent tasks, engines, workers and queues.

Whoever presses Tab must not wait, nor read of errors: there is an answer at once, or
none.
"""

from __future__ import annotations

import contextlib
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import CompletionItem

from redtask.cli.group import Invocation
from redtask.cli.output import one_line, short_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import click

    from redtask.store import Store

    #: A value, and what is said of it.
    Proposal = tuple[str, str]

#: How long the hub may take, in seconds.
PATIENCE: Final = 0.3
#: How many tasks are proposed, the latest; and engines, the first.
_TASKS: Final = 50
_ENGINES: Final = 200
_BEFORE: Final = ("waiting", "ready", "assigned", "running")
_ENDED: Final = ("completed", "failed", "aborted")
#: What is imported only when somebody presses Tab.
_NEEDED: Final = ("redtask.connect", "redtask.listing", "redtask.cli.engines")
#: The states of tasks that a command is for, where it is not for all.
_STATES: Final = {"abort": _BEFORE, "replay": _ENDED, "purge": _ENDED}


def tasks(
    ctx: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Propose ids of recent tasks, or their short forms."""

    def ask(store: Store) -> Iterator[Proposal]:
        from redtask.listing import Finder  # noqa: PLC0415 - not needed for help
        from redtask.query import Query  # noqa: PLC0415
        from redtask.store import Driver  # noqa: PLC0415

        states = _STATES.get(str(ctx.command.name), (*_BEFORE, *_ENDED))
        query = Query.parse({"state": {"$in": list(states)}})
        finder = Finder(store.keys, query, ["msg_id", "state", "function"])
        for one in Driver(store).run(finder.newest(_TASKS)):
            name = one["msg_id"]
            shown = name if name.startswith(begun) else short_id(name)
            yield shown, f"{one['state']} {one['function']}"

    return _proposed(ctx, parameter, begun, ask)


def engines(
    ctx: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Propose the numbers of engines, or the uuid that was begun."""

    def ask(store: Store) -> Iterator[Proposal]:
        from redtask.cli.engines import read_engines, state_of  # noqa: PLC0415

        for one in read_engines(store, _ENGINES):
            about = f"{state_of(one)} {one.worker}"
            yield str(one.engine_id), about
            if begun:
                yield one.uuid, about

    return _proposed(ctx, parameter, begun, ask)


def workers(
    ctx: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Propose the names of workers."""

    def ask(store: Store) -> Iterator[Proposal]:
        from redtask.cli.engines import read_engines  # noqa: PLC0415

        for one in read_engines(store, _ENGINES):
            yield one.worker, ",".join(one.queues)

    return _proposed(ctx, parameter, begun, ask)


def queues(
    ctx: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Propose the names of queues."""

    def ask(store: Store) -> Iterator[Proposal]:
        from redtask.hub import calls  # noqa: PLC0415

        for one in store.do(calls.status(0)).queues:
            yield one.name, f"{one.ready} ready"

    return _proposed(ctx, parameter, begun, ask)


def _proposed(
    ctx: click.Context,
    parameter: click.Parameter,
    begun: str,
    ask: Callable[[Store], Iterable[Proposal]],
) -> list[CompletionItem]:
    """Return what the hub proposes that begins so, and was not said before."""
    found: dict[str, str] = {}
    for module in _NEEDED:
        # This takes longer than the hub does, and is no fault of its.
        import_module(module)

    def look() -> None:
        # Whatever goes wrong, nothing is proposed.
        with contextlib.suppress(Exception), _store(ctx) as store:
            found.update(ask(store))

    # A name that must be looked up first has no time limit of its own.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    said: Any = ctx.params.get(parameter.name or "") or ()
    return [
        CompletionItem(value, help=one_line(about))
        for value, about in dict(found).items()
        if value.startswith(begun) and value not in said
    ]


@contextlib.contextmanager
def _store(ctx: click.Context) -> Iterator[Store]:
    """Connect to the hub that the words so far, the environment or files name."""
    from redtask.cli import COMMANDS  # noqa: PLC0415 - not needed for help
    from redtask.cli.options import where_of  # noqa: PLC0415
    from redtask.cli.settings import Settings  # noqa: PLC0415
    from redtask.connect import address  # noqa: PLC0415
    from redtask.store import Store  # noqa: PLC0415

    ctx.ensure_object(Invocation).settings = Settings.load(COMMANDS)
    where = where_of(ctx, ctx.params.get("url"), ctx.params.get("profile"))
    profile = where.profile()
    store = Store(address(profile), profile.hub, patience=0.0, reply=PATIENCE)
    try:
        yield store
    finally:
        store.close()
