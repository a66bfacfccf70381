"""``redtask engine``: list and control engines and their workers."""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from redtask.cli import FAILED, proposals
from redtask.cli.engines import STYLES, engine_json, read_engines, state_of
from redtask.cli.group import Group
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import (
    STATES,
    Output,
    ago,
    duration,
    one_line,
    say_json,
)
from redtask.cli.selection import read_ids
from redtask.cli.tasks import as_json, progress
from redtask.error import UnknownEngine
from redtask.hub import holding
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.hub.records import EngineStatus
    from redtask.hub.views import EngineRow
    from redtask.orders import Answer

#: The most tasks shown of an engine: taken, and placed.
_MOST = 100

F = TypeVar("F", bound="Callable[..., Any]")
E = TypeVar("E", "EngineStatus", "EngineRow")


@click.group("engine", cls=Group)
def command() -> None:
    """Look at engines, and have them drain, go on, stop or start anew.

    ENGINES are numbers, uuids or beginnings of these, - for standard input, or with
    --worker all of a worker.
    """


# -- selection


def _chosen(function: F) -> F:
    """Add engines, ``--worker`` and ``--all``; the function gets ``pick``."""

    @click.argument("engines", nargs=-1, shell_complete=proposals.engines)
    @click.option(
        "--worker",
        metavar="NAME",
        shell_complete=proposals.workers,
        help="All engines of this worker.",
    )
    @click.option("--all", is_flag=True, help="All engines of the hub.")
    @functools.wraps(function)
    def call(
        *args: Any,
        engines: tuple[str, ...],
        worker: str | None,
        **kwargs: Any,
    ) -> Any:
        everybody = kwargs.pop("all")
        if bool(engines) + (worker is not None) + everybody != 1:
            raise click.UsageError("say which engines: some, --worker NAME, or --all")
        pick = _Pick(engines, worker)
        return function(*args, pick=pick, **kwargs)

    return cast("F", call)


class _Pick:
    """The selected engines."""

    def __init__(self, names: Sequence[str], worker: str | None) -> None:
        self.names = list(names)
        self.worker = worker
        #: All engines of the worker, or of the hub? Not if none was on standard input.
        self.is_whole = not names
        if "-" in self.names:
            at = self.names.index("-")
            self.names[at : at + 1] = read_ids(sys.stdin, "engine_id")

    def of(self, engines: Sequence[E]) -> list[E]:
        """Return the engines that are meant. Raises ``UnknownEngine``."""
        if self.worker is not None:
            found = [one for one in engines if one.worker == self.worker]
            if not found:
                raise UnknownEngine(f"there is no engine of a worker {self.worker!r}")
            return found
        if self.is_whole:
            return list(engines)
        found = []
        for name in self.names:
            same = [one for one in engines if _is_called(one, name)]
            if not same:
                raise UnknownEngine(f"there is no engine {name or repr(name)}")
            if len(same) > 1:
                raise UnknownEngine(f"several engines begin with {name!r}")
            found += [one for one in same if one not in found]
        return found


def _is_called(engine: EngineStatus | EngineRow, name: str) -> bool:
    if name.isascii() and name.isdigit():
        return engine.engine_id == int(name)
    return name != "" and engine.uuid.startswith(name)


# -- listing


@command.command("ls")
@hub_options
@output_options
def ls(*, where: Where, out: Output) -> None:
    """List the living engines.

    Those that get nothing new are draining, or drained if they have no task left: until
    they are resumed, or because they are to end.

    \b
    redtask engine ls
    redtask engine ls --json
    """
    from redtask import orders  # noqa: PLC0415 - not needed for help

    with where.reader() as hub:
        found = read_engines(hub.store)
        now = float(hub.run(hub.session.status()).hub["stamp"])
        workers = list(dict.fromkeys(one.worker for one in found))
        cards = hub.run(orders.cards(hub.session, workers)) if workers else {}
    if out.as_json:
        for one in found:
            say_json(_as_json(one, cards[one.worker], now))
        return
    if not found and out.for_people:
        click.echo("no engine: start some with 'redtask worker'", err=True)
    out.table(
        ("engine", "state", "tasks", "queues", "worker", "host", "since"),
        [
            (
                one.engine_id,
                state_of(one),
                one.load,
                ",".join(one.queues),
                one.worker,
                cards[one.worker].get("host", "?"),
                duration(max(0.0, (now - one.joined) / 1000)),
            )
            for one in found
        ],
        {"state": STYLES},
    )


def _as_json(engine: EngineRow, card: dict[str, str], now: float) -> dict[str, Any]:
    return {
        **engine_json(engine, now),
        "host": card.get("host"),
        "pid": int(card["pid"]) if card.get("pid") else None,
        "labels": card.get("labels", "").split(",") if card.get("labels") else [],
    }


@command.command("show")
@click.argument("engines", nargs=-1, required=True, shell_complete=proposals.engines)
@hub_options
@output_options
def show(*, engines: tuple[str, ...], where: Where, out: Output) -> None:
    """Show an engine, its worker, and the tasks that it has.

    \b
    redtask engine show 3
    """
    from redtask import orders  # noqa: PLC0415
    from redtask.listing import Finder  # noqa: PLC0415
    from redtask.query import Query  # noqa: PLC0415

    with where.reader() as hub:
        now = float(hub.run(hub.session.status()).hub["stamp"])
        for one in _Pick(engines, None).of(read_engines(hub.store)):
            card = hub.run(orders.cards(hub.session, [one.worker]))[one.worker]
            placed = hub.keys.engine(one.uuid, "assigned")
            words = holding.words(hub.keys.held(one.uuid))
            words += [("ZRANGE", placed, "0", f"{_MOST - 1}")]
            *held, assigned = hub.store.commands(words)
            ids = holding.ids(*held)[:_MOST] + [name.decode() for name in assigned]
            query = Query.parse({"msg_id": {"$in": ids}})
            records = hub.run(Finder(hub.keys, query, None).find())
            about = _as_json(one, card, now)
            about["version"], about["python"] = card.get("version"), card.get("python")
            if out.as_json:
                say_json({**about, "tasks": [as_json(record) for record in records]})
            else:
                _show(about, records, out)


def _show(about: dict[str, Any], tasks: list[dict[str, Any]], out: Output) -> None:
    rows = [
        ("engine", about["engine_id"]),
        ("uuid", about["engine_uuid"]),
        ("state", about["state"]),
        ("queues", ",".join(about["queues"])),
        ("worker", f"{about['worker']} (process {about['pid']} on {about['host']})"),
        ("redtask", f"{about['version']}, Python {about['python']}"),
        ("joined", f"{ago(time.time() - about['age'])} ago"),
        ("lease", f"{about['lease']:.0f} s"),
    ]
    if about["labels"]:
        rows.append(("labels", ",".join(about["labels"])))
    out.table(("", ""), rows)
    if tasks:
        out.table(
            ("task", "state", "function", "progress"),
            [
                (
                    out.task(one["msg_id"]),
                    one["state"],
                    one["function"],
                    progress(one),
                )
                for one in tasks
            ],
            {"state": STATES},
        )


# -- control


@command.command("drain")
@_chosen
@click.option(
    "--wait", is_flag=True, help="Return when they have finished what they run."
)
@hub_options
@output_options
def drain(*, pick: _Pick, wait: bool, where: Where, out: Output) -> None:
    """Let engines take nothing new until they are resumed.

    What they have begun they finish, what they have not goes to others. With --worker
    also engines that it starts later are drained.

    \b
    redtask engine drain 3 4
    redtask engine drain --worker web-7 --wait
    """
    _turn(pick, where, out, resume=False, wait=wait)


@command.command("resume")
@_chosen
@hub_options
@output_options
def resume(*, pick: _Pick, where: Where, out: Output) -> None:
    """Let drained engines have tasks again.

    \b
    redtask engine resume --all
    """
    _turn(pick, where, out, resume=True, wait=False)


def _turn(pick: _Pick, where: Where, out: Output, *, resume: bool, wait: bool) -> None:
    from redtask import orders  # noqa: PLC0415
    from redtask.flows import story  # noqa: PLC0415

    with where.client() as client:
        session = client._session
        engines = pick.of(client._run(session.status()).engines)
        if pick.worker is not None:
            flow = orders.drain_worker(session, pick.worker, resume=resume)
        else:
            flow = orders.drain(session, engines, resume=resume)
        words = client._run(flow)
        if wait:
            uuids = {one.uuid for one in engines}
            client._run(story.idle(session.keys, uuids, session.status))
    _tell(engines, words, out)


def _tell(engines: Sequence[EngineStatus], words: dict[str, str], out: Output) -> None:
    """Print what became of each engine."""
    for one in engines:
        word = words.get(one.uuid, "unknown")
        if out.as_json:
            say_json(
                {
                    "engine_id": one.engine_id,
                    "engine_uuid": one.uuid,
                    "outcome": word,
                }
            )
        elif not out.for_people:
            out.table((), [(one.engine_id, one.uuid, word)])
    if out.for_people:
        if not engines:
            click.echo("no engine", err=True)
        for word in dict.fromkeys(words.values()):
            names = [str(one.engine_id) for one in engines if words[one.uuid] == word]
            click.echo(f"{word}: {', '.join(names)}")


@command.command("stop")
@_chosen
@click.option("--now", is_flag=True, help="Interrupt what they run.")
@yes_option
@hub_options
@output_options
def stop(*, pick: _Pick, now: bool, yes: bool, where: Where, out: Output) -> None:
    """End engines for good; with --worker or --all their workers, too.

    They finish what they run, and what they have not begun goes to others. With --now
    their tasks are interrupted, which counts as a failed attempt. Their worker does not
    replace them until 'redtask engine restart --worker NAME'.

    \b
    redtask engine stop 3
    redtask engine stop --worker web-7 --yes
    """
    worker_too = pick.is_whole and not now
    verb = "shutdown" if worker_too else "kill" if now else "stop"
    question = "End {}, in the midst of what they run?" if now else "Stop {}?"
    _give(pick, where, out, verb, "stopping", question=question, yes=yes)


@command.command("restart")
@_chosen
@hub_options
@output_options
def restart(*, pick: _Pick, where: Where, out: Output) -> None:
    """Replace engines by new ones when they have finished what they run.

    With --worker also where engines were stopped.

    \b
    redtask engine restart --all
    """
    _give(pick, where, out, "restart", "restarting")


def _give(  # noqa: PLR0913 - what two commands have in common
    pick: _Pick,
    where: Where,
    out: Output,
    verb: str,
    word: str,
    *,
    question: str = "",
    yes: bool = True,
) -> None:
    """Send an order, and print who obeys."""
    from redtask import orders  # noqa: PLC0415

    with where.client() as client:
        session = client._session
        if verb == "restart" and pick.worker is not None:
            # The worker may have no engine left.
            flow = orders.order_workers(session, verb, [pick.worker])
            client._run(flow)
            engines = client._run(orders.engines_of(session, pick.worker))
        else:
            engines = pick.of(client._run(session.status()).engines)
            if question and (len(engines) > 1 or pick.is_whole):
                confirm(question.format(count(len(engines), "engine")), yes=yes)
            flow = orders.order(session, verb, engines, whole=pick.is_whole)
            client._run(flow)
    _tell(engines, {one.uuid: word for one in engines}, out)


@command.command("stack")
@_chosen
@hub_options
@output_options
def stack(*, pick: _Pick, where: Where, out: Output) -> int:
    """Show where the Python code of engines is right now.

    It is asked of the engine from outside, so also of one that hangs. Exit code 1: one
    does not answer.

    \b
    redtask engine stack 3
    redtask engine stack --all --json
    """
    from redtask import orders  # noqa: PLC0415

    with where.client() as client:
        engines = pick.of(client._run(client._session.status()).engines)
        answers = client._run(orders.order(client._session, "stack", engines))
    for one in answers:
        if out.as_json:
            say_json(_answer_json(one))
        else:
            _show_stack(one, out)
    return FAILED if any(one.stack is None for one in answers) else 0


def _answer_json(answer: Answer) -> dict[str, Any]:
    task = {"id": answer.task, "running_for": answer.seconds}
    return {
        "engine_id": answer.engine,
        "engine_uuid": answer.uuid,
        "pid": answer.pid,
        "task": task if answer.task else None,
        "stack": answer.stack,
    }


def _show_stack(answer: Answer, out: Output) -> None:
    from redtask.orders import own_frames  # noqa: PLC0415

    title = f"engine {answer.engine}, process {answer.pid}: "
    if answer.task is None:
        title += "runs no task"
    else:
        seconds = duration(answer.seconds or 0.0)
        title += f"task {out.task(answer.task)}, for {seconds}"
    click.echo(title)
    if answer.stack is None:
        click.echo("  it does not answer")
        return
    for line in own_frames(answer.stack, whole=answer.task is None).splitlines():
        click.echo(f"  {one_line(line)}")
